import { m } from "../../messages";
import { lonely } from "../../ui/charts/curve";
import { fixed } from "../../ui/format";

/** How far one input was from the reference in each window, oldest first, with its limit; a small line for a table cell. A gap is a window that did not compare it. */
export function Trend({ name, values, limit, at, width = 84, height = 24 }: { name: string; values: (number | null)[]; limit?: number; at: number; width?: number; height?: number }) {
  const known = values.filter((v): v is number => v !== null);
  if (known.length < 2) return <span className="dim">{m.none}</span>;
  const top = Math.max(...known, (limit ?? 0) * 1.15, 0.01);
  const x = (i: number) => 3 + (i * (width - 6)) / Math.max(1, values.length - 1), y = (v: number) => height - 3 - (v / top) * (height - 6);
  let path = "";
  values.forEach((v, i) => { if (v !== null) path += `${i === 0 || values[i - 1] === null ? "M" : "L"}${x(i).toFixed(1)} ${y(v).toFixed(1)}`; });
  const here = values[at];
  return (
    <svg role="img" aria-label={m.look.trend(name, fixed(known[0], 2), fixed(known.at(-1), 2), known.length)} width={width} height={height} style={{ display: "block" }}>
      {limit !== undefined && limit <= top && <line x1={0} x2={width} y1={y(limit)} y2={y(limit)} stroke="var(--k-c2)" strokeDasharray="3 3" />}
      <path d={path} fill="none" stroke="var(--k-c1)" strokeWidth={1.5} />
      {lonely(values).map((i) => <circle key={i} cx={x(i)} cy={y(values[i]!)} r={1.2} fill="var(--k-c1)" />)}
      {here !== null && here !== undefined && <circle cx={x(at)} cy={y(here)} r={2.5} fill="var(--k-c1)" />}
    </svg>
  );
}
