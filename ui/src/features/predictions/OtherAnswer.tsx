import { Button, NumberInput, TextInput } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useState, type FormEvent } from "react";
import { ask } from "../../api/ask";
import { m } from "../../messages";
import { Await } from "../../ui/Await";
import { Empty, Panel } from "../../ui/Bits";
import { DataTable } from "../../ui/DataTable";
import { number, text } from "../../ui/format";
import { Go } from "../../ui/Go";
import { Note } from "../../ui/Note";
import { paths } from "../../ui/url";
import { useSupposed } from "./WhatIf";

const w = m.explaining;

interface Change { feature: string; from: unknown; to: unknown; words: string }
interface Changed { prediction_id?: string; answer: number; distance: number; changes: Change[] }
interface Other { answer: number; threshold: number; above: boolean; found: boolean; nearest?: Changed; real: Changed[]; why?: string; method: string; asked: number }
interface Question { row: number; threshold: string; hold: string }

/** What would have had to be different for another answer; asked for by a person, because a version is loaded for it. */
export function OtherAnswer({ id, rows }: { id: string; rows: number }) {
  const [asked, setAsked] = useState<Question | null>(null);
  const [q, setQ] = useState<Question>({ row: 0, threshold: "", hold: "" });
  const send = (e: FormEvent) => { e.preventDefault(); setAsked(q); };
  return (
    <Panel title={w.other} id="other">
      <form className="stack" onSubmit={send}>
        <p className="dim">{w.otherLead}</p>
        <div className="row" style={{ alignItems: "end", flexWrap: "wrap", gap: 12 }}>
          {rows > 1 && <NumberInput label={m.predict.row} min={1} max={rows} value={q.row + 1} onChange={(v) => setQ({ ...q, row: Math.min(rows, Math.max(1, Number(v) || 1)) - 1 })} w={90} />}
          <TextInput label={w.threshold} description={w.thresholdHelp} value={q.threshold} onChange={(e) => setQ({ ...q, threshold: e.currentTarget.value })} inputMode="decimal" />
          <TextInput label={w.hold} description={w.holdHelp} value={q.hold} onChange={(e) => setQ({ ...q, hold: e.currentTarget.value })} />
          <Button type="submit" variant="default">{w.otherAsk}</Button>
        </div>
      </form>
      {asked && <Found id={id} asked={asked} />}
    </Panel>
  );
}

function Found({ id, asked }: { id: string; asked: Question }) {
  const query = useQuery({ queryKey: ["counterfactual", id, asked], meta: { still: true }, staleTime: Infinity, retry: false, queryFn: ({ signal }) => ask<Other>("GET", `/api/v1/predictions/${encodeURIComponent(id)}/counterfactual`, { query: { row: asked.row, threshold: asked.threshold.trim(), hold: asked.hold.trim() }, signal }) });
  return (
    <Await query={query}>{(o) => (
      <div className="stack gap16" style={{ marginTop: 16 }} aria-live="polite">
        <p>{w.answered(number(o.answer), o.above ? w.at : w.below, number(o.threshold))}</p>
        {o.nearest ? <div className="stack"><div className="row between"><h3>{w.would(number(o.nearest.answer))}</h3><Load of={o.nearest} row={asked.row} /></div><Changes of={o.nearest} label={w.would(number(o.nearest.answer))} /></div> : <Note tone="info" title={o.why ?? m.none} />}
        <h3>{w.real}</h3>
        {o.real.length === 0 ? <p className="dim">{w.realNone}</p> : o.real.map((r) => (
          <div key={r.prediction_id + String(r.distance)} className="stack"><div className="row between"><p>{w.would(number(r.answer))} · <span className="dim">{w.distance(number(r.distance))}</span> · <Go to={paths.prediction(r.prediction_id ?? "")}>{w.seeCall}</Go></p><Load of={r} row={asked.row} /></div><Changes of={r} label={`${w.real} ${r.prediction_id}`} /></div>
        ))}
        <p className="small dim">{o.method}</p>
      </div>
    )}</Await>
  );
}

/** Puts the changed values into the sliders of what-if, and goes there. */
function Load({ of, row }: { of: Changed; row: number }) {
  const s = useSupposed();
  return <Button size="compact-sm" variant="default" onClick={() => { s.set(Object.fromEntries(of.changes.map((c) => [c.feature, c.to ?? null])), row); document.getElementById("what-if")?.scrollIntoView({ block: "start" }); }}>{m.whatIf.load}</Button>;
}

/** How many changes are listed before the others are asked for. */
const listed = 5;

function Changes({ of, label }: { of: Changed; label: string }) {
  const [all, setAll] = useState(false);
  if (!all && of.changes.length > listed + 2) return <><ChangesTable rows={of.changes.slice(0, listed)} label={label} /><div><button type="button" className="linkb" onClick={() => setAll(true)}>{m.whatIf.more(of.changes.length - listed)}</button></div></>;
  return <ChangesTable rows={of.changes} label={label} />;
}

function ChangesTable({ rows, label }: { rows: Change[]; label: string }) {
  return <DataTable label={label} rows={rows} rowKey={(c) => c.feature} empty={<Empty>{m.none}</Empty>} columns={[
    { key: "feature", head: w.feature, cell: (c) => <>{c.feature}<div className="dim small wrap">{c.words}</div></> },
    { key: "from", head: m.approvals.before, right: true, cell: (c) => text(c.from) },
    { key: "to", head: m.approvals.after, right: true, cell: (c) => text(c.to) },
  ]} />;
}
