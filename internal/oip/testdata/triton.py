"""Calls a server with the unmodified tritonclient and holds its answers against recorded values of xgboost.

usage: triton.py HOST:PORT expected.json TOKEN
The last line of the output is {"predictions": [ids]}.
"""

import json
import sys

import numpy as np
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

address, recorded, token = sys.argv[1:]


def auth(with_token=token):
    """Gives a dictionary of its own to each call, because the client writes into the one it is given."""
    return {"Authorization": "Bearer " + with_token}


client = triton.InferenceServerClient(address, concurrency=4)
cases = {c["name"]: c for c in json.load(open(recorded))["cases"]}
ids = []


def check(ok, what):
    if not ok:
        raise SystemExit("wrong: " + what)


def seen(result):
    ids.append(result.get_response()["parameters"]["prediction_id"])
    return result


def refused(status, part, call):
    try:
        call()
    except InferenceServerException as e:
        check(e.status() == status and part in e.message(), f"status {e.status()}, {e.message()!r}; wanted {status}, {part!r}")
        return
    raise SystemExit(f"not refused: {status}, {part!r}")


# Health and descriptions.
check(client.is_server_live(), "live")
check(client.is_server_ready(), "ready")
check(client.is_model_ready("scores", headers=auth()), "scores is ready")
check(client.is_model_ready("scores", "3", headers=auth()), "version 3 is ready")
check(not client.is_model_ready("scores", "2", headers=auth()), "version 2 is not")
check(not client.is_model_ready("nobody", headers=auth()), "an unknown model is not")
check(not client.is_model_ready("asleep", headers=auth()), "a suspended model is not")
check(client.get_server_metadata(headers=auth())["name"] == "keelson", "server metadata")
meta = client.get_model_metadata("scores", headers=auth())
check(meta["inputs"][0]["shape"] == [-1, 6] and meta["versions"] == ["3"], f"metadata {meta}")
config = client.get_model_config("scores", headers=auth())
check(config["input"][0]["data_type"] == "TYPE_FP32" and config["max_batch_size"] == 0, f"config {config}")
check(client.get_model_metadata("scores", "3", headers=auth()) == meta, "metadata of a version")

# Numbers, each way in and out, whole and row by row; missing values are NaN.
for model, case in [("scores", "logistic_named"), ("classes", "softprob")]:
    c = cases[case]
    rows = np.array([[np.nan if v is None else v for v in r] for r in c["rows"]], np.float32)
    want = np.array(c["predict"])
    for dtype in (np.float32, np.float64):
        for binary_in in (True, False):
            x = rows.astype(dtype)
            expected = want
            if not binary_in:  # bare NaN is not JSON: only rows without missing values go this way
                whole = ~np.isnan(x).any(axis=1)
                x, expected = x[whole], want[whole]
            check(len(x) > 0, "rows left")
            for binary_out in (None, True, False):
                for algorithm in (None, "gzip", "deflate"):
                    i = triton.InferInput("input", list(x.shape), "FP32" if dtype == np.float32 else "FP64")
                    i.set_data_from_numpy(x, binary_data=binary_in)
                    outputs = None if binary_out is None else [triton.InferRequestedOutput("predict", binary_data=binary_out)]
                    r = seen(client.infer(model, [i], outputs=outputs, request_id="r1", headers=auth(),
                                          request_compression_algorithm=algorithm, response_compression_algorithm=algorithm))
                    got = r.as_numpy("predict")
                    check(got.dtype == np.float32 and got.shape == expected.shape, f"{got.dtype} {got.shape}")
                    check(np.allclose(got, expected, rtol=0, atol=1e-6), f"{model} {dtype} {binary_in} {binary_out} {algorithm}")
                    check(r.get_response()["id"] == "r1", "id")
    for x, y in zip(rows, want):
        i = triton.InferInput("input", [1, 6], "FP32")
        i.set_data_from_numpy(x[None, :])
        got = seen(client.infer(model, [i], headers=auth(), parameters={"subject": "p-1", "purpose": "test"})).as_numpy("predict")
        check(np.allclose(got[0], y, rtol=0, atol=1e-6), "one row")

# Many at once.
i = triton.InferInput("input", [len(rows), 6], "FP32")
i.set_data_from_numpy(rows)
waiting = [client.async_infer("classes", [i], headers=auth()) for _ in range(20)]
for w in waiting:
    check(np.allclose(seen(w.get_result()).as_numpy("predict"), want, rtol=0, atol=1e-6), "asynchronous")

# An answer that is large enough comes compressed.
big = np.zeros((500, 6), np.float32)
i = triton.InferInput("input", [500, 6], "FP32")
i.set_data_from_numpy(big)
for algorithm in ("gzip", "deflate"):
    r = seen(client.infer("classes", [i], headers=auth(), response_compression_algorithm=algorithm))
    check(r.as_numpy("predict").shape == (500, 3), algorithm)

# Text, whole numbers and truth values.
for binary in (True, False):
    def tensor(name, datatype, values):
        t = triton.InferInput(name, list(values.shape), datatype)
        t.set_data_from_numpy(values, binary_data=binary)
        return t

    r = seen(client.infer("rules", [
        tensor("score", "FP64", np.array([0.95, 0.5, 0.1])),
        tensor("age", "INT64", np.array([30, 41, 80])),
        tensor("ward", "BYTES", np.array(["x", "onco é", "x"], dtype=object)),
        tensor("history", "BOOL", np.array([False, False, False])),
    ], outputs=[triton.InferRequestedOutput("days", binary_data=binary), triton.InferRequestedOutput("decision", binary_data=binary)], headers=auth()))
    text = [v.decode() if isinstance(v, bytes) else v for v in r.as_numpy("decision")]
    check(text == ["refer", "refer", "no referral"], f"decisions {text}")
    check(r.as_numpy("days").tolist() == [2, 14, 365] and r.as_numpy("risk") is None, "days only")


# Mistakes come back as the client's own exception with the server's words.
def ask(model="scores", version="", shape=(1, 6), outputs=None, who=token):
    i = triton.InferInput("input", list(shape), "FP32")
    i.set_data_from_numpy(np.ones(shape, np.float32))
    return client.infer(model, [i], model_version=version, outputs=outputs, headers=auth(who) if who else None)


refused("404", "nobody", lambda: ask("nobody"))
refused("404", "Version", lambda: ask(version="2"))
refused("503", "suspended", lambda: ask("asleep"))
refused("400", "[n, 6]", lambda: ask(shape=(1, 5)))
refused("400", "no output", lambda: ask(outputs=[triton.InferRequestedOutput("margin")]))
refused("400", "Classification", lambda: ask(outputs=[triton.InferRequestedOutput("predict", class_count=2)]))
refused("413", "1001 rows", lambda: ask(shape=(1001, 6)))
refused("413", "bytes", lambda: ask(shape=(9000, 6)))
refused("401", "Sign in", lambda: ask(who=None))
refused("403", "may not", lambda: ask(who="reader"))

print(json.dumps({"predictions": ids}))
