import { Button } from "@mantine/core";
import { useMemo, type ReactNode } from "react";
import type { Deployment, TrafficSummary } from "../../api/types";
import { m } from "../../messages";
import { Await } from "../../ui/Await";
import { Empty } from "../../ui/Bits";
import { Spark } from "../../ui/charts/Spark";
import { DataTable, type Column } from "../../ui/DataTable";
import { FilterBox, FilterSelect } from "../../ui/Filter";
import { count, micros, percent, perTime } from "../../ui/format";
import { Go } from "../../ui/Go";
import { useTopics } from "../../ui/hooks";
import { ProblemNote } from "../../ui/Note";
import { Page } from "../../ui/Page";
import { Traffic } from "../../ui/Traffic";
import { paths, useParam, useSetParams } from "../../ui/url";
import { useDeployments, useSummaries } from "./api";
import { RollBack } from "./Operate";
import { DeploymentChip, LastChange } from "./words";

export { DeploymentChip } from "./words";

interface Row { d: Deployment; t?: TrafficSummary }

const errorShare = ({ t }: Row) => (t && t.hour.calls + t.hour.errors > 0 ? t.hour.errors / (t.hour.calls + t.hour.errors) : 0);

const columns: Column<Row>[] = [
  { key: "endpoint", head: m.deploy.endpoint, value: ({ d }) => d.endpoint, cell: ({ d }) => <><Go className="rowlink" to={paths.deployment(d.endpoint)}>{d.endpoint}</Go><div className="dim small"><Go to={paths.model(d.model)}>{d.model}</Go> · {d.environment}</div></> },
  { key: "state", head: m.serving.stateAndTraffic, name: "state", value: ({ d }) => d.state, cell: ({ d }) => <div className="stack gap4"><span><DeploymentChip state={d.state} /></span>{(d.slots ?? []).length > 0 && <Traffic slots={d.slots ?? []} />}</div> },
  { key: "rate", head: m.serving.lastHour, name: "rate", value: ({ t }) => t?.rate ?? 0, cell: ({ d, t }) => <Calls endpoint={d.endpoint} t={t} /> },
  { key: "p95", head: m.serving.latency, name: "p95_us", right: true, value: ({ t }) => t?.hour.p95_us ?? null, cell: ({ t }) => (t?.hour.p50_us ? <>{micros(t.hour.p50_us)}<div className="dim">{micros(t.hour.p95_us ?? 0)}</div></> : <span className="dim">{m.none}</span>) },
  { key: "errors", head: m.serving.errors, right: true, value: ({ t }) => t?.hour.errors ?? 0, cell: (r) => <Errors r={r} /> },
  { key: "nodes", head: m.serving.servedBy, name: "processes", value: ({ t }) => t?.nodes ?? 0, cell: (r) => <Served r={r} /> },
  { key: "changed", head: m.deploy.changed, value: ({ d }) => d.change.at, cell: ({ d }) => <div className="stack gap4"><div><LastChange d={d} /></div>{d.previous?.version && <div><RollBack deployment={d} small /></div>}</div> },
];

function Calls({ endpoint, t }: { endpoint: string; t?: TrafficSummary }) {
  if (!t || t.hour.calls + t.hour.errors + t.hour.refused === 0) return <span className="dim">{m.serving.noCalls}</span>;
  const spark = t.spark ?? [];
  return <span className="row nowrap" style={{ flexWrap: "nowrap" }}><Spark counts={spark} label={m.serving.spark(endpoint, count(t.hour.calls), count(Math.max(...spark)))} /><span className="num"><span className="nowrap">{perTime(t.rate)}</span><div className="dim small nowrap">{m.serving.nCalls(t.hour.calls, count(t.hour.calls))}</div></span></span>;
}

