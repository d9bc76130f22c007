import { useState } from "react";
import type { Trace } from "../../api/traces";
import { m } from "../../messages";
import { Skeleton } from "../../ui/Await";
import { Chip, Empty, Time, type Tone } from "../../ui/Bits";
import { absolute, count, span, text } from "../../ui/format";
import { Chooser } from "../../ui/grid/Chooser";
import type { GridColumn } from "../../ui/grid/columns";
import { FilterQuery } from "../../ui/grid/FilterQuery";
import { Grid } from "../../ui/grid/Grid";
import { DensityButton } from "../../ui/grid/Toolbar";
import { storedDensity, useLayout } from "../../ui/grid/useLayout";
import { Views } from "../../ui/grid/Views";
import { useTopics } from "../../ui/hooks";
import { Page } from "../../ui/Page";
import { paths, useParam } from "../../ui/url";
import { complete, useTraces } from "./api";

const tones: Record<string, Tone> = { ok: "ok", error: "bad", in_progress: "info", unspecified: "neutral" };

export function TraceChip({ state }: { state: string }) {
  return <Chip tone={tones[state]}>{m.traces.states[state] ?? state}</Chip>;
}

const words = (s: string | undefined) => (s ? <span title={s}>{s.replace(/\s+/g, " ")}</span> : <span className="dim">{m.none}</span>);

const columns: GridColumn<Trace>[] = [
  { key: "name", head: m.traces.name, width: 170, sort: "name", cell: (t) => t.name || t.id, text: (t) => t.name || t.id },
  { key: "state", head: m.traces.state, width: 110, sort: "state", cell: (t) => <TraceChip state={t.state} />, text: (t) => m.traces.states[t.state] ?? t.state },
  { key: "started", head: m.traces.started, width: 130, sort: "timestamp_ms", cell: (t) => <Time at={t.started_at} />, text: (t) => absolute(t.started_at) },
  { key: "took", head: m.traces.took, width: 90, right: true, sort: "execution_time_ms", cell: (t) => (t.duration_ms === undefined ? m.none : span(t.duration_ms)), text: (t) => (t.duration_ms === undefined ? "" : String(t.duration_ms)) },
  { key: "request", head: m.traces.request, width: 230, cell: (t) => words(t.request), text: (t) => t.request ?? "" },
  { key: "response", head: m.traces.response, width: 230, cell: (t) => words(t.response), text: (t) => t.response ?? "" },
  { key: "tokens", head: m.traces.tokens, width: 80, right: true, cell: (t) => count(t.tokens?.total), text: (t) => String(t.tokens?.total ?? "") },
  { key: "assessments", head: m.traces.assessments, width: 170, cell: (t) => words((t.assessments ?? []).filter((a) => a.valid).map((a) => m.traces.judged(a.name, text(a.value))).join(", ")), text: (t) => (t.assessments ?? []).map((a) => `${a.name}=${text(a.value)}`).join(" ") },
  { key: "spans", head: m.traces.spans, width: 80, right: true, cell: (t) => count(t.spans), text: (t) => String(t.spans) },
  { key: "cost", head: m.traces.cost, width: 90, right: true, cell: (t) => (t.cost?.total === undefined ? m.none : `$${t.cost.total.toPrecision(3)}`), text: (t) => String(t.cost?.total ?? "") },
  { key: "user", head: m.traces.user, width: 110, cell: (t) => words(t.user), text: (t) => t.user ?? "" },
  { key: "session", head: m.traces.session, width: 120, cell: (t) => words(t.session), text: (t) => t.session ?? "" },
  { key: "experiment", head: m.traces.experiment, width: 110, cell: (t) => t.experiment, text: (t) => t.experiment },
  { key: "id", head: m.id, width: 280, cell: (t) => <code>{t.id}</code>, text: (t) => t.id },
];
const choices = columns.map((c) => ({ key: c.key, head: c.head, group: m.traces.title }));
const defaults = { keys: ["name", "state", "started", "took", "request", "response", "tokens", "assessments"], pinned: ["name"] };

/** Every trace of the workspace, or of one experiment where the address names it. */
export function TracesPage() {
  const [experiment] = useParam("experiment");
  return <Page title={m.traces.title} lead={m.traces.lead}><Traces experiment={experiment || undefined} /></Page>;
}

/** The traces of an experiment or a run, newest first. */
export function Traces({ experiment, run }: { experiment?: string; run?: string }) {
  useTopics("trace");
  const [filter] = useParam("filter");
  const [sort, setSort] = useParam("sort");
  const [layout, setLayout] = useLayout(defaults);
  const [density, setDensity] = useState(storedDensity);
  const query = useTraces({ experiment, run, filter, sort });
  return (
    <div className="stack">
      <div className="toolbar top">
        <FilterQuery name="filter" label={m.traces.filter} placeholder={m.traces.filterHint} complete={complete} problem={query.error} />
        <span className="end"><Views table="traces" params={["filter", "sort", "cols", "pin", "w"]} /><Chooser choices={choices} layout={layout} setLayout={setLayout} reset={() => setLayout({ ...defaults, widths: {} })} /><DensityButton density={density} set={setDensity} /></span>
      </div>
      <p className="small dim num" style={{ minHeight: 21 }}>{query.rows.length ? m.traces.count(query.rows.length, query.more.has) : ""}</p>
      {query.isPending ? <Skeleton lines={8} /> : <Grid label={m.traces.title} rows={query.rows} columns={columns} layout={layout} setLayout={setLayout} rowKey={(t) => t.id} rowName={(t) => t.name || t.id} href={(t) => paths.trace(t.id)} total={query.more.has ? undefined : query.rows.length} sort={sort} onSort={setSort} more={query.more} density={density} busy={query.busy} empty={<Empty>{filter ? m.traces.noMatch : m.traces.empty}</Empty>} />}
    </div>
  );
}
