"""Traces: decorated functions, spans, exceptions, searches, assessments, links, OTLP, deletion."""

import gzip
import json
import os
import time

import mlflow
from conformance import client, equal, experiment, raises, request, step
from mlflow.entities import AssessmentSource, Expectation, Feedback, SpanEvent, SpanType

state = {}


def flushed():
    mlflow.flush_trace_async_logging()
    return mlflow.get_last_active_trace_id()


def ids(traces):
    return [t.info.trace_id for t in traces]


def search(filter_string=None, **kwargs):
    kwargs.setdefault("include_spans", False)
    return mlflow.search_traces(locations=[state["experiment"]], filter_string=filter_string, return_type="list", **kwargs)


@mlflow.trace(span_type=SpanType.CHAIN, attributes={"tier": "gold", "n": 3, "share": 0.5})
def answer(question):
    found = retrieve(question)
    return {"answer": f"{question}: {found[0]}"}


@mlflow.trace(span_type=SpanType.RETRIEVER)
def retrieve(question):
    if "?" not in question:
        raise ValueError("no question: ü")
    return ["Ulm", "Bern"]


@step("nested functions become a trace with its spans")
def _():
    state["experiment"] = experiment("traces")
    equal(answer("where?"), {"answer": "where?: Ulm"})
    state["ok"] = flushed()
    t = mlflow.get_trace(state["ok"])
    equal((t.info.state, t.info.experiment_id, t.info.tags["mlflow.traceName"]), ("OK", state["experiment"], "answer"))
    equal([s.name for s in t.data.spans], ["answer", "retrieve"])
    root, child = t.data.spans
    equal(child.parent_id, root.span_id)
    equal((root.span_type, child.span_type), ("CHAIN", "RETRIEVER"))
    equal((root.inputs, root.outputs), ({"question": "where?"}, {"answer": "where?: Ulm"}))
    equal((root.get_attribute("tier"), root.get_attribute("n"), root.get_attribute("share")), ("gold", 3, 0.5))
    equal((root.trace_id, root.status.status_code), (state["ok"], "OK"))
    equal(child.outputs, ["Ulm", "Bern"])
    assert root.start_time_ns <= child.start_time_ns <= child.end_time_ns <= root.end_time_ns
    equal(t.info.request_preview, '{"question": "where?"}')


@step("an exception leaves its type, text and place on the spans, and the trace failed")
def _():
    try:
        answer("nowhere")
        raise AssertionError("the exception was swallowed")
    except ValueError:
        pass
    state["failed"] = flushed()
    t = mlflow.get_trace(state["failed"])
    equal(t.info.state, "ERROR")
    for s in t.data.spans:
        equal(s.status.status_code, "ERROR")
        event = [e for e in s.events if e.name == "exception"][0]
        equal((event.attributes["exception.type"], event.attributes["exception.message"]), ("ValueError", "no question: ü"))
        assert "retrieve" in event.attributes["exception.stacktrace"]


@step("spans by hand carry inputs, outputs, events, every kind of value, and belong to the run they were made in")
def _():
    with mlflow.start_run() as run:
        with mlflow.start_span("by hand", span_type=SpanType.LLM) as span:
            span.set_inputs({"messages": [{"role": "user", "content": "hello"}]})
            span.set_attributes({"none": None, "list": [1, 2.5, "x", True], "deep": {"a": {"b": [None]}}, "text": 'quote " and ü', "mlflow.chat.tokenUsage": {"input_tokens": 7, "output_tokens": 3, "total_tokens": 10}})
            span.add_event(SpanEvent("halfway", attributes={"share": 0.5}))
            span.set_outputs(None)
            mlflow.update_current_trace(tags={"env": "prod"}, metadata={"mlflow.trace.session": "s1", "mlflow.trace.user": "u1"}, client_request_id="req-1")
        state["hand"] = flushed()
        state["run"] = run.info.run_id
    t = mlflow.get_trace(state["hand"])
    s = t.data.spans[0]
    equal(s.get_attribute("list"), [1, 2.5, "x", True])
    equal(s.get_attribute("deep"), {"a": {"b": [None]}})
    equal(s.get_attribute("text"), 'quote " and ü')
    equal((s.events[0].name, s.events[0].attributes["share"]), ("halfway", 0.5))
    equal((t.info.tags["env"], t.info.client_request_id), ("prod", "req-1"))
    equal(t.info.trace_metadata["mlflow.sourceRun"], state["run"])
    equal(t.info.token_usage["total_tokens"], 10)
    equal(t.info.request_preview, "hello")


