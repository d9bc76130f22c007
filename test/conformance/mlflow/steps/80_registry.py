"""Registered models, versions, aliases, tags, stages."""

import mlflow
import numpy
import pandas
from conformance import client, equal, experiment, raises, step, unique
from sklearn.linear_model import LinearRegression

home = experiment("registry")
name = unique("registry")
frame = pandas.DataFrame({"x": numpy.arange(8.0)})
state = {}


def log(slope, **kwargs):
    fitted = LinearRegression().fit(frame, frame["x"] * slope)
    return mlflow.sklearn.log_model(fitted, name="line", pip_requirements=["scikit-learn"], input_example=frame[:2], **kwargs)


@step("a registered model is created with description and tags")
def _():
    m = client().create_registered_model(name, tags={"area": "risk"}, description="what it decides")
    equal((m.name, m.description, m.tags), (name, "what it decides", {"area": "risk"}))
    got = client().get_registered_model(name)
    equal((got.description, got.tags), ("what it decides", {"area": "risk"}))
    assert got.creation_timestamp and got.last_updated_timestamp


@step("a name that is taken is refused, one that nobody took not found, a bad one invalid")
def _():
    raises("RESOURCE_ALREADY_EXISTS", client().create_registered_model, name)
    raises("RESOURCE_DOES_NOT_EXIST", client().get_registered_model, unique("nobody"))
    raises("INVALID_PARAMETER_VALUE", client().create_registered_model, "a/b")
    raises("INVALID_PARAMETER_VALUE", client().create_registered_model, "")


@step("a registered model is described, tagged and untagged")
def _():
    client().update_registered_model(name, "changed")
    client().set_registered_model_tag(name, "k", "v")
    got = client().get_registered_model(name)
    equal((got.description, got.tags["k"]), ("changed", "v"))
    client().delete_registered_model_tag(name, "k")
    assert "k" not in client().get_registered_model(name).tags


@step("log_model registers in the same call")
def _():
    with mlflow.start_run() as run:
        info = log(1, registered_model_name=name)
    equal(str(info.registered_model_version), "1")
    v = client().get_model_version(name, "1")
    equal((v.status, v.run_id, v.source), ("READY", run.info.run_id, f"models:/{info.model_id}"))
    state["run"], state["info"] = run.info.run_id, info


@step("a version is registered from a run's path, and from a logged model, with tags")
def _():
    equal(mlflow.register_model(f"runs:/{state['run']}/line", name, tags={"from": "run"}).version, "2")
    equal(mlflow.register_model(state["info"].model_uri, name).version, "3")
    equal(client().get_model_version(name, "2").tags, {"from": "run"})
    made = client().create_model_version(name, f"runs:/{state['run']}/line", run_id=state["run"], description="by hand", tags={"a": "b"})
    equal((made.version, made.description, made.tags, made.run_id), ("4", "by hand", {"a": "b"}, state["run"]))


@step("a source on somebody's disk or elsewhere is refused")
def _():
    for source in ("/etc", "file:///etc", "../../etc", "s3://bucket/model", "https://example.com/model", "runs:/" + "0" * 32 + "/model", "models:/m-" + "0" * 32):
        try:
            client().create_model_version(name, source)
        except mlflow.MlflowException as e:
            assert e.error_code in ("INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST"), (source, e.error_code, e.message)
        else:
            raise AssertionError(f"the source {source} was taken")


@step("a version is described, tagged and untagged")
def _():
    client().update_model_version(name, "1", "the first")
    client().set_model_version_tag(name, "1", "k", "v")
    v = client().get_model_version(name, "1")
    equal((v.description, v.tags["k"]), ("the first", "v"))
    client().delete_model_version_tag(name, "1", "k")
    assert "k" not in client().get_model_version(name, "1").tags
    raises("RESOURCE_DOES_NOT_EXIST", client().get_model_version, name, "99")
    raises("INVALID_PARAMETER_VALUE", client().get_model_version, name, "abc")


@step("an alias is set, moved, read and deleted")
def _():
    client().set_registered_model_alias(name, "candidate", "1")
    equal(client().get_model_version_by_alias(name, "candidate").version, "1")
    client().set_registered_model_alias(name, "candidate", "2")
    client().set_registered_model_alias(name, "second", 2)
    equal(client().get_registered_model(name).aliases, {"candidate": "2", "second": "2"})
    equal(sorted(client().get_model_version(name, "2").aliases), ["candidate", "second"])
    client().delete_registered_model_alias(name, "second")
    equal(client().get_registered_model(name).aliases, {"candidate": "2"})


@step("a missing alias and a reserved one are INVALID_PARAMETER_VALUE")
def _():
    raises("INVALID_PARAMETER_VALUE", client().get_model_version_by_alias, name, "nobody")
    raises("INVALID_PARAMETER_VALUE", client().set_registered_model_alias, name, "latest", "1")
    raises("INVALID_PARAMETER_VALUE", client().set_registered_model_alias, name, "v3", "1")
    raises("RESOURCE_DOES_NOT_EXIST", client().set_registered_model_alias, name, "candidate", "99")


