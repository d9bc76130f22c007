import type { Measured, RunRow } from "../../api/tracking";
import { m } from "../../messages";
import type { GridColumn } from "../../ui/grid/columns";
import { named } from "../../ui/grid/query";
import { Chip, Time, type Tone } from "../../ui/Bits";
import { absolute, count, duration } from "../../ui/format";

const tones: Record<string, Tone> = { finished: "ok", running: "info", failed: "bad", killed: "warn", scheduled: "neutral" };

export function StatusChip({ status }: { status: string }) {
  return <Chip tone={tones[status]}>{m.trackingState[status] ?? status}</Chip>;
}

/** A metric's value as text, with the same decimals for values of one size; NaN and infinities are words of the server. */
export function measured(v: Measured | null | undefined): string {
  if (v === null || v === undefined) return m.none;
  if (typeof v !== "number") return v;
  const a = Math.abs(v);
  if (Number.isInteger(v) && a < 1e15) return count(v);
  if (a < 1e-4 || a >= 1e15) return v.toExponential(3);
  return v.toFixed(a >= 1000 ? 1 : a >= 100 ? 2 : a >= 10 ? 3 : a >= 1 ? 4 : 5);
}

export const nameOf = (r: { id: string; name: string }) => r.name || r.id.slice(0, 8);

const dim = (text: string | undefined) => (text ? <span title={text}>{text}</span> : <span className="dim">{m.none}</span>);

/** The columns every run has. */
export const fixedColumns: GridColumn<RunRow>[] = [
  { key: "name", head: m.tracking.run, group: m.tracking.groups.system, width: 170, sort: "attributes.run_name", cell: nameOf, text: nameOf },
  { key: "status", head: m.approvals.state, group: m.tracking.groups.system, width: 112, sort: "attributes.status", cell: (r) => <StatusChip status={r.status} />, text: (r) => m.trackingState[r.status] ?? r.status },
  { key: "started", head: m.pipeline.started, group: m.tracking.groups.system, width: 134, sort: "attributes.start_time", cell: (r) => <Time at={r.started_at} />, text: (r) => absolute(r.started_at) },
  { key: "took", head: m.pipeline.took, group: m.tracking.groups.system, width: 92, right: true, cell: (r) => duration(r.started_at, r.ended_at), text: (r) => duration(r.started_at, r.ended_at) },
  { key: "user", head: m.tracking.user, group: m.tracking.groups.system, width: 92, cell: (r) => dim(r.user), text: (r) => r.user },
  { key: "id", head: m.id, group: m.tracking.groups.system, width: 270, sort: "attributes.run_id", cell: (r) => <code>{r.id}</code>, text: (r) => r.id },
  { key: "ended", head: m.tracking.ended, group: m.tracking.groups.system, width: 130, sort: "attributes.end_time", cell: (r) => <Time at={r.ended_at} />, text: (r) => (r.ended_at ? absolute(r.ended_at) : "") },
  { key: "experiment", head: m.tracking.experimentId, group: m.tracking.groups.system, width: 110, cell: (r) => r.experiment, text: (r) => r.experiment },
  { key: "parent", head: m.tracking.parent, group: m.tracking.groups.system, width: 120, cell: (r) => dim(r.parent?.slice(0, 8)), text: (r) => r.parent ?? "" },
];

const groupOf = { metrics: m.tracking.metrics, params: m.tracking.params, tags: m.model.tags };

/** Tags of the MLflow client that people look for, by their plain names. */
const known: Record<string, string> = { "mlflow.source.name": m.tracking.sourceName, "mlflow.source.git.commit": m.tracking.commit, "mlflow.source.git.branch": m.tracking.branch, "mlflow.note.content": m.tracking.notes, "mlflow.project.entryPoint": m.tracking.entryPoint };

/** The column of a metric, parameter or tag: "metrics.val/loss". */
export function keyColumn(column: string): GridColumn<RunRow> | undefined {
  const dot = column.indexOf(".");
  const kind = column.slice(0, dot), key = column.slice(dot + 1);
  if (dot < 0 || !key || (kind !== "metrics" && kind !== "params" && kind !== "tags")) return undefined;
  const sort = `${kind}.${named(key)}`;
  if (kind === "metrics") return { key: column, head: key, group: groupOf.metrics, width: 112, right: true, sort, cell: (r) => measured(r.metrics?.[key]), text: (r) => { const v = r.metrics?.[key]; return v === undefined ? "" : String(v); } };
  const system = key.startsWith("mlflow.");
  return { key: column, head: known[key] ?? key, group: system ? m.tracking.groups.system : groupOf[kind], width: 130, sort, cell: (r) => dim(r[kind]?.[key]), text: (r) => r[kind]?.[key] ?? "" };
}
