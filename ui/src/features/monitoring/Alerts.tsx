import { Button } from "@mantine/core";
import type { ReactNode } from "react";
import { useWhyNot } from "../../api/me";
import type { Alert } from "../../api/types";
import { m } from "../../messages";
import { ReasonAction } from "../../ui/Action";
import { Await } from "../../ui/Await";
import { Chip, Empty, Time, type Tone } from "../../ui/Bits";
import { DataTable, type Column } from "../../ui/DataTable";
import { FilterSelect } from "../../ui/Filter";
import { Go } from "../../ui/Go";
import { useTopics } from "../../ui/hooks";
import { Page } from "../../ui/Page";
import { useUntil } from "../../ui/Until";
import { paths, rowsOf, useParam } from "../../ui/url";
import { Plain } from "../../ui/Verdict";
import { states, useAck, useAlerts, useRelease, useSilence } from "./api";

const tones: Record<string, Tone> = { open: "bad", acknowledged: "warn", silenced: "neutral", recovered: "ok" };

const w = m.watching;

const columns: Column<Alert>[] = [
  { key: "what", head: m.alerts.what, value: (a) => `${a.endpoint} ${a.kind}`, cell: (a) => <div style={{ minWidth: 230 }}><Go className="rowlink" to={paths.monitoring(a.model || a.endpoint, { endpoint: a.endpoint, window: a.window, feature: a.kind === "data" ? a.feature : undefined })}><Plain>{a.title}</Plain></Go><div className="dim">{w.cause[a.kind] ?? a.kind} · {a.endpoint}</div></div> },
  { key: "state", head: m.approvals.state, value: (a) => a.state, cell: (a) => <><Chip tone={tones[a.state]}>{m.alertState[a.state] ?? a.state}</Chip><div style={{ marginTop: 4 }}><Chip tone={a.state === "recovered" ? "neutral" : a.severity === "critical" ? "bad" : "warn"}>{w.severity[a.severity] ?? a.severity}</Chip></div>{a.until && a.state === "silenced" && <div className="dim small">{w.until} <Time at={a.until} full /></div>}{a.level > 0 && <div className="dim small">{w.passedOn(a.level)}</div>}</> },
  { key: "owner", head: w.owner, value: (a) => a.owner, cell: (a) => a.owner || <span className="dim">{m.none}</span> },
  { key: "opened", head: m.alerts.opened, value: (a) => a.began, cell: (a) => <Time at={a.began} /> },
  { key: "more", head: m.alerts.rowsBehind, cell: (a) => <div className="stack gap4"><Go className="nowrap" to={rowsOf(a.link, a.endpoint)}>{m.alerts.seeRows}</Go>{a.incident && <Go className="nowrap" to={paths.incident(a.incident)}>{w.incident}</Go>}</div> },
  { key: "do", head: <span className="sr">{m.actions}</span>, cell: (a) => <AlertActions alert={a} /> },
];

function AlertActions({ alert: a }: { alert: Alert }) {
  const why = useWhyNot("alert.write");
  const ack = useAck(a.id);
  const silence = useSilence(a.id);
  const release = useRelease(a.id);
  const { field, until } = useUntil();
  if (a.state === "recovered" || a.state === "pending") return null;
  return (
    <span className="row" style={{ flexWrap: "nowrap" }}>
      {a.state === "open" && <ReasonAction size="compact-sm" variant="default" why={why} ask={{ title: m.alerts.ackTitle, confirm: m.alerts.ack, onConfirm: (reason) => ack.mutateAsync(reason) }}>{m.alerts.ack}</ReasonAction>}
      {a.state !== "open" && <ReasonAction size="compact-sm" variant="default" why={why} ask={{ title: w.releaseTitle, confirm: w.release, onConfirm: (reason) => release.mutateAsync(reason) }}>{w.release}</ReasonAction>}
      {a.state !== "silenced" && <ReasonAction size="compact-sm" variant="default" why={why} ask={{ title: m.alerts.silenceTitle, confirm: m.alerts.silence, onConfirm: (reason) => silence.mutateAsync({ reason, until: until() }), children: field }}>{m.alerts.silence}</ReasonAction>}
    </span>
  );
}

export function AlertTable({ rows, empty, boxed, more }: { rows: Alert[]; empty: ReactNode; boxed?: boolean; more?: { has: boolean; load: () => void; busy: boolean } }) {
  return <DataTable boxed={boxed} label={m.alerts.title} rows={rows} columns={columns} rowKey={(a) => a.id} empty={empty} more={more} />;
}

/** Every alert, open ones unless asked otherwise. */
export function AlertsPage() {
  useTopics("alert", "monitor");
  const [state, setState] = useParam("state");
  const query = useAlerts(state);
  return (
    <Page title={m.alerts.title} lead={m.alerts.lead}>
      <div className="toolbar"><FilterSelect name="state" label={m.approvals.state} options={[{ value: "", label: m.approvals.anyState }, ...states.map((s) => ({ value: s, label: m.alertState[s] }))]} /></div>
      <Await query={query}>{(rows) => <AlertTable boxed rows={rows} more={query.more} empty={state ? <Empty action={<Button variant="default" onClick={() => setState("")}>{m.removeFilters}</Button>}>{m.alerts.noMatch}</Empty> : <Empty>{m.alerts.empty}</Empty>} />}</Await>
    </Page>
  );
}
