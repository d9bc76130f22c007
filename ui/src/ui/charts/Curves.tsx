import { useComputedColorScheme } from "@mantine/core";
import { useEffect, useMemo, useRef, useState, type KeyboardEvent } from "react";
import type uPlot from "uplot";
import { m } from "../../messages";
import { clockTime, number } from "../format";
import { useWidth } from "../hooks";
import { colourOf, dashOf } from "./colours";
import { domain, elapsed, extent, smooth, valueAt, type Axis, type Curve } from "./curve";
import { axisNumber, Figure, type Numbers } from "./Figure";

interface Props {
  title: string;
  file: string;
  curves: Curve[];
  axis: Axis;
  log?: boolean;
  /** Weight of the past in the drawn line, 0 for none; the raw line stays behind it, faint. */
  smoothing?: number;
  /** Charts with the same name share the cursor. */
  sync?: string;
  /** Amounts, whose axis begins at zero. */
  zero?: boolean;
  /** Moments to be marked, with a few words each. */
  marks?: { x: number; label: string }[];
  /** The part of x that is shown; all of it when null. */
  range: [number, number] | null;
  onRange: (range: [number, number] | null) => void;
  /** Says that only a part of the points was sent. */
  note?: string;
  busy?: boolean;
  legend?: boolean;
  height?: number;
}

const font = '11px system-ui, -apple-system, "Segoe UI", Roboto, sans-serif';
const xWord = (axis: Axis) => m.curves.axis[axis];
export const xText = (axis: Axis, x: number) => (axis === "step" ? String(Math.round(x)) : axis === "relative" ? elapsed(x) : clockTime(new Date(x * 1000)));

/**
 * Curves on a canvas. Dragging zooms, a double click or Escape shows all; the arrow keys move the cursor, whose values
 * are read out; a name in the legend isolates its curve, with Shift it is added.
 */
