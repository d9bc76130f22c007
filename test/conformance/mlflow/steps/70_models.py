"""Models of five flavours logged, loaded, described; logged models as entities of their own."""

import time

import mlflow
import numpy
import pandas
from conformance import client, equal, experiment, raises, request, step, unique
from mlflow.models import infer_signature
from sklearn.datasets import make_classification
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression

home = experiment("models")
x, y = make_classification(120, 4, random_state=3)
frame = pandas.DataFrame(x, columns=["a", "b", "c", "d"])
linear = LogisticRegression().fit(frame, y)
signature = infer_signature(frame, linear.predict(frame))
state = {}
PINNED = ["scikit-learn==1.0", "numpy"]  # given, so that nothing is inferred (seconds per model)


def same(a, b, limit=0.0):
    a, b = numpy.asarray(a, dtype=float).ravel(), numpy.asarray(b, dtype=float).ravel()
    assert a.shape == b.shape and numpy.abs(a - b).max() <= limit, (a[:5], b[:5])


@step("a scikit-learn model is logged and loaded as itself and as a function")
def _():
    with mlflow.start_run() as run:
        info = mlflow.sklearn.log_model(linear, name="linear", signature=signature, input_example=frame[:3], pip_requirements=PINNED, metadata={"team": "risk"})
    state["linear"], state["run"] = info, run.info.run_id
    same(mlflow.sklearn.load_model(info.model_uri).predict_proba(frame), linear.predict_proba(frame))
    same(mlflow.pyfunc.load_model(info.model_uri).predict(frame), linear.predict(frame))
    same(mlflow.sklearn.load_model(f"runs:/{run.info.run_id}/linear").predict(frame), linear.predict(frame))


@step("what the model says of itself is read back: signature, example, flavours, metadata")
def _():
    info = mlflow.models.get_model_info(state["linear"].model_uri)
    equal(info.signature.inputs.input_names(), ["a", "b", "c", "d"])
    equal(set(info.flavors), {"python_function", "sklearn"})
    equal(info.metadata, {"team": "risk"})
    loaded = mlflow.pyfunc.load_model(state["linear"].model_uri)
    same(loaded.input_example, frame[:3])
    equal(mlflow.pyfunc.get_model_dependencies(state["linear"].model_uri).endswith("requirements.txt"), True)


@step("a random forest, refused by the default format, is logged with cloudpickle")
def _():
    forest = RandomForestClassifier(5, random_state=1).fit(frame, y)
    with mlflow.start_run():
        try:
            mlflow.sklearn.log_model(forest, name="forest", pip_requirements=PINNED)
        except mlflow.MlflowException as e:
            assert "skops" in str(e) or "rusted" in str(e), e
        info = mlflow.sklearn.log_model(forest, name="forest", serialization_format="cloudpickle", pip_requirements=PINNED)
    same(mlflow.sklearn.load_model(info.model_uri).predict_proba(frame), forest.predict_proba(frame))
    state["forest"] = info


@step("an XGBoost model is logged and loaded")
def _():
    import xgboost

    booster = xgboost.train({"objective": "binary:logistic", "max_depth": 3, "seed": 1}, xgboost.DMatrix(frame, y), 10)
    with mlflow.start_run():
        info = mlflow.xgboost.log_model(booster, name="xgb", model_format="json", input_example=frame[:4], pip_requirements=["xgboost"])
    same(mlflow.xgboost.load_model(info.model_uri).predict(xgboost.DMatrix(frame)), booster.predict(xgboost.DMatrix(frame)))
    same(mlflow.pyfunc.load_model(info.model_uri).predict(frame), booster.predict(xgboost.DMatrix(frame)))
    state["xgb"] = info


@step("a LightGBM model is logged and loaded")
def _():
    import lightgbm

    booster = lightgbm.train({"objective": "binary", "verbosity": -1, "num_leaves": 7}, lightgbm.Dataset(frame, y), 10)
    with mlflow.start_run():
        info = mlflow.lightgbm.log_model(booster, name="lgb", input_example=frame[:4], pip_requirements=["lightgbm"])
    same(mlflow.lightgbm.load_model(info.model_uri).predict(frame), booster.predict(frame))
    state["lgb"] = info


@step("an ONNX model is logged and loaded")
def _():
    from skl2onnx import to_onnx

    graph = to_onnx(linear, x[:1].astype(numpy.float32), options={"zipmap": False})
    with mlflow.start_run():
        info = mlflow.onnx.log_model(graph, name="graph", input_example=x[:3].astype(numpy.float32), pip_requirements=["onnx", "onnxruntime"])
    answer = mlflow.pyfunc.load_model(info.model_uri).predict(x.astype(numpy.float32))
    same(answer["label"], linear.predict(frame))
    state["onnx"] = info


