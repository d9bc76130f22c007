"""Writes cbpe_multiclass.csv and cbpe_multiclass_expected.json, beside this file.

    python multiclass.py        with nannyml 0.13.1, numpy and pandas

The rows are drawn, with a fixed seed: three classes, probabilities that are too sure of themselves, so that calibration is
needed, and in the analysis period more rows of the class that is hard to tell. The expected values are NannyML's own.
"""

import json
import pathlib
import warnings

import nannyml
import numpy as np
import pandas as pd

CHUNK = 400
CLASSES = ["ash", "birch", "cedar"]
METRICS = ["roc_auc", "average_precision", "f1", "precision", "recall", "specificity", "accuracy"]


def draw(rng: np.random.Generator, rows: int, shares: list[float], period: str) -> pd.DataFrame:
    centres = np.array([[0.0, 0.0], [1.6, 0.2], [0.9, 1.5]])
    truth = rng.choice(3, rows, p=shares)
    x = centres[truth] + rng.normal(0, 0.9, (rows, 2))
    logits = -1.5 * ((x[:, None, :] - centres[None]) ** 2).sum(axis=2) + np.array([0.3, 0.0, -0.2])
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    p = np.round(p / p.sum(axis=1, keepdims=True), 9)
    frame = pd.DataFrame(p, columns=[f"p_{c}" for c in CLASSES])
    frame["y_pred"] = [CLASSES[k] for k in p.argmax(axis=1)]
    frame["y_true"] = [CLASSES[k] for k in truth]
    frame["period"] = period
    return frame


def main() -> None:
    warnings.filterwarnings("ignore")
    folder = pathlib.Path(__file__).parent
    rng = np.random.default_rng(20261121)
    np.random.seed(1)
    rows = pd.concat([draw(rng, 1600, [0.5, 0.3, 0.2], "reference"), draw(rng, 1200, [0.3, 0.3, 0.4], "analysis")])
    rows.to_csv(folder / "cbpe_multiclass.csv", index=False)
    rows = pd.read_csv(folder / "cbpe_multiclass.csv")
    estimator = nannyml.CBPE(
        y_pred_proba={c: f"p_{c}" for c in CLASSES},
        y_pred="y_pred",
        y_true="y_true",
        problem_type="classification_multiclass",
        metrics=METRICS,
        chunk_size=CHUNK,
    )
    estimator.fit(rows[rows.period == "reference"].reset_index(drop=True))
    result = estimator.estimate(rows[rows.period == "analysis"].drop(columns="y_true").reset_index(drop=True))
    out = {"nannyml": nannyml.__version__, "chunk_size": CHUNK, "classes": CLASSES}
    out["calibrated"] = {c: type(k).__name__ != "NoopCalibrator" for c, k in estimator._calibrators.items()}
    frame = result.to_df()
    for period in ("reference", "analysis"):
        part = frame[frame[("chunk", "period")] == period]
        out[period] = {
            f"{m}/{what}": [float(v) for v in part[(m, what)]]
            for m in METRICS
            for what in ("value", "sampling_error", "lower_confidence_boundary", "upper_confidence_boundary")
        }
    (folder / "cbpe_multiclass_expected.json").write_text(json.dumps(out, indent=1) + "\n")


if __name__ == "__main__":
    main()
