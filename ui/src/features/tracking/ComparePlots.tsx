import { Button, NativeSelect } from "@mantine/core";
import { useMemo } from "react";
import type { Compared } from "../../api/tracking";
import { m } from "../../messages";
import { Empty } from "../../ui/Bits";
import { Plot, type Tools } from "../../ui/charts/Plot";
import type { Chart } from "../../ui/charts/echarts";
import { axisNumber, type Numbers } from "../../ui/charts/Figure";
import { joinKeys, splitKeys } from "../../ui/grid/columns";
import { Picker } from "../../ui/Picker";
import { paths, useGo, useParam, useSetParams } from "../../ui/url";
import { joinBrush, scaleOf, splitBrush, usualAxes, within, type Brush, type Scale } from "./comparison";
import { nameOf } from "./words";

interface Props { compared: Compared; place: Map<string, number> }

const optionsOf = (c: Compared) => [...(c.params ?? []).map((r) => ({ key: `params.${r.key}`, head: r.key })), ...(c.metrics ?? []).map((r) => ({ key: `metrics.${r.key}`, head: r.key }))];
const numbersOf = (c: Compared, scales: Scale[]): Numbers => ({ head: [m.tracking.run, ...scales.map((s) => s.name)], rows: c.runs.map((r, i) => [nameOf(r), ...scales.map((s) => s.values[i] ?? "")]) });

/** Whether the scale of a parameter reaches over so many sizes that it is better drawn logarithmically. */
function wide(s: Scale): boolean {
  if (!s.id.startsWith("params.")) return false;
  const found = s.values.filter((v): v is number => typeof v === "number");
  return found.length > 1 && Math.min(...found) > 0 && Math.max(...found) / Math.min(...found) > 100;
}

/** A line per run over the chosen axes; dragging along an axis marks runs, and the mark is in the address. */
export function Parallel({ compared: c, place }: Props) {
  const [text, setAxes] = useParam("axes");
  const [mark, setMark] = useParam("brush");
  const put = useSetParams();
  const chosen = useMemo(() => (text ? splitKeys(text) : usualAxes(c)), [text, c]);
  const scales = useMemo(() => chosen.map((id) => scaleOf(c, id)).filter((s): s is Scale => !!s), [chosen, c]);
  const brush = useMemo(() => splitBrush(mark), [mark]);
  const kept = within(scales, brush, c.runs.length);
  const ids = kept.map((i) => c.runs[i].id);
  const option = (t: Tools) => {
    const dim = t.role("--k-dim"), line = t.role("--k-strong"), text = { color: dim, fontSize: 11 };
    const order = c.runs.map((_, i) => i).sort((a, b) => Number(place.has(c.runs[a].id)) - Number(place.has(c.runs[b].id)));
    return {
      tooltip: { show: true, renderMode: "richText", backgroundColor: t.role("--k-surface"), borderColor: t.role("--k-border"), textStyle: { color: t.role("--k-text"), fontSize: 12 } },
      parallel: { left: 56, right: 70, top: 44, bottom: 24, parallelAxisDefault: { nameTextStyle: { color: t.role("--k-text"), fontSize: 12 }, nameGap: 18, nameTruncate: { maxWidth: 130 }, axisLine: { lineStyle: { color: line } }, axisTick: { lineStyle: { color: line } }, axisLabel: { ...text, overflow: "truncate", width: 84, textBorderColor: t.role("--k-surface"), textBorderWidth: 3 }, areaSelectStyle: { width: 18, color: t.role("--k-accent"), borderColor: t.role("--k-accent"), opacity: 0.25 } } },
      parallelAxis: scales.map((s, i) => ({ dim: i, name: s.name, id: s.id, ...(s.words ? { type: "category", data: s.words } : { type: wide(s) ? "log" : "value", scale: true, min: "dataMin", max: "dataMax", axisLabel: { ...text, textBorderColor: t.role("--k-surface"), textBorderWidth: 3, formatter: axisNumber } }) })),
      series: [{
        type: "parallel", smooth: false, inactiveOpacity: 0.06, activeOpacity: 1, progressive: 0, emphasis: { lineStyle: { width: 4 } },
        data: order.map((i) => { const p = place.get(c.runs[i].id); return { name: nameOf(c.runs[i]), value: scales.map((s) => s.values[i] ?? "-"), lineStyle: { color: t.inked(p), width: p === undefined ? 1.2 : 2.5, opacity: p === undefined ? 0.5 : 1 } }; }),
      }],
    };
  };
  const ready = (chart: Chart) => {
    for (const s of scales) if (brush[s.id]) chart.dispatchAction({ type: "axisAreaSelect", parallelAxisId: s.id, intervals: [brush[s.id]] });
    chart.on("axisareaselected", () => {
      const axes = (chart.getOption() as { parallelAxis: { id: string }[] }).parallelAxis;
      const model = (chart as unknown as { getModel: () => { getComponent: (kind: string, i: number) => { activeIntervals?: [number, number][] } | undefined } }).getModel();
      const next: Brush = {};
      axes.forEach((a, i) => { const found = model.getComponent("parallelAxis", i)?.activeIntervals?.[0]; if (found) next[a.id] = [found[0], found[1]]; });
      const said = joinBrush(next);
      if (said !== mark) setMark(said);
    });
  };
  return (
    <div className="stack gap16">
      <div className="toolbar"><Picker label={m.tracking.cmp.axes} options={optionsOf(c)} chosen={chosen} limit={12} onChange={(k) => setAxes(joinKeys(k))} /></div>
      {scales.length < 2 ? <div className="panel"><Empty>{m.tracking.cmp.few2}</Empty></div> : (
        <div className="panel"><div className="body">
          <Plot title={m.tracking.cmp.parallelTitle(c.runs.length, scales.length)} file="parallel" height={400} least={scales.length * 88 + 126} numbers={() => numbersOf(c, scales)} option={option} ready={ready} deps={[c, place, scales]}
            summary={`${m.tracking.cmp.parallelTitle(c.runs.length, scales.length)}: ${scales.map((s) => s.name).join(", ")}`} />
          <p className="row small dim"><span role="status">{mark ? m.tracking.cmp.brushed(kept.length, c.runs.length) : m.tracking.cmp.brushHint}</span>
            {mark && ids.length >= 2 && ids.length < c.runs.length && <Button size="compact-sm" variant="default" onClick={() => put({ runs: joinKeys(ids), brush: "" })}>{m.tracking.cmp.keep}</Button>}
            {mark && <button type="button" className="linkb" onClick={() => put({ brush: "" })}>{m.removeFilters}</button>}</p>
        </div></div>
      )}
    </div>
  );
}

