import { m } from "../../messages";
import { count, percent } from "../format";
import { useWidth } from "../hooks";
import { axisNumber, Figure, ticks } from "./Figure";

export interface Bins { edges: number[]; labels?: string[]; reference: number[]; current: number[]; referenceRows: number; currentRows: number }

/** The names of n bins: between edges, or also below the first and above the last edge. */
export function binNames(edges: number[], n: number, labels: string[] = []): string[] {
  return Array.from({ length: n }, (_, i) => {
    if (labels[i]) return labels[i];
    if (edges.length === n + 1) return `${axisNumber(edges[i])} – ${axisNumber(edges[i + 1])}`;
    if (edges.length === n - 1) return i === 0 ? `≤ ${axisNumber(edges[0])}` : i === n - 1 ? `> ${axisNumber(edges[n - 2])}` : `${axisNumber(edges[i - 1])} – ${axisNumber(edges[i])}`;
    return edges[i] === undefined ? m.chart.other : axisNumber(edges[i]);
  });
}

const shares = (counts: number[]) => {
  const sum = counts.reduce((a, b) => a + b, 0);
  return counts.map((c) => (sum > 0 ? c / sum : 0));
};

/** Whether the bins were cut so that each holds about the same of the reference. */
const even = (values: number[]) => values.length > 3 && Math.max(...values) < 1.35 * Math.min(...values);

/** Reference and current distribution of one feature beside each other: same bins, same scale, both counts stated. */
export function HistogramPair({ title, bins, file }: { title: string; bins: Bins; file: string }) {
  const ref = shares(bins.reference), cur = shares(bins.current);
  const top = 1.04 * Math.max(0.01, ...ref, ...cur);
  const names = binNames(bins.edges, ref.length, bins.labels);
  const numbers = { head: [m.chart.bin, m.chart.reference, m.chart.current, m.chart.referenceShare, m.chart.currentShare], rows: names.map((n, i) => [n, bins.reference[i], bins.current[i] ?? 0, percent(ref[i], 1), percent(cur[i], 1)]) };
  return (
    <Figure title={title} file={file} numbers={numbers}>
      <div className="grid2" style={{ gap: 20 }}>
        <Side label={m.chart.referenceN(count(bins.referenceRows))} colour="var(--k-c1)" own={ref} other={cur} otherColour="var(--k-c2)" top={top} names={names} edges={bins.edges} />
        <Side label={m.chart.currentN(count(bins.currentRows))} colour="var(--k-c2)" own={cur} other={ref} otherColour="var(--k-c1)" top={top} names={names} edges={bins.edges} />
      </div>
      <p className="small dim">{m.chart.pairHelp}{even(ref) && ` ${m.chart.evenBins}`}</p>
    </Figure>
  );
}

function Side({ label, colour, own, other, otherColour, top, names, edges }: { label: string; colour: string; own: number[]; other: number[]; otherColour: string; top: number; names: string[]; edges: number[] }) {
  const [box, width] = useWidth(360);
  const h = 230, left = 38, bottom = 30, head = 8;
  const w = Math.max(60, width - left - 6), plot = h - bottom - head, step = w / own.length;
  const y = (v: number) => head + plot * (1 - v / top);
  const outline = other.map((v, i) => `${i === 0 ? "M" : "L"}${left + i * step},${y(v)} L${left + (i + 1) * step},${y(v)}`).join(" ");
  const closed = edges.length === own.length + 1;
  const every = Math.max(1, Math.ceil((closed ? edges.length : names.length) / Math.max(2, Math.floor(w / (closed ? 46 : 86)))));
  const summary = m.chart.summary(label, names[own.indexOf(Math.max(...own))] ?? "", percent(Math.max(...own)));
  return (
    <div ref={box}>
      <p className="legend"><span><i style={{ background: colour }} />{label}</span></p>
      <svg className="chart" role="img" aria-label={summary} width={width} height={h} viewBox={`0 0 ${width} ${h}`}>
        {ticks(0, top, 4).map((t) => <g key={t}><line className="axis" x1={left} x2={left + w} y1={y(t)} y2={y(t)} /><text x={left - 6} y={y(t) + 4} textAnchor="end">{percent(t)}</text></g>)}
        {own.map((v, i) => <rect key={i} x={left + i * step + 1} width={Math.max(1, step - 2)} y={y(v)} height={Math.max(0, head + plot - y(v))} fill={colour} rx={1.5}><title>{`${names[i]}: ${percent(v, 1)}`}</title></rect>)}
        <path d={outline} fill="none" stroke={otherColour} strokeWidth={1.5} strokeDasharray="4 3" />
        {(closed ? edges : names).map((e, i) => i % every === 0 && <text key={i} x={left + (closed ? i : i + 0.5) * step} y={h - 12} textAnchor="middle">{typeof e === "number" ? axisNumber(e) : e.length > 14 ? e.slice(0, 13) + "…" : e}</text>)}
      </svg>
    </div>
  );
}

/** One small distribution for a table cell. */
export function MiniHistogram({ counts, label, width = 120, height = 30 }: { counts: number[]; label: string; width?: number; height?: number }) {
  const top = Math.max(1, ...counts), step = width / Math.max(1, counts.length);
  return (
    <svg role="img" aria-label={label} width={width} height={height} style={{ display: "block" }}>
      {counts.map((c, i) => <rect key={i} x={i * step + 0.5} width={Math.max(1, step - 1)} y={height - (c / top) * (height - 1)} height={(c / top) * (height - 1)} fill="var(--k-c1)" />)}
    </svg>
  );
}
