"""Calls a server over gRPC with the unmodified tritonclient and holds its answers against recorded values of xgboost.

usage: triton_grpc.py HOST:PORT expected.json TOKEN
The last line of the output is {"predictions": [ids]}.
"""

import json
import queue
import sys

import ml_dtypes
import numpy as np
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

address, recorded, token = sys.argv[1:]
auth = {"authorization": "Bearer " + token}
client = triton.InferenceServerClient(address)
cases = {c["name"]: c for c in json.load(open(recorded))["cases"]}
ids = []


def check(ok, what):
    if not ok:
        raise SystemExit("wrong: " + what)


def seen(result):
    ids.append(result.get_response().parameters["prediction_id"].string_param)
    return result


def refused(code, part, call):
    try:
        call()
    except InferenceServerException as e:
        check(code in e.status() and part in e.message(), f"{e.status()}, {e.message()!r}; wanted {code}, {part!r}")
        return
    raise SystemExit(f"not refused: {code}, {part!r}")


# Health, descriptions, repository.
check(client.is_server_live(), "live, without a token")
check(client.is_server_ready(), "ready, without a token")
check(client.is_model_ready("scores", headers=auth), "scores is ready")
check(client.is_model_ready("scores", "3", headers=auth), "version 3 is ready")
check(not client.is_model_ready("scores", "2", headers=auth), "version 2 is not")
check(not client.is_model_ready("nobody", headers=auth), "an unknown model is not")
check(not client.is_model_ready("asleep", headers=auth), "a suspended model is not")
check(client.get_server_metadata(headers=auth).name == "keelson", "server metadata")
meta = client.get_model_metadata("scores", headers=auth)
INPUT = meta.inputs[0].name
check(list(meta.inputs[0].shape) == [-1, 6] and list(meta.versions) == ["3"], f"metadata {meta}")
config = client.get_model_config("scores", headers=auth).config
check(config.input[0].data_type == 11 and config.max_batch_size == 0 and list(config.input[0].dims) == [-1, 6], f"config {config}")
index = {m.name: m for m in client.get_model_repository_index(headers=auth).models}
check(index["scores"].state == "READY" and index["scores"].version == "3", f"index {index}")
check(index["asleep"].state == "UNAVAILABLE" and "suspended" in index["asleep"].reason, f"index {index}")
refused("PERMISSION_DENIED", "it-operations", lambda: client.load_model("scores", headers=auth))
refused("PERMISSION_DENIED", "", lambda: client.unload_model("scores", headers=auth))

# Who may ask.
refused("UNAUTHENTICATED", "token", lambda: client.get_server_metadata())
refused("UNAUTHENTICATED", "not known", lambda: client.get_server_metadata(headers={"authorization": "Bearer wrong"}))
refused("PERMISSION_DENIED", "predict", lambda: client.get_server_metadata(headers={"authorization": "Bearer reader"}))

# Answers, one row at a time and all together, raw.
c = cases["logistic_named"]
rows = np.array([[np.nan if v is None else v for v in r] for r in c["rows"]], dtype=np.float32)
want = np.array(c["predict"], dtype=np.float32).reshape(len(rows), -1)


def ask(x, name="scores", version="", datatype=None, inputs=INPUT, **more):
    i = triton.InferInput(inputs, list(x.shape), datatype or "FP32")
    i.set_data_from_numpy(x)
    return seen(client.infer(name, [i], model_version=version, headers=auth, **more))


first = ask(rows[:1])
out = first.get_response().outputs[0].name
for k in range(len(rows)):
    got = ask(rows[k : k + 1], request_id=f"row-{k}")
    check(got.get_response().id == f"row-{k}", "the id comes back")
    check(np.allclose(got.as_numpy(out), want[k], rtol=1e-6), f"row {k}")
got = ask(rows, outputs=[triton.InferRequestedOutput(out)], version="3", compression_algorithm="gzip")
check(np.allclose(got.as_numpy(out).reshape(want.shape), want, rtol=1e-6), "all rows, compressed")
half = rows.astype(np.float16)
check(np.allclose(ask(half, datatype="FP16").as_numpy(out), ask(half.astype(np.float32)).as_numpy(out)), "FP16")
double = rows.astype(np.float64)
check(np.allclose(ask(double, datatype="FP64").as_numpy(out).reshape(want.shape), want, rtol=1e-6), "FP64")
bf = triton.InferInput(INPUT, list(rows.shape), "BF16")
brain = rows.astype(ml_dtypes.bfloat16)
bf.set_data_from_numpy(brain)
wide = brain.astype(np.float32)
check(np.allclose(seen(client.infer("scores", [bf], headers=auth)).as_numpy(out), ask(wide).as_numpy(out)), "BF16")
told = seen(client.infer("scores", [i := triton.InferInput(INPUT, [1, 6], "FP32").set_data_from_numpy(rows[:1])],
                         headers=auth | {"keelson-application": "branch"}, parameters={"purpose": "test", "subject": "s-1"}))

