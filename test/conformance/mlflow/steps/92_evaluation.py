"""Evaluation datasets and scorers."""

import json

import mlflow
import pandas
from conformance import client, equal, experiment, raises, request, step, unique
from mlflow.genai.datasets import create_dataset, delete_dataset, delete_dataset_tag, get_dataset, search_datasets, set_dataset_tags
from mlflow.genai.datasets import add_dataset_to_experiments, remove_dataset_from_experiments

home = experiment("evaluation")
other = experiment("evaluation-other")
name = unique("faq")
state = {}


def records_of(dataset):
    return client().get_dataset(dataset).records


@step("an evaluation dataset is created, and records are added and merged by their inputs")
def _():
    d = create_dataset(name=name, experiment_id=home, tags={"team": "risk"})
    state["id"] = d.dataset_id
    d.merge_records([
        {"inputs": {"question": "What is it?"}, "expectations": {"answer": "a keel"}, "tags": {"level": "easy"}},
        {"inputs": {"question": "Why?"}, "outputs": "because", "source": {"source_type": "HUMAN", "source_data": {"user": "ada"}}},
    ])
    d.merge_records(pandas.DataFrame([{"inputs": {"question": "What is it?"}, "expectations": {"length": 6}}]))
    d = get_dataset(dataset_id=state["id"])
    records = {r.inputs["question"]: r for r in records_of(state["id"])}
    equal(len(records), 2)
    equal(records["What is it?"].expectations, {"answer": "a keel", "length": 6})
    equal(records["What is it?"].tags["level"], "easy")
    equal(records["Why?"].outputs, "because")
    equal(str(records["Why?"].source.source_type.value if hasattr(records["Why?"].source.source_type, "value") else records["Why?"].source.source_type), "HUMAN")
    equal(json.loads(d.profile)["num_records"], 2)
    equal(json.loads(d.schema)["inputs"], {"question": "string"})
    assert len(d.to_df()) == 2 and d.digest


@step("a thousand records are read page by page")
def _():
    d = create_dataset(name=unique("many"), experiment_id=home)
    d.merge_records([{"inputs": {"n": n}} for n in range(1200)])
    equal(sorted(r.inputs["n"] for r in records_of(d.dataset_id)), list(range(1200)))
    delete_dataset(dataset_id=d.dataset_id)
    raises("RESOURCE_DOES_NOT_EXIST", get_dataset, dataset_id=d.dataset_id)


@step("records are deleted")
def _():
    d = get_dataset(dataset_id=state["id"])
    gone = [r.dataset_record_id for r in records_of(state["id"]) if r.inputs["question"] == "Why?"]
    equal(d.delete_records(gone), 1)
    equal(len(records_of(state["id"])), 1)


@step("evaluation datasets are found by experiment, name and tag")
def _():
    equal([d.name for d in search_datasets(experiment_ids=[home])], [name])
    equal([d.dataset_id for d in search_datasets(filter_string=f"name = '{name}'")], [state["id"]])
    equal([d.dataset_id for d in search_datasets(filter_string=f"name LIKE '{name[:8]}%' AND tags.team = 'risk'")], [state["id"]])
    equal(list(search_datasets(filter_string=f"name = '{name}' AND tags.team = 'sales'")), [])


@step("tags and experiments of an evaluation dataset change")
def _():
    set_dataset_tags(dataset_id=state["id"], tags={"stage": "draft", "team": "sales"})
    equal(get_dataset(dataset_id=state["id"]).tags["team"], "sales")
    delete_dataset_tag(dataset_id=state["id"], key="stage")
    assert "stage" not in get_dataset(dataset_id=state["id"]).tags
    add_dataset_to_experiments(dataset_id=state["id"], experiment_ids=[other])
    equal(sorted(get_dataset(dataset_id=state["id"]).experiment_ids), sorted([home, other]))
    remove_dataset_from_experiments(dataset_id=state["id"], experiment_ids=[home])
    equal(get_dataset(dataset_id=state["id"]).experiment_ids, [other])


@step("a scorer is registered, versioned, listed, read and deleted")
def _():
    from mlflow.genai.scorers import Guidelines, delete_scorer, get_scorer, list_scorers
    from mlflow.genai.scorers.registry import list_scorer_versions

    def guide(text):
        return Guidelines(name="tone", guidelines=text, model="openai:/none")

    guide("be brief").register(name="tone", experiment_id=home)
    guide("be kind").register(name="tone", experiment_id=home)
    equal([s.name for s in list_scorers(experiment_id=home)], ["tone"])
    equal([v for _, v in list_scorer_versions(name="tone", experiment_id=home)], [1, 2])
    equal(get_scorer(name="tone", experiment_id=home, version=1).guidelines, "be brief")
    equal(get_scorer(name="tone", experiment_id=home).guidelines, "be kind")
    delete_scorer(name="tone", experiment_id=home, version=1)
    equal([v for _, v in list_scorer_versions(name="tone", experiment_id=home)], [2])
    delete_scorer(name="tone", experiment_id=home, version="all")
    equal(list_scorers(experiment_id=home), [])
    raises("RESOURCE_DOES_NOT_EXIST", get_scorer, name="tone", experiment_id=home)


@step("scorers do not run by themselves here, and the server says so")
def _():
    body = {"experiment_id": home, "name": "rate", "serialized_scorer": "{}"}
    equal(request("POST", "/api/3.0/mlflow/scorers/register", body).status_code, 200)
    answer = request("PUT", "/api/3.0/mlflow/scorers/online-config", {"experiment_id": home, "name": "rate", "sample_rate": 0.5})
    equal((answer.status_code, answer.json()["error_code"]), (501, "NOT_IMPLEMENTED"))
    answer = request("PUT", "/api/3.0/mlflow/scorers/online-config", {"experiment_id": home, "name": "rate", "sample_rate": 0})
    equal((answer.status_code, answer.json()["config"]["sample_rate"]), (200, 0.0))


@step("the data that went into the runs of an experiment is listed")
def _():
    mlflow.set_experiment(experiment_id=home)
    with mlflow.start_run():
        mlflow.log_input(mlflow.data.from_pandas(pandas.DataFrame({"x": [1.0]}), name="loans"), context="training")
    answer = request("POST", "/ajax-api/2.0/mlflow/experiments/search-datasets", {"experiment_ids": [home]}).json()
    equal([(d["experiment_id"], d["name"], d["context"]) for d in answer["dataset_summaries"]], [(home, "loans", "training")])
    odd = request("POST", "/api/2.0mlflow/experiments/search-datasets", {"experiment_ids": [home]})
    equal((odd.status_code, odd.json()["error_code"]), (501, "NOT_IMPLEMENTED"))
