import { Button } from "@mantine/core";
import { useEffect, useMemo, useState } from "react";
import type { RunColumns, RunRow } from "../../api/tracking";
import { useWhyNot } from "../../api/me";
import { m } from "../../messages";
import { Action } from "../../ui/Action";
import { Ask } from "../../ui/Ask";
import { Skeleton } from "../../ui/Await";
import { Empty } from "../../ui/Bits";
import { count } from "../../ui/format";
import { Chooser, type Choice } from "../../ui/grid/Chooser";
import type { GridColumn } from "../../ui/grid/columns";
import { FilterQuery } from "../../ui/grid/FilterQuery";
import { Grid } from "../../ui/grid/Grid";
import { clauses } from "../../ui/grid/query";
import { useSelection } from "../../ui/grid/selection";
import { DensityButton, ExportMenu, SelectionBar } from "../../ui/grid/Toolbar";
import { storedDensity, useLayout } from "../../ui/grid/useLayout";
import { Views } from "../../ui/grid/Views";
import { IconBin, IconCompare } from "../../ui/icons";
import { ProblemNote } from "../../ui/Note";
import { UndoBar, type Undoable } from "../../ui/Undo";
import { paths, useGo, useParam } from "../../ui/url";
import { allIds, complete, exportAddress, tagRuns, untagRuns, useBin, useRunColumns, useRuns, type RunsAsked } from "./api";
import { fixedColumns, keyColumn, nameOf } from "./words";

const fixed = ["name", "status", "started", "took", "user"];
const mostCompared = 200;
/** More runs than these are not changed from a page at once: each is one request. */
const mostChanged = 1000;

/** Three metrics that most runs have: few, so that a newly logged one does not rearrange the table. */
function usual(columns: RunColumns | undefined): string[] {
  return [...(columns?.metrics ?? [])].filter((k) => !k.key.startsWith("system/")).sort((a, b) => b.runs - a.runs || a.key.localeCompare(b.key)).slice(0, 3).map((k) => `metrics.${k.key}`);
}

function choicesOf(columns: RunColumns | undefined): Choice[] {
  const keys = (["metrics", "params", "tags"] as const).flatMap((kind) => (columns?.[kind] ?? []).map((k) => keyColumn(`${kind}.${k.key}`)).filter((c): c is GridColumn<RunRow> => !!c));
  return [...fixedColumns, ...keys].map((c) => ({ key: c.key, head: c.head, group: c.group ?? "" }));
}

/** The runs of one experiment: filter, columns, views, selection; everything but the density is in the address. */
export function RunsGrid({ experiment }: { experiment: string }) {
  const known = useRunColumns(experiment);
  if (known.isPending) return <Skeleton lines={10} />;
  return <Table experiment={experiment} known={known.data} />;
}

