import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { domain, elapsed, extent, lonely, smooth, type Axis, type Curve } from "./curve";
import { dashOf } from "./colours";
import { axisNumber } from "./Figure";

interface Drawing {
  width: number; height: number; coloured: Curve[]; grey: Curve[]; axis: Axis; log: boolean; smoothing: number; zero?: boolean; marks?: { x: number; label: string }[]; sync?: string; range: [number, number] | null; font: string;
  onRange: (range: [number, number] | null) => void; onCursor: (x: number | null) => void;
}

const role = (name: string) => getComputedStyle(document.documentElement).getPropertyValue(name).trim() || "#888";
const inked = (place: number | undefined) => (place === undefined ? role("--k-strong") : role(`--k-c${place + 1}`));
const faint = (colour: string) => colour + "55";

/** Some room above and below, at least enough that a level line is not at the edge. */
function padded([low, high]: [number, number], log: boolean): [number, number] {
  if (log) return [low / 1.2, high * 1.2];
  const room = (high - low) * 0.06 || Math.abs(high) * 0.1 || 1;
  return [low - room, high + room];
}

/** Amounts begin at zero. */
const based = ([low, high]: [number, number], zero?: boolean): [number, number] => (zero ? [0, high] : [low, high]);

/** Draws curves into a node, whose earlier content it replaces. */
export function draw(node: HTMLElement, d: Drawing): uPlot {
  node.textContent = "";
  const { coloured, grey, log } = d;
  const all = [...coloured, ...grey];
  const tables = coloured.map((c): uPlot.AlignedData => [c.xs, c.ys]);
  const joined: (number | null | undefined)[][] = tables.length ? (uPlot.join(tables) as (number | null | undefined)[][]) : [domain(grey) ?? [0, 1]];
  const soft = d.smoothing > 0;
  const data = [joined[0]];
  const series: uPlot.Series[] = [{}];
  coloured.forEach((c, i) => {
    const colour = inked(c.place);
    const point = c.xs.length < 2 || (c.ys.length < 40 && !soft);
    data.push(log ? joined[i + 1].map((y) => (typeof y === "number" && y <= 0 ? null : y)) : joined[i + 1]);
    series.push({ label: c.name, stroke: soft ? faint(colour) : colour, width: soft ? 1 : 2, dash: soft ? undefined : dashOf(c.place), points: { show: point, size: 5, fill: colour, filter: (u, k, shown) => (shown ? null : lonely(u.data[k] as (number | null | undefined)[])) }, spanGaps: false });
    if (!soft) return;
    const at = new Map(c.xs.map((x, k) => [x, k]));
    const line = smooth(c.ys, d.smoothing);
    data.push(joined[0].map((x) => { const k = at.get(x as number); return k === undefined ? undefined : log && (line[k] ?? 1) <= 0 ? null : line[k]; }));
    series.push({ label: c.name, stroke: colour, width: 2, dash: dashOf(c.place), points: { show: false } });
  });
  const whole = domain(all) ?? [0, 1];
  const [left, right] = d.range ?? whole;
  const ink = { stroke: role("--k-dim"), font: d.font, grid: { stroke: role("--k-border"), width: 1 }, ticks: { show: false } };
  const options: uPlot.Options = {
    width: Math.max(80, d.width), height: d.height, legend: { show: false }, padding: [8, d.axis === "time" ? 20 : 8, 0, 0],
    cursor: { drag: { x: true, y: false, setScale: false, dist: 5 }, points: { size: 7 }, sync: d.sync ? { key: d.sync, setSeries: false } : undefined, bind: { dblclick: () => () => { d.onRange(null); return null; } } },
    scales: {
      x: { time: d.axis === "time", range: () => (left === right ? [left - 1, right + 1] : [left, right]) },
      y: { distr: log ? 3 : 1, range: (u) => based(padded(extent(all, log, u.scales.x.min ?? left, u.scales.x.max ?? right) ?? (log ? [0.1, 1] : [0, 1]), log), d.zero) },
    },
    axes: [{ ...ink, size: d.axis === "time" ? 42 : 28, space: 70, values: d.axis === "time" ? (_, splits) => moments(splits) : (_, splits) => splits.map((v) => (d.axis === "relative" ? elapsed(v) : Number.isInteger(v) ? compact(v) : "")) }, { ...ink, size: 54, values: (_, splits) => splits.map((v) => (v === null ? "" : axisNumber(v))) }],
    series,
    hooks: {
      drawAxes: [(u) => lines(u, grey, log)],
      draw: [(u) => gaps(u, coloured), (u) => upright(u, d.marks ?? [], d.font)],
      setSelect: [(u) => { if (u.select.width > 4) d.onRange([u.posToVal(u.select.left, "x"), u.posToVal(u.select.left + u.select.width, "x")]); }],
      setCursor: [(u) => { const i = u.cursor.idx; d.onCursor(i === null || i === undefined || (u.cursor.left ?? -1) < 0 ? null : u.data[0][i]); }],
    },
  };
  return new uPlot(options, data as uPlot.AlignedData, node);
}

