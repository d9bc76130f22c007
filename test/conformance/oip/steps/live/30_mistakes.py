"""Mistakes come back as the client's own exception, with the right status and words that help."""

import numpy as np
from conformance import auth, check, equal, skip, step


@step("an unknown model is not found")
def _(c):
    c.refused("unknown", "nobody", c.infer, model="nobody")


@step("an unknown version is not found")
def _(c):
    c.refused("unknown", "7", c.infer, model_version="7")
    c.refused("unknown", "latest", c.infer, model_version="latest")


def changed(c, name=None, values=None, datatype=None):
    i = c.inputs[0]
    values = c.data["in:" + i["name"]] if values is None else values
    if (datatype or i["datatype"]) == "BYTES":
        values = np.array([str(v).encode() for v in values.ravel()], dtype=object).reshape(values.shape)
    t = c.module.InferInput(name or i["name"], list(values.shape), datatype or i["datatype"])
    t.set_data_from_numpy(values)
    return [t] + c.feed()[1:]


@step("an input of another name is refused by name")
def _(c):
    e = c.refused("invalid", "stranger", c.infer, changed(c, "stranger"))
    check(c.inputs[0]["name"] in e.message(), f"the message {e.message()!r} does not say what it takes")


@step("an input that is missing is refused")
def _(c):
    if len(c.inputs) == 1:
        skip("a call without its only input has none at all, which the client does not send")
    c.refused("invalid", "", c.infer, c.feed()[1:])


@step("an input that is there twice is refused by name")
def _(c):
    c.refused("invalid", c.inputs[0]["name"], c.infer, c.feed() + c.feed()[:1])


@step("a shape of more dimensions is refused")
def _(c):
    v = c.data["in:" + c.inputs[0]["name"]]
    c.refused("invalid", c.inputs[0]["name"], c.infer, changed(c, values=np.stack([v, v, v])))


@step("a shape of another width is refused")
def _(c):
    v = c.data["in:" + c.inputs[0]["name"]].reshape(c.rows(), -1)
    c.refused("invalid", c.inputs[0]["name"], c.infer, changed(c, values=np.concatenate([v, v, v], axis=1)))


@step("inputs of different numbers of rows are refused")
def _(c):
    if len(c.inputs) == 1:
        skip("it has one input")
    if c.name.endswith("-types"):
        skip("its graph joins no inputs, so that they need not be of one length")
    c.refused("invalid", "" if c.engine == "onnxruntime" else "row", c.infer, changed(c, values=c.data["in:" + c.inputs[0]["name"]][:3]))


@step("a datatype that the model does not take is refused by name")
def _(c):
    other = "FP32" if c.inputs[0]["datatype"] == "BYTES" else "BYTES"
    v = c.data["in:" + c.inputs[0]["name"]]
    c.refused("invalid", c.inputs[0]["name"], c.infer, changed(c, values=v, datatype=other))


@step("an output that the model has not is refused by name")
def _(c):
    c.refused("invalid", "no output", c.infer, outputs=[c.module.InferRequestedOutput("stranger")])


@step("an output that is asked for twice is refused")
def _(c):
    c.refused("invalid", "twice", c.infer, outputs=c.wanted() + c.wanted())


@step("classification, which is not offered, is refused")
def _(c):
    c.refused("invalid", "classification", c.infer, outputs=[c.module.InferRequestedOutput(c.outputs[0], class_count=2)])


@step("a timeout of nothing but nonsense is refused", "http")
def _(c):
    r = c.post("/infer", {"inputs": [], "parameters": {"timeout": -1}})
    check(r.status_code == 400 and r.json()["error"], f"{r.status_code} {r.text}")


@step("bytes that are no JSON are refused", "http")
def _(c):
    for body in (b"", b"{", b"[1]", b"\xff\xfe"):
        r = c.post("/infer", body)
        check(r.status_code == 400 and r.json()["error"], f"{body}: {r.status_code} {r.text}")


@step("binary data that is cut short is refused", "http")
def _(c):
    body, length = c.module.InferenceServerClient.generate_request_body(c.feed())
    r = c.post("/infer", body[:-1], **{"Inference-Header-Content-Length": str(length)})
    check(r.status_code == 400 and r.json()["error"], f"{r.status_code} {r.text}")


@step("bytes that are no message are refused", "grpc")
def _(c):
    import grpc
    from conformance import ADDRESS

    with grpc.insecure_channel(ADDRESS) as channel:
        for method, stream in (("ModelInfer", False), ("ModelStreamInfer", True)):
            kind = channel.stream_stream if stream else channel.unary_unary
            call = kind("/inference.GRPCInferenceService/" + method)
            try:
                got = call(iter([b"\xff\xff"]) if stream else b"\xff\xff", metadata=tuple(auth().items()))
                got = list(got) if stream else got
            except grpc.RpcError as e:
                equal(e.code(), grpc.StatusCode.INVALID_ARGUMENT, e.details())
                continue
            raise AssertionError(f"{method} answered {got!r}")


@step("after all mistakes the model answers as before")
def _(c):
    c.holds(c.infer())
