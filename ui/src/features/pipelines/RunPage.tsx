import type { PipelineRun, Step } from "../../api/types";
import { useWhyNot } from "../../api/me";
import { m } from "../../messages";
import { Action } from "../../ui/Action";
import { Await, Skeleton } from "../../ui/Await";
import { Empty, Facts, Id, Panel, Time } from "../../ui/Bits";
import { DataTable, type Column } from "../../ui/DataTable";
import { duration, span, text } from "../../ui/format";
import { Go } from "../../ui/Go";
import { useNow, useTopics } from "../../ui/hooks";
import { Note, ProblemNote } from "../../ui/Note";
import { Page } from "../../ui/Page";
import { Source } from "../../ui/Source";
import { pageOf, paths, useParam } from "../../ui/url";
import { over, useRun, useRunAction } from "./api";
import { StepLog } from "./LogView";
import { StepGraph } from "./StepGraph";
import { RunChip, tones, Trigger } from "./words";

/** The step to open: the one asked for, else the first that failed, else the one at work, else the last that began. */
export function stepOf(steps: Step[], wanted: string): Step | undefined {
  return steps.find((s) => s.name === wanted) ?? steps.find((s) => s.state === "failed") ?? steps.find((s) => s.state === "running") ?? steps.filter((s) => s.started_at).at(-1) ?? steps[0];
}

/** One run of a pipeline, live. */
export function RunPage({ pipeline, id }: { pipeline: string; id: string }) {
  useTopics(`pipeline-run:${id}`);
  const query = useRun(id);
  const run = query.data;
  const name = run?.pipeline ?? pipeline;
  const crumbs = [{ label: m.pipeline.title, to: paths.pipelines }, { label: name, to: paths.pipeline(name) }];
  const title = m.pipeline.runTitle(id.slice(-8));
  if (!run) return <Page title={title} kind={m.pipeline.runKind} crumbs={crumbs}>{query.error ? <ProblemNote problem={query.error} retry={() => void query.refetch()} /> : <Skeleton lines={10} />}</Page>;
  return (
    <Page title={title} kind={m.pipeline.runKind} crumbs={crumbs} status={<RunChip state={run.state} />} actions={<Actions run={run} />}
      facts={<><span>{m.pipeline.startedBy} <b><Trigger run={run} /></b></span><span>{m.pipeline.started} <b><Time at={run.started_at ?? run.created_at} /></b></span><span>{m.pipeline.took} <b className="num">{duration(run.started_at, run.ended_at)}</b></span><span>{m.version.version} <b>v{run.pipeline_version}</b></span></>}>
      <Await query={query}>{(r) => <Body run={r} name={name} />}</Await>
    </Page>
  );
}

function Body({ run, name }: { run: PipelineRun; name: string }) {
  const [wanted] = useParam("step");
  const steps = run.steps ?? [];
  const step = stepOf(steps, wanted);
  const link = (s: string) => paths.run(name, run.id, s);
  return (
    <div className="stack gap16">
      {run.error && <Note tone="bad" title={m.runState.failed}><p className="wrap">{run.error}</p></Note>}
      <Panel title={m.pipeline.steps} id="steps"><StepGraph steps={steps.map((s) => ({ name: s.name, needs: s.needs ?? [], kind: s.kind, run: s }))} link={link} current={step?.name} /></Panel>
      <Panel title={m.pipeline.list} id="gantt" flush><Gantt run={run} link={link} current={step?.name} /></Panel>
      {step && <StepPanel key={step.name} run={run} step={step} />}
      <Panel title={m.pipeline.repeat} id="repeat">
        <Facts rows={[[m.pipeline.content, <Id key="c" value={run.content_digest} what={m.pipeline.content} />], [m.version.source, <Source key="s" source={run.source} />], [m.pipeline.environment, run.environment_digest ? <Id key="e" value={run.environment_digest} what={m.version.digest} /> : undefined],
          [m.pipeline.made, (run.versions ?? []).length ? <span key="v" className="row">{(run.versions ?? []).map((x) => <Go key={x.model + x.version} to={paths.version(x.model, x.version)}>{x.model} v{x.version}</Go>)}</span> : undefined], [m.pipeline.seed, run.seed !== undefined ? String(run.seed) : undefined], [m.pipeline.data, (run.data ?? []).length ? <span key="d" className="row">{(run.data ?? []).map((d, i) => <Go key={i} to={paths.dataset(d.dataset, d.version)}>{d.dataset} v{d.version}</Go>)}</span> : undefined], [m.id, <Id key="i" value={run.id} />]]} />
      </Panel>
    </div>
  );
}

