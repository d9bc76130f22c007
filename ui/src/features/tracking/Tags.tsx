import { useState } from "react";
import { useWhyNot } from "../../api/me";
import type { RunDocument } from "../../api/tracking";
import { m } from "../../messages";
import { Action } from "../../ui/Action";
import { Ask } from "../../ui/Ask";
import { Empty } from "../../ui/Bits";
import { DataTable } from "../../ui/DataTable";
import { IconClose, IconEdit } from "../../ui/icons";
import { ProblemNote } from "../../ui/Note";
import type { Undoable } from "../../ui/Undo";
import { useChange } from "./api";

/** The tags of a run that people set; those of the client are below "Code". Removing one can be taken back. */
export function Tags({ run, onDone }: { run: RunDocument; onDone: (done: Undoable | null) => void }) {
  const right = useWhyNot("run.write");
  const change = useChange("runs", run.id);
  const [editing, setEditing] = useState<{ key: string; value: string } | null>(null);
  const rows = Object.entries(run.tags ?? {}).filter(([k]) => !k.startsWith("mlflow.")).sort(([a], [b]) => a.localeCompare(b));
  const drop = async (key: string, value: string) => {
    await change.mutateAsync({ tags: { [key]: null } }).then(() => onDone({ said: m.tracking.dropped(key), undo: () => change.mutateAsync({ tags: { [key]: value } }) }), () => undefined);
  };
  return (
    <>
      <DataTable label={m.model.tags} rows={rows} rowKey={(e) => e[0]} empty={<Empty>{m.tracking.noTags}</Empty>} columns={[{ key: "k", head: m.name, cell: (e) => <span className="wrap">{e[0]}</span> }, { key: "v", head: m.version.value, cell: (e) => <span className="wrap">{e[1]}</span> },
        { key: "a", head: <span className="sr">{m.actions}</span>, right: true, cell: (e) => (right ? null : <span className="nowrap"><button type="button" className="copy" aria-label={m.tracking.changeTag(e[0])} title={m.tracking.changeTag(e[0])} onClick={() => setEditing({ key: e[0], value: e[1] })}><IconEdit size={15} /></button><button type="button" className="copy" aria-label={m.tracking.dropTag(e[0])} title={m.tracking.dropTag(e[0])} onClick={() => void drop(e[0], e[1])}><IconClose size={15} /></button></span>) }]} />
      <div style={{ padding: 12 }}><Action size="compact-sm" variant="default" why={right} onClick={() => setEditing({ key: "", value: "" })}>{m.tracking.addTag}</Action></div>
      <ProblemNote problem={change.error} />
      <Ask opened={!!editing} onClose={() => setEditing(null)} title={editing?.key ? m.tracking.changeTag(editing.key) : m.tracking.addTag} confirm={m.tracking.save}
        fields={[...(editing?.key ? [] : [{ name: "key", label: m.tracking.tagKey, required: true, max: 250 }]), { name: "value", label: m.tracking.tagValue, value: editing?.value, max: 8000 }]} onConfirm={(v) => change.mutateAsync({ tags: { [editing?.key || v.key]: v.value } })} />
    </>
  );
}
