import type { PipelineRun, Step } from "../../api/types";
import { m } from "../../messages";
import { Chip, type Tone } from "../../ui/Bits";
import { Go } from "../../ui/Go";
import { paths } from "../../ui/url";

export const tones: Record<string, Tone> = { succeeded: "ok", cached: "ok", running: "info", queued: "neutral", waiting: "neutral", failed: "bad", cancelled: "warn", skipped: "neutral" };
const glyphs: Record<string, string> = { running: "▶", queued: "◷", waiting: "◷", cancelled: "⊘", skipped: "⊘", cached: "◆" };

export function RunChip({ state }: { state: PipelineRun["state"] | Step["state"] }) {
  return <Chip tone={tones[state]} glyph={glyphs[state]}>{m.runState[state] ?? state}</Chip>;
}

/** What started a run, with the way there. */
export function Trigger({ run }: { run: PipelineRun }) {
  const t = run.trigger;
  if (t?.kind === "monitor") return <span>{m.pipeline.byMonitor} {run.model ? <Go to={paths.monitoring(run.model, { window: t.ref })}>{run.model}</Go> : t.ref}</span>;
  if (t?.kind === "schedule") return <span>{m.pipeline.bySchedule} {t.ref}</span>;
  return <span>{run.by || t?.ref}</span>;
}
