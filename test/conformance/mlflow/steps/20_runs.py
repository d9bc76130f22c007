"""Runs: parameters, metrics with their histories, tags, nesting, status, the bin."""

import math
import threading
import time

import mlflow
from conformance import client, equal, experiment, raises, step
from mlflow.entities import Metric, Param, RunTag, ViewType

home = experiment("runs")
state = {}


@step("a run is started, filled and ended")
def _():
    with mlflow.start_run(run_name="first", description="what it is for", tags={"colour": "blue"}) as run:
        mlflow.log_param("depth", 3)
        mlflow.log_params({"rate": 0.1, "name": "x y"})
        mlflow.log_metric("loss", 0.5, step=1)
        mlflow.log_metrics({"auc": 0.9, "acc": 0.8}, step=2)
        mlflow.set_tag("note", "ü € 漢字 🙂")
    r = state["run"] = client().get_run(run.info.run_id)
    equal(r.info.status, "FINISHED")
    equal(r.info.run_name, "first")
    equal(r.data.params, {"depth": "3", "rate": "0.1", "name": "x y"}, "params")
    equal(r.data.metrics, {"loss": 0.5, "auc": 0.9, "acc": 0.8}, "metrics")
    equal(r.data.tags["colour"], "blue")
    equal(r.data.tags["note"], "ü € 漢字 🙂")
    equal(r.data.tags["mlflow.note.content"], "what it is for")
    equal(r.data.tags["mlflow.runName"], "first")
    assert r.info.end_time >= r.info.start_time > 1_600_000_000_000
    equal(r.info.artifact_uri, f"mlflow-artifacts:/{home}/{r.info.run_id}/artifacts")


@step("a run has a name when nobody gave it one")
def _():
    r = client().create_run(home)
    assert r.info.run_name and r.data.tags["mlflow.runName"] == r.info.run_name, r.info.run_name
    client().set_terminated(r.info.run_id)


@step("a parameter keeps its value: the same again is fine, another is refused")
def _():
    with mlflow.start_run() as run:
        mlflow.log_param("p", "1")
        mlflow.log_param("p", "1")
        raises("INVALID_PARAMETER_VALUE", mlflow.log_param, "p", "2")
        raises("INVALID_PARAMETER_VALUE", client().log_batch, run.info.run_id, params=[Param("q", "1"), Param("q", "2")])
    equal(client().get_run(run.info.run_id).data.params["p"], "1")


@step("a parameter of 6,000 characters comes back whole")
def _():
    with mlflow.start_run() as run:
        mlflow.log_param("long", "é" * 6000)
    equal(client().get_run(run.info.run_id).data.params["long"], "é" * 6000)


@step("the latest metric is the one of the highest step, time and value, not the last one written")
def _():
    r = client().create_run(home).info.run_id
    client().log_metric(r, "m", 3.0, timestamp=1000, step=10)
    client().log_metric(r, "m", 1.0, timestamp=2000, step=5)
    client().log_metric(r, "m", 2.0, timestamp=1000, step=10)
    client().log_metric(r, "m", 9.0, timestamp=3000, step=-1)
    equal(client().get_run(r).data.metrics["m"], 3.0)
    history = client().get_metric_history(r, "m")
    equal(sorted((m.step, m.timestamp, m.value) for m in history), [(-1, 3000, 9.0), (5, 2000, 1.0), (10, 1000, 2.0), (10, 1000, 3.0)])


@step("the same point twice is one point")
def _():
    r = client().create_run(home).info.run_id
    for _ in range(3):
        client().log_metric(r, "m", 1.5, timestamp=7, step=7)
    equal(len(client().get_metric_history(r, "m")), 1)


@step("NaN and infinities are kept")
def _():
    r = client().create_run(home).info.run_id
    client().log_metric(r, "nan", math.nan)
    client().log_metric(r, "up", math.inf)
    client().log_metric(r, "down", -math.inf)
    got = client().get_run(r).data.metrics
    assert math.isnan(got["nan"]), got
    equal(got["up"], 1.7976931348623157e308)
    equal(got["down"], -1.7976931348623157e308)


@step("a batch of 1,000 metrics, 100 parameters and 100 tags is taken")
def _():
    r = client().create_run(home).info.run_id
    client().log_batch(r, metrics=[Metric("m", float(i), i, i) for i in range(800)])
    client().log_batch(r, params=[Param(f"p{i}", str(i)) for i in range(100)], tags=[RunTag(f"t{i}", str(i)) for i in range(100)])
    data = client().get_run(r).data
    equal(len(data.params), 100)
    equal(sum(k.startswith("t") for k in data.tags), 100)
    equal(data.metrics["m"], 799.0)
    state["batch"] = r


@step("a long history comes back in pages, whole")
def _():
    r = client().create_run(home).info.run_id
    for at in range(0, 30000, 1000):
        client().log_batch(r, metrics=[Metric("m", math.sin(i), 1000 + i, i) for i in range(at, at + 1000)])
    history = client().get_metric_history(r, "m")
    equal(len(history), 30000)
    equal(sorted(m.step for m in history), list(range(30000)))
    equal({m.step: m.value for m in history}[29999], math.sin(29999))


