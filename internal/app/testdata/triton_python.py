"""Asks a model by the unmodified tritonclient, over HTTP and gRPC, and holds the answers against recorded ones.

usage: triton_python.py HOST:PORT ENDPOINT calls.json CASE
"""

import json
import sys

import numpy as np
import tritonclient.grpc as grpc
import tritonclient.http as http
from tritonclient.utils import triton_to_np_dtype

address, endpoint, recorded, case = sys.argv[1:]
call = json.load(open(recorded))[case]


def array(t):
    kind = triton_to_np_dtype(t["datatype"])
    data = [v.encode() for v in t["data"]] if t["datatype"] == "BYTES" else [np.nan if v is None else v for v in t["data"]]
    return np.array(data, dtype=object if t["datatype"] == "BYTES" else kind).reshape(t["shape"])


for module in (http, grpc):
    client = module.InferenceServerClient(address)
    if not client.is_model_ready(endpoint):
        raise SystemExit("the model is not ready")
    inputs = []
    for t in call["inputs"]:
        i = module.InferInput(t["name"], t["shape"], t["datatype"])
        i.set_data_from_numpy(array(t))
        inputs.append(i)
    answer = client.infer(endpoint, inputs)
    for t in call["outputs"]:
        got, want = answer.as_numpy(t["name"]), array(t)
        if got is None or got.shape != want.shape or not np.array_equal(got, want, equal_nan=want.dtype.kind == "f"):
            raise SystemExit("%s answers %s with %r instead of %r" % (module.__name__, t["name"], got, want))
    client.close()
print("both answer as recorded")
