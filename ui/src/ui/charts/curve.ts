/** What curves are made of: numbers only, no drawing. */

/** One curve. ys holds null where there was no finite number; the places of those are in gaps. xs never falls. */
export interface Curve {
  id: string;
  name: string;
  /** Place in the palette; grey without. */
  place?: number;
  xs: number[];
  ys: (number | null)[];
  gaps: number[];
}

export type Axis = "step" | "time" | "relative";
/** A series as the server sends it: numbers, or "NaN", "Infinity", "-Infinity". */
export interface Points { steps: number[] | null; times: string[] | null; values: (number | string)[] | null }

/** The curve of a series over steps, over the clock (seconds since 1970) or over seconds since its own first point. */
export function curveOf(id: string, name: string, points: Points, axis: Axis, place?: number, begin?: number): Curve {
  const steps = points.steps ?? [], times = points.times ?? [], values = points.values ?? [];
  const seconds = axis === "step" ? steps : times.map((t) => new Date(t).getTime() / 1000);
  const zero = axis === "relative" ? (begin ?? seconds.reduce((a, b) => Math.min(a, b), Infinity)) : 0;
  const order = seconds.map((_, i) => i).sort((a, b) => seconds[a] - seconds[b] || a - b);
  const out: Curve = { id, name, place, xs: [], ys: [], gaps: [] };
  for (const i of order) {
    const v = values[i];
    const x = seconds[i] - zero;
    out.xs.push(x);
    if (typeof v === "number" && Number.isFinite(v)) out.ys.push(v);
    else { out.ys.push(null); out.gaps.push(x); }
  }
  return out;
}

/** Exponential moving average with weight 0…0.99 of the past, corrected for its start; gaps stay gaps. Weight 0 changes nothing. */
export function smooth(ys: readonly (number | null)[], weight: number): (number | null)[] {
  if (!(weight > 0)) return [...ys];
  let sum = 0, n = 0;
  return ys.map((y) => {
    if (y === null) return null;
    sum = sum * weight + (1 - weight) * y;
    n++;
    return sum / (1 - weight ** n);
  });
}

/** Least and greatest of what is drawn within [from, to] of x, or null when nothing is. With log only what is above zero counts. */
export function extent(curves: readonly Curve[], log: boolean, from = -Infinity, to = Infinity): [number, number] | null {
  let low = Infinity, high = -Infinity;
  for (const c of curves) for (let i = 0; i < c.xs.length; i++) {
    const y = c.ys[i];
    if (y === null || c.xs[i] < from || c.xs[i] > to || (log && y <= 0)) continue;
    if (y < low) low = y;
    if (y > high) high = y;
  }
  return low <= high ? [low, high] : null;
}

export function domain(curves: readonly Curve[]): [number, number] | null {
  let low = Infinity, high = -Infinity;
  for (const c of curves) if (c.xs.length) { low = Math.min(low, c.xs[0]); high = Math.max(high, c.xs[c.xs.length - 1]); }
  return low <= high ? [low, high] : null;
}

/** The value of a curve at x: of its point there, else of the last point before it; null in a gap or before its start. */
export function valueAt(c: Curve, x: number): number | null {
  let a = 0, b = c.xs.length - 1, at = -1;
  while (a <= b) { const k = (a + b) >> 1; if (c.xs[k] <= x) { at = k; a = k + 1; } else b = k - 1; }
  return at < 0 || (at === c.xs.length - 1 && c.xs[at] < x) ? null : c.ys[at];
}

/** The steps a range of x reaches over, one point beyond each end, so that the line goes on to the edge. */
export function stepsWithin(points: Points, axis: Axis, from: number, to: number): [number, number] {
  if (axis === "step") return [Math.floor(from), Math.ceil(to)];
  const c = curveOf("", "", points, axis);
  const steps = [...(points.steps ?? [])].sort((a, b) => a - b);
  let low = steps[0] ?? 0, high = steps.at(-1) ?? 0;
  const byTime = (points.times ?? []).map((t, i) => [new Date(t).getTime(), points.steps?.[i] ?? 0]).sort((a, b) => a[0] - b[0]);
  c.xs.forEach((x, i) => { const step = byTime[i][1]; if (x <= from && step > low) low = step; });
  for (let i = c.xs.length - 1; i >= 0; i--) if (c.xs[i] >= to && byTime[i][1] < high) high = byTime[i][1];
  return [Math.min(low, high), Math.max(low, high)];
}

/** Seconds as "1 h 02 min"; for the axis of elapsed time. */
export function elapsed(s: number): string {
  const a = Math.abs(s), sign = s < 0 ? "-" : "";
  if (a < 120) return `${sign}${Number(a.toPrecision(3))} s`;
  if (a < 7200) return `${sign}${Number((a / 60).toPrecision(3))} min`;
  return `${sign}${Number((a / 3600).toPrecision(3))} h`;
}

/** Where a point has no neighbour that a line could lead to: both next to it are gaps (null) or there is none. Places of other curves (undefined) are passed over. */
export function lonely(ys: readonly (number | null | undefined)[]): number[] {
  const out: number[] = [];
  let before: number | null = null, last = -1; // the value before, and the place of a point that had none
  ys.forEach((y, i) => {
    if (y === undefined) return;
    if (y === null) { if (last >= 0) out.push(last); last = -1; } else last = before === null ? i : -1;
    before = y;
  });
  if (last >= 0) out.push(last);
  return out;
}
