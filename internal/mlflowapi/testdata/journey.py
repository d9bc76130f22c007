"""What a data scientist does with the ordinary mlflow client, step by step, each step checked.

The server's address comes from MLFLOW_TRACKING_URI. Every step prints its name; the last line is "done N steps".
"""

import math
import os
import pathlib
import tempfile
import warnings

warnings.filterwarnings("ignore")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
os.environ["MLFLOW_ENABLE_ASYNC_LOGGING"] = "false"

import mlflow
import numpy as np
import pandas as pd
import xgboost as xgb
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag, ViewType
from mlflow.exceptions import MlflowException
from mlflow.models import infer_signature
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression

client = MlflowClient()
steps = 0


def step(name):
    global steps
    steps += 1
    print("step", steps, name, flush=True)


def refused(code, what):
    try:
        what()
    except MlflowException as e:
        assert e.error_code == code, (e.error_code, str(e))
        return str(e)
    raise AssertionError(f"{code} expected")


step("an experiment is made by name and found again")
experiment = mlflow.set_experiment("journey")
assert mlflow.set_experiment("journey").experiment_id == experiment.experiment_id
assert experiment.artifact_location == f"mlflow-artifacts:/{experiment.experiment_id}"
assert client.get_experiment("0").name == "Default"
step("a name taken, an unknown name and an unknown id answer as MLflow does")
refused("RESOURCE_ALREADY_EXISTS", lambda: client.create_experiment("journey"))
assert client.get_experiment_by_name("nobody made this") is None
refused("RESOURCE_DOES_NOT_EXIST", lambda: client.get_experiment("999999"))
refused("INVALID_PARAMETER_VALUE", lambda: client.create_experiment("elsewhere", artifact_location="file:///etc"))
step("experiments carry tags")
client.set_experiment_tag(experiment.experiment_id, "team", "clinic")
client.set_experiment_tag(experiment.experiment_id, "gone", "x")
client.delete_experiment_tag(experiment.experiment_id, "gone")
assert client.get_experiment(experiment.experiment_id).tags == {"team": "clinic"}
step("experiments are searched")
assert [e.name for e in client.search_experiments(filter_string="tags.team = 'clinic'")] == ["journey"]
assert "Default" in [e.name for e in client.search_experiments(order_by=["name DESC"])]
step("an experiment is renamed, deleted and restored")
second = client.create_experiment("second")
client.rename_experiment(second, "renamed")
client.delete_experiment(second)
assert client.get_experiment(second).lifecycle_stage == "deleted"
assert [e.name for e in client.search_experiments(view_type=ViewType.DELETED_ONLY)] == ["renamed"]
client.restore_experiment(second)
assert client.get_experiment(second).lifecycle_stage == "active"

step("a run logs parameters, metrics, tags")
with mlflow.start_run(run_name="first", tags={"stage": "try"}) as run:
    mlflow.log_param("depth", 3)
    mlflow.log_params({"eta": 0.1, "objective": "binary"})
    mlflow.log_metric("loss", 0.5, step=0)
    mlflow.log_metrics({"loss": 0.4, "auc": 0.9}, step=1)
    mlflow.set_tag("note", "schön")
    mlflow.set_tags({"a": 1, "b": 2})
    with mlflow.start_run(run_name="child", nested=True) as child:
        mlflow.log_metric("auc", 0.7)