@step("searches filter by state, tags, metadata, session, run, names, spans, text and times")
def _():
    for filter_string, want in [
        ("trace.status = 'ERROR'", ["failed"]),
        ("status = 'OK' AND name = 'answer'", ["ok"]),
        ("tag.env = 'prod'", ["hand"]),
        ("tags.`env` LIKE 'pr%' AND metadata.`mlflow.trace.session` = 's1'", ["hand"]),
        ("metadata.`mlflow.trace.user` = 'u1'", ["hand"]),
        ("request_metadata.`mlflow.sourceRun` = '%s'" % state["run"], ["hand"]),
        ("span.name = 'retrieve' AND span.status = 'ERROR'", ["failed"]),
        ("span.type = 'LLM'", ["hand"]),
        ("span.attributes.tier LIKE '%gold%'", ["failed", "ok"]),
        ("trace.text LIKE '%Bern%'", ["ok"]),
        ("trace.text ILIKE '%NO QUESTION%'", ["failed"]),
        ("trace.client_request_id = 'req-1'", ["hand"]),
        ("trace.timestamp_ms > 0 AND trace.execution_time_ms >= 0", ["hand", "failed", "ok"]),
        ("trace.name RLIKE '^by h'", ["hand"]),
        ("tag.env IS NULL", ["failed", "ok"]),
        ("name IN ('answer', 'nothing')", ["failed", "ok"]),
        ("tag.nothing = 'x'", []),
    ]:
        equal(ids(search(filter_string)), [state[w] for w in want], filter_string)
    equal(ids(search(run_id=state["run"])), [state["hand"]])
    raises("INVALID_PARAMETER_VALUE", search, "nonsense")
    raises("INVALID_PARAMETER_VALUE", search, "span.colour = 'red'")


@step("pages of one, in every order, hold every trace once")
def _():
    for order, want in [(None, ["hand", "failed", "ok"]), (["timestamp_ms ASC"], ["ok", "failed", "hand"]), (["name DESC", "timestamp ASC"], ["hand", "ok", "failed"]), (["tag.env"], ["hand", "failed", "ok"])]:
        got, token = [], None
        while True:
            page = client().search_traces(locations=[state["experiment"]], max_results=1, order_by=order, page_token=token, include_spans=False)
            got += ids(page)
            token = page.token
            if not token:
                break
        equal(got, [state[w] for w in want], str(order))


@step("a data frame of traces has their spans")
def _():
    frame = mlflow.search_traces(locations=[state["experiment"]], filter_string="name = 'answer' AND status = 'OK'")
    equal(list(frame["trace_id"]), [state["ok"]])
    equal([s["name"] for s in frame["spans"][0]], ["answer", "retrieve"])
    equal(frame["response"][0], {"answer": "where?: Ulm"})


@step("tags are set, changed and removed; those of the platform are not")
def _():
    mlflow.set_trace_tag(state["ok"], "colour", "red")
    mlflow.set_trace_tag(state["ok"], "colour", "blue")
    equal(mlflow.get_trace(state["ok"]).info.tags["colour"], "blue")
    mlflow.delete_trace_tag(state["ok"], "colour")
    assert "colour" not in mlflow.get_trace(state["ok"]).info.tags
    raises("RESOURCE_DOES_NOT_EXIST", mlflow.delete_trace_tag, state["ok"], "colour")
    equal(request("PATCH", f"/api/3.0/mlflow/traces/{state['ok']}/tags", {"key": "mlflow.trace.spansLocation", "value": "x"}).status_code, 400)


