"""Trains small models of every supported objective with the real library and records what it predicts.

python3 -m venv v && v/bin/pip install lightgbm==4.6.0 numpy==2.4.6 scikit-learn pandas && v/bin/python generate.py
writes models/<name>.txt and expected.json beside this file. Numbers are recorded as C99 hexadecimal text, so that the
comparison is of bits; "nan" is a missing value.
"""

import json
import os

import lightgbm as lgb
import numpy as np
import pandas as pd

here = os.path.dirname(os.path.abspath(__file__))
os.makedirs(os.path.join(here, "models"), exist_ok=True)
rng = np.random.default_rng(20240607)

N, ROWS = 400, 40
X = np.round(rng.normal(size=(N, 6)), 4)
X[:, 5] = rng.integers(0, 45, size=N)
X[:, 4] *= rng.random(N) < 0.6
signal = X[:, 0] - 0.7 * X[:, 1] * (X[:, 2] > 0) + 2.5 * np.sin(X[:, 5]) + 0.5 * (X[:, 4] == 0)
holes = X.copy()
holes[rng.random(holes.shape) < 0.15] = np.nan
# Rows that lie where comparisons can go wrong: thresholds, zeros of both signs, tiny numbers, infinities, categories
# that are negative, broken, beyond every set and beyond 32 bits.
edges = holes[: ROWS // 2].copy()
values = [0.0, -0.0, 1e-36, -1e-36, 1e-35, -1e-35, 1.1e-35, -1.1e-35, np.inf, -np.inf, np.nan, 1e300]
for i in range(len(edges)):
    edges[i, i % 5] = values[i % len(values)]
    edges[i, 5] = [-0.5, -1, 0, 2.9, 31, 32, 44.5, 45, 1e6, 2**31 - 1, 2**31, 3e9, -3e9, np.inf, -np.inf, np.nan, 1, 2, 3, 4][i]
rows = np.vstack([holes[N - ROWS // 2 :], edges])
binary = (signal + rng.normal(scale=0.5, size=N) > 0.3).astype(int)
third = np.digitize(signal, [-0.3, 0.8])
counts = rng.poisson(np.exp(0.3 * signal))
positive = np.exp(0.4 * signal + rng.normal(scale=0.1, size=N))
share = 1 / (1 + np.exp(-signal))
groups = [20] * 20
names = ["age", "dose", "größe", "b m i", "x", "ward"]

cases = []


def hexes(a):
    return [[float(v).hex() for v in row] for row in np.asarray(a, dtype=np.float64).reshape(ROWS, -1)]


def case(name, params, data, label, rounds=6, test=None, **extra):
    params = {"num_leaves": 7, "learning_rate": 0.3, "min_data_in_leaf": 5, "seed": 7, "num_threads": 1, "verbosity": -1,
              "deterministic": True, "force_row_wise": True, "min_data_per_group": 2, "cat_smooth": 1, "cat_l2": 0.1, **params}
    booster = lgb.train(params, lgb.Dataset(data, label, **extra), rounds)
    path = os.path.join(here, "models", f"{name}.txt")
    booster.save_model(path)
    with open(path, encoding="utf-8") as f:  # the importances and most parameters are never read; keep the files small
        text = f.read()
    head, tail = text.split("\nparameters:\n")
    kept = [l for l in tail.split("\nend of parameters\n")[0].split("\n") if l.split(":")[0] in ("[boosting", "[objective", "[categorical_feature", "[zero_as_missing", "[linear_tree")]
    with open(path, "w", encoding="utf-8") as f:
        f.write(head + "\nparameters:\n" + "\n".join(kept) + "\n\nend of parameters\n" + tail.split("\nend of parameters\n")[1])
    booster = lgb.Booster(model_file=path)
    test = rows if test is None else test
    c = {"name": name, "file": f"{name}.txt", "columns": booster.feature_name()}
    if isinstance(test, pd.DataFrame):
        c["texts"] = {k: [None if pd.isna(v) else v for v in test[k]] for k in test if test[k].dtype == "category"}
        c["rows"] = hexes(test.assign(**{k: 0.0 for k in c["texts"]}).to_numpy())
    else:
        c["rows"] = hexes(test)
    c["raw"] = hexes(booster.predict(test, raw_score=True))
    c["predict"] = hexes(booster.predict(test))
    cases.append(c)


cat = {"categorical_feature": [5]}
case("l2_missing", {"objective": "regression"}, holes, signal)
case("l2_complete", {"objective": "regression"}, X, signal)  # missing type None
case("l2_zero_missing", {"objective": "regression", "zero_as_missing": True}, holes, signal)
case("l2_no_missing", {"objective": "regression", "use_missing": False}, holes, signal)
case("l2_categorical", {"objective": "regression"}, holes, signal, **cat)
case("l2_onehot", {"objective": "regression", "max_cat_to_onehot": 64}, holes, signal, **cat)
case("l2_sqrt", {"objective": "regression", "reg_sqrt": True}, holes, signal)
case("l1", {"objective": "regression_l1"}, holes, signal)
case("l1_sqrt", {"objective": "regression_l1", "reg_sqrt": True}, holes, signal)
case("huber", {"objective": "huber"}, holes, signal)
case("fair", {"objective": "fair"}, holes, signal)
case("quantile", {"objective": "quantile", "alpha": 0.8}, holes, signal)
case("mape", {"objective": "mape"}, holes, positive)
case("poisson", {"objective": "poisson"}, holes, counts)
case("gamma", {"objective": "gamma"}, holes, positive)
case("tweedie", {"objective": "tweedie"}, holes, positive)
case("binary", {"objective": "binary"}, holes, binary, feature_name=[n.replace(" ", "_") for n in names], **cat)
case("binary_sigmoid", {"objective": "binary", "sigmoid": 0.7}, holes, binary)
case("multiclass", {"objective": "multiclass", "num_class": 3}, holes, third, **cat)
case("multiclassova", {"objective": "multiclassova", "num_class": 3, "sigmoid": 1.5}, holes, third)
case("cross_entropy", {"objective": "cross_entropy"}, holes, share)
case("cross_entropy_lambda", {"objective": "cross_entropy_lambda"}, holes, share)
case("lambdarank", {"objective": "lambdarank"}, holes, third, group=groups)
case("rank_xendcg", {"objective": "rank_xendcg"}, holes, third, group=groups)
case("dart", {"objective": "regression", "boosting": "dart", "drop_rate": 0.5}, holes, signal)
case("goss", {"objective": "regression", "data_sample_strategy": "goss"}, holes, signal)
forest = {"boosting": "rf", "bagging_freq": 1, "bagging_fraction": 0.6}
case("rf_l2", {"objective": "regression", **forest}, holes, signal, **cat)
case("rf_binary", {"objective": "binary", **forest}, holes, binary)
case("rf_multiclass", {"objective": "multiclass", "num_class": 3, **forest}, holes, third)
case("stumps_without_splits", {"objective": "regression", "min_data_in_leaf": 399}, holes, signal)
case("custom", {"objective": lambda p, d: (p - d.get_label(), np.ones_like(p))}, holes, signal)
frame = pd.DataFrame(holes[:, :3], columns=["age", "dose", "size"])
frame["ward"] = pd.Categorical(np.array(["Nord", "Süd", "Ost", 'a "b"'])[X[:, 5].astype(int) % 4])
frame["sex"] = pd.Categorical(np.where(X[:, 3] > 0, "f", "m"))
test = frame[:ROWS].copy()
test["ward"] = pd.Categorical([None if i % 9 == 0 else "elsewhere" if i % 7 == 0 else v for i, v in enumerate(test["ward"])])
case("pandas", {"objective": "regression"}, frame, signal + 0.8 * (frame["ward"] == "Ost"), test=test)
case("linear_tree", {"objective": "regression", "linear_tree": True}, X, signal)
case("linear_missing", {"objective": "regression", "linear_tree": True, "linear_lambda": 0.1}, holes, signal)
case("linear_binary", {"objective": "binary", "linear_tree": True}, holes, binary, **cat)
case("linear_multiclass", {"objective": "multiclass", "num_class": 3, "linear_tree": True}, holes, third)
case("linear_stumps", {"objective": "regression", "linear_tree": True, "min_data_in_leaf": 399}, holes, signal)

with open(os.path.join(here, "expected.json"), "w", encoding="utf-8") as f:
    json.dump({"lightgbm": lgb.__version__, "cases": cases}, f, ensure_ascii=False, separators=(",", ":"))
    f.write("\n")
