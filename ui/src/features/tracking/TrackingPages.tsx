import { useQuery } from "@tanstack/react-query";
import { api, call, items } from "../../api/client";
import { usePages } from "../../api/query";
import type { Experiment, Run } from "../../api/types";
import { m } from "../../messages";
import { Await } from "../../ui/Await";
import { Chip, Empty, Facts, Id, Panel, Time, type Tone } from "../../ui/Bits";
import { DataTable, ExportCSV, type Column } from "../../ui/DataTable";
import { FilterBox } from "../../ui/Filter";
import { bytes, duration, number, text } from "../../ui/format";
import { Go } from "../../ui/Go";
import { useTopics } from "../../ui/hooks";
import { Page } from "../../ui/Page";
import { Source } from "../../ui/Source";
import { paths, useParam } from "../../ui/url";

const tones: Record<string, Tone> = { finished: "ok", running: "info", failed: "bad", killed: "warn", scheduled: "neutral" };

function StatusChip({ status }: { status: string }) {
  return <Chip tone={tones[status]}>{m.trackingState[status] ?? status}</Chip>;
}

/** Experiments, then the newest runs of all of them. */
export function ExperimentsPage() {
  useTopics("run", "experiment");
  const query = useQuery<Experiment[]>({ queryKey: ["experiments"], queryFn: async () => items(await call(api.GET("/api/v1/experiments", { params: { query: { limit: 200 } } }))) });
  const columns: Column<Experiment>[] = [
    { key: "name", head: m.name, value: (e) => e.name, cell: (e) => <Go className="rowlink" to={paths.experiment(e.id)}>{e.name}</Go> }, { key: "runs", head: m.tracking.runs, value: (e) => e.runs, right: true, cell: (e) => e.runs }, { key: "last", head: m.tracking.lastRun, value: (e) => e.last_run_at, cell: (e) => <Time at={e.last_run_at} /> },
  ];
  return (
    <Page title={m.tracking.title} lead={m.tracking.lead}>
      <div className="stack gap16">
        <Await query={query} lines={3}>{(rows) => <DataTable boxed sort="sort" label={m.tracking.title} rows={rows} columns={columns} rowKey={(e) => e.id} empty={<Empty command={`export MLFLOW_TRACKING_URI=${location.origin}`}>{m.tracking.empty}</Empty>} />}</Await>
        <Panel title={m.tracking.recent} id="recent" flush><Runs experiment="" /></Panel>
      </div>
    </Page>
  );
}

/** A metric as a number to sort by; NaN and infinities come as words. */
const measure = (v: unknown) => (typeof v === "number" ? v : null);
const shown = (v: unknown, digits = 4) => (typeof v === "number" ? number(v, digits) : text(v));

/** The metrics most runs have, at most four, so that a new metric does not rearrange the table. */
function common(runs: Run[]): string[] {
  const seen = new Map<string, number>();
  for (const r of runs) for (const k of Object.keys(r.metrics ?? {})) seen.set(k, (seen.get(k) ?? 0) + 1);
  return [...seen].sort((a, b) => b[1] - a[1] || a[0].localeCompare(b[0])).slice(0, 4).map(([k]) => k);
}

function Runs({ experiment, boxed }: { experiment: string; boxed?: boolean }) {
  const [filter] = useParam("filter");
  const query = usePages<Run>(["runs", experiment], (cursor) => call(api.GET("/api/v1/runs", { params: { query: { experiment: experiment || undefined, limit: 50, cursor } } })));
  const metrics = common(query.data ?? []);
  const columns: Column<Run>[] = [
    { key: "name", head: m.tracking.run, value: (r) => r.name, cell: (r) => <Go className="rowlink" to={paths.trackingRun(r.id)}>{r.name || r.id.slice(0, 8)}</Go> },
    { key: "status", head: m.approvals.state, value: (r) => r.status, cell: (r) => <StatusChip status={r.status} /> },
    ...metrics.map((k): Column<Run> => ({ key: `metric.${k}`, head: k, value: (r) => measure(r.metrics?.[k]), right: true, cell: (r) => shown(r.metrics?.[k]) })),
    { key: "user", head: m.tracking.user, value: (r) => r.user, cell: (r) => r.user },
    { key: "data", head: m.tracking.data, cell: (r) => <span className="row">{(r.inputs ?? []).map((i) => <Go key={i.dataset + i.version} to={paths.dataset(i.dataset, i.version)}>{i.dataset} v{i.version}</Go>)}</span> },
    { key: "started", head: m.pipeline.started, value: (r) => r.started_at, cell: (r) => <Time at={r.started_at} /> },
    { key: "took", head: m.pipeline.took, right: true, cell: (r) => duration(r.started_at, r.ended_at) },
  ];
  const rows = (query.data ?? []).filter((r) => (r.name + r.user + r.status + JSON.stringify(r.params)).toLowerCase().includes(filter.toLowerCase()));
  return (
    <>
      {boxed && <div className="toolbar"><FilterBox name="filter" label={m.tracking.filter} /><span className="end"><ExportCSV name="runs" rows={rows} columns={columns} /></span></div>}
      <Await query={query}>{() => <DataTable boxed={boxed} sort="sort" label={m.tracking.runs} rows={rows} columns={columns} rowKey={(r) => r.id} more={query.more} empty={<Empty command={`export MLFLOW_TRACKING_URI=${location.origin}`}>{m.tracking.noRuns}</Empty>} />}</Await>
    </>
  );
}

