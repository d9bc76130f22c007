"""Writes the data files of the screening example.

The rows are the 569 real patients of the Wisconsin Diagnostic Breast Cancer set that ships inside
scikit-learn (W. Street, W. Wolberg, O. Mangasarian, 1993). Nothing is downloaded and nothing is
invented: every row of every file is one of those patients. The one column we add, size_band, is
computed from mean_radius.

    older.csv            300 patients: what version 1 is trained on
    newer.parquet        369 patients: the same 300 and 69 more, what version 2 is trained on
    holdout.csv          200 patients neither version has seen: what both are judged on, and what their results
                         are estimated from before outcomes arrive
    traffic.csv          400 patients drawn without replacement from all: a quiet day
    traffic_shifted.csv  400 examinations of patients with large tumours only: a real shift
    broken.csv           older.csv with two cells that break a data rule each

Running it twice writes the same bytes. Usage: python make_data.py [FOLDER], default ./data
"""

import pathlib
import sys

import numpy as np
import pandas as pd
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split

SEED = 20240607
LARGE = 15.0  # mean_radius, in the units of the data set, from which a tumour counts as large


def patients() -> pd.DataFrame:
    """All 569 patients: id, 30 measurements, size_band and malignant (1 is malignant)."""
    bunch = load_breast_cancer()
    frame = pd.DataFrame(bunch.data, columns=[n.replace(" ", "_") for n in bunch.feature_names])
    frame.insert(0, "patient", [f"P{i:04d}" for i in range(len(frame))])
    frame["size_band"] = np.select(
        [frame["mean_radius"] < 12.0, frame["mean_radius"] < LARGE], ["small", "medium"], "large"
    )
    frame["malignant"] = (1 - bunch.target).astype("int64")  # scikit-learn codes malignant as 0
    return frame


def main(folder: pathlib.Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    everybody = patients()
    pool, apart = train_test_split(
        everybody, test_size=114, random_state=SEED, stratify=everybody["malignant"]
    )
    older, others = train_test_split(pool, train_size=300, random_state=SEED, stratify=pool["malignant"])
    later, more = train_test_split(others, test_size=86, random_state=SEED, stratify=others["malignant"])
    holdout = pd.concat([apart, more])
    newer = pd.concat([older, later])
    draw = np.random.default_rng(SEED)
    quiet = everybody.iloc[draw.permutation(len(everybody))[:400]]
    large = everybody[everybody["mean_radius"] >= LARGE]
    shifted = large.iloc[draw.integers(0, len(large), 400)]

    older.to_csv(folder / "older.csv", index=False)
    newer.to_parquet(folder / "newer.parquet", index=False)
    holdout.to_csv(folder / "holdout.csv", index=False)
    quiet.to_csv(folder / "traffic.csv", index=False)
    shifted.to_csv(folder / "traffic_shifted.csv", index=False)

    broken = older.reset_index(drop=True).copy()
    broken.loc[6, "mean_radius"] = -3.5  # a radius is never negative
    broken["malignant"] = broken["malignant"].astype("int64")
    broken.loc[41, "malignant"] = 7  # only 0 and 1 are allowed
    broken.to_csv(folder / "broken.csv", index=False)

    for file in sorted(folder.iterdir()):
        print(file.name, file.stat().st_size, "bytes")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "data"))
