"""Inference: forms of the data, outputs, parameters, compression, many at once."""

import asyncio
import queue
import time

import numpy as np
from conformance import ADDRESS, DTYPES, TOKEN, auth, check, equal, skip, step
from tritonclient.utils import InferenceServerException


@step("all rows, as binary or raw data, get the library's answers")
def _(c):
    r = c.holds(c.infer())
    m = r.get_response()
    equal((m["model_name"], m["model_version"]) if c.transport == "http" else (m.model_name, m.model_version), (c.endpoint, "1"))


@step("answers have the datatypes and the order of the metadata")
def _(c):
    m, r = c.client.get_model_metadata(c.endpoint, headers=auth()), c.infer().get_response()
    if c.transport == "http":
        equal([(o["name"], o["datatype"]) for o in r["outputs"]], [(o["name"], o["datatype"]) for o in m["outputs"]])
    else:
        equal([(o.name, o.datatype) for o in r.outputs], [(o.name, o.datatype) for o in m.outputs])


@step("the version can be named")
def _(c):
    c.holds(c.infer(model_version="1"))


@step("one row gets its answer")
def _(c):
    for k in range(0, c.rows(), 9):
        c.holds(c.infer(c.feed(slice(k, k + 1))), slice(k, k + 1))


@step("no rows get no answers")
def _(c):
    if getattr(c, "empty", None):
        c.refused("invalid", "", c.infer, c.feed(slice(0, 0)))
        skip(c.empty)
    c.holds(c.infer(c.feed(slice(0, 0))), slice(0, 0))


@step("a thousand rows get a thousand answers")
def _(c):
    rows = np.arange(1000) % c.rows()
    c.holds(c.infer(c.feed(rows)), rows)


@step("data as JSON, answers as binary data", "http")
def _(c):
    rows = whole(c)
    c.holds(c.infer(c.feed(rows, binary=False), outputs=c.wanted(binary_data=True)), rows)


@step("data as JSON, answers as JSON", "http")
def _(c):
    rows = whole(c)
    c.holds(c.infer(c.feed(rows, binary=False), outputs=c.wanted(binary_data=False)), rows)


@step("data as binary data, answers as JSON", "http")
def _(c):
    c.holds(c.infer(outputs=c.wanted(binary_data=False)))


@step("data as binary data, answers as both", "http")
def _(c):
    if len(c.outputs) < 2:
        skip("it has one output")
    outputs = [c.module.InferRequestedOutput(o, binary_data=k % 2 == 0) for k, o in enumerate(c.outputs)]
    r = c.holds(c.infer(outputs=outputs))
    for k, o in enumerate(r.get_response()["outputs"]):
        equal("data" in o, k % 2 == 1, f"the data of {o['name']} in the JSON")


@step("some inputs as JSON, some as binary data", "http")
def _(c):
    if len(c.inputs) < 2:
        skip("it has one input")
    a, b = c.feed(binary=True), c.feed(binary=False)
    c.holds(c.infer([(a, b)[k % 2][k] for k in range(len(a))]))


@step("missing values sent as JSON are missing values", "http")
def _(c):
    if not getattr(c, "missing", False):
        skip("its model takes no missing values")
    c.holds(c.infer(c.feed(binary=False), outputs=c.wanted(binary_data=False)))


def whole(c):
    """The rows without NaN."""
    keep = np.ones(c.rows(), bool)
    for v in c.values().values():
        if v.dtype.kind == "f":
            keep &= ~np.isnan(v.reshape(len(v), -1).astype(np.float64)).any(axis=1)
    return np.flatnonzero(keep)


@step("flat and nested data mean the same", "http")
def _(c):
    if getattr(c, "raw", None):
        skip("its FP16 input cannot be sent as JSON, as the protocol says, and a float is no longer whole there")
    for nested in (False, True):
        c.answered(c.post("/infer", {"inputs": c.bare(c.values(), nested)}))
        c.answered(c.post("/versions/1/infer", {"inputs": c.bare(c.values(), nested), "parameters": {"binary_data_output": False}}))


@step("binary_data_output asks for all outputs as binary data", "http")
def _(c):
    if getattr(c, "raw", None):
        skip("its FP16 input cannot be sent as JSON, as the protocol says")
    r = c.post("/infer", {"inputs": c.bare(c.values()), "parameters": {"binary_data_output": True}})
    check(r.status_code == 200, r.text[:300])
    head = int(r.headers["Inference-Header-Content-Length"])
    check(b'"binary_data_size"' in r.content[:head] and b'"data"' not in r.content[:head], f"{r.content[:head]}")
    from tritonclient.http import InferResult
    c.holds(InferResult.from_response_body(r.content, header_length=head))