class Doubler(mlflow.pyfunc.PythonModel):
    """Doubles a column; a file beside it holds the factor."""

    def load_context(self, context):
        with open(context.artifacts["factor"], encoding="utf-8") as f:
            self.factor = float(f.read())

    def predict(self, context, model_input, params=None):
        return model_input["a"] * self.factor * (params or {}).get("times", 1)


@step("a Python function with a file and parameters is logged and loaded")
def _():
    with open("factor.txt", "w", encoding="utf-8") as f:
        f.write("2")
    with mlflow.start_run():
        info = mlflow.pyfunc.log_model(
            name="doubler",
            python_model=Doubler(),
            artifacts={"factor": "factor.txt"},
            signature=infer_signature(frame[["a"]], frame["a"], params={"times": 1}),
            pip_requirements=["pandas"],
        )
    loaded = mlflow.pyfunc.load_model(info.model_uri)
    same(loaded.predict(frame[["a"]]), frame["a"] * 2)
    same(loaded.predict(frame[["a"]], params={"times": 3}), frame["a"] * 6)
    state["doubler"] = info


@step("requirements are inferred when nobody gives them")
def _():
    with mlflow.start_run():
        info = mlflow.sklearn.log_model(linear, name="inferred")
    with open(mlflow.pyfunc.get_model_dependencies(info.model_uri), encoding="utf-8") as f:
        assert "scikit-learn==" in f.read()


@step("a logged model is found by id, in its experiment, with its run")
def _():
    model = mlflow.get_logged_model(state["linear"].model_id)
    equal((model.name, model.source_run_id, model.experiment_id, str(model.status)), ("linear", state["run"], home, "READY"))
    (out,) = client().get_run(state["run"]).outputs.model_outputs
    equal(out.model_id, model.model_id)
    equal(mlflow.last_logged_model() is not None, True)


@step("metrics and parameters of a logged model are kept with it")
def _():
    model = state["linear"].model_id
    data = mlflow.data.from_pandas(frame, name="holdout")
    with mlflow.start_run(run_id=state["run"]):
        mlflow.log_metric("auc", 0.91, model_id=model, dataset=data)
        mlflow.log_metrics({"acc": 0.8, "f1": 0.7}, model_id=model)
        mlflow.log_model_params({"kind": "linear"}, model_id=model)
    got = mlflow.get_logged_model(model)
    equal({m.key: m.value for m in got.metrics}, {"auc": 0.91, "acc": 0.8, "f1": 0.7})
    equal([(m.dataset_name, m.dataset_digest) for m in got.metrics if m.key == "auc"], [("holdout", data.digest)])
    equal(got.params["kind"], "linear")


@step("a logged model's tags are set and deleted")
def _():
    model = state["linear"].model_id
    mlflow.set_logged_model_tags(model, {"a": "1", "b": "2"})
    mlflow.delete_logged_model_tag(model, "a")
    tags = mlflow.get_logged_model(model).tags
    assert tags["b"] == "2" and "a" not in tags, tags


@step("logged models are searched by name, metric, parameter and tag, in order")
def _():
    def found(text, **kwargs):
        return [m.name for m in mlflow.search_logged_models([home], text, output_format="list", **kwargs)]

    equal(found("name = 'linear'"), ["linear"])
    equal(found("metrics.auc > 0.9 AND params.kind = 'linear'"), ["linear"])
    equal(found("tags.b = '2'"), ["linear"])
    equal(found("name LIKE 'l%'", order_by=[{"field_name": "name", "ascending": False}]), ["linear", "lgb"])
    raises("INVALID_PARAMETER_VALUE", found, "nonsense ~ 1")


@step("logged models are searched by a metric on one data set")
def _():
    def found(**data):
        return [m.name for m in mlflow.search_logged_models([home], "metrics.auc > 0.9", datasets=[data], output_format="list")]

    equal(found(dataset_name="holdout"), ["linear"])
    equal(found(dataset_name="another"), [])


@step("a logged model made by hand is pending, then ready; another fails")
def _():
    model = mlflow.initialize_logged_model(name="by-hand", params={"p": "1"}, tags={"t": "1"}, model_type="agent")
    equal(str(model.status), "PENDING")
    equal(str(mlflow.finalize_logged_model(model.model_id, "READY").status), "READY")
    other = client().create_logged_model(home, name="broken")
    equal(str(client().finalize_logged_model(other.model_id, "FAILED").status), "FAILED")
    outside = mlflow.create_external_model(name="outside", model_type="agent")
    equal(outside.tags.get("mlflow.model.isExternal", "").lower(), "true")


