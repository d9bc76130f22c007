import { Button } from "@mantine/core";
import { useMemo, useState, type ReactNode } from "react";
import type { Deployment, TrafficDocument } from "../../api/types";
import { m } from "../../messages";
import { Await } from "../../ui/Await";
import { Chip, Empty, Panel, Time } from "../../ui/Bits";
import { Curves } from "../../ui/charts/Curves";
import { DataTable, type Column } from "../../ui/DataTable";
import { FilterSelect } from "../../ui/Filter";
import { clockTime, count, micros, percent, perTime } from "../../ui/format";
import { useParam } from "../../ui/url";
import { spans, useTraffic } from "./api";
import { charts, changes } from "./charts";

/** How an endpoint was called: figures, curves that go on by themselves, and who serves it. */
export function TrafficPanel({ deployment: d }: { deployment: Deployment }) {
  const [asked] = useParam("range");
  const [zoom, setZoom] = useParam("zoom");
  const range = asked in spans ? asked : "1h";
  const [until, setUntil] = useState<number | null>(null);
  const query = useTraffic(d.endpoint, range, until);
  const [a, b] = zoom.split("~").map(Number);
  const shown = useMemo((): [number, number] | null => (zoom && a < b ? [a, b] : null), [zoom, a, b]);
  // A stretch is drawn once it is over; a zoom stands still, so the curves do as well.
  const setRange = (r: [number, number] | null) => { setZoom(r ? `${Math.round(r[0])}~${Math.round(r[1])}` : ""); if (r && !until) setUntil(Date.now()); };
  const marks = useMemo(() => changes(d.releases ?? []), [d.releases]);
  return (
    <>
      <div className="toolbar" style={{ marginBottom: 0 }}>
        <FilterSelect name="range" label={m.serving.range} options={Object.keys(spans).map((r) => ({ value: r === "1h" ? "" : r, label: m.serving.ranges[r] }))} />
        <Button variant="default" onClick={() => { setUntil(until ? null : Date.now()); if (until) setZoom(""); }}>{until ? m.serving.resume : m.serving.pause}</Button>
        <span className="small dim" role="status">{until ? m.serving.paused(clockTime(new Date(until))) : m.serving.live}{query.data && `, ${m.serving.stepWords(query.data.step)}`}</span>
      </div>
      <Await query={query} lines={12}>{(t) => (
        <>
          <Tiles t={t} />
          <div className="grid2"><Charts t={t} d={d} marks={marks} shown={shown} setRange={setRange} /><Nodes t={t} /></div>
          {marks.some((x) => x.x >= Date.parse(t.since) / 1000) && <p className="small dim">{m.serving.marks}</p>}
        </>
      )}</Await>
    </>
  );
}

interface Drawn { t: TrafficDocument; d: Deployment; marks: { x: number; label: string }[]; shown: [number, number] | null; setRange: (r: [number, number] | null) => void }

function Charts({ t, d, marks, shown, setRange }: Drawn) {
  const all = useMemo(() => charts(t, d), [t, d]); // drawn anew only when there is news
  return (
    <>{all.map((c) => (
      <Panel key={c.key}>{c.curves.length === 0
        ? <Quiet title={c.title}>{c.empty}</Quiet>
        : <Curves title={c.title} file={`${d.endpoint}-${c.key}`} curves={c.curves} axis="time" zero sync={`traffic-${d.endpoint}`} marks={marks} range={shown} onRange={setRange} height={210} />}</Panel>
    ))}</>
  );
}

function Quiet({ title, children }: { title: string; children: ReactNode }) {
  return <div className="stack"><h3>{title}</h3><Empty>{children}</Empty></div>;
}

/** The span in figures. */
function Tiles({ t }: { t: TrafficDocument }) {
  const all = t.total;
  const seconds = Math.max(1, (Math.min(Date.parse(t.until), Date.now()) - Date.parse(t.since)) / 1000);
  const tried = all.calls + all.errors;
  const us = (v: number | null | undefined) => (v === null || v === undefined ? m.none : micros(v));
  const tiles: [string, ReactNode, string?][] = [
    [m.serving.tiles.calls, count(all.calls)], [m.serving.tiles.rate, perTime(all.calls / seconds)], [m.serving.tiles.p50, us(all.p50_us)], [m.serving.tiles.p95, us(all.p95_us)], [m.serving.tiles.p99, us(all.p99_us)],
    [m.serving.tiles.errors, <>{count(all.errors)}{all.errors > 0 && <span className="small"> {percent(all.errors / tried, 1)}</span>}</>, all.errors ? "bad" : undefined],
    [m.serving.tiles.refused, count(all.refused), all.refused ? "warn" : undefined], [m.serving.tiles.waiting, count(Math.max(0, ...(t.waiting ?? [])))],
  ];
  return <dl className="tiles">{tiles.map(([name, value, tone]) => <div key={name}><dt>{name}</dt><dd className={`num ${tone ?? ""}`}>{value}</dd></div>)}</dl>;
}

type Node = NonNullable<TrafficDocument["nodes"]>[number];

function Nodes({ t }: { t: TrafficDocument }) {
  const nodes = t.nodes ?? [];
  const newest = Math.max(0, ...nodes.map((n) => n.release));
  const columns: Column<Node>[] = [
    { key: "name", head: m.serving.node, cell: (n) => <span className="mono wrap">{n.name}</span> },
    { key: "release", head: m.serving.inForce, cell: (n) => <span className="row">{n.release}{n.release < newest && <Chip tone="warn">{m.serving.behind}</Chip>}{n.substitute && <Chip tone="bad">{m.serving.substitute}</Chip>}{n.problem && <span className="bad wrap">{n.problem}</span>}</span> },
    { key: "slots", head: m.serving.loaded, cell: (n) => <span className="row">{(n.slots ?? []).map((s) => <span key={`${s.version}${s.kind}`} className="nowrap"><b>v{s.version}</b> <span className="dim">{s.engine || s.format}</span></span>)}</span> },
    { key: "seen", head: m.serving.seen, cell: (n) => <Time at={n.seen_at} /> },
  ];
  return <Panel title={m.serving.nodes} id="nodes" flush><DataTable label={m.serving.nodes} rows={nodes} columns={columns} rowKey={(n) => `${n.name} ${n.since}`} empty={<Empty>{m.serving.noNodes}</Empty>} /></Panel>;
}
