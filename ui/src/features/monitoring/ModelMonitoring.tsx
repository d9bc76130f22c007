import { NativeSelect } from "@mantine/core";
import type { ReactNode } from "react";
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
import { Accept, Against } from "./Accept";
import { AlertTable } from "./Alerts";
import { useAlerts, useMonitor, useMonitors, useVersionState, useWeights, useWindow } from "./api";
import { FeaturePanel } from "./FeaturePanel";
import { Groups } from "./Groups";
import { Measures, Rules } from "./Measures";
import { Embeddings, Segments } from "./Segments";
import { Shift } from "./Shift";
import { Signs } from "./Signs";
import { Trend } from "./Trend";
import { WindowsLine } from "./WindowsLine";

/** The button that trains a model again; `suggested` is the pipeline that the monitor starts by itself on a breach. */
type Retrain = (model: string, suggested?: string) => ReactNode;

/** The watch over one model: verdict, windows, features, distributions, performance, alerts. The address says which window and feature. */
export function ModelMonitoring({ model, retrain }: { model: string; retrain?: Retrain }) {
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
          <Watch endpoint={endpoint} retrain={retrain} />
        </>
      );
    }}</Await>
  );
}

function Watch({ endpoint, retrain }: { endpoint: string; retrain?: Retrain }) {
  const query = useMonitor(endpoint);
  return <Await query={query} lines={10}>{(state) => <WatchBody endpoint={endpoint} state={state} retrain={retrain} />}</Await>;
}

/** Oldest first, whatever order the server sends. */
function inOrder(windows: Window[]): Window[] {
  return [...windows].sort((a, b) => a.to.localeCompare(b.to) || a.id.localeCompare(b.id));
}

