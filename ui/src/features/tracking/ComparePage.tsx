import { Checkbox } from "@mantine/core";
import { useMediaQuery } from "@mantine/hooks";
import { useMemo, useState } from "react";
import type { Compared } from "../../api/tracking";
import { m } from "../../messages";
import { Await } from "../../ui/Await";
import { Copy, Empty } from "../../ui/Bits";
import { colourOf, most, places } from "../../ui/charts/colours";
import { Go } from "../../ui/Go";
import { joinKeys, splitKeys, type GridColumn, type Layout } from "../../ui/grid/columns";
import { Grid } from "../../ui/grid/Grid";
import { storedDensity } from "../../ui/grid/useLayout";
import { IconClose } from "../../ui/icons";
import { useTopics } from "../../ui/hooks";
import { Note } from "../../ui/Note";
import { Page, Tabs } from "../../ui/Page";
import { Picker } from "../../ui/Picker";
import { paths, useParam, useQueryText, useSetParams } from "../../ui/url";
import { useCompared } from "./api";
import { lessIsBetter, linesOf, type Line } from "./comparison";
import { Parallel, Scatter } from "./ComparePlots";
import { CurveTools, MetricChart, useDrawn } from "./RunCharts";
import { measured, nameOf } from "./words";

const mostRuns = 200;
const views = ["", "curves", "parallel", "scatter"] as const;
type View = (typeof views)[number];
const words: Record<View, string> = { "": m.tracking.cmp.table, curves: m.tracking.cmp.curves, parallel: m.tracking.cmp.parallel, scatter: m.tracking.cmp.scatter };

/** Up to 200 runs beside each other. Everything shown is in the address. */
export function ComparePage() {
  const [text] = useParam("runs");
  const asked = useMemo(() => splitKeys(text), [text]);
  const ids = useMemo(() => asked.slice(0, mostRuns), [asked]);
  useTopics(...ids.slice(0, 20).map((id) => `run:${id}`));
  const query = useCompared(ids);
  return (
    <Page title={ids.length >= 2 ? m.tracking.cmp.title2(ids.length) : m.tracking.cmp.title} kind={m.tracking.cmp.kind} crumbs={[{ label: m.tracking.title, to: "/experiments" }]} lead={m.tracking.cmp.lead} actions={<span className="row small">{m.tracking.cmp.link}<Copy value={location.href} label={m.tracking.cmp.link} /></span>}>
      {asked.length > mostRuns && <Note tone="warn" title={m.tracking.cmp.many(asked.length)} />}
      {ids.length < 2 ? <div className="panel"><Empty action={<Go to="/experiments">{m.tracking.title}</Go>}>{m.tracking.cmp.few}</Empty></div> : <Await query={query} lines={10}>{(c) => <Body compared={c} />}</Await>}
    </Page>
  );
}

function Body({ compared: c }: { compared: Compared }) {
  const [view] = useParam("view");
  const search = useQueryText();
  const now: View = (views as readonly string[]).includes(view) ? (view as View) : "";
  const address = (v: View) => { const p = new URLSearchParams(search); if (v) p.set("view", v); else p.delete("view"); return `/compare?${p.toString()}`; };
  const [pick] = useParam("pick");
  const place = useMemo(() => places(pick ? splitKeys(pick) : c.runs.map((r) => r.id)), [pick, c.runs]);
  return (
    <div className="stack gap16">
      <Runs compared={c} place={place} />
      <Tabs label={m.tracking.cmp.sections} tabs={views.map((v) => ({ to: address(v), label: words[v], current: v === now }))} />
      {now === "" && <Table compared={c} place={place} />}
      {now === "curves" && <Overlays compared={c} place={place} />}
      {now === "parallel" && <Parallel compared={c} place={place} />}
      {now === "scatter" && <Scatter compared={c} place={place} />}
    </div>
  );
}

type Places = Map<string, number>;

/** The legend of all charts: which run has which colour; the swatch gives or takes a colour, the cross takes the run out. */
function Runs({ compared: c, place }: { compared: Compared; place: Places }) {
  const put = useSetParams();
  const colour = (id: string) => {
    const picked = [...place.keys()];
    put({ pick: joinKeys(picked.includes(id) ? picked.filter((x) => x !== id) : [...picked, id].slice(-most)) || "none" });
  };
  const drop = (id: string) => put({ runs: joinKeys(c.runs.map((r) => r.id).filter((x) => x !== id)) });
  return (
    <section className="panel" aria-label={m.tracking.cmp.legend}>
      <ul className="runlegend" tabIndex={c.runs.length > 12 ? 0 : undefined}>
        {c.runs.map((r) => (
          <li key={r.id} className="tag">
            <button type="button" className="swatchb" aria-pressed={place.has(r.id)} aria-label={m.tracking.cmp.colourRun(nameOf(r))} title={m.tracking.cmp.colourRun(nameOf(r))} onClick={() => colour(r.id)}><i className="swatch" style={{ background: colourOf(place.get(r.id)), opacity: place.has(r.id) ? 1 : 0.45 }} /></button>
            <Go to={paths.trackingRun(r.id)}>{nameOf(r)}</Go>
            {c.runs.length > 2 && <button type="button" className="copy" aria-label={m.tracking.cmp.drop(nameOf(r))} title={m.tracking.cmp.drop(nameOf(r))} onClick={() => drop(r.id)}><IconClose size={13} /></button>}
          </li>
        ))}
      </ul>
    </section>
  );
}

