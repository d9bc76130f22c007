"""Makes the models that both servers answer with, and the peer's settings.

usage: models.py FOLDER HTTP_PORT
"""

import json
import os
import sys

import joblib
import lightgbm
import numpy as np
import xgboost
from sklearn.linear_model import LogisticRegression

folder, port = sys.argv[1], int(sys.argv[2])
rng = np.random.default_rng(7)
X = rng.normal(size=(4000, 20)).astype(np.float32)
y = (X[:, 0] * X[:, 1] + X[:, 2] + rng.normal(size=4000) * 0.3 > 0).astype(int)


def put(name, implementation, file, save):
    os.makedirs(os.path.join(folder, "peer", name), exist_ok=True)
    save(os.path.join(folder, "peer", name, file))
    with open(os.path.join(folder, "peer", name, "model-settings.json"), "w") as f:
        json.dump({"name": name, "implementation": implementation, "parameters": {"uri": "./" + file}}, f)


trees = xgboost.train({"objective": "binary:logistic", "max_depth": 6, "nthread": 2}, xgboost.DMatrix(X, y), 100)
put("xgboost", "mlserver_xgboost.XGBoostModel", "model.json", trees.save_model)
leaves = lightgbm.train({"objective": "binary", "num_leaves": 31, "verbose": -1, "num_threads": 2}, lightgbm.Dataset(X, y), 100)
put("lightgbm", "mlserver_lightgbm.LightGBMModel", "model.txt", leaves.save_model)
linear = LogisticRegression().fit(X, y)
put("logistic", "mlserver_sklearn.SKLearnModel", "model.joblib", lambda path: joblib.dump(linear, path))

# Ours reads the trees as they are; the linear model in its own small form.
trees.save_model(os.path.join(folder, "xgboost.json"))
leaves.save_model(os.path.join(folder, "lightgbm.txt"))
with open(os.path.join(folder, "model.linear.json"), "w") as f:
    json.dump({"format": "keelson-linear-1", "link": "logit", "features": [{"name": f"x{i}"} for i in range(20)],
               "coefficients": linear.coef_[0].tolist(), "intercept": linear.intercept_.tolist(), "classes": [0, 1]}, f)
with open(os.path.join(folder, "peer", "settings.json"), "w") as f:
    json.dump({"host": "127.0.0.1", "http_port": port, "grpc_port": port + 1, "metrics_port": port + 2, "debug": False}, f)
