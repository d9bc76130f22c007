import type { Deployment } from "../../api/types";
import { m } from "../../messages";
import { Chip, Time, type Tone } from "../../ui/Bits";

const tones: Record<string, Tone> = { live: "ok", rolling: "info", pending: "info", suspended: "warn", failed: "bad", retired: "neutral" };

export function DeploymentChip({ state }: { state: Deployment["state"] }) {
  return <Chip tone={tones[state]} glyph={state === "retired" ? "⊘" : undefined}>{m.deploymentState[state] ?? state}</Chip>;
}

/** When something changed last, and who asked for it. */
export function LastChange({ d }: { d: Deployment }) {
  return <><Time at={d.change.at} />{d.change.by && <div className="dim small">{m.serving.changedBy(m.serving.acts[d.change.act] ?? d.change.act, d.change.by)}</div>}</>;
}