first = client.get_run(run.info.run_id)
assert first.info.status == "FINISHED" and first.info.end_time >= first.info.start_time
assert first.info.run_name == "first" and first.data.params == {"depth": "3", "eta": "0.1", "objective": "binary"}
assert first.data.metrics == {"loss": 0.4, "auc": 0.9} and first.data.tags["note"] == "schön" and first.data.tags["a"] == "1"
step("a nested run knows its parent")
assert client.get_run(child.info.run_id).data.tags["mlflow.parentRunId"] == run.info.run_id
assert [r.info.run_id for r in client.search_runs([experiment.experiment_id], f"tags.mlflow.parentRunId = '{run.info.run_id}'")] == [child.info.run_id]
step("a metric has a history")
assert [(m.step, m.value) for m in client.get_metric_history(run.info.run_id, "loss")] == [(0, 0.5), (1, 0.4)]
step("a batch carries 1000 metrics, NaN and infinities come back")
client.log_batch(run.info.run_id, [Metric("many", i / 2, 1000 + i, i) for i in range(997)] + [Metric("odd", math.nan, 1, 0), Metric("up", math.inf, 1, 0), Metric("down", -math.inf, 1, 0)],
                 [Param("p", "v")], [])
data = client.get_run(run.info.run_id).data
assert data.metrics["many"] == 498 and math.isnan(data.metrics["odd"]) and data.metrics["up"] > 1e308 and data.metrics["down"] < -1e308
assert len(client.get_metric_history(run.info.run_id, "many")) == 997
step("the latest metric is the greatest by step, not the last one written")
client.log_metric(run.info.run_id, "late", 2, timestamp=5, step=9)
client.log_metric(run.info.run_id, "late", 7, timestamp=99, step=-3)
assert client.get_run(run.info.run_id).data.metrics["late"] == 2
step("a parameter does not change")
client.log_param(run.info.run_id, "depth", 3)
assert "Changing param values is not allowed" in refused("INVALID_PARAMETER_VALUE", lambda: client.log_param(run.info.run_id, "depth", 4))
step("keys that climb and batches beyond the limits are refused")
refused("INVALID_PARAMETER_VALUE", lambda: client.log_metric(run.info.run_id, "../x", 1))
refused("INVALID_PARAMETER_VALUE", lambda: client.log_batch(run.info.run_id, [], [Param("k", "x" * 6001)], []))
step("a tag goes away, a missing one is told")
client.delete_tag(run.info.run_id, "a")
refused("RESOURCE_DOES_NOT_EXIST", lambda: client.delete_tag(run.info.run_id, "a"))
step("a run ends as failed when its code fails, and can be taken up again")
try:
    with mlflow.start_run(run_name="fails") as broken:
        raise ValueError("on purpose")
except ValueError:
    pass
assert client.get_run(broken.info.run_id).info.status == "FAILED"
with mlflow.start_run(run_id=broken.info.run_id):
    assert client.get_run(broken.info.run_id).info.status == "RUNNING"
client.update_run(broken.info.run_id, status="KILLED", name="mended")
assert client.get_run(broken.info.run_id).info.run_name == "mended"
step("a deleted run takes nothing and can be restored")
client.delete_run(broken.info.run_id)
refused("INVALID_PARAMETER_VALUE", lambda: client.log_metric(broken.info.run_id, "m", 1))
client.restore_run(broken.info.run_id)
refused("RESOURCE_DOES_NOT_EXIST", lambda: client.get_run("0" * 32))
step("runs are searched, ordered and paged")
names = lambda f, **kw: [r.info.run_name for r in client.search_runs([experiment.experiment_id], f, **kw)]
assert names("metrics.auc > 0.8") == ["first"]
assert names("params.depth = '3' and tags.stage LIKE 't%' and attributes.status = 'FINISHED'") == ["first"]
assert names("metrics.auc > 0", order_by=["metrics.auc ASC"]) == ["child", "first"]
assert names("run_name ILIKE 'FIR%'") == ["first"]
assert names(f"run_id IN ('{child.info.run_id}')") == ["child"]
page = client.search_runs([experiment.experiment_id], max_results=2)
assert len(page) == 2 and page.token
assert len(client.search_runs([experiment.experiment_id], max_results=2, page_token=page.token)) == 1
assert "position" in refused("INVALID_PARAMETER_VALUE", lambda: client.search_runs([experiment.experiment_id], "metrics.auc > 'x' OR"))
frame = mlflow.search_runs(experiment_names=["journey"])
assert len(frame) == 3 and "metrics.auc" in frame.columns