@step("the history of a metric that is not there is empty")
def _():
    equal(list(client().get_metric_history(state["batch"], "none")), [])


@step("names with slashes, spaces and dots are kept, paths that lead elsewhere refused")
def _():
    with mlflow.start_run() as run:
        mlflow.log_metric("train/loss v1.0:x", 1)
        mlflow.log_param("a/b c", "1")
        raises("INVALID_PARAMETER_VALUE", mlflow.log_metric, "../x", 1)
        raises("INVALID_PARAMETER_VALUE", mlflow.log_param, "/x", 1)
        raises("INVALID_PARAMETER_VALUE", mlflow.set_tag, "a//b", 1)
    data = client().get_run(run.info.run_id).data
    assert "train/loss v1.0:x" in data.metrics and "a/b c" in data.params


@step("tags are changed and deleted")
def _():
    r = client().create_run(home, tags={"a": "1"}).info.run_id
    client().set_tag(r, "a", "2")
    equal(client().get_run(r).data.tags["a"], "2")
    client().delete_tag(r, "a")
    assert "a" not in client().get_run(r).data.tags
    raises("RESOURCE_DOES_NOT_EXIST", client().delete_tag, r, "a")
    with mlflow.start_run(run_id=r):
        mlflow.set_tags({"x": 1, "y": 2})
        mlflow.delete_tag("x")
    equal(client().get_run(r).data.tags["y"], "2")


@step("nested runs know their parent and are found by it")
def _():
    with mlflow.start_run(run_name="parent") as parent:
        children = []
        for i in range(3):
            with mlflow.start_run(run_name=f"child {i}", nested=True) as child:
                mlflow.log_metric("i", i)
                with mlflow.start_run(nested=True) as grandchild:
                    mlflow.log_param("g", i)
            children.append(child.info.run_id)
    found = client().search_runs([home], f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'")
    equal({r.info.run_id for r in found}, set(children))
    equal(mlflow.get_parent_run(children[0]).info.run_id, parent.info.run_id)
    equal(mlflow.get_parent_run(grandchild.info.run_id).info.run_id, children[2])


@step("a run that ends in an exception has failed")
def _():
    try:
        with mlflow.start_run() as run:
            raise RuntimeError("no")
    except RuntimeError:
        pass
    equal(client().get_run(run.info.run_id).info.status, "FAILED")


@step("a run is resumed, renamed and ended by hand")
def _():
    with mlflow.start_run(run_id=state["run"].info.run_id):
        equal(client().get_run(state["run"].info.run_id).info.status, "RUNNING")
        mlflow.log_metric("loss", 0.4, step=2)
    client().update_run(state["run"].info.run_id, status="KILLED", name="renamed")
    r = client().get_run(state["run"].info.run_id)
    equal((r.info.status, r.info.run_name, r.data.metrics["loss"]), ("KILLED", "renamed", 0.4))


@step("a run keeps the start and end it was given")
def _():
    r = client().create_run(home, start_time=1_500_000_000_123).info.run_id
    client().set_terminated(r, "FINISHED", end_time=1_500_000_001_456)
    info = client().get_run(r).info
    equal((info.start_time, info.end_time), (1_500_000_000_123, 1_500_000_001_456))


@step("a deleted run is in the bin, takes no metrics, and comes back")
def _():
    r = client().create_run(home).info.run_id
    client().delete_run(r)
    equal(client().get_run(r).info.lifecycle_stage, "deleted")
    raises("INVALID_PARAMETER_VALUE", client().log_metric, r, "m", 1)
    assert r not in {x.info.run_id for x in client().search_runs([home], max_results=5000)}
    assert r in {x.info.run_id for x in client().search_runs([home], run_view_type=ViewType.DELETED_ONLY)}
    client().restore_run(r)
    client().log_metric(r, "m", 1)
    assert r in {x.info.run_id for x in client().search_runs([home], max_results=5000)}


@step("a run that is not there is RESOURCE_DOES_NOT_EXIST")
def _():
    raises("RESOURCE_DOES_NOT_EXIST", client().get_run, "0" * 32)
    raises("RESOURCE_DOES_NOT_EXIST", client().log_metric, "0" * 32, "m", 1)


@step("metrics logged in the background arrive")
def _():
    with mlflow.start_run() as run:
        for i in range(200):
            mlflow.log_metric("a", i, step=i, synchronous=False)
        mlflow.log_params({"p": 1}, synchronous=False).wait()
        mlflow.flush_async_logging()
    equal(len(client().get_metric_history(run.info.run_id, "a")), 200)


@step("eight threads write to one run and nothing is lost")
def _():
    r = client().create_run(home).info.run_id
    wrong = []

    def work(n):
        try:
            for i in range(25):
                client().log_metric(r, f"t{n}", i, step=i)
        except Exception as e:
            wrong.append(e)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    begin = time.monotonic()
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    equal(wrong, [])
    assert time.monotonic() - begin < 60
    for n in range(8):
        equal(len(client().get_metric_history(r, f"t{n}")), 25)
