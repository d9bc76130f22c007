"""Makes models in the folder given, and beside them what mlflow's own predict answers, as calls.json.

Run with a Python that has mlflow, scikit-learn, pandas and joblib; the tests do.
"""

import json
import os
import pickle
import sys

import joblib
import mlflow
import numpy as np
import pandas as pd
from mlflow.models import infer_signature
from mlflow.models.signature import ModelSignature
from mlflow.types import ColSpec, DataType, Schema, TensorSpec
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_iris
from sklearn.ensemble import GradientBoostingRegressor, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

out = sys.argv[1]
os.chdir(out)
calls = {}
TYPES = {"float64": "FP64", "float32": "FP32", "float16": "FP16", "int64": "INT64", "int32": "INT32", "int16": "INT16", "int8": "INT8",
         "uint8": "UINT8", "uint16": "UINT16", "uint32": "UINT32", "uint64": "UINT64", "bool": "BOOL"}


def tensor(name, a):
    a = np.asarray(a)
    kind = TYPES.get(str(a.dtype), "BYTES")
    data = [str(v) for v in a.ravel()] if kind == "BYTES" else [None if v != v else v for v in a.ravel().tolist()]
    return {"name": name, "datatype": kind, "shape": list(a.shape), "data": data}


def frame(df):
    return [tensor(str(c), df[c].to_numpy()) for c in df.columns]


def answers(a):
    if isinstance(a, pd.DataFrame):
        return frame(a)
    if isinstance(a, dict):
        return [tensor(k, v) for k, v in a.items()]
    return [tensor("predict", a)]


def keep(name, path, given, inputs):
    answer = mlflow.pyfunc.load_model(path).predict(given)
    calls[name] = {"inputs": inputs, "outputs": answers(answer)}


x, y = load_iris(return_X_y=True, as_frame=True)
x.columns = ["sepal_length", "sepal_width", "petal_length", "petal_width"]
pipeline = make_pipeline(StandardScaler(), LogisticRegression(max_iter=300)).fit(x, y)

mlflow.sklearn.save_model(pipeline, "sklearn", signature=infer_signature(x, pipeline.predict(x)), input_example=x.head(3), serialization_format="cloudpickle")
keep("sklearn", "sklearn", x.iloc[::10], frame(x.iloc[::10]))

mlflow.sklearn.save_model(pipeline, "proba", pyfunc_predict_fn="predict_proba", signature=infer_signature(x, pipeline.predict_proba(x)), serialization_format="cloudpickle")
keep("proba", "proba", x.iloc[::7], frame(x.iloc[::7]))

# numbers and words in one frame, words as the answer
mixed = pd.DataFrame({"age": np.arange(20, 60, dtype="int64"), "income": np.linspace(1, 9, 40) ** 3, "city": ["Bonn", "Ulm", "Köln", "Jena"] * 10, "member": [True, False] * 20})
label = np.where(mixed.income > 100, "yes", "no")
forest = make_pipeline(ColumnTransformer([("city", OneHotEncoder(handle_unknown="ignore"), ["city"])], remainder="passthrough"), RandomForestClassifier(n_estimators=7, random_state=1)).fit(mixed, label)
mlflow.sklearn.save_model(forest, "mixed", signature=infer_signature(mixed, forest.predict(mixed)), serialization_format="cloudpickle")
keep("mixed", "mixed", mixed.iloc[5:15], frame(mixed.iloc[5:15]))

# arrays instead of a frame; float32 in and out
boost = GradientBoostingRegressor(n_estimators=9, random_state=2).fit(x.to_numpy(), y)


class Single(mlflow.pyfunc.PythonModel):
    def __init__(self, inner):
        self.inner = inner

    def predict(self, context, model_input, params=None):
        return self.inner.predict(model_input).astype("float32")


signature = ModelSignature(Schema([TensorSpec(np.dtype("float32"), (-1, 4))]), Schema([TensorSpec(np.dtype("float32"), (-1,))]))
mlflow.pyfunc.save_model("array", python_model=Single(boost), signature=signature)
a = x.to_numpy().astype("float32")[::13]
keep("array", "array", a, [tensor("input", a)])