function Table({ experiment, known }: { experiment: string; known?: RunColumns }) {
  const [begin] = useState(() => usual(known)); // stays while the page is open, whatever is logged meanwhile
  const defaults = useMemo(() => ({ keys: [...fixed, ...begin], pinned: ["name"] }), [begin]);
  const [layout, setLayout] = useLayout(defaults);
  const [filter, setFilter] = useParam("filter");
  const [sort, setSort] = useParam("sort");
  const [density, setDensity] = useState(storedDensity);
  const [done, setDone] = useState<Undoable | null>(null);
  const selection = useSelection("sel");
  const asked: RunsAsked = { experiment, filter, sort, columns: layout.keys };
  const runs = useRuns(asked);
  const go = useGo();
  const columns = useMemo(() => layout.keys.map((k) => fixedColumns.find((c) => c.key === k) ?? keyColumn(k)).filter((c): c is GridColumn<RunRow> => !!c), [layout.keys]);
  const choices = useMemo(() => choicesOf(known), [known]);
  const n = selection.all ? (runs.total ?? runs.rows.length) : selection.ids.size;
  const ids = async (most: number) => (selection.all ? allIds(asked, most) : [...selection.ids].slice(0, most));
  const compare = async () => go(`/compare?runs=${(await ids(mostCompared)).map(encodeURIComponent).join(",")}`);
  const keys = { compare: () => { if (n >= 2 && n <= mostCompared) void compare(); } };
  useLetters(keys);
  const refused = runs.error;
  const total = runs.total;
  return (
    <div>
      <div className="toolbar top">
        <FilterQuery name="filter" label={m.tracking.filter} placeholder={m.tracking.filterHint} complete={(text, at, signal) => complete(experiment, text, at, signal)} problem={refused} />
        <span className="end">
          <Views table="runs" params={["filter", "sort", "cols", "pin", "w"]} />
          <Chooser choices={choices} layout={layout} setLayout={setLayout} reset={() => setLayout({ keys: defaults.keys, pinned: defaults.pinned, widths: {} })} note={known?.capped ? m.tracking.keysCapped : undefined} />
          <DensityButton density={density} set={setDensity} />
          <ExportMenu href={(f) => exportAddress(asked, f)} disabled={runs.rows.length === 0} />
        </span>
      </div>
      <UndoBar done={done} onGone={() => setDone(null)} />
      <SelectionBar selection={selection} total={total} atLeast={runs.capped} loaded={runs.rows.length} open={runs.more.has} status={<>{total === undefined ? (runs.rows.length ? m.tracking.shownRuns(count(runs.rows.length)) : "") : runs.capped ? m.tracking.ofAtLeast(count(total)) : total === 1 ? "1 run" : m.tracking.nRuns(count(total))}{runs.news > 0 && <> · <button type="button" className="linkb" onClick={runs.show}>{m.tracking.news(runs.news)}</button></>}</>}>
        <Acts n={n} ids={ids} compare={compare} onDone={(d) => { setDone(d); selection.clear(); runs.show(); }} />
      </SelectionBar>
      {runs.isPending && !refused ? <Skeleton lines={10} /> : (
        <Grid label={m.tracking.runs} rows={runs.rows} columns={columns} layout={layout} setLayout={setLayout} rowKey={(r) => r.id} rowName={nameOf} href={(r) => paths.trackingRun(r.id)} total={runs.capped ? undefined : total} sort={sort} onSort={setSort} selection={selection} more={runs.more} density={density} busy={runs.busy}
          empty={filter ? <Empty action={<span className="row"><Button size="compact-sm" variant="default" onClick={() => setFilter("")}>{m.removeFilters}</Button></span>}>{m.tracking.noMatch(clauses(filter).length)} <code>{filter}</code></Empty> : <Empty command={`export MLFLOW_TRACKING_URI=${location.origin}`}>{m.tracking.noRuns}</Empty>} />
      )}
    </div>
  );
}

/** What can be done with the selected runs. */
function Acts({ n, ids, compare, onDone }: { n: number; ids: (most: number) => Promise<string[]>; compare: () => Promise<void>; onDone: (done: Undoable | null) => void }) {
  const right = useWhyNot("run.write");
  const bin = useBin("runs");
  const [tag, setTag] = useState(false);
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState<unknown>(null);
  const few = n < 2 || n > mostCompared ? m.tracking.compareHow : undefined;
  const remove = async () => {
    setBusy(true);
    setProblem(null);
    try {
      const gone = await ids(mostChanged);
      await bin.remove(gone);
      onDone({ said: m.tracking.binned(gone.length, "run"), undo: async () => { await bin.restore(gone); onDone(null); } });
    } catch (error) { setProblem(error); } finally { setBusy(false); }
  };
  return (
    <>
      <Action size="compact-sm" why={few} leftSection={<IconCompare size={15} aria-hidden="true" />} onClick={() => void compare()}>{m.tracking.compare}</Action>
      <Action size="compact-sm" variant="default" why={right} onClick={() => setTag(true)}>{m.tracking.tag}</Action>
      <Action size="compact-sm" variant="default" why={right} loading={busy} leftSection={<IconBin size={15} aria-hidden="true" />} onClick={() => void remove()}>{m.tracking.toBin}</Action>
      <Ask opened={tag} onClose={() => setTag(false)} title={m.tracking.tag} confirm={m.tracking.tag} fields={[{ name: "key", label: m.tracking.tagKey, required: true, max: 250 }, { name: "value", label: m.tracking.tagValue, max: 8000 }]}
        onConfirm={async (v) => { const all = await ids(mostChanged); await tagRuns(all, v.key, v.value); onDone({ said: m.tracking.tagged(all.length), undo: async () => { await untagRuns(all, v.key); onDone(null); } }); }} />
      <ProblemNote problem={problem} />
    </>
  );
}

/** The letter c compares what is selected; it never fires in a field or a dialog. */
function useLetters(does: { compare: () => void }) {
  useEffect(() => {
    const press = (e: KeyboardEvent) => {
      const t = e.target;
      if (e.ctrlKey || e.metaKey || e.altKey || e.key !== "c" || (t instanceof HTMLElement && (/^(INPUT|TEXTAREA|SELECT)$/.test(t.tagName) && (t as HTMLInputElement).type !== "checkbox")) || document.querySelector("[role=dialog]")) return;
      does.compare();
    };
    addEventListener("keydown", press);
    return () => removeEventListener("keydown", press);
  });
}
