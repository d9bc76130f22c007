import { useMutation, useQuery } from "@tanstack/react-query";
import { api, call } from "../../api/client";
import { useWhyNot } from "../../api/me";
import { usePages } from "../../api/query";
import type { Incident } from "../../api/types";
import { m } from "../../messages";
import { ReasonAction } from "../../ui/Action";
import { Await } from "../../ui/Await";
import { Avatar, Chip, Empty, Facts, Panel, Time, type Tone } from "../../ui/Bits";
import { DataTable, type Column } from "../../ui/DataTable";
import { FilterSelect } from "../../ui/Filter";
import { Go } from "../../ui/Go";
import { useRefresh, useTopics } from "../../ui/hooks";
import { Page } from "../../ui/Page";
import { paths, useParam } from "../../ui/url";

const states = ["open", "acknowledged", "closed"] as const;
const tones: Record<string, Tone> = { open: "bad", acknowledged: "warn", closed: "neutral" };
const State = ({ state }: { state: Incident["state"] }) => <Chip tone={tones[state]}>{m.incidentState[state] ?? state}</Chip>;

const columns: Column<Incident>[] = [
  { key: "title", head: m.incidents.what, value: (i) => i.title, cell: (i) => <div style={{ minWidth: 220 }}><Go className="rowlink" to={paths.incident(i.id)}>{i.title}</Go><div className="dim">{m.incidentKind[i.kind] ?? i.kind}</div></div> },
  { key: "state", head: m.approvals.state, value: (i) => i.state, cell: (i) => <State state={i.state} /> },
  { key: "severity", head: m.incidents.severity, value: (i) => i.severity, cell: (i) => i.severity },
  { key: "model", head: m.approvals.model, value: (i) => i.model, cell: (i) => (i.model ? <Go to={paths.model(i.model)}>{i.model}</Go> : m.none) },
  { key: "owner", head: m.models.owner, value: (i) => i.owner, cell: (i) => i.owner || <span className="dim">{m.none}</span> },
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

/** One incident with its time line; who takes it and who closes it. */
export function IncidentPage({ id }: { id: string }) {
  useTopics("incident", `incident:${id}`);
  const query = useQuery<Incident>({ queryKey: ["incidents", id], queryFn: () => call(api.GET("/api/v1/incidents/{id}", { params: { path: { id } } })) });
  const i = query.data;
  return (
    <Page title={i?.title ?? m.incidents.one} kind={m.incidents.one} crumbs={[{ label: m.incidents.title, to: "/incidents" }]} status={i && <State state={i.state} />} actions={i && <Actions incident={i} />}>
      <Await query={query}>{(x) => (
        <div className="grid2 wide-left" style={{ marginTop: 12 }}>
          <Panel title={m.incidents.story} id="story"><p className="quote">{x.detail}</p><ol className="feed">{(x.timeline ?? []).map((t, n) => <li key={n}><Avatar name={t.by} /><div className="grow"><p className="wrap"><b>{t.by}</b> {t.text}</p><p className="small dim"><Time at={t.at} full /></p></div></li>)}</ol></Panel>
          <Panel title={m.data.about} id="about"><Facts rows={[[m.models.kind, m.incidentKind[x.kind] ?? x.kind], [m.incidents.severity, x.severity], [m.approvals.model, x.model ? <Go key="m" to={paths.model(x.model)}>{x.model}</Go> : undefined], [m.deploy.endpoint, x.endpoint ? <Go key="e" to={paths.deployment(x.endpoint)}>{x.endpoint}</Go> : undefined], [m.models.owner, x.owner], [m.approvals.opened, <Time key="t" at={x.opened_at} full />]]} /></Panel>
        </div>
      )}</Await>
    </Page>
  );
}

function Actions({ incident: i }: { incident: Incident }) {
  const why = useWhyNot("incident.write");
  const refresh = useRefresh("incidents", "audit");
  const ack = useMutation({ mutationFn: (reason: string) => call(api.POST("/api/v1/incidents/{id}/ack", { params: { path: { id: i.id } }, body: { reason } })), onSuccess: refresh });
  const close = useMutation({ mutationFn: (reason: string) => call(api.POST("/api/v1/incidents/{id}/close", { params: { path: { id: i.id } }, body: { reason } })), onSuccess: refresh });
  if (i.state === "closed") return null;
  return (
    <>
      {i.state === "open" && <ReasonAction variant="default" why={why} ask={{ title: m.incidents.ackTitle, confirm: m.incidents.ack, onConfirm: (r) => ack.mutateAsync(r) }}>{m.incidents.ack}</ReasonAction>}
      <ReasonAction why={why} ask={{ title: m.incidents.closeTitle, confirm: m.incidents.close, onConfirm: (r) => close.mutateAsync(r) }}>{m.incidents.close}</ReasonAction>
    </>
  );
}
