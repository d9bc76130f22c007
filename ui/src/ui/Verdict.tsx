import type { Verdict as Doc } from "../api/types";
import { m } from "../messages";
import { Chip, type Tone } from "./Bits";

const tones: Record<string, Tone> = { yes: "ok", watch: "warn", no: "bad", unknown: "neutral" };

/** Whether a model can be relied on, as sign and word. */
export function VerdictChip({ verdict }: { verdict?: string }) {
  const v = verdict && tones[verdict] ? verdict : "unknown";
  return <Chip tone={tones[v]}>{m.verdict[v as keyof typeof m.verdict]}</Chip>;
}

/** The verdict with its reasons in plain sentences. */
export function VerdictReasons({ verdict }: { verdict?: Doc | null }) {
  const reasons = verdict?.reasons ?? [];
  return (
    <div className="verdict">
      <p className="row"><VerdictChip verdict={verdict?.verdict} /><span className="big">{m.verdictSentence[(verdict?.verdict ?? "unknown") as keyof typeof m.verdictSentence] ?? m.verdictSentence.unknown}</span></p>
      {reasons.length > 0 && <ul className="verdict">{reasons.map((r) => <li key={r}><span className="dim" aria-hidden="true">–</span><span className="wrap">{r}</span></li>)}</ul>}
    </div>
  );
}