const clock = new Intl.DateTimeFormat(navigator.language, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
const exact = new Intl.DateTimeFormat(navigator.language, { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
const day = new Intl.DateTimeFormat(navigator.language, { month: "short", day: "numeric" });

/** Moments on an axis: the time of day, and below it the day where it begins or another one does. */
function moments(splits: number[]): string[] {
  const step = splits.length > 1 ? splits[1] - splits[0] : 60;
  let last = "";
  return splits.map((v) => {
    const at = new Date(v * 1000), date = day.format(at);
    const below = date === last ? "" : "\n" + date;
    last = date;
    return step >= 86_400 ? date : (step < 60 ? exact : clock).format(at) + below;
  });
}

const compact = (n: number) => (Math.abs(n) >= 1e6 ? `${Number((n / 1e6).toPrecision(4))}M` : Math.abs(n) >= 1e4 ? `${Number((n / 1e3).toPrecision(4))}k` : String(n));

/** The curves without a colour of their own, below the others. */
function lines(u: uPlot, curves: Curve[], log: boolean) {
  const { ctx, bbox } = u;
  ctx.save();
  ctx.beginPath();
  ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
  ctx.clip();
  ctx.strokeStyle = role("--k-strong");
  ctx.globalAlpha = curves.length > 40 ? 0.28 : 0.5;
  ctx.lineWidth = uPlot.pxRatio;
  for (const c of curves) {
    ctx.beginPath();
    let pen = false;
    for (let i = 0; i < c.xs.length; i++) {
      const y = c.ys[i];
      if (y === null || (log && y <= 0)) { pen = false; continue; }
      const px = u.valToPos(c.xs[i], "x", true), py = u.valToPos(y, "y", true);
      if (pen) ctx.lineTo(px, py); else ctx.moveTo(px, py);
      pen = true;
    }
    ctx.stroke();
  }
  ctx.restore();
}

/** A cross at the foot of the chart where a value was NaN or infinite. */
function gaps(u: uPlot, curves: Curve[]) {
  const { ctx, bbox } = u;
  const r = 3 * uPlot.pxRatio, y = bbox.top + bbox.height - 2 * r;
  ctx.save();
  ctx.lineWidth = 1.5 * uPlot.pxRatio;
  for (const c of curves) {
    ctx.strokeStyle = inked(c.place);
    ctx.beginPath();
    for (const x of c.gaps) {
      const px = u.valToPos(x, "x", true);
      if (px < bbox.left || px > bbox.left + bbox.width) continue;
      ctx.moveTo(px - r, y - r); ctx.lineTo(px + r, y + r); ctx.moveTo(px - r, y + r); ctx.lineTo(px + r, y - r);
    }
    ctx.stroke();
  }
  ctx.restore();
}

/** Dashed upright lines with a few words at their head; words that would run into the next ones are left out. */
function upright(u: uPlot, marks: { x: number; label: string }[], font: string) {
  const { ctx, bbox } = u, k = uPlot.pxRatio;
  ctx.save();
  ctx.strokeStyle = role("--k-dim");
  ctx.fillStyle = role("--k-dim");
  ctx.font = font.replace(/^(\d+)px/, (_, n: string) => `${Number(n) * k}px`);
  ctx.lineWidth = k;
  ctx.setLineDash([4 * k, 3 * k]);
  ctx.textAlign = "left";
  ctx.textBaseline = "alphabetic";
  let end = -Infinity;
  for (const m of [...marks].sort((a, b) => a.x - b.x)) {
    const px = u.valToPos(m.x, "x", true);
    if (px < bbox.left || px > bbox.left + bbox.width) continue;
    ctx.beginPath();
    ctx.moveTo(px, bbox.top);
    ctx.lineTo(px, bbox.top + bbox.height);
    ctx.stroke();
    const wide = ctx.measureText(m.label).width;
    const left = px + 4 * k + wide > bbox.left + bbox.width ? px - 4 * k - wide : px + 4 * k;
    if (left < end) continue;
    ctx.fillText(m.label, left, bbox.top + 10 * k);
    end = left + wide + 4 * k;
  }
  ctx.restore();
}

/** The chart with its title and legend as a PNG file. */
export async function picture(u: uPlot, title: string, curves: Curve[]): Promise<Blob | null> {
  const source = u.ctx.canvas, k = uPlot.pxRatio;
  const rows = Math.ceil(curves.length / 4);
  const canvas = document.createElement("canvas");
  canvas.width = source.width;
  canvas.height = source.height + (26 + rows * 18) * k;
  const ctx = canvas.getContext("2d");
  if (!ctx) return null;
  ctx.fillStyle = role("--k-surface");
  ctx.fillRect(0, 0, canvas.width, canvas.height);
  ctx.fillStyle = role("--k-text");
  ctx.font = `600 ${13 * k}px system-ui, sans-serif`;
  ctx.fillText(title, 8 * k, 18 * k);
  ctx.drawImage(source, 0, 26 * k);
  ctx.font = `${11 * k}px system-ui, sans-serif`;
  curves.forEach((c, i) => {
    const x = (8 + (i % 4) * (source.width / k / 4)) * k, y = source.height + (26 + 12 + Math.floor(i / 4) * 18) * k;
    ctx.fillStyle = inked(c.place);
    ctx.fillRect(x, y - 6 * k, 14 * k, 3 * k);
    ctx.fillStyle = role("--k-text");
    ctx.fillText(c.name.slice(0, 40), x + 20 * k, y);
  });
  return new Promise((done) => canvas.toBlob(done, "image/png"));
}