@step("contents may be typed instead of raw", "grpc")
def _(c):
    import grpc
    from tritonclient.grpc import service_pb2, service_pb2_grpc

    if getattr(c, "raw", None):
        skip("its FP16 input travels raw only, as the protocol says")
    field = {"BOOL": "bool_contents", "FP32": "fp32_contents", "FP64": "fp64_contents", "INT64": "int64_contents", "UINT64": "uint64_contents", "BYTES": "bytes_contents"}
    with grpc.insecure_channel(ADDRESS) as channel:
        m = service_pb2.ModelInferRequest(model_name=c.endpoint)
        for i in c.inputs:
            values = c.values()[i["name"]]
            t = m.inputs.add(name=i["name"], datatype=i["datatype"], shape=values.shape)
            name = field.get(i["datatype"], "uint_contents" if i["datatype"].startswith("U") else "int_contents")
            getattr(t.contents, name).extend([str(v).encode() for v in values.ravel()] if i["datatype"] == "BYTES" else values.ravel().tolist())
        r = service_pb2_grpc.GRPCInferenceServiceStub(channel).ModelInfer(m, metadata=tuple(auth().items()))
    equal(len(r.raw_output_contents), 0, "raw outputs")
    for o in r.outputs:
        name = field.get(o.datatype, "uint_contents" if o.datatype.startswith("U") else "int_contents")
        got = np.array(list(getattr(o.contents, name)), dtype=object if o.datatype == "BYTES" else None).reshape(o.shape)
        if o.name in c.outputs:
            c.same(o.name, got, c.want()[o.name])


@step("outputs are those asked for, in the order asked for")
def _(c):
    for names in ([c.outputs[-1]], list(reversed(c.outputs))):
        r = c.holds(c.infer(outputs=c.wanted(names)), outputs=names).get_response()
        equal([o["name"] for o in r["outputs"]] if c.transport == "http" else [o.name for o in r.outputs], names)


@step("inputs may come in any order")
def _(c):
    if len(c.inputs) < 2:
        skip("it has one input")
    c.holds(c.infer(c.feed()[::-1]))


@step("a matrix may come as its columns")
def _(c):
    if not getattr(c, "columns", None):
        skip("its inputs are columns already" if len(c.inputs) > 1 else "its columns have no names")
    if c.engine == "remote":
        skip("the contract with the other side says a matrix")
    values, list = c.values()["input"], []
    for k, name in reversed([*enumerate(c.columns)]):
        column = np.ascontiguousarray(values[:, k])
        t = c.module.InferInput(name, column.shape, c.inputs[0]["datatype"])
        t.set_data_from_numpy(column)
        list.append(t)
    c.holds(c.infer(list))


@step("an input that is optional may be left out")
def _(c):
    optional = getattr(c, "optional", [])
    if not optional:
        skip("all its inputs are needed")
    r = c.infer([t for t in c.feed() if t.name() not in optional])
    check(r.as_numpy(c.outputs[0]).shape == c.want()[c.outputs[0]].shape, "one answer per row")


@step("the request's id comes back")
def _(c):
    r = c.holds(c.infer(request_id="call 7 é" if c.transport == "grpc" else "call-7")).get_response()
    equal(r["id"] if c.transport == "http" else r.id, "call-7" if c.transport == "http" else "call 7 é")
    r = c.infer().get_response()
    equal(r.get("id", "") if c.transport == "http" else r.id, "", "id when none was sent")


@step("parameters of one's own are taken, and the answer names its prediction")
def _(c):
    r = c.holds(c.infer(parameters={"team": "risk", "attempt": 3, "final": True, "purpose": "test", "subject": "s-1"}))
    m = r.get_response()
    check(m["parameters"]["prediction_id"] if c.transport == "http" else m.parameters["prediction_id"].string_param, "prediction id")


@step("priority and timeout are taken")
def _(c):
    c.holds(c.infer(priority=1, timeout=20_000_000))


@step("a sequence's parameters are taken by a model without memory")
def _(c):
    c.holds(c.infer(sequence_id=42, sequence_start=True, sequence_end=True))


