import { useMemo, useState } from "react";
import { useWhyNot } from "../../api/me";
import type { Assessment, Span, TraceDocument } from "../../api/traces";
import { m } from "../../messages";
import { Action } from "../../ui/Action";
import { Ask } from "../../ui/Ask";
import { Await } from "../../ui/Await";
import { Chip, Empty, Facts, Id, Panel, Time } from "../../ui/Bits";
import { DataTable } from "../../ui/DataTable";
import { count, micros, span as words, text } from "../../ui/format";
import { Go } from "../../ui/Go";
import type { GridColumn } from "../../ui/grid/columns";
import { Grid } from "../../ui/grid/Grid";
import { useTopics } from "../../ui/hooks";
import { IconBin, IconClose } from "../../ui/icons";
import { Note, ProblemNote } from "../../ui/Note";
import { Page } from "../../ui/Page";
import { paths, useGo, useParam } from "../../ui/url";
import { useAssess, useTrace } from "./api";
import { TraceChip } from "./TracesPage";

interface Row { span: Span; depth: number }

/** The spans of a tree in the order they are drawn: a parent, then its children. */
export function flat(tree: readonly Span[] | null | undefined, depth = 0, out: Row[] = []): Row[] {
  for (const span of tree ?? []) { out.push({ span, depth }); flat(span.children, depth + 1, out); }
  return out;
}

const took = (us: number | undefined) => (us === undefined ? m.none : us < 1_000_000 ? micros(us) : words(us / 1000));

/** One trace: its steps in time, what went in and out of each, and what people and programs think of it. */
export function TracePage({ id }: { id: string }) {
  useTopics(`trace:${id}`);
  const query = useTrace(id);
  const t = query.data;
  return (
    <Page title={t?.name || id} kind={m.traces.kind} crumbs={[{ label: m.traces.title, to: "/traces" }]} status={t && <TraceChip state={t.state} />} actions={t && <Delete trace={t} />}
      facts={t && <><span>{m.traces.started} <b><Time at={t.started_at} /></b></span><span>{m.traces.took} <b className="num">{t.duration_ms === undefined ? m.none : words(t.duration_ms)}</b></span>{t.tokens?.total !== undefined && <span>{m.traces.tokens} <b className="num">{count(t.tokens.total)}</b></span>}{t.cost?.total !== undefined && <span>{m.traces.cost} <b className="num">${t.cost.total.toPrecision(3)}</b></span>}<span>{m.traces.spans} <b className="num">{count(t.spans)}</b></span>{t.user && <span>{m.traces.user} <b>{t.user}</b></span>}<span>{m.id} <Id value={t.id} /></span></>}>
      <Await query={query} lines={10}>{(trace) => <Body trace={trace} />}</Await>
    </Page>
  );
}

function Delete({ trace }: { trace: TraceDocument }) {
  const why = useWhyNot("trace.write");
  const { remove } = useAssess(trace.id);
  const go = useGo();
  const [asking, setAsking] = useState(false);
  return (
    <>
      <Action why={why} variant="default" leftSection={<IconBin size={16} aria-hidden="true" />} onClick={() => setAsking(true)}>{m.traces.remove}</Action>
      <Ask opened={asking} onClose={() => setAsking(false)} title={m.traces.removeTitle} confirm={m.traces.remove} fields={[]} onConfirm={async () => { await remove.mutateAsync(); go("/traces"); }}><p>{m.traces.removeWhat}</p></Ask>
    </>
  );
}

