"""Data sets as inputs of runs."""

import mlflow
import numpy
import pandas
from conformance import client, equal, experiment, step
from mlflow.entities import Dataset, DatasetInput, InputTag

home = experiment("datasets")
frame = pandas.DataFrame({"x": [1.0, 2.0, 3.0], "y": [0, 1, 0]})
state = {}


@step("a data frame is an input of a run, with schema, profile, source and context")
def _():
    data = mlflow.data.from_pandas(frame, source="https://data.example/screening.csv", name="screening", targets="y")
    with mlflow.start_run() as run:
        mlflow.log_input(data, context="training", tags={"split": "a"})
    state["run"] = run.info.run_id
    (got,) = client().get_run(run.info.run_id).inputs.dataset_inputs
    equal((got.dataset.name, got.dataset.digest), ("screening", data.digest))
    equal({t.key: t.value for t in got.tags}, {"mlflow.data.context": "training", "split": "a"})
    assert "x" in got.dataset.schema and "num_rows" in got.dataset.profile
    source = mlflow.data.get_source(got)
    equal(source.url, "https://data.example/screening.csv")


@step("the same data set twice is one input")
def _():
    data = mlflow.data.from_pandas(frame, name="screening", source="https://data.example/screening.csv", targets="y")
    with mlflow.start_run(run_id=state["run"]):
        mlflow.log_input(data, context="training")
    equal(len(client().get_run(state["run"]).inputs.dataset_inputs), 1)


@step("arrays and many data sets are inputs")
def _():
    with mlflow.start_run() as run:
        mlflow.log_input(mlflow.data.from_numpy(numpy.arange(6).reshape(2, 3), name="matrix"), context="evaluation")
        mlflow.log_inputs([mlflow.data.from_pandas(frame * n, name=f"part {n}") for n in (2, 3)], contexts=["training", "test"], tags_list=[None, {"n": "3"}])
    names = {i.dataset.name for i in client().get_run(run.info.run_id).inputs.dataset_inputs}
    equal(names, {"matrix", "part 2", "part 3"})
    state["many"] = run.info.run_id


@step("the client's plain data sets are inputs")
def _():
    run = client().create_run(home).info.run_id
    client().log_inputs(run, [DatasetInput(Dataset("plain", "abc123", "local", '{"uri": "here"}'), [InputTag("mlflow.data.context", "training")])])
    (got,) = client().get_run(run).inputs.dataset_inputs
    equal((got.dataset.name, got.dataset.digest, got.dataset.source), ("plain", "abc123", '{"uri": "here"}'))


@step("runs are found by the data they used")
def _():
    def found(text):
        return {r.info.run_id for r in client().search_runs([home], text)}

    equal(found("datasets.name = 'screening'"), {state["run"]})
    equal(found("dataset.name IN ('part 2', 'nothing')"), {state["many"]})
    equal(found("datasets.context = 'evaluation'"), {state["many"]})
    equal(found("datasets.digest = 'abc123' AND datasets.context = 'test'"), set())
