/** What a comparison computes from the document of the server; no drawing here. */
import type { Compared, ComparedMetric, Measured } from "../../api/tracking";

export type Kind = "params" | "metrics" | "tags" | "inputs";

/** One line of the table: what, and its value in each run. */
export interface Line { id: string; kind: Kind; key: string; values: (Measured | null)[]; differs: boolean; low?: number; high?: number }

export function linesOf(c: Compared, all: boolean): Line[] {
  const out: Line[] = [];
  for (const kind of ["metrics", "params", "inputs", "tags"] as const) {
    for (const row of c[kind] ?? []) {
      if (!all && !row.differs) continue;
      const best = row as Partial<ComparedMetric>;
      out.push({ id: `${kind}.${row.key}`, kind, key: row.key, values: row.values, differs: row.differs, low: kind === "metrics" ? best.best_low : undefined, high: kind === "metrics" ? best.best_high : undefined });
    }
  }
  return out;
}

/** Whether less is better, guessed by the name; people can turn it round. */
export const lessIsBetter = (key: string) => /loss|err|rmse|mae|mse|mape|perplexity|latency|duration|time|cost|log_?loss|distance|drift/i.test(key);

/** An axis of the parallel coordinates or the scatter plot: numbers, or words in a fixed order. */
export interface Scale { id: string; name: string; values: (number | string | null)[]; words?: string[] }

const asNumber = (v: Measured | null): number | null => {
  if (v === null || v === "") return null;
  const n = typeof v === "number" ? v : Number(v);
  return Number.isFinite(n) ? n : null;
};

/** The scale of "params.lr" or "metrics.auc"; words where a value is no number. Undefined when the comparison does not have it. */
export function scaleOf(c: Compared, id: string): Scale | undefined {
  const kind = id.startsWith("params.") ? "params" : id.startsWith("metrics.") ? "metrics" : undefined;
  const row = kind && (c[kind] as { key: string; values: (Measured | null)[] }[] | null)?.find((r) => `${kind}.${r.key}` === id);
  if (!row) return undefined;
  const numbers = row.values.map(asNumber);
  const numeric = row.values.every((v, i) => v === null || v === "" || numbers[i] !== null || (kind === "metrics"));
  if (numeric) return { id, name: row.key, values: numbers };
  const words = [...new Set(row.values.filter((v): v is Measured => v !== null).map(String))].sort((a, b) => a.localeCompare(b, undefined, { numeric: true }));
  return { id, name: row.key, values: row.values.map((v) => (v === null ? null : String(v))), words };
}

/** The axes to begin with: what differs, at most five parameters and then two metrics. Words of many kinds say little and are left out. */
export function usualAxes(c: Compared): string[] {
  const params = (c.params ?? []).filter((r) => r.differs).map((r) => scaleOf(c, `params.${r.key}`)!).filter((s) => !s.words || s.words.length <= 12).slice(0, 5);
  const metrics = (c.metrics ?? []).filter((r) => r.differs && !r.key.startsWith("system/")).slice(0, 2);
  return [...params.map((s) => s.id), ...metrics.map((r) => `metrics.${r.key}`)];
}

/** Marked stretches of axes, as kept in the address: "id:from~to" with commas between, ids escaped. Words are places 0, 1, … */
export type Brush = Record<string, [number, number]>;
export const joinBrush = (b: Brush) => Object.entries(b).map(([id, [from, to]]) => `${encodeURIComponent(id)}:${Number(from.toPrecision(10))}~${Number(to.toPrecision(10))}`).join(",");
export function splitBrush(text: string): Brush {
  const out: Brush = {};
  for (const part of text.split(",")) {
    const found = /^([^:]+):(-?[\d.eE+-]+)~(-?[\d.eE+-]+)$/.exec(part);
    if (found && Number.isFinite(Number(found[2])) && Number.isFinite(Number(found[3]))) out[decodeURIComponent(found[1])] = [Number(found[2]), Number(found[3])];
  }
  return out;
}

/** The places of the runs that lie within every marked stretch; a run without a value on a marked axis does not. */
export function within(scales: Scale[], brush: Brush, runs: number): number[] {
  const marked = scales.filter((s) => brush[s.id]);
  return Array.from({ length: runs }, (_, i) => i).filter((i) => marked.every((s) => {
    const v = s.values[i];
    const at = v === null ? null : s.words ? s.words.indexOf(String(v)) : (v as number);
    const [from, to] = brush[s.id];
    return at !== null && at >= Math.min(from, to) && at <= Math.max(from, to);
  }));
}
