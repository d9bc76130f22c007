"""Trains the screening model and registers it, with the ordinary mlflow client.

Inside a Keelson pipeline the environment says everything: where the server is, which data file was
checked out, the parameters and the seed. Outside of one it runs against any MLflow server:

    MLFLOW_TRACKING_URI=http://… python train.py --data data/older.csv

The model folder gets one file of ours, keelson_golden.json: rows and the answers xgboost itself
gives for them. The server runs these rows through its own engine before it calls a version ready.
"""

import argparse
import json
import os
import pathlib
import tempfile

import mlflow
import numpy as np
import pandas as pd
import xgboost as xgb
from mlflow.models import infer_signature
from sklearn.metrics import accuracy_score, brier_score_loss, roc_auc_score
from sklearn.model_selection import train_test_split

DATASET = "screening-patients"
TARGET = "malignant"
NOT_INPUTS = ["patient", "size_band", TARGET]
PREFIX = "KEELSON_DATA_" + DATASET.upper().replace("-", "_")


def read(path: str) -> pd.DataFrame:
    return pd.read_parquet(path) if path.endswith(".parquet") else pd.read_csv(path)


def parameters() -> dict:
    """The run's parameters: defaults, overridden by what the pipeline was started with."""
    given = json.loads(os.environ.get("KEELSON_PARAMS", "{}"))
    return {
        "max_depth": int(given.get("max_depth", 3)),
        "eta": float(given.get("eta", 0.1)),
        "rounds": int(given.get("rounds", 120)),
        "subsample": float(given.get("subsample", 0.8)),
    }


def golden_rows(booster: xgb.Booster, inputs: pd.DataFrame) -> dict:
    """24 rows, four of them with missing values, and what xgboost answers for them."""
    rows = inputs.head(24).reset_index(drop=True).copy()
    for i, column in enumerate(["mean_texture", "worst_area", "mean_radius", "worst_concave_points"]):
        rows.loc[i, column] = np.nan
    answers = booster.predict(xgb.DMatrix(rows))
    return {
        "format": "keelson-golden/1",
        "producer": f"xgboost {xgb.__version__}",
        "limit": 1e-6,
        "inputs": [
            {
                "name": "input",
                "datatype": "FP64",
                "shape": list(rows.shape),
                "data": [None if np.isnan(v) else float(v) for v in rows.to_numpy().ravel()],
            }
        ],
        "outputs": [
            {"name": "output", "datatype": "FP32", "shape": [len(rows)], "data": [float(a) for a in answers]}
        ],
    }


def main() -> None:
    args = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    args.add_argument("--data", default=os.environ.get(PREFIX), help="CSV or Parquet file")
    args.add_argument("--name", default="screening", help="registered model")
    args = args.parse_args()
    if not args.data:
        raise SystemExit(f"No data: give --data FILE or set {PREFIX}.")
    seed = int(os.environ.get("KEELSON_SEED", "20240607"))
    given = parameters()

    frame = read(args.data)
    print(f"{len(frame)} patients, {int(frame[TARGET].sum())} malignant", flush=True)
    inputs, target = frame.drop(columns=NOT_INPUTS).astype("float64"), frame[TARGET]
    fit_x, test_x, fit_y, test_y = train_test_split(
        inputs, target, test_size=0.2, random_state=seed, stratify=target
    )

    with mlflow.start_run(run_name="xgboost") as run:
        mlflow.log_params({**given, "seed": seed, "objective": "binary:logistic", "tree_method": "hist"})
        mlflow.log_input(
            mlflow.data.from_pandas(
                frame,
                name=DATASET,
                targets=TARGET,
                source=os.environ.get(PREFIX + "_URL") or args.data,
                digest=os.environ.get(PREFIX + "_DIGEST", "").removeprefix("sha256:")[:36] or None,
            ),
            context="training",
            tags={"keelson.version": os.environ.get(PREFIX + "_VERSION", "")},
        )
        history: dict = {}
        booster = xgb.train(
            {
                "objective": "binary:logistic",
                "eval_metric": ["logloss", "auc"],
                "tree_method": "hist",
                "max_depth": given["max_depth"],
                "eta": given["eta"],
                "subsample": given["subsample"],
                "seed": seed,
                "nthread": 1,
            },
            xgb.DMatrix(fit_x, label=fit_y),
            num_boost_round=given["rounds"],
            evals=[(xgb.DMatrix(test_x, label=test_y), "test")],
            evals_result=history,
            verbose_eval=20,
        )
        for step, (loss, auc) in enumerate(zip(history["test"]["logloss"], history["test"]["auc"])):
            if step % 5 == 0 or step == given["rounds"] - 1:
                mlflow.log_metrics({"test_logloss": loss, "test_auc_by_round": auc}, step=step)
        score = booster.predict(xgb.DMatrix(test_x))
        mlflow.log_metrics(
            {
                "auc": roc_auc_score(test_y, score),
                "accuracy": accuracy_score(test_y, score >= 0.5),
                "brier": brier_score_loss(test_y, score),
            }
        )
        importance = booster.get_score(importance_type="gain")
        mlflow.log_dict(dict(sorted(importance.items(), key=lambda kv: -kv[1])), "importance.json")

        info = mlflow.xgboost.log_model(
            booster,
            name="model",
            signature=infer_signature(inputs, booster.predict(xgb.DMatrix(inputs))),
            input_example=inputs.head(3),
        )
        with tempfile.TemporaryDirectory() as folder:
            golden = pathlib.Path(folder) / "keelson_golden.json"
            golden.write_text(json.dumps(golden_rows(booster, test_x)))
            mlflow.MlflowClient().log_model_artifact(info.model_id, str(golden))
        # The version becomes ready in the background; the pipeline's register step waits for it.
        version = mlflow.register_model(
            f"models:/{info.model_id}", args.name, await_registration_for=0
        )
        print(f"registered {version.name}/{version.version} from run {run.info.run_id}", flush=True)


if __name__ == "__main__":
    main()
