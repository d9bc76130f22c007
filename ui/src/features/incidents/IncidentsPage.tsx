import { useMutation, useQuery } from "@tanstack/react-query";
import { api, call } from "../../api/client";
import { useWhyNot } from "../../api/me";
import { usePages } from "../../api/query";
import type { Alert, Incident } from "../../api/types";
import { m } from "../../messages";
import { ReasonAction } from "../../ui/Action";
import { Await } from "../../ui/Await";
import { Avatar, Chip, Empty, Facts, Panel, Time, type Tone } from "../../ui/Bits";
import { DataTable, type Column } from "../../ui/DataTable";
import { FilterSelect } from "../../ui/Filter";
import { fixed } from "../../ui/format";
import { Go } from "../../ui/Go";
import { useRefresh, useTopics } from "../../ui/hooks";
import { Page } from "../../ui/Page";
import { pageOf, paths, rowsOf, useParam } from "../../ui/url";
import { Plain } from "../../ui/Verdict";

const w = m.watching;
const states = ["open", "acknowledged", "closed"] as const;
const tones: Record<string, Tone> = { open: "bad", acknowledged: "warn", closed: "neutral" };
const grave: Record<string, Tone> = { high: "bad", medium: "warn", low: "warn" };
const State = ({ state }: { state: Incident["state"] }) => <Chip tone={tones[state]}>{m.incidentState[state] ?? state}</Chip>;
const Severity = ({ of: i }: { of: Incident }) => <Chip tone={i.state === "closed" ? "neutral" : grave[i.severity]}>{w.severity[i.severity] ?? i.severity}</Chip>;

const columns: Column<Incident>[] = [
  { key: "title", head: m.incidents.what, value: (i) => i.title, cell: (i) => <div style={{ minWidth: 220 }}><Go className="rowlink" to={paths.incident(i.id)}>{i.title}</Go><div className="dim">{m.incidentKind[i.kind] ?? i.kind}</div></div> },
  { key: "state", head: m.approvals.state, value: (i) => i.state, cell: (i) => <State state={i.state} /> },
  { key: "severity", head: m.incidents.severity, value: (i) => i.severity, cell: (i) => <Severity of={i} /> },
  { key: "model", head: m.approvals.model, value: (i) => i.model, cell: (i) => (i.model ? <Go to={paths.model(i.model)}>{i.model}</Go> : m.none) },
  { key: "owner", head: w.owner, value: (i) => i.owner, cell: (i) => i.owner || <span className="dim">{m.none}</span> },
  { key: "opened", head: m.approvals.opened, value: (i) => i.opened_at, cell: (i) => <Time at={i.opened_at} /> },
];

/** What went wrong, open ones first as the server gives them. */
export function IncidentsPage() {
  useTopics("incident");
  const [state] = useParam("state");
  const query = usePages<Incident>(["incidents", "list", state], (cursor) => call(api.GET("/api/v1/incidents", { params: { query: { state: states.find((x) => x === state), limit: 100, cursor } } })));
  return (
    <Page title={m.incidents.title} lead={m.incidents.lead}>
      <div className="toolbar"><FilterSelect name="state" label={m.approvals.state} options={[{ value: "", label: m.approvals.anyState }, ...states.map((s) => ({ value: s, label: m.incidentState[s] }))]} /></div>
      <Await query={query}>{(rows) => <DataTable boxed sort="sort" label={m.incidents.title} rows={rows} columns={columns} rowKey={(i) => i.id} more={query.more} empty={<Empty>{m.incidents.empty}</Empty>} />}</Await>
    </Page>
  );
}

/** Parts of the platform are named as such, so that nobody takes "deployment" for a person. */
const parts = ["alert", "deployment", "incident", "inventory", "loader", "monitor", "pipeline", "prediction", "serving"];
const doer = (by: string) => m.doer(by, parts.includes(by) ? "system" : "");