function Errors({ r }: { r: Row }) {
  if (!r.t) return <span className="dim">{m.none}</span>;
  const { errors, refused } = r.t.hour;
  return <><span className={errors ? "bad bold" : undefined} title={m.serving.share(percent(errorShare(r), 1))}>{count(errors)}</span>{errors > 0 && <div className="dim">{percent(errorShare(r), 1)}</div>}{refused > 0 && <div className="warn">{m.serving.refused(count(refused))}</div>}</>;
}

function Served({ r: { d, t } }: { r: Row }) {
  if (!t?.nodes) return d.state === "retired" ? <span className="dim">{m.none}</span> : <span className={d.state === "live" || d.state === "rolling" ? "warn" : "dim"}>{m.serving.nowhere}</span>;
  return <>{t.troubled > 0 ? <span className="bad">▲ {m.serving.troubled(t.troubled, t.nodes)}</span> : m.serving.processes(t.nodes)}{(t.engines ?? []).length > 0 && <div className="dim small">{(t.engines ?? []).join(", ")}</div>}</>;
}

export function DeploymentTable({ rows, empty }: { rows: Deployment[]; empty: ReactNode }) {
  const traffic = useSummaries();
  const shown = useMemo(() => rows.map((d) => ({ d, t: traffic.data?.get(d.endpoint) })), [rows, traffic.data]);
  return (
    <>
      {!!traffic.error && <ProblemNote problem={traffic.error} retry={() => void traffic.refetch()} />}
      <DataTable boxed sort="sort" label={m.deploy.title} rows={shown} columns={columns} rowKey={({ d }) => d.endpoint} empty={empty} />
    </>
  );
}

/** What a person may look for in a deployment. */
const wordsOf = (d: Deployment) => [d.endpoint, d.model, d.environment, ...(d.slots ?? []).map((s) => `v${s.version}`)].join(" ").toLowerCase();

/** Everything that answers calls. */
export function DeploymentsPage() {
  useTopics("deployment");
  const [env] = useParam("environment");
  const [state] = useParam("state");
  const [q] = useParam("q");
  const put = useSetParams();
  const query = useDeployments();
  const environments = [...new Set((query.data ?? []).map((d) => d.environment))].sort();
  const states = [...new Set((query.data ?? []).map((d) => d.state))].sort();
  const wanted = q.toLowerCase().split(/\s+/).filter(Boolean);
  const chosen = (all: Deployment[]) => all.filter((d) => (!env || d.environment === env) && (!state || d.state === state) && wanted.every((w) => wordsOf(d).includes(w)));
  const filtered = !!env || !!state || wanted.length > 0;
  return (
    <Page title={m.deploy.title} lead={m.deploy.lead}>
      <div className="toolbar">
        <FilterBox name="q" label={m.serving.find} width={330} />
        <FilterSelect name="environment" label={m.approvals.environment} options={[{ value: "", label: m.deploy.anyEnvironment }, ...environments.map((e) => ({ value: e, label: e }))]} />
        <FilterSelect name="state" label={m.approvals.state} options={[{ value: "", label: m.serving.anyState }, ...states.map((e) => ({ value: e, label: m.deploymentState[e] ?? e }))]} />
        {query.data && <span className="end small dim" role="status">{m.serving.nDeployments(chosen(query.data).length, query.data.length)}</span>}
      </div>
      <Await query={query}>{(all) => <DeploymentTable rows={chosen(all)} empty={filtered && all.length > 0
        ? <Empty action={<Button variant="default" onClick={() => put({ q: "", environment: "", state: "" })}>{m.removeFilters}</Button>}>{m.serving.noMatch}</Empty>
        : <Empty command="keelson deploy create model.json --name my-model --to dev">{m.deploy.empty}</Empty>} />}</Await>
    </Page>
  );
}

/** The deployments of one model, for its page. */
export function ModelDeployments({ model }: { model: string }) {
  const query = useDeployments();
  return <Await query={query}>{(all) => <DeploymentTable rows={all.filter((d) => d.model === model)} empty={<Empty command={`keelson deploy create --name ${model} --to dev`}>{m.deploy.noneForModel(model)}</Empty>} />}</Await>;
}
