"""Makes one model or more of every engine, with rows and what the library that made the model answers for them.

    models.py FOLDER PEER    PEER is an address that passes /v2/… and /score on to the server under test

FOLDER gets a file or folder per model and cases.json, in the order in which the models can be registered. Rows and
answers stand in FOLDER/NAME.npz: in:NAME and out:NAME for the rows, small:NAME and answer:NAME for rows of whole numbers
from 0 to 3, which every datatype can hold.
"""

import json
import pathlib
import sys
import warnings

import joblib
import lightgbm
import ml_dtypes
import numpy as np
import onnx
import onnxruntime
import pandas as pd
import xgboost
from onnx import TensorProto, helper
from skl2onnx import convert_sklearn
from skl2onnx.common.data_types import FloatTensorType, Int64TensorType, StringTensorType
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

warnings.simplefilter("ignore")
folder, peer = pathlib.Path(sys.argv[1]), sys.argv[2]
random = np.random.default_rng(11)
ROWS, WIDTH = 40, 6
NUMBERS = ["FP16", "BF16", "FP32", "FP64", "INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64"]
COLUMNS = ["age", "income", "visits", "score", "debt", "years"]
CITIES = np.array(["Bonn", "Köln", "Ulm"], dtype=object)
cases = []


def keep(name, engine, file, inputs, outputs, small, answer, tolerance, format="", takes=None, **more):
    """Writes a case. inputs and small are [(name, datatype, values)], outputs and answer {name: values}."""
    arrays = {}
    for kind, values in (("in", inputs), ("small", small)):
        arrays |= {f"{kind}:{n}": np.asarray(v) for n, _, v in values}
    for kind, values in (("out", outputs), ("answer", answer)):
        arrays |= {f"{kind}:{n}": np.asarray(v) for n, v in values.items()}
    np.savez(folder / f"{name}.npz", **arrays)
    cases.append({"name": name, "engine": engine, "file": file, "format": format, "tolerance": tolerance,
                  "inputs": [{"name": n, "datatype": d, "takes": (takes or {}).get(n, [d])} for n, d, _ in inputs],
                  "outputs": list(outputs), **more})


# One matrix of numbers: trees and linear models.
x = random.normal(1.5, 1.2, (400, WIDTH)).astype(np.float32)
two = (x[:, 0] + x[:, 1] * x[:, 2] > 3.5).astype(int)
three = np.digitize(x[:, 0] + x[:, 3] - x[:, 4], [0.5, 2.5])
rows = x[:ROWS].copy()
holes = rows.copy()
holes[::7, 2] = np.nan
whole = random.integers(0, 4, (8, WIDTH)).astype(np.float32)
matrix = {"input": NUMBERS + ["BOOL"]}


def trees(labels, classes, **parameters):
    data = xgboost.DMatrix(x, labels, feature_names=COLUMNS)
    if classes > 2:
        parameters |= {"objective": "multi:softprob", "num_class": classes}
    else:
        parameters |= {"objective": "binary:logistic"}
    return xgboost.train(parameters | {"max_depth": 4, "seed": 3, "nthread": 1}, data, 20)


def boosted(model, values):
    answer = model.predict(xgboost.DMatrix(values, feature_names=COLUMNS))
    return {"predict": answer.reshape(len(values), -1)}


binary, multi = trees(two, 2), trees(three, 3)
binary.save_model(folder / "json.json")
multi.save_model(folder / "ubj.ubj")
keep("xgboost-json", "xgboost", "json.json", [("input", "FP32", holes)], boosted(binary, holes), [("input", "FP32", whole)], boosted(binary, whole), 1e-6,
     takes=matrix, columns=COLUMNS, missing=True)
keep("xgboost-ubj", "xgboost", "ubj.ubj", [("input", "FP32", holes)], boosted(multi, holes), [("input", "FP32", whole)], boosted(multi, whole), 1e-6,
     takes=matrix, columns=COLUMNS, missing=True)

