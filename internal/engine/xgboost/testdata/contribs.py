"""Records what the real library says each feature contributed to the rows of expected.json.

python3 -m venv v && v/bin/pip install xgboost-cpu==3.2.0 numpy && v/bin/python contribs.py
writes contribs.json beside this file: rows x outputs x (features + 1), the last being the bias.
"""

import json
import os

import numpy as np
import xgboost as xgb

here = os.path.dirname(os.path.abspath(__file__))
out = {}
for case in json.load(open(os.path.join(here, "expected.json")))["cases"]:
    booster = xgb.Booster(model_file=os.path.join(here, "models", case["file"]))
    rows = np.array(case["rows"], dtype=np.float32)
    if case.get("words") or rows.ndim != 2:
        continue
    d = xgb.DMatrix(rows, feature_names=booster.feature_names, feature_types=booster.feature_types)
    try:
        got = booster.predict(d, pred_contribs=True)
    except xgb.core.XGBoostError:
        continue  # leaves of several values
    out[case["name"]] = np.round(np.asarray(got, dtype=np.float64).reshape(len(rows), -1), 8).tolist()
json.dump({"xgboost": xgb.__version__, "contribs": out}, open(os.path.join(here, "contribs.json"), "w"), separators=(",", ":"))
