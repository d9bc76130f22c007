import { Button } from "@mantine/core";
import { useEffect, useState } from "react";
import { m } from "../messages";
import { ProblemNote } from "./Note";

export interface Undoable { said: string; undo: () => Promise<unknown> }

/** Says what was done and takes it back on request; stays until it is closed or something else is done. */
export function UndoBar({ done, onGone }: { done: Undoable | null; onGone: () => void }) {
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState<unknown>(null);
  useEffect(() => setProblem(null), [done]);
  const back = async () => {
    setBusy(true);
    try { await done?.undo(); onGone(); } catch (error) { setProblem(error); } finally { setBusy(false); }
  };
  return (
    <div role="status">
      {done && <p className="undo"><span>{done.said}</span><Button size="compact-sm" variant="default" loading={busy} onClick={() => void back()}>{m.undo}</Button><button type="button" className="linkb" onClick={onGone}>{m.close}</button></p>}
      <ProblemNote problem={problem} />
    </div>
  );
}
