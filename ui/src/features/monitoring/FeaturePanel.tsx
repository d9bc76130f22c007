import type { WindowFeature } from "../../api/types";
import { m } from "../../messages";
import { HistogramPair } from "../../ui/charts/HistogramPair";
import { fixed } from "../../ui/format";

/** What moved in one feature, in a sentence, and both distributions. */
export function FeaturePanel({ feature: f, endpoint }: { feature: WindowFeature; endpoint: string }) {
  const h = f.histogram;
  return (
    <div className="stack gap16">
      <p>{f.shift === "moved" ? m.monitor.movedSentence(f.name, fixed(f.psi, 2), fixed(f.limit, 2)) : m.monitor.steadySentence(f.name, fixed(f.psi, 2), fixed(f.limit, 2))}</p>
      {h ? <HistogramPair title={m.monitor.pairTitle} file={`${endpoint}-${f.name}`} bins={{ edges: h.edges ?? [], labels: h.labels ?? undefined, reference: h.reference ?? [], current: h.current ?? [], referenceRows: h.reference_rows, currentRows: h.current_rows }} />
        : <p className="dim">{m.monitor.noHistogram}</p>}
    </div>
  );
}