@step("a deleted logged model is gone")
def _():
    model = mlflow.initialize_logged_model(name="to-go")
    client().delete_logged_model(model.model_id)
    raises("RESOURCE_DOES_NOT_EXIST", client().get_logged_model, model.model_id)


@step("files of a logged model are listed and downloaded")
def _():
    files = {f.path for f in client().list_logged_model_artifacts(state["linear"].model_id)}
    assert {"MLmodel", "requirements.txt", "input_example.json"} <= files, files
    where = mlflow.artifacts.download_artifacts(state["linear"].model_uri)
    with open(where + "/MLmodel", encoding="utf-8") as f:
        assert state["linear"].model_id in f.read()


@step("a model is an input of another run")
def _():
    from mlflow.entities import LoggedModelInput

    with mlflow.start_run() as run:
        client().log_inputs(run.info.run_id, models=[LoggedModelInput(state["linear"].model_id)])
    equal([m.model_id for m in client().get_run(run.info.run_id).inputs.model_inputs], [state["linear"].model_id])


@step("every flavour is registered and answers by its address")
def _():
    state["names"] = {}
    for key in ("linear", "forest", "xgb", "lgb", "onnx", "doubler"):
        name = state["names"][key] = unique("flavour-" + key)
        version = mlflow.register_model(state[key].model_uri, name)
        equal((version.version, version.status), ("1", "READY"), key)
        info = mlflow.models.get_model_info(f"models:/{name}/1")
        equal(info.model_id, state[key].model_id, key)


def record(key):
    return request("GET", f"/api/v1/models/{state['names'][key]}/versions/1").json()


@step("what an engine here runs is tested with the example that was logged, and can be deployed")
def _():
    for key, flavor in (("xgb", "xgboost"), ("lgb", "lightgbm"), ("onnx", "onnx")):
        v = record(key)
        assert v["state"] == "ready" and v["deployable"] and v["engine"] == flavor and v["golden"]["rows"] >= 3, (key, {k: v.get(k) for k in ("state", "reason", "engine", "golden", "undeployable")})
        equal(sorted(v["flavors"]), sorted([flavor, "python_function"]), key)
        assert v["signature"]["inputs"] and v["signature"]["outputs"], key


@step("what only Python runs is kept whole, and can be deployed once it was tested in a process of its own")
def _():
    for key in ("linear", "forest", "doubler"):
        until = time.monotonic() + 240
        while (v := record(key)).get("fault") == "preparing" and time.monotonic() < until:
            time.sleep(0.2)
        if request("GET", "/api/v1/engines").json()["python"]["works"]:
            if key == "doubler":  # its class was pickled by the name of this file, which no other process has
                assert not v["deployable"] and "No module named" in v["undeployable"], (key, v.get("undeployable"))
            else:
                assert v["deployable"] and "Python 3" in v["runs_in"], (key, v.get("reason"), v.get("undeployable"))
        assert v["state"] == "ready" and v["format"] == "mlflow-pyfunc", (key, v["state"], v.get("reason"), v["format"])
        assert v["deployable"] or "Python" in v["undeployable"], (key, v.get("undeployable"))


@step("the record has signature, libraries, Python, identifiers, metadata and parameters of a model")
def _():
    v = record("linear")
    libraries = {d["name"]: d.get("version", "") for d in v["dependencies"] if d["kind"] == "library"}
    assert libraries["scikit-learn"] == "1.0" and libraries["python"].startswith("3."), libraries
    told = v["mlflow"]
    equal((told["model_id"], told["mlflow_version"], told["metadata"]), (state["linear"].model_id, mlflow.__version__, {"team": "risk"}))
    equal([i["name"] for i in v["signature"]["inputs"]], ["a", "b", "c", "d"])
    equal([(p["name"], p["datatype"], p["default"]) for p in record("doubler")["mlflow"]["params"]], [("times", "INT64", 1)])


@step("two versions of different flavours are compared")
def _():
    first, second = state["names"]["linear"], state["names"]["xgb"]
    answer = request("GET", f"/api/v1/models/{second}/versions/1/diff", query={"with": 1, "model": first}).json()
    changes = {f["path"]: f["change"] for f in answer["files"]}
    equal((changes["MLmodel"], answer["same"]), ("changed", False))
    assert {"added", "removed"} <= set(changes.values()), changes
    assert any(d["name"] == "xgboost" and d["change"] == "added" for d in answer["dependencies"]), answer["dependencies"]
