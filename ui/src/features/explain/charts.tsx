import { m } from "../../messages";
import { axisNumber, Figure, ticks } from "../../ui/charts/Figure";
import { number, percent, text } from "../../ui/format";
import { useWidth } from "../../ui/hooks";
import type { Feature, Study } from "./types";

const w = m.explaining;
const drawn = 15;
const label = (s: string, n: number) => (s.length > n ? s.slice(0, n - 1) + "…" : s);

/** How much each feature moved the answers, as bars. */
export function Importances({ study }: { study: Study }) {
  const [box, width] = useWidth();
  const list = study.features.slice(0, drawn);
  const most = Math.max(...list.map((f) => f.importance), 0);
  const left = Math.min(180, width * 0.35), right = 64, row = 24, bar = Math.max(20, width - left - right);
  return (
    <Figure title={w.mean + (study.unit ? `, ${study.unit}` : "")} file={`${study.model}-${study.version}-importance`} numbers={{ head: [w.feature, w.mean, w.share], rows: study.features.map((f) => [f.name, f.importance, percent(f.share, 1)]) }}>
      <div ref={box}>
        <svg className="chart" role="img" aria-label={list.map((f) => `${f.name} ${percent(f.share)}`).join(", ")} width={width} height={list.length * row + 4} viewBox={`0 0 ${width} ${list.length * row + 4}`}>
          {list.map((f, i) => (
            <g key={f.name}><title>{f.words}</title>
              <text x={left - 8} y={i * row + 16} textAnchor="end">{label(f.name, Math.floor(left / 7))}</text>
              <rect x={left} y={i * row + 4} height={row - 9} width={most > 0 ? Math.max(1, (f.importance / most) * bar) : 1} fill="var(--k-c1)" rx={1.5} />
              <text x={left + (most > 0 ? (f.importance / most) * bar : 0) + 6} y={i * row + 16}>{percent(f.share, f.share < 0.1 ? 1 : 0)}</text>
            </g>
          ))}
        </svg>
      </div>
      {study.features.length > drawn && <p className="small dim">{w.drawn(drawn, study.features.length)}</p>}
    </Figure>
  );
}

/** Low values in one colour, high ones in the other. */
const shade = (place?: number) => (place === undefined ? "var(--k-dim, #888)" : `color-mix(in oklab, var(--k-c2) ${Math.round(place * 100)}%, var(--k-c1))`);

/** One dot per explained row and feature, piled up where they lie close. */
export function Beeswarm({ study }: { study: Study }) {
  const [box, width] = useWidth();
  const list = study.features.slice(0, drawn);
  const all = list.flatMap((f) => f.points.map((p) => p.contribution));
  const low = Math.min(0, ...all), high = Math.max(0, ...all);
  const left = Math.min(180, width * 0.3), right = 12, row = 34, foot = 24, plot = Math.max(40, width - left - right);
  const x = (v: number) => left + (high > low ? ((v - low) / (high - low)) * plot : plot / 2);
  const height = list.length * row + foot;
  return (
    <Figure title={w.swarm} file={`${study.model}-${study.version}-beeswarm`} numbers={() => ({ head: [w.feature, w.value, w.contribution], rows: study.features.flatMap((f) => f.points.map((p) => [f.name, text(p.value), p.contribution])) })}
      legend={<><span><i style={{ background: shade(0) }} />{w.lowValue}</span><span><i style={{ background: shade(1) }} />{w.highValue}</span><span><i style={{ background: shade() }} />{w.noPlace}</span></>}>
      <div ref={box}>
        <svg className="chart" role="img" aria-label={list.map((f) => w.swarmSummary(f.name, f.points.length, number(Math.min(...f.points.map((p) => p.contribution))), number(Math.max(...f.points.map((p) => p.contribution))))).join("; ")} width={width} height={height} viewBox={`0 0 ${width} ${height}`}>
          {ticks(low, high, Math.max(2, Math.floor(plot / 90))).map((t) => <g key={t}><line className="axis" x1={x(t)} x2={x(t)} y1={0} y2={height - foot} /><text x={x(t)} y={height - 8} textAnchor="middle">{axisNumber(t)}</text></g>)}
          <line x1={x(0)} x2={x(0)} y1={0} y2={height - foot} stroke="var(--k-strong)" />
          {list.map((f, i) => <g key={f.name}><text x={left - 8} y={i * row + row / 2 + 4} textAnchor="end">{label(f.name, Math.floor(left / 7))}</text><Pile feature={f} x={x} middle={i * row + row / 2} room={row / 2 - 3} /></g>)}
        </svg>
      </div>
      {study.features.length > drawn && <p className="small dim">{w.drawn(drawn, study.features.length)}</p>}
    </Figure>
  );
}

function Pile({ feature, x, middle, room }: { feature: Feature; x: (v: number) => number; middle: number; room: number }) {
  const piles = new Map<number, number>();
  return <>{feature.points.map((p, i) => {
    const at = Math.round(x(p.contribution) / 4), n = piles.get(at) ?? 0;
    piles.set(at, n + 1);
    const dy = Math.min(room, Math.ceil(n / 2) * 3.2) * (n % 2 ? 1 : -1);
    return <circle key={i} cx={x(p.contribution)} cy={middle + dy} r={2.2} fill={shade(p.place)} fillOpacity={0.8} />;
  })}</>;
}