function Body({ trace: t }: { trace: TraceDocument }) {
  const [wanted] = useParam("span");
  const rows = useMemo(() => flat(t.tree), [t.tree]);
  const whole = Math.max(1, ...rows.map((r) => r.span.offset_us + (r.span.duration_us ?? 0)));
  const chosen = (rows.find((r) => r.span.id === wanted) ?? rows.find((r) => r.span.status === "error" && !(r.span.children ?? []).some((c) => c.status === "error")) ?? rows[0])?.span;
  const columns: GridColumn<Row>[] = [
    { key: "name", head: m.traces.step, width: 160, cell: (r) => <span style={{ paddingLeft: Math.min(12, r.depth) * 14, fontWeight: r.span === chosen ? 700 : undefined }}>{r.span.status === "error" && <span className="bad" aria-label={m.traces.states.error}>■ </span>}{r.span.name}</span>, text: (r) => r.span.name },
    { key: "type", head: m.traces.type, width: 84, cell: (r) => <span className="dim small">{r.span.type === "UNKNOWN" ? m.none : r.span.type.toLowerCase().replace("_", " ")}</span>, text: (r) => r.span.type },
    { key: "took", head: m.traces.took, width: 84, right: true, cell: (r) => took(r.span.duration_us), text: (r) => String(r.span.duration_us ?? "") },
    { key: "time", head: m.traces.inTime, width: 130, cell: (r) => <Bar span={r.span} whole={whole} />, text: (r) => m.traces.bar(took(r.span.offset_us), took(r.span.duration_us)) },
  ];
  return (
    <div className="stack gap16">
      {t.truncated && <Note tone="warn" title={m.traces.truncated} />}
      <div className="split even">
        <Panel title={m.traces.waterfall} id="waterfall" flush>
          <Grid label={m.traces.waterfall} rows={rows} columns={columns} layout={{ keys: ["name", "time", "took", "type"], pinned: [], widths: {} }} rowKey={(r) => r.span.id} rowName={(r) => r.span.name} href={(r) => paths.trace(t.id, { span: r.span.id })} total={rows.length} density="compact" least={320} empty={<Empty>{m.traces.notLogged}</Empty>} />
        </Panel>
        {chosen && <Details key={chosen.id} span={chosen} />}
      </div>
      <div className="grid2">
        <Assessments trace={t} />
        <Panel title={m.traces.about} id="about"><Facts rows={[[m.traces.runs, (t.runs ?? []).length ? <span key="r" className="row">{(t.runs ?? []).map((r) => <Go key={r} to={paths.trackingRun(r)}>{r.slice(0, 8)}</Go>)}</span> : undefined], [m.traces.experiment, <Go key="e" to={paths.experiment(t.experiment)}>{t.experiment}</Go>], [m.traces.session, t.session], [m.traces.user, t.user], [m.traces.requestId, t.client_request_id], ...Object.entries(t.tags ?? {}).filter(([k]) => !k.startsWith("mlflow.")).map(([k, v]): [string, string] => [k, v])]} /></Panel>
      </div>
    </div>
  );
}

function Bar({ span, whole }: { span: Span; whole: number }) {
  const tone = span.status === "error" ? "bad" : undefined;
  return <span className="gantt" role="img" aria-label={m.traces.bar(took(span.offset_us), took(span.duration_us))} style={{ width: "100%", display: "block" }}><i data-tone={tone} style={{ left: `${(span.offset_us / whole) * 100}%`, width: `${((span.duration_us ?? whole - span.offset_us) / whole) * 100}%` }} /></span>;
}

/** A value of any shape: texts as they are, the rest as indented JSON. */
function Value({ label, value }: { label: string; value: unknown }) {
  if (value === undefined || value === null) return <p className="dim small">{m.traces.notLogged}</p>;
  const shown = typeof value === "string" ? value : JSON.stringify(value, null, 2);
  return <pre className="filetext" style={{ maxHeight: 260, whiteSpace: "pre-wrap" }} tabIndex={0} role="region" aria-label={label}>{shown.length > 100_000 ? shown.slice(0, 100_000) + "…" : shown}</pre>;
}

