"""Calls the deployed model with real patients, through the ordinary Triton client.

    python traffic.py --url HOST:PORT --rows data/traffic.csv --out calls.csv [--batch 4] [--json]

The token comes from KEELSON_TOKEN. The model's metadata says what it wants: one matrix, or one
tensor per column. --out gets one line per row: the prediction it belongs to, its row in that call,
the model version, the answer, and what turned out to be true. `keelson outcome add` reads it.
"""

import argparse
import csv
import os
import time

import numpy as np
import pandas as pd
import tritonclient.http as triton


def features(rows: pd.DataFrame) -> pd.DataFrame:
    return rows[[c for c in rows.columns if c not in ("patient", "size_band", "malignant")]]


def tensors(metadata: dict, rows: pd.DataFrame, binary: bool) -> list:
    wanted = metadata["inputs"]
    if len(wanted) == 1 and wanted[0]["name"] not in rows.columns:
        blocks = [(wanted[0], features(rows).to_numpy())]
    else:
        blocks = [(w, rows[w["name"]].to_numpy()) for w in wanted]
    made = []
    for want, values in blocks:
        kind = {"FP64": np.float64, "FP32": np.float32, "INT64": np.int64}[want["datatype"]]
        values = values.astype(kind)
        if len(want["shape"]) == 2 and values.ndim == 1:
            values = values.reshape(-1, 1)
        tensor = triton.InferInput(want["name"], list(values.shape), want["datatype"])
        tensor.set_data_from_numpy(values, binary_data=binary)
        made.append(tensor)
    return made


def describe(client, args, headers: dict) -> dict:
    until = time.monotonic() + 30
    while True:
        try:
            if client.is_server_live(headers) and client.is_model_ready(args.model, headers=headers):
                return client.get_model_metadata(args.model, headers=headers)
        except Exception:
            if not args.patient:
                raise
        if not args.patient or time.monotonic() > until:
            raise SystemExit(f"{args.model} is not ready at {args.url}; where sign-in is on, KEELSON_TOKEN must hold a token.")
        time.sleep(0.1)


def call(client, args, inputs: list, headers: dict, request_id: str):
    """One call. With --patient it is sent again while the server is away, as a clinic's software would."""
    until = time.monotonic() + 30
    while True:
        try:
            return client.infer(args.model, inputs, headers=headers, request_id=request_id)
        except Exception as failure:
            away = not isinstance(failure, triton.InferenceServerException) or failure.status() in (None, "503")
            if not args.patient or not away or time.monotonic() > until:
                raise
            time.sleep(0.1)


def main() -> None:
    args = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    args.add_argument("--url", required=True, help="host:port, without http://")
    args.add_argument("--model", default="screening", help="endpoint")
    args.add_argument("--rows", required=True, help="CSV file of patients")
    args.add_argument("--out", help="CSV file to write")
    args.add_argument("--batch", type=int, default=4, help="rows per call")
    args.add_argument("--limit", type=int, default=0, help="stop after that many rows, 0 is all")
    args.add_argument("--compare", help="xgboost model file; every answer must equal its own within 1e-6")
    args.add_argument("--patient", action="store_true", help="wait for a server that is away, up to 30 seconds a call")
    args.add_argument("--json", action="store_true", help="JSON tensors instead of binary ones")
    args = args.parse_args()

    headers = {"Keelson-Application": "clinic-desk"}
    if token := os.environ.get("KEELSON_TOKEN"):
        headers["Authorization"] = "Bearer " + token
    frame = pd.read_csv(args.rows)
    if args.limit:
        frame = frame.head(args.limit)

    client = triton.InferenceServerClient(args.url, network_timeout=30.0)
    metadata = describe(client, args, headers)
    lines, versions = [], {}
    for start in range(0, len(frame), args.batch):
        rows = frame.iloc[start : start + args.batch]
        result = call(client, args, tensors(metadata, rows, not args.json), headers, f"desk-{start}")
        answer = result.get_response()
        scores = result.as_numpy(answer["outputs"][0]["name"]).ravel()
        version = answer.get("model_version", "")
        versions[version] = versions.get(version, 0) + len(rows)
        prediction = answer["parameters"]["prediction_id"]
        for row, (score, truth) in enumerate(zip(scores, rows["malignant"])):
            lines.append([prediction, row, version, f"{score:.9g}", int(truth)])
    client.close()
    if args.out:
        with open(args.out, "w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["prediction_id", "row", "version", "score", "value"])
            writer.writerows(lines)
    right = sum((float(score) >= 0.5) == bool(truth) for _, _, _, score, truth in lines)
    if args.compare:
        import xgboost

        own = xgboost.Booster(model_file=args.compare).predict(xgboost.DMatrix(features(frame).astype("float64")))
        error = max(abs(float(line[3]) - o) for line, o in zip(lines, own))
        print(f"largest difference to xgboost: {error:.3g}")
        if not error <= 1e-6:
            raise SystemExit(f"The answers differ from xgboost by {error}.")
    print(f"{len(lines)} rows answered, {right} of them right, by version: {versions}")


if __name__ == "__main__":
    main()
