"""Trains models with early stopping through XGBoost's scikit-learn interface and records what the estimators answer.

python3 -m venv v && v/bin/pip install xgboost-cpu==3.2.0 scikit-learn && v/bin/python wrapper.py
writes wrapped/<name>.json or .ubj and wrapped.json beside this file.
"""

import json
import pathlib

import numpy as np
import xgboost as xgb

here = pathlib.Path(__file__).parent
(here / "wrapped").mkdir(exist_ok=True)
rng = np.random.default_rng(5)
x = np.round(rng.normal(size=(300, 4)), 3)
signal = x[:, 0] - x[:, 1] * x[:, 2] + rng.normal(scale=0.6, size=300)
cases = []


def case(name, model, label, form="json"):
    model.set_params(n_estimators=40, early_stopping_rounds=3, learning_rate=0.9, max_depth=2, random_state=1, n_jobs=1)
    model.fit(x[:150], label[:150], eval_set=[(x[150:], label[150:])], verbose=False)
    model.save_model(here / "wrapped" / f"{name}.{form}")
    rows = x[:20]
    proba = model.predict_proba(rows) if hasattr(model, "predict_proba") else model.predict(rows)
    if proba.ndim == 2 and proba.shape[1] == 2 and label.ndim == 1:
        proba = proba[:, 1]
    every = model.get_booster().predict(xgb.DMatrix(rows))
    assert model.best_iteration + 1 < model.get_booster().num_boosted_rounds() and not np.array_equal(every, proba)
    cases.append({"file": f"{name}.{form}", "rows": rows.tolist(), "predict": proba.reshape(20, -1).astype(float).tolist(), "every": every.reshape(20, -1).astype(float).tolist(),
                  "decided": model.predict(rows).reshape(20, -1).astype(int).tolist() if isinstance(model, xgb.XGBClassifier) else None})


case("two", xgb.XGBClassifier(), (signal > 0).astype(int))
case("three", xgb.XGBClassifier(), np.digitize(signal, [-0.7, 0.7]), "ubj")
case("targets", xgb.XGBClassifier(), np.c_[signal > 0, x[:, 0] > x[:, 3]].astype(int), "ubj")
case("vectors", xgb.XGBRegressor(multi_strategy="multi_output_tree", tree_method="hist"), np.c_[signal, -signal + x[:, 3]], "ubj")
case("number", xgb.XGBRegressor(num_parallel_tree=3, subsample=0.7), signal)
case("dart", xgb.XGBRegressor(booster="dart", rate_drop=0.2), signal)
(here / "wrapped.json").write_text(json.dumps(cases))