step("artifacts go up, are listed and come back unchanged")
with tempfile.TemporaryDirectory() as folder, mlflow.start_run(run_id=run.info.run_id):
    base = pathlib.Path(folder)
    (base / "sub").mkdir()
    (base / "a b.txt").write_text("one")
    (base / "sub" / "größe.bin").write_bytes(bytes(range(256)) * 4096)
    mlflow.log_artifacts(folder, "plots")
    mlflow.log_text("hello", "notes/readme.txt")
    mlflow.log_dict({"x": 1}, "notes/x.json")
    listed = [(f.path, f.is_dir, f.file_size) for f in client.list_artifacts(run.info.run_id)]
    assert listed == [("notes", True, None), ("plots", True, None)], listed
    assert sorted(f.path for f in client.list_artifacts(run.info.run_id, "plots")) == ["plots/a b.txt", "plots/sub"]
    back = pathlib.Path(mlflow.artifacts.download_artifacts(run_id=run.info.run_id, artifact_path="plots"))
    assert (back / "a b.txt").read_text() == "one" and (back / "sub" / "größe.bin").read_bytes() == bytes(range(256)) * 4096
    assert mlflow.artifacts.load_dict(f"runs:/{run.info.run_id}/notes/x.json") == {"x": 1}
step("a table is a file that can be read back")
with mlflow.start_run(run_id=run.info.run_id):
    mlflow.log_table(pd.DataFrame({"a": [1, 2], "b": ["x", "y"]}), "tables/t.json")
assert list(mlflow.load_table("tables/t.json", run_ids=[run.info.run_id])["b"]) == ["x", "y"]
step("metrics logged in the background arrive")
with mlflow.start_run(run_name="async") as background:
    for i in range(50):
        mlflow.log_metric("slow", i, step=i, synchronous=False)
    mlflow.flush_async_logging()
assert len(client.get_metric_history(background.info.run_id, "slow")) == 50
step("the parent of a nested run is found")
assert mlflow.get_parent_run(child.info.run_id).info.run_id == run.info.run_id
client.delete_run(background.info.run_id)
step("an artifact that is not there is told")
try:
    mlflow.artifacts.download_artifacts(run_id=run.info.run_id, artifact_path="nowhere.txt")
    raise AssertionError("a missing artifact was downloaded")
except Exception as e:
    assert "nowhere.txt" in str(e) or "404" in str(e), e

step("data sets are logged as inputs")
bunch = load_breast_cancer(as_frame=True)
inputs = bunch.data.rename(columns=lambda c: c.replace(" ", "_")).astype("float64")
target = 1 - bunch.target
with mlflow.start_run(run_id=run.info.run_id):
    mlflow.log_input(mlflow.data.from_pandas(inputs.assign(malignant=target), name="patients", targets="malignant"), context="training", tags={"keelson.version": "3"})
logged = client.get_run(run.info.run_id).inputs.dataset_inputs
assert len(logged) == 1 and logged[0].dataset.name == "patients" and {t.key: t.value for t in logged[0].tags}["mlflow.data.context"] == "training"

step("an XGBoost model is logged with an example and registered by name")
booster = xgb.train({"objective": "binary:logistic", "max_depth": 3, "nthread": 1}, xgb.DMatrix(inputs, label=target), num_boost_round=20)
with mlflow.start_run(run_name="xgboost") as training:
    info = mlflow.xgboost.log_model(booster, name="model", signature=infer_signature(inputs, booster.predict(xgb.DMatrix(inputs))),
                                    input_example=inputs.head(3), registered_model_name="screening")