const kindWords = { params: m.tracking.params, metrics: m.tracking.metrics, tags: m.model.tags, inputs: m.tracking.data };

/** A line per parameter and metric, a column per run. */
function Table({ compared: c, place }: { compared: Compared; place: Places }) {
  const [all, setAll] = useParam("all");
  const [flip, setFlip] = useParam("flip");
  const [density] = useState(storedDensity);
  const [widths, setWidths] = useState<Record<string, number>>({});
  const narrow = useMediaQuery("(max-width: 600px)");
  const flipped = useMemo(() => splitKeys(flip), [flip]);
  const lines = useMemo(() => linesOf(c, all === "1"), [c, all]);
  const less = (l: Line) => lessIsBetter(l.key) !== flipped.includes(l.key);
  const columns = useMemo(() => {
    const best = (l: Line) => (l.kind === "metrics" && l.differs ? (less(l) ? l.low : l.high) : undefined);
    const turn = (key: string) => setFlip(joinKeys(flipped.includes(key) ? flipped.filter((k) => k !== key) : [...flipped, key]));
    const list: GridColumn<Line>[] = [
      { key: "key", head: m.tracking.cmp.name, width: 200, cell: (l) => <span title={l.key}>{l.key}</span>, text: (l) => l.key },
      { key: "kind", head: m.models.kind, width: 100, cell: (l) => <span className="dim">{kindWords[l.kind]}</span>, text: (l) => kindWords[l.kind] },
      { key: "best", head: m.tracking.cmp.best, width: 92, cell: (l) => (l.kind === "metrics" ? <button type="button" className="linkb" tabIndex={-1} onClick={() => turn(l.key)}>{less(l) ? m.tracking.cmp.lower : m.tracking.cmp.higher}</button> : ""), text: (l) => (l.kind === "metrics" ? (less(l) ? m.tracking.cmp.lower : m.tracking.cmp.higher) : "") },
    ];
    c.runs.forEach((r, i) => list.push({
      key: r.id, head: nameOf(r), width: 130, right: true, text: (l) => (l.values[i] === null ? "" : String(l.values[i])),
      cell: (l) => {
        const v = l.values[i];
        if (v === null) return <span className="dim">{m.none}</span>;
        const shown = l.kind === "metrics" ? measured(v) : String(v);
        return best(l) === i ? <b title={m.tracking.cmp.bestIs}>▲ {shown}</b> : <span title={String(v)}>{shown}</span>;
      },
    }));
    return narrow ? [list[0], ...list.slice(3), ...list.slice(1, 3)] : list;
  }, [c, flipped, setFlip, narrow]);
  const layout: Layout = { keys: columns.map((x) => x.key), pinned: ["key"], widths };
  return (
    <div className="stack">
      <div className="toolbar"><Checkbox label={m.tracking.cmp.onlyDifferences} checked={all !== "1"} onChange={(e) => setAll(e.currentTarget.checked ? "" : "1")} /></div>
      <Grid label={m.tracking.cmp.table} rows={lines} columns={columns} layout={layout} setLayout={(l) => setWidths(l.widths)} rowKey={(l) => l.id} rowName={(l) => l.key} total={lines.length} density={density} empty={<Empty>{m.tracking.cmp.allSame}</Empty>} headColour={(key) => (place.has(key) ? colourOf(place.get(key)) : undefined)} />
    </div>
  );
}

/** The curves of chosen metrics, one chart each, all runs in it. */
function Overlays({ compared: c, place }: { compared: Compared; place: Places }) {
  const [text, set] = useParam("metrics");
  const drawn = useDrawn();
  const options = useMemo(() => (c.metrics ?? []).map((r) => ({ key: r.key, head: r.key })), [c]);
  const usual = useMemo(() => (c.metrics ?? []).filter((r) => !r.key.startsWith("system/")).slice(0, 4).map((r) => r.key), [c]);
  const chosen = text ? splitKeys(text) : usual;
  const runs = useMemo(() => c.runs.map((r) => ({ id: r.id, name: nameOf(r), place: place.get(r.id) })), [c.runs, place]);
  return (
    <div className="stack gap16">
      <div className="toolbar"><Picker label={m.tracking.cmp.pickMetrics} options={options} chosen={chosen} limit={12} onChange={(k) => set(joinKeys(k))} /><CurveTools drawn={drawn} /></div>
      {chosen.length === 0 ? <div className="panel"><Empty>{m.tracking.cmp.noCurve}</Empty></div> : (
        <div className={chosen.length > 1 ? "grid2" : undefined}>{chosen.map((key) => <div className="panel" key={key}><div className="body"><MetricChart runs={runs} metric={key} drawn={drawn} file={`compare-${key}`} legend={false} live={c.runs.some((r) => r.status === "running")} height={chosen.length > 1 ? 240 : 380} /></div></div>)}</div>
      )}
    </div>
  );
}
