import type { Deployment } from "../../api/types";
import { m } from "../../messages";
import { Await } from "../../ui/Await";
import { Chip, Command, Empty, Facts, Panel, Time } from "../../ui/Bits";
import { DataTable, type Column } from "../../ui/DataTable";
import { Go } from "../../ui/Go";
import { useTopics } from "../../ui/hooks";
import { Note } from "../../ui/Note";
import { Page, Tabs } from "../../ui/Page";
import { Traffic } from "../../ui/Traffic";
import { paths, useParam } from "../../ui/url";
import { useDeployment } from "./api";
import { LogPanel } from "./LogPanel";
import { Operations } from "./Operate";
import { TrafficPanel } from "./TrafficPanel";
import { TryIt } from "./TryIt";
import { DeploymentChip, LastChange } from "./words";

type Release = NonNullable<Deployment["releases"]>[number];

const releases: Column<Release>[] = [
  { key: "serial", head: m.deploy.serial, right: true, cell: (r) => r.serial },
  { key: "slots", head: m.deploy.traffic, cell: (r) => <Traffic slots={r.slots ?? []} /> },
  { key: "state", head: m.approvals.state, cell: (r) => r.state ?? m.none },
  { key: "reason", head: m.reason, cell: (r) => <span style={{ display: "inline-block", minWidth: 120 }}>{r.request ? <Go to={paths.approval(r.request)}>{m.deploy.byRequest}</Go> : m.none} {r.signed === false && <Chip tone="bad">{m.deploy.notSigned}</Chip>}</span> },
  { key: "at", head: m.created, cell: (r) => <Time at={r.issued_at} full /> },
];

const tabs = ["traffic", "try", "log", "releases"] as const;

/** One endpoint: how it is called, a form to call it, its log, its releases. */
export function DeploymentPage({ endpoint }: { endpoint: string }) {
  useTopics("deployment", `deployment:${endpoint}`);
  const query = useDeployment(endpoint);
  const [asked] = useParam("tab");
  const tab = tabs.find((t) => t === asked) ?? "traffic";
  const d = query.data;
  const to = (t: string) => paths.deployment(endpoint) + (t === "traffic" ? "" : `?tab=${t}`);
  return (
    <Page title={endpoint} kind={m.deploy.kind} crumbs={[{ label: m.deploy.title, to: paths.deployments }]} status={d && <DeploymentChip state={d.state} />} lead={d?.words || undefined} actions={d && <Operations deployment={d} />}>
      <Tabs label={m.serving.tabsOf(endpoint)} tabs={tabs.map((t) => ({ to: to(t), label: m.serving.tabs[t], current: t === tab }))} />
      <Await query={query}>{(x) => (
        <div className="stack gap16">
          {x.broken && <Note tone="bad" title={m.deploy.broken}><p>{x.broken}</p></Note>}
          {x.state === "suspended" && <Note tone="warn" title={m.deploy.suspendedNote} />}
          {tab === "traffic" && <><TrafficPanel deployment={x} /><About d={x} /></>}
          {tab === "try" && <TryIt deployment={x} />}
          {tab === "log" && <LogPanel endpoint={endpoint} />}
          {tab === "releases" && <Panel title={m.deploy.releases} id="releases" flush><DataTable label={m.deploy.releases} rows={x.releases ?? []} columns={releases} rowKey={(r) => String(r.serial)} empty={<Empty>{m.deploy.noReleases}</Empty>} /></Panel>}
        </div>
      )}</Await>
    </Page>
  );
}

function About({ d: x }: { d: Deployment }) {
  const endpoint = x.endpoint;
  return (
    <div className="grid2">
      <Panel title={m.serving.about} id="about"><div className="stack gap16"><Traffic slots={x.slots ?? []} /><Facts rows={[[m.approvals.model, <Go key="m" to={paths.model(x.model)}>{x.model}</Go>], [m.approvals.environment, x.environment], [m.deploy.previous, x.previous?.version ? <Go key="p" to={paths.version(x.model, x.previous.version)}>v{x.previous.version}</Go> : m.none], [m.deploy.durability, m.durability[x.durability] ?? x.durability], [m.deploy.redact, (x.redact ?? []).map((c) => (c.startsWith("hash:") ? m.deploy.redactHash(c.slice(5)) : c)).join(", ") || m.deploy.redactNone], [m.serving.change, <LastChange key="t" d={x} />]]} /></div></Panel>
      <Panel title={m.deploy.call} id="call"><div className="stack"><p className="dim">{m.deploy.callHelp}</p><Command>{`curl -H "Authorization: Bearer $KEELSON_TOKEN" -d @rows.json ${location.origin}${x.url}`}</Command><p className="row"><Go to={paths.deployment(endpoint) + "?tab=try"}>{m.serving.tabs.try}</Go><Go to={paths.predictions({ endpoint })}>{m.deploy.seeCalls}</Go><Go to={paths.monitoring(x.model, { endpoint })}>{m.model.toMonitoring}</Go><a href={x.url.replace(/infer$/, "openapi.json")}>{m.deploy.openapi}</a></p></div></Panel>
    </div>
  );
}
