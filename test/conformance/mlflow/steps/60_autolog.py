"""autolog of the libraries, models included."""

import mlflow
import numpy
from conformance import client, equal, experiment, step
from sklearn.datasets import make_classification
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV

home = experiment("autolog")
x, y = make_classification(120, 5, random_state=7)


def last():
    (r,) = client().search_runs([home], max_results=1)
    return r


@step("autolog of scikit-learn logs parameters, metrics, the data and the model")
def _():
    mlflow.sklearn.autolog(silent=True)
    try:
        fitted = LogisticRegression(C=0.5).fit(x, y)
        fitted.score(x, y)
    finally:
        mlflow.sklearn.autolog(disable=True, silent=True)
    r = last()
    equal(r.data.params["C"], "0.5")
    assert r.data.metrics["training_accuracy_score"] > 0.5 and any(k.startswith("LogisticRegression_score") for k in r.data.metrics), r.data.metrics
    equal(r.data.tags["estimator_name"], "LogisticRegression")
    equal([t.value for i in r.inputs.dataset_inputs for t in i.tags], ["train"])
    (out,) = r.outputs.model_outputs
    back = mlflow.sklearn.load_model(f"models:/{out.model_id}")
    assert numpy.array_equal(back.predict(x), fitted.predict(x))
    assert any(f.path == "training_confusion_matrix.png" for f in client().list_artifacts(r.info.run_id))


@step("autolog of a grid search logs a run per candidate below the search")
def _():
    mlflow.sklearn.autolog(silent=True, log_models=False, max_tuning_runs=3)
    try:
        GridSearchCV(LogisticRegression(), {"C": [0.1, 1, 10]}, cv=2).fit(x, y)
    finally:
        mlflow.sklearn.autolog(disable=True, silent=True)
    runs = client().search_runs([home], "params.best_C LIKE '%'")
    equal(len(runs), 1)
    children = client().search_runs([home], f"tags.`mlflow.parentRunId` = '{runs[0].info.run_id}'")
    equal(sorted(r.data.params["C"] for r in children), ["0.1", "1", "10"])


@step("autolog of XGBoost logs parameters, a metric per round, importances and the model")
def _():
    import xgboost

    mlflow.xgboost.autolog(silent=True)
    try:
        data = xgboost.DMatrix(x, y)
        booster = xgboost.train({"objective": "binary:logistic", "max_depth": 2, "eval_metric": "logloss"}, data, 8, evals=[(data, "train")], verbose_eval=False)
    finally:
        mlflow.xgboost.autolog(disable=True, silent=True)
    r = last()
    equal(r.data.params["max_depth"], "2")
    equal(len(client().get_metric_history(r.info.run_id, "train-logloss")), 8)
    (out,) = r.outputs.model_outputs
    back = mlflow.xgboost.load_model(f"models:/{out.model_id}")
    assert numpy.array_equal(back.predict(data), booster.predict(data))
    assert any(f.path == "feature_importance_weight.json" for f in client().list_artifacts(r.info.run_id))


@step("autolog of LightGBM logs a metric per round")
def _():
    import lightgbm

    mlflow.lightgbm.autolog(silent=True, log_models=False)
    try:
        data = lightgbm.Dataset(x, y)
        lightgbm.train({"objective": "binary", "verbosity": -1, "metric": "auc"}, data, 5, valid_sets=[data], valid_names=["train"])
    finally:
        mlflow.lightgbm.autolog(disable=True, silent=True)
    r = last()
    equal(len(client().get_metric_history(r.info.run_id, "train-auc")), 5)
    equal(r.data.params["objective"], "binary")