@step("a timeout below what any answer takes ends the call")
def _(c):
    if c.engine != "python" and c.engine != "remote":
        skip("its answer is there within a microsecond or not by chance")
    try:
        c.infer(timeout=1)
    except InferenceServerException as e:
        check(e.status() in ("503", "504", "StatusCode.DEADLINE_EXCEEDED", "StatusCode.UNAVAILABLE"), f"{e.status()} {e.message()}")
        return
    raise AssertionError("it was answered")


@step("the client's own timeout leaves the model answering", "grpc")
def _(c):
    try:
        c.infer(client_timeout=1e-6)
    except InferenceServerException as e:
        equal(e.status(), "StatusCode.DEADLINE_EXCEEDED")
    c.holds(c.infer(client_timeout=20))


@step("a call that is given up leaves the model answering", "grpc")
def _(c):
    got = queue.Queue()
    c.client.async_infer(c.endpoint, c.feed(), lambda result, error: got.put(error), headers=auth()).cancel()
    got.get(timeout=20)
    c.holds(c.infer())


@step("requests may be compressed")
def _(c):
    for algorithm in ("gzip", "deflate"):
        c.holds(c.infer(**({"request_compression_algorithm": algorithm} if c.transport == "http" else {"compression_algorithm": algorithm})))


@step("answers may be compressed", "http")
def _(c):
    rows = np.arange(2000) % c.rows()
    for algorithm in ("gzip", "deflate"):
        c.holds(c.infer(c.feed(rows), response_compression_algorithm=algorithm), rows)
        c.holds(c.infer(c.feed(rows), request_compression_algorithm=algorithm, response_compression_algorithm=algorithm, outputs=c.wanted(binary_data=False)), rows)
        raw = c.client._post(  # infer hides the header
            f"v2/models/{c.endpoint}/infer", body(c, rows), auth(**{"Accept-Encoding": algorithm, "Inference-Header-Content-Length": str(c.length)}), None)
        equal(raw.get("content-encoding"), algorithm)


def body(c, rows):
    b, c.length = c.module.InferenceServerClient.generate_request_body(c.feed(rows))
    return b


@step("calls may be made ahead of their answers")
def _(c):
    order = [slice(k, k + 3) for k in range(0, 30, 3)]
    if c.transport == "http":
        waiting = [(rows, c.client.async_infer(c.endpoint, c.feed(rows), request_id=str(k), headers=auth())) for k, rows in enumerate(order)]
        for k, (rows, w) in enumerate(waiting):
            equal(c.holds(w.get_result(), rows).get_response()["id"], str(k))
        return
    got = queue.Queue()
    for k, rows in enumerate(order):
        c.client.async_infer(c.endpoint, c.feed(rows), lambda result, error: got.put((result, error)), request_id=str(k), headers=auth())
    seen = set()
    for _ in order:
        result, error = got.get(timeout=30)
        check(error is None, f"{error}")
        k = int(result.get_response().id)
        c.holds(result, order[k])
        seen.add(k)
    equal(seen, set(range(len(order))))


@step("a stream answers in order and goes on after a mistake", "grpc")
def _(c):
    got = queue.Queue()
    c.client.start_stream(lambda result, error: got.put((result, error)), headers=auth())
    try:
        for k in range(10):
            c.client.async_stream_infer("nobody" if k == 4 else c.endpoint, c.feed(slice(k, k + 2)), request_id=str(k), outputs=c.wanted() if k % 2 else None, parameters={"purpose": "test"})
        for k in range(10):
            result, error = got.get(timeout=30)
            if k == 4:
                check(error is not None and "nobody" in error.message(), f"{error}")
                continue
            check(error is None, f"answer {k}: {error}")
            equal(c.holds(result, slice(k, k + 2)).get_response().id, str(k))
    finally:
        c.client.stop_stream()


@step("a stream can mark each answer as the last of its request", "grpc")
def _(c):
    got = queue.Queue()
    c.client.start_stream(lambda result, error: got.put((result, error)), headers=auth())
    try:
        c.client.async_stream_infer(c.endpoint, c.feed(), request_id="a", enable_empty_final_response=True)
        result, error = got.get(timeout=30)
        check(error is None, f"{error}")
        check(c.holds(result).get_response().parameters["triton_final_response"].bool_param, "triton_final_response")
    finally:
        c.client.stop_stream()


