import type { Pipeline, PipelineRun } from "../../api/types";
import { useWhyNot } from "../../api/me";
import { m } from "../../messages";
import { Action } from "../../ui/Action";
import { Await } from "../../ui/Await";
import { Empty, Facts, Id, Panel, Time } from "../../ui/Bits";
import { DataTable, type Column } from "../../ui/DataTable";
import { duration } from "../../ui/format";
import { Go } from "../../ui/Go";
import { useTopics } from "../../ui/hooks";
import { ProblemNote } from "../../ui/Note";
import { Page } from "../../ui/Page";
import { paths, useGo } from "../../ui/url";
import { usePipeline, usePipelines, useRuns, useStart } from "./api";
import { StepGraph } from "./StepGraph";
import { RunChip, Trigger } from "./words";

function LastRun({ name }: { name: string }) {
  const run = useRuns(name).data?.[0];
  if (!run) return <span className="dim">{m.never}</span>;
  return <span className="row"><RunChip state={run.state} /><Go to={paths.run(name, run.id)}><Time at={run.started_at ?? run.created_at} /></Go></span>;
}

/** All pipelines with their last run. */
export function PipelinesPage() {
  useTopics("pipeline", "pipeline-run");
  const query = usePipelines();
  const columns: Column<Pipeline>[] = [
    { key: "name", head: m.name, value: (p) => p.name, cell: (p) => <Go className="rowlink" to={paths.pipeline(p.name)}>{p.name}</Go> },
    { key: "last", head: m.pipeline.lastRun, cell: (p) => <LastRun name={p.name} /> },
    { key: "steps", head: m.pipeline.steps, cell: (p) => <span className="wrap">{(p.steps ?? []).map((s) => s.name).join(" → ")}</span> },
    { key: "version", head: m.version.version, right: true, value: (p) => p.version, cell: (p) => `v${p.version}` },
    { key: "digest", head: m.version.digest, cell: (p) => <Id value={p.digest} what={m.version.digest} /> },
  ];
  return (
    <Page title={m.pipeline.title} lead={m.pipeline.lead}>
      <Await query={query}>{(rows) => <DataTable boxed sort="sort" label={m.pipeline.title} rows={rows} columns={columns} rowKey={(p) => p.name} empty={<Empty command="keelson pipeline run">{m.pipeline.empty}</Empty>} />}</Await>
    </Page>
  );
}

const runColumns = (name: string): Column<PipelineRun>[] => [
  { key: "id", head: m.pipeline.run, cell: (r) => <Go className="rowlink mono" to={paths.run(name, r.id, firstFailed(r))}>{r.id.slice(-8)}</Go> },
  { key: "state", head: m.approvals.state, value: (r) => r.state, cell: (r) => <><RunChip state={r.state} />{firstFailed(r) && <div className="small bad">{m.pipeline.failedAt(firstFailed(r))}</div>}</> },
  { key: "trigger", head: m.pipeline.startedBy, cell: (r) => <Trigger run={r} /> },
  { key: "version", head: m.version.version, right: true, value: (r) => r.pipeline_version, cell: (r) => `v${r.pipeline_version}` },
  { key: "started", head: m.pipeline.started, value: (r) => r.started_at ?? r.created_at, cell: (r) => <Time at={r.started_at ?? r.created_at} /> },
  { key: "took", head: m.pipeline.took, right: true, cell: (r) => duration(r.started_at, r.ended_at) },
  { key: "content", head: m.pipeline.content, cell: (r) => <Id value={r.content_digest} what={m.pipeline.content} /> },
];

export const firstFailed = (r: PipelineRun) => (r.steps ?? []).find((s) => s.state === "failed")?.name ?? "";

/** One pipeline: its steps and its runs. A failed run opens at the step that failed. */
export function PipelinePage({ name }: { name: string }) {
  useTopics(`pipeline:${name}`, "pipeline-run");
  const query = usePipeline(name);
  const runs = useRuns(name);
  const start = useStart(name);
  const go = useGo();
  const why = useWhyNot("pipeline.run");
  return (
    <Page title={name} kind={m.pipeline.kind} crumbs={[{ label: m.pipeline.title, to: paths.pipelines }]}
      actions={<Action why={why} loading={start.isPending} onClick={() => start.mutate(undefined, { onSuccess: (r) => go(paths.run(name, r.id)) })}>{m.pipeline.start}</Action>}>
      <div className="stack gap16" style={{ marginTop: 12 }}>
        <ProblemNote problem={start.error} />
        <Await query={query}>{(p) => (
          <Panel title={m.pipeline.steps} id="steps" actions={<span className="dim small">{m.version.version} <b>v{p.version}</b> · <Id value={p.digest} what={m.version.digest} /></span>}>
            <StepGraph steps={(p.steps ?? []).map((s) => ({ name: s.name, needs: s.needs ?? [], kind: s.kind }))} />
            {p.created_by && <div style={{ marginTop: 12 }}><Facts rows={[[m.version.by, p.created_by], [m.created, <Time key="t" at={p.created_at} />]]} /></div>}
          </Panel>
        )}</Await>
        <Panel title={m.pipeline.runs} id="runs" flush>
          <Await query={runs}>{(rows) => <DataTable label={m.pipeline.runs} rows={rows} columns={runColumns(name)} rowKey={(r) => r.id} more={runs.more} empty={<Empty command={`keelson pipeline run ${name}`}>{m.pipeline.noRuns}</Empty>} />}</Await>
        </Panel>
      </div>
    </Page>
  );
}
