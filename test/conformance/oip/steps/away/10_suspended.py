"""The endpoint is suspended: it is known, and does not answer."""

import queue

import requests
from conformance import ADDRESS, URL, auth, check, step


@step("a suspended model is not ready, while the server is")
def _(c):
    check(c.client.is_server_live() and c.client.is_server_ready(), "the server")
    for v in ("", "1", "2"):
        check(not c.client.is_model_ready(c.endpoint, v, headers=auth()), f"version {v!r}")


@step("calls of a suspended model are refused as unavailable")
def _(c):
    for v in ("", "1"):
        c.refused("unavailable", "suspended", c.infer, model_version=v)
    if c.transport == "http":
        c.refused("unavailable", "suspended", c.client.async_infer(c.endpoint, c.feed(), headers=auth()).get_result)
        return
    got = queue.Queue()
    c.client.async_infer(c.endpoint, c.feed(), lambda result, error: got.put(error), headers=auth())
    check("suspended" in got.get(timeout=30).message(), "async_infer")
    c.client.start_stream(lambda result, error: got.put(error), headers=auth())
    try:
        c.client.async_stream_infer(c.endpoint, c.feed())
        check("suspended" in got.get(timeout=30).message(), "async_stream_infer")
    finally:
        c.client.stop_stream()


@step("loading does not bring a suspended model back")
def _(c):
    c.refused("unavailable", "suspended", c.client.load_model, c.endpoint, headers=auth())
    check(not c.client.is_model_ready(c.endpoint, headers=auth()), "it is not ready")


@step("the index says that a suspended model is not available, and leaves it out of those that are ready")
def _(c):
    if c.transport == "http":
        everything = [(e["name"], e["state"], e["reason"]) for e in c.client.get_model_repository_index(headers=auth())]
        r = requests.post(f"{URL}/v2/repository/index", json={"ready": True}, headers=auth(), timeout=10)
        check(r.status_code == 200, r.text)
        ready = [e["name"] for e in r.json()]
    else:
        import grpc
        from tritonclient.grpc import service_pb2, service_pb2_grpc

        everything = [(e.name, e.state, e.reason) for e in c.client.get_model_repository_index(headers=auth()).models]
        with grpc.insecure_channel(ADDRESS) as channel:
            m = service_pb2_grpc.GRPCInferenceServiceStub(channel).RepositoryIndex(service_pb2.RepositoryIndexRequest(ready=True), metadata=tuple(auth().items()))
        ready = [e.name for e in m.models]
    mine = [e for e in everything if e[0] == c.endpoint]
    check(mine and all(e[1] == "UNAVAILABLE" and "suspended" in e[2] for e in mine), f"{mine}")
    check(c.endpoint not in ready, f"ready are {ready}")


@step("descriptions of a suspended model are refused as unavailable")
def _(c):
    for call in (c.client.get_model_metadata, c.client.get_model_config):
        c.refused("unavailable", "suspended", call, c.endpoint, headers=auth())
