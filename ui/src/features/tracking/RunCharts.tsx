import { Checkbox, NativeSelect, Slider, TextInput } from "@mantine/core";
import { useEffect, useMemo, useRef, useState } from "react";
import type { RunDocument } from "../../api/tracking";
import { m } from "../../messages";
import { Await } from "../../ui/Await";
import { Empty } from "../../ui/Bits";
import { Curves } from "../../ui/charts/Curves";
import { curveOf, stepsWithin, type Axis } from "../../ui/charts/curve";
import { count } from "../../ui/format";
import { useWidth } from "../../ui/hooks";
import { ProblemNote } from "../../ui/Note";
import { useParam, useSetParams } from "../../ui/url";
import { useMetricKeys, useSeries } from "./api";

export const isSystem = (key: string) => key.startsWith("system/");

/** How curves are drawn on a page; all of it is in the address. */
export interface Drawn { axis: Axis; log: boolean; smoothing: number; range: [number, number] | null; setRange: (r: [number, number] | null) => void }

export function useDrawn(): Drawn {
  const [axis] = useParam("axis");
  const [log] = useParam("log");
  const [smoothing] = useParam("smooth");
  const [zoom, setZoom] = useParam("zoom");
  return useMemo(() => {
    const [a, b] = zoom.split("~").map(Number);
    return {
      axis: axis === "time" || axis === "relative" ? axis : "step", log: log === "1", smoothing: Math.min(0.99, Math.max(0, Number(smoothing) || 0)),
      range: zoom && Number.isFinite(a) && Number.isFinite(b) && a < b ? [a, b] : null, setRange: (r) => setZoom(r ? `${Number(r[0].toPrecision(12))}~${Number(r[1].toPrecision(12))}` : ""),
    };
  }, [axis, log, smoothing, zoom, setZoom]);
}

/** The switches for all curves of a page. */
export function CurveTools({ drawn }: { drawn: Drawn }) {
  const put = useSetParams();
  const [weight, setWeight] = useState(drawn.smoothing);
  return (
    <>
      <NativeSelect aria-label={m.tracking.axis} value={drawn.axis} onChange={(e) => put({ axis: e.currentTarget.value === "step" ? "" : e.currentTarget.value, zoom: "" })} data={(["step", "time", "relative"] as const).map((value) => ({ value, label: m.curves.axis[value] }))} />
      <Checkbox label={m.tracking.log} checked={drawn.log} onChange={(e) => put({ log: e.currentTarget.checked ? "1" : "" })} />
      <span className="row"><span className="small" aria-hidden="true">{m.tracking.smoothing}</span><Slider w={120} min={0} max={0.99} step={0.01} value={weight} onChange={setWeight} onChangeEnd={(v) => put({ smooth: v ? String(v) : "" })} label={(v) => v.toFixed(2)} thumbLabel={m.tracking.smoothing} /></span>
    </>
  );
}

/** All metrics of one run as curves, those of the machine apart. Only charts that were scrolled to are fetched. */
export function RunCharts({ run, system }: { run: RunDocument; system: boolean }) {
  const live = run.status === "running";
  const keys = useMetricKeys(run.id, live);
  const [find, setFind] = useParam("find");
  const drawn = useDrawn();
  return (
    <div className="stack gap16">
      <div className="toolbar"><TextInput aria-label={m.tracking.findMetric} placeholder={m.tracking.findMetric} value={find} onChange={(e) => setFind(e.currentTarget.value)} w={240} maw="100%" /><CurveTools drawn={drawn} />{live && <span className="small dim">{m.tracking.liveNow}</span>}</div>
      <Await query={keys}>{(all) => {
        const mine = all.filter((k) => isSystem(k.key) === system);
        const found = mine.filter((k) => k.key.toLowerCase().includes(find.toLowerCase()));
        if (mine.length === 0) return <div className="panel"><Empty>{system ? m.tracking.noSystem : m.tracking.noMetrics}</Empty></div>;
        if (found.length === 0) return <div className="panel"><Empty>{m.tracking.noMetricMatch}</Empty></div>;
        return <div className="grid2">{found.map((k) => <div className="panel" key={k.key}><div className="body"><MetricChart runs={[{ id: run.id, name: k.key, place: 0 }]} metric={k.key} drawn={drawn} live={live} file={`${run.id.slice(0, 8)}-${k.key}`} /></div></div>)}</div>;
      }}</Await>
    </div>
  );
}

