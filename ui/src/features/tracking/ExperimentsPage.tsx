import { useMemo, useState } from "react";
import type { Experiment, RunRow } from "../../api/tracking";
import { useMe, useWhyNot } from "../../api/me";
import { m } from "../../messages";
import { Action } from "../../ui/Action";
import { Ask } from "../../ui/Ask";
import { Await, Skeleton } from "../../ui/Await";
import { Empty, Panel, Time } from "../../ui/Bits";
import { DataTable, type Column } from "../../ui/DataTable";
import { FilterBox } from "../../ui/Filter";
import { absolute, count, duration } from "../../ui/format";
import { Go } from "../../ui/Go";
import type { GridColumn } from "../../ui/grid/columns";
import { Grid } from "../../ui/grid/Grid";
import { useSelection } from "../../ui/grid/selection";
import { SelectionBar } from "../../ui/grid/Toolbar";
import { useLayout } from "../../ui/grid/useLayout";
import { useTopics } from "../../ui/hooks";
import { IconBin, IconEdit, IconPlus } from "../../ui/icons";
import { Note, ProblemNote } from "../../ui/Note";
import { Page } from "../../ui/Page";
import { UndoBar, type Undoable } from "../../ui/Undo";
import { paths, useGo, useParam } from "../../ui/url";
import { useBin, useChange, useCreateExperiment, useExperiment, useExperiments, useNewest } from "./api";
import { RunsGrid } from "./RunsGrid";
import { nameOf, StatusChip } from "./words";

const columns: GridColumn<Experiment>[] = [
  { key: "name", head: m.name, width: 260, sort: "name", cell: (e) => e.name, text: (e) => e.name },
  { key: "runs", head: m.tracking.runs, width: 90, right: true, cell: (e) => count(e.runs), text: (e) => String(e.runs) },
  { key: "last", head: m.tracking.lastRun, width: 150, cell: (e) => <Time at={e.last_run_at} />, text: (e) => (e.last_run_at ? absolute(e.last_run_at) : "") },
  { key: "description", head: m.tracking.description, width: 320, cell: (e) => (e.description ? <span title={e.description}>{e.description.split("\n")[0]}</span> : <span className="dim">{m.none}</span>), text: (e) => e.description ?? "" },
  { key: "created", head: m.created, width: 150, sort: "creation_time", cell: (e) => <Time at={e.created_at} />, text: (e) => (e.created_at ? absolute(e.created_at) : "") },
  { key: "id", head: m.id, width: 110, cell: (e) => <code>{e.id}</code>, text: (e) => e.id },
];
const defaults = { keys: columns.map((c) => c.key), pinned: ["name"] };

/** The newest runs, the person's own first, then every experiment. */
export function ExperimentsPage() {
  useTopics("run", "experiment");
  const why = useWhyNot("run.write");
  const [adding, setAdding] = useState(false);
  const create = useCreateExperiment();
  const go = useGo();
  return (
    <Page title={m.tracking.title} lead={m.tracking.lead} actions={<Action why={why} leftSection={<IconPlus size={16} aria-hidden="true" />} onClick={() => setAdding(true)}>{m.tracking.newExperiment}</Action>}>
      <Ask opened={adding} onClose={() => setAdding(false)} title={m.tracking.newExperiment} confirm={m.tracking.create} fields={[{ name: "name", label: m.name, required: true, max: 500 }, { name: "description", label: m.tracking.description, long: true }]}
        onConfirm={async (v) => { const made = await create.mutateAsync({ name: v.name, description: v.description || undefined }); go(paths.experiment(made.id)); }} />
      <div className="stack gap16"><Newest /><Experiments /></div>
    </Page>
  );
}

function Newest() {
  const me = useMe().data;
  const [who, setWho] = useParam("who");
  const signedIn = me?.auth === "on";
  const mine = signedIn && who !== "all";
  const query = useNewest(mine ? me?.name : undefined);
  const rows: Column<RunRow>[] = [
    { key: "name", head: m.tracking.run, cell: (r) => <Go className="rowlink" to={paths.trackingRun(r.id)}>{nameOf(r)}</Go> },
    { key: "status", head: m.approvals.state, cell: (r) => <StatusChip status={r.status} /> },
    { key: "experiment", head: m.tracking.experimentId, cell: (r) => <ExperimentName id={r.experiment} /> },
    { key: "user", head: m.tracking.user, cell: (r) => r.user },
    { key: "started", head: m.pipeline.started, cell: (r) => <Time at={r.started_at} /> },
    { key: "took", head: m.pipeline.took, right: true, cell: (r) => duration(r.started_at, r.ended_at) },
  ];
  if (query.data?.length === 0 && !mine) return null;
  return (
    <Panel title={mine ? m.tracking.recentMine : m.tracking.recent} id="recent" flush actions={signedIn && <button type="button" className="linkb" onClick={() => setWho(mine ? "all" : "")}>{mine ? m.tracking.everybody : m.tracking.mine}</button>}>
      <Await query={query} lines={3}>{(list) => <DataTable label={m.tracking.recent} rows={list} columns={rows} rowKey={(r) => r.id} empty={<Empty>{m.tracking.noRuns}</Empty>} />}</Await>
    </Panel>
  );
}

