import type { ReactNode } from "react";
import type { Window } from "../../api/types";
import { m } from "../../messages";
import { Chip, type Tone } from "../../ui/Bits";
import { count, percent } from "../../ui/format";

const w = m.signs;

/** A measure as a reader takes it: shares as percent, others as they are. */
const share = (v: number) => percent(v, 1);

function result(windows: Window[]): { tone: Tone; word: string; text: string } {
  const at = windows.at(-1)!;
  const known = [...windows].reverse().find((x) => (x.performance?.n ?? 0) > 0);
  const worse = (at.causes ?? []).some((c) => c.kind === "result");
  const right = known?.performance?.accuracy;
  const truth = known && (right !== null && right !== undefined ? w.right(share(right), count(known.performance!.n)) : w.outcomes(count(known.performance!.n)));
  if (worse) return { tone: "bad", word: w.worse, text: truth ?? w.noOutcome };
  if (at.performance && at.performance.n > 0) return { tone: "ok", word: w.holds, text: truth! };
  const estimate: unknown = at.estimate?.metrics?.accuracy?.value;
  const words = typeof estimate === "number" ? w.estimated(share(estimate)) : w.noOutcome;
  return { tone: "neutral", word: w.notYet, text: truth ? `${words} ${w.before(truth)}` : words };
}

/** Three signs for whoever has ten seconds: what comes in, what comes out, and whether it is right. */
export function Signs({ windows }: { windows: Window[] }) {
  const at = windows.at(-1);
  if (!at) return null;
  const inputs = at.features ?? [], outputs = at.predictions ?? [];
  const moved = inputs.filter((f) => f.shift === "moved").length;
  const learnt = !!at.reference?.dataset; // else a window that was accepted, or the first quiet one
  const out = outputs.some((f) => f.shift === "moved");
  const judged = inputs.some((f) => f.shift && f.shift !== "unknown"), judgedOut = outputs.some((f) => f.shift && f.shift !== "unknown");
  return (
    <dl className="signs">
      <Sign head={w.data} tone={!judged ? "neutral" : moved ? "warn" : "ok"} word={!judged ? w.notYet : moved ? w.moved : w.same}>{!judged ? w.noReference : moved ? w.ofInputs(moved, inputs.length, learnt) : w.asReference(learnt)}</Sign>
      <Sign head={w.answers} tone={!judgedOut ? "neutral" : out ? "warn" : "ok"} word={!judgedOut ? w.notYet : out ? w.moved : w.same}>{!judgedOut ? w.noReference : out ? w.answersMoved : w.answersSame}</Sign>
      {(() => { const r = result(windows); return <Sign head={w.result} tone={r.tone} word={r.word}>{r.text}</Sign>; })()}
    </dl>
  );
}

function Sign({ head, tone, word, children }: { head: string; tone: Tone; word: string; children: ReactNode }) {
  return <div><dt>{head}</dt><dd><Chip tone={tone}>{word}</Chip><p>{children}</p></dd></div>;
}