@step("feedback is given, changed, replaced, searched and deleted")
def _():
    ok = state["ok"]
    f = mlflow.log_feedback(trace_id=ok, name="good", value=True, rationale="looks right", metadata={"round": "1"}, source=AssessmentSource("HUMAN", "ada"))
    score = mlflow.log_feedback(trace_id=ok, name="score", value=0.75, source=AssessmentSource("LLM_JUDGE", "m"))
    failed = mlflow.log_feedback(trace_id=ok, name="judge", error=ValueError("no answer"))
    listed = mlflow.log_feedback(trace_id=ok, name="list", value=["a", 1, True], span_id=mlflow.get_trace(ok).data.spans[1].span_id)
    got = mlflow.get_assessment(ok, f.assessment_id)
    equal((got.name, got.value, got.rationale, got.metadata, got.source.source_type, got.source.source_id, got.valid), ("good", True, "looks right", {"round": "1"}, "HUMAN", "ada", True))
    equal(mlflow.get_assessment(ok, failed.assessment_id).error_code, "ValueError")
    equal(mlflow.get_assessment(ok, listed.assessment_id).value, ["a", 1, True])
    mlflow.update_assessment(ok, f.assessment_id, Feedback(name="good", value=False, rationale="on second thought", metadata={"round": "2"}))
    got = mlflow.get_assessment(ok, f.assessment_id)
    equal((got.value, got.rationale, got.metadata, got.source.source_id), (False, "on second thought", {"round": "2"}, "ada"))
    equal(ids(search("feedback.good = 'false' AND feedback.score > 0.5")), [ok])
    equal(ids(search("feedback.score > 0.8")), [])
    new = mlflow.override_feedback(trace_id=ok, assessment_id=f.assessment_id, value=True)
    equal(mlflow.get_assessment(ok, f.assessment_id).valid, False)
    equal(ids(search("feedback.good = 'true'")), [ok])
    mlflow.delete_assessment(ok, new.assessment_id)
    equal(mlflow.get_assessment(ok, f.assessment_id).valid, True)
    mlflow.delete_assessment(ok, score.assessment_id)
    raises("RESOURCE_DOES_NOT_EXIST", mlflow.get_assessment, ok, score.assessment_id)
    equal(len(mlflow.get_trace(ok).info.assessments), 3)


@step("expectations keep plain and nested values, and stay expectations")
def _():
    ok = state["ok"]
    plain = mlflow.log_expectation(trace_id=ok, name="city", value="Ulm")
    nested = mlflow.log_expectation(trace_id=ok, name="facts", value={"cities": ["Ulm", {"n": 1}]})
    equal(mlflow.get_assessment(ok, plain.assessment_id).value, "Ulm")
    equal(mlflow.get_assessment(ok, nested.assessment_id).value, {"cities": ["Ulm", {"n": 1}]})
    mlflow.update_assessment(ok, plain.assessment_id, Expectation(name="city", value="Bern"))
    equal(ids(search("expectation.city = 'Bern'")), [ok])
    raises("INVALID_PARAMETER_VALUE", mlflow.update_assessment, ok, plain.assessment_id, Feedback(name="city", value=1))


@step("traces are linked to a run and prompts to a trace")
def _():
    client().link_traces_to_run([state["ok"], state["failed"]], state["run"])
    equal(sorted(ids(search(run_id=state["run"]))), sorted([state["ok"], state["failed"], state["hand"]]))
    equal(request("POST", "/api/2.0/mlflow/traces/link-prompts", {"trace_id": state["ok"], "prompt_versions": [{"name": "greeting", "version": "2"}]}).json(), {})
    equal(ids(search("prompt = 'greeting/2'")), [state["ok"]])
    raises("RESOURCE_DOES_NOT_EXIST", client().link_traces_to_run, [state["ok"]], "0" * 32)


