import { Button, Modal, NativeSelect, PasswordInput, TextInput } from "@mantine/core";
import { useMutation, useQuery } from "@tanstack/react-query";
import { useState, type ReactNode } from "react";
import { api, call, items } from "../../api/client";
import { useWhyNot } from "../../api/me";
import type { AlertPolicy, AlertRoute, RouteDelivery } from "../../api/types";
import { m } from "../../messages";
import { Action } from "../../ui/Action";
import { Await } from "../../ui/Await";
import { Chip, Command, Empty, Panel, Time, type Tone } from "../../ui/Bits";
import { DataTable, type Column } from "../../ui/DataTable";
import { Go } from "../../ui/Go";
import { useRefresh } from "../../ui/hooks";
import { Note, ProblemNote } from "../../ui/Note";
import { pageOf } from "../../ui/url";

const r = m.watching.routes;
const split = (text: string) => text.split(",").map((x) => x.trim()).filter(Boolean);
const bare = { centered: true, closeButtonProps: { "aria-label": m.close }, transitionProps: { duration: 0 } };

/** Where alerts go, what was sent, and when alerts open at all. */
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
    { key: "state", head: r.state, value: (x) => (x.enabled ? 1 : 0), cell: (x) => (x.enabled ? <Chip tone="ok">{r.on}</Chip> : <Chip tone="neutral">{r.off}</Chip>) },
    { key: "do", head: <span className="sr">{m.actions}</span>, cell: (x) => <Act route={x} why={why} /> },
  ];
  return (
    <div className="stack gap16">
      <div className="toolbar"><span className="dim">{r.lead}</span><span className="end"><Action why={why} onClick={() => setAdding(true)}>{r.add}</Action></span></div>
      {made && <Note tone="ok" title={r.made}><Command>{made}</Command></Note>}
      <Await query={query}>{(rows) => <DataTable boxed label={r.title} rows={rows} columns={columns} rowKey={(x) => x.id} empty={<Empty command="keelson alert route create ops --kind slack --secret-file slack-url.txt">{r.empty}</Empty>} />}</Await>
      {shown && <Deliveries route={shown} />}
      <Policies />
      <Modal opened={adding} onClose={() => setAdding(false)} title={r.add} {...bare}><Form onDone={(secret) => { setAdding(false); setMade(secret); }} /></Modal>
    </div>
  );
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
  const [asking, setAsking] = useState(false);
  return (
    <div className="stack gap4">
      <span className="row" style={{ flexWrap: "nowrap" }}>
        <Action size="compact-sm" variant="default" why={why} loading={test.isPending} aria-label={`${r.test} ${x.name}`} onClick={() => test.mutate()}>{r.test}</Action>
        <Action size="compact-sm" variant="default" why={why} loading={turn.isPending} aria-label={`${x.enabled ? r.turnOff : r.turnOn} ${x.name}`} onClick={() => turn.mutate()}>{x.enabled ? r.turnOff : r.turnOn}</Action>
        <Action size="compact-sm" variant="default" why={why} aria-label={`${r.remove} ${x.name}`} onClick={() => setAsking(true)}>{r.remove}</Action>
      </span>
      {test.data && <span role="status"><Chip tone={test.data.success ? "ok" : "bad"}>{test.data.success ? r.tested : r.notTested}</Chip> <span className="small wrap">{test.data.error || test.data.answer}</span></span>}
      <ProblemNote problem={test.error ?? turn.error ?? remove.error} />
      <Modal opened={asking} onClose={() => setAsking(false)} title={r.removeTitle(x.name)} {...bare}>
        <div className="row between"><Button variant="default" onClick={() => setAsking(false)}>{m.cancel}</Button><Button color="red" loading={remove.isPending} onClick={() => remove.mutate()}>{r.remove}</Button></div>
      </Modal>
    </div>
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

function Policies() {
  const query = useQuery<AlertPolicy[]>({ queryKey: ["alert-policies"], queryFn: async () => (await call(api.GET("/api/v1/alert-policies"))) ?? [] });
  const columns: Column<AlertPolicy>[] = [
    { key: "model", head: r.policyOf, cell: (p) => <b>{p.model || r.workspace}</b> },
    { key: "opens", head: r.opens, cell: (p) => r.windows(p.windows) },
    { key: "ends", head: r.ends, cell: (p) => r.good(p.good) },
    { key: "escalate", head: r.escalation, cell: (p) => <span className="wrap">{(p.escalate ?? []).map((e) => r.step(e.after, e.to || e.route || "")).join(", ") || r.nothing}</span> },
    { key: "actions", head: r.actions, cell: (p) => <span className="wrap">{(p.actions ?? []).map((a) => `${r.act[a.do] ?? a.do}${a.pipeline ? ` (${a.pipeline})` : ""}`).join(", ") || r.nothing}</span> },
  ];
  return <Panel title={r.policy} id="policies" flush><Await query={query}>{(rows) => <DataTable label={r.policy} rows={rows} columns={columns} rowKey={(p) => p.model || "*"} empty={<Empty>{m.none}</Empty>} />}</Await><p className="small dim" style={{ padding: "8px 16px" }}>{r.policyHelp}</p></Panel>;
}

function Form({ onDone }: { onDone: (secret: string) => void }) {
  const refresh = useRefresh("routes");
  const [f, setF] = useState({ name: "", kind: "slack", url: "", secret: "", host: "", tls: "starttls", user: "", from: "", to: "", models: "", severity: "warning", quietFrom: "", quietTo: "", zone: "" });
  const set = (key: keyof typeof f) => (e: { currentTarget: { value: string } }) => setF({ ...f, [key]: e.currentTarget.value });
  const kind = f.kind as AlertRoute["kind"];
  const create = useMutation({
    mutationFn: () => call(api.POST("/api/v1/alert-routes", { body: {
      name: f.name.trim(), kind, severity: f.severity as AlertRoute["severity"], models: split(f.models), ...(f.secret ? { secret: f.secret } : {}),
      ...((kind === "webhook" || kind === "pagerduty") && f.url ? { url: f.url.trim() } : {}), ...(kind === "email" ? { mail: { host: f.host.trim(), tls: f.tls as "starttls", user: f.user, from: f.from, to: split(f.to) } } : {}),
      ...(f.quietFrom && f.quietTo ? { quiet: { from: f.quietFrom, to: f.quietTo, zone: f.zone.trim() } } : {}),
    } })),
    onSuccess: async (route) => { await refresh(); onDone(route.secret ?? ""); },
  });
  const secret = (label: ReactNode, required: boolean) => <PasswordInput label={label} description={r.secretHelp} required={required} value={f.secret} onChange={set("secret")} autoComplete="off" visibilityToggleButtonProps={{ "aria-label": m.signIn.show, tabIndex: 0 }} />;
  const options = (of: Record<string, string>) => Object.entries(of).map(([value, label]) => ({ value, label }));
  return (
    <form className="stack gap16" onSubmit={(e) => { e.preventDefault(); create.mutate(); }}>
      <TextInput label={m.name} required value={f.name} onChange={set("name")} data-autofocus />
      <NativeSelect label={r.kind} value={f.kind} onChange={set("kind")} data={options(r.kinds)} />
      {kind === "slack" && secret(r.slackURL, true)}
      {kind === "pagerduty" && secret(r.key, true)}
      {kind === "webhook" && <TextInput label={r.url} type="url" required value={f.url} onChange={set("url")} />}
      {kind === "email" && <>
        <TextInput label={r.host} description={r.hostHelp} required value={f.host} onChange={set("host")} />
        <NativeSelect label={r.tls} value={f.tls} onChange={set("tls")} data={options(r.tlsKinds)} />
        <TextInput label={r.user} description={r.userHelp} value={f.user} onChange={set("user")} autoComplete="off" />
        {f.user && secret(r.password, true)}
        <TextInput label={r.from} required value={f.from} onChange={set("from")} />
        <TextInput label={r.to} description={r.toHelp} required value={f.to} onChange={set("to")} />
      </>}
      <TextInput label={r.models} description={r.modelsHelp} value={f.models} onChange={set("models")} />
      <NativeSelect label={r.severity} value={f.severity} onChange={set("severity")} data={options(r.severityKinds)} />
      <div className="stack gap4"><div className="row top gap16" style={{ flexWrap: "nowrap" }}><TextInput label={r.quietFrom} placeholder="22:00" value={f.quietFrom} onChange={set("quietFrom")} w={110} /><TextInput label={r.quietTo} placeholder="07:00" value={f.quietTo} onChange={set("quietTo")} w={110} /><TextInput label={r.zone} placeholder="Europe/Zurich" value={f.zone} onChange={set("zone")} className="grow" /></div><p className="small dim">{r.quietHelp}</p></div>
      <ProblemNote problem={create.error} />
      <div className="row between"><Button variant="default" onClick={() => onDone("")}>{m.cancel}</Button><Button type="submit" loading={create.isPending}>{r.add}</Button></div>
    </form>
  );
}
