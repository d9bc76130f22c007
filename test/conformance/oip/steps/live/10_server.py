"""The server and what it says of its models."""

import requests
from conformance import TOKEN, URL, auth, check, equal, step
from tritonclient.utils import InferenceServerException


@step("the server lives, is ready and says what it is", once=True)
def _(c):
    check(c.client.is_server_live(), "live, without a token")
    check(c.client.is_server_ready(), "ready, without a token")
    m = c.client.get_server_metadata(headers=auth())
    name, version, extensions = (m["name"], m["version"], m["extensions"]) if c.transport == "http" else (m.name, m.version, m.extensions)
    check(name == "keelson" and version, f"{m}")
    check({"binary_tensor_data", "statistics", "model_repository", "model_configuration"} <= set(extensions), f"extensions {extensions}")
    check("classification" not in extensions and "system_shared_memory" not in extensions, f"extensions {extensions}")


@step("health has its own addresses", "http", once=True)
def _(c):
    for path, key in (("live", "live"), ("ready", "ready")):
        r = requests.get(f"{URL}/v2/health/{path}", timeout=10)
        check(r.status_code == 200 and r.json() == {key: True}, f"{path}: {r.status_code} {r.text}")


@step("nobody asks without a token", once=True)
def _(c):
    c.refused("stranger", "", c.client.get_server_metadata)
    c.refused("stranger", "", c.client.get_server_metadata, headers={"authorization": "Bearer wrong"})
    c.refused("stranger", "", c.client.infer, c.endpoint, c.feed())


@step("the model is ready, with and without its version")
def _(c):
    check(c.client.is_model_ready(c.endpoint, headers=auth()), "ready")
    check(c.client.is_model_ready(c.endpoint, c.version, headers=auth()), "ready by version")


@step("what is not there is not ready")
def _(c):
    check(not c.client.is_model_ready(c.endpoint, "7", headers=auth()), "version 7")
    check(not c.client.is_model_ready(c.endpoint + "-x", headers=auth()), "an unknown model")


@step("readiness has an address of its own for a version", "http")
def _(c):
    for version in (False, True):
        equal(c.get("/ready", version), {"name": c.endpoint, "ready": True})
    r = requests.get(c.path() + "/versions/7/ready", headers=auth(), timeout=10)
    check(r.status_code == 404 and r.json()["error"], f"{r.status_code} {r.text}")


def described(c, version):
    m = c.client.get_model_metadata(c.endpoint, version, headers=auth())
    if c.transport == "http":
        return m
    return {"name": m.name, "versions": list(m.versions), "platform": m.platform,
            **{k: [{"name": t.name, "datatype": t.datatype, "shape": list(t.shape)} for t in getattr(m, k)] for k in ("inputs", "outputs")}}


@step("metadata names the inputs and outputs with their types and shapes")
def _(c):
    m = described(c, "")
    equal(m["name"], c.endpoint)
    equal(m["versions"], ["1"])
    check(m["platform"], "platform")
    equal([(t["name"], t["datatype"]) for t in m["inputs"]], [(i["name"], i["datatype"]) for i in c.inputs], "inputs")
    for t in m["inputs"]:
        shape = c.data["in:" + t["name"]].shape
        check(len(t["shape"]) == len(shape) and all(d in (-1, s) for d, s in zip(t["shape"], shape)), f"{t['name']} is {t['shape']}, sent as {shape}")
    named = {t["name"]: t["shape"] for t in m["outputs"]}
    check(set(c.outputs) <= set(named), f"outputs {named}")
    for o in c.outputs:
        shape = c.data["out:" + o].shape
        check(len(named[o]) == len(shape) and all(d in (-1, s) for d, s in zip(named[o], shape)), f"{o} is {named[o]}, answered as {shape}")


@step("metadata of a version is that of the model, which has one")
def _(c):
    equal(described(c, c.version), described(c, ""))


@step("the model configuration agrees with the metadata, with and without the version")
def _(c):
    m = described(c, "")
    for version in ("", c.version):
        g = c.client.get_model_config(c.endpoint, version, headers=auth())
        if c.transport == "grpc":
            g = g.config
            types = g.DESCRIPTOR.fields_by_name["input"].message_type.fields_by_name["data_type"].enum_type.values_by_number
            got = [(t.name, types[t.data_type].name, list(t.dims)) for t in list(g.input) + list(g.output)]
            name, platform, batch = g.name, g.platform, g.max_batch_size
        else:
            got = [(t["name"], t["data_type"], t["dims"]) for t in g["input"] + g["output"]]
            name, platform, batch = g["name"], g["platform"], g["max_batch_size"]
        equal((name, platform, batch), (c.endpoint, m["platform"], 0))
        equal(got, [(t["name"], "TYPE_" + t["datatype"].replace("BYTES", "STRING"), t["shape"]) for t in m["inputs"] + m["outputs"]])


