"""The server itself and experiments."""

import mlflow
from conformance import client, equal, raises, request, unique
from conformance import step
from mlflow.entities import ViewType

name = unique("experiments")
state = {}


@step("the server says its version and its health")
def _():
    equal(request("GET", "/version").text, mlflow.__version__)
    equal(request("GET", "/health").text, "OK")
    info = request("GET", "/api/3.0/mlflow/server-info").json()
    assert info["store_type"], info


@step("what is not there answers in MLflow's shape, not as a page")
def _():
    for path in ("/api/2.0/mlflow/nothing/here", "/ajax-api/2.0/mlflow/runs/nothing"):
        answer = request("GET", path)
        assert answer.status_code < 500 and answer.json()["error_code"], answer.text


@step("an experiment is created with tags and found by name and by id")
def _():
    state["id"] = client().create_experiment(name, tags={"team": "risk"})
    assert state["id"].isdigit(), state["id"]
    by_name, by_id = client().get_experiment_by_name(name), client().get_experiment(state["id"])
    equal(by_name.experiment_id, state["id"])
    equal(by_id.name, name)
    equal(by_id.tags, {"team": "risk"}, "tags")
    equal(by_id.lifecycle_stage, "active")
    assert by_id.creation_time and by_id.last_update_time and by_id.artifact_location.startswith("mlflow-artifacts:/")


@step("a name that is taken is refused as RESOURCE_ALREADY_EXISTS, without a word of SQL")
def _():
    e = raises("RESOURCE_ALREADY_EXISTS", client().create_experiment, name)
    assert "INSERT" not in e.message.upper().split(), e.message


@step("a name that nobody took is None by name and RESOURCE_DOES_NOT_EXIST by id")
def _():
    equal(client().get_experiment_by_name(unique("nobody")), None)
    raises("RESOURCE_DOES_NOT_EXIST", client().get_experiment, "987654321")


@step("an experiment's tags are set and deleted")
def _():
    client().set_experiment_tag(state["id"], "stage", "draft")
    client().set_experiment_tag(state["id"], "stage", "final")
    equal(client().get_experiment(state["id"]).tags["stage"], "final")
    client().delete_experiment_tag(state["id"], "stage")
    assert "stage" not in client().get_experiment(state["id"]).tags
    mlflow.set_experiment(name)
    mlflow.set_experiment_tags({"a": "1", "b": "2"})
    equal(client().get_experiment(state["id"]).tags["b"], "2")


@step("an experiment is renamed")
def _():
    client().rename_experiment(state["id"], name + " renamed")
    equal(client().get_experiment(state["id"]).name, name + " renamed")
    equal(client().get_experiment_by_name(name), None)


@step("experiments are searched by name, tag and time, in order")
def _():
    prefix = unique("searched")
    ids = [client().create_experiment(f"{prefix}-{n}", tags={"n": str(n)}) for n in range(5)]
    found = client().search_experiments(filter_string=f"name LIKE '{prefix}%'", order_by=["name DESC"])
    equal([e.experiment_id for e in found], ids[::-1])
    found = client().search_experiments(filter_string=f"name ILIKE '{prefix.upper()}%' AND tags.n = '3'")
    equal([e.experiment_id for e in found], [ids[3]])
    born = client().get_experiment(ids[2]).creation_time
    found = client().search_experiments(filter_string=f"name LIKE '{prefix}%' AND creation_time >= {born}", order_by=["creation_time ASC", "name ASC"])
    assert ids[4] in [e.experiment_id for e in found]
    state["prefix"], state["ids"] = prefix, ids


@step("pages of experiments neither repeat nor skip")
def _():
    got, token = [], None
    while True:
        page = client().search_experiments(filter_string=f"name LIKE '{state['prefix']}%'", max_results=2, page_token=token, order_by=["name"])
        got += [e.experiment_id for e in page]
        assert len(page) <= 2
        token = page.token
        if not token:
            break
    equal(got, state["ids"])


@step("a wrong filter and a wrong page token of experiments are INVALID_PARAMETER_VALUE")
def _():
    raises("INVALID_PARAMETER_VALUE", client().search_experiments, filter_string="name ~ 'x'")
    raises("INVALID_PARAMETER_VALUE", client().search_experiments, filter_string="nonsense = 'x'")
    raises("INVALID_PARAMETER_VALUE", client().search_experiments, page_token="not a token")


@step("a deleted experiment is listed as deleted, takes no runs, and comes back")
def _():
    victim = state["ids"][0]
    client().delete_experiment(victim)
    equal(client().get_experiment(victim).lifecycle_stage, "deleted")
    live = client().search_experiments(view_type=ViewType.ACTIVE_ONLY, filter_string=f"name LIKE '{state['prefix']}%'")
    dead = client().search_experiments(view_type=ViewType.DELETED_ONLY, filter_string=f"name LIKE '{state['prefix']}%'")
    equal(len(live), 4)
    equal([e.experiment_id for e in dead], [victim])
    equal(len(client().search_experiments(view_type=ViewType.ALL, filter_string=f"name LIKE '{state['prefix']}%'")), 5)
    raises("INVALID_PARAMETER_VALUE", client().create_run, victim)
    client().restore_experiment(victim)
    equal(client().get_experiment(victim).lifecycle_stage, "active")
    client().create_run(victim)


@step("the default experiment is there")
def _():
    equal(client().get_experiment("0").name, "Default")