class Several(mlflow.pyfunc.PythonModel):
    """Every kind of column comes in, several come out."""

    def predict(self, context, model_input, params=None):
        d = model_input
        return pd.DataFrame({"double": d["d"] * 2, "float": d["f"] + 1, "long": d["l"] // 3, "integer": d["i"] - 1, "boolean": ~d["b"], "string": d["s"].str.upper(),
                             "year": d["t"].dt.year.astype("int64"), "size": d["x"].map(len).astype("int64")})


every = pd.DataFrame({"d": [1.5, np.nan, -3e300], "f": np.array([1, 2, 3.25], "float32"), "l": [1 << 60, -7, 0], "i": np.array([1, -2, 3], "int32"), "b": [True, False, True],
                      "s": ["a", "", "grün"], "t": pd.to_datetime(["2024-01-02T00:00:00", "1999-12-31T23:59:59", "2030-06-01T12:30:00"]), "x": [b"\x00\xff", b"", b"abc"]})
kinds = dict(d=DataType.double, f=DataType.float, l=DataType.long, i=DataType.integer, b=DataType.boolean, s=DataType.string, t=DataType.datetime, x=DataType.binary)
back = dict(double=DataType.double, float=DataType.float, long=DataType.long, integer=DataType.integer, boolean=DataType.boolean, string=DataType.string, year=DataType.long, size=DataType.long)
mlflow.pyfunc.save_model("several", python_model=Several(), signature=ModelSignature(Schema([ColSpec(k, n) for n, k in kinds.items()]), Schema([ColSpec(k, n) for n, k in back.items()])))
sent = [tensor(c, every[c]) for c in "dflibs"] + [{"name": "t", "datatype": "BYTES", "shape": [3], "data": [v.isoformat() for v in every.t]},
                                                   {"name": "x", "datatype": "BYTES", "shape": [3], "data": ["\0é", "", "abc"]}]
every["x"] = ["\0é".encode(), b"", b"abc"]
keep("several", "several", every, sent)


class Wrapped(mlflow.pyfunc.PythonModel):
    """Has a file of its own that another engine could mistake for the model."""

    def load_context(self, context):
        self.add = json.load(open(context.artifacts["extra"]))["intercept"]

    def predict(self, context, model_input, params=None):
        return np.asarray(model_input).sum(axis=1) + self.add


with open("extra.linear.json", "w") as f:
    json.dump({"format": "keelson-linear-1", "intercept": 2.5, "coefficients": {"a": 1}}, f)
mlflow.pyfunc.save_model("wrapped", python_model=Wrapped(), artifacts={"extra": "extra.linear.json"}, signature=infer_signature(np.ones((1, 3)), np.ones(1)))
a = np.arange(12.0).reshape(4, 3)
keep("wrapped", "wrapped", a, [tensor("input", a)])

# pickles
os.mkdir("pickle")
joblib.dump(pipeline, "pickle/model.joblib", compress=3)
calls["pickle"] = {"inputs": [tensor("input", x.iloc[::9].to_numpy())], "outputs": [tensor("predict", pipeline.predict(x.iloc[::9])), tensor("predict_proba", pipeline.predict_proba(x.iloc[::9]))]}
os.mkdir("typed")
with open("typed/model.pkl", "wb") as f:
    pickle.dump(forest, f)
with open("typed/signature.json", "w") as f:
    json.dump({"inputs": [{"name": "age", "datatype": "INT64", "shape": [-1]}, {"name": "income", "datatype": "FP64", "shape": [-1]}, {"name": "city", "datatype": "BYTES", "shape": [-1]},
                          {"name": "member", "datatype": "BOOL", "shape": [-1]}], "outputs": [{"name": "predict_proba", "datatype": "FP64", "shape": [-1, 2]}]}, f)
calls["typed"] = {"inputs": frame(mixed.iloc[:6]), "outputs": [tensor("predict_proba", forest.predict_proba(mixed.iloc[:6]))]}

json.dump(calls, open("calls.json", "w"))
