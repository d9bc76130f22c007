"""Trains small models of every supported objective with the real library and records what it predicts.

python3 -m venv v && v/bin/pip install xgboost-cpu==3.2.0 numpy && v/bin/python generate.py
writes models/<name>.json or .ubj and expected.json beside this file.
"""

import json
import math
import os

import numpy as np
import xgboost as xgb

here = os.path.dirname(os.path.abspath(__file__))
os.makedirs(os.path.join(here, "models"), exist_ok=True)
rng = np.random.default_rng(20240607)

X = np.round(rng.normal(size=(400, 6)), 4)
X[:, 5] = rng.integers(0, 9, size=400)
signal = X[:, 0] - 0.7 * X[:, 1] * (X[:, 2] > 0) + 0.2 * X[:, 5]
holes = X.copy()
holes[rng.random(holes.shape) < 0.15] = np.nan
binary = (signal + rng.normal(scale=0.5, size=400) > 0.8).astype(int)
third = np.digitize(signal, [0.2, 1.3])
counts = rng.poisson(np.exp(0.3 * signal))
positive = np.exp(0.4 * signal + rng.normal(scale=0.1, size=400))
names = ["age", "dose", "größe", "bmi", "x y", "ward"]

cases = []


def case(name, params, data, label, rounds=6, form="json", feature_names=None, feature_types=None, **extra):
    d = xgb.DMatrix(data, label, feature_names=feature_names, feature_types=feature_types)
    for k, v in extra.items():
        getattr(d, "set_" + k)(v) if hasattr(d, "set_" + k) else d.set_info(**{k: v})
    params = {"max_depth": 3, "eta": 0.4, "seed": 7, "nthread": 1, **params}
    booster = xgb.train(params, d, rounds)
    booster.save_model(os.path.join(here, "models", f"{name}.{form}"))
    rows = data[:25]
    got = booster.predict(xgb.DMatrix(rows, feature_names=feature_names, feature_types=feature_types))
    cases.append({
        "name": name,
        "file": f"{name}.{form}",
        "columns": feature_names or [],
        "rows": [[None if math.isnan(v) else float(v) for v in r] for r in rows],
        "predict": np.asarray(got, dtype=np.float64).reshape(25, -1).tolist(),
    })


case("logistic", {"objective": "binary:logistic"}, holes, binary)
case("logistic_named", {"objective": "binary:logistic"}, holes, binary, form="ubj", feature_names=names)
case("logistic_base", {"objective": "binary:logistic", "base_score": 0.2}, holes, binary, form="ubj")
case("logitraw", {"objective": "binary:logitraw"}, X, binary)
case("hinge", {"objective": "binary:hinge"}, X, binary)
case("reg_logistic", {"objective": "reg:logistic"}, X, binary, form="ubj")
case("squared", {"objective": "reg:squarederror"}, holes, signal, form="ubj")
case("squaredlog", {"objective": "reg:squaredlogerror"}, X, positive)
case("absolute", {"objective": "reg:absoluteerror"}, X, signal)
case("huber", {"objective": "reg:pseudohubererror"}, X, signal, form="ubj")
case("quantile", {"objective": "reg:quantileerror", "quantile_alpha": [0.1, 0.9]}, X, signal)
case("poisson", {"objective": "count:poisson"}, holes, counts)
case("gamma", {"objective": "reg:gamma"}, X, positive, form="ubj")
case("tweedie", {"objective": "reg:tweedie"}, X, positive)
case("cox", {"objective": "survival:cox"}, X, positive)
case("softprob", {"objective": "multi:softprob", "num_class": 3}, holes, third, form="ubj")
case("softmax", {"objective": "multi:softmax", "num_class": 3}, holes, third)
case("labels", {"objective": "binary:logistic"}, X, np.stack([binary, third > 1], axis=1))
case("targets", {"objective": "reg:squarederror"}, X, np.stack([signal, positive], axis=1), form="ubj")
case("forest", {"objective": "binary:logistic", "num_parallel_tree": 4, "subsample": 0.7, "colsample_bynode": 0.6}, holes, binary, rounds=2)
case("dart", {"booster": "dart", "objective": "binary:logistic", "rate_drop": 0.4}, holes, binary, rounds=10)
case("dart_binary", {"booster": "dart", "objective": "reg:squarederror", "rate_drop": 0.4}, X, signal, rounds=10, form="ubj")
case("deep", {"objective": "reg:squarederror", "max_depth": 0, "max_leaves": 60, "grow_policy": "lossguide", "tree_method": "hist"}, X, signal, rounds=2)
case("pruned", {"objective": "reg:squarederror", "tree_method": "exact", "gamma": 6, "max_depth": 6}, X, signal, rounds=3)
case("rank", {"objective": "rank:pairwise"}, X, third, group=[100] * 4)
cat = X.copy()
cat[:, 5] = np.where(rng.random(400) < 0.1, np.nan, cat[:, 5])
case("categorical", {"objective": "reg:squarederror", "max_cat_to_onehot": 1}, cat, np.sin(np.nan_to_num(cat[:, 5]) * 2.1) + 0.3 * X[:, 0],
     feature_types=["q"] * 5 + ["c"])
