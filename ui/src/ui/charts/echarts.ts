/** The parts of ECharts that are used; a file of its own so that they are loaded with the first such chart. */
import { ParallelChart, ScatterChart } from "echarts/charts";
import { GridComponent, ParallelComponent, TooltipComponent } from "echarts/components";
import { init, use, type EChartsType } from "echarts/core";
import { CanvasRenderer } from "echarts/renderers";

use([ParallelChart, ScatterChart, GridComponent, ParallelComponent, TooltipComponent, CanvasRenderer]);

export type Chart = EChartsType;

/** A chart in a node, in the colours of the page as they are now. */
export const chart = (node: HTMLElement): Chart => init(node, undefined, { renderer: "canvas" });

/** A colour role as the canvas needs it. */
export const role = (name: string) => getComputedStyle(document.documentElement).getPropertyValue(name).trim() || "#888";
export const inked = (place: number | undefined) => (place === undefined ? role("--k-strong") : role(`--k-c${place + 1}`));
