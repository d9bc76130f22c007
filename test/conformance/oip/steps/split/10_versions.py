"""Two versions answer at one endpoint, half of the calls each."""

import queue

from conformance import auth, check, equal, step


def version(c, result):
    r = result.get_response()
    return r["model_version"] if c.transport == "http" else r.model_version


@step("metadata names both versions")
def _(c):
    m = c.client.get_model_metadata(c.endpoint, headers=auth())
    equal(sorted(m["versions"] if c.transport == "http" else m.versions), ["1", "2"])
    for v in ("1", "2"):
        one = c.client.get_model_metadata(c.endpoint, v, headers=auth())
        equal([t["name"] for t in one["inputs"]] if c.transport == "http" else [t.name for t in one.inputs], [i["name"] for i in c.inputs])


@step("both versions are ready and have a configuration")
def _(c):
    for v in ("", "1", "2"):
        check(c.client.is_model_ready(c.endpoint, v, headers=auth()), f"version {v!r}")
        c.client.get_model_config(c.endpoint, v, headers=auth())
    check(not c.client.is_model_ready(c.endpoint, "3", headers=auth()), "version 3")
    c.refused("unknown", "3", c.infer, model_version="3")


@step("the index lists both versions as ready")
def _(c):
    m = c.client.get_model_repository_index(headers=auth())
    entries = [(e["name"], e["version"], e["state"]) for e in m] if c.transport == "http" else [(e.name, e.version, e.state) for e in m.models]
    equal(sorted(e[1:] for e in entries if e[0] == c.endpoint), [("1", "READY"), ("2", "READY")])


@step("a version that is named answers")
def _(c):
    for v in ("1", "2"):
        equal(version(c, c.holds(c.infer(model_version=v))), v)


@step("without a version each answers a part of the calls")
def _(c):
    seen = {version(c, c.holds(c.infer(c.feed(slice(0, 1))), slice(0, 1))) for _ in range(40)}
    equal(seen, {"1", "2"})


@step("calls of one routing key stay at one version")
def _(c):
    by_key = {}
    for key in range(12):
        by_key[key] = {version(c, c.infer(c.feed(slice(0, 1)), parameters={"routing_key": f"k{key}"})) for _ in range(3)}
        equal(len(by_key[key]), 1, f"versions for the key {key}")
    equal(set.union(*by_key.values()), {"1", "2"})


@step("statistics count the versions apart")
def _(c):
    def counts(v=""):
        m = c.client.get_inference_statistics(c.endpoint, v, headers=auth())
        if c.transport == "http":
            return {s["version"]: s["execution_count"] for s in m["model_stats"]}
        return {s.version: s.execution_count for s in m.model_stats}

    before = counts()
    for v, n in (("1", 2), ("2", 3)):
        for _ in range(n):
            c.infer(model_version=v)
    after = counts()
    equal({v: after[v] - before.get(v, 0) for v in after}, {"1": 2, "2": 3})
    equal(counts("2"), {"2": after["2"]})


@step("a stream goes to both", "grpc")
def _(c):
    got, seen = queue.Queue(), set()
    c.client.start_stream(lambda result, error: got.put((result, error)), headers=auth())
    try:
        for k in range(40):
            c.client.async_stream_infer(c.endpoint, c.feed(slice(0, 1)), model_version="2" if k == 0 else "")
        for k in range(40):
            result, error = got.get(timeout=30)
            check(error is None, f"{error}")
            seen.add(version(c, c.holds(result, slice(0, 1))))
            check(k > 0 or seen == {"2"}, "the version that the first call names")
    finally:
        c.client.stop_stream()
    equal(seen, {"1", "2"})
