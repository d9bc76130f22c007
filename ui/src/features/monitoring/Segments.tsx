import type { Window } from "../../api/types";
import { m } from "../../messages";
import { Chip, Panel } from "../../ui/Bits";
import { DataTable, type Column } from "../../ui/DataTable";
import { count, fixed, percent } from "../../ui/format";
import { Shift } from "./Shift";

type Part = NonNullable<Window["segments"]>[number];
type Region = NonNullable<Window["segment_drift"]>[number];
type Found = NonNullable<Window["found_drift"]>[number];
type Cloud = NonNullable<Window["embeddings"]>[number];

/** One line of the table: what is known of a segment's result and of how far it moved. */
interface Line { name: string; rows: number; share: number; part?: Part; region?: Region; drift?: Found; found?: boolean }

/** The slices that were found to be worst and those where something moved most, then the declared segments. */
function lines(w: Window): Line[] {
  const out = new Map<string, Line>();
  const worst = w.worst_segment as Part | null | undefined; // null where the description knows only the object
  for (const part of w.found_segments ?? (worst ? [worst] : [])) out.set(part.name, { name: part.name, rows: part.rows, share: part.share, part, found: true });
  for (const drift of w.found_drift ?? []) if (drift.slice) out.set(drift.segment, { name: drift.segment, rows: drift.slice.rows, share: drift.slice.share, found: true, ...out.get(drift.segment), drift });
  for (const part of w.segments ?? []) out.set(part.name, { name: part.name, rows: part.rows, share: part.share, part });
  for (const region of w.segment_drift ?? []) out.set(region.name, { ...(out.get(region.name) ?? { name: region.name, rows: region.rows, share: region.share }), region });
  return [...out.values()];
}

/** The server sends a number or null where the description knows an object. */
const number = (v: unknown): number | null => (typeof v === "number" ? v : null);

/** How the segments of a window fare: their result beside that of all rows, and what moved most in them. */
export function Segments({ at }: { at: Window }) {
  const rows = lines(at);
  if (rows.length === 0) return null;
  const worst = (at.worst_segment as Part | null | undefined)?.name;
  const columns: Column<Line>[] = [
    { key: "name", head: m.monitor.segment, cell: (x) => <span className="row">{x.name}{x.found && <Chip tone="info">{m.monitor.segmentFound}</Chip>}{x.name === worst && <Chip tone="warn">{m.monitor.segmentWorst}</Chip>}</span> },
    { key: "rows", head: m.monitor.segmentRows, right: true, cell: (x) => `${count(x.rows)} (${percent(x.share)})` },
    { key: "result", head: m.monitor.segmentResult, right: true, cell: (x) => <Result part={x.part} /> },
    { key: "shift", head: m.monitor.shift, cell: (x) => (x.drift ? <Shift shift="moved" /> : x.region ? <Shift shift={x.region.shift} /> : "–") },
    { key: "lead", head: m.monitor.segmentLead, cell: (x) => (x.drift ? <Moved drift={x.drift} /> : <Lead region={x.region} />) },
  ];
  return <Panel title={m.monitor.segments(rows.length)} id="segments" flush><DataTable label={m.monitor.segmentTable} rows={rows} columns={columns} rowKey={(x) => x.name} /></Panel>;
}

function Result({ part }: { part?: Part }) {
  if (!part || part.value === null) return <span className="dim" title={part?.why}>{m.monitor.segmentUnknown}</span>;
  const write = (v: number) => (part.metric === "rmse" ? fixed(v) : percent(v, 1));
  const text = write(part.value);
  const slice = part.slice as NonNullable<Part["slice"]> | null | undefined;
  const beside = slice ? m.monitor.segmentOfOthers(write(slice.rest)) : part.overall === undefined ? "" : m.monitor.segmentOfAll(write(part.overall));
  return <span title={slice ? m.monitor.segmentGap(write(slice.gap_lower), write(slice.gap_upper), count(slice.looked_at)) : undefined}>{part.estimated ? m.monitor.estimateOf(text) : text} <span className="dim">{beside}</span></span>;
}

function Moved({ drift }: { drift: Found }) {
  return <span title={number(drift.overall) === null ? undefined : m.monitor.segmentOfAll(`PSI ${fixed(number(drift.overall) ?? undefined)}`)}>{drift.feature} <span className="dim num">PSI {fixed(drift.value)}</span></span>;
}

function Lead({ region }: { region?: Region }) {
  const top = region?.features?.find((f) => f.shift !== "none") ?? region?.predictions?.find((f) => f.shift !== "none");
  if (!top) return <span className="dim">{region?.why ?? "–"}</span>;
  return <span>{top.name} <span className="dim num">PSI {fixed(top.psi)}</span></span>;
}

/** Vectors of a window, compared as whole clouds. */
export function Embeddings({ at }: { at: Window }) {
  const rows = at.embeddings ?? [];
  if (rows.length === 0) return null;
  const columns: Column<Cloud>[] = [
    { key: "name", head: m.monitor.embedding, cell: (x) => x.name },
    { key: "shift", head: m.monitor.shift, cell: (x) => <span title={x.why}><Shift shift={x.shift} /></span> },
    { key: "mmd", head: <abbr title={m.glossary.mmd}>MMD²</abbr>, right: true, cell: (x) => fixed(number(x.mmd) ?? undefined) },
    { key: "limit", head: m.monitor.limit, right: true, cell: (x) => fixed(x.limit) },
    { key: "rows", head: m.monitor.segmentRows, right: true, cell: (x) => count(x.rows) },
    { key: "width", head: m.monitor.embeddingWidth, right: true, cell: (x) => count(x.columns) },
  ];
  return <Panel title={m.monitor.embeddings(rows.length)} id="embeddings" flush><DataTable label={m.monitor.embeddingTable} rows={rows} columns={columns} rowKey={(x) => x.name} /></Panel>;
}
