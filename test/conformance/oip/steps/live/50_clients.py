"""What the clients offer beside inference: their asyncio forms, JSON forms of answers, queries, texts of any bytes."""

import asyncio
import queue

import numpy as np
from conformance import ADDRESS, CODES, auth, check, equal, skip, step
from tritonclient.utils import InferenceServerException


@step("the clients for asyncio describe, load and are refused alike")
def _(c):
    async def ask(aio):
        async with aio.InferenceServerClient(ADDRESS) as client:
            check(await client.is_server_live() and await client.is_server_ready(), "live and ready")
            check(not await client.is_model_ready(c.endpoint, "7", headers=auth()), "version 7")
            m = await client.get_server_metadata(headers=auth())
            equal(m["name"] if c.transport == "http" else m.name, "keelson")
            for version in ("", c.version):
                m = await client.get_model_metadata(c.endpoint, version, headers=auth())
                inputs = [t["name"] for t in m["inputs"]] if c.transport == "http" else [t.name for t in m.inputs]
                equal(inputs, [i["name"] for i in c.inputs])
                g = await client.get_model_config(c.endpoint, version, headers=auth())
                equal(g["name"] if c.transport == "http" else g.config.name, c.endpoint)
                s = await client.get_inference_statistics(c.endpoint, version, headers=auth())
                equal(len(s["model_stats"] if c.transport == "http" else s.model_stats), 1)
            index = await client.get_model_repository_index(headers=auth())
            check(c.endpoint in ([e["name"] for e in index] if c.transport == "http" else [e.name for e in index.models]), "the index")
            await client.load_model(c.endpoint, headers=auth())
            r = await client.infer(c.endpoint, c.feed(), c.version, outputs=c.wanted(), request_id="a", priority=1, timeout=20_000_000, parameters={"purpose": "test"}, headers=auth())
            c.holds(r)
            for kind, call in (("forbidden", lambda: client.unload_model(c.endpoint, headers=auth())), ("forbidden", lambda: client.load_model(c.endpoint, config="{}", headers=auth())),
                               ("unsupported", lambda: client.get_trace_settings(headers=auth())), ("unsupported", lambda: client.update_trace_settings(settings={"trace_rate": "1"}, headers=auth())),
                               ("unsupported", lambda: client.get_log_settings(headers=auth())), ("unsupported", lambda: client.update_log_settings({"log_info": True}, headers=auth())),
                               ("unsupported", lambda: client.get_system_shared_memory_status(headers=auth())), ("unsupported", lambda: client.get_cuda_shared_memory_status(headers=auth())),
                               ("unsupported", lambda: client.register_system_shared_memory("r", "/r", 16, headers=auth())), ("unsupported", lambda: client.unregister_system_shared_memory("r", headers=auth())),
                               ("unsupported", lambda: client.unregister_cuda_shared_memory(headers=auth())),
                               ("stranger", lambda: client.infer(c.endpoint, c.feed())), ("unknown", lambda: client.infer("nobody", c.feed(), headers=auth())),
                               ("invalid", lambda: client.infer(c.endpoint, c.feed() + c.feed()[:1], headers=auth()))):
                try:
                    got = await call()
                except InferenceServerException as e:
                    equal(e.status(), CODES[kind][c.transport == "grpc"], f"status of {e.message()!r}")
                    check(len(e.message()) > 10, f"words {e.message()!r}")
                    continue
                raise AssertionError(f"want a refusal ({kind}), got {got!r}")

    if c.transport == "http":
        import tritonclient.http.aio as aio
    else:
        import tritonclient.grpc.aio as aio
    asyncio.run(ask(aio))


@step("answers have a JSON form", "grpc")
def _(c):
    m = c.client.get_model_metadata(c.endpoint, headers=auth(), as_json=True)
    equal([t["name"] for t in m["inputs"]], [i["name"] for i in c.inputs])
    equal(c.client.get_server_metadata(headers=auth(), as_json=True)["name"], "keelson")
    equal(c.client.get_model_config(c.endpoint, headers=auth(), as_json=True)["config"]["name"], c.endpoint)
    check(c.endpoint in [e["name"] for e in c.client.get_model_repository_index(headers=auth(), as_json=True)["models"]], "the index")
    equal(c.client.get_inference_statistics(c.endpoint, headers=auth(), as_json=True)["model_stats"][0]["version"], "1")
    r = c.infer(request_id="j")
    equal(r.get_response(as_json=True)["id"], "j")
    equal([o["name"] for o in r.get_response(as_json=True)["outputs"]][:1], [o["name"] for o in c.client.get_model_metadata(c.endpoint, headers=auth(), as_json=True)["outputs"]][:1])
    equal(r.get_output(c.outputs[0]).name, c.outputs[0])  # its as_json gives nothing, whoever answers
    check(r.get_output("stranger") is None and r.as_numpy("stranger") is None, "an output that is not there")


@step("a query behind the address changes nothing", "http")
def _(c):
    q = {"query_params": {"a": "1", "b": ["x", "y z"]}}
    check(c.client.is_server_live(**q) and c.client.is_model_ready(c.endpoint, headers=auth(), **q), "ready")
    equal(c.client.get_model_metadata(c.endpoint, headers=auth(), **q)["name"], c.endpoint)
    c.holds(c.infer(**q))