/** One incident: what is over its limit, what changed before, the rows behind it, and its time line, which writes itself. */
export function IncidentPage({ id }: { id: string }) {
  useTopics("incident", `incident:${id}`, "alert");
  const query = useQuery<Incident>({ queryKey: ["incidents", id], queryFn: () => call(api.GET("/api/v1/incidents/{id}", { params: { path: { id } } })) });
  const i = query.data;
  return (
    <Page title={i?.title ?? m.incidents.one} kind={m.incidents.one} crumbs={[{ label: m.incidents.title, to: "/incidents" }]} status={i && <span className="row"><State state={i.state} /><Severity of={i} /></span>} actions={i && <Actions incident={i} />}>
      <Await query={query}>{(x) => (
        <div className="grid2 wide-left" style={{ marginTop: 12 }}>
          <div className="stack gap16">
            <Panel title={m.incidents.story} id="story">
              <p className="quote"><Plain>{x.detail}</Plain></p>
              <ol className="feed">{(x.timeline ?? []).map((t, n) => <li key={n}><Avatar name={doer(t.by)} /><div className="grow"><p className="wrap"><b>{doer(t.by)}</b> <Plain>{t.text}</Plain></p><p className="small dim"><Time at={t.at} full /></p></div></li>)}</ol>
            </Panel>
            {x.facts && <Measured incident={x} />}
            {x.facts && <AlertsOf id={x.id} />}
          </div>
          <div className="stack gap16">
            <Panel title={m.data.about} id="about"><Facts rows={[
              [m.models.kind, m.incidentKind[x.kind] ?? x.kind], [m.approvals.model, x.model ? <Go key="m" to={paths.model(x.model)}>{x.model}</Go> : undefined], [m.deploy.endpoint, x.endpoint ? <Go key="e" to={paths.deployment(x.endpoint)}>{x.endpoint}</Go> : undefined],
              [w.owner, x.owner], [w.began, x.facts ? <Time key="b" at={x.facts.began} /> : undefined], [m.approvals.opened, <Time key="t" at={x.opened_at} />], [w.windows, x.facts ? (x.facts.windows ?? []).length : undefined],
              [w.rows, x.facts?.link ? <Go key="r" to={rowsOf(x.facts.link, x.endpoint)}>{w.seeRows}</Go> : undefined], [m.monitor.title, x.facts && x.model ? <Go key="w" to={paths.monitoring(x.model, { endpoint: x.endpoint })}>{w.seeMonitor}</Go> : undefined],
            ]} /></Panel>
            {x.facts && <Suspects incident={x} />}
          </div>
        </div>
      )}</Await>
    </Page>
  );
}

type Measure = NonNullable<NonNullable<Incident["facts"]>["columns"]>[number];

const measures: Column<Measure>[] = [
  { key: "name", head: w.column, value: (c) => c.name, cell: (c) => <><b className="wrap">{c.name || c.metric}</b>{c.estimated && <div className="dim small">{w.estimate}</div>}</> },
  { key: "value", head: w.value, value: (c) => c.value, right: true, cell: (c) => <>{m.glossary[c.metric] ? <abbr title={m.glossary[c.metric]}>{c.metric.toUpperCase()}</abbr> : c.metric} {fixed(c.value)}</> },
  { key: "limit", head: w.limit, value: (c) => c.limit, right: true, cell: (c) => fixed(c.limit) },
  { key: "importance", head: w.importance, value: (c) => c.importance ?? -1, right: true, cell: (c) => (c.importance === undefined ? <span className="dim">{m.none}</span> : `${(100 * c.importance).toFixed(1)} %`) },
  { key: "windows", head: w.overIn, value: (c) => c.windows, right: true, cell: (c) => c.windows },
  { key: "over", head: w.now, value: (c) => (c.over ? 1 : 0), cell: (c) => <Chip tone={c.over ? "warn" : "ok"}>{c.over ? w.over : w.fine}</Chip> },
];

function Measured({ incident: i }: { incident: Incident }) {
  return <Panel title={w.facts} id="facts" flush><DataTable label={w.facts} rows={i.facts?.columns ?? []} columns={measures} rowKey={(c) => c.key || c.name || c.metric} empty={<Empty>{w.noColumns}</Empty>} /></Panel>;
}

/** The changes before it began; the bar is their weight. */
function Suspects({ incident: i }: { incident: Incident }) {
  const list = i.suspects ?? [];
  return (
    <Panel title={w.suspects} id="suspects">
      <p className="small dim">{w.suspectsHelp}</p>
      {list.length === 0 ? <p style={{ marginTop: 8 }}>{w.noSuspects}</p> : (
        <ol className="feed">{list.map((s) => {
          const page = pageOf(s.object);
          return (
            <li key={s.entry}>
              <span className="nowrap small dim" title={w.likely} style={{ minWidth: 40, textAlign: "right" }}>{Math.round(100 * s.score)} %</span>
              <div className="grow"><p className="wrap">{page ? <Go to={page}>{s.text}</Go> : s.text}</p><p className="small dim"><b>{doer(s.by)}</b> · {s.before === "-" ? w.during : w.before(lasting(s.before))} · <Time at={s.at} /></p></div>
            </li>
          );
        })}</ol>
      )}
    </Panel>
  );
}