export function ExperimentPage({ id }: { id: string }) {
  useTopics("run", `experiment:${id}`);
  const query = useQuery<Experiment[]>({ queryKey: ["experiments"], queryFn: async () => items(await call(api.GET("/api/v1/experiments", { params: { query: { limit: 200 } } }))) });
  const name = query.data?.find((e) => e.id === id || e.name === id)?.name ?? id;
  return <Page title={name} kind={m.tracking.experiment} crumbs={[{ label: m.tracking.title, to: "/experiments" }]}><div style={{ marginTop: 12 }}><Runs experiment={id} boxed /></div></Page>;
}

/** One run: parameters, metrics, artifacts, data, code. */
export function TrackingRunPage({ id }: { id: string }) {
  useTopics("run", `run:${id}`);
  const query = useQuery<Run>({ queryKey: ["runs", "one", id], queryFn: () => call(api.GET("/api/v1/runs/{id}", { params: { path: { id } } })) });
  const r = query.data;
  return (
    <Page title={r?.name || id.slice(0, 8)} kind={m.tracking.runKind} crumbs={[{ label: m.tracking.title, to: "/experiments" }, ...(r?.experiment ? [{ label: r.experiment, to: paths.experiment(r.experiment) }] : [])]} status={r && <StatusChip status={r.status} />}>
      <Await query={query}>{(run) => (
        <div className="stack gap16" style={{ marginTop: 12 }}>
          <Panel title={m.tracking.about} id="about"><Facts rows={[[m.tracking.user, run.user], [m.pipeline.started, <Time key="s" at={run.started_at} full />], [m.pipeline.took, duration(run.started_at, run.ended_at)], [m.version.source, <Source key="c" source={run.source} />], [m.pipeline.environment, run.environment?.digest ? <Id key="e" value={run.environment.digest} what={m.version.digest} /> : undefined],
            [m.tracking.data, (run.inputs ?? []).length ? <span key="d" className="row">{(run.inputs ?? []).map((i) => <Go key={i.dataset + i.version} to={paths.dataset(i.dataset, i.version)}>{i.dataset} v{i.version}</Go>)}</span> : undefined], [m.tracking.pipelineRun, run.pipeline_run ? <Go key="p" to={`/pipelines/-/runs/${run.pipeline_run}`}>{run.pipeline_run.slice(-8)}</Go> : undefined], [m.id, <Id key="i" value={run.id} />]]} /></Panel>
          <div className="grid2">
            <Panel title={m.tracking.metrics} id="metrics" flush><DataTable label={m.tracking.metrics} rows={Object.entries(run.metrics ?? {})} rowKey={(e) => e[0]} empty={<Empty>{m.tracking.noMetrics}</Empty>} columns={[{ key: "k", head: m.name, cell: (e) => e[0] }, { key: "v", head: m.version.value, right: true, cell: (e) => shown(e[1], 6) }]} /></Panel>
            <Panel title={m.tracking.params} id="params" flush><DataTable label={m.tracking.params} rows={Object.entries(run.params ?? {})} rowKey={(e) => e[0]} empty={<Empty>{m.tracking.noParams}</Empty>} columns={[{ key: "k", head: m.name, cell: (e) => e[0] }, { key: "v", head: m.version.value, cell: (e) => <span className="mono wrap">{e[1]}</span> }]} /></Panel>
            <Panel title={m.tracking.artifacts} id="artifacts" flush><DataTable label={m.tracking.artifacts} rows={run.artifacts ?? []} rowKey={(a) => a.path} empty={<Empty>{m.tracking.noArtifacts}</Empty>} columns={[{ key: "p", head: m.version.path, cell: (a) => <code className="wrap">{a.path}</code> }, { key: "s", head: m.version.size, right: true, cell: (a) => bytes(a.size ?? 0) }]} /></Panel>
            <Panel title={m.model.tags} id="tags" flush><DataTable label={m.model.tags} rows={Object.entries(run.tags ?? {})} rowKey={(e) => e[0]} empty={<Empty>{m.tracking.noTags}</Empty>} columns={[{ key: "k", head: m.name, cell: (e) => <span className="wrap">{e[0]}</span> }, { key: "v", head: m.version.value, cell: (e) => <span className="wrap">{e[1]}</span> }]} /></Panel>
          </div>
        </div>
      )}</Await>
    </Page>
  );
}
