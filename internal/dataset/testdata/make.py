"""Writes the test data of this folder. Usage: python make.py (needs scikit-learn, pandas, pyarrow).

patients.csv          the 569 real patients of the Wisconsin Diagnostic Breast Cancer set in scikit-learn, 10 of
                      its 30 measurements, a word column and the truth
parquet/*.parquet     one table of 300 rows written by pyarrow with every encoding, compression and page version
parquet/rows.csv      the same table as text
parquet/nested.parquet  columns that must be refused
"""

import datetime
import decimal
import pathlib

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from sklearn.datasets import load_breast_cancer

here = pathlib.Path(__file__).parent

bunch = load_breast_cancer()
frame = pd.DataFrame(bunch.data, columns=[n.replace(" ", "_") for n in bunch.feature_names])
frame = frame[[c for c in frame.columns if c.startswith("mean_")]]
frame.insert(0, "patient", [f"P{i:04d}" for i in range(len(frame))])
frame["size_band"] = np.select([frame["mean_radius"] < 12, frame["mean_radius"] < 15], ["small", "medium"], "large")
frame["malignant"] = 1 - bunch.target
frame.to_csv(here / "patients.csv", index=False)

draw = np.random.default_rng(3)
n = 300
start = datetime.datetime(2024, 1, 1, tzinfo=datetime.timezone.utc)


def gaps(values):
    return [None if i % 7 == 3 else v for i, v in enumerate(values)]


columns = {
    "i32": pa.array(gaps(draw.integers(-(2**31), 2**31, n).tolist()), pa.int32()),
    "i64": pa.array(draw.integers(-(2**50), 2**50, n).tolist(), pa.int64()),
    "u8": pa.array(draw.integers(0, 256, n).tolist(), pa.uint8()),
    "u32": pa.array(draw.integers(0, 2**32, n).tolist(), pa.uint32()),
    "f32": pa.array(draw.normal(size=n).astype("float32"), pa.float32()),
    "f64": pa.array(gaps(draw.normal(size=n).tolist()), pa.float64()),
    "word": pa.array(gaps([["low", "middle", "high, so", "größer"][k] for k in draw.integers(0, 4, n)]), pa.string()),
    "code": pa.array([f"P{k:06d}" for k in np.sort(draw.integers(0, 10**6, n))], pa.string()),
    "yes": pa.array(gaps((draw.random(n) < 0.3).tolist()), pa.bool_()),
    "when_us": pa.array([start + datetime.timedelta(seconds=int(k)) for k in draw.integers(-10**9, 10**8, n)], pa.timestamp("us", "UTC")),
    "when_ms": pa.array([start + datetime.timedelta(seconds=int(k)) for k in draw.integers(0, 10**8, n)], pa.timestamp("ms", "UTC")),
    "when_ns": pa.array([start + datetime.timedelta(seconds=int(k)) for k in draw.integers(0, 10**8, n)], pa.timestamp("ns", "UTC")),
    "day": pa.array([(start + datetime.timedelta(days=int(k))).date() for k in draw.integers(-30000, 3000, n)], pa.date32()),
    "money": pa.array([decimal.Decimal(int(k)).scaleb(-2) for k in draw.integers(-10**6, 10**6, n)], pa.decimal128(12, 2)),
    "same": pa.array([7] * n, pa.int64()),
    "none": pa.array([None] * n, pa.float64()),
}
table = pa.table(columns)
plain = [c for c in table.column_names]
variants = {
    "dictionary_snappy": dict(compression="snappy"),
    "plain_none": dict(compression="none", use_dictionary=False),
    "plain_zstd_v2": dict(compression="zstd", use_dictionary=False, data_page_version="2.0"),
    "dictionary_gzip_v2": dict(compression="gzip", data_page_version="2.0"),
    "dictionary_brotli": dict(compression="brotli", row_group_size=100),
    "plain_lz4": dict(compression="lz4", use_dictionary=False, data_page_size=256, row_group_size=77),
    "delta_zstd_v2": dict(
        compression="zstd", use_dictionary=False, data_page_version="2.0",
        column_encoding={
            "i32": "DELTA_BINARY_PACKED", "i64": "DELTA_BINARY_PACKED", "u8": "DELTA_BINARY_PACKED", "u32": "DELTA_BINARY_PACKED",
            "f32": "BYTE_STREAM_SPLIT", "f64": "BYTE_STREAM_SPLIT", "word": "DELTA_LENGTH_BYTE_ARRAY", "code": "DELTA_BYTE_ARRAY",
            "yes": "RLE", "when_us": "DELTA_BINARY_PACKED", "same": "DELTA_BINARY_PACKED",
        },
    ),
    "int96": dict(compression="snappy", use_deprecated_int96_timestamps=True),
    "decimal_int": dict(compression="snappy", store_decimal_as_integer=True),
}
for name, options in variants.items():
    pq.write_table(table, here / "parquet" / f"{name}.parquet", write_statistics=False, store_schema=False, **options)

text = table.to_pandas(types_mapper={pa.int32(): pd.Int32Dtype(), pa.bool_(): pd.BooleanDtype()}.get)
text["yes"] = text["yes"].map(lambda v: "" if pd.isna(v) else str(bool(v)).lower())
for c in ("when_us", "when_ms", "when_ns"):
    text[c] = text[c].dt.strftime("%Y-%m-%dT%H:%M:%SZ")
text.to_csv(here / "parquet" / "rows.csv", index=False)

nested = pa.table({"id": [1, 2], "tags": [["a"], ["b", "c"]], "place": [{"x": 1}, {"x": 2}]})
pq.write_table(nested, here / "parquet" / "nested.parquet", store_schema=False)
pq.write_table(pa.table({"at": pa.array([1, 2], pa.time64("us"))}), here / "parquet" / "time_of_day.parquet", store_schema=False)