@step("many threads trace at once and nothing is lost")
def _():
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda i: answer(f"{i}?"), range(40)))
    mlflow.flush_trace_async_logging()
    found = search("name = 'answer' AND status = 'OK'", max_results=200, include_spans=True)
    equal(len(found), 41)
    equal({len(t.data.spans) for t in found}, {2})


@step("metrics count and measure, and filters are correlated")
def _():
    from mlflow.entities.trace_metrics import AggregationType, MetricAggregation, MetricViewType

    store = client()._tracing_client.store
    now = int(time.time() * 1000)
    points = store.query_trace_metrics([state["experiment"]], MetricViewType.TRACES, "trace_count", [MetricAggregation(AggregationType.COUNT)], dimensions=["trace_status"], time_interval_seconds=86400 * 365, start_time_ms=0, end_time_ms=now + 60000)
    equal({p.dimensions["trace_status"]: p.values["COUNT"] for p in points}, {"OK": 42.0, "ERROR": 1.0})
    points = store.query_trace_metrics([state["experiment"]], MetricViewType.TRACES, "latency", [MetricAggregation(AggregationType.AVG), MetricAggregation(AggregationType.PERCENTILE, 95.0)])
    assert points[0].values["P95.0"] >= 0 and points[0].values["AVG"] >= 0, points
    points = store.query_trace_metrics([state["experiment"]], MetricViewType.SPANS, "span_count", [MetricAggregation(AggregationType.COUNT)], dimensions=["span_name"])
    equal({p.dimensions["span_name"]: p.values["COUNT"] for p in points}, {"answer": 42.0, "retrieve": 42.0, "by hand": 1.0})
    c = store.calculate_trace_filter_correlation([state["experiment"]], "status = 'ERROR'", "span.status = 'ERROR'")
    equal((c.filter1_count, c.filter2_count, c.joint_count, c.total_count), (1, 1, 1, 43))
    equal(round(c.npmi, 6), 1.0)


@step("plain OpenTelemetry is taken: protobuf, packed, and JSON; what is malformed is refused")
def _():
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    def export(trace, name):
        r = ExportTraceServiceRequest()
        spans = r.resource_spans.add()
        a = spans.resource.attributes.add()
        a.key, a.value.string_value = "service.name", "shop"
        s = spans.scope_spans.add().spans.add()
        s.trace_id, s.span_id, s.name = bytes.fromhex(trace), os.urandom(8), name
        s.start_time_unix_nano, s.end_time_unix_nano = 1_700_000_000_000_000_000, 1_700_000_001_500_000_000
        a = s.attributes.add()
        a.key, a.value.string_value = "gen_ai.operation.name", "chat"
        return r.SerializeToString()

    head = {"Content-Type": "application/x-protobuf", "x-mlflow-experiment-id": state["experiment"]}
    plain, packed, text = (os.urandom(16).hex() for _ in range(3))
    equal(request("POST", "/v1/traces", data=export(plain, "plain"), headers=head).status_code, 200)
    equal(request("POST", "/v1/traces", data=gzip.compress(export(packed, "packed")), headers={**head, "Content-Encoding": "gzip", "x-mlflow-run-id": state["run"]}).status_code, 200)
    body = {"resourceSpans": [{"scopeSpans": [{"spans": [{"traceId": text, "spanId": "00000000000000a1", "name": "json", "startTimeUnixNano": "1700000000000000000", "endTimeUnixNano": "1700000001000000000", "status": {"code": 2}}]}]}]}
    equal(request("POST", "/v1/traces", data=json.dumps(body), headers={**head, "Content-Type": "application/json"}).text, "{}")
    t = mlflow.get_trace("tr-" + plain)
    equal((t.info.state, t.info.execution_duration, t.info.tags["service.name"], t.data.spans[0].span_type), ("OK", 1500, "shop", "CHAT_MODEL"))
    equal(mlflow.get_trace("tr-" + text).info.state, "ERROR")
    equal(ids(search("span.name = 'packed' AND run_id = '%s'" % state["run"])), ["tr-" + packed])
    for data, more, want in [(b"nonsense", {}, 400), (b"", {}, 400), (export(plain, "x"), {"Content-Encoding": "gzip"}, 400), (export(plain, "x"), {"Content-Type": "text/plain"}, 400), (export("00" * 16, "x"), {}, 400), (b"{", {"Content-Type": "application/json"}, 400), (export(plain, "x"), {"x-mlflow-experiment-id": "999999"}, 404)]:
        equal(request("POST", "/v1/traces", data=data, headers={**head, **more}).status_code, want)
    equal(request("POST", "/v1/traces", data=b"x", headers={"Content-Type": "application/x-protobuf"}).status_code, 422)