assert str(info.registered_model_version) == "1", info.registered_model_version
version = client.get_model_version("screening", "1")
assert version.status == "READY", (version.status, version.status_message)
assert version.run_id == training.info.run_id and version.current_stage == "None" and version.source.endswith(info.model_id)
step("the run says which model came out of it")
assert [m.model_id for m in client.get_run(training.info.run_id).outputs.model_outputs] == [info.model_id]
step("a version is loaded by number, by alias and as a function, and answers as the original")
client.set_registered_model_alias("screening", "champion", "1")
expected = booster.predict(xgb.DMatrix(inputs))
assert np.allclose(mlflow.xgboost.load_model("models:/screening/1").predict(xgb.DMatrix(inputs)), expected)
assert np.allclose(mlflow.pyfunc.load_model("models:/screening@champion").predict(inputs), expected)
assert np.allclose(mlflow.pyfunc.load_model(info.model_uri).predict(inputs), expected)
assert np.allclose(mlflow.pyfunc.load_model("models:/screening/latest").predict(inputs), expected)
step("the logged model is found, tagged and carries metrics")
model = client.get_logged_model(info.model_id)
assert model.status.value == "READY" and model.name == "model" and model.source_run_id == training.info.run_id
client.set_logged_model_tags(info.model_id, {"colour": "red", "gone": "x"})
client.delete_logged_model_tag(info.model_id, "gone")
client.log_metric(training.info.run_id, "auc", 0.99, model_id=info.model_id, dataset_name="holdout", dataset_digest="abc")
found = client.search_logged_models([experiment.experiment_id], filter_string="tags.colour = 'red' AND metrics.auc > 0.9", order_by=[{"field_name": "creation_timestamp", "ascending": False}])
assert [m.model_id for m in found] == [info.model_id] and found[0].metrics[0].value == 0.99
step("the files of a logged model and of a version are listed and downloaded")
assert "MLmodel" in [f.path for f in client.list_logged_model_artifacts(info.model_id)]
local = pathlib.Path(mlflow.artifacts.download_artifacts("models:/screening/1"))
assert (local / "MLmodel").exists() and (local / "model.ubj").stat().st_size > 1000
step("the client reads a model's signature and example without loading it")
described = mlflow.models.get_model_info("models:/screening/1")
assert len(described.signature.inputs.inputs) == 30 and "xgboost" in described.flavors
step("the logged models are shown as a table")
assert info.model_id in list(mlflow.search_logged_models(experiment_ids=[experiment.experiment_id])["model_id"])
step("autolog registers a model of its own")
mlflow.xgboost.autolog(log_datasets=True, importance_types=[], registered_model_name="automatic")
with mlflow.start_run(run_name="auto") as auto:
    xgb.train({"objective": "binary:logistic", "max_depth": 2, "nthread": 1}, xgb.DMatrix(inputs, label=target), num_boost_round=5,
              evals=[(xgb.DMatrix(inputs, label=target), "train")])
mlflow.xgboost.autolog(disable=True)
auto_run = client.get_run(auto.info.run_id)
assert auto_run.data.params["max_depth"] == "2" and "train-logloss" in auto_run.data.metrics
assert client.get_model_version("automatic", "1").status == "READY"
step("a scikit-learn model, which no engine here runs, is kept and loads in the client")
with mlflow.start_run(run_name="sklearn"):
    linear = LogisticRegression(max_iter=50).fit(inputs / inputs.max(), target)
    mlflow.sklearn.log_model(linear, name="linear", serialization_format="cloudpickle", input_example=(inputs / inputs.max()).head(2), registered_model_name="linear")
kept = client.get_model_version("linear", "1")
assert kept.status == "READY" and "No engine" in kept.status_message, (kept.status, kept.status_message)
assert (mlflow.sklearn.load_model("models:/linear/1").predict(inputs / inputs.max()) == linear.predict(inputs / inputs.max())).all()

