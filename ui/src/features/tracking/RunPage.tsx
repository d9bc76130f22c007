import { useState, type ReactNode } from "react";
import { useWhyNot } from "../../api/me";
import type { MetricKey, RunDocument } from "../../api/tracking";
import { m } from "../../messages";
import { Action } from "../../ui/Action";
import { Ask } from "../../ui/Ask";
import { Await } from "../../ui/Await";
import { Empty, Facts, Id, Panel, Time } from "../../ui/Bits";
import { DataTable } from "../../ui/DataTable";
import { count, duration } from "../../ui/format";
import { Go } from "../../ui/Go";
import { useTopics } from "../../ui/hooks";
import { IconBin, IconEdit } from "../../ui/icons";
import { Markdown } from "../../ui/Markdown";
import { Note, ProblemNote } from "../../ui/Note";
import { Page, Tabs } from "../../ui/Page";
import { Source } from "../../ui/Source";
import { UndoBar, type Undoable } from "../../ui/Undo";
import { paths, useParam } from "../../ui/url";
import { Artifacts } from "./Artifacts";
import { useBin, useChange, useChildren, useExperiment, useMetricKeys, useRun } from "./api";
import { Code } from "./Code";
import { isSystem, RunCharts } from "./RunCharts";
import { Tags } from "./Tags";
import { measured, nameOf, StatusChip } from "./words";

const tabs = ["", "charts", "system", "artifacts", "code", "traces"] as const;
type Tab = (typeof tabs)[number];
const words: Record<Tab, string> = { "": m.tracking.tabs.overview, charts: m.tracking.tabs.charts, system: m.tracking.tabs.system, artifacts: m.tracking.tabs.artifacts, code: m.tracking.tabs.code, traces: m.tracking.tabs.traces };

/** One run. Each tab has its address and fetches what it shows when it is opened. */
export function TrackingRunPage({ id, traces, actions }: { id: string; traces?: (run: RunDocument) => ReactNode; actions?: (run: RunDocument) => ReactNode }) {
  useTopics("run", `run:${id}`);
  const query = useRun(id);
  const run = query.data;
  const experiment = useExperiment(run?.experiment ?? "").data;
  const [wanted] = useParam("tab");
  const tab: Tab = (tabs as readonly string[]).includes(wanted) ? (wanted as Tab) : "";
  const shown = tabs.filter((t) => t !== "traces" || traces);
  const address = (t: Tab) => paths.trackingRun(id) + (t ? `?tab=${t}` : "");
  const parent = run?.parent;
  return (
    <Page title={run ? nameOf(run) : id.slice(0, 8)} kind={m.tracking.runKind} crumbs={[{ label: m.tracking.title, to: "/experiments" }, ...(run ? [{ label: experiment?.name ?? run.experiment, to: paths.experiment(run.experiment) }] : [])]} status={run && <StatusChip status={run.status} />}
      actions={run && <><Acts run={run} />{actions?.(run)}</>}
      facts={run && <><span>{m.tracking.user} <b>{run.user || m.none}</b></span><span>{m.pipeline.started} <b><Time at={run.started_at} /></b></span><span>{m.pipeline.took} <b className="num">{duration(run.started_at, run.ended_at)}</b></span>{parent && <span>{m.tracking.parent} <b><Go to={paths.trackingRun(parent)}>{parent.slice(0, 8)}</Go></b></span>}<span>{m.id} <Id value={run.id} /></span></>}>
      <Tabs label={m.tracking.pages(run ? nameOf(run) : id)} tabs={shown.map((t) => ({ to: address(t), label: words[t], current: t === tab }))} />
      <Await query={query} lines={10}>{(r) => (
        <>
          {tab === "" && <Overview run={r} />}
          {(tab === "charts" || tab === "system") && <RunCharts run={r} system={tab === "system"} />}
          {tab === "artifacts" && <Artifacts run={r} />}
          {tab === "code" && <Code run={r} />}
          {tab === "traces" && traces?.(r)}
        </>
      )}</Await>
    </Page>
  );
}