light = lightgbm.train({"objective": "multiclass", "num_class": 3, "verbose": -1, "seed": 3, "num_threads": 1},
                       lightgbm.Dataset(x.astype(np.float64), three, feature_name=COLUMNS), 15)
light.save_model(folder / "light.txt")
keep("lightgbm", "lightgbm", "light.txt", [("input", "FP64", holes.astype(np.float64))], {"predict": light.predict(holes.astype(np.float64))},
     [("input", "FP64", whole.astype(np.float64))], {"predict": light.predict(whole.astype(np.float64))}, 0, takes=matrix, columns=COLUMNS, missing=True)

logistic = make_pipeline(StandardScaler(), LogisticRegression()).fit(x.astype(np.float64), three)
scaler, last = logistic[0], logistic[1]
names = ["low", "middle", "high"]
(folder / "model.linear.json").write_text(json.dumps({
    "format": "keelson-linear-1", "link": "softmax", "intercept": last.intercept_.tolist(), "coefficients": last.coef_.tolist(), "classes": names,
    "features": [{"name": n, "mean": m, "scale": s} for n, m, s in zip(COLUMNS, scaler.mean_, scaler.scale_)]}))


def classed(values):
    values = values.astype(np.float64)
    return {"predict": logistic.predict_proba(values), "label": np.array([names[k] for k in logistic.predict(values)], dtype=object).astype(str)}


keep("linear", "linear", "model.linear.json", [("input", "FP64", rows.astype(np.float64))], classed(rows), [("input", "FP64", whole.astype(np.float64))],
     classed(whole), 1e-9, takes=matrix, columns=COLUMNS)

yes = LogisticRegression().fit(x.astype(np.float64), two)
(folder / "yes.linear.json").write_text(json.dumps({"format": "keelson-linear-1", "link": "logit", "intercept": float(yes.intercept_[0]), "coefficients": yes.coef_[0].tolist(),
                                                    "features": [{"name": n} for n in COLUMNS]}))
keep("linear-logit", "linear", "yes.linear.json", [("input", "FP64", rows.astype(np.float64))], {"predict": yes.predict_proba(rows.astype(np.float64))[:, 1:]},
     [("input", "FP64", whole.astype(np.float64))], {"predict": yes.predict_proba(whole.astype(np.float64))[:, 1:]}, 1e-9, takes=matrix, columns=COLUMNS)

# Columns of several types.
city = CITIES[random.integers(0, 3, 400)]
frame = pd.DataFrame({"age": x[:, 0], "visits": random.integers(0, 9, 400), "city": city})
bought = ((frame.age + frame.visits / 4 > 2.5) ^ (frame.city == "Ulm")).astype(int)
mixed = make_pipeline(ColumnTransformer([("numbers", StandardScaler(), ["age", "visits"]), ("words", OneHotEncoder(handle_unknown="ignore"), ["city"])]),
                      LogisticRegression()).fit(frame, bought)
small = pd.DataFrame({"age": whole[:, 0], "visits": whole[:, 1].astype(np.int64), "city": CITIES[whole[:, 2].astype(int) % 3]})


def columns(table, shape, kinds):
    types = {"FP32": np.float32, "INT64": np.int64, "BYTES": str}
    return [(n, kind, table[n].to_numpy(dtype=object).astype(types[kind]).reshape(shape)) for n, kind in kinds.items()]


onx = convert_sklearn(mixed, "mixed", [("age", FloatTensorType([None, 1])), ("visits", Int64TensorType([None, 1])), ("city", StringTensorType([None, 1]))],
                      options={"zipmap": False}, target_opset=17)
onx.ir_version = 8
onnx.save(onx, folder / "mixed.onnx")
kinds = {"age": "FP32", "visits": "INT64", "city": "BYTES"}


