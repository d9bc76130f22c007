"""Records what the real library says each feature contributed to the rows of expected.json.

python3 -m venv v && v/bin/pip install lightgbm==4.7.0 numpy && v/bin/python contribs.py
writes contribs.json beside this file: rows x outputs x (features + 1), the last being the bias.
"""

import json
import os

import lightgbm as lgb
import numpy as np

here = os.path.dirname(os.path.abspath(__file__))
out = {}
for case in json.load(open(os.path.join(here, "expected.json")))["cases"]:
    if case["name"].startswith("refused_"):
        continue
    booster = lgb.Booster(model_file=os.path.join(here, "models", case["file"]))
    rows = np.array([[float.fromhex(v) for v in r] for r in case["rows"]])
    booster.pandas_categorical = None
    got = booster.predict(rows, pred_contrib=True)
    out[case["name"]] = np.round(np.asarray(got, dtype=np.float64).reshape(len(rows), -1), 9).tolist()
json.dump({"lightgbm": lgb.__version__, "contribs": out}, open(os.path.join(here, "contribs.json"), "w"), separators=(",", ":"))