function ExperimentName({ id }: { id: string }) {
  const e = useExperiment(id).data;
  return <Go to={paths.experiment(id)}>{e?.name ?? id}</Go>;
}

function Experiments() {
  const [filter] = useParam("filter");
  const [sort, setSort] = useParam("sort");
  const [layout, setLayout] = useLayout(defaults);
  const selection = useSelection("sel");
  const query = useExperiments(filter, sort);
  const [done, setDone] = useState<Undoable | null>(null);
  const chosen = useMemo(() => query.rows.filter((e) => selection.ids.has(e.id)), [query.rows, selection.ids]);
  return (
    <div>
      <div className="toolbar"><FilterBox name="filter" label={m.tracking.filterExperiments} /></div>
      <UndoBar done={done} onGone={() => setDone(null)} />
      {query.error && <ProblemNote problem={query.error} retry={() => void query.refetch()} />}
      <SelectionBar selection={selection} loaded={query.rows.length} total={query.more.has ? undefined : query.rows.length} status={query.isPending ? "" : m.tracking.nExperiments(query.rows.length, query.more.has)}><Acts chosen={chosen} onDone={(d) => { setDone(d); selection.clear(); }} /></SelectionBar>
      {query.isPending ? <Skeleton lines={5} /> : (
        <Grid label={m.tracking.title} rows={query.rows} columns={columns} layout={layout} setLayout={setLayout} rowKey={(e) => e.id} rowName={(e) => e.name} href={(e) => paths.experiment(e.id)} total={query.more.has ? undefined : query.rows.length} sort={sort} onSort={setSort} selection={selection} more={query.more} busy={query.busy}
          empty={filter ? <Empty>{m.tracking.noExperiment}</Empty> : <Empty command={`export MLFLOW_TRACKING_URI=${location.origin}`}>{m.tracking.empty}</Empty>} />
      )}
    </div>
  );
}

function Acts({ chosen, onDone }: { chosen: Experiment[]; onDone: (done: Undoable | null) => void }) {
  const right = useWhyNot("run.write");
  const one = chosen.length === 1 ? chosen[0] : undefined;
  const change = useChange("experiments", one?.id ?? "");
  const bin = useBin("experiments");
  const [renaming, setRenaming] = useState(false);
  const [problem, setProblem] = useState<unknown>(null);
  const remove = async () => {
    const ids = chosen.map((e) => e.id);
    setProblem(null);
    try {
      await bin.remove(ids);
      onDone({ said: m.tracking.binned(ids.length, "experiment"), undo: async () => { await bin.restore(ids); onDone(null); } });
    } catch (error) { setProblem(error); }
  };
  return (
    <>
      <Action size="compact-sm" variant="default" why={right ?? (one ? undefined : m.tracking.oneOnly)} leftSection={<IconEdit size={15} aria-hidden="true" />} onClick={() => setRenaming(true)}>{m.tracking.rename}</Action>
      <Action size="compact-sm" variant="default" why={right} leftSection={<IconBin size={15} aria-hidden="true" />} onClick={() => void remove()}>{m.tracking.toBin}</Action>
      <Ask opened={renaming} onClose={() => setRenaming(false)} title={m.tracking.rename} confirm={m.tracking.save} fields={[{ name: "name", label: m.name, value: one?.name, required: true, max: 500 }, { name: "description", label: m.tracking.description, value: one?.description, long: true }]} onConfirm={(v) => change.mutateAsync(v)} />
      <ProblemNote problem={problem} />
    </>
  );
}

/** The runs of one experiment. */
export function ExperimentPage({ id }: { id: string }) {
  useTopics("run", `experiment:${id}`);
  const query = useExperiment(id);
  const e = query.data;
  const right = useWhyNot("run.write");
  const change = useChange("experiments", id);
  const bin = useBin("experiments");
  const [renaming, setRenaming] = useState(false);
  const [problem, setProblem] = useState<unknown>(null);
  const act = (does: Promise<unknown>) => { setProblem(null); does.catch(setProblem); };
  return (
    <Page title={e?.name ?? id} kind={m.tracking.experiment} crumbs={[{ label: m.tracking.title, to: "/experiments" }]} lead={e?.description || undefined}
      actions={e && <Action variant="default" why={right} leftSection={<IconEdit size={16} aria-hidden="true" />} onClick={() => setRenaming(true)}>{m.tracking.rename}</Action>}>
      <Ask opened={renaming} onClose={() => setRenaming(false)} title={m.tracking.rename} confirm={m.tracking.save} fields={[{ name: "name", label: m.name, value: e?.name, required: true, max: 500 }, { name: "description", label: m.tracking.description, value: e?.description, long: true }]} onConfirm={(v) => change.mutateAsync(v)} />
      <ProblemNote problem={query.error ?? problem} />
      {e?.deleted && <Note tone="neutral" title={m.tracking.inBin} actions={<Action size="compact-sm" variant="default" why={right} onClick={() => act(bin.restore([id]))}>{m.tracking.restore}</Action>} />}
      <div style={{ marginTop: 8 }}><RunsGrid experiment={id} key={id} /></div>
    </Page>
  );
}