function WatchBody({ endpoint, state, retrain }: { endpoint: string; state: MonitorState; retrain?: Retrain }) {
  const windows = inOrder(state.windows ?? []);
  const [wanted] = useParam("window");
  const at = windows.find((w) => w.id === wanted) ?? windows.at(-1);
  const mon = state.monitor;
  return (
    <div className="stack gap16">
      <Panel title={m.monitor.verdict} id="verdict" actions={<Against monitor={mon} windows={windows} />}>
        <VerdictReasons verdict={state.verdict}><Signs windows={windows} /></VerdictReasons>
        {at && <div className="row gap16 acts">{retrain?.(mon.model, mon.on_breach?.retrain?.pipeline)}<Accept monitor={mon} at={at} number={windows.indexOf(at) + 1} /><span className="small dim">{m.retrain.running}</span></div>}
      </Panel>
      {!at ? <div className="panel"><Empty>{m.monitor.noWindows(count(mon.window?.rows))}</Empty></div> : (
        <>
          <Panel title={m.monitor.windows(windows.length)} id="windows"><WindowsLine model={mon.model} endpoint={endpoint} windows={windows} current={at.id} limit={mon.limits?.psi} /></Panel>
          <WindowDetail endpoint={endpoint} model={mon.model} newest={mon.version} at={at} windows={windows} />
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

/** By how much its limit was taken up, of whatever measure decided; 0 where nothing is known. */
const taken = (f: WindowFeature) => (f.shift === "unknown" ? 0 : Math.max((f.metric && f.limit > 0 ? (f.value ?? 0) / f.limit : 0), f.limit > 0 ? (f.psi ?? 0) / f.limit : 0));

function WindowDetail({ endpoint, model, newest, at, windows }: { endpoint: string; model: string; newest: number; at: Window; windows: Window[] }) {
  const [wanted] = useParam("feature");
  const detail = useWindow(endpoint, at.id);
  // Of a version that nobody studied, the weights of the newest one stand in.
  const own = useWeights(model, at.version).data, other = useWeights(model, own?.size === 0 && newest !== at.version ? newest : 0).data;
  const borrowed = !own?.size && !!other?.size;
  const weights = borrowed ? other : own;
  const weight = (f: WindowFeature) => weights?.get(f.name) ?? 0;
  // What moved stands first, in order of weight times shift; of what nobody studied, the largest shift.
  const rank = (f: WindowFeature) => (weights?.size ? weight(f) * taken(f) : taken(f));
  const features = [...(detail.data?.features ?? at.features ?? [])].sort((a, b) => Number(b.shift === "moved") - Number(a.shift === "moved") || rank(b) - rank(a) || taken(b) - taken(a));
  const here = windows.indexOf(at);
  const course = new Map(features.map((f) => [f.name, windows.map((w) => (w.features ?? []).find((x) => x.name === f.name)?.psi ?? null)]));
  const feature = features.find((f) => f.name === wanted) ?? features[0];
  const rows = paths.predictions({ endpoint, since: at.from, until: at.to });
  const columns: Column<WindowFeature>[] = [
    { key: "name", head: m.monitor.feature, cell: (f) => <Go className="rowlink" to={paths.monitoring(model, { endpoint, window: at.id, feature: f.name })} aria-current={f.name === feature?.name ? "true" : undefined}>{f.name}</Go> },
    { key: "weight", head: <abbr title={m.look.importanceHelp}>{m.look.importance}</abbr>, right: true, cell: (f) => (weights?.has(f.name) ? percent(weights.get(f.name), 1) : <span className="dim">{m.none}</span>) },
    { key: "shift", head: m.monitor.shift, cell: (f) => <Shift shift={f.shift} /> },
    { key: "psi", head: <abbr title={m.glossary.psi}>PSI</abbr>, right: true, cell: (f) => <b className={f.shift === "moved" ? "warn" : undefined}>{fixed(f.psi)}</b> },
    { key: "course", head: <abbr title={m.look.courseHelp}>{m.look.course}</abbr>, cell: (f) => <Trend name={f.name} values={course.get(f.name) ?? []} limit={f.metric === undefined || f.metric === "psi" ? f.limit : undefined} at={here} /> },
    { key: "missing", head: m.monitor.missing, right: true, cell: (f) => <><span className={f.metric === "missing" ? "warn" : undefined}>{percent(f.missing, 1)}</span>{!!f.new && <div className={f.metric === "new" ? "warn small nowrap" : "dim small nowrap"}>{m.look.newValues(percent(f.new, 1))}</div>}</> },
  ];
  return (
    <div className="grid2 wide-left">
      <Panel title={m.monitor.features(features.filter((f) => f.shift === "moved").length, features.length)} id="features" flush
        actions={<span className="small dim">{m.monitor.windowWords(count(at.rows), `v${at.version}`)} · <span title={absolute(at.from)}><Time at={at.to} /></span> · <Go to={rows}>{m.alerts.seeRows}</Go></span>}>
        <div style={{ maxHeight: 430, overflowY: "auto" }}><DataTable label={m.monitor.featureTable} rows={features} columns={columns} rowKey={(f) => f.name} selected={(f) => f.name === feature?.name} empty={<Empty>{m.monitor.noFeatures}</Empty>} /></div>
        {borrowed && <p className="small dim" style={{ padding: "8px 16px" }}>{m.look.borrowed(newest, at.version)}</p>}
        {weights && weights.size === 0 && features.length > 0 && <NotStudied model={model} version={at.version} newest={newest} />}
      </Panel>
      <Panel title={feature ? m.monitor.distribution(feature.name) : m.monitor.distributions} id="distribution">
        <Await query={detail} lines={6}>{() => (feature ? <FeaturePanel feature={feature} endpoint={endpoint} /> : <Empty>{m.monitor.noFeatures}</Empty>)}</Await>
      </Panel>
    </div>
  );
}

/** Why no input has a weight, and the way to a study; a version that is retired cannot be loaded for one, so the newest one lends its weights. */
function NotStudied({ model, version, newest }: { model: string; version: number; newest: number }) {
  const retired = useVersionState(model, version).data === "retired";
  const able = retired ? newest : version;
  return (
    <p className="small dim" style={{ padding: "8px 16px" }}>
      {retired ? m.look.retired(version) : m.look.notStudiedHead} {(!retired || newest !== version) && <Go to={paths.model(model, "explain") + `?version=${able}`}>{retired ? m.look.studyOther(newest) : m.look.study}</Go>}
    </p>
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
