import { Textarea } from "@mantine/core";
import { useRef, useState } from "react";
import { useWhyNot } from "../../api/me";
import type { ChangeRequest } from "../../api/types";
import { m } from "../../messages";
import { Action } from "../../ui/Action";
import { IconCheck, IconCross } from "../../ui/icons";
import { Note, ProblemNote } from "../../ui/Note";
import { useVote } from "./api";
import { planWords } from "./words";

/** Asks for a grant or a refusal with its reason; the server decides whether the person may vote, the form says why not. */
export function VoteForm({ request: r }: { request: ChangeRequest }) {
  const vote = useVote(r.id);
  const [reason, setReason] = useState("");
  const [tried, setTried] = useState(false);
  const field = useRef<HTMLTextAreaElement>(null);
  const lacking = useWhyNot("approval.vote");
  if (r.state !== "open") return <Note tone={r.state === "approved" || r.state === "executed" ? "ok" : "neutral"} title={m.vote.settled(m.requestState[r.state] ?? r.state)} />;
  const why = r.you?.may_vote ? undefined : (r.you?.why || lacking || m.vote.mayNot);
  const missing = !reason.trim();
  const send = (grant: boolean) => {
    setTried(true);
    if (missing) { field.current?.focus(); return; }
    vote.mutate({ grant, reason: reason.trim() }, { onSuccess: () => { setReason(""); setTried(false); } });
  };
  return (
    <form className="stack gap16" onSubmit={(e) => e.preventDefault()} aria-label={m.vote.form}>
      <p className="small">{r.when_approved ? m.vote.effectNow(r.version, r.environment, planWords(r.plan)) : m.vote.effectLater(r.version, r.environment)}</p>
      {why ? <Note tone="warn" title={m.vote.youMayNot}><p>{why}</p></Note>
        : <Textarea ref={field} label={m.reason} description={m.vote.reasonHelp} withAsterisk required value={reason} onChange={(e) => setReason(e.currentTarget.value)} rows={2} resize="vertical" error={tried && missing ? m.reasonMissing : undefined} />}
      <ProblemNote problem={vote.error} />
      <div className="row">
        <Action why={why} leftSection={<IconCheck size={16} />} loading={vote.isPending && vote.variables?.grant} onClick={() => send(true)}>{m.vote.approve}</Action>
        <Action why={why} variant="default" leftSection={<IconCross size={16} />} loading={vote.isPending && !vote.variables?.grant} onClick={() => send(false)}>{m.vote.refuse}</Action>
      </div>
    </form>
  );
}