function Acts({ run }: { run: RunDocument }) {
  const right = useWhyNot("run.write");
  const change = useChange("runs", run.id);
  const bin = useBin("runs");
  const [renaming, setRenaming] = useState(false);
  const [problem, setProblem] = useState<unknown>(null);
  const act = (does: Promise<unknown>) => { setProblem(null); does.catch(setProblem); };
  return (
    <>
      <Action variant="default" why={right} leftSection={<IconEdit size={16} aria-hidden="true" />} onClick={() => setRenaming(true)}>{m.tracking.rename}</Action>
      {!run.deleted && <Action variant="default" why={right} leftSection={<IconBin size={16} aria-hidden="true" />} onClick={() => act(bin.remove([run.id]))}>{m.tracking.toBin}</Action>}
      <Ask opened={renaming} onClose={() => setRenaming(false)} title={m.tracking.rename} confirm={m.tracking.save} fields={[{ name: "name", label: m.name, value: run.name, required: true, max: 250 }]} onConfirm={(v) => change.mutateAsync({ name: v.name })} />
      <ProblemNote problem={problem} />
    </>
  );
}

function Overview({ run }: { run: RunDocument }) {
  const right = useWhyNot("run.write");
  const bin = useBin("runs");
  const [done, setDone] = useState<Undoable | null>(null);
  const [problem, setProblem] = useState<unknown>(null);
  const inputs = run.inputs ?? [], models = run.models ?? [];
  return (
    <>
      <UndoBar done={done} onGone={() => setDone(null)} />
      <div className="stack gap16">
      {run.deleted && <Note tone="neutral" title={m.tracking.runInBin} actions={<Action size="compact-sm" variant="default" why={right} onClick={() => { bin.restore([run.id]).catch(setProblem); }}>{m.tracking.restore}</Action>} />}
      <ProblemNote problem={problem} />
      <div className="grid2">
        <Panel title={m.tracking.metrics} id="metrics" flush><Metrics run={run} /></Panel>
        <Panel title={m.tracking.params} id="params" flush><div className="tallest"><DataTable label={m.tracking.params} rows={Object.entries(run.params ?? {}).sort(([a], [b]) => a.localeCompare(b))} rowKey={(e) => e[0]} empty={<Empty>{m.tracking.noParams}</Empty>} columns={[{ key: "k", head: m.name, cell: (e) => <span className="wrap">{e[0]}</span> }, { key: "v", head: m.version.value, cell: (e) => <span className="mono wrap">{e[1]}</span> }]} /></div></Panel>
        <Panel title={m.tracking.about} id="about"><About run={run} /></Panel>
        <Notes run={run} />
        <Panel title={m.tracking.inputs} id="inputs" flush><DataTable label={m.tracking.inputs} rows={inputs} rowKey={(i) => i.dataset + i.digest + (i.context ?? "")} empty={<Empty>{m.tracking.noInputs}</Empty>} columns={[{ key: "d", head: m.tracking.data, cell: (i) => (i.version ? <Go to={paths.dataset(i.dataset, i.version)}>{i.dataset} v{i.version}</Go> : i.dataset) }, { key: "c", head: m.tracking.context, cell: (i) => i.context || <span className="dim">{m.none}</span> }, { key: "g", head: m.tracking.digest, cell: (i) => <Id value={i.digest} what={m.tracking.digest} /> }]} /></Panel>
        <Panel title={m.model.tags} id="tags" flush><Tags run={run} onDone={setDone} /></Panel>
        {models.length > 0 && <Panel title={m.tracking.modelsLogged} id="models" flush><DataTable label={m.tracking.modelsLogged} rows={models} rowKey={(x) => x} columns={[{ key: "m", head: m.id, cell: (x) => <Id value={x} /> }, { key: "f", head: m.tracking.artifacts, cell: (x) => <Go to={`${paths.trackingRun(run.id)}?tab=artifacts&model=${encodeURIComponent(x)}`}>{m.tracking.file.list}</Go> }]} /></Panel>}
        <Children run={run} />
      </div>
      </div>
    </>
  );
}