function Gantt({ run, link, current }: { run: PipelineRun; link: (s: string) => string; current?: string }) {
  const now = useNow();
  const steps = run.steps ?? [];
  const ms = (t?: string | null) => (t ? new Date(t).getTime() : undefined);
  const begin = Math.min(...steps.map((s) => ms(s.started_at) ?? Infinity));
  const end = Math.max(...steps.map((s) => ms(s.ended_at) ?? (s.started_at ? now : -Infinity)), begin + 1);
  const columns: Column<Step>[] = [
    { key: "name", head: m.pipeline.step, cell: (s) => <Go className="rowlink" to={link(s.name)}>{s.name}</Go> },
    { key: "state", head: m.approvals.state, cell: (s) => <RunChip state={s.state} /> },
    { key: "needs", head: m.pipeline.needs, cell: (s) => (s.needs ?? []).join(", ") || <span className="dim">{m.none}</span> },
    { key: "attempt", head: m.pipeline.attempts, right: true, cell: (s) => s.attempt || <span className="dim">{m.none}</span> },
    { key: "took", head: m.pipeline.took, right: true, cell: (s) => (s.started_at ? duration(s.started_at, s.ended_at) : m.none) },
    { key: "time", head: m.pipeline.when, cell: (s) => {
      const from = ms(s.started_at);
      if (from === undefined) return <span className="dim">{m.none}</span>;
      const to = ms(s.ended_at) ?? now;
      return <div className="gantt" role="img" aria-label={m.pipeline.ganttLabel(span(from - begin), span(to - from))}><i data-tone={tones[s.state]} style={{ left: `${((from - begin) / (end - begin)) * 100}%`, width: `${Math.max(0, ((to - from) / (end - begin)) * 100)}%` }} /></div>;
    } },
  ];
  return <DataTable label={m.pipeline.list} rows={steps} columns={columns} rowKey={(s) => s.name} selected={(s) => s.name === current} />;
}

function StepPanel({ run, step }: { run: PipelineRun; step: Step }) {
  const outputs = Object.entries(step.outputs ?? {});
  return (
    <Panel title={m.pipeline.stepTitle(step.name)} id="step" actions={<RunChip state={step.state} />}>
      <div className="stack gap16">
        {step.state === "failed" && <Note tone="bad" title={m.pipeline.stepFailed(step.name, step.exit_code ?? null)}>{step.error && <p className="wrap">{step.error}</p>}</Note>}
        {outputs.length > 0 && <Facts rows={outputs.map(([k, v]) => [k, <Output key={k} value={v} />])} />}
        {step.state === "waiting" ? <Empty>{m.pipeline.waits((step.needs ?? []).join(", "))}</Empty> : <StepLog run={run.id} step={step.name} attempt={step.attempt} running={step.state === "running"} />}
      </div>
    </Panel>
  );
}

/** What a step gave: a link where it names a thing, names and values where it is a document, else the value. */
function Output({ value }: { value: unknown }) {
  if (value && typeof value === "object" && !Array.isArray(value)) return <span className="row">{Object.entries(value).map(([k, v]) => (v && typeof v === "object" && !Array.isArray(v) ? <Output key={k} value={v} /> : <span key={k} className="tag num">{k} {typeof v === "string" && /^[0-9a-z]{26}$/.test(v) ? <Id value={v} /> : text(v)}</span>))}</span>;
  const page = typeof value === "string" ? pageOf(value) : undefined;
  return page ? <Go to={page}>{String(value)}</Go> : <span className="wrap">{text(value)}</span>;
}

function Actions({ run }: { run: PipelineRun }) {
  const why = useWhyNot("pipeline.run");
  const cancel = useRunAction(run.id, "cancel");
  const retry = useRunAction(run.id, "retry");
  return (
    <>
      {!over(run.state) && <Action variant="default" why={why} loading={cancel.isPending} onClick={() => cancel.mutate()}>{m.pipeline.cancel}</Action>}
      {(run.state === "failed" || run.state === "cancelled") && <Action why={why} loading={retry.isPending} onClick={() => retry.mutate()}>{m.pipeline.retry}</Action>}
      <ProblemNote problem={cancel.error ?? retry.error} />
    </>
  );
}