export function Curves({ title, file, curves, axis, log = false, smoothing = 0, sync, zero, marks, range, onRange, note, busy, legend = true, height = 220 }: Props) {
  const [box, width] = useWidth();
  const host = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot>(undefined);
  const scheme = useComputedColorScheme("light");
  const [only, setOnly] = useState<ReadonlySet<string> | null>(null);
  const [told, setTold] = useState("");
  const [hover, setHover] = useState<number | null>(null);
  const [failed, setFailed] = useState(false);
  const act = useRef({ onRange, setHover });
  act.current = { onRange, setHover };
  const coloured = useMemo(() => curves.filter((c) => c.place !== undefined && (!only || only.has(c.id))), [curves, only]);
  const grey = useMemo(() => curves.filter((c) => c.place === undefined && (!only || only.has(c.id))), [curves, only]);
  const shown = useMemo(() => [...coloured, ...grey], [coloured, grey]);
  const from = range?.[0], to = range?.[1];

  useEffect(() => {
    const node = host.current;
    if (!node) return;
    if (!drawable()) { setFailed(true); return; }
    let gone = false;
    void import("./uplot").then(({ draw }) => {
      if (gone) return;
      plot.current?.destroy();
      plot.current = draw(node, { width, height, coloured, grey, axis, log, smoothing, sync, zero, marks, range: from === undefined || to === undefined ? null : [from, to], font, onRange: (r) => act.current.onRange(r), onCursor: (x) => act.current.setHover(x) });
    }, () => setFailed(true));
    return () => { gone = true; };
  }, [coloured, grey, axis, log, smoothing, sync, zero, marks, from, to, width, height, scheme]);
  useEffect(() => () => { plot.current?.destroy(); plot.current = undefined; }, []);

  const say = (x: number) => `${xWord(axis)} ${xText(axis, x)}: ${coloured.map((c) => `${c.name} ${number(valueAt(c, x), 6)}`).join(", ")}`;
  const keys = (e: KeyboardEvent) => {
    const u = plot.current;
    if (!u) return;
    if (e.key === "Escape" && range) { e.preventDefault(); onRange(null); return; }
    if (e.key !== "ArrowRight" && e.key !== "ArrowLeft") return;
    e.preventDefault();
    const xs = u.data[0];
    const step = (e.key === "ArrowRight" ? 1 : -1) * (e.shiftKey ? Math.max(1, Math.round(xs.length / 20)) : 1);
    const now = u.cursor.idx ?? (step > 0 ? -1 : xs.length);
    const i = Math.max(0, Math.min(xs.length - 1, now + step));
    if (xs[i] === undefined) return;
    u.setCursor({ left: u.valToPos(xs[i], "x"), top: u.over.clientHeight / 2 });
    setTold(say(xs[i]));
  };
  const png = async () => {
    const u = plot.current;
    if (!u) return null;
    const { picture } = await import("./uplot");
    return picture(u, title, curves.filter((c) => c.place !== undefined && (!only || only.has(c.id))));
  };
  const numbers = (): Numbers => tableOf(shown, axis);
  const bounds = extent(shown, false), span = domain(shown);
  const summary = bounds && span ? m.curves.summary(title, curves.length, number(bounds[0], 4), number(bounds[1], 4), xWord(axis), xText(axis, span[0]), xText(axis, span[1])) : m.curves.nothing(title);
  const isolate = (id: string, add: boolean) => setOnly((old) => {
    if (!add) return old?.size === 1 && old.has(id) ? null : new Set([id]);
    const next = new Set(old ?? []);
    if (!next.delete(id)) next.add(id);
    return next.size === 0 ? null : next;
  });
  const many = curves.filter((c) => c.place !== undefined);
  return (
    <Figure title={title} file={file} numbers={numbers} png={png}
      legend={legend && many.length > 0 && <>{many.map((c) => <button key={c.id} type="button" className="legendb" aria-pressed={!only || only.has(c.id)} title={m.curves.isolate} onClick={(e) => isolate(c.id, e.shiftKey)}><Dash place={c.place} />{c.name}</button>)}{curves.length > many.length && <span><Dash />{m.curves.grey(curves.length - many.length)}</span>}</>}>
      <div ref={box} className="curves" aria-busy={busy || undefined}>
        <div ref={host} role="img" aria-label={m.chart.keys(summary)} tabIndex={0} onKeyDown={keys} style={{ minHeight: height }} data-drawn={plot.current ? "" : undefined} />
      </div>
      <p className="small dim num readout">{failed ? m.curves.failed : hover !== null ? say(hover) : range ? <button type="button" className="linkb" onClick={() => onRange(null)}>{m.curves.all(xWord(axis), xText(axis, range[0]), xText(axis, range[1]))}</button> : (note ?? "")}</p>
      <p className="sr" aria-live="polite">{told}</p>
    </Figure>
  );
}

/** Whether this browser lets anybody draw; some are set up not to. */
const drawable = () => document.createElement("canvas").getContext("2d") !== null;

function Dash({ place }: { place?: number }) {
  return <svg width="18" height="10" aria-hidden="true"><line x1="0" y1="5" x2="18" y2="5" stroke={colourOf(place)} strokeWidth={place === undefined ? 1.5 : 3} strokeDasharray={dashOf(place)?.join(" ")} /></svg>;
}

/** The curves as one table: x, then a column per curve. */
export function tableOf(curves: Curve[], axis: Axis): Numbers {
  const xs = [...new Set(curves.flatMap((c) => c.xs))].sort((a, b) => a - b);
  const values = curves.map((c) => { const map = new Map<number, number | null>(); c.xs.forEach((x, i) => map.set(x, c.ys[i])); return map; });
  return { head: [xWord(axis), ...curves.map((c) => c.name)], rows: xs.map((x) => [axis === "time" ? new Date(x * 1000).toISOString() : x, ...values.map((v) => (v.has(x) ? (v.get(x) ?? "NaN") : ""))]) };
}

export { axisNumber, smooth };
