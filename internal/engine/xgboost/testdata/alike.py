"""Trains XGBoost (3.2) on labels that are all alike, or with a base_score at the edge, and records what Booster.predict answers:

    $KEELSON_PYTHON alike.py     writes alike.json beside this file
"""

import json
import os
import tempfile

import numpy as np
import xgboost as xgb

here = os.path.dirname(os.path.abspath(__file__))
rng = np.random.default_rng(3)
X = np.round(rng.normal(size=(40, 3)), 2).astype(np.float32)
wild = X[:6].copy()
wild[0, 0], wild[1, 1], wild[2, 2], wild[3, 0], wild[4, 1] = 3e38, -3e38, 1e4, -1e4, np.nan
cases = []


def number(v):
    return float(v) if np.isfinite(v) else "NaN" if np.isnan(v) else "Infinity" if v > 0 else "-Infinity"


def keep(name, label, **parameters):
    booster = xgb.train({"nthread": 1, "max_depth": 2, **parameters}, xgb.DMatrix(X, np.asarray(label, float)), 2)
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "m.json")
        booster.save_model(path)
        with open(path, encoding="utf-8") as f:
            model = f.read()
    out = np.asarray(booster.predict(xgb.DMatrix(wild)), np.float32).reshape(len(wild), -1)
    cases.append({"name": name, "model": model, "rows": [[number(v) for v in r] for r in wild], "predict": [number(v) for v in out.reshape(-1)]})


zero, one, mixed = np.zeros(40), np.ones(40), (X[:, 0] > 0).astype(float)
keep("no positive label", zero, objective="binary:logistic")
keep("no negative label", one, objective="reg:logistic")
keep("one of two labels never", np.stack([mixed, zero], axis=1), objective="binary:logistic")
keep("nothing counted", zero, objective="count:poisson")
keep("nothing spent", zero, objective="reg:tweedie")
keep("a base of 1e-30", mixed, objective="binary:logistic", base_score=1e-30)
keep("margins beyond 88.7", mixed, objective="binary:logistic", booster="gblinear")
with open(os.path.join(here, "alike.json"), "w", encoding="utf-8") as f:
    f.write("[\n" + ",\n".join(json.dumps(c, separators=(",", ":")) for c in cases) + "\n]\n")
