import { Button } from "@mantine/core";
import { useEffect } from "react";
import type { LogLine } from "../../api/types";
import { m } from "../../messages";
import { Await } from "../../ui/Await";
import { Chip, Empty, Time, type Tone } from "../../ui/Bits";
import { DataTable, ExportCSV, type Column } from "../../ui/DataTable";
import { dayEnd, dayStart, FilterBox, FilterDays, FilterSelect } from "../../ui/Filter";
import { text } from "../../ui/format";
import { useParam, useSetParams } from "../../ui/url";
import { useLines } from "./api";

const tones: Record<string, Tone> = { debug: "neutral", info: "neutral", warn: "warn", error: "bad" };
const l = m.serving.log;
const fieldsOf = (line: LogLine) => Object.entries((line.fields ?? {}) as Record<string, unknown>);

const columns: Column<LogLine>[] = [
  { key: "at", head: l.when, value: (x) => x.at, cell: (x) => <Time at={x.at} full /> },
  { key: "level", head: l.level, value: (x) => x.level, cell: (x) => <Chip tone={tones[x.level]}>{l.kinds[x.level] ?? x.level}</Chip> },
  { key: "message", head: l.line, value: (x) => x.message, cell: (x) => <div className="wrap" style={{ minWidth: 240 }}>{x.message}{fieldsOf(x).length > 0 && <div className="dim small mono clamp">{fieldsOf(x).map(([k, v]) => `${k}=${text(v)}`).join("  ")}</div>}</div> },
  { key: "node", head: l.node, value: (x) => x.node, cell: (x) => <span className="mono small">{x.node}</span> },
];

/** What the server wrote about an endpoint, newest first; new lines appear by themselves. */
export function LogPanel({ endpoint }: { endpoint: string }) {
  const [level] = useParam("level");
  const [find] = useParam("text");
  const [since] = useParam("since");
  const [until] = useParam("until");
  const put = useSetParams();
  const query = useLines(endpoint, { level, text: find, since: dayStart(since), until: dayEnd(until) });
  const { refetch } = query;
  useEffect(() => { const t = setInterval(() => { if (!document.hidden) void refetch(); }, 5000); return () => clearInterval(t); }, [refetch]);
  const filtered = !!(level || find || since || until);
  return (
    <div>
      <p className="dim" style={{ marginBottom: 12 }}>{l.lead} {l.follow}.</p>
      <div className="toolbar">
        <FilterBox name="text" label={l.text} width={220} />
        <FilterSelect name="level" label={l.level} options={Object.entries(l.levels).map(([value, label]) => ({ value: value === "info" ? "" : value, label }))} />
        <FilterDays />
        <span className="end"><ExportCSV name={`${endpoint}-log`} rows={query.data ?? []} columns={columns} /></span>
      </div>
      <Await query={query} lines={8}>{(rows) => <DataTable boxed label={l.table} rows={rows} columns={columns} rowKey={(x) => x.id} more={query.more}
        empty={filtered ? <Empty action={<Button variant="default" onClick={() => put({ level: "", text: "", since: "", until: "" })}>{m.removeFilters}</Button>}>{l.noMatch}</Empty> : <Empty>{l.empty}</Empty>} />}</Await>
    </div>
  );
}