@step("a model is loaded by alias, by number and as the latest")
def _():
    for uri in (f"models:/{name}@candidate", f"models:/{name}/1", f"models:/{name}/latest"):
        answer = mlflow.pyfunc.load_model(uri).predict(frame)
        assert numpy.allclose(answer, frame["x"]), uri
        mlflow.sklearn.load_model(uri)
    assert client().get_model_version_download_uri(name, "1").startswith(("mlflow-artifacts:/", "models:/", "runs:/"))


@step("a version's files are downloaded")
def _():
    import os

    where = mlflow.artifacts.download_artifacts(f"models:/{name}/3")
    assert os.path.exists(where + "/MLmodel")


@step("a version is copied to another model")
def _():
    target = unique("copied")
    copy = client().copy_model_version(f"models:/{name}@candidate", target)
    equal((copy.name, copy.version, copy.source), (target, "1", f"models:/{name}/2"))
    assert numpy.allclose(mlflow.pyfunc.load_model(f"models:/{target}/1").predict(frame), frame["x"])


@step("the number of a deleted version is not given away again")
def _():
    client().delete_model_version(name, "4")
    raises("RESOURCE_DOES_NOT_EXIST", client().get_model_version, name, "4")
    equal(mlflow.register_model(state["info"].model_uri, name).version, "5")


@step("versions are searched by name, run, tag, and in order")
def _():
    def found(text, **kwargs):
        return [v.version for v in client().search_model_versions(text, **kwargs)]

    equal(sorted(found(f"name = '{name}'")), ["1", "2", "3", "5"])
    equal(found(f"name = '{name}'", order_by=["version_number ASC"]), ["1", "2", "3", "5"])
    equal(found(f"name = '{name}' AND tags.`from` = 'run'"), ["2"])
    equal(sorted(found(f"run_id = '{state['run']}' AND name = '{name}'")), ["1", "2", "3", "5"])
    equal(sorted(found(f"run_id IN ('{state['run']}')"))[:1], ["1"])
    equal(found("name = 'nobody at all'"), [])
    raises("INVALID_PARAMETER_VALUE", found, "nonsense = 1")
    pages = []
    token = None
    while True:
        page = client().search_model_versions(f"name = '{name}'", max_results=3, page_token=token, order_by=["version_number ASC"])
        pages += [v.version for v in page]
        token = page.token
        if not token:
            break
    equal(pages, ["1", "2", "3", "5"])


@step("models are searched by name and tag, in order and in pages")
def _():
    prefix = unique("page")
    for n in range(5):
        client().create_registered_model(f"{prefix}-{n}", tags={"n": str(n % 2)})
    equal([m.name for m in client().search_registered_models(f"name LIKE '{prefix}%'", order_by=["name DESC"])], [f"{prefix}-{n}" for n in range(4, -1, -1)])
    equal([m.name for m in client().search_registered_models(f"name ILIKE '{prefix.upper()}%' AND tags.n = '1'")], [f"{prefix}-1", f"{prefix}-3"])
    equal([m.name for m in client().search_registered_models(f"name = '{prefix}-2'")], [f"{prefix}-2"])
    got, token = [], None
    while True:
        page = client().search_registered_models(f"name LIKE '{prefix}%'", max_results=2, page_token=token)
        got += [m.name for m in page]
        token = page.token
        if not token:
            break
    equal(got, [f"{prefix}-{n}" for n in range(5)])
    equal([v.version for m in client().search_registered_models(f"name = '{name}'") for v in m.latest_versions], ["5"])
    raises("INVALID_PARAMETER_VALUE", client().search_registered_models, "version > 3")


@step("the latest versions are given by stage")
def _():
    equal([(v.version, v.current_stage) for v in client().get_latest_versions(name)], [("5", "None")])
    equal(client().get_latest_versions(name, stages=["Production"]), [])


@step("a stage is read only: moving a version there is PERMISSION_DENIED and says how to propose it")
def _():
    e = raises("PERMISSION_DENIED", client().transition_model_version_stage, name, "1", "Production")
    assert "/api/v1/approvals" in e.message, e.message
    raises("INVALID_PARAMETER_VALUE", client().transition_model_version_stage, name, "1", "Nonsense")
    equal(client().transition_model_version_stage(name, "1", "None").current_stage, "None")


@step("a registered model is renamed, and its versions load under the new name")
def _():
    new = unique("renamed")
    client().rename_registered_model(name, new)
    raises("RESOURCE_DOES_NOT_EXIST", client().get_registered_model, name)
    assert numpy.allclose(mlflow.pyfunc.load_model(f"models:/{new}@candidate").predict(frame), frame["x"])
    equal(client().get_model_version(new, "2").tags, {"from": "run"})
    state["name"] = new


@step("a registered model is deleted with its versions, and the name is free at once")
def _():
    client().delete_registered_model(state["name"])
    raises("RESOURCE_DOES_NOT_EXIST", client().get_registered_model, state["name"])
    raises("RESOURCE_DOES_NOT_EXIST", client().get_model_version, state["name"], "1")
    client().create_registered_model(state["name"])
    equal(list(client().search_model_versions(f"name = '{state['name']}'")), [])
