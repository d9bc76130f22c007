import { NativeSelect } from "@mantine/core";
import type { MonitorState, Window, WindowFeature } from "../../api/types";
import { m } from "../../messages";
import { Await } from "../../ui/Await";
import { Empty, Panel, Time } from "../../ui/Bits";
import { LineChart } from "../../ui/charts/LineChart";
import { DataTable, type Column } from "../../ui/DataTable";
import { absolute, count, fixed, percent } from "../../ui/format";
import { Go } from "../../ui/Go";
import { paths, useParam } from "../../ui/url";
import { VerdictReasons } from "../../ui/Verdict";
import { AlertTable } from "./Alerts";
import { useAlerts, useMonitor, useMonitors, useWindow } from "./api";
import { FeaturePanel } from "./FeaturePanel";
import { Groups } from "./Groups";
import { Measures, Rules } from "./Measures";
import { Embeddings, Segments } from "./Segments";
import { Shift } from "./Shift";
import { Signs } from "./Signs";
import { WindowsLine } from "./WindowsLine";

/** The watch over one model: verdict, windows, features, distributions, performance, alerts. The address says which window and feature. */
export function ModelMonitoring({ model }: { model: string }) {
  const monitors = useMonitors();
  const [wanted, setWanted] = useParam("endpoint");
  return (
    <Await query={monitors}>{(all) => {
      const own = all.filter((x) => x.model === model || x.endpoint === model);
      const endpoint = own.find((x) => x.endpoint === wanted)?.endpoint ?? own.find((x) => x.endpoint === model)?.endpoint ?? own[0]?.endpoint;
      if (!endpoint) return <div className="panel"><Empty command={`keelson monitor set ${model} --reference my-data:1`}>{m.monitor.notWatched(model)}</Empty></div>;
      return (
        <>
          {own.length > 1 && <div className="toolbar"><NativeSelect label={m.monitor.endpoint} value={endpoint} onChange={(e) => setWanted(e.currentTarget.value)} data={own.map((x) => x.endpoint)} /></div>}
          <Watch endpoint={endpoint} />
        </>
      );
    }}</Await>
  );
}

function Watch({ endpoint }: { endpoint: string }) {
  const query = useMonitor(endpoint);
  return <Await query={query} lines={10}>{(state) => <WatchBody endpoint={endpoint} state={state} />}</Await>;
}

/** Oldest first, whatever order the server sends. */
function inOrder(windows: Window[]): Window[] {
  return [...windows].sort((a, b) => a.to.localeCompare(b.to) || a.id.localeCompare(b.id));
}

function WatchBody({ endpoint, state }: { endpoint: string; state: MonitorState }) {
  const windows = inOrder(state.windows ?? []);
  const [wanted] = useParam("window");
  const at = windows.find((w) => w.id === wanted) ?? windows.at(-1);
  const mon = state.monitor;
  return (
    <div className="stack gap16">
      <Panel title={m.monitor.verdict} id="verdict" actions={<span className="dim small">{mon.reference?.dataset && <>{m.monitor.against} <Go to={paths.dataset(mon.reference.dataset, mon.reference.version)}>{mon.reference.dataset} v{mon.reference.version}</Go></>}</span>}><VerdictReasons verdict={state.verdict}><Signs windows={windows} /></VerdictReasons></Panel>
      {!at ? <div className="panel"><Empty>{m.monitor.noWindows(count(mon.window?.rows))}</Empty></div> : (
        <>
          <Panel title={m.monitor.windows(windows.length)} id="windows"><WindowsLine model={mon.model} endpoint={endpoint} windows={windows} current={at.id} limit={mon.limits?.psi} /></Panel>
          <WindowDetail endpoint={endpoint} model={mon.model} at={at} />
          <Measures at={at} indicators={state.indicators} />
          <Groups at={at} windows={windows} endpoint={endpoint} />
          <Rules at={at} />
          <Segments at={at} />
          <Embeddings at={at} />
          <Performance windows={windows} endpoint={endpoint} limit={mon.limits?.accuracy} />
        </>
      )}
      <Panel title={m.alerts.title} id="alerts" flush actions={<Go to="/alerts">{m.alerts.all}</Go>}><OwnAlerts endpoint={endpoint} /></Panel>
    </div>
  );
}

