import { useState, type KeyboardEvent } from "react";
import { m } from "../../messages";
import { fixed } from "../format";
import { useWidth } from "../hooks";
import { axisNumber, Figure, ticks } from "./Figure";

export interface Series { name: string; values: (number | null)[] }
interface Props { title: string; file: string; x: string[]; series: Series[]; limit?: { value: number; label: string }; marks?: boolean[]; /** What began at a point, such as a version; undefined where nothing did. */ events?: (string | undefined)[]; min?: number; max?: number; note?: (i: number) => string }

const colours = ["var(--k-c1)", "var(--k-c2)", "var(--k-c3)", "var(--k-c4)"];
const dashes = [undefined, "6 3", "2 3", "8 3 2 3"];

/** Lines over numbered points. ←/→ move a cursor whose values are read out; gaps stay gaps; breaches carry a mark. */
export function LineChart({ title, file, x, series, limit, marks = [], events = [], min, max, note }: Props) {
  const [box, width] = useWidth();
  const [at, setAt] = useState<number | null>(null);
  const all = series.flatMap((s) => s.values).filter((v): v is number => v !== null && v !== undefined);
  if (limit) all.push(limit.value);
  const least = Math.min(...all), most = Math.max(...all), room = Math.max((most - least) * 0.25, 0.01);
  const low = min ?? least - room, high = max ?? most + room;
  const h = 210, left = 44, right = 12, head = 16, bottom = 26;
  const w = Math.max(60, width - left - right), plot = h - head - bottom;
  const px = (i: number) => left + (x.length < 2 ? w / 2 : (i / (x.length - 1)) * w);
  const py = (v: number) => head + plot * (1 - (v - low) / (high - low || 1));
  const keys = (e: KeyboardEvent) => {
    if (e.key !== "ArrowRight" && e.key !== "ArrowLeft") return;
    e.preventDefault();
    setAt((i) => Math.min(x.length - 1, Math.max(0, (i ?? (e.key === "ArrowRight" ? -1 : x.length)) + (e.key === "ArrowRight" ? 1 : -1))));
  };
  const told = at === null ? "" : `${x[at]}: ${series.map((s) => `${s.name} ${fixed(s.values[at])}`).join(", ")}${note ? " · " + note(at) : ""}`;
  const numbers = { head: [m.chart.window, ...series.map((s) => s.name)], rows: x.map((n, i) => [n, ...series.map((s) => fixed(s.values[i]))]) };
  const every = Math.max(1, Math.ceil(x.length / Math.max(2, Math.floor(w / 90))));
  return (
    <Figure title={title} file={file} numbers={numbers} legend={series.map((s, i) => <span key={s.name}><i style={{ background: colours[i % 4] }} />{s.name}</span>)}>
      <div ref={box}>
        <svg className="chart" width={width} height={h} viewBox={`0 0 ${width} ${h}`} role="img" aria-label={m.chart.keys(title)} tabIndex={0} onKeyDown={keys} onMouseLeave={() => setAt(null)}
          onMouseMove={(e) => { const r = e.currentTarget.getBoundingClientRect(); setAt(Math.min(x.length - 1, Math.max(0, Math.round(((e.clientX - r.left - left) / w) * (x.length - 1))))); }}>
          {ticks(low, high).map((t) => <g key={t}><line className="axis" x1={left} x2={left + w} y1={py(t)} y2={py(t)} /><text x={left - 6} y={py(t) + 4} textAnchor="end">{axisNumber(t)}</text></g>)}
          {limit && <g><line className="limit" x1={left} x2={left + w} y1={py(limit.value)} y2={py(limit.value)} /><text x={left + w} y={py(limit.value) - 5} textAnchor="end" style={{ fill: "var(--k-bad)" }}>{limit.label}</text></g>}
          {events.map((e, i) => e && <g key={i} className="event"><line x1={px(i)} x2={px(i)} y1={head} y2={head + plot} stroke="var(--k-dim)" strokeDasharray="2 3" /><text x={px(i) + (i === x.length - 1 && i > 0 ? -4 : 4)} y={head + plot - 5} textAnchor={i === x.length - 1 && i > 0 ? "end" : "start"}>{e}</text></g>)}
          {at !== null && <line x1={px(at)} x2={px(at)} y1={head} y2={head + plot} stroke="var(--k-strong)" />}
          {series.map((s, k) => <g key={s.name} stroke={colours[k % 4]} fill="none">
            <path d={path(s.values, px, py)} strokeWidth={2} strokeDasharray={dashes[k % 4]} />
            {s.values.map((v, i) => v !== null && <circle key={i} cx={px(i)} cy={py(v)} r={at === i ? 4.5 : 2.6} fill={colours[k % 4]} />)}
          </g>)}
          {marks.map((on, i) => on && <text key={i} x={px(i)} y={11} textAnchor="middle" style={{ fill: "var(--k-bad)", fontWeight: 700 }}>▲</text>)}
          {x.map((n, i) => i % every === 0 && <text key={i} x={px(i)} y={h - 8} textAnchor={i === 0 ? "start" : i === x.length - 1 ? "end" : "middle"}>{n}</text>)}
        </svg>
      </div>
      <p className="small dim" aria-live="polite" style={{ minHeight: 20 }}>{told}</p>
    </Figure>
  );
}

function path(values: (number | null)[], px: (i: number) => number, py: (v: number) => number): string {
  let d = "", pen = false;
  values.forEach((v, i) => {
    if (v === null || v === undefined) { pen = false; return; }
    d += `${pen ? "L" : "M"}${px(i)},${py(v)}`;
    pen = true;
  });
  return d;
}
