"""Registers a statistical model, an optimisation and a knowledge graph with the mlflow client."""

import os

import mlflow
import numpy as np
import pandas as pd
from mlflow.models import infer_signature
from sklearn.linear_model import PoissonRegressor

here = os.path.dirname(os.path.abspath(__file__))
os.chdir(here)
mlflow.set_experiment("kinds")


def log(name, example, answers, **model):
    with mlflow.start_run(run_name=name):
        mlflow.pyfunc.log_model(name="model", signature=infer_signature(example, answers), input_example=example,
                                registered_model_name=name, **model)


# A generalised linear model: claims per policy and year.
rng = np.random.default_rng(7)
policies = pd.DataFrame({"age": rng.uniform(18, 80, 600), "km": rng.uniform(2, 40, 600)})
claims = rng.poisson(np.exp(-1.6 + 0.03 * policies.km - 0.008 * policies.age))
model = PoissonRegressor(alpha=0).fit(policies, claims)
with mlflow.start_run(run_name="claims"):
    mlflow.sklearn.log_model(model, name="model", signature=infer_signature(policies, model.predict(policies)),
                             input_example=policies.head(3), registered_model_name="claims")

log("production-plan",
    pd.DataFrame({"demand": [100.0, 150.0], "cost_a": [2.0, 2.0], "cost_b": [3.0, 1.5], "capacity_a": [80.0, 80.0], "capacity_b": [90.0, 90.0]}),
    pd.DataFrame({"cost": [220.0, 255.0], "make_a": [80.0, 60.0], "make_b": [20.0, 90.0], "binding": ["demand, capacity of a", "demand, capacity of b"]}),
    python_model="production_plan.py", pip_requirements=["mlflow", "pandas", "scipy"])

log("interactions",
    pd.DataFrame({"drug": ["aspirin", "paracetamol"], "condition": ["bleeding", "bleeding"]}),
    pd.DataFrame({"related": [True, False], "path": ["aspirin thins blood thinned leads to bleeding", ""]}),
    python_model="interactions.py", artifacts={"facts": "facts.csv"}, pip_requirements=["mlflow", "pandas"])