def ran(path, values):
    session = onnxruntime.InferenceSession(str(folder / path), providers=["CPUExecutionProvider"])
    feed = {n: v.astype(object) if v.dtype.kind == "U" else v for n, _, v in values}
    return {o.name: a.astype(str) if a.dtype.kind == "O" else a for o, a in zip(session.get_outputs(), session.run(None, feed))}


counted = {"age": NUMBERS + ["BOOL"], "visits": NUMBERS + ["BOOL"]}
wire, little = columns(frame[:ROWS], (-1, 1), kinds), columns(small, (-1, 1), kinds)
for name, engine in (("onnx", "onnx"), ("onnxruntime", "onnxruntime")):
    keep(name, engine, "mixed.onnx", wire, ran("mixed.onnx", wire), little, ran("mixed.onnx", little), 1e-5, format=engine, takes=counted)

# Every datatype that an engine for ONNX has: what comes in goes out.
TYPES = {"FP32": TensorProto.FLOAT, "FP64": TensorProto.DOUBLE, "INT8": TensorProto.INT8, "INT16": TensorProto.INT16, "INT32": TensorProto.INT32,
         "INT64": TensorProto.INT64, "UINT8": TensorProto.UINT8, "UINT16": TensorProto.UINT16, "UINT32": TensorProto.UINT32, "UINT64": TensorProto.UINT64,
         "BOOL": TensorProto.BOOL, "BYTES": TensorProto.STRING}
MORE = {"FP16": TensorProto.FLOAT16, "BF16": TensorProto.BFLOAT16}  # only the library has them
KINDS = {"FP16": np.float16, "BF16": ml_dtypes.bfloat16, "FP32": np.float32, "FP64": np.float64, "INT8": np.int8, "INT16": np.int16, "INT32": np.int32,
         "INT64": np.int64, "UINT8": np.uint8, "UINT16": np.uint16, "UINT32": np.uint32, "UINT64": np.uint64}


def edge(t, n):
    """Values of a datatype, its ends first; those of BF16 as FP32, because numpy cannot store them."""
    if t == "BOOL":
        return random.integers(0, 2, (n, 2)).astype(bool)
    if t == "BYTES":
        return np.array([["", "ä € 𝄞"]] + [[f"a{k}", "b" * k] for k in range(1, n)])
    kind = KINDS[t]
    ends = np.iinfo(kind) if "INT" in t else ml_dtypes.finfo(kind)
    values = random.integers(0, 100, (n, 2)).astype(kind)
    values[0] = [ends.min, ends.max]
    return values.astype(np.float32) if t == "BF16" else values


def least(t, n):
    v = random.integers(0, 4, (n, 2))
    return v.astype(str) if t == "BYTES" else (v % 2).astype(bool) if t == "BOOL" else v.astype(np.float32 if t == "BF16" else KINDS[t])


for name, engine, types in (("onnx-types", "onnx", TYPES), ("onnxruntime-types", "onnxruntime", TYPES | MORE)):
    graph = helper.make_graph([helper.make_node("Identity", [t], ["same_" + t]) for t in types], "same",
                              [helper.make_tensor_value_info(t, v, [None, 2]) for t, v in types.items()],
                              [helper.make_tensor_value_info("same_" + t, v, [None, 2]) for t, v in types.items()])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), folder / f"{name}.onnx")
    full, few = [(t, t, edge(t, ROWS)) for t in types], [(t, t, least(t, 8)) for t in types]
    keep(name, engine, f"{name}.onnx", full, {"same_" + t: v for t, _, v in full}, few, {"same_" + t: v for t, _, v in few}, 0, format=engine,
         raw=[t for t in MORE if t in types], takes={t: NUMBERS + ["BOOL"] for t in types if t not in ("BOOL", "BYTES")})