# Typed contents, as clients in other languages send them.
from tritonclient.grpc import service_pb2, service_pb2_grpc  # noqa: E402
import grpc  # noqa: E402

stub = service_pb2_grpc.GRPCInferenceServiceStub(grpc.insecure_channel(address))
typed = service_pb2.ModelInferRequest(model_name="scores")
t = typed.inputs.add(name=INPUT, datatype="FP32", shape=[len(rows), 6])
t.contents.fp32_contents.extend(rows.ravel().tolist())
answer = stub.ModelInfer(typed, metadata=tuple(auth.items()))
check(np.allclose(np.array(answer.outputs[0].contents.fp32_contents), want.ravel(), rtol=1e-6), "typed contents")
ids.append(answer.parameters["prediction_id"].string_param)

# A stream: answers in order, an error in between does not end it.
answers = queue.Queue()
client.start_stream(lambda result, error: answers.put((result, error)), headers=auth)
for k in range(10):
    i = triton.InferInput(INPUT, [1, 6], "FP32").set_data_from_numpy(rows[k % len(rows) : k % len(rows) + 1])
    client.async_stream_infer("scores" if k != 5 else "nobody", [i], request_id=str(k))
for k in range(10):
    result, error = answers.get(timeout=20)
    if k == 5:
        check(error is not None and "nobody" in error.message(), f"the stream tells the error: {error}")
        continue
    check(error is None and result.get_response().id == str(k), f"answer {k} of the stream: {error}")
    check(np.allclose(seen(result).as_numpy(out), want[k % len(rows)], rtol=1e-6), f"value {k} of the stream")
client.stop_stream()

# Statistics count what was asked.
stats = client.get_inference_statistics("scores", headers=auth).model_stats[0]
check(stats.execution_count >= len(ids) and stats.inference_count > stats.execution_count, f"statistics {stats}")
check(stats.inference_stats.success.ns > stats.inference_stats.compute_infer.ns > 0, f"statistics {stats}")
check(len(client.get_inference_statistics(headers=auth).model_stats) == 3, "statistics of all")

# Mistakes.
refused("NOT_FOUND", "nobody", lambda: ask(rows[:1], name="nobody"))
refused("UNAVAILABLE", "suspended", lambda: ask(rows[:1], name="asleep"))
refused("INVALID_ARGUMENT", INPUT, lambda: ask(rows[:1, :3].copy()))
refused("INVALID_ARGUMENT", "no output", lambda: ask(rows[:1], outputs=[triton.InferRequestedOutput("nothing")]))
refused("INVALID_ARGUMENT", "Classification", lambda: ask(rows[:1], outputs=[triton.InferRequestedOutput(out, class_count=2)]))


def bad(code, part, change):
    request = service_pb2.ModelInferRequest()
    request.CopyFrom(typed)
    change(request)
    try:
        stub.ModelInfer(request, metadata=tuple(auth.items()))
    except grpc.RpcError as e:
        check(e.code().name == code and part in e.details(), f"{e.code()}, {e.details()!r}; wanted {code}, {part!r}")
        return
    raise SystemExit(f"not refused: {part}")


bad("INVALID_ARGUMENT", "no inputs", lambda r: r.ClearField("inputs"))
bad("INVALID_ARGUMENT", "FP33", lambda r: setattr(r.inputs[0], "datatype", "FP33"))
bad("INVALID_ARGUMENT", "dimension", lambda r: r.inputs[0].shape.append(-1))
bad("INVALID_ARGUMENT", "more than", lambda r: r.inputs[0].shape.append(2**30))
bad("INVALID_ARGUMENT", "needs", lambda r: r.inputs[0].shape.append(7))
bad("INVALID_ARGUMENT", "twice", lambda r: r.raw_input_contents.append(rows.tobytes()))
bad("INVALID_ARGUMENT", "entries", lambda r: r.raw_input_contents.extend([b"", b""]))
bad("INVALID_ARGUMENT", "named", lambda r: r.inputs.append(r.inputs[0]))
bad("INVALID_ARGUMENT", "purpose", lambda r: setattr(r.parameters["purpose"], "int64_param", 3))
bad("INVALID_ARGUMENT", "raw_input_contents only", lambda r: setattr(r.inputs[0], "datatype", "BF16"))

print(json.dumps({"predictions": ids}))
