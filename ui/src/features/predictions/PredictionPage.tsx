import { Button } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useState, type ReactNode } from "react";
import { api, call } from "../../api/client";
import type { Explained, Prediction } from "../../api/types";
import { m } from "../../messages";
import { Await } from "../../ui/Await";
import { Chip, Empty, Facts, Id, Panel, Time } from "../../ui/Bits";
import { DataTable } from "../../ui/DataTable";
import { micros, number, text } from "../../ui/format";
import { Go } from "../../ui/Go";
import { Note } from "../../ui/Note";
import { Page } from "../../ui/Page";
import { paths } from "../../ui/url";
import { Effect } from "./Effect";
import { OtherAnswer } from "./OtherAnswer";
import { WhatIf } from "./WhatIf";
import { fired } from "./words";

/** One call: what went in, what came out, which rules fired, what turned out to be true, and why it came out so. */
export function PredictionPage({ id, said }: { id: string; said?: ReactNode }) {
  const query = useQuery<Prediction>({ queryKey: ["predictions", id], queryFn: () => call(api.GET("/api/v1/predictions/{id}", { params: { path: { id } } })) });
  return (
    <Page title={m.predict.one(id.slice(-8))} kind={m.predict.kind} crumbs={[{ label: m.predict.title, to: "/predictions" }]}>
      <Await query={query}>{(p) => (
        <div className="stack gap16" style={{ marginTop: 12 }}>
          {p.error && <Note tone="bad" title={p.error} />}
          <Panel title={m.predict.call} id="call"><Facts rows={[[m.audit.when, <Time key="t" at={p.at} full />], [m.deploy.endpoint, <Go key="e" to={paths.deployment(p.endpoint)}>{p.endpoint}</Go>], [m.approvals.model, <Go key="m" to={paths.version(p.model, p.version)}>{p.model} v{p.version}</Go>], [m.model.caller, p.caller], [m.predict.application, p.application], [m.predict.purpose, p.purpose], [m.predict.subject, p.subject], [m.predict.rows, p.rows], [m.predict.latency, micros(p.latency_us)], [m.predict.compute, p.compute_us ? micros(p.compute_us) : undefined], [m.predict.trace, p.trace ? <Id key="x" value={p.trace} /> : undefined], [m.id, <Id key="i" value={p.id} />]]} /></Panel>
          {p.redacted && <Note title={m.serving.search.leftOut(p.redacted.columns ?? [])} />}
          {fired(p.trace_info) && <Panel title={m.predict.fired} id="fired"><p className="wrap">{fired(p.trace_info)}</p></Panel>}
          <div className="grid2"><Panel title={m.version.inputs} id="inputs"><Tensors value={p.inputs} /></Panel><Panel title={m.version.outputs} id="outputs"><Tensors value={p.outputs} /></Panel></div>
          {!p.error && p.version > 0 && <Why id={p.id} />}
          {!p.error && p.version > 0 && <WhatIf id={p.id} rows={p.rows} />}
          {!p.error && p.version > 0 && <OtherAnswer id={p.id} rows={p.rows} />}
          <Panel title={m.predict.outcomes} id="outcomes" flush><DataTable label={m.predict.outcomes} rows={p.outcomes ?? []} rowKey={(o) => `${o.row} ${o.at}`} empty={<Empty>{m.predict.noOutcome}</Empty>} columns={[{ key: "row", head: m.predict.row, right: true, cell: (o) => o.row }, { key: "value", head: m.version.value, cell: (o) => text(o.value) }, { key: "at", head: m.audit.when, cell: (o) => <Time at={o.at} full /> }]} /></Panel>
          {said}
        </div>
      )}</Await>
    </Page>
  );
}

const s = m.serving.search;

/** The replay and the reasons of a call; asked for by a person, because a version is loaded for it. */
function Why({ id }: { id: string }) {
  const [asked, setAsked] = useState(false);
  return <Panel title={s.why} id="why">{asked ? <Reasons id={id} /> : <div className="stack"><p className="dim">{s.explainHelp}</p><div><Button variant="default" onClick={() => setAsked(true)}>{s.explain}</Button></div></div>}</Panel>;
}

function Reasons({ id }: { id: string }) {
  const query = useQuery<Explained>({ queryKey: ["explanation", id], meta: { still: true }, staleTime: Infinity, retry: false, queryFn: () => call(api.GET("/api/v1/predictions/{id}/explanation", { params: { path: { id }, query: { top: 10 } } })) });
  return (
    <Await query={query}>{(x) => (
      <div className="stack gap16">
        <p className="row"><Chip tone={x.replay.identical ? "ok" : x.replay.redacted ? "neutral" : "warn"}>{x.replay.identical ? s.identical : x.replay.redacted ? s.redacted : s.different}</Chip><span className="wrap">{x.replay.detail}</span></p>
        {x.unexplained && <Note tone="info" title={x.unexplained} />}
        {(x.explanation.rows ?? []).map((r) => (
          <div key={r.row} className="stack">
            <h3>{s.rowN(r.row)}{r.output_name ? `: ${r.output_name}` : ""}</h3>
            <DataTable label={s.table(r.row)} rows={r.features ?? []} rowKey={(f) => f.name} empty={<Empty>{m.none}</Empty>} columns={[
              { key: "name", head: m.serving.form.feature, cell: (f) => <>{f.name}<div className="dim small wrap">{f.words}</div></> },
              { key: "value", head: m.serving.form.value, right: true, cell: (f) => text(f.value) },
              { key: "effect", head: m.serving.form.effect, right: true, cell: (f) => <Effect value={f.contribution} most={Math.max(...(r.features ?? []).map((g) => Math.abs(g.contribution)))} /> },
            ]} />
            <Facts rows={[[s.base, number(r.base)], [s.rest, r.rest ? number(r.rest) : undefined], [s.total, number(r.total)], [s.unit, x.explanation.unit], [s.method, x.explanation.method]]} />
          </div>
        ))}
      </div>
    )}</Await>
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
