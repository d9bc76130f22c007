import type { Verdict as Doc } from "../api/types";
import type { ReactNode } from "react";
import { m } from "../messages";
import { Chip, type Tone } from "./Bits";

const tones: Record<string, Tone> = { yes: "ok", watch: "warn", no: "bad", unknown: "neutral" };

/** Whether a model can be relied on, as sign and word. */
export function VerdictChip({ verdict }: { verdict?: string }) {
  const v = verdict && tones[verdict] ? verdict : "unknown";
  return <Chip tone={tones[v]}>{m.verdict[v as keyof typeof m.verdict]}</Chip>;
}

/** A sentence of the server without the figures in brackets behind names ("(PSI 4.89, limit 0.25)"); they stand in the tables. */
export const plain = (sentence: string) => sentence.replace(/ \((?:PSI|KS|JS|TV|Hellinger|Wasserstein|chi²|Cramér)[^()]*\)/g, "");

/** Such a sentence, its figures on hover. */
export function Plain({ children }: { children: string }) {
  const short = plain(children);
  return <span className="wrap" title={short === children ? undefined : children}>{short}</span>;
}

/** The verdict with its reasons in plain sentences. */
export function VerdictReasons({ verdict, children }: { verdict?: Doc | null; children?: ReactNode }) {
  const reasons = verdict?.reasons ?? [];
  return (
    <div className="verdict">
      <p className="row"><VerdictChip verdict={verdict?.verdict} /><span className="big">{m.verdictSentence[(verdict?.verdict ?? "unknown") as keyof typeof m.verdictSentence] ?? m.verdictSentence.unknown}</span></p>
      {children}
      {reasons.length > 0 && <ul className="verdict">{reasons.map((r) => <li key={r}><span className="dim" aria-hidden="true">–</span><Plain>{r}</Plain></li>)}</ul>}
    </div>
  );
}
