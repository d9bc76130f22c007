"""MLflow's scoring call, by MLflow's own client where it has one, and the description of the endpoint."""

import json

import jsonschema
import numpy as np
import pandas as pd
from conformance import ADDRESS, TOKEN, check, equal, skip, step
from mlflow.pyfunc.scoring_server.client import ScoringServerClient
from openapi_spec_validator import OpenAPIV31SpecValidator, validate


def table(c, rows=slice(None)):
    """The rows as a frame of named columns; a matrix among several inputs becomes a column of lists."""
    values = c.values(rows)
    if len(c.inputs) == 1 and next(iter(values.values())).ndim == 2:
        v = values[c.inputs[0]["name"]]
        return pd.DataFrame(v, columns=getattr(c, "columns", None) or [str(k) for k in range(v.shape[1])])
    return pd.DataFrame({n: v.tolist() if v.ndim == 2 and v.shape[1] > 1 else v.ravel() for n, v in values.items()})


def lists(c):
    return any(v.ndim == 2 and v.shape[1] > 1 for v in c.values().values()) and len(c.inputs) > 1


def whole(c):
    """The rows without missing values, which MLflow's client does not send."""
    return slice(None) if lists(c) else np.flatnonzero(~table(c).isna().any(axis=1))


def spelled(v):
    """Values as JSON has them."""
    if isinstance(v, dict):
        return {k: spelled(x) for k, x in v.items()}
    if isinstance(v, (list, tuple, np.ndarray)):
        return [spelled(x) for x in v]
    v = v.item() if hasattr(v, "item") else v
    return None if isinstance(v, float) and v != v else v


def scored(c, predictions, rows=slice(None)):
    """Checks answers: per row a value or a list, or an object of all outputs."""
    for name, want in c.want(rows).items():
        got = [p[name] if isinstance(p, dict) else p for p in predictions]
        equal(len(got), len(want), "answers")
        c.same(name, np.array([[np.nan if v is None else v for v in g] if isinstance(g, list) else g for g in got]).reshape(want.shape), want)


def client(c):
    """MLflow's client sends what stands before the host as its credentials."""
    host, port = ADDRESS.split(":")
    return ScoringServerClient(f"any:{TOKEN}@{host}", f"{port}/v2/models/{c.endpoint}")


@step("MLflow's client waits for the model and asks its version", "http")
def _(c):
    client(c).wait_server_ready(timeout=10)
    check(client(c).get_version(), "version")


@step("MLflow's client sends a frame", "http")
def _(c):
    if lists(c):
        skip("its inputs are several matrices, which MLflow's frames do not hold")
    rows = whole(c)
    answer = client(c).invoke(table(c, rows))
    scored(c, spelled(json.loads(answer.to_json())["predictions"]), rows)


@step("MLflow's client sends arrays", "http")
def _(c):
    rows = whole(c)
    data = spelled(table(c, rows).to_dict(orient="split")["data"])
    scored(c, json.loads(client(c).invoke(data).to_json())["predictions"], rows)  # as a list
    if len(c.inputs) == 1:
        scored(c, json.loads(client(c).invoke(np.array(data), params={"purpose": "test"}).to_json())["predictions"], rows)


def posted(c, body, rows=slice(None), **headers):
    r = c.post("/invocations", body, **headers)
    check(r.status_code == 200, f"{r.status_code} {r.text[:300]}")
    check(r.headers["Keelson-Prediction-Id"], "prediction id")
    scored(c, r.json()["predictions"], rows)


@step("dataframe_split is scored", "http")
def _(c):
    split = {k: spelled(v) for k, v in table(c).to_dict(orient="split").items()}
    posted(c, {"dataframe_split": split})
    posted(c, {"dataframe_split": {k: split[k] for k in ("columns", "data")}, "params": {"purpose": "test"}})


@step("dataframe_records is scored", "http")
def _(c):
    posted(c, {"dataframe_records": spelled(table(c).to_dict(orient="records"))})


@step("instances are scored, as lists or as objects", "http")
def _(c):
    t = table(c)
    posted(c, {"instances": spelled(t.to_dict(orient="records"))})
    posted(c, {"instances": spelled(t.to_dict(orient="split")["data"])})
    if len(c.inputs) == 1:
        posted(c, {"instances": [{c.inputs[0]["name"]: row} for row in spelled(t.to_dict(orient="split")["data"])]})


@step("inputs are scored, as lists or as columns", "http")
def _(c):
    t = table(c)
    posted(c, {"inputs": spelled(t.to_dict(orient="split")["data"])})
    posted(c, {"inputs": {n: spelled(v) for n, v in c.values().items()}})
    if getattr(c, "columns", None):
        posted(c, {"inputs": spelled(t.to_dict(orient="list"))})


@step("CSV is scored", "http")
def _(c):
    if lists(c):
        skip("its inputs are several matrices, which no CSV holds")
    for kind in ("text/csv", "text/csv; charset=utf-8"):
        posted(c, table(c).to_csv(index=False).encode(), **{"Content-Type": kind})


@step("a content type that is none of the two is refused", "http")
def _(c):
    r = c.post("/invocations", b"<rows/>", **{"Content-Type": "application/xml"})
    check(r.status_code == 415 and r.json()["error"], f"{r.status_code} {r.text}")


@step("mistakes in rows are told", "http")
def _(c):
    for body in ({}, {"instances": []}, {"dataframe_split": {"columns": ["a", "a"], "data": [[1, 2]]}}, {"dataframe_records": [{"stranger": 1}]}, {"instances": [[1, 2], [3]]}, {"inputs": 7}):
        r = c.post("/invocations", body)
        check(r.status_code == 400 and r.json()["error"], f"{body}: {r.status_code} {r.text}")
    for body in (b"", b"a,a\n1,2\n", b"a,b\n1\n", b'"a\n1\n', b"stranger\n1\n"):
        r = c.post("/invocations", body, **{"Content-Type": "text/csv"})
        check(r.status_code == 400 and r.json()["error"], f"{body}: {r.status_code} {r.text}")


@step("the endpoint's description is valid OpenAPI, of the model and of its version", "http")
def _(c):
    for version in (False, True):
        validate(c.get("/openapi.json", version), cls=OpenAPIV31SpecValidator)


@step("the examples of the description are answered as it says", "http")
def _(c):
    d = c.get("/openapi.json")
    whole = {"$schema": "https://json-schema.org/draft/2020-12/schema", "components": d["components"]}
    tried = 0
    for path, item in d["paths"].items():
        for method, call in item.items():
            schema = call["responses"]["200"]["content"]["application/json"]["schema"]
            rest = path.removeprefix(f"/v2/models/{c.endpoint}")
            if method == "get":
                got = c.get(rest)
            else:
                media = call["requestBody"]["content"]["application/json"]
                (example,) = media["examples"].values()
                jsonschema.validate(example["value"], whole | media["schema"])
                r = c.post(rest, example["value"])
                check(r.status_code == 200, f"{path}: {r.status_code} {r.text[:300]}; sent {json.dumps(example['value'])[:300]}")
                got = r.json()
            jsonschema.validate(got, whole | schema)
            tried += 1
    check(tried >= 6, f"{tried} calls")
