import { Button, Modal, Textarea } from "@mantine/core";
import { useMutation, useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { api, call, items } from "../../api/client";
import { useWhyNot } from "../../api/me";
import type { AlertRoute, RouteDelivery } from "../../api/types";
import { m } from "../../messages";
import { Action } from "../../ui/Action";
import { Await } from "../../ui/Await";
import { Chip, Command, Empty, Panel, Time, type Tone } from "../../ui/Bits";
import { DataTable, type Column } from "../../ui/DataTable";
import { Go } from "../../ui/Go";
import { useRefresh } from "../../ui/hooks";
import { Note, ProblemNote } from "../../ui/Note";
import { useUntil } from "../../ui/Until";
import { faultsOf } from "../../ui/faults";
import { pageOf } from "../../ui/url";
import { RouteForm } from "./RouteForm";

const r = m.watching.routes;
const bare = { centered: true, closeButtonProps: { "aria-label": m.close }, transitionProps: { duration: 0 } };

/** Where alerts go, and what was sent. */
export function Routes() {
  const query = useQuery<AlertRoute[]>({ queryKey: ["routes"], queryFn: async () => items(await call(api.GET("/api/v1/alert-routes", { params: { query: { limit: 200 } } }))) });
  const why = useWhyNot("webhook.write");
  const [adding, setAdding] = useState(false);
  const [made, setMade] = useState("");
  const [shown, setShown] = useState<AlertRoute>();
  const columns: Column<AlertRoute>[] = [
    { key: "name", head: m.name, value: (x) => x.name, cell: (x) => <Button variant="subtle" size="compact-sm" onClick={() => setShown(x)}>{x.name}</Button> },
    { key: "kind", head: r.kind, value: (x) => x.kind, cell: (x) => r.kinds[x.kind] ?? x.kind },
    { key: "target", head: r.target, value: (x) => x.target, cell: (x) => <span className="wrap">{x.target}</span> },
    { key: "rules", head: r.rules, cell: (x) => <Rules route={x} /> },
    { key: "state", head: r.state, value: (x) => (x.enabled ? 1 : 0), cell: (x) => <State route={x} /> },
    { key: "do", head: <span className="sr">{m.actions}</span>, cell: (x) => <Act route={x} why={why} /> },
  ];
  return (
    <div className="stack gap16">
      <div className="toolbar"><span className="dim">{r.lead}</span><span className="end"><Action why={why} onClick={() => setAdding(true)}>{r.add}</Action></span></div>
      {made && <Note tone="ok" title={r.made}><Command>{made}</Command></Note>}
      <Await query={query}>{(rows) => <DataTable boxed label={r.title} rows={rows} columns={columns} rowKey={(x) => x.id} empty={<Empty command="keelson alert route create ops --kind slack --secret-file slack-url.txt">{r.empty}</Empty>} />}</Await>
      {shown && <Deliveries route={shown} />}
      <Modal opened={adding} onClose={() => setAdding(false)} title={r.add} {...bare}><RouteForm onDone={(secret) => { setAdding(false); setMade(secret); }} /></Modal>
    </div>
  );
}

function State({ route: x }: { route: AlertRoute }) {
  if (!x.enabled) return <Chip tone="neutral">{r.off}</Chip>;
  if (!x.muted) return <Chip tone="ok">{r.on}</Chip>;
  return <><Chip tone="warn">{r.muted}</Chip><div className="dim small wrap">{m.watching.until} <Time at={x.muted.until} full /><br />{x.muted.by}: {x.muted.reason}</div></>;
}

function Rules({ route: x }: { route: AlertRoute }) {
  const parts = [(x.models ?? []).join(", ") || r.all, r.severityKinds[x.severity] ?? x.severity];
  if (x.quiet) parts.push(`${r.quiet} ${x.quiet.from}–${x.quiet.to} ${x.quiet.zone || "UTC"}`);
  return <span className="wrap small">{parts.join(" · ")}</span>;
}

function Act({ route: x, why }: { route: AlertRoute; why?: string }) {
  const refresh = useRefresh("routes", "deliveries");
  const params = { params: { path: { id: x.id } } };
  const test = useMutation({ mutationFn: () => call(api.POST("/api/v1/alert-routes/{id}/test", params)) });
  const turn = useMutation({ mutationFn: () => call(api.PATCH("/api/v1/alert-routes/{id}", { ...params, body: { enabled: !x.enabled } })), onSuccess: refresh });
  const remove = useMutation({ mutationFn: () => call(api.DELETE("/api/v1/alert-routes/{id}", params)), onSuccess: refresh });
  const unmute = useMutation({ mutationFn: () => call(api.POST("/api/v1/alert-routes/{id}/unmute", params)), onSuccess: refresh });
  const [open, setOpen] = useState<"" | "edit" | "mute" | "delete">("");
  const close = () => setOpen("");
  const button = { size: "compact-sm", variant: "default", why } as const;
  return (
    <div className="stack gap4">
      <span className="row">
        <Action {...button} aria-label={`${m.edit} ${x.name}`} onClick={() => setOpen("edit")}>{m.edit}</Action>
        <Action {...button} loading={test.isPending} aria-label={`${r.test} ${x.name}`} onClick={() => test.mutate()}>{r.test}</Action>
        {x.muted ? <Action {...button} loading={unmute.isPending} aria-label={`${r.unmute} ${x.name}`} onClick={() => unmute.mutate()}>{r.unmute}</Action> : <Action {...button} aria-label={`${r.mute} ${x.name}`} onClick={() => setOpen("mute")}>{r.mute}</Action>}
        <Action {...button} loading={turn.isPending} aria-label={`${x.enabled ? r.turnOff : r.turnOn} ${x.name}`} onClick={() => turn.mutate()}>{x.enabled ? r.turnOff : r.turnOn}</Action>
        <Action {...button} aria-label={`${r.remove} ${x.name}`} onClick={() => setOpen("delete")}>{r.remove}</Action>
      </span>
      {test.data && <span role="status"><Chip tone={test.data.success ? "ok" : "bad"}>{test.data.success ? r.tested : r.notTested}</Chip> <span className="small wrap">{test.data.error || test.data.answer}</span></span>}
      <ProblemNote problem={test.error ?? turn.error ?? unmute.error ?? remove.error} />
      <Modal opened={open === "edit"} onClose={close} title={r.editTitle(x.name)} {...bare}>{open === "edit" && <RouteForm route={x} onDone={close} />}</Modal>
      <Modal opened={open === "mute"} onClose={close} title={r.muteTitle(x.name)} {...bare}>{open === "mute" && <MuteForm route={x} onDone={close} />}</Modal>
      <Modal opened={open === "delete"} onClose={close} title={r.removeTitle(x.name)} {...bare}>
        <div className="stack gap16"><p>{r.removeWhat}</p><div className="row between"><Button variant="default" onClick={close}>{m.cancel}</Button><Button color="red" loading={remove.isPending} onClick={() => remove.mutate()}>{r.remove}</Button></div></div>
      </Modal>
    </div>
  );
}

/** Silence with an end, and why. */
function MuteForm({ route: x, onDone }: { route: AlertRoute; onDone: () => void }) {
  const refresh = useRefresh("routes");
  const [reason, setReason] = useState("");
  const save = useMutation({ mutationFn: (body: { until: string; reason: string }) => call(api.POST("/api/v1/alert-routes/{id}/mute", { params: { path: { id: x.id } }, body })), onSuccess: async () => { await refresh(); onDone(); } });
  const at = faultsOf(save.error);
  const { field, until } = useUntil(at("until"));
  return (
    <form className="stack gap16" noValidate onSubmit={(e) => { e.preventDefault(); save.mutate({ until: until(), reason: reason.trim() }); }}>
      <p>{r.muteWhat}</p>
      {field}
      <Textarea label={m.reason} description={m.reasonHelp} required value={reason} onChange={(e) => setReason(e.currentTarget.value)} rows={3} error={at("reason")} data-autofocus />
      {!at("until") && !at("reason") && <ProblemNote problem={save.error} />}
      <div className="row between"><Button variant="default" onClick={onDone}>{m.cancel}</Button><Button type="submit" loading={save.isPending}>{r.mute}</Button></div>
    </form>
  );
}

const tones: Record<string, Tone> = { pending: "info", delivered: "ok", failed: "bad" };

function Deliveries({ route }: { route: AlertRoute }) {
  const query = useQuery<RouteDelivery[]>({ queryKey: ["deliveries", route.id], queryFn: async () => items(await call(api.GET("/api/v1/alert-routes/{id}/deliveries", { params: { path: { id: route.id }, query: { limit: 50 } } }))) });
  const columns: Column<RouteDelivery>[] = [
    { key: "event", head: r.event, cell: (d) => { const page = pageOf(d.about); return <>{r.turn[d.event] ?? d.event}<div className="dim small">{page ? <Go to={page}>{d.about}</Go> : d.about}</div></>; } },
    { key: "state", head: r.state, cell: (d) => <><Chip tone={tones[d.state]}>{r.deliveryState[d.state] ?? d.state}</Chip>{d.error && <div className="small wrap">{d.error}</div>}</> },
    { key: "attempts", head: r.attempts, right: true, cell: (d) => d.attempts },
    { key: "last", head: r.last, cell: (d) => <Time at={d.last_at} /> },
    { key: "next", head: r.next, cell: (d) => (d.next_at ? <Time at={d.next_at} full /> : m.none) },
  ];
  return <Panel title={r.deliveries(route.name)} id="deliveries" flush><Await query={query}>{(rows) => <DataTable label={r.log} rows={rows} columns={columns} rowKey={(d) => d.id} empty={<Empty>{r.noDeliveries}</Empty>} />}</Await></Panel>;
}
