"""The filter grammar, orders and pages of search_runs."""

import math

import mlflow
from conformance import client, equal, experiment, raises, step, unique

home = experiment("search")
names = {}
for i, (model, loss) in enumerate([("tree", 0.1), ("tree", 0.2), ("linear", 0.3), ("Linear", math.nan), ("net", None)]):
    tags = {"even": "yes"} if i % 2 == 0 else {"odd key": "yes"}
    with mlflow.start_run(run_name=f"run {i}", tags=tags) as r:
        mlflow.log_param("model", model)
        mlflow.log_param("a b", str(i))
        if loss is not None:
            mlflow.log_metric("loss", loss)
            mlflow.log_metric("val loss", 1 - loss)
    names[r.info.run_id] = i


def found(text="", order=None, **kwargs):
    return [names[r.info.run_id] for r in client().search_runs([home], text, order_by=order or ["params.`a b` ASC"], **kwargs)]


CASES = [
    ("metrics.loss < 0.25", [0, 1]),
    ("metric.loss >= 0.2", [1, 2]),
    ("metrics.loss != 0.1 AND metrics.loss > 0", [1, 2]),
    ("metrics.`val loss` > 0.75", [0, 1]),
    ('metrics."val loss" > 0.75', [0, 1]),
    ("params.model = 'tree'", [0, 1]),
    ("parameters.model != 'tree'", [2, 3, 4]),
    ("param.model LIKE 'Lin%'", [3]),
    ("params.model ILIKE 'LIN%'", [2, 3]),
    ("params.model like '_et'", [4]),
    ("params.`a b` = '3'", [3]),
    ("tags.even = 'yes'", [0, 2, 4]),
    ("tags.`odd key` = 'yes'", [1, 3]),
    ("tag.even != 'no'", [0, 2, 4]),
    ("tags.even IS NULL", [1, 3]),
    ("tags.even IS NOT NULL", [0, 2, 4]),
    ("attributes.status = 'FINISHED' AND metrics.loss <= 0.2 and params.model = \"tree\"", [0, 1]),
    ("attribute.run_name = 'run 2'", [2]),
    ("run_name ILIKE 'RUN%'", [0, 1, 2, 3, 4]),
    ("attributes.`run name` = 'run 1'", [1]),
    ("tags.mlflow.runName = 'run 4'", [4]),
    ("attributes.start_time > 0", [0, 1, 2, 3, 4]),
    ("start_time < 1000", []),
    ("attributes.end_time > 1500000000000", [0, 1, 2, 3, 4]),
    ("metrics.none > 0", []),
    ("", [0, 1, 2, 3, 4]),
]

for text, want in CASES:

    @step(f"search: {text or 'no filter'}")
    def _(text=text, want=want):
        equal(found(text), want)


@step("search: run ids IN and NOT IN")
def _():
    ids = {i: r for r, i in names.items()}
    equal(found(f"attributes.run_id IN ('{ids[1]}', '{ids[3]}')"), [1, 3])
    equal(found(f"run_id NOT IN ('{ids[1]}', '{ids[3]}')"), [0, 2, 4])


BAD = [
    "metrics.loss > 'abc'",
    "metrics.loss LIKE '1'",
    "params.model > 'a'",
    "params.model = 3",
    "nonsense.loss > 1",
    "metrics.loss > 1 OR metrics.loss < 0",
    "(metrics.loss > 1)",
    "metrics.loss >",
    "params.model = 'open",
    "attributes.nothing = 'x'",
    "run_name IN 'x'",
]


@step("every broken filter is INVALID_PARAMETER_VALUE at once")
def _():
    for text in BAD:
        raises("INVALID_PARAMETER_VALUE", client().search_runs, [home], text)


@step("order: runs without the metric come last in both directions, NaN before them")
def _():
    equal(found(order=["metrics.loss ASC", "params.`a b`"]), [0, 1, 2, 3, 4])
    equal(found(order=["metrics.loss DESC", "params.`a b`"]), [2, 1, 0, 3, 4])


@step("order: two terms, attributes, default the newest first")
def _():
    equal(found(order=["params.model DESC", "metrics.loss DESC"]), [1, 0, 4, 2, 3])
    equal(found(order=["attributes.start_time DESC"]), [4, 3, 2, 1, 0])
    equal([names[r.info.run_id] for r in client().search_runs([home])], [4, 3, 2, 1, 0])
    raises("INVALID_PARAMETER_VALUE", client().search_runs, [home], order_by=["nonsense"])


@step("pages: two at a time, none twice, none left out, though a run is added meanwhile")
def _():
    got, token, n = [], None, 0
    while True:
        page = client().search_runs([home], order_by=["params.`a b` ASC"], max_results=2, page_token=token)
        got += [r.info.run_id for r in page]
        token, n = page.token, n + 1
        if not token:
            break
        if n == 1:
            client().create_run(home, tags={"late": "yes"})
    assert len(got) == len(set(got)) and set(names) <= set(got), got


@step("a page token that is none, and a limit beyond 50,000, are refused")
def _():
    raises("INVALID_PARAMETER_VALUE", client().search_runs, [home], page_token="%%%")
    raises("INVALID_PARAMETER_VALUE", client().search_runs, [home], max_results=50001)


@step("several experiments are searched at once, as a data frame and by name")
def _():
    other = unique("search-other")
    mlflow.set_experiment(other)
    with mlflow.start_run():
        mlflow.log_metric("loss", 0.01)
        mlflow.log_param("model", "tree")
    frame = mlflow.search_runs([home, client().get_experiment_by_name(other).experiment_id], "params.model = 'tree'", order_by=["metrics.loss"])
    equal(list(frame["metrics.loss"]), [0.01, 0.1, 0.2])
    equal(len(mlflow.search_runs(experiment_names=[other])), 1)


@step("an experiment that is not there has no runs")
def _():
    equal(list(client().search_runs(["987654321"])), [])