/** A duration as Go writes it, in the largest unit that is not 0. */
export function lasting(text: string): string {
  const part = (unit: string) => Number(new RegExp(`(\\d+(?:\\.\\d+)?)${unit}(?![a-z])`).exec(text)?.[1] ?? 0);
  const hours = part("h"), minutes = part("m"), seconds = part("s");
  if (hours >= 48) return `${Math.floor(hours / 24)} d`;
  if (hours) return minutes ? `${hours} h ${minutes} min` : `${hours} h`;
  return minutes ? `${minutes} min` : `${Math.round(seconds)} s`;
}

const alertTones: Record<string, Tone> = { open: "bad", acknowledged: "warn", silenced: "neutral", recovered: "ok" };
const alerts: Column<Alert>[] = [
  { key: "what", head: m.alerts.what, cell: (a) => <div style={{ minWidth: 220 }}><Go className="rowlink" to={paths.monitoring(a.model || a.endpoint, { endpoint: a.endpoint, window: a.window })}><Plain>{a.title}</Plain></Go><div className="dim">{w.cause[a.kind] ?? a.kind}</div></div> },
  { key: "state", head: m.approvals.state, cell: (a) => <><Chip tone={alertTones[a.state]}>{m.alertState[a.state] ?? a.state}</Chip>{a.level > 0 && <div className="dim small">{w.passedOn(a.level)}</div>}</> },
  { key: "owner", head: w.owner, cell: (a) => a.owner || <span className="dim">{m.none}</span> },
  { key: "opened", head: m.alerts.opened, cell: (a) => <Time at={a.began} /> },
];

function AlertsOf({ id }: { id: string }) {
  const query = usePages<Alert>(["alerts", "incident", id], (cursor) => call(api.GET("/api/v1/alerts", { params: { query: { incident: id, limit: 100, cursor } } })));
  return <Panel title={w.alertsOf} id="alerts" flush><Await query={query}>{(rows) => <DataTable label={w.alertsOf} rows={rows} columns={alerts} rowKey={(a) => a.id} more={query.more} empty={<Empty>{w.noAlerts}</Empty>} />}</Await></Panel>;
}

function Actions({ incident: i }: { incident: Incident }) {
  const why = useWhyNot("incident.write");
  const refresh = useRefresh("incidents", "alerts", "audit");
  const params = { params: { path: { id: i.id } } };
  const ack = useMutation({ mutationFn: (reason: string) => call(api.POST("/api/v1/incidents/{id}/ack", { ...params, body: { reason } })), onSuccess: refresh });
  const note = useMutation({ mutationFn: (reason: string) => call(api.POST("/api/v1/incidents/{id}/note", { ...params, body: { reason } })), onSuccess: refresh });
  const close = useMutation({ mutationFn: (reason: string) => call(api.POST("/api/v1/incidents/{id}/close", { ...params, body: { reason } })), onSuccess: refresh });
  const reopen = useMutation({ mutationFn: (reason: string) => call(api.POST("/api/v1/incidents/{id}/reopen", { ...params, body: { reason } })), onSuccess: refresh });
  return (
    <>
      <ReasonAction variant="default" why={why} ask={{ title: w.noteTitle, confirm: w.note, onConfirm: (r) => note.mutateAsync(r) }}>{w.note}</ReasonAction>
      {i.state === "open" && <ReasonAction variant="default" why={why} ask={{ title: m.incidents.ackTitle, confirm: m.incidents.ack, onConfirm: (r) => ack.mutateAsync(r) }}>{m.incidents.ack}</ReasonAction>}
      {i.state === "closed"
        ? <ReasonAction why={why} ask={{ title: w.reopenTitle, confirm: w.reopen, onConfirm: (r) => reopen.mutateAsync(r) }}>{w.reopen}</ReasonAction>
        : <ReasonAction why={why} ask={{ title: m.incidents.closeTitle, confirm: m.incidents.close, onConfirm: (r) => close.mutateAsync(r) }}>{m.incidents.close}</ReasonAction>}
    </>
  );
}