# A small network.
net = MLPRegressor(hidden_layer_sizes=(16, 8), max_iter=300, random_state=1).fit(x, x[:, 0] * x[:, 1])
onnx_net = convert_sklearn(net, "net", [("input", FloatTensorType([None, WIDTH]))], target_opset=17)
onnx_net.ir_version = 8
onnx.save(onnx_net, folder / "net.onnx")
keep("onnx-network", "onnx", "net.onnx", [("input", "FP32", rows)], ran("net.onnx", [("input", "FP32", rows)]), [("input", "FP32", whole)],
     ran("net.onnx", [("input", "FP32", whole)]), 1e-5, takes=matrix)

# Python: an MLflow model and a pickle.
import mlflow  # noqa: E402
from mlflow.models import ModelSignature  # noqa: E402
from mlflow.types import ColSpec, Schema, TensorSpec  # noqa: E402

mlflow.sklearn.save_model(mixed, folder / "pyfunc", pyfunc_predict_fn="predict_proba", serialization_format="cloudpickle", pip_requirements=["scikit-learn"],
                          signature=ModelSignature(inputs=Schema([ColSpec("float", "age"), ColSpec("long", "visits"), ColSpec("string", "city")]),
                                                   outputs=Schema([TensorSpec(np.dtype(np.float64), (-1, 2))])))
wire, little = columns(frame[:ROWS], (-1,), kinds), columns(small, (-1,), kinds)
keep("python-pyfunc", "python", "pyfunc", wire, {"predict": mixed.predict_proba(frame[:ROWS])}, little, {"predict": mixed.predict_proba(small)}, 1e-12,
     takes=counted, empty="scikit-learn itself refuses a table without rows")
joblib.dump(logistic, folder / "logistic.joblib")
keep("python-pickle", "python", "logistic.joblib", [("input", "FP64", rows.astype(np.float64))], {"predict": logistic.predict(rows.astype(np.float64))},
     [("input", "FP64", whole.astype(np.float64))], {"predict": logistic.predict(whole.astype(np.float64))}, 0, takes=matrix,
     empty="scikit-learn itself refuses a table without rows")



class Same(mlflow.pyfunc.PythonModel):
    """Answers what it is asked, datatype by datatype."""

    def predict(self, context, model_input, params=None):
        return {"same_" + n: v for n, v in model_input.items()}


PYTHON = [t for t in TYPES] + ["FP16"]
KINDS_OF = KINDS | {"BOOL": np.bool_, "BYTES": np.object_}
mlflow.pyfunc.save_model(folder / "same", python_model=Same(), pip_requirements=["scikit-learn"], signature=ModelSignature(
    inputs=Schema([TensorSpec(np.dtype(KINDS_OF[t]), (-1, 2), t) for t in PYTHON]), outputs=Schema([TensorSpec(np.dtype(KINDS_OF[t]), (-1, 2), "same_" + t) for t in PYTHON])))
full, few = [(t, t, edge(t, ROWS)) for t in PYTHON], [(t, t, least(t, 8)) for t in PYTHON]
keep("python-types", "python", "same", full, {"same_" + t: v for t, _, v in full}, few, {"same_" + t: v for t, _, v in few}, 0, raw=["FP16"],
     takes={t: NUMBERS + ["BOOL"] for t in PYTHON if t not in ("BOOL", "BYTES")})

# Rules, held against the same rules in Python.
(folder / "model.cel.yaml").write_text("""name: referral
hit: first
inputs:
  - {name: score, type: double}
  - {name: age, type: int}
  - {name: ward, type: string}
  - {name: history, type: bool, optional: true, default: false}
outputs:
  - {name: decision, type: string, default: none}
  - {name: days, type: int, default: 365}
  - {name: risk, type: double, default: 0}
rules:
  - {id: certain, when: score >= 2.5, then: {decision: refer, days: 2, risk: =score}}
  - {id: history, when: history && age > 1, then: {decision: refer, days: 14, risk: =score / 2.0}}
  - {id: ward, when: ward.startsWith('onco'), then: {decision: watch, days: 90}}
examples:
  - {given: {score: 3, age: 1, ward: x}, expect: {decision: refer, days: 2}}
""")


