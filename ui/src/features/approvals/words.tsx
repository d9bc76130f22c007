import type { ChangeRequest, Plan } from "../../api/types";
import { m } from "../../messages";
import { Chip, type Tone } from "../../ui/Bits";
import { count } from "../../ui/format";

const tones: Record<string, Tone> = { open: "info", approved: "ok", executed: "ok", refused: "bad", void: "bad", withdrawn: "neutral", expired: "neutral" };

export function RequestChip({ state }: { state: ChangeRequest["state"] }) {
  return <Chip tone={tones[state]} glyph={state === "withdrawn" || state === "expired" || state === "void" ? "⊘" : undefined}>{m.requestState[state] ?? state}</Chip>;
}

/** "Deploy screening v2 to prod" */
export function requestTitle(r: Pick<ChangeRequest, "kind" | "model" | "version" | "environment">): string {
  return m.approvals.asks(m.changeKind[r.kind] ?? r.kind, r.model, r.version, r.environment);
}

/** The rollout in words: "10 % of calls until 400 rows, then all". */
export function planWords(plan?: Plan | null): string {
  if (!plan || !plan.mode || plan.mode === "all") return m.approvals.planAll;
  if (plan.mode === "shadow") return m.approvals.planShadow;
  const steps = (plan.steps ?? []).map((s) => m.approvals.planStep(s.share, s.hold_rows ? m.approvals.rows(count(s.hold_rows)) : s.hold_seconds ? m.approvals.seconds(count(s.hold_seconds)) : ""));
  if ((plan.steps ?? []).at(-1)?.share !== 100) steps.push(m.approvals.planThenAll);
  return steps.join(", ");
}

export const granted = (r: ChangeRequest) => (r.votes ?? []).filter((v) => v.grant).length;