@step("the bodies that the client makes and reads by itself are those of its calls", "http")
def _(c):
    body, length = c.module.InferenceServerClient.generate_request_body(c.feed(), outputs=c.wanted(binary_data=True), request_id="own", parameters={"purpose": "test"})
    r = c.post("/infer", body, **{"Content-Type": "application/octet-stream", "Inference-Header-Content-Length": str(length)})
    check(r.status_code == 200, f"{r.status_code} {r.text[:300]}")
    got = c.module.InferenceServerClient.parse_response_body(r.content, header_length=int(r.headers["Inference-Header-Content-Length"]))
    equal(c.holds(got).get_response()["id"], "own")


@step("a stream that is cut off leaves the model answering", "grpc")
def _(c):
    got = queue.Queue()
    c.client.start_stream(lambda result, error: got.put((result, error)), headers=auth())
    for k in range(20):
        c.client.async_stream_infer(c.endpoint, c.feed(), model_version="1", request_id=str(k), priority=1, timeout=20_000_000)
    c.client.stop_stream(cancel_requests=True)
    c.client.start_stream(lambda result, error: got.put((result, error)), stream_timeout=20, headers=auth())
    try:
        c.client.async_stream_infer(c.endpoint, c.feed(), request_id="after", sequence_id=7, sequence_start=True, sequence_end=True)
        while True:
            result, error = got.get(timeout=30)
            if result is not None and c.holds(result).get_response().id == "after":
                break
    finally:
        c.client.stop_stream()


@step("a stream without a token is refused", "grpc")
def _(c):
    got = queue.Queue()
    c.client.start_stream(lambda result, error: got.put(error))
    try:
        try:
            c.client.async_stream_infer(c.endpoint, c.feed())
        except InferenceServerException as e:
            check("no longer in valid state" in e.message(), e.message())  # refused before the first request was sent
        equal(got.get(timeout=30).status(), "StatusCode.UNAUTHENTICATED")
    finally:
        c.client.stop_stream()


def texts(c):
    names = [i["name"] for i in c.inputs if i["datatype"] == "BYTES"]
    if not names:
        skip("it has no input of texts")
    return names


def spoken(c, array, rows):
    """The inputs of a call whose texts are those of array."""
    inputs = c.feed(rows)
    for k, t in enumerate(inputs):
        if t.datatype() == "BYTES":
            inputs[k] = c.module.InferInput(t.name(), list(t.shape()), "BYTES")
            inputs[k].set_data_from_numpy(np.resize(array, t.shape()))
    return inputs


@step("texts may come as bytes, as str and in numpy's fixed widths")
def _(c):
    rows = slice(0, 2)
    for name in texts(c):
        want = c.data["in:" + name][rows]
        if any("" == v for v in want.ravel()) or c.name.endswith("-types"):
            want = np.array([f"wört {k}" for k in range(want.size)]).reshape(want.shape)
        answers = []
        for array in (np.array([v.encode() for v in want.ravel()], dtype=object), np.array(want.ravel().tolist(), dtype=object), np.char.encode(want.ravel().astype(str), "utf-8")):
            answers.append(c.infer(spoken(c, array, rows)))
        for o in c.outputs:
            for a in answers[1:]:
                check(np.array_equal(a.as_numpy(o), answers[0].as_numpy(o)), f"{o} depends on the form of the texts")


@step("bytes that are no text are passed on as they are, or refused by name")
def _(c):
    strange = np.array([b"\xff\x00\xfe", b"", b"\x00", "ä".encode("latin-1"), b"x" * 100_000], dtype=object)
    names = texts(c)
    try:
        r = c.infer(spoken(c, strange, slice(0, 5)))
    except InferenceServerException as e:
        equal(e.status(), CODES["invalid"][c.transport == "grpc"], f"status of {e.message()!r}")
        check(any(n in e.message() for n in names), f"the message {e.message()!r} names none of {names}")
        c.holds(c.infer())
        return
    if c.name.endswith("-types"):
        got = r.as_numpy("same_BYTES")
        equal(got.ravel().tolist(), np.resize(strange, got.shape).ravel().tolist())
    for o in c.outputs:
        equal(len(r.as_numpy(o)), 5, f"answers of {o}")


@step("a call beyond the server's limit is refused with its size, and the next is answered")
def _(c):
    i = c.inputs[0]
    shape = c.data["in:" + i["name"]].shape
    width = int(np.prod(shape[1:], dtype=int))
    per = {"BYTES": 8}.get(i["datatype"], 1)
    array = np.zeros((18_000_000 // (width * per),) + shape[1:], np.uint8) if per == 1 else np.full((18_000_000 // (width * 12),) + shape[1:], b"12345678", object)
    t = c.module.InferInput(i["name"], array.shape, "UINT8" if per == 1 else "BYTES")
    t.set_data_from_numpy(array)
    c.refused("large", "", c.infer, [t] + c.feed()[1:])
    c.holds(c.infer())
