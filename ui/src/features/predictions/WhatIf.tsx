import { Button, NativeSelect, NumberInput, TextInput } from "@mantine/core";
import { keepPreviousData, useQuery } from "@tanstack/react-query";
import { useEffect, useId, useState } from "react";
import { api, call } from "../../api/client";
import { asProblem } from "../../api/problem";
import type { Supposed, SupposedInput } from "../../api/types";
import { m } from "../../messages";
import { Copy, Empty, Facts, Panel } from "../../ui/Bits";
import { DataTable } from "../../ui/DataTable";
import { number, text } from "../../ui/format";
import { Note, ProblemNote } from "../../ui/Note";
import { Skeleton } from "../../ui/Await";
import { useSetParams, useParam } from "../../ui/url";
import { Effect } from "./Effect";

const w = m.whatIf;
/** Values by input, as they are sent: only those that differ from the decision. */
export type Values = Record<string, unknown>;

/** How many inputs are shown before the others are asked for. */
const shown = 12;

/** What the address says of changed values; what cannot be read is no change. */
function read(param: string): Values {
  try { const v: unknown = JSON.parse(param); return v && typeof v === "object" && !Array.isArray(v) ? (v as Values) : {}; } catch { return {}; }
}

/** The changed values of a row, kept in the address so that a link shows the same question. */
export function useSupposed() {
  const [param] = useParam("what");
  const [row] = useParam("row");
  const put = useSetParams();
  const values = read(param);
  return {
    values, row: Math.max(0, Number(row) || 0), open: param !== "",
    set: (next: Values, at: number) => put({ what: JSON.stringify(next), row: at ? String(at) : "" }),
  };
}

function useAnswer(id: string, row: number, values: Values, on: boolean) {
  return useQuery<Supposed>({
    queryKey: ["what-if", id, row, JSON.stringify(values)], enabled: on, meta: { still: true }, staleTime: Infinity, gcTime: 60_000, retry: false, placeholderData: keepPreviousData,
    queryFn: ({ signal }) => call(api.POST("/api/v1/predictions/{id}/what-if", { params: { path: { id } }, body: { row, values }, signal })),
  });
}

/** A value that settles: it follows `value` once that has rested for a moment. */
function useRested<T>(value: T, ms = 250): T {
  const [rested, setRested] = useState(value);
  const key = JSON.stringify(value);
  useEffect(() => { const t = setTimeout(() => setRested(value), ms); return () => clearTimeout(t); }, [key, ms]); // eslint-disable-line
  return rested;
}

/** Moves the inputs of a decision and shows what the version would have answered, and why; nothing of it is logged. */
export function WhatIf({ id, rows }: { id: string; rows: number }) {
  const s = useSupposed();
  return (
    <Panel title={w.title} id="what-if">
      {s.open ? <Sliders key={s.row} id={id} rows={rows} row={Math.min(s.row, rows - 1)} values={s.values} set={s.set} />
        : <div className="stack"><p className="dim">{w.lead}</p><div><Button variant="default" onClick={() => s.set({}, 0)}>{w.start}</Button></div></div>}
    </Panel>
  );
}

function Sliders({ id, rows, row, values, set }: { id: string; rows: number; row: number; values: Values; set: (v: Values, row: number) => void }) {
  const logged = useAnswer(id, row, {}, true);
  const rested = useRested(values);
  const now = useAnswer(id, row, rested, true);
  const [find, setFind] = useState("");
  const [all, setAll] = useState(false);
  const base = logged.data;
  if (!base) return logged.error ? <ProblemNote problem={logged.error} retry={() => void logged.refetch()} /> : <Skeleton lines={8} />;
  const weight = new Map(base.reasons?.map((r) => [r.name, Math.abs(r.contribution)]));
  const inputs = [...(base.inputs ?? [])].sort((a, b) => (weight.get(b.name) ?? 0) - (weight.get(a.name) ?? 0));
  const wanted = find.trim().toLowerCase();
  const matching = inputs.filter((x) => x.name.toLowerCase().includes(wanted));
  const listed = all || wanted ? matching : matching.filter((x, i) => i < shown || x.name in values);
  const put = (x: SupposedInput, v: unknown) => {
    const next = { ...values };
    if (v === x.value || (v === null && x.value === undefined)) delete next[x.name]; else next[x.name] = v;
    set(next, row);
  };
  const problem = now.error ? asProblem(now.error) : null;
  const at = problem?.field?.replace(/^values\./, "");
  const busy = now.isFetching || JSON.stringify(rested) !== JSON.stringify(values);
  return (
    <div className="stack gap16">
      <p className="dim">{w.lead}</p>
      {rows > 1 && <NumberInput label={w.row} min={1} max={rows} value={row + 1} onChange={(v) => set({}, Math.min(rows, Math.max(1, Number(v) || 1)) - 1)} w={90} />}
      <div className="grid2 wide-left">
        <div className="stack gap16">
          <div className="row between">
            <TextInput aria-label={w.find} placeholder={w.find} value={find} onChange={(e) => setFind(e.currentTarget.value)} maw={220} />
            <Button variant="default" disabled={Object.keys(values).length === 0} onClick={() => set({}, row)}>{w.reset}</Button>
          </div>
          <div className="sliders">{listed.map((x) => <Value key={x.name} input={x} value={x.name in values ? values[x.name] : x.value} changed={x.name in values} error={at === x.name ? problem?.detail : undefined} set={(v) => put(x, v)} />)}</div>
          {listed.length < matching.length && <div><button type="button" className="linkb" onClick={() => setAll(true)}>{w.more(matching.length - listed.length)}</button></div>}
        </div>
        <div className="stack gap16 beside" aria-live="polite" aria-busy={busy && !now.data ? true : undefined}>
          {problem && !inputs.some((x) => x.name === at) && <ProblemNote problem={now.error} />}
          {now.data && <Answer now={now.data} was={base} busy={busy} />}
          <p className="row small dim">{w.copy}<Copy value={location.href} label={w.copy} /></p>
        </div>
      </div>
    </div>
  );
}

