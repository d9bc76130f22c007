import { Button } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { api, call } from "../../api/client";
import { usePages } from "../../api/query";
import type { Prediction } from "../../api/types";
import { m } from "../../messages";
import { Await } from "../../ui/Await";
import { Chip, Empty, Facts, Id, Panel, Time } from "../../ui/Bits";
import { DataTable, ExportCSV, type Column } from "../../ui/DataTable";
import { dayEnd, dayStart, FilterBox, FilterDays } from "../../ui/Filter";
import { micros, text } from "../../ui/format";
import { Go } from "../../ui/Go";
import { Note } from "../../ui/Note";
import { Page } from "../../ui/Page";
import { paths, useGo, useParam } from "../../ui/url";

/** The rules that fired, whatever shape the engine reports them in. */
function fired(info: unknown): string {
  if (!info) return "";
  if (Array.isArray(info)) return info.map((x) => (typeof x === "string" ? x : text(x))).join(", ");
  if (typeof info === "object") {
    const doc = info as Record<string, unknown>;
    if (Array.isArray(doc.fired)) return fired(doc.fired);
    if (Array.isArray(doc.rules)) return fired(doc.rules);
  }
  return text(info);
}

const columns: Column<Prediction>[] = [
  { key: "at", head: m.audit.when, value: (p) => p.at, cell: (p) => <Go className="rowlink" to={paths.prediction(p.id)}><Time at={p.at} full /></Go> },
  { key: "endpoint", head: m.deploy.endpoint, value: (p) => p.endpoint, cell: (p) => p.endpoint },
  { key: "version", head: m.version.version, value: (p) => p.version, right: true, cell: (p) => <Go to={paths.version(p.model, p.version)}>v{p.version}</Go> },
  { key: "caller", head: m.model.caller, value: (p) => p.caller, cell: (p) => <>{p.caller}{p.application && <div className="dim small">{p.application}</div>}</> },
  { key: "rows", head: m.predict.rows, value: (p) => p.rows, right: true, cell: (p) => p.rows },
  { key: "latency", head: m.predict.latency, value: (p) => p.latency_us, right: true, cell: (p) => micros(p.latency_us) },
  { key: "outcome", head: m.predict.answer, cell: (p) => (p.error ? <Chip tone="bad">{p.error}</Chip> : fired(p.trace_info) ? <span className="wrap">{fired(p.trace_info)}</span> : <Chip tone="ok">{m.predict.answered}</Chip>) },
];

/** Every call a model answered: by endpoint, caller and time. */
export function PredictionsPage() {
  const value = { endpoint: useParam("endpoint")[0], model: useParam("model")[0], version: useParam("version")[0], caller: useParam("caller")[0] };
  const [since] = useParam("since");
  const [until] = useParam("until");
  const go = useGo();
  const filter = Object.fromEntries(Object.entries({ ...value, since: dayStart(since), until: dayEnd(until) }).filter(([, v]) => v));
  const query = usePages<Prediction>(["predictions", "list", filter], (cursor) => call(api.GET("/api/v1/predictions", { params: { query: { ...filter, limit: 100, cursor } } })));
  const filtered = Object.keys(filter).length > 0;
  return (
    <Page title={m.predict.title} lead={m.predict.lead}>
      <div className="toolbar">
        <FilterBox name="endpoint" label={m.deploy.endpoint} width={170} /><FilterBox name="caller" label={m.model.caller} width={170} /><FilterBox name="version" label={m.version.version} width={110} /><FilterDays />
        <span className="end"><ExportCSV name="predictions" rows={query.data ?? []} columns={columns} /></span>
      </div>
      <Await query={query} lines={8}>{(rows) => <DataTable boxed label={m.predict.title} rows={rows} columns={columns} rowKey={(p) => p.id} more={query.more}
        empty={filtered ? <Empty action={<Button variant="default" onClick={() => go("/predictions")}>{m.removeFilters}</Button>}>{m.predict.noMatch}</Empty> : <Empty>{m.predict.empty}</Empty>} />}</Await>
    </Page>
  );
}

/** One call: what went in, what came out, which rules fired, what turned out to be true. */
export function PredictionPage({ id }: { id: string }) {
  const query = useQuery<Prediction>({ queryKey: ["predictions", id], queryFn: () => call(api.GET("/api/v1/predictions/{id}", { params: { path: { id } } })) });
  return (
    <Page title={m.predict.one(id.slice(-8))} kind={m.predict.kind} crumbs={[{ label: m.predict.title, to: "/predictions" }]}>
      <Await query={query}>{(p) => (
        <div className="stack gap16" style={{ marginTop: 12 }}>
          {p.error && <Note tone="bad" title={p.error} />}
          <Panel title={m.predict.call} id="call"><Facts rows={[[m.audit.when, <Time key="t" at={p.at} full />], [m.deploy.endpoint, <Go key="e" to={paths.deployment(p.endpoint)}>{p.endpoint}</Go>], [m.approvals.model, <Go key="m" to={paths.version(p.model, p.version)}>{p.model} v{p.version}</Go>], [m.model.caller, p.caller], [m.predict.application, p.application], [m.predict.purpose, p.purpose], [m.predict.subject, p.subject], [m.predict.rows, p.rows], [m.predict.latency, micros(p.latency_us)], [m.predict.compute, p.compute_us ? micros(p.compute_us) : undefined], [m.predict.trace, p.trace ? <Id key="x" value={p.trace} /> : undefined], [m.id, <Id key="i" value={p.id} />]]} /></Panel>
          {fired(p.trace_info) && <Panel title={m.predict.fired} id="fired"><p className="wrap">{fired(p.trace_info)}</p></Panel>}
          <div className="grid2"><Panel title={m.version.inputs} id="inputs"><Tensors value={p.inputs} /></Panel><Panel title={m.version.outputs} id="outputs"><Tensors value={p.outputs} /></Panel></div>
          <Panel title={m.predict.outcomes} id="outcomes" flush><DataTable label={m.predict.outcomes} rows={p.outcomes ?? []} rowKey={(o) => `${o.row} ${o.at}`} empty={<Empty>{m.predict.noOutcome}</Empty>} columns={[{ key: "row", head: m.predict.row, right: true, cell: (o) => o.row }, { key: "value", head: m.version.value, cell: (o) => text(o.value) }, { key: "at", head: m.audit.when, cell: (o) => <Time at={o.at} full /> }]} /></Panel>
        </div>
      )}</Await>
    </Page>
  );
}

interface TensorDoc { name: string; datatype?: string; shape?: number[]; data: unknown[] }
const isTensors = (v: unknown): v is TensorDoc[] => Array.isArray(v) && v.every((t) => t && typeof t === "object" && "name" in t && Array.isArray((t as TensorDoc).data));

/** Tensors as names and values, the first rows of large ones; anything else as JSON. */
function Tensors({ value }: { value: unknown }) {
  if (value === undefined || value === null) return <p className="dim">{m.predict.notKept}</p>;
  if (!isTensors(value)) return <pre className="frame small" tabIndex={0}>{JSON.stringify(value, null, 2).slice(0, 20_000)}</pre>;
  return <Facts rows={value.map((t) => [t.name, <span key={t.name} className="mono wrap">{t.data.slice(0, 60).map((x) => text(x)).join(", ")}{t.data.length > 60 ? ` … ${m.predict.moreValues(t.data.length - 60)}` : ""}</span>])} />;
}