@step("descriptions of what is not there are refused")
def _(c):
    for call in (c.client.get_model_metadata, c.client.get_model_config, c.client.get_inference_statistics):
        c.refused("unknown", "nobody", call, "nobody", headers=auth())
        c.refused("unknown", "7", call, c.endpoint, "7", headers=auth())


@step("the index of the repository lists the model as ready")
def _(c):
    m = c.client.get_model_repository_index(headers=auth())
    index = {e["name"]: e for e in m} if c.transport == "http" else {e.name: {"name": e.name, "version": e.version, "state": e.state} for e in m.models}
    equal((index[c.endpoint]["version"], index[c.endpoint]["state"]), ("1", "READY"))


@step("loading brings up what is approved, and nothing else")
def _(c):
    c.client.load_model(c.endpoint, headers=auth())
    c.refused("unknown", "approved", c.client.load_model, "nobody", headers=auth())
    c.refused("forbidden", "approved", c.client.load_model, c.endpoint, headers=auth(), config='{"max_batch_size": 8}')
    c.refused("forbidden", "approved", c.client.load_model, c.endpoint, headers=auth(), config="{}", files={"file:1/model.onnx": b"other bytes"})
    check(c.client.is_model_ready(c.endpoint, headers=auth()), "it answers as before")


@step("unloading is refused: it is a change that is approved")
def _(c):
    c.refused("forbidden", "suspend", c.client.unload_model, c.endpoint, headers=auth())
    c.refused("forbidden", "suspend", c.client.unload_model, c.endpoint, headers=auth(), unload_dependents=True)
    check(c.client.is_model_ready(c.endpoint, headers=auth()), "it answers as before")


@step("trace settings, log settings and shared memory are refused as not offered")
def _(c):
    h = {"headers": auth()}
    for call in (lambda: c.client.get_trace_settings(**h), lambda: c.client.get_trace_settings(c.endpoint, **h), lambda: c.client.update_trace_settings(c.endpoint, {"trace_rate": "1"}, **h),
                 lambda: c.client.get_log_settings(**h), lambda: c.client.update_log_settings({"log_info": True}, **h),
                 lambda: c.client.get_system_shared_memory_status(**h), lambda: c.client.get_system_shared_memory_status("r", **h),
                 lambda: c.client.register_system_shared_memory("r", "/r", 16, **h), lambda: c.client.unregister_system_shared_memory("r", **h), lambda: c.client.unregister_system_shared_memory(**h),
                 lambda: c.client.get_cuda_shared_memory_status(**h), lambda: c.client.register_cuda_shared_memory("r", b"aGFuZGxl", 0, 16, **h),
                 lambda: c.client.unregister_cuda_shared_memory("r", **h)):
        c.refused("unsupported", "", call)


@step("tensors in shared memory are refused")
def _(c):
    t = c.module.InferInput(c.inputs[0]["name"], list(c.data["in:" + c.inputs[0]["name"]].shape), c.inputs[0]["datatype"])
    t.set_shared_memory("region", 64)
    c.refused("invalid", "shared memory", c.infer, [t] + c.feed()[1:])
    o = c.wanted()[:1]
    o[0].set_shared_memory("region", 64)
    c.refused("invalid", "shared memory", c.infer, outputs=o)


def counted(c, name="", version=""):
    m = c.client.get_inference_statistics(name, version, headers=auth())
    if c.transport == "http":
        return {(s["name"], s["version"]): (s["execution_count"], s["inference_count"], s["inference_stats"]["success"]["count"], s["inference_stats"]["success"]["ns"]) for s in m["model_stats"]}
    return {(s.name, s.version): (s.execution_count, s.inference_count, s.inference_stats.success.count, s.inference_stats.success.ns) for s in m.model_stats}


@step("statistics count calls, rows and time, for the model, its version and all")
def _(c):
    key = (c.endpoint, "1")
    before = counted(c, c.endpoint).get(key, (0, 0, 0, 0))
    for _ in range(3):
        c.infer()
    for after in (counted(c, c.endpoint), counted(c, c.endpoint, "1"), counted(c)):
        a = after[key]
        equal((a[0] - before[0], a[1] - before[1], a[2] - before[2]), (3, 3 * c.rows(), 3))
        check(a[3] > before[3], "time")
    check(set(counted(c, c.endpoint)) == {key}, "only the model that was asked for")