function WindowDetail({ endpoint, model, at }: { endpoint: string; model: string; at: Window }) {
  const [wanted] = useParam("feature");
  const detail = useWindow(endpoint, at.id);
  const features = [...(detail.data?.features ?? at.features ?? [])].sort((a, b) => Number(b.shift === "moved") - Number(a.shift === "moved") || (b.psi ?? 0) - (a.psi ?? 0));
  const feature = features.find((f) => f.name === wanted) ?? features[0];
  const rows = paths.predictions({ endpoint, since: at.from, until: at.to });
  const columns: Column<WindowFeature>[] = [
    { key: "name", head: m.monitor.feature, cell: (f) => <Go className="rowlink" to={paths.monitoring(model, { endpoint, window: at.id, feature: f.name })} aria-current={f.name === feature?.name ? "true" : undefined}>{f.name}</Go> },
    { key: "shift", head: m.monitor.shift, cell: (f) => <Shift shift={f.shift} /> },
    { key: "psi", head: <abbr title={m.glossary.psi}>PSI</abbr>, right: true, cell: (f) => <b className={f.shift === "moved" ? "warn" : undefined}>{fixed(f.psi)}</b> },
    { key: "missing", head: m.monitor.missing, right: true, cell: (f) => <span className={f.metric === "missing" ? "warn" : undefined}>{percent(f.missing, 1)}</span> },
    { key: "new", head: m.look.newValues, right: true, cell: (f) => <span className={f.metric === "new" ? "warn" : undefined}>{f.new === undefined ? m.none : percent(f.new, 1)}</span> },
    { key: "ks", head: <abbr title={m.glossary.ks}>KS</abbr>, right: true, cell: (f) => fixed(f.ks) },
    { key: "js", head: <abbr title={m.glossary.js}>JS</abbr>, right: true, cell: (f) => fixed(f.js) },
    { key: "limit", head: m.monitor.limit, right: true, cell: (f) => fixed(f.limit) },
  ];
  return (
    <div className="grid2">
      <Panel title={m.monitor.features(features.filter((f) => f.shift === "moved").length, features.length)} id="features" flush
        actions={<span className="small dim">{m.monitor.windowWords(count(at.rows), `v${at.version}`)} · <span title={absolute(at.from)}><Time at={at.to} /></span> · <Go to={rows}>{m.alerts.seeRows}</Go></span>}>
        <div style={{ maxHeight: 430, overflowY: "auto" }}><DataTable label={m.monitor.featureTable} rows={features} columns={columns} rowKey={(f) => f.name} selected={(f) => f.name === feature?.name} empty={<Empty>{m.monitor.noFeatures}</Empty>} /></div>
      </Panel>
      <Panel title={feature ? m.monitor.distribution(feature.name) : m.monitor.distributions} id="distribution">
        <Await query={detail} lines={6}>{() => (feature ? <FeaturePanel feature={feature} endpoint={endpoint} /> : <Empty>{m.monitor.noFeatures}</Empty>)}</Await>
      </Panel>
    </div>
  );
}

/** A further metric of a window's outcomes; the server sends a number or null. */
function measured(w: Window, name: string): number | null {
  const v: unknown = w.performance?.metrics?.[name];
  return typeof v === "number" ? v : null;
}

/** The accuracy (of a regression the RMSE) that is expected of windows without enough outcomes; it is always marked as an estimate. */
function expected(windows: Window[]): { name: string; values: (number | null)[] } | undefined {
  for (const [key, name] of [["accuracy", m.monitor.accuracy], ["rmse", "RMSE"]]) {
    const values = windows.map((x) => { const v: unknown = x.estimate?.metrics?.[key]?.value; return typeof v === "number" ? v : null; });
    if (values.some((v) => v !== null)) return { name: m.monitor.estimateOf(name), values };
  }
  return undefined;
}

function Performance({ windows, endpoint, limit }: { windows: Window[]; endpoint: string; limit?: number }) {
  const known = windows.filter((w) => w.performance && w.performance.n > 0);
  const guessed = expected(windows);
  if (known.length === 0 && !guessed) return <Panel title={m.monitor.performance} id="performance"><p className="dim">{m.monitor.labelsLate}</p></Panel>;
  const last = known.at(-1)?.performance;
  const series = [{ name: m.monitor.accuracy, values: windows.map((w) => w.performance?.accuracy ?? null) }, { name: "AUC", values: windows.map((w) => w.performance?.auc ?? null) }, { name: "RMSE", values: windows.map((w) => measured(w, "rmse")) }, ...(guessed ? [guessed] : [])].filter((s) => s.values.some((v) => v !== null));
  return (
    <Panel title={m.monitor.performance} id="performance">
      <LineChart title={!last ? m.monitor.onlyEstimate : last.accuracy === null || last.accuracy === undefined ? m.monitor.performanceOf(count(last.n), percent(last.label_coverage)) : m.monitor.performanceTitle(percent(last.accuracy, 1), count(last.n), percent(last.label_coverage))} file={`${endpoint}-performance`} x={windows.map((_, i) => `#${i + 1}`)} series={series} marks={windows.map((w) => w.breached)} events={windows.map((w, i) => (w.version === windows[i - 1]?.version ? undefined : `v${w.version}`))}
        limit={limit ? { value: limit, label: m.monitor.limitAt(fixed(limit, 2)) } : undefined} 
        note={(i) => (windows[i].performance ? m.monitor.labelNote(count(windows[i].performance!.n), percent(windows[i].performance!.label_coverage)) : m.monitor.noLabels)} />
    </Panel>
  );
}

/** How many of the newest alerts the page of a model shows. */
const shownAlerts = 8;

function OwnAlerts({ endpoint }: { endpoint: string }) {
  const query = useAlerts("");
  return <Await query={query} lines={2}>{(all) => <AlertTable rows={all.filter((a) => a.endpoint === endpoint).slice(0, shownAlerts)} empty={<Empty>{m.alerts.none}</Empty>} />}</Await>;
}
