import { Button, Modal, NativeSelect, NumberInput, Textarea, TextInput } from "@mantine/core";
import { useMutation, useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { api, call } from "../../api/client";
import { useWhyNot } from "../../api/me";
import type { Kept, Purged, Retained } from "../../api/types";
import { m } from "../../messages";
import { Action } from "../../ui/Action";
import { Await } from "../../ui/Await";
import { Chip, Empty, Id, Panel, Time } from "../../ui/Bits";
import { DataTable, type Column } from "../../ui/DataTable";
import { bytes, count } from "../../ui/format";
import { faultsOf } from "../../ui/faults";
import { Go } from "../../ui/Go";
import { useRefresh } from "../../ui/hooks";
import { Note, ProblemNote } from "../../ui/Note";
import { UndoBar, type Undoable } from "../../ui/Undo";
import { paths } from "../../ui/url";

const w = m.retention;
const bare = { centered: true, closeButtonProps: { "aria-label": m.close }, transitionProps: { duration: 0 } };
const lasts = (days: number) => (days === 0 ? w.forGood : w.nDays(days));
const nameOf = (endpoint: string) => endpoint || w.everyOther;

const purge = (body: { before: string; endpoint?: string; dry_run?: boolean }) => call(api.POST("/api/v1/predictions/purge", { body }));

/** How long decisions are kept, what is there, what a purge would take, and the erasure of a person. */
export function Retention() {
  const query = useQuery<Retained>({ queryKey: ["retention"], queryFn: () => call(api.GET("/api/v1/prediction-retention")) });
  return <Await query={query} lines={8}>{(x) => <div className="stack gap16"><p className="dim">{w.lead}</p><KeptTable of={x} /><PurgePanel endpoints={(x.kept ?? []).map((k) => k.endpoint)} /><ErasePanel /></div>}</Await>;
}

interface Rule { endpoint: string; days: number }

function KeptTable({ of: x }: { of: Retained }) {
  const why = useWhyNot("policy.write");
  const refresh = useRefresh("retention", "audit");
  const [editing, setEditing] = useState<Rule>();
  const [done, setDone] = useState<Undoable | null>(null);
  const put = (r: Rule) => call(api.PUT("/api/v1/prediction-retention", { body: r }));
  const drop = useMutation({ mutationFn: (r: Rule) => call(api.DELETE("/api/v1/prediction-retention", { params: { query: { endpoint: r.endpoint } } })), onSuccess: async (_, r) => { await refresh(); setDone({ said: w.dropped(nameOf(r.endpoint)), undo: async () => { await put(r); await refresh(); } }); } });
  const rules = x.items ?? [];
  const own = rules.find((r) => r.endpoint === "");
  const ruled = new Map(rules.map((r) => [r.endpoint, r]));
  // Rules of endpoints without decisions are shown as well, and last the one for all others.
  const rows: Partial<Kept>[] = [...(x.kept ?? []), ...rules.filter((r) => r.endpoint && !(x.kept ?? []).some((k) => k.endpoint === r.endpoint)).map((r) => ({ endpoint: r.endpoint, days: r.days, by: "endpoint" as const })), { endpoint: "", days: own?.days ?? x.default_days, by: own ? ("workspace" as const) : ("installation" as const) }];
  const columns: Column<Partial<Kept>>[] = [
    { key: "endpoint", head: w.endpoint, cell: (k) => (k.endpoint ? <Go className="rowlink" to={paths.deployment(k.endpoint)}>{k.endpoint}</Go> : <b>{w.everyOther}</b>) },
    { key: "days", head: w.days, cell: (k) => <><b>{lasts(k.days ?? 0)}</b><div className="dim small">{w.by[k.by ?? "installation"]}{ruled.get(k.endpoint ?? "") && <>, {ruled.get(k.endpoint ?? "")!.by}</>}</div></> },
    { key: "predictions", head: w.predictions, right: true, cell: (k) => (k.predictions === undefined ? m.none : <Go to={paths.predictions({ endpoint: k.endpoint })}>{count(k.predictions)}</Go>) },
    { key: "bytes", head: w.size, right: true, cell: (k) => (k.bytes === undefined ? m.none : bytes(k.bytes)) },
    { key: "oldest", head: w.oldest, cell: (k) => (k.oldest ? <Time at={k.oldest} full /> : m.none) },
    { key: "do", head: <span className="sr">{m.actions}</span>, cell: (k) => {
      const rule = ruled.get(k.endpoint ?? "");
      return (
        <span className="row">
          <Action size="compact-sm" variant="default" why={why} aria-label={w.changeOf(nameOf(k.endpoint ?? ""))} onClick={() => setEditing({ endpoint: k.endpoint ?? "", days: k.days ?? 0 })}>{w.change}</Action>
          {rule && <Action size="compact-sm" variant="default" why={why} aria-label={w.dropOf(nameOf(rule.endpoint))} onClick={() => drop.mutate({ endpoint: rule.endpoint, days: rule.days })}>{w.drop}</Action>}
        </span>
      );
    } },
  ];
  return (
    <Panel title={w.kept} id="kept" flush>
      {done && <div style={{ padding: "12px 16px 0" }}><UndoBar done={done} onGone={() => setDone(null)} /></div>}
      <ProblemNote problem={drop.error} />
      {(x.kept ?? []).length === 0 && <Empty>{w.empty}</Empty>}
      <DataTable label={w.kept} rows={rows} columns={columns} rowKey={(k) => k.endpoint || "*"} />
      <Modal opened={!!editing} onClose={() => setEditing(undefined)} title={editing && w.changeOf(nameOf(editing.endpoint))} {...bare}>{editing && <RuleForm rule={editing} save={put} onDone={() => { setEditing(undefined); void refresh(); }} />}</Modal>
    </Panel>
  );
}

/** A day that many days ago, as the server writes it. */
const daysAgo = (n: number) => new Date(Date.now() - n * 86_400_000).toISOString().slice(0, 10);

function RuleForm({ rule, save, onDone }: { rule: Rule; save: (r: Rule) => Promise<unknown>; onDone: () => void }) {
  const [days, setDays] = useState(rule.days);
  const mayLook = !useWhyNot("bin.purge");
  const put = useMutation({ mutationFn: () => save({ endpoint: rule.endpoint, days }), onSuccess: onDone });
  const at = faultsOf(put.error);
  const look = useQuery<Purged>({ queryKey: ["retention", "look", rule.endpoint, days], meta: { still: true }, enabled: mayLook && days > 0 && days < 36_500 && !!rule.endpoint, retry: false, queryFn: () => purge({ before: daysAgo(days), endpoint: rule.endpoint, dry_run: true }) });
  const held = (look.data?.endpoints ?? []).reduce((a, e) => a + e.kept, 0);
  return (
    <form className="stack gap16" noValidate onSubmit={(e) => { e.preventDefault(); put.mutate(); }}>
      <NumberInput label={w.daysLabel} description={w.daysHelp} min={0} value={days} allowDecimal={false} onChange={(v) => setDays(Number(v) || 0)} error={at("days") ?? at("endpoint")} data-autofocus />
      {rule.endpoint && days > 0 && <div aria-live="polite" className="small">
        {!mayLook ? <p className="dim">{w.cannotLook}</p> : look.data ? <p className={look.data.predictions ? "warn" : "dim"}>{look.data.predictions ? `▲ ${w.effect(count(look.data.predictions), rule.endpoint, daysAgo(days))}` : w.effectNone} {held > 0 && w.effectHeld(held)}</p> : look.error ? <ProblemNote problem={look.error} /> : <p className="dim">{w.looking}</p>}
      </div>}
      {!at("days") && !at("endpoint") && <ProblemNote problem={put.error} />}
      <div className="row between"><Button variant="default" onClick={onDone}>{m.cancel}</Button><Button type="submit" loading={put.isPending}>{w.set}</Button></div>
    </form>
  );
}

function PurgePanel({ endpoints }: { endpoints: string[] }) {
  const why = useWhyNot("bin.purge");
  const refresh = useRefresh("retention", "predictions", "audit");
  const [q, setQ] = useState({ before: daysAgo(365), endpoint: "" });
  const [asking, setAsking] = useState(false);
  const body = { before: q.before, ...(q.endpoint ? { endpoint: q.endpoint } : {}) };
  const look = useMutation<Purged, Error>({ mutationFn: () => purge({ ...body, dry_run: true }) });
  const run = useMutation<Purged, Error>({ mutationFn: () => purge(body), onSuccess: async () => { setAsking(false); look.reset(); await refresh(); } });
  const set = (more: Partial<typeof q>) => { setQ({ ...q, ...more }); look.reset(); run.reset(); };
  const at = faultsOf(look.error);
  const x = look.data;
  return (
    <Panel title={w.purge} id="purge">
      <form className="stack gap16" noValidate onSubmit={(e) => { e.preventDefault(); if (!why) look.mutate(); }}>
        <p className="dim">{w.purgeLead}</p>
        <div className="row gap16" style={{ alignItems: "end" }}>
          <TextInput type="date" label={w.before} value={q.before} onChange={(e) => set({ before: e.currentTarget.value })} error={at("before")} />
          <NativeSelect label={w.endpoint} value={q.endpoint} onChange={(e) => set({ endpoint: e.currentTarget.value })} data={[{ value: "", label: w.all }, ...endpoints.map((v) => ({ value: v, label: v }))]} error={at("endpoint")} />
          <Action type="submit" variant="default" why={why} loading={look.isPending}>{w.look}</Action>
        </div>
        {!at("before") && !at("endpoint") && <ProblemNote problem={look.error ?? run.error} />}
        <div aria-live="polite" className="stack gap16">
          {run.data && <Note tone="ok" title={w.gone(count(run.data.predictions), bytes(run.data.bytes))} />}
          {x && ((x.endpoints ?? []).length === 0 ? <p>{w.none}</p> : <>
            <DataTable boxed label={w.wouldGo} rows={x.endpoints ?? []} rowKey={(e) => e.endpoint} columns={[
              { key: "endpoint", head: w.endpoint, cell: (e) => e.endpoint }, { key: "predictions", head: w.predictions, right: true, cell: (e) => count(e.predictions) }, { key: "outcomes", head: w.outcomes, right: true, cell: (e) => count(e.outcomes) }, { key: "bytes", head: w.size, right: true, cell: (e) => bytes(e.bytes) },
              { key: "held", head: w.held, cell: (e) => (e.kept > 0 ? <><Chip tone="info">{m.bin.held}</Chip><div className="small wrap">{w.heldWhy(e.kept, e.hold ?? "")}</div></> : m.none) },
            ]} />
            {x.predictions > 0 && <div><Action color="red" why={why} onClick={() => setAsking(true)}>{w.purgeNow}</Action></div>}
          </>)}
        </div>
      </form>
      <Modal opened={asking} onClose={() => setAsking(false)} title={w.purgeTitle} {...bare}>
        {x && <div className="stack gap16"><p>{w.purgeWhat(count(x.predictions), count(x.outcomes), bytes(x.bytes))}</p><ProblemNote problem={run.error} /><div className="row between"><Button variant="default" onClick={() => setAsking(false)}>{m.cancel}</Button><Button color="red" loading={run.isPending} onClick={() => run.mutate()}>{w.purgeNow}</Button></div></div>}
      </Modal>
    </Panel>
  );
}

function ErasePanel() {
  const why = useWhyNot("bin.purge");
  const refresh = useRefresh("retention", "predictions", "audit");
  const [q, setQ] = useState({ subject: "", reason: "" });
  const [again, setAgain] = useState("");
  const [asking, setAsking] = useState(false);
  const [tried, setTried] = useState(false);
  const run = useMutation({ mutationFn: () => call(api.POST("/api/v1/predictions/erase", { body: { subject: q.subject, reason: q.reason.trim() } })), onSuccess: async () => { setQ({ subject: "", reason: "" }); setTried(false); await refresh(); }, onSettled: () => setAsking(false) });
  const at = faultsOf(run.error);
  const missing = (v: string) => (tried && !v.trim() ? m.fieldMissing : undefined);
  return (
    <Panel title={w.erase} id="erase">
      <form className="stack gap16" noValidate onSubmit={(e) => { e.preventDefault(); setTried(true); if (!why && q.subject && q.reason.trim()) { setAgain(""); run.reset(); setAsking(true); } }}>
        <p className="dim">{w.eraseLead}</p>
        <TextInput label={w.subject} description={w.subjectHelp} required value={q.subject} onChange={(e) => setQ({ ...q, subject: e.currentTarget.value })} error={missing(q.subject) ?? at("subject")} autoComplete="off" maw={420} />
        <Textarea label={w.reason} description={w.reasonHelp} required rows={2} value={q.reason} onChange={(e) => setQ({ ...q, reason: e.currentTarget.value })} error={missing(q.reason) ?? at("reason")} maw={640} />
        {!at("subject") && !at("reason") && <ProblemNote problem={run.error} />}
        <div aria-live="polite">{run.data && (run.data.predictions === 0 && run.data.kept === 0 ? <Note title={w.erasedNone} /> : <Note tone={run.data.kept ? "warn" : "ok"} title={w.erased(count(run.data.predictions), count(run.data.outcomes))}><p>{w.receipt} <Id value={run.data.subject_hash} /></p>{run.data.kept > 0 && <p>{w.heldWhy(run.data.kept, run.data.hold ?? "")}</p>}</Note>)}</div>
        <div><Action type="submit" variant="default" why={why}>{w.eraseNow}</Action></div>
      </form>
      <Modal opened={asking} onClose={() => setAsking(false)} title={w.eraseTitle} {...bare}>
        <form className="stack gap16" onSubmit={(e) => { e.preventDefault(); if (again === q.subject) run.mutate(); }}>
          <p className="wrap">{w.eraseWhat(q.subject)}</p>
          <TextInput label={w.typeSubject} value={again} onChange={(e) => setAgain(e.currentTarget.value)} autoComplete="off" data-autofocus />
          <div className="row between"><Button variant="default" onClick={() => setAsking(false)}>{m.cancel}</Button><Button type="submit" color="red" disabled={again !== q.subject} loading={run.isPending}>{w.eraseNow}</Button></div>
        </form>
      </Modal>
    </Panel>
  );
}
