"""The peers' side of the comparison. One task per process: prints a JSON line with the CPU seconds of reading the files
and of the task; starting Python and importing count for nothing."""

import json
import os
import resource
import sys
import time

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import numpy as np
import pandas as pd

task, folder = sys.argv[1], sys.argv[2]
rows = int(sys.argv[3]) if len(sys.argv) > 3 else 0
path = lambda name: os.path.join(folder, name)


def cpu():
    u = resource.getrusage(resource.RUSAGE_SELF)
    return u.ru_utime + u.ru_stime


def done(loaded, begun, **more):
    print(json.dumps({"load": loaded, "cpu": cpu() - begun, "rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, **more}), flush=True)


def write(name, n, seed, moved):
    """Ten columns of normal numbers, three skewed, two of whole numbers, five of words; five of them moved."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rng = np.random.default_rng(seed)
    schema, writer, left = None, None, n
    while left > 0:
        k = min(left, 250_000)
        left -= k
        cols = {}
        for i in range(10):
            cols[f"n{i}"] = rng.normal(0.3 if moved and i < 3 else 0, 1, k)
        for i in range(3):
            cols[f"s{i}"] = rng.exponential(1.2 if moved and i == 0 else 1, k)
        for i in range(2):
            cols[f"i{i}"] = rng.integers(0, 1000, k).astype(float)
        for i in range(5):
            p = np.ones(8 + 4 * i)
            if moved and i == 0:
                p[0] = 3
            cols[f"w{i}"] = np.array([f"word{j}" for j in range(len(p))])[rng.choice(len(p), k, p=p / p.sum())]
        table = pa.table(cols)
        if writer is None:
            writer = pq.ParquetWriter(path(name), table.schema, compression="snappy")
        writer.write_table(table)
    writer.close()


if task == "make":
    write("reference.parquet", rows, 1, False)
    write("current.parquet", rows, 2, True)
elif task == "make-large":
    write("reference-large.parquet", rows, 3, False)
    write("current-large.parquet", rows, 4, True)
elif task == "make-models":
    import pyarrow as pa
    import pyarrow.parquet as pq
    import xgboost as xgb

    rng = np.random.default_rng(5)
    y = rng.random(rows) < 0.3
    score = 1 / (1 + np.exp(-(2.2 * (y - 0.3) + rng.normal(0, 1, rows))))
    group = lambda k: np.array([f"g{j}" for j in range(k)])[rng.integers(0, k, rows)]
    pq.write_table(pa.table({"score": score, "y_pred": (score >= 0.5).astype(float), "y_true": y.astype(float), "a": group(4), "b": group(12), "c": group(4)}), path("scored.parquet"))
    X = rng.normal(size=(20_000, 20)).astype(np.float32)
    t = (X[:, 0] + X[:, 1] * X[:, 2] + 0.3 * rng.normal(size=len(X)) > 0).astype(int)
    booster = xgb.train({"objective": "binary:logistic", "max_depth": 6, "eta": 0.1, "nthread": 1}, xgb.DMatrix(X, t), 300)
    booster.save_model(path("model.ubj"))
    X.tofile(path("rows.f32"))
    model = json.loads(booster.save_raw("json"))["learner"]
    base = float(str(model["learner_model_param"]["base_score"]).strip("[]"))
    trees = [{"Left": t["left_children"], "Right": t["right_children"], "Feature": t["split_indices"], "Threshold": t["split_conditions"], "MissingLeft": [bool(d) for d in t["default_left"]],
              "Value": t["split_conditions"], "Cover": t["sum_hessian"]} for t in model["gradient_booster"]["model"]["trees"]]
    with open(path("trees.json"), "w") as f:
        json.dump({"Base": float(np.log(base / (1 - base))), "Trees": trees}, f)
elif task == "evidently-psi":
    from evidently import DataDefinition, Dataset, Report
    from evidently.presets import DataDriftPreset

    b = cpu()
    ref, cur = (pd.read_parquet(path(f"{n}.parquet")) for n in ("reference", "current"))
    words = [c for c in ref.columns if c.startswith("w")]
    what = DataDefinition(numerical_columns=[c for c in ref.columns if c not in words], categorical_columns=words)
    ref, cur = Dataset.from_pandas(ref, data_definition=what), Dataset.from_pandas(cur, data_definition=what)
    loaded = cpu() - b
    b = cpu()
    Report([DataDriftPreset(num_method="psi", cat_method="psi")]).run(cur, ref).dict()
    done(loaded, b)
elif task == "nannyml-ks":
    import nannyml as nml

    b = cpu()
    ref, cur = (pd.read_parquet(path(f"{n}.parquet")) for n in ("reference", "current"))
    loaded = cpu() - b
    b = cpu()
    calc = nml.UnivariateDriftCalculator(column_names=list(ref.columns), treat_as_categorical=[c for c in ref.columns if c.startswith("w")],
                                         continuous_methods=["kolmogorov_smirnov"], categorical_methods=["chi2"], chunk_number=20)
    calc.fit(ref)
    calc.calculate(cur)
    done(loaded, b)
elif task == "nannyml-cbpe":
    import nannyml as nml

    b = cpu()
    data = pd.read_parquet(path("scored.parquet"))
    half = len(data) // 2
    loaded = cpu() - b
    b = cpu()
    est = nml.CBPE(y_pred_proba="score", y_pred="y_pred", y_true="y_true", problem_type="classification_binary", metrics=["roc_auc", "f1", "precision", "recall", "accuracy"], chunk_number=20)
    est.fit(data.iloc[:half])
    est.estimate(data.iloc[half:])
    done(loaded, b)
elif task == "fairlearn":
    from fairlearn.metrics import MetricFrame, count, false_positive_rate, selection_rate, true_positive_rate
    from sklearn.metrics import accuracy_score, precision_score

    b = cpu()
    data = pd.read_parquet(path("scored.parquet"))
    loaded = cpu() - b
    b = cpu()
    metrics = {"count": count, "selection": selection_rate, "accuracy": accuracy_score, "precision": precision_score, "tpr": true_positive_rate, "fpr": false_positive_rate}
    for groups in (["a"], ["b", "c"]):
        f = MetricFrame(metrics=metrics, y_true=data.y_true, y_pred=data.y_pred, sensitive_features=data[groups])
        f.by_group, f.difference()
    done(loaded, b)
elif task in ("xgboost-contribs", "shap-interventional", "shap-kernel"):
    import xgboost as xgb

    if task != "xgboost-contribs":
        import shap
    b = cpu()
    X = np.fromfile(path("rows.f32"), dtype=np.float32).reshape(-1, 20)
    booster = xgb.Booster(params={"nthread": 1})
    booster.load_model(path("model.ubj"))
    if task == "xgboost-contribs":
        d = xgb.DMatrix(X[:rows])
        loaded = cpu() - b
        b = cpu()
        booster.predict(d, pred_contribs=True)
    else:
        loaded = cpu() - b
        if task == "shap-interventional":
            b = cpu()
            shap.TreeExplainer(booster, X[10_000:10_100], feature_perturbation="interventional").shap_values(X[:rows])
        else:
            b = cpu()
            predict = lambda x: booster.inplace_predict(x.astype(np.float32))
            shap.KernelExplainer(predict, X[10_000:10_100].astype(float)).shap_values(X[:rows].astype(float), nsamples=2088, silent=True)
    done(loaded, b)
else:
    sys.exit(f"there is no task {task}")
