"""What the steps share: the decorator that names them, checks, and the client.

A step is a function without parameters under @step("sentence"). Files in steps/ are run in the order of their names, the
steps of a file in the order they are written; a file keeps what its later steps need in module variables. A step fails by
any exception. Steps of one file do not lean on another file.
"""

import os
import uuid

import mlflow
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

URI = os.environ["MLFLOW_TRACKING_URI"]
STEPS = []  # (name, function) of the file that is being loaded


def step(name):
    """Names a step; the name is a sentence and unique in its file."""

    def keep(function):
        if any(n == name for n, _ in STEPS):
            raise ValueError(f"two steps are called {name!r}")
        STEPS.append((name, function))
        return function

    return keep


def client():
    return MlflowClient()


def unique(prefix):
    """A name that no other run of the suite uses."""
    return f"{prefix}-{uuid.uuid4().hex[:8]}"


def experiment(prefix):
    """Makes an experiment with a fresh name, makes it the current one and gives its id."""
    return mlflow.set_experiment(unique(prefix)).experiment_id


def equal(got, want, what="value"):
    if got != want:
        raise AssertionError(f"{what}: got {got!r}, want {want!r}")


def raises(code, function, *args, says="", **kwargs):
    """Checks that a call is refused with MLflow's error code and, if given, a part of the message."""
    try:
        got = function(*args, **kwargs)
    except MlflowException as e:
        equal(e.error_code, code, f"error code of {e.message!r}")
        if says not in e.message:
            raise AssertionError(f"the message {e.message!r} does not hold {says!r}") from e
        return e
    raise AssertionError(f"want the refusal {code}, got {got!r}")


def request(method, path, body=None, query=None, data=None, headers=None):
    """One bare HTTP call with the session's credentials, for what the client has no function for."""
    import requests

    h = {"Authorization": "Bearer " + os.environ["MLFLOW_TRACKING_TOKEN"], **(headers or {})}
    return requests.request(method, URI + path, json=body, params=query, data=data, headers=h, timeout=30)