function About({ run }: { run: RunDocument }) {
  const tags = run.tags ?? {};
  return <Facts rows={[[m.tracking.user, run.user], [m.pipeline.started, <Time key="s" at={run.started_at} full />], [m.tracking.ended, run.ended_at ? <Time key="e" at={run.ended_at} full /> : undefined], [m.tracking.sourceName, tags["mlflow.source.name"] && <code className="wrap" key="n">{tags["mlflow.source.name"]}</code>], [m.version.source, run.source?.commit ? <Source key="c" source={{ ...run.source, dirty: run.source.dirty ?? false }} /> : undefined],
    [m.pipeline.environment, run.environment?.digest ? <Id key="v" value={run.environment.digest} what={m.version.digest} /> : undefined], [m.tracking.pipelineRun, run.pipeline_run ? <Go key="p" to={`/pipelines/-/runs/${run.pipeline_run}`}>{run.pipeline_run.slice(-8)}</Go> : undefined], [m.id, <Id key="i" value={run.id} />]]} />;
}

function Metrics({ run }: { run: RunDocument }) {
  const keys = useMetricKeys(run.id, run.status === "running");
  const columns = [
    { key: "k", head: m.name, cell: (k: MetricKey) => <Go to={`${paths.trackingRun(run.id)}?tab=charts&find=${encodeURIComponent(k.key)}`}>{k.key}</Go> },
    { key: "v", head: m.tracking.latest, right: true, cell: (k: MetricKey) => <b>{measured(k.latest.value)}</b> },
    { key: "l", head: m.tracking.least, right: true, cell: (k: MetricKey) => measured(k.min) },
    { key: "h", head: m.tracking.most, right: true, cell: (k: MetricKey) => measured(k.max) },
    { key: "s", head: m.tracking.step, right: true, cell: (k: MetricKey) => count(k.latest.step) },
    { key: "n", head: m.tracking.points, right: true, cell: (k: MetricKey) => count(k.count) },
  ];
  return <Await query={keys}>{(all) => <div className="tallest"><DataTable label={m.tracking.metrics} rows={all.filter((k) => !isSystem(k.key))} rowKey={(k) => k.key} columns={columns} empty={<Empty>{m.tracking.noMetrics}</Empty>} /></div>}</Await>;
}

const noteTag = "mlflow.note.content";

function Notes({ run }: { run: RunDocument }) {
  const right = useWhyNot("run.write");
  const change = useChange("runs", run.id);
  const [editing, setEditing] = useState(false);
  const text = run.tags?.[noteTag] ?? "";
  return (
    <Panel title={m.tracking.notes} id="notes" actions={<Action size="compact-sm" variant="default" why={right} onClick={() => setEditing(true)}>{m.tracking.editNotes}</Action>}>
      {text ? <Markdown text={text} /> : <p className="dim">{m.tracking.noNotes}</p>}
      <Ask opened={editing} onClose={() => setEditing(false)} title={m.tracking.notes} confirm={m.tracking.save} fields={[{ name: "text", label: m.tracking.notes, help: m.tracking.notesHelp, value: text, long: true, max: 8000 }]} onConfirm={(v) => change.mutateAsync({ description: v.text })} />
    </Panel>
  );
}

function Children({ run }: { run: RunDocument }) {
  const query = useChildren(run.id, run.experiment);
  const list = query.data?.items ?? [];
  if (list.length === 0) return null;
  return <Panel title={m.tracking.children} id="children" flush><div className="tallest"><DataTable label={m.tracking.children} rows={list} rowKey={(r) => r.id} columns={[{ key: "n", head: m.tracking.run, cell: (r) => <Go className="rowlink" to={paths.trackingRun(r.id)}>{nameOf(r)}</Go> }, { key: "s", head: m.approvals.state, cell: (r) => <StatusChip status={r.status} /> }, { key: "t", head: m.pipeline.took, right: true, cell: (r) => duration(r.started_at, r.ended_at) }]} /></div></Panel>;
}
