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
import { fixed } from "../../ui/format";
import { Go } from "../../ui/Go";
import { useTopics } from "../../ui/hooks";
import { Page } from "../../ui/Page";
import { paths, useParam } from "../../ui/url";
import { states, useAck, useAlerts, useSilence } from "./api";

const tones: Record<string, Tone> = { open: "bad", acknowledged: "warn", silenced: "neutral", recovered: "ok" };

/** The page with the rows an alert was computed from. */
function rowsOf(a: Alert): string {
  const at = a.link?.indexOf("?") ?? -1;
  return at >= 0 ? `/predictions${a.link.slice(at)}` : paths.predictions({ endpoint: a.endpoint });
}

const columns: Column<Alert>[] = [
  { key: "what", head: m.alerts.what, value: (a) => `${a.endpoint} ${a.feature}`, cell: (a) => <div style={{ minWidth: 210 }}><Go className="rowlink" to={paths.monitoring(a.model || a.endpoint, { endpoint: a.endpoint, window: a.window, feature: a.feature })}>{a.title || (a.feature ? m.alerts.moved(a.feature) : m.alerts.metric(a.metric))}</Go><div className="dim">{a.endpoint}</div></div> },
  { key: "state", head: m.approvals.state, value: (a) => a.state, cell: (a) => <><Chip tone={tones[a.state]}>{m.alertState[a.state] ?? a.state}</Chip>{a.by && <div className="dim small">{a.by}</div>}</> },
  { key: "value", head: m.alerts.value, value: (a) => a.value, right: true, cell: (a) => <span title={m.glossary[a.metric]}>{a.metric} {fixed(a.value)}</span> },
  { key: "limit", head: m.alerts.limit, value: (a) => a.limit, right: true, cell: (a) => fixed(a.limit) },
  { key: "opened", head: m.alerts.opened, value: (a) => a.opened_at, cell: (a) => <Time at={a.opened_at} /> },
  { key: "rows", head: m.alerts.rowsBehind, cell: (a) => <Go className="nowrap" to={rowsOf(a)}>{m.alerts.seeRows}</Go> },
  { key: "do", head: <span className="sr">{m.actions}</span>, cell: (a) => <AlertActions alert={a} /> },
];

function AlertActions({ alert: a }: { alert: Alert }) {
  const why = useWhyNot("alert.write");
  const ack = useAck(a.id);
  const silence = useSilence(a.id);
  if (a.state !== "open" && a.state !== "acknowledged") return null;
  const day = () => new Date(Date.now() + 24 * 3600_000).toISOString();
  return (
    <span className="row" style={{ flexWrap: "nowrap" }}>
      {a.state === "open" && <ReasonAction size="compact-sm" variant="default" why={why} ask={{ title: m.alerts.ackTitle, confirm: m.alerts.ack, onConfirm: (reason) => ack.mutateAsync(reason) }}>{m.alerts.ack}</ReasonAction>}
      <ReasonAction size="compact-sm" variant="default" why={why} ask={{ title: m.alerts.silenceTitle, confirm: m.alerts.silence, onConfirm: (reason) => silence.mutateAsync({ reason, until: day() }) }}>{m.alerts.silence}</ReasonAction>
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