/** How the answer goes with one feature, and below how often its values occur. */
export function CurveOf({ feature: f, study }: { feature: Feature; study: Study }) {
  const [box, width] = useWidth();
  const c = f.curve!;
  const numbers = c.values.every((v) => typeof v === "number");
  const xs = numbers ? (c.values as number[]) : c.values.map((_, i) => i);
  const bars = f.density ?? [];
  const from = numbers ? Math.min(...xs, ...bars.map((b) => b.from ?? Infinity)) : -0.5, to = numbers ? Math.max(...xs, ...bars.map((b) => b.to ?? -Infinity)) : xs.length - 0.5;
  const meanOfMeans = c.mean.reduce((a, v) => a + v, 0) / c.mean.length;
  const local = c.local ? c.local.edges.map((e, i) => [e, (c.local!.effect[i] ?? 0) + meanOfMeans] as const) : [];
  const all = [...c.low, ...c.high, ...c.mean, ...local.map((p) => p[1])];
  const least = Math.min(...all), most = Math.max(...all), room = (most - least || 1) * 0.08;
  const low = least - room, high = most + room;
  const left = 52, right = 12, head = 10, h = 260, gap = 26, tall = 64, plot = h - head;
  const span = Math.max(60, width - left - right), height = h + gap + tall + 6;
  const x = (v: number) => left + ((v - from) / (to - from || 1)) * span, y = (v: number) => head + plot * (1 - (v - low) / (high - low));
  const line = (ys: readonly number[]) => ys.map((v, i) => `${i ? "L" : "M"}${x(xs[i] ?? 0)},${y(v)}`).join(" ");
  const band = `${line(c.high)} ${[...c.low].map((v, i) => [v, i] as const).reverse().map(([v, i]) => `L${x(xs[i] ?? 0)},${y(v)}`).join(" ")} Z`;
  const peak = Math.max(1, ...bars.map((b) => b.count));
  const names = c.values.map((v) => text(v));
  const every = Math.max(1, Math.ceil(names.length / Math.max(2, Math.floor(span / 80))));
  const rows = bars.reduce((a, b) => a + b.count, 0);
  return (
    <Figure title={w.curve(f.name)} file={`${study.model}-${study.version}-${f.name}`} numbers={{ head: [f.name, w.pdp, "10 %", "90 %"], rows: c.values.map((v, i) => [text(v), c.mean[i] ?? 0, c.low[i] ?? 0, c.high[i] ?? 0]) }}
      legend={<><span><i style={{ background: "var(--k-c1)" }} />{w.pdp}</span><span><i style={{ background: "var(--k-c1)", opacity: 0.25 }} />{w.band}</span>{local.length > 1 && <span><i style={{ background: "var(--k-c2)" }} />{w.local}</span>}</>}>
      <div ref={box}>
        <svg className="chart" role="img" aria-label={`${w.curve(f.name)}: ${names[0]} ${number(c.mean[0])}, ${names.at(-1)} ${number(c.mean.at(-1))}. ${w.density(f.name, rows)}`} width={width} height={height} viewBox={`0 0 ${width} ${height}`}>
          {ticks(low, high).map((t) => <g key={t}><line className="axis" x1={left} x2={left + span} y1={y(t)} y2={y(t)} /><text x={left - 6} y={y(t) + 4} textAnchor="end">{axisNumber(t)}</text></g>)}
          <path d={band} fill="var(--k-c1)" fillOpacity={0.16} />
          {local.length > 1 && <path d={local.map(([e, v], i) => `${i ? "L" : "M"}${x(e)},${y(v)}`).join(" ")} fill="none" stroke="var(--k-c2)" strokeWidth={1.6} strokeDasharray="6 3" />}
          <path d={line(c.mean)} fill="none" stroke="var(--k-c1)" strokeWidth={2.2} />
          {c.mean.map((v, i) => <circle key={i} cx={x(xs[i] ?? 0)} cy={y(v)} r={2.6} fill="var(--k-c1)"><title>{`${names[i]}: ${number(v)}`}</title></circle>)}
          {numbers ? ticks(from, to, Math.max(2, Math.floor(span / 90))).map((t) => <text key={t} x={x(t)} y={h + 16} textAnchor="middle">{axisNumber(t)}</text>) : names.map((n, i) => i % every === 0 && <text key={i} x={x(i)} y={h + 16} textAnchor="middle">{label(n, 12)}</text>)}
          {bars.map((b, i) => {
            const at = numbers ? [b.from ?? 0, b.to ?? 0] : [names.indexOf(b.text ?? "") - 0.4, names.indexOf(b.text ?? "") + 0.4];
            if (!numbers && names.indexOf(b.text ?? "") < 0) return null;
            const wide = Math.max(1, x(at[1] ?? 0) - x(at[0] ?? 0) - 1), tallness = (b.count / peak) * tall;
            return <rect key={i} x={x(at[0] ?? 0)} width={wide} y={h + gap + tall - tallness} height={tallness} fill="var(--k-c3)"><title>{`${b.text ?? `${axisNumber(b.from ?? 0)} – ${axisNumber(b.to ?? 0)}`}: ${b.count} ${w.rows}`}</title></rect>;
          })}
        </svg>
        <p className="small dim">{w.density(f.name, rows)}</p>
      </div>
    </Figure>
  );
}