/** One input: a slider with its number, a choice, or a text. */
function Value({ input: x, value, changed, error, set }: { input: SupposedInput; value: unknown; changed: boolean; error?: string; set: (v: unknown) => void }) {
  const id = useId();
  const kind = x.kind;
  const known = x.min !== undefined && x.max !== undefined;
  const about = known ? w.range(number(x.min), number(x.max), x.from) : undefined;
  const off = known && typeof value === "number" && (value < x.min! || value > x.max!);
  const name = <span className="row" style={{ flexWrap: "nowrap" }}>{changed && <span className="warn" aria-hidden="true">●</span>}<span className="wrap">{x.name}</span></span>;
  const back = changed && <button type="button" className="linkb" aria-label={`↺ ${text(x.value)}: ${w.undo(x.name)}`} onClick={() => set(x.value)}>↺ {text(x.value)}</button>;
  if (kind === "truth") return <div className="slider"><NativeSelect label={name} value={String(value)} onChange={(e) => set(e.currentTarget.value === "true")} data={[{ value: "true", label: m.yes }, { value: "false", label: m.no }]} error={error} />{back}</div>;
  if (kind === "text") {
    const list = [...new Set([...(typeof value === "string" ? [value] : []), ...(typeof x.value === "string" ? [x.value] : []), ...(x.choices ?? [])])].sort();
    return <div className="slider">{list.length > 1 ? <NativeSelect label={name} value={String(value ?? "")} onChange={(e) => set(e.currentTarget.value)} data={list.map((v) => ({ value: v, label: v || w.missing }))} error={error} /> : <TextInput label={name} value={String(value ?? "")} onChange={(e) => set(e.currentTarget.value)} error={error} />}{back}</div>;
  }
  const span = known ? x.max! - x.min! : 0;
  const step = kind === "whole" ? 1 : span > 0 ? Number((span / 200).toPrecision(1)) : 0.1;
  return (
    <div className="slider">
      <div className="row between" style={{ flexWrap: "nowrap" }}>
        <label htmlFor={id} className="bold small">{name}</label>
        <NumberInput aria-label={w.valueOf(x.name)} hideControls w={112} size="xs" value={typeof value === "number" ? value : ""} placeholder={w.missing} allowDecimal={kind !== "whole"} error={!!error} onChange={(v) => { if (v === "") { if (x.missing_allowed) set(null); } else if (Number.isFinite(Number(v))) set(Number(v)); }} />
      </div>
      {known && <input id={id} type="range" min={x.min} max={x.max} step={span > 0 ? step : undefined} disabled={span === 0} value={typeof value === "number" ? Math.min(x.max!, Math.max(x.min!, value)) : x.min} aria-valuetext={typeof value === "number" ? number(value) : w.missing} onChange={(e) => set(kind === "whole" ? Math.round(Number(e.currentTarget.value)) : Number(e.currentTarget.value))} />}
      <p className="small dim">{about} {back}</p>
      {off && <p className="small warn">▲ {w.outside(number(x.min), number(x.max))}</p>}
      {error && <p className="small" style={{ color: "var(--k-bad)" }} role="alert">{error}</p>}
    </div>
  );
}

/** What was decided and what would be, what is different, and what moves the answer now. */
function Answer({ now, was, busy }: { now: Supposed; was: Supposed; busy: boolean }) {
  const before = new Map(was.reasons?.map((r) => [r.name, r.contribution]));
  const changes = now.changes ?? [];
  const most = Math.max(0, ...(now.reasons ?? []).slice(0, 8).map((r) => Math.abs(r.contribution)));
  const delta = now.after - now.before;
  return (
    <>
      <dl className="tiles three" style={{ gridTemplateColumns: "repeat(3, minmax(0, 1fr))", opacity: busy ? 0.6 : 1 }}>
        <div><dt>{w.was}</dt><dd>{number(now.before)}</dd></div>
        <div><dt>{w.would}</dt><dd>{number(now.after)}</dd></div>
        <div><dt>{w.change}</dt><dd>{delta === 0 ? w.same : `${delta > 0 ? "▲ +" : "▼ "}${number(delta)}`}</dd></div>
      </dl>
      {changes.length === 0 ? <p className="dim">{w.none}</p> : <div><p className="bold">{w.changed(changes.length)}</p><ul>{changes.map((c) => <li key={c.feature} className="wrap small">{c.words}</li>)}</ul></div>}
      {now.unexplained ? <Note tone="info" title={now.unexplained} /> : (
        <>
          <DataTable label={w.reasons} rows={(now.reasons ?? []).slice(0, 8)} rowKey={(r) => r.name} empty={<Empty>{m.none}</Empty>} columns={[
            { key: "name", head: w.reasons, cell: (r) => <><span className="wrap">{r.name}</span><div className="dim small">{w.effectWas} {number(before.get(r.name))}</div></> },
            { key: "now", head: w.effect, right: true, cell: (r) => <Effect value={r.contribution} most={most} half={22} /> },
          ]} />
          <details className="small dim"><summary>{m.serving.search.method}</summary><Facts rows={[[w.output, now.output || undefined], [m.serving.search.unit, now.unit], [m.serving.search.method, now.method]]} /></details>
        </>
      )}
    </>
  );
}
