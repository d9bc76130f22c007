import { Button, Checkbox, NativeSelect, PasswordInput, TextInput } from "@mantine/core";
import { useMutation } from "@tanstack/react-query";
import { useState, type ReactNode } from "react";
import { api, call } from "../../api/client";
import type { AlertRoute } from "../../api/types";
import { m } from "../../messages";
import { faultsOf } from "../../ui/faults";
import { useRefresh } from "../../ui/hooks";
import { ProblemNote } from "../../ui/Note";

const r = m.watching.routes;
const split = (text: string) => text.split(",").map((x) => x.trim()).filter(Boolean);
const options = (of: Record<string, string>) => Object.entries(of).map(([value, label]) => ({ value, label }));
/** What a new route is told: all but what policies do. */
const usual = Object.keys(r.turn).filter((t) => t !== "acted");

function filled(x?: AlertRoute) {
  return {
    name: x?.name ?? "", kind: x?.kind ?? "slack", url: x?.url ?? "", secret: "", host: x?.mail?.host ?? "", tls: x?.mail?.tls || "starttls", user: x?.mail?.user ?? "", from: x?.mail?.from ?? "", to: (x?.mail?.to ?? []).join(", "),
    models: (x?.models ?? []).join(", "), severity: x?.severity ?? "warning", quietFrom: x?.quiet?.from ?? "", quietTo: x?.quiet?.to ?? "", zone: x?.quiet?.zone ?? "",
  };
}

/** Adds a route, or changes one; what the server refuses stands at its field. */
export function RouteForm({ route, onDone }: { route?: AlertRoute; onDone: (secret: string) => void }) {
  const refresh = useRefresh("routes");
  const [f, setF] = useState(() => filled(route));
  const [kinds, setKinds] = useState(route?.kinds ?? []);
  const [events, setEvents] = useState(route?.events ?? usual);
  const set = (key: keyof typeof f) => (e: { currentTarget: { value: string } }) => setF({ ...f, [key]: e.currentTarget.value });
  const kind = f.kind as AlertRoute["kind"];
  const quiet = f.quietFrom || f.quietTo ? { from: f.quietFrom.trim(), to: f.quietTo.trim(), zone: f.zone.trim(), days: route?.quiet?.days ?? undefined } : undefined;
  const rules = { name: f.name.trim(), severity: f.severity as AlertRoute["severity"], models: split(f.models), kinds, events };
  const where = { ...((kind === "webhook" || kind === "pagerduty") && f.url ? { url: f.url.trim() } : {}), ...(kind === "email" ? { mail: { host: f.host.trim(), tls: f.tls as "starttls", user: f.user.trim(), from: f.from.trim(), to: split(f.to) } } : {}), ...(f.secret ? { secret: f.secret } : {}) };
  const save = useMutation({
    mutationFn: () => route
      ? call(api.PATCH("/api/v1/alert-routes/{id}", { params: { path: { id: route.id } }, body: { ...rules, ...where, ...(quiet ? { quiet } : route.quiet ? { quiet: { from: "00:00", to: "00:00" } } : {}) } }))
      : call(api.POST("/api/v1/alert-routes", { body: { ...rules, ...where, kind, ...(quiet ? { quiet } : {}) } })),
    onSuccess: async (x) => { await refresh(); onDone(x.secret ?? ""); },
  });
  const at = faultsOf(save.error);
  const some = (list: string) => at(list) ?? [0, 1, 2, 3, 4, 5, 6, 7, 8, 9].map((i) => at(`${list}[${i}]`)).find(Boolean);
  const secret = (label: ReactNode, required: boolean) => <PasswordInput label={label} description={route?.sealed ? r.secretKeep : r.secretHelp} required={required && !route} value={f.secret} onChange={set("secret")} error={at("secret")} autoComplete="off" visibilityToggleButtonProps={{ "aria-label": m.signIn.show, tabIndex: 0 }} />;
  const shown = ["name", "url", "secret", "mail.host", "mail.tls", "mail.user", "mail.from", "severity", "quiet.from", "quiet.to", "quiet.zone"].some(at) || !!some("models") || !!some("mail.to") || !!some("kinds") || !!some("events");
  return (
    <form className="stack gap16" noValidate onSubmit={(e) => { e.preventDefault(); save.mutate(); }}>
      <TextInput label={m.name} description={r.nameHelp} required value={f.name} onChange={set("name")} error={at("name")} data-autofocus />
      {!route && <NativeSelect label={r.kind} value={f.kind} onChange={set("kind")} data={options(r.kinds)} error={at("kind")} />}
      {kind === "slack" && secret(r.slackURL, true)}
      {kind === "pagerduty" && secret(r.key, true)}
      {kind === "webhook" && <><TextInput label={r.url} type="url" required value={f.url} onChange={set("url")} error={at("url")} />{route && secret(r.signing, false)}</>}
      {kind === "email" && <>
        <TextInput label={r.host} description={r.hostHelp} required value={f.host} onChange={set("host")} error={at("mail.host")} />
        <NativeSelect label={r.tls} value={f.tls} onChange={set("tls")} data={options(r.tlsKinds)} error={at("mail.tls")} />
        <TextInput label={r.user} description={r.userHelp} value={f.user} onChange={set("user")} error={at("mail.user")} autoComplete="off" />
        {f.user && secret(r.password, true)}
        <TextInput label={r.from} required value={f.from} onChange={set("from")} error={at("mail.from")} />
        <TextInput label={r.to} description={r.toHelp} required value={f.to} onChange={set("to")} error={some("mail.to")} />
      </>}
      <TextInput label={r.models} description={r.modelsHelp} value={f.models} onChange={set("models")} error={some("models")} />
      <NativeSelect label={r.severity} value={f.severity} onChange={set("severity")} data={options(r.severityKinds)} error={at("severity")} />
      <Checkbox.Group label={r.causes} description={r.causesHelp} value={kinds} onChange={setKinds} error={some("kinds")}><div className="row gap16" style={{ marginTop: 6 }}>{Object.entries(m.watching.cause).map(([k, label]) => <Checkbox key={k} size="sm" value={k} label={label} />)}</div></Checkbox.Group>
      <Checkbox.Group label={r.turns} value={events} onChange={setEvents} error={some("events")}><div className="row gap16" style={{ marginTop: 6 }}>{Object.entries(r.turn).map(([k, label]) => <Checkbox key={k} size="sm" value={k} label={label} />)}</div></Checkbox.Group>
      <div className="stack gap4"><div className="row top gap16"><TextInput label={r.quietFrom} placeholder="22:00" value={f.quietFrom} onChange={set("quietFrom")} error={at("quiet.from")} w={110} /><TextInput label={r.quietTo} placeholder="07:00" value={f.quietTo} onChange={set("quietTo")} error={at("quiet.to")} w={110} /><TextInput label={r.zone} placeholder="Europe/Zurich" value={f.zone} onChange={set("zone")} error={at("quiet.zone")} className="grow" /></div><p className="small dim">{r.quietHelp}</p></div>
      {!shown && <ProblemNote problem={save.error} />}
      <div className="row between"><Button variant="default" onClick={() => onDone("")}>{m.cancel}</Button><Button type="submit" loading={save.isPending}>{route ? m.save : r.add}</Button></div>
    </form>
  );
}