/** One point per run: any number against any other. */
export function Scatter({ compared: c, place }: Props) {
  const go = useGo();
  const all = useMemo(() => optionsOf(c).filter((o) => { const s = scaleOf(c, o.key); return s && !s.words && s.values.some((v) => v !== null); }), [c]);
  const [xText, setX] = useParam("x");
  const [yText, setY] = useParam("y");
  const firstMetric = all.find((o) => o.key.startsWith("metrics."))?.key ?? "";
  const x = xText || (all.find((o) => o.key.startsWith("params.")) ?? all.find((o) => o.key !== firstMetric))?.key || "";
  const y = yText || firstMetric;
  const sx = scaleOf(c, x), sy = scaleOf(c, y);
  const scales = useMemo(() => [sx, sy].filter((s): s is Scale => !!s), [c, x, y]);
  if (all.length < 2 || !sx || !sy) return <div className="panel"><Empty>{m.tracking.cmp.noNumbers}</Empty></div>;
  const option = (t: Tools) => {
    const axis = (s: Scale) => ({ type: "value", scale: true, name: s.name, nameLocation: "middle", nameGap: 34, nameTextStyle: { color: t.role("--k-text"), fontSize: 12 }, axisLabel: { color: t.role("--k-dim"), fontSize: 11, formatter: axisNumber }, axisLine: { lineStyle: { color: t.role("--k-strong") } }, splitLine: { lineStyle: { color: t.role("--k-border") } } });
    return {
      tooltip: { renderMode: "richText", backgroundColor: t.role("--k-surface"), borderColor: t.role("--k-border"), textStyle: { color: t.role("--k-text"), fontSize: 12 }, formatter: (p: { name: string; value: [number, number] }) => `${p.name}\n${sx.name} ${axisNumber(p.value[0])}\n${sy.name} ${axisNumber(p.value[1])}` },
      grid: { left: 70, right: 24, top: 16, bottom: 54 }, xAxis: axis(sx), yAxis: { ...axis(sy), nameGap: 50 },
      series: [{ type: "scatter", symbolSize: 11, data: c.runs.map((r, i) => ({ id: r.id, name: nameOf(r), value: [sx.values[i], sy.values[i]], itemStyle: { color: t.inked(place.get(r.id)), opacity: place.has(r.id) ? 1 : 0.55 } })).filter((p) => p.value[0] !== null && p.value[1] !== null) }],
    };
  };
  const ready = (chart: Chart) => { chart.on("click", (p) => { const id = (p.data as { id?: string } | undefined)?.id; if (id) go(paths.trackingRun(id)); }); };
  const choice = all.map((o) => ({ value: o.key, label: o.head }));
  return (
    <div className="stack gap16">
      <div className="toolbar"><NativeSelect label={m.tracking.cmp.x} value={x} onChange={(e) => setX(e.currentTarget.value)} data={choice} /><NativeSelect label={m.tracking.cmp.y} value={y} onChange={(e) => setY(e.currentTarget.value)} data={choice} /></div>
      <div className="panel"><div className="body"><Plot title={m.tracking.cmp.scatterTitle(sy.name, sx.name)} file="scatter" height={420} numbers={() => numbersOf(c, scales)} option={option} ready={ready} deps={[c, place, x, y]} summary={`${m.tracking.cmp.scatterTitle(sy.name, sx.name)}, ${m.tracking.nRuns(String(c.runs.length))}`} /></div></div>
    </div>
  );
}