case("onehot", {"objective": "reg:squarederror", "max_cat_to_onehot": 100}, cat, np.sin(np.nan_to_num(cat[:, 5]) * 2.1) + 0.3 * X[:, 0],
     feature_types=["q"] * 5 + ["c"], form="ubj")

aft = xgb.DMatrix(X)
aft.set_float_info("label_lower_bound", positive)
aft.set_float_info("label_upper_bound", positive * 1.5)
booster = xgb.train({"objective": "survival:aft", "max_depth": 3, "nthread": 1}, aft, 5)
booster.save_model(os.path.join(here, "models", "aft.json"))
cases.append({"name": "aft", "file": "aft.json", "columns": [], "rows": X[:25].tolist(),
              "predict": booster.predict(xgb.DMatrix(X[:25])).astype(np.float64).reshape(25, -1).tolist()})

# Ranking with its other objectives, linear boosters, trees of several outputs.
case("rank_ndcg", {"objective": "rank:ndcg"}, X, third, group=[100] * 4)
case("rank_map", {"objective": "rank:map"}, X, binary, group=[100] * 4, form="ubj")
aft.set_float_info("label_upper_bound", positive * 1.5)
for dist in ["logistic", "extreme"]:
    booster = xgb.train({"objective": "survival:aft", "aft_loss_distribution": dist, "max_depth": 2, "nthread": 1}, aft, 4)
    booster.save_model(os.path.join(here, "models", f"aft_{dist}.json"))
    cases.append({"name": f"aft_{dist}", "file": f"aft_{dist}.json", "columns": [], "rows": X[:25].tolist(),
                  "predict": booster.predict(xgb.DMatrix(X[:25])).astype(np.float64).reshape(25, -1).tolist()})
for name, objective, label, extra in [("squared", "reg:squarederror", signal, {}), ("logistic", "binary:logistic", binary, {}), ("poisson", "count:poisson", counts, {}),
                                      ("softprob", "multi:softprob", third, {"num_class": 3})]:
    case("gblinear_" + name, {"booster": "gblinear", "objective": objective, **extra}, holes, label, form="ubj" if name == "poisson" else "json", feature_names=names)
case("multi_output", {"multi_strategy": "multi_output_tree", "tree_method": "hist"}, holes, np.stack([signal, positive, X[:, 1]], axis=1), form="ubj")
case("multi_output_labels", {"multi_strategy": "multi_output_tree", "tree_method": "hist", "objective": "binary:logistic"}, X, np.stack([binary, third > 1], axis=1))
case("multi_output_classes", {"multi_strategy": "multi_output_tree", "tree_method": "hist", "objective": "multi:softprob", "num_class": 3}, X, third)

# A data frame whose categories have names: recorded with the codes, and with the names beside them.
import pandas as pd  # noqa: E402

towns = np.array(["Bonn", "Trier", "Ulm", "Aachen"])[rng.integers(0, 4, 400)]
frame = pd.DataFrame({"age": X[:, 0], "town": pd.Categorical(towns), "ward": pd.Categorical(rng.integers(0, 3, 400))})
label = (towns == "Trier") * 2.0 - (towns == "Ulm") + 0.3 * X[:, 0] + 0.5 * (frame["ward"] == 2)
for name, form, onehot in [("frame", "json", 1), ("frame_onehot", "ubj", 100)]:
    booster = xgb.train({"max_depth": 4, "max_cat_to_onehot": onehot, "nthread": 1}, xgb.DMatrix(frame, label, enable_categorical=True), 4)
    booster.save_model(os.path.join(here, "models", f"{name}.{form}"))
    cases.append({"name": name, "file": f"{name}.{form}", "columns": list(frame), "rows": [[float(a), float(t), float(w)] for a, t, w in zip(X[:25, 0], frame["town"].cat.codes, frame["ward"].cat.codes)],
                  "words": towns[:25].tolist(), "predict": booster.predict(xgb.DMatrix(frame[:25], enable_categorical=True)).astype(np.float64).reshape(25, -1).tolist()})
named = pd.DataFrame({"age": X[:, 0], "ward": pd.Categorical(rng.choice([3, 7, 11], 400))})
xgb.train({"max_depth": 2, "nthread": 1}, xgb.DMatrix(named, signal, enable_categorical=True), 2).save_model(os.path.join(here, "models", "refused_numbers.json"))

with open(os.path.join(here, "expected.json"), "w", encoding="utf-8") as f:
    f.write('{"xgboost":"%s","cases":[\n' % xgb.__version__)
    f.write(",\n".join(json.dumps(c, separators=(",", ":"), ensure_ascii=False) for c in cases))
    f.write("\n]}\n")
