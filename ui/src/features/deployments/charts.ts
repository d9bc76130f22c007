/** What the curves of a deployment are made of. */
import type { Deployment, TrafficDocument } from "../../api/types";
import { m } from "../../messages";
import { places } from "../../ui/charts/colours";
import type { Curve } from "../../ui/charts/curve";

export interface ChartData { key: string; title: string; curves: Curve[]; empty: string }

type Release = NonNullable<Deployment["releases"]>[number];

const split = (r: Release) => (r.state && r.state !== "live" ? r.state : (r.slots ?? []).map((s) => `v${s.version}${s.kind === "live" && s.share === 100 ? "" : ` ${s.kind === "shadow" ? m.slot.shadow : `${s.share} %`}`}`).join(", "));

/** When what answers changed; releases that were only signed anew are left out. The oldest known one is a change only when it is the first of all. */
export function changes(releases: Release[]): { x: number; label: string }[] {
  const ordered = [...releases].sort((a, b) => a.serial - b.serial);
  return ordered.flatMap((r, i) => {
    const words = split(r);
    if (i === 0 ? r.serial > 1 : words === split(ordered[i - 1])) return [];
    return [{ x: Date.parse(r.issued_at) / 1000, label: words }];
  });
}

const sum = (ys: readonly number[] | null | undefined) => (ys ?? []).reduce((a, y) => a + y, 0);

/** The charts of a span, in the order in which they are shown. */
export function charts(t: TrafficDocument, d: Deployment): ChartData[] {
  const zero = Date.parse(t.since) / 1000;
  const n = (t.waiting ?? []).length;
  // The last stretch is left out while it is not over: it would always look like a fall.
  const done = Date.parse(t.until) > Date.now() - 5000 && n > 1 ? n - 1 : n;
  const xs = Array.from({ length: done }, (_, i) => zero + i * t.step);
  const curve = (id: string, name: string, place: number | undefined, ys: readonly (number | null)[]): Curve => ({ id, name, place, xs, ys: ys.slice(0, done), gaps: [] });
  const found = places((t.series ?? []).map((s) => `v${s.version} ${s.slot}`)); // a version keeps its colour when others come and go
  const series = (t.series ?? []).map((s) => ({ ...s, id: `v${s.version} ${s.slot}`, name: m.serving.slotOf(s.version, m.slot[s.slot] ?? s.slot), place: found.get(`v${s.version} ${s.slot}`) }));
  const per = (ys: readonly number[] | null | undefined, seconds: number) => (ys ?? []).map((y) => (y * seconds) / t.step);
  const ms = (ys: readonly (number | null)[] | null | undefined) => (ys ?? []).map((y) => (y === null ? null : y / 1000));
  const live = d.slots?.find((x) => x.kind === "live")?.version;
  const main = series.find((s) => s.version === live && s.slot === "live") ?? series.reduce<(typeof series)[number] | undefined>((most, s) => (!most || sum(s.calls) > sum(most.calls) ? s : most), undefined);
  const others = series.filter((s) => s !== main && s.slot !== "shadow");
  const missed = Object.entries(t.missed ?? {}).filter(([cause]) => cause !== "queue" && cause !== "quota");
  const refused = Object.entries(t.missed ?? {}).filter(([cause]) => cause === "queue" || cause === "quota");
  const waits = (t.waiting ?? []).some((w) => w > 0);
  const batched = series.filter((s) => (s.batch_rows ?? []).some((b) => b !== null));
  return [
    { key: "rate", title: m.serving.chart.rate, curves: series.map((s) => curve(s.id, s.name, s.place, per(s.calls, 1))), empty: m.serving.chart.nothing },
    { key: "latency", title: m.serving.chart.latency(main?.name ?? ""), empty: m.serving.chart.nothing,
      curves: main ? [curve("p50", "p50", 0, ms(main.p50_us)), curve("p95", "p95", 1, ms(main.p95_us)), curve("p99", "p99", 2, ms(main.p99_us)), ...others.slice(0, 4).map((s, i) => curve(s.id, `p95 ${s.name}`, 4 + i, ms(s.p95_us)))] : [] },
    { key: "errors", title: m.serving.chart.errors, curves: missed.map(([cause, ys], i) => curve(cause, m.serving.causes[cause] ?? cause, [1, 0, 2, 3, 4, 5, 6][i % 7], per(ys, 60))), empty: m.serving.chart.noErrors },
    { key: "queue", title: m.serving.chart.queue, empty: m.serving.chart.noQueue,
      curves: [...refused.map(([cause, ys], i) => curve(cause, `${m.serving.chart.refused}: ${m.serving.causes[cause]}`, 1 + i, per(ys, 60))), ...(waits ? [curve("waiting", m.serving.chart.waiting, 0, t.waiting ?? [])] : [])] },
    { key: "batch", title: m.serving.chart.batch, curves: batched.map((s) => curve(s.id, s.name, s.place, s.batch_rows ?? [])), empty: m.serving.chart.nothing },
  ];
}
