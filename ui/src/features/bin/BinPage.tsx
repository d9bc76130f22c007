import { useMemo, useState } from "react";
import { asProblem } from "../../api/problem";
import { useWhyNot } from "../../api/me";
import { m } from "../../messages";
import { Action } from "../../ui/Action";
import { Ask } from "../../ui/Ask";
import { Skeleton } from "../../ui/Await";
import { Chip, Empty, Time } from "../../ui/Bits";
import { FilterSelect } from "../../ui/Filter";
import { absolute, bytes, count } from "../../ui/format";
import type { GridColumn } from "../../ui/grid/columns";
import { Grid } from "../../ui/grid/Grid";
import { useSelection } from "../../ui/grid/selection";
import { SelectionBar } from "../../ui/grid/Toolbar";
import { useLayout } from "../../ui/grid/useLayout";
import { IconRollback } from "../../ui/icons";
import { ProblemNote } from "../../ui/Note";
import { Page } from "../../ui/Page";
import { paths, useParam } from "../../ui/url";
import { useBinActions, useBinned, type Binned } from "./api";

const keyOf = (b: Binned) => `${b.kind}/${b.id}`;
const nameOf = (b: Binned) => b.name || b.id;

const columns: GridColumn<Binned>[] = [
  { key: "name", head: m.bin.what, width: 220, cell: nameOf, text: nameOf },
  { key: "kind", head: m.bin.kind, width: 120, cell: (b) => m.bin.kinds[b.kind] ?? b.kind, text: (b) => b.kind },
  { key: "deleted", head: m.bin.deleted, width: 140, cell: (b) => <Time at={b.deleted_at} />, text: (b) => absolute(b.deleted_at) },
  { key: "by", head: m.bin.by, width: 120, cell: (b) => b.deleted_by, text: (b) => b.deleted_by },
  { key: "until", head: m.bin.until, width: 150, cell: (b) => (b.hold ? <Chip tone="warn" glyph="⏸">{m.bin.held}</Chip> : <Time at={b.purge_at} />), text: (b) => b.hold ?? absolute(b.purge_at) },
  { key: "files", head: m.bin.files, width: 80, right: true, cell: (b) => count(b.files), text: (b) => String(b.files) },
  { key: "bytes", head: m.bin.size, width: 100, right: true, cell: (b) => bytes(b.bytes), text: (b) => String(b.bytes) },
];
const defaults = { keys: columns.map((c) => c.key), pinned: ["name"] };

const pageOf = (b: Binned): string => {
  switch (b.kind) {
    case "run": return paths.trackingRun(b.id);
    case "experiment": return paths.experiment(b.id);
    default: return `/audit?object=${encodeURIComponent(b.kind === "version" || b.kind === "model" ? `model/${b.name}` : keyOf(b))}`;
  }
};

/** What was deleted: bring it back, or let it go for good. */
export function BinPage() {
  const [kind] = useParam("kind");
  const query = useBinned(kind);
  const [layout, setLayout] = useLayout(defaults);
  const selection = useSelection("sel");
  const chosen = useMemo(() => query.rows.filter((b) => selection.ids.has(keyOf(b))), [query.rows, selection.ids]);
  const [said, setSaid] = useState("");
  return (
    <Page title={m.bin.title} lead={m.bin.lead}>
      <div className="toolbar"><FilterSelect name="kind" label={m.bin.kind} options={[{ value: "", label: m.bin.anyKind }, ...["experiment", "run", "logged-model", "model", "version"].map((value) => ({ value, label: m.bin.kinds[value] ?? value }))]} /></div>
      {!!query.error && <ProblemNote problem={query.error} retry={() => void query.refetch()} />}
      <SelectionBar selection={selection} loaded={query.rows.length} total={query.more.has ? undefined : query.rows.length} status={said || (query.rows.length ? m.bin.count(query.rows.length, query.more.has) : "")}><Acts chosen={chosen} onDone={(text) => { setSaid(text); selection.clear(); }} /></SelectionBar>
      {query.isPending ? <Skeleton lines={6} /> : <Grid label={m.bin.title} rows={query.rows} columns={columns} layout={layout} setLayout={setLayout} rowKey={keyOf} rowName={nameOf} href={pageOf} total={query.more.has ? undefined : query.rows.length} selection={selection} more={query.more} empty={<Empty>{m.bin.empty}</Empty>} />}
    </Page>
  );
}

function Acts({ chosen, onDone }: { chosen: Binned[]; onDone: (said: string) => void }) {
  const mayRestore = useWhyNot("bin.restore"), mayPurge = useWhyNot("bin.purge");
  const { restore, purge } = useBinActions();
  const [naming, setNaming] = useState(false);
  const [purging, setPurging] = useState(false);
  const [problem, setProblem] = useState<unknown>(null);
  const one = chosen.length === 1 ? chosen[0] : undefined;
  const back = async () => {
    setProblem(null);
    try { await restore(chosen); onDone(m.bin.restored(chosen.length)); } catch (error) {
      setProblem(error);
      if (one && asProblem(error).status === 409) setNaming(true);
    }
  };
  return (
    <>
      <Action size="compact-sm" why={mayRestore} leftSection={<IconRollback size={15} aria-hidden="true" />} onClick={() => void back()}>{m.bin.restore}</Action>
      <Action size="compact-sm" variant="default" why={mayPurge ?? (one ? undefined : m.tracking.oneOnly)} onClick={() => setPurging(true)}>{m.bin.purge}</Action>
      <Ask opened={naming && !!one} onClose={() => setNaming(false)} title={m.bin.restore} confirm={m.bin.restore} fields={[{ name: "as", label: m.bin.newName, required: true, max: 500 }]} onConfirm={async (v) => { if (one) { await restore([one], v.as); onDone(m.bin.restored(1)); } }}><p>{asProblem(problem).detail}</p></Ask>
      <Ask opened={purging && !!one} onClose={() => setPurging(false)} title={m.bin.purgeTitle} confirm={m.bin.purge} fields={[{ name: "name", label: m.bin.typeName(one ? nameOf(one) : ""), required: true, max: 500 }]} onConfirm={async (v) => { if (one) { await purge(one, v.name); onDone(m.bin.forGood(1)); } }}><p>{m.bin.purgeWhat(1)}</p></Ask>
      {!naming && <ProblemNote problem={problem} />}
    </>
  );
}
