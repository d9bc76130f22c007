import type { MonitorState, Window } from "../../api/types";
import { m } from "../../messages";
import { Chip, Panel, Time } from "../../ui/Bits";
import { DataTable, type Column } from "../../ui/DataTable";
import { count } from "../../ui/format";

const w = m.measures;

/** One line: a metric of the monitor's own, or a business metric that was handed in. */
interface Line { name: string; unit?: string; value: number | null; min?: number; max?: number; from: string; at?: string | null; rows?: number; why?: string }

type Check = NonNullable<Window["rules"]>[number];

/** As many decimals as a reader takes in: none of thousands, two of ones, four below. */
const number = (v: number) => new Intl.NumberFormat("en-US", { maximumFractionDigits: Math.abs(v) >= 1000 ? 0 : Math.abs(v) >= 1 ? 2 : 4 }).format(v);

const within = (x: Line) => x.value !== null && !(x.min !== undefined && x.value < x.min) && !(x.max !== undefined && x.value > x.max);

const limits = (x: Line) => {
  const unit = x.unit ? ` ${x.unit}` : "";
  if (x.min !== undefined && x.max !== undefined) return w.between(number(x.min), number(x.max) + unit);
  if (x.min !== undefined) return w.atLeast(number(x.min) + unit);
  return x.max === undefined ? m.none : w.atMost(number(x.max) + unit);
};

const columns: Column<Line>[] = [
  { key: "name", head: w.name, cell: (x) => <>{x.name}<div className="dim small">{x.from}</div></> },
  { key: "value", head: w.value, right: true, cell: (x) => (x.value === null ? <span className="dim">{x.why ?? w.unknown}</span> : <b className={within(x) ? undefined : "warn"}>{number(x.value)}{x.unit ? ` ${x.unit}` : ""}</b>) },
  { key: "limit", head: m.monitor.limit, right: true, cell: limits },
  { key: "state", head: w.state, cell: (x) => (x.value === null ? <Chip>{m.verdict.unknown}</Chip> : within(x) ? <Chip tone="ok">{w.within}</Chip> : <Chip tone="warn">{w.outside}</Chip>) },
  { key: "of", head: w.of, cell: (x) => (x.at ? <Time at={x.at} /> : x.rows === undefined ? m.none : w.rows(count(x.rows))) },
];

/** The metrics of the business beside those of the model: what the monitor computes of each window, and what was handed in. */
export function Measures({ at, indicators }: { at: Window; indicators: MonitorState["indicators"] }) {
  const lines: Line[] = [
    ...(at.custom ?? []).map((x) => ({ name: x.name, unit: x.unit, value: x.value, min: x.min, max: x.max, from: w.ofWindow, rows: x.rows, why: x.why })),
    ...(indicators ?? []).map((x) => ({ name: x.name, unit: x.unit, value: x.value, min: x.min, max: x.max, from: w.handedIn, at: x.at })),
  ];
  if (lines.length === 0) return null;
  return <Panel title={w.title(lines.filter((x) => x.value !== null && !within(x)).length, lines.length)} id="measures" flush><DataTable label={w.table} rows={lines} columns={columns} rowKey={(x) => x.from + x.name} /></Panel>;
}

const checks: Column<Check>[] = [
  { key: "rule", head: w.rule, cell: (x) => x.rule },
  { key: "state", head: w.state, cell: (x) => (x.ok ? <Chip tone="ok">{w.kept}</Chip> : <Chip tone="bad">{w.broken}</Chip>) },
  { key: "detail", head: w.detail, cell: (x) => <>{x.detail}{x.example && <span className="dim"> {w.example(x.example)}</span>}</> },
];

/** The data-quality rules, the broken ones first. */
export function Rules({ at }: { at: Window }) {
  const rows = [...(at.rules ?? [])].sort((a, b) => Number(a.ok) - Number(b.ok));
  if (rows.length === 0) return null;
  return <Panel title={w.rules(rows.filter((x) => !x.ok).length, rows.length)} id="rules" flush><DataTable label={w.rulesTable} rows={rows} columns={checks} rowKey={(x) => x.rule} /></Panel>;
}
