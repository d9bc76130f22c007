"""Aliases that a policy protects. The model's risk tier is part of our record, not of MLflow's."""

import mlflow
import numpy
import pandas
from conformance import client, equal, experiment, raises, request, step, unique
from sklearn.linear_model import LinearRegression

experiment("protected")
name = unique("protected")
frame = pandas.DataFrame({"x": numpy.arange(4.0)})


@step("while nobody assessed a model, every alias moves freely")
def _():
    with mlflow.start_run():
        mlflow.sklearn.log_model(LinearRegression().fit(frame, frame["x"]), name="line", pip_requirements=["scikit-learn"], registered_model_name=name)
        mlflow.sklearn.log_model(LinearRegression().fit(frame, frame["x"] * 2), name="line2", pip_requirements=["scikit-learn"], registered_model_name=name)
    client().set_registered_model_alias(name, "champion", "1")


@step("the champion of a model of high risk is PERMISSION_DENIED, with the address of the change to propose")
def _():
    equal(request("PATCH", f"/api/v1/models/{name}", body={"tier": 1}).status_code, 200)
    for alias in ("champion", "Production", "prod"):
        e = raises("PERMISSION_DENIED", client().set_registered_model_alias, name, alias, "2")
        assert "/api/v1/approvals" in e.message and f"/models/{name}/versions/2" in e.message, e.message
    raises("PERMISSION_DENIED", client().delete_registered_model_alias, name, "champion")
    equal(client().get_model_version_by_alias(name, "champion").version, "1")


@step("pointing it where it points, and other aliases, stay free")
def _():
    client().set_registered_model_alias(name, "champion", "1")
    client().set_registered_model_alias(name, "candidate", "2")
    equal(client().get_registered_model(name).aliases, {"champion": "1", "candidate": "2"})


@step("a model that only Python runs cannot be proposed while nothing here runs it, and the answer says why")
def _():
    def runs():
        return request("GET", f"/api/v1/models/{name}/versions/1").json()["deployable"]

    if runs():
        return  # this server runs Python
    answer = request("POST", "/api/v1/approvals", body={"kind": "deploy", "model": name, "version": 1, "environment": "dev", "reason": "try it"})
    if answer.status_code == 201 and runs():
        return  # its environment was ready at this moment
    assert 400 <= answer.status_code < 500 and ("loaded with Python" in answer.text or "tested soon" in answer.text), (answer.status_code, answer.text)
