"""Trains the yardstick: a logistic regression on the same patients.

It is not registered. A boosted forest that does not beat it has no reason to exist, and its run
stands beside the other one in the same experiment.
"""

import json
import os

import mlflow
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, roc_auc_score
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from train import NOT_INPUTS, PREFIX, TARGET, read


def main() -> None:
    seed = int(os.environ.get("KEELSON_SEED", "20240607"))
    frame = read(os.environ[PREFIX])
    inputs, target = frame.drop(columns=NOT_INPUTS).astype("float64"), frame[TARGET]
    fit_x, test_x, fit_y, test_y = train_test_split(
        inputs, target, test_size=0.2, random_state=seed, stratify=target
    )
    with mlflow.start_run(run_name="logistic"):
        mlflow.log_params({"C": 1.0, "penalty": "l2", "seed": seed})
        model = make_pipeline(StandardScaler(), LogisticRegression(C=1.0, random_state=seed))
        model.fit(fit_x, fit_y)
        score = model.predict_proba(test_x)[:, 1]
        result = {
            "auc": float(roc_auc_score(test_y, score)),
            "accuracy": float(accuracy_score(test_y, score >= 0.5)),
        }
        mlflow.log_metrics(result)
        print("logistic baseline", json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
