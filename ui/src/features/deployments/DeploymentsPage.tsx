import type { ReactNode } from "react";
import type { Deployment } from "../../api/types";
import { m } from "../../messages";
import { Await } from "../../ui/Await";
import { Chip, Command, Empty, Facts, Panel, Time, type Tone } from "../../ui/Bits";
import { DataTable, type Column } from "../../ui/DataTable";
import { FilterSelect } from "../../ui/Filter";
import { Go } from "../../ui/Go";
import { useTopics } from "../../ui/hooks";
import { Note } from "../../ui/Note";
import { Page } from "../../ui/Page";
import { Traffic } from "../../ui/Traffic";
import { paths, useParam } from "../../ui/url";
import { useDeployment, useDeployments } from "./api";
import { Operations, RollBack } from "./Operate";

const tones: Record<string, Tone> = { live: "ok", rolling: "info", pending: "info", suspended: "warn", failed: "bad", retired: "neutral" };

export function DeploymentChip({ state }: { state: Deployment["state"] }) {
  return <Chip tone={tones[state]} glyph={state === "retired" ? "⊘" : undefined}>{m.deploymentState[state] ?? state}</Chip>;
}

const columns: Column<Deployment>[] = [
  { key: "endpoint", head: m.deploy.endpoint, value: (d) => d.endpoint, cell: (d) => <><Go className="rowlink" to={paths.deployment(d.endpoint)}>{d.endpoint}</Go><div className="dim small mono">{d.url}</div></> },
  { key: "state", head: m.approvals.state, value: (d) => d.state, cell: (d) => <DeploymentChip state={d.state} /> },
  { key: "model", head: m.approvals.model, value: (d) => d.model, cell: (d) => <Go to={paths.model(d.model)}>{d.model}</Go> },
  { key: "environment", head: m.approvals.environment, value: (d) => d.environment, cell: (d) => d.environment },
  { key: "traffic", head: m.deploy.traffic, cell: (d) => <Traffic slots={d.slots ?? []} /> },
  { key: "changed", head: m.deploy.changed, value: (d) => d.updated_at, cell: (d) => <Time at={d.updated_at} /> },
  { key: "do", head: <span className="sr">{m.actions}</span>, cell: (d) => <RollBack deployment={d} small /> },
];

export function DeploymentTable({ rows, empty }: { rows: Deployment[]; empty: ReactNode }) {
  return <DataTable boxed sort="sort" label={m.deploy.title} rows={rows} columns={columns} rowKey={(d) => d.endpoint} empty={empty} />;
}

/** Everything that answers calls. */
export function DeploymentsPage() {
  useTopics("deployment");
  const [env] = useParam("environment");
  const query = useDeployments();
  const environments = [...new Set((query.data ?? []).map((d) => d.environment))].sort();
  return (
    <Page title={m.deploy.title} lead={m.deploy.lead}>
      <div className="toolbar"><FilterSelect name="environment" label={m.approvals.environment} options={[{ value: "", label: m.deploy.anyEnvironment }, ...environments.map((e) => ({ value: e, label: e }))]} /></div>
      <Await query={query}>{(all) => <DeploymentTable rows={all.filter((d) => !env || d.environment === env)} empty={<Empty command="keelson deploy create model.json --name my-model --to dev">{m.deploy.empty}</Empty>} />}</Await>
    </Page>
  );
}

/** The deployments of one model, for its page. */
export function ModelDeployments({ model }: { model: string }) {
  const query = useDeployments();
  return <Await query={query}>{(all) => <DeploymentTable rows={all.filter((d) => d.model === model)} empty={<Empty command={`keelson deploy create --name ${model} --to dev`}>{m.deploy.noneForModel(model)}</Empty>} />}</Await>;
}

type Release = NonNullable<Deployment["releases"]>[number];

/** One endpoint: traffic, releases, how to call it. */
export function DeploymentPage({ endpoint }: { endpoint: string }) {
  useTopics("deployment", `deployment:${endpoint}`);
  const query = useDeployment(endpoint);
  const d = query.data;
  const releases: Column<Release>[] = [
    { key: "serial", head: m.deploy.serial, right: true, cell: (r) => r.serial },
    { key: "slots", head: m.deploy.traffic, cell: (r) => <Traffic slots={r.slots ?? []} /> },
    { key: "state", head: m.approvals.state, cell: (r) => r.state ?? m.none },
    { key: "reason", head: m.reason, cell: (r) => <span className="wrap">{r.request ? <Go to={paths.approval(r.request)}>{m.deploy.byRequest}</Go> : m.none} {r.signed === false && <Chip tone="bad">{m.deploy.notSigned}</Chip>}</span> },
    { key: "at", head: m.created, cell: (r) => <Time at={r.issued_at} full /> },
  ];
  return (
    <Page title={endpoint} kind={m.deploy.kind} crumbs={[{ label: m.deploy.title, to: paths.deployments }]} status={d && <DeploymentChip state={d.state} />} lead={d?.words || undefined} actions={d && <Operations deployment={d} />}>
      <Await query={query}>{(x) => (
        <div className="stack gap16" style={{ marginTop: 12 }}>
          {x.broken && <Note tone="bad" title={m.deploy.broken}><p>{x.broken}</p></Note>}
          {x.state === "suspended" && <Note tone="warn" title={m.deploy.suspendedNote} />}
          <div className="grid2">
            <Panel title={m.deploy.traffic} id="traffic"><div className="stack gap16"><Traffic slots={x.slots ?? []} /><Facts rows={[[m.approvals.model, <Go key="m" to={paths.model(x.model)}>{x.model}</Go>], [m.approvals.environment, x.environment], [m.deploy.previous, x.previous?.version ? <Go key="p" to={paths.version(x.model, x.previous.version)}>v{x.previous.version}</Go> : m.none], [m.deploy.durability, m.durability[x.durability] ?? x.durability], [m.deploy.changed, <Time key="t" at={x.updated_at} />]]} /></div></Panel>
            <Panel title={m.deploy.call} id="call"><div className="stack"><p className="dim">{m.deploy.callHelp}</p><Command>{`curl -H "Authorization: Bearer $KEELSON_TOKEN" -d @rows.json ${location.origin}${x.url}`}</Command><p className="row"><Go to={paths.predictions({ endpoint })}>{m.deploy.seeCalls}</Go><Go to={paths.monitoring(x.model, { endpoint })}>{m.model.toMonitoring}</Go></p></div></Panel>
          </div>
          <Panel title={m.deploy.releases} id="releases" flush><DataTable label={m.deploy.releases} rows={x.releases ?? []} columns={releases} rowKey={(r) => String(r.serial)} empty={<Empty>{m.deploy.noReleases}</Empty>} /></Panel>
        </div>
      )}</Await>
    </Page>
  );
}