/** True once the element was near the window. */
function useSeen() {
  const ref = useRef<HTMLDivElement>(null);
  const [seen, setSeen] = useState(false);
  useEffect(() => {
    const node = ref.current;
    if (!node || seen) return;
    if (typeof IntersectionObserver === "undefined") { setSeen(true); return; }
    const watch = new IntersectionObserver((entries) => { if (entries.some((e) => e.isIntersecting)) setSeen(true); }, { rootMargin: "200px" });
    watch.observe(node);
    return () => watch.disconnect();
  }, [seen]);
  return [ref, seen] as const;
}

/** One metric of some runs. The server sends at most two points per pixel, and again, finer, after a zoom. */
export function MetricChart({ runs, metric, drawn, live, file, legend, height }: { runs: { id: string; name: string; place?: number }[]; metric: string; drawn: Drawn; live?: boolean; file: string; legend?: boolean; height?: number }) {
  const [seenRef, seen] = useSeen();
  const [box, width] = useWidth();
  const points = Math.max(200, Math.min(4000, Math.ceil((width * 2) / 200) * 200, Math.floor(2_000_000 / Math.max(1, runs.length))));
  const ids = useMemo(() => runs.map((r) => r.id), [runs]);
  const whole = useSeries(ids, metric, points, null, seen, live);
  const steps = useMemo((): [number, number] | null => {
    if (!drawn.range || !whole.data || whole.data.length === 0) return null;
    const parts = whole.data.map((s) => stepsWithin(s, drawn.axis, drawn.range![0], drawn.range![1]));
    return [Math.min(...parts.map((p) => p[0])), Math.max(...parts.map((p) => p[1]))];
  }, [drawn.range, drawn.axis, whole.data]);
  const near = useSeries(ids, metric, points, steps, seen && !!steps && !!whole.data?.some((s) => s.sampled), live);
  const series = steps && near.data && whole.data?.some((s) => s.sampled) ? near.data : whole.data;
  const curves = useMemo(() => {
    const names = new Map(runs.map((r) => [r.id, r]));
    const begin = new Map((whole.data ?? []).map((s) => [s.run, (s.times ?? []).reduce((a, t) => Math.min(a, new Date(t).getTime() / 1000), Infinity)]));
    return (series ?? []).filter((s) => (s.steps ?? []).length > 0).map((s) => { const r = names.get(s.run); return curveOf(s.run, r?.name ?? s.run, s, drawn.axis, r?.place, begin.get(s.run)); });
  }, [series, whole.data, runs, drawn.axis]);
  const sampled = series?.filter((s) => s.sampled) ?? [];
  const note = sampled.length ? m.tracking.sampled(count(sampled.reduce((n, s) => n + (s.steps ?? []).length, 0)), count(sampled.reduce((n, s) => n + s.count, 0))) : series ? m.tracking.allPoints(count(series.reduce((n, s) => n + s.count, 0))) : "";
  return (
    <div ref={seenRef}><div ref={box} style={{ minHeight: (height ?? 220) + 60 }}>
      {whole.error && <ProblemNote problem={whole.error} retry={() => void whole.refetch()} />}
      {seen && <Curves title={metric} file={file} curves={curves} axis={drawn.axis} log={drawn.log} smoothing={drawn.smoothing} range={drawn.range} onRange={drawn.setRange} sync={`${drawn.axis}`} note={note} busy={whole.isPending} legend={legend ?? runs.length > 1} height={height} />}
    </div></div>
  );
}
