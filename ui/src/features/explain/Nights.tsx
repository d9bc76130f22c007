import { useQuery } from "@tanstack/react-query";
import { ask } from "../../api/ask";
import { m } from "../../messages";
import { Await } from "../../ui/Await";
import { Empty, Panel, Time } from "../../ui/Bits";
import { LineChart } from "../../ui/charts/LineChart";
import { DataTable } from "../../ui/DataTable";
import { percent } from "../../ui/format";
import type { History, Past } from "./types";

const w = m.explaining;
const day = (iso: string) => new Date(iso).toLocaleDateString(undefined, { day: "numeric", month: "short" });

/** How what moves the answers went from study to study, the last of which are made every night. */
export function Nights({ model, version }: { model: string; version: number }) {
  const query = useQuery({ queryKey: ["models", model, "study-history", version], staleTime: 60_000, queryFn: ({ signal }) => ask<History>("GET", `/api/v1/models/${encodeURIComponent(model)}/versions/${version}/study/history`, { signal }) });
  return <Panel title={w.nights} id="nights"><Await query={query}>{(x) => <Told of={x} file={`${model}-${version}-importance-over-time`} />}</Await></Panel>;
}

function Told({ of: x, file }: { of: History; file: string }) {
  const how = x.nightly ? w.nightly : w.notNightly;
  const newest = x.studies[0];
  if (!newest || x.studies.length < 2) return <div className="stack"><p>{w.oneNight}</p><p className="dim small">{how}</p></div>;
  const old = [...x.studies].reverse();
  const names = newest.shares.slice(0, 4).map((s) => s.name);
  const shift = newest.shift;
  return (
    <div className="stack gap16">
      {shift && <p><b>{shift.words}</b> <span className="dim">{w.moved(percent(shift.moved))} · {w.shiftRows(shift.rows, shift.against_rows)}</span></p>}
      <LineChart title={w.nightsChart} file={file} min={0} max={100} x={old.map((s) => day(s.made_at))} series={names.map((n) => ({ name: n, values: old.map((s) => { const found = s.shares.find((f) => f.name === n); return found ? 100 * found.share : null; }) }))} note={(i) => w.shiftOf(old[i]?.explained ?? 0)} />
      <DataTable<Past> label={w.nights} rows={x.studies} rowKey={(s) => s.digest} empty={<Empty>{m.none}</Empty>} columns={[
        { key: "made", head: w.made, cell: (s) => <><Time at={s.made_at} full /><div className="dim small">{s.nightly ? w.byNight : w.byPerson}</div></> },
        { key: "rows", head: w.rows, right: true, cell: (s) => s.explained },
        { key: "what", head: w.nightsWhat, cell: (s) => <span className="wrap">{s.shift ? s.shift.words : w.firstNight}</span> },
        { key: "moved", head: w.nightsMoved, right: true, cell: (s) => (s.shift ? percent(s.shift.moved, 1) : m.none) },
      ]} />
      <p className="dim small">{how}</p>
    </div>
  );
}
