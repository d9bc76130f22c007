import { useComputedColorScheme } from "@mantine/core";
import { useEffect, useRef, useState } from "react";
import { m } from "../../messages";
import { useWidth } from "../hooks";
import type { Chart } from "./echarts";
import { Figure, type Numbers } from "./Figure";

export type Tools = typeof import("./echarts");

interface Props {
  title: string;
  file: string;
  numbers: () => Numbers;
  /** Said to people who cannot see the chart. */
  summary: string;
  height?: number;
  /** The least width in CSS pixels at which it can be read; on a narrower page it scrolls inside its frame. */
  least?: number;
  /** The chart's content; called again whenever `deps` or the theme change. */
  option: (tools: Tools) => object;
  /** Called once a chart is there, to listen to it and to set what the option cannot. */
  ready?: (chart: Chart) => void;
  deps: unknown[];
}

/** A chart by ECharts, which is loaded with the first of them. */
export function Plot({ title, file, numbers, summary, height = 360, least = 0, option, ready, deps }: Props) {
  const [box, width] = useWidth();
  const host = useRef<HTMLDivElement>(null);
  const drawn = useRef<{ chart: Chart; tools: Tools }>(undefined);
  const scheme = useComputedColorScheme("light");
  const [failed, setFailed] = useState(false);
  const [tools, setTools] = useState<Tools>();
  useEffect(() => { let gone = false; import("./echarts").then((t) => { if (!gone) setTools(t); }, () => setFailed(true)); return () => { gone = true; }; }, []);
  const act = useRef({ option, ready });
  act.current = { option, ready };
  useEffect(() => {
    const node = host.current;
    if (!node || !tools) return;
    const made = tools.chart(node);
    drawn.current = { chart: made, tools };
    made.setOption({ animation: false, ...act.current.option(tools) });
    act.current.ready?.(made);
    return () => { drawn.current = undefined; made.dispose(); };
  }, [tools, scheme, ...deps]);
  useEffect(() => { drawn.current?.chart.resize(); }, [width, height, least]);
  const png = async () => {
    const now = drawn.current;
    if (!now) return null;
    const data = now.chart.getDataURL({ type: "png", pixelRatio: 2, backgroundColor: now.tools.role("--k-surface") });
    return new Blob([Uint8Array.from(atob(data.slice(data.indexOf(",") + 1)), (c) => c.charCodeAt(0))], { type: "image/png" });
  };
  return (
    <Figure title={title} file={file} numbers={numbers} png={png}>
      <div ref={box} aria-busy={!tools && !failed ? true : undefined} tabIndex={width < least ? 0 : undefined} style={{ minWidth: 0, overflowX: width < least ? "auto" : "hidden" }}>{failed ? <p className="dim">{m.curves.failed}</p> : <div ref={host} role="img" aria-label={summary} style={{ height, width: Math.max(width, least) || "100%" }} />}</div>
    </Figure>
  );
}
