import { Button, Checkbox, Modal, NativeSelect, TextInput } from "@mantine/core";
import { useState } from "react";
import { useWhyNot } from "../../api/me";
import { asProblem } from "../../api/problem";
import type { Conversion, Version } from "../../api/types";
import { m } from "../../messages";
import { Action } from "../../ui/Action";
import { Await } from "../../ui/Await";
import { Chip, Empty, Panel, Time, type Tone } from "../../ui/Bits";
import { DataTable, type Column } from "../../ui/DataTable";
import { bytes, micros, number } from "../../ui/format";
import { Go } from "../../ui/Go";
import { ProblemNote } from "../../ui/Note";
import { paths } from "../../ui/url";
import { useConversions, useConvert } from "./api";

const w = m.converting;
const tones: Record<string, Tone> = { running: "info", done: "ok", refused: "bad" };

/** How much smaller or larger the second is; nothing where one is not known. */
function ratio(a: number, b: number): string | undefined {
  if (!(a > 0 && b > 0)) return undefined;
  const x = b <= a ? a / b : b / a;
  return x < 1.05 ? w.same : (b <= a ? w.less : w.more)(number(x, 1));
}

/** A measure of the original and of the lighter form, and how much it changed. */
function Pair({ a, b, show }: { a?: number; b?: number; show: (v: number) => string }) {
  if (!a || !b) return <span className="dim">{m.none}</span>;
  return <><span className="nowrap">{show(a)} → <b>{show(b)}</b></span><div className="dim small nowrap">{ratio(a, b)}</div></>;
}

const columns: Column<Conversion>[] = [
  { key: "to", head: w.to, cell: (c) => <>{w.forms[c.wish.to] ?? c.wish.to}{c.result.original && c.result.converted && <div className="dim small">{w.engine(c.result.original.engine, c.result.converted.engine)}</div>}<div className="dim small nowrap">{c.by} · <Time at={c.started_at} /></div></> },
  { key: "state", head: m.approvals.state, cell: (c) => <Chip tone={tones[c.state]}>{w.states[c.state] ?? c.state}</Chip> },
  { key: "file", head: w.file, right: true, cell: (c) => <Pair a={c.result.original?.bytes} b={c.result.converted?.bytes} show={bytes} /> },
  { key: "memory", head: w.memory, right: true, cell: (c) => <Pair a={c.result.original?.memory} b={c.result.converted?.memory} show={bytes} /> },
  { key: "median", head: w.median, right: true, cell: (c) => <Pair a={c.result.original?.p50_us} b={c.result.converted?.p50_us} show={(v) => (v < 10 ? `${number(v, 1)} µs` : micros(v))} /> },
  { key: "error", head: w.error, right: true, cell: (c) => (typeof c.result.max_error === "number" ? <><b className={c.result.max_error > (c.wish.limit ?? 0) ? "bad" : undefined}>{number(c.result.max_error, 7)}</b><div className="dim small nowrap">{w.of(number(c.wish.limit ?? 0, 7))}</div></> : <span className="dim">{m.none}</span>) },
  { key: "outcome", head: w.outcome, cell: (c) => <Outcome c={c} /> },
];

function Outcome({ c }: { c: Conversion }) {
  const r = c.result;
  return (
    <div style={{ minWidth: 190 }}>
      {c.state === "running" ? <span className="dim" aria-busy="true">{w.measuring}</span> : r.registered ? <Go to={paths.version(c.model, r.registered)}>{w.registered(r.registered)}</Go> : r.reason ? <span className="wrap">{r.reason}</span> : w.notRegistered}
      {r.changes && <div className="small wrap">{w.changes(r.changes)}</div>}
      {r.original && <div className="dim small">{w.rows(r.rows.golden, r.rows.logged, r.rows.generated)}</div>}
    </div>
  );
}

/** Lighter forms of a version: what each would cost and gain, measured, and a button that tries another. */
export function Conversions({ version: v }: { version: Version }) {
  const query = useConversions(v.model, v.version);
  const lacking = useWhyNot("version.write");
  const [open, setOpen] = useState(false);
  const why = lacking ?? (v.state === "ready" && v.engine ? undefined : w.notReady);
  if (v.state !== "ready" && !query.data?.length) return null;
  return (
    <Panel title={w.title} id="conversions" flush actions={<Action size="compact-sm" variant="default" why={why} onClick={() => setOpen(true)}>{w.button}</Action>}>
      <Await query={query} lines={2}>{(all) => <DataTable label={w.table} rows={all} columns={columns} rowKey={(c) => c.id} empty={<Empty command={`keelson version convert ${v.model}/${v.version} --to onnx`}>{w.empty}</Empty>} />}</Await>
      <Modal opened={open} onClose={() => setOpen(false)} title={w.ask(`${v.model} v${v.version}`)} centered closeButtonProps={{ "aria-label": m.close }} transitionProps={{ duration: 0 }}>{open && <Wish version={v} onDone={() => setOpen(false)} />}</Modal>
    </Panel>
  );
}

function Wish({ version: v, onDone }: { version: Version; onDone: () => void }) {
  const convert = useConvert(v.model, v.version);
  const [to, setTo] = useState<Conversion["wish"]["to"]>("onnx");
  const [limit, setLimit] = useState("");
  const [register, setRegister] = useState(false);
  const wrong = limit.trim() !== "" && !(Number(limit) >= 0 && Number(limit) <= 1) ? w.notLimit : undefined;
  const refused = convert.error && asProblem(convert.error).field === "limit" ? asProblem(convert.error).detail : undefined;
  return (
    <form className="stack gap16" noValidate onSubmit={(e) => { e.preventDefault(); if (!wrong) convert.mutate({ to, limit: limit.trim() ? Number(limit) : undefined, register: register || undefined }, { onSuccess: onDone }); }}>
      <p className="dim">{w.lead}</p>
      <NativeSelect label={w.to} description={w.about[to]} data-autofocus value={to} onChange={(e) => setTo(e.currentTarget.value as typeof to)} data={Object.entries(w.forms).map(([value, label]) => ({ value, label }))} />
      <TextInput label={w.limit} description={w.limitHelp(w.limits[to])} value={limit} onChange={(e) => setLimit(e.currentTarget.value)} inputMode="decimal" error={wrong ?? refused} />
      <Checkbox label={w.register} description={w.registerHelp} checked={register} onChange={(e) => setRegister(e.currentTarget.checked)} />
      <ProblemNote problem={refused ? null : convert.error} />
      <div className="row between"><Button variant="default" onClick={onDone}>{m.cancel}</Button><Button type="submit" loading={convert.isPending}>{w.confirm}</Button></div>
    </form>
  );
}
