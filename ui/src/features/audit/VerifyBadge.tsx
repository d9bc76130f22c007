import { useWhyNot } from "../../api/me";
import { useState, type ReactNode } from "react";
import type { Verified } from "../../api/types";
import { m } from "../../messages";
import { Action } from "../../ui/Action";
import { Chip } from "../../ui/Bits";
import { clockTime, count } from "../../ui/format";
import { Note, ProblemNote } from "../../ui/Note";
import { useCheckpoint, useVerify } from "./api";

/** The state of the log: not yet verified, verified, broken at an entry, or unknown because the check could not be made. */
export function VerifyBadge() {
  const verify = useVerify();
  const head = useCheckpoint();
  const why = useWhyNot("audit.read");
  const [at, setAt] = useState<Date | null>(null);
  const run = () => verify.mutate(undefined, { onSettled: () => setAt(new Date()) });
  return (
    <div className="stack" style={{ marginBottom: 16 }}>
      <Badge result={verify.data} failed={!!verify.error} size={head.data?.size} at={at} action={<Action size="compact-sm" variant="default" why={why} loading={verify.isPending} onClick={run}>{at ? m.audit.verifyAgain : m.audit.verify}</Action>} />
      <ProblemNote problem={verify.error} />
    </div>
  );
}

export function Badge({ result, failed, size, at, action }: { result?: Verified; failed: boolean; size?: number; at: Date | null; action: ReactNode }) {
  if (failed) return <Note tone="warn" title={<span role="status">{m.audit.unknown}</span>} actions={action}><p>{m.audit.unknownDetail}</p></Note>;
  if (!result || !at) return <Note tone="info" title={<span role="status">{m.audit.notYet}</span>} actions={action}><p>{m.audit.notYetDetail(count(size))}</p></Note>;
  const broken = result.broken ?? [];
  if (!result.ok || broken.length > 0) {
    return (
      <Note tone="bad" title={<span role="status">{m.audit.broken(broken[0]?.index)}</span>} actions={action}>
        <ul className="stack gap4">{broken.map((b) => <li key={b.index} className="wrap"><Chip tone="bad">#{b.index}</Chip> {b.id && <code>{b.id}</code>} {b.why}</li>)}</ul>
        <p>{m.audit.brokenDetail}</p>
      </Note>
    );
  }
  return <Note tone="ok" title={<span role="status">{m.audit.verified(count(result.size), clockTime(at))}</span>} actions={action}><p>{m.audit.verifiedDetail(count(result.checked), count(result.pending))}</p></Note>;
}