@step("a stream may be compressed", "grpc")
def _(c):
    for algorithm in ("gzip", "deflate"):
        got = queue.Queue()
        c.client.start_stream(lambda result, error: got.put((result, error)), headers=auth(), compression_algorithm=algorithm)
        try:
            c.client.async_stream_infer(c.endpoint, c.feed())
            result, error = got.get(timeout=30)
            check(error is None, f"{error}")
            c.holds(result)
        finally:
            c.client.stop_stream()


@step("the clients for asyncio get the same answers")
def _(c):
    async def http():
        import tritonclient.http.aio as aio

        async with aio.InferenceServerClient(ADDRESS) as client:
            check(await client.is_model_ready(c.endpoint, headers=auth()), "ready")
            rows = [slice(k, k + 4) for k in range(0, 20, 4)]
            for r, result in zip(rows, await asyncio.gather(*[client.infer(c.endpoint, c.feed(r), headers=auth()) for r in rows])):
                c.holds(result, r)

    async def grpc():
        import tritonclient.grpc.aio as aio

        async with aio.InferenceServerClient(ADDRESS) as client:
            check(await client.is_model_ready(c.endpoint, headers=auth()), "ready")
            rows = [slice(k, k + 4) for k in range(0, 20, 4)]
            for r, result in zip(rows, await asyncio.gather(*[client.infer(c.endpoint, c.feed(r), headers=auth()) for r in rows])):
                c.holds(result, r)

            async def requests():
                for k, r in enumerate(rows):
                    yield {"model_name": c.endpoint, "inputs": c.feed(r), "request_id": str(k)}

            n = 0
            async for result, error in client.stream_infer(requests(), headers=auth()):
                check(error is None, f"{error}")
                equal(c.holds(result, rows[n]).get_response().id, str(n))
                n += 1
            equal(n, len(rows), "answers of the stream")

    asyncio.run(http() if c.transport == "http" else grpc())


@step("a plugin of the client may bring the token")
def _(c):
    from tritonclient._plugin import InferenceServerClientPlugin

    class Bearer(InferenceServerClientPlugin):
        def __call__(self, request):
            request.headers["authorization"] = "Bearer " + TOKEN

    with c.module.InferenceServerClient(ADDRESS) as client:
        client.register_plugin(Bearer())
        c.holds(client.infer(c.endpoint, c.feed()))
        client.unregister_plugin()


def accepted(c, datatype):
    return [i["name"] for i in c.inputs if datatype in i["takes"]]


def typed_step(datatype):
    def one(c, binary):
        names = accepted(c, datatype)
        if not names:
            t = c.feed(kind="small", binary=binary)
            name, values = c.inputs[0]["name"], c.data["small:" + c.inputs[0]["name"]]
            array = np.array([b"1"] * values.size, dtype=object).reshape(values.shape) if datatype == "BYTES" else np.ones(values.shape, DTYPES[datatype])
            t[0] = c.module.InferInput(name, array.shape, datatype)
            t[0].set_data_from_numpy(array)
            c.refused("invalid", name, c.infer, t)
            return
        kind, types = "small", {n: datatype for n in names}
        if datatype == "BOOL" and any(i["datatype"] != "BOOL" for i in c.inputs if i["name"] in names):  # 0 and 1 as numbers
            values = {n: (v % 2 if n in names else v) for n, v in c.values(kind=kind).items()}
            got = c.infer(c.feed(types=types, values=values, binary=binary))
            want = c.infer(c.feed(values=values, binary=binary))
            for o in c.outputs:
                check(np.array_equal(got.as_numpy(o), want.as_numpy(o)), f"{o} differs from that of 0 and 1")
            return
        c.holds(c.infer(c.feed(kind=kind, types=types, binary=binary)), kind="answer")

    @step(f"{datatype} is computed with, or refused by name")
    def _(c):
        one(c, True)

    if datatype not in ("FP16", "BF16"):

        @step(f"{datatype} as JSON is computed with, or refused by name", "http")
        def _(c):
            one(c, False)


for datatype in DTYPES:
    typed_step(datatype)


@step("FP16 and BF16 as JSON are refused, as the protocol says", "http")
def _(c):
    for datatype in ("FP16", "BF16"):
        r = c.post("/infer", {"inputs": [{"name": c.inputs[0]["name"], "shape": [1, 1], "datatype": datatype, "data": [1.0]}]})
        check(r.status_code == 400 and datatype in r.json()["error"], f"{r.status_code} {r.text}")
