import type { WindowFeature } from "../../api/types";
import { m } from "../../messages";
import { Chip } from "../../ui/Bits";

/** How far something moved, in a word. */
export function Shift({ shift }: { shift: WindowFeature["shift"] }) {
  if (shift === "moved") return <Chip tone="warn">{m.monitor.moved}</Chip>;
  if (shift === "slight") return <Chip tone="info" glyph="△">{m.monitor.slight}</Chip>;
  return shift === "none" ? <Chip tone="ok">{m.monitor.steady}</Chip> : <Chip>{m.verdict.unknown}</Chip>;
}
