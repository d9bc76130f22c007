import type { WindowFeature } from "../../api/types";
import { m } from "../../messages";
import { HistogramPair } from "../../ui/charts/HistogramPair";
import { fixed, number, percent } from "../../ui/format";

const w = m.look;

/** What decided about an input, in a sentence; where its mean went stands behind. */
function sentence(f: WindowFeature): string {
  if (f.shift === "unknown") return w.unknown(f.name, f.why ?? m.monitor.noHistogram);
  if (f.metric === "missing") return w.missing(f.name, percent(f.missing, 1), percent(f.missing_reference, 1));
  if (f.metric === "new") return w.fresh(f.name, percent(f.new, 1));
  const [measure, value] = f.metric === "ks" ? ["KS", f.ks] as const : ["PSI", f.psi] as const;
  const moved = f.shift === "moved";
  const mean = moved && f.mean !== undefined && f.mean_reference !== undefined ? " " + w.mean(number(f.mean_reference, 3), number(f.mean, 3)) : "";
  return (moved ? m.monitor.movedSentence : m.monitor.steadySentence)(f.name, measure, fixed(value, 2), fixed(f.limit, 2)) + mean;
}

/** The measures of an input, each with its explanation: key, name, value, words. */
const measures = (f: WindowFeature): [string, string, string, string?][] => [
  ["psi", "PSI", fixed(f.psi, 2), m.glossary.psi], ["ks", "KS", fixed(f.ks, 2), m.glossary.ks], ["js", "JS", fixed(f.js, 2), m.glossary.js], ["limit", m.monitor.limit, fixed(f.limit, 2)],
];

/** What moved in one feature, in a sentence, and both distributions. */
export function FeaturePanel({ feature: f, endpoint }: { feature: WindowFeature; endpoint: string }) {
  const h = f.histogram;
  return (
    <div className="stack gap16">
      <p>{sentence(f)}</p>
      {h ? <HistogramPair title={m.monitor.pairTitle} file={`${endpoint}-${f.name}`} bins={{ edges: h.edges ?? [], labels: h.labels ?? undefined, reference: h.reference ?? [], current: h.current ?? [], referenceRows: h.reference_rows, currentRows: h.current_rows }} />
        : <p className="dim">{m.monitor.noHistogram}</p>}
      <dl className="signs measures">{measures(f).map(([key, name, value, about]) => <div key={key}><dt>{about ? <abbr title={about}>{name}</abbr> : name}</dt><dd className="num">{value}</dd></div>)}</dl>
    </div>
  );
}