@step("clients of before MLflow 3 begin and end a trace and keep its spans in a file")
def _():
    store = client()._tracing_client.store
    begun = store.deprecated_start_trace_v2(state["experiment"], 1_700_000_000_000, {"a": "1"}, {"t": "u"})
    equal((begun.status.value, begun.tags["t"]), ("IN_PROGRESS", "u"))
    from mlflow.entities.trace_status import TraceStatus

    ended = store.deprecated_end_trace_v2(begun.request_id, 1_700_000_001_500, TraceStatus.OK, {"b": "2"}, {"v": "w"})
    equal((ended.status.value, ended.execution_time_ms, ended.request_metadata["a"], ended.request_metadata["b"], ended.tags["v"]), ("OK", 1500, "1", "2", "w"))
    info = request("GET", f"/api/2.0/mlflow/traces/{begun.request_id}/info").json()["trace_info"]
    equal((info["timestamp_ms"], info["status"]), (1_700_000_000_000, "OK"))
    file = {"spans": [{"name": "old", "context": {"span_id": "0x1", "trace_id": "0x2"}, "parent_id": None, "start_time": 1, "end_time": 2, "status_code": "OK", "status_message": "", "attributes": {}, "events": []}]}
    path = "/api/2.0/mlflow-artifacts/artifacts/" + info_location(info) + "/traces.json"
    equal(request("PUT", path, data=json.dumps(file)).status_code, 200)
    equal(request("GET", path).json(), file)
    listed = request("GET", "/api/2.0/mlflow/traces", query={"experiment_ids": state["experiment"], "filter": "tag.t = 'u'"}).json()["traces"]
    equal([t["request_id"] for t in listed], [begun.request_id])


def info_location(info):
    tags = {t["key"]: t["value"] for t in info["tags"]}
    return tags["mlflow.artifactLocation"].removeprefix("mlflow-artifacts:/")


@step("the page's way to the spans is an attachment, under both versions")
def _():
    for version in ("2.0", "3.0"):
        r = request("GET", f"/ajax-api/{version}/mlflow/get-trace-artifact", query={"request_id": state["ok"]})
        equal((r.status_code, [s["name"] for s in r.json()["spans"]]), (200, ["answer", "retrieve"]))
        assert r.headers["Content-Disposition"].startswith("attachment"), r.headers
    equal(request("GET", "/ajax-api/3.0/mlflow/get-trace-artifact", query={"request_id": state["ok"], "path": "../../etc/passwd"}).status_code, 400)


@step("traces are deleted by id and by time, for good")
def _():
    equal(client().delete_traces(experiment_id=state["experiment"], trace_ids=[state["failed"]]), 1)
    raises("RESOURCE_DOES_NOT_EXIST", client().get_trace, state["failed"])
    equal(client().delete_traces(experiment_id=state["experiment"], max_timestamp_millis=int(time.time() * 1000), max_traces=2), 2)
    assert client().delete_traces(experiment_id=state["experiment"], max_timestamp_millis=int(time.time() * 1000)) > 40
    equal(search(), [])
    raises("INVALID_PARAMETER_VALUE", client().delete_traces, experiment_id=state["experiment"])