def ruled(values):
    out = []
    for score, age, ward, history in zip(*[v for _, _, v in values]):
        out.append(("refer", 2, score) if score >= 2.5 else ("refer", 14, score / 2) if history and age > 1 else ("watch", 90, 0.0) if ward.startswith("onco") else ("none", 365, 0.0))
    decision, days, risk = zip(*out)
    return {"decision": np.array(decision), "days": np.array(days, np.int64), "risk": np.array(risk, np.float64)}


def asked(n, score):
    return [("score", "FP64", score), ("age", "INT64", random.integers(0, 4, n)), ("ward", "BYTES", np.array(["onco é", "x"])[random.integers(0, 2, n)]),
            ("history", "BOOL", random.integers(0, 2, n).astype(bool))]


full, few = asked(ROWS, rows[:, 0].astype(np.float64)), asked(8, whole[:, 0].astype(np.float64))
keep("cel", "cel", "model.cel.yaml", full, ruled(full), few, ruled(few), 0, optional=["history"],
     takes={"score": NUMBERS, "age": [t for t in NUMBERS if "INT" in t]})

# Served elsewhere: by the same protocol, and by HTTP of another form.
signature = {"inputs": [{"name": "input", "datatype": "FP32", "shape": [-1, WIDTH], "columns": COLUMNS}], "outputs": [{"name": "predict", "datatype": "FP32", "shape": [-1, 1]}]}
probe = {"inputs": [{"name": "input", "datatype": "FP32", "shape": [1, WIDTH], "data": rows[0].tolist()}],
         "outputs": [{"name": "predict", "datatype": "FP32", "shape": [1, 1], "data": boosted(binary, rows[:1])["predict"].ravel().tolist()}], "tolerance": 1e-5}
for name, document in (("remote-oip", {"protocol": "oip", "url": peer + "/v2/models/xgboost-json.dev/infer"}),
                       ("remote-http", {"protocol": "http", "url": peer + "/score", "request": {"instances": "$matrix"}, "answer": {"predict": "/predictions/*"}})):
    (folder / f"{name}.remote.json").write_text(json.dumps({"format": "keelson-remote-1", "signature": signature, "probes": [probe], "timeout": "20s"} | document))
    keep(name, "remote", f"{name}.remote.json", [("input", "FP32", rows)], boosted(binary, rows), [("input", "FP32", whole)], boosted(binary, whole), 1e-6, columns=COLUMNS,
         **({"empty": "the other side refuses a table without rows"} if name == "remote-http" else {}))


# Every datatype that JSON has, passed on to the graph that answers what it is asked.
full, few = [(t, t, edge(t, ROWS)) for t in TYPES], [(t, t, least(t, 8)) for t in TYPES]
first = [(t, t, v[:1]) for t, _, v in few]
tensors = [{"name": t, "datatype": t, "shape": [1, 2], "data": v.ravel().tolist()} for t, _, v in first]
(folder / "types.remote.json").write_text(json.dumps({
    "format": "keelson-remote-1", "protocol": "oip", "url": peer + "/v2/models/onnx-types.dev/infer", "timeout": "20s",
    "signature": {"inputs": [{"name": t, "datatype": t, "shape": [-1, 2]} for t in TYPES], "outputs": [{"name": "same_" + t, "datatype": t, "shape": [-1, 2]} for t in TYPES]},
    "probes": [{"inputs": tensors, "outputs": [t | {"name": "same_" + t["name"]} for t in tensors]}]}))
keep("remote-types", "remote", "types.remote.json", full, {"same_" + t: v for t, _, v in full}, few, {"same_" + t: v for t, _, v in few}, 0)

(folder / "cases.json").write_text(json.dumps(cases))