step("a version is registered from a run's model and from another version")
again = mlflow.register_model(f"runs:/{training.info.run_id}/model", "screening", tags={"from": "run"})
assert again.version == 2 or again.version == "2"
copy = client.copy_model_version("models:/screening/2", "copied")
assert client.get_model_version("copied", copy.version).status == "READY"
step("places that are not ours are never opened")
for source in ["file:///etc", "/etc/passwd", "http:///../../etc", "s3://b/../..", "file:///\\..\\..\\etc", "//proc/self/root", "mlflow-artifacts:/../../etc", "mlflow-artifacts://host/0/x", "runs:/x/../.."]:
    try:
        client.create_model_version("screening", source)
        raise AssertionError(source)
    except MlflowException as e:
        assert e.error_code in ("INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST"), (source, e.error_code)
step("registered models are described, tagged, searched and listed")
client.update_registered_model("screening", "how likely is this tumour malignant")
client.set_registered_model_tag("screening", "area", "clinic")
client.set_registered_model_tag("screening", "gone", "x")
client.delete_registered_model_tag("screening", "gone")
registered = client.get_registered_model("screening")
assert registered.description.startswith("how likely") and registered.tags == {"area": "clinic"} and registered.aliases == {"champion": "1"}
assert [m.name for m in client.search_registered_models("name LIKE 'scr%'")] == ["screening"]
assert [m.name for m in client.search_registered_models("tags.area = 'clinic'")] == ["screening"]
assert [m.name for m in client.search_registered_models(order_by=["name ASC"], max_results=2)] == ["automatic", "copied"]
step("versions are described, tagged and searched")
client.update_model_version("screening", "1", "the first")
client.set_model_version_tag("screening", "1", "checked", "yes")
client.set_model_version_tag("screening", "1", "gone", "x")
client.delete_model_version_tag("screening", "1", "gone")
assert client.get_model_version("screening", "1").description == "the first"
assert [v.version for v in client.search_model_versions("name = 'screening'", order_by=["version_number ASC"])] in (["1", "2"], [1, 2])
assert len(client.search_model_versions("tags.checked = 'yes'")) == 1
assert len(client.search_model_versions(f"run_id = '{training.info.run_id}'")) == 3
assert client.get_model_version_download_uri("screening", "1").startswith("mlflow-artifacts:/")
step("aliases move, are read and go away")
client.set_registered_model_alias("screening", "champion", "2")
assert str(client.get_model_version_by_alias("screening", "champion").version) == "2"
client.delete_registered_model_alias("screening", "champion")
refused("INVALID_PARAMETER_VALUE", lambda: client.get_model_version_by_alias("screening", "champion"))
step("stages are read; moving one needs an approval")
assert [v.current_stage for v in client.get_latest_versions("screening")] == ["None"]
assert "approved change" in refused("PERMISSION_DENIED", lambda: client.transition_model_version_stage("screening", "1", "Production"))
step("models are renamed and deleted, numbers do not return")
client.rename_registered_model("copied", "renamed copy")
client.delete_registered_model("renamed copy")
refused("RESOURCE_DOES_NOT_EXIST", lambda: client.get_registered_model("renamed copy"))
client.delete_model_version("screening", "2")
third = mlflow.register_model(info.model_uri, "screening", await_registration_for=60)
assert str(third.version) == "3", third.version
refused("RESOURCE_ALREADY_EXISTS", lambda: client.create_registered_model("screening"))
refused("RESOURCE_DOES_NOT_EXIST", lambda: client.get_model_version("screening", "77"))
step("a logged model is deleted, its versions stay")
client.delete_logged_model(info.model_id)
refused("RESOURCE_DOES_NOT_EXIST", lambda: client.get_logged_model(info.model_id))
assert np.allclose(mlflow.pyfunc.load_model("models:/screening/1").predict(inputs), expected)
step("artifacts are deleted through the proxy")
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
get_artifact_repository(run.info.artifact_uri).delete_artifacts("plots")
assert [f.path for f in client.list_artifacts(run.info.run_id)] == ["notes", "tables"]
print("done", steps, "steps")