function Details({ span }: { span: Span }) {
  const events = span.events ?? [];
  const attributes = Object.entries(span.attributes ?? {});
  return (
    <Panel title={span.name} id="span" actions={span.status === "error" ? <Chip tone="bad">{m.traces.states.error}</Chip> : undefined}>
      <div className="stack gap16">
        {span.message && <Note tone="bad" title={m.traces.failedWith}><p className="wrap">{span.message}</p></Note>}
        <Facts rows={[[m.traces.took, took(span.duration_us)], [m.traces.model, span.model], [m.traces.tokens, span.tokens?.total === undefined ? undefined : `${count(span.tokens.input ?? 0)} + ${count(span.tokens.output ?? 0)} = ${count(span.tokens.total)}`]]} />
        <div className="stack gap4"><h3>{m.traces.inputs}</h3><Value label={m.traces.inputs} value={span.inputs} /></div>
        <div className="stack gap4"><h3>{m.traces.outputs}</h3><Value label={m.traces.outputs} value={span.outputs} /></div>
        {events.length > 0 && <div className="stack gap4"><h3>{m.traces.events}</h3>{events.map((e, i) => <details key={i}><summary>{e.name} <span className="dim small">{took(e.offset_us)}</span></summary><Value label={e.name} value={typeof e.attributes?.["exception.stacktrace"] === "string" ? e.attributes["exception.stacktrace"] : e.attributes} /></details>)}</div>}
        {attributes.length > 0 && <details><summary>{m.traces.attributes} <span className="dim num">{attributes.length}</span></summary><Facts rows={attributes.map(([k, v]) => [k, <span key={k} className="mono wrap">{text(v)}</span>])} /></details>}
      </div>
    </Panel>
  );
}

/** "yes", "0.5" and the like as the values they mean; other words stay words. */
export function valueOf(said: string): unknown {
  const t = said.trim();
  if (/^(yes|true)$/i.test(t)) return true;
  if (/^(no|false)$/i.test(t)) return false;
  return t !== "" && Number.isFinite(Number(t)) ? Number(t) : t;
}

function Assessments({ trace: t }: { trace: TraceDocument }) {
  const why = useWhyNot("trace.assess");
  const { add, drop } = useAssess(t.id);
  const [asking, setAsking] = useState(false);
  const list = t.assessments ?? [];
  return (
    <Panel title={m.traces.assessments} id="assessments" flush actions={<Action size="compact-sm" variant="default" why={why} onClick={() => setAsking(true)}>{m.traces.addFeedback}</Action>}>
      <ProblemNote problem={drop.error} />
      <DataTable label={m.traces.assessments} rows={list} rowKey={(a: Assessment) => a.id} empty={<Empty>{m.traces.noAssessments}</Empty>} columns={[
        { key: "n", head: m.name, cell: (a) => <><b>{a.name}</b>{!a.valid && <span className="dim small"> · {m.traces.replaced}</span>}</> }, { key: "v", head: m.traces.value, cell: (a) => <span className="wrap">{a.error?.message ? <span className="bad">{a.error.message}</span> : text(a.value)}{a.rationale && <div className="dim small wrap">{a.rationale}</div>}</span> },
        { key: "b", head: m.traces.by, cell: (a) => <>{a.source.id || a.source.kind}<div className="dim small"><Time at={a.created_at} /></div></> }, { key: "x", head: <span className="sr">{m.actions}</span>, right: true, cell: (a) => (why ? null : <button type="button" className="copy" aria-label={m.traces.drop(a.name)} title={m.traces.drop(a.name)} onClick={() => drop.mutate(a.id)}><IconClose size={15} /></button>) },
      ]} />
      <Ask opened={asking} onClose={() => setAsking(false)} title={m.traces.addFeedback} confirm={m.traces.send} fields={[{ name: "name", label: m.traces.feedbackName, help: m.traces.feedbackHelp, required: true, max: 100 }, { name: "value", label: m.traces.value, help: m.traces.valueHelp, required: true, max: 1000 }, { name: "rationale", label: m.traces.rationale, long: true, max: 4000 }]}
        onConfirm={(v) => add.mutateAsync({ name: v.name, kind: "feedback", value: valueOf(v.value), rationale: v.rationale || undefined })} />
    </Panel>
  );
}
