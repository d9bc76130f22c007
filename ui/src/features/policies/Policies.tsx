import { Button, Modal, NativeSelect } from "@mantine/core";
import { useState } from "react";
import { useWhyNot } from "../../api/me";
import type { AlertPolicy } from "../../api/types";
import { m } from "../../messages";
import { Action } from "../../ui/Action";
import { Await } from "../../ui/Await";
import { Chip, Empty, Panel, Time } from "../../ui/Bits";
import { DataTable, type Column } from "../../ui/DataTable";
import { Go } from "../../ui/Go";
import { ProblemNote } from "../../ui/Note";
import { UndoBar, type Undoable } from "../../ui/Undo";
import { paths } from "../../ui/url";
import { settable, useDrop, useNames, usePolicies, useSave, useVersionsOf } from "./api";
import { PolicyForm } from "./PolicyForm";
import { inWords } from "./words";

const w = m.policies;
const nameOf = (model: string) => model || w.workspace;
const bare = { centered: true, size: "xl", closeButtonProps: { "aria-label": m.close }, transitionProps: { duration: 0 } };

interface Editing { model: string; from: AlertPolicy }

/** When alerts open, to whom they go, and what follows: of every model, and of those with a policy of their own. */
export function Policies() {
  const query = usePolicies();
  const why = useWhyNot("alert.write");
  const [editing, setEditing] = useState<Editing>();
  const [adding, setAdding] = useState(false);
  const [shown, setShown] = useState<string>();
  const [done, setDone] = useState<Undoable | null>(null);
  const drop = useDrop(), save = useSave();
  const own = query.data?.find((p) => p.model === "");
  const remove = (p: AlertPolicy) => drop.mutate(p.model, { onSuccess: () => setDone({ said: w.dropped(nameOf(p.model)), undo: () => save.mutateAsync({ ...settable(p), model: p.model, note: w.again }) }) });
  const columns: Column<AlertPolicy>[] = [
    { key: "model", head: w.of, cell: (p) => <div style={{ minWidth: 120 }}>{p.model ? <Go className="rowlink" to={paths.model(p.model)}>{p.model}</Go> : <b>{w.workspace}</b>}<div className="dim small">{p.version ? <>{w.version(p.version)} {w.by(p.created_by)}, <Time at={p.created_at} /></> : w.shipped}</div></div> },
    { key: "rule", head: w.rule, cell: (p) => <div className="wrap stack gap4" style={{ minWidth: 260 }}>{inWords(p).map((x) => <p key={x}>{x}</p>)}{p.note && <p className="dim small">“{p.note}”</p>}</div> },
    { key: "do", head: <span className="sr">{m.actions}</span>, cell: (p) => (
      <span className="row">
        <Action size="compact-sm" variant="default" why={why} aria-label={w.editOf(nameOf(p.model))} onClick={() => setEditing({ model: p.model, from: p })}>{m.edit}</Action>
        {p.version > 0 && <Button size="compact-sm" variant="default" aria-label={`${w.history}: ${w.historyOf(nameOf(p.model))}`} onClick={() => setShown(p.model)}>{w.history}</Button>}
        {p.version > 0 && <Action size="compact-sm" variant="default" why={why} loading={drop.isPending && drop.variables === p.model} aria-label={w.dropOf(nameOf(p.model))} onClick={() => remove(p)}>{w.drop}</Action>}
      </span>
    ) },
  ];
  return (
    <div className="stack gap16">
      <div className="toolbar"><span className="dim grow" style={{ flexBasis: 300 }}>{w.lead}</span><span className="end"><Action why={why} onClick={() => setAdding(true)}>{w.add}</Action></span></div>
      <UndoBar done={done} onGone={() => setDone(null)} />
      <ProblemNote problem={drop.error} />
      <Await query={query}>{(rows) => <DataTable boxed label={w.title} rows={rows} columns={columns} rowKey={(p) => p.model || "*"} empty={<Empty>{m.none}</Empty>} />}</Await>
      {shown !== undefined && <History model={shown} />}
      <Modal opened={adding} onClose={() => setAdding(false)} title={w.add} {...bare} size="md">
        {adding && <Pick taken={(query.data ?? []).map((p) => p.model)} onPick={(model) => { setAdding(false); if (own) setEditing({ model, from: own }); }} />}
      </Modal>
      <Modal opened={!!editing} onClose={() => setEditing(undefined)} title={editing && w.change(nameOf(editing.model))} {...bare}>{editing && <PolicyForm model={editing.model} from={editing.from} onDone={() => setEditing(undefined)} />}</Modal>
    </div>
  );
}

/** Which model gets a policy of its own. */
function Pick({ taken, onPick }: { taken: string[]; onPick: (model: string) => void }) {
  const free = useNames("models").filter((n) => !taken.includes(n));
  const [model, setModel] = useState("");
  if (free.length === 0) return <p className="dim">{w.allHave}</p>;
  return (
    <form className="stack gap16" onSubmit={(e) => { e.preventDefault(); if (model) onPick(model); }}>
      <NativeSelect label={w.model} value={model} required onChange={(e) => setModel(e.currentTarget.value)} data={[{ value: "", label: w.pickModel }, ...free.map((v) => ({ value: v, label: v }))]} data-autofocus />
      <div className="row between"><span /><Button type="submit" disabled={!model}>{m.next}</Button></div>
    </form>
  );
}

function History({ model }: { model: string }) {
  const query = useVersionsOf(model);
  const columns: Column<AlertPolicy>[] = [
    { key: "version", head: m.version.version, right: true, cell: (p) => p.version },
    { key: "rule", head: w.rule, cell: (p) => <div className="wrap stack gap4">{p.dropped ? <Chip>{w.wasDropped}</Chip> : inWords(p).map((x) => <p key={x}>{x}</p>)}{p.note && <p className="dim small">“{p.note}”</p>}</div> },
    { key: "by", head: m.version.by, cell: (p) => p.created_by },
    { key: "at", head: m.created, cell: (p) => <Time at={p.created_at} full /> },
  ];
  return <Panel title={w.historyOf(nameOf(model))} id="history" flush><Await query={query}>{(rows) => <DataTable label={w.historyOf(nameOf(model))} rows={rows} columns={columns} rowKey={(p) => String(p.version)} empty={<Empty>{m.none}</Empty>} />}</Await></Panel>;
}
