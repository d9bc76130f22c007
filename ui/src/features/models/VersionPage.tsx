import type { ReactNode } from "react";
import { m } from "../../messages";
import { Await } from "../../ui/Await";
import { Chip, Empty, Facts, Id, Panel, Time, type Tone } from "../../ui/Bits";
import { DataTable, type Column } from "../../ui/DataTable";
import { bytes, number, text } from "../../ui/format";
import { Go } from "../../ui/Go";
import { useTopics } from "../../ui/hooks";
import { Note } from "../../ui/Note";
import { Page } from "../../ui/Page";
import { Source } from "../../ui/Source";
import { paths } from "../../ui/url";
import { useEvaluations, useVersion } from "./api";
import { Conversions } from "./Conversions";
import { Fairness } from "./Fairness";
import { CompareChoice, VersionDiff } from "./VersionDiff";
import { EvaluationChip, StateChip } from "./Versions";
import type { Evaluation, Version } from "./types";

type Test = NonNullable<Evaluation["tests"]>[number];
type Tensor = NonNullable<NonNullable<Version["signature"]>["inputs"]>[number];
const testTones: Record<string, Tone> = { passed: "ok", failed: "bad", skipped: "neutral", running: "info" };

/** One version: what it is made of, what was tested, who approved it, where it runs. */
export function VersionPage({ name, v, approvals, actions }: { name: string; v: string; approvals: ReactNode; actions: (version: Version) => ReactNode }) {
  useTopics(`model:${name}`, "approval");
  const query = useVersion(name, v);
  return (
    <Page title={`${name} v${v}`} kind={m.version.kind} crumbs={[{ label: m.models.title, to: paths.models }, { label: name, to: paths.model(name) }, { label: m.model.versions, to: paths.model(name, "versions") }]}
      status={query.data && <><StateChip state={query.data.state} /><EvaluationChip evaluation={query.data.evaluation} /></>} actions={query.data && <><CompareChoice model={name} version={query.data.version} />{actions(query.data)}</>}>
      <Await query={query} lines={10}>{(version) => <Body version={version} approvals={approvals} />}</Await>
    </Page>
  );
}

function Body({ version: v, approvals }: { version: Version; approvals: ReactNode }) {
  return (
    <div className="stack gap16" style={{ marginTop: 12 }}>
      <VersionDiff model={v.model} version={v.version} />
      {v.state === "failed" && <Note tone="bad" title={m.version.failed}><p>{v.reason || v.fault}</p></Note>}
      {v.state === "ready" && !v.deployable && <Note tone="warn" title={m.version.undeployable}><p>{v.undeployable}</p></Note>}
      {v.state === "pending" && <Note title={m.version.pending} />}
      {v.state === "retired" && <Note tone="neutral" title={m.version.retired}>{v.reason && <p>{v.reason}</p>}</Note>}
      <div className="grid2">
        <Panel title={m.version.origin} id="origin">
          <Facts rows={[[m.version.by, v.created_by], [m.version.authors, (v.authors ?? []).map((a) => m.doer(a, "")).join(", ")], [m.created, <Time key="t" at={v.created_at} full />], [m.version.source, <Source key="s" source={v.source} />], [m.version.convertedFrom, v.tags?.["keelson.converted_from"] ? <Parent key="p" version={v} /> : undefined],
            [m.version.run, v.run_id ? <Go key="r" to={paths.trackingRun(v.run_id)}>{v.run_id}</Go> : undefined], [m.version.deployed, (v.deployed ?? []).length ? <span key="d" className="row">{(v.deployed ?? []).map((e) => <Go key={e} to={paths.model(v.model, "deployments")}>{e}</Go>)}</span> : m.nothingLive],
            [m.version.aliases, (v.aliases ?? []).join(", ")], [m.model.tags, Object.entries(v.tags ?? {}).map(([k, t]) => `${k}: ${t}`).join(", ")]]} />
        </Panel>
        <Panel title={m.version.artifact} id="artifact">
          <Facts rows={[[m.version.format, `${v.format || m.none}${v.engine ? ` · ${v.engine}` : ""}`], [m.version.runsIn, v.runs_in], [m.version.engineWhy, v.state === "ready" ? v.reason : undefined], [m.version.size, bytes(v.size ?? 0)], [m.version.artifactDigest, <Id key="a" value={v.artifact_digest} what={m.version.digest} />], [m.version.contentDigest, v.content_digest ? <Id key="c" value={v.content_digest} what={m.version.digest} /> : undefined]]} />
          <Golden golden={v.golden} />
        </Panel>
      </div>
      <Conversions version={v} />
      <Evaluations name={v.model} v={String(v.version)} />
      <div className="grid2">
        <Panel title={m.version.inputs} id="inputs" flush><div style={{ maxHeight: 420, overflowY: "auto" }}><Signature label={m.version.inputs} rows={v.signature?.inputs ?? []} /></div></Panel>
        <Panel title={m.version.outputs} id="outputs" flush><Signature label={m.version.outputs} rows={v.signature?.outputs ?? []} /></Panel>
      </div>
      <div className="grid2">
        <Panel title={m.version.files} id="files" flush><Files version={v} /></Panel>
        <Panel title={m.version.dependencies} id="deps" flush><Dependencies version={v} /></Panel>
      </div>
      <Panel title={m.version.approvals} id="approvals" flush>{approvals}</Panel>
    </div>
  );
}

/** The version that this one is a lighter form of, when it was converted. */
function Parent({ version: v }: { version: Version }) {
  const from = v.tags?.["keelson.converted_from"] ?? "";
  const at = from.lastIndexOf("/");
  return <><Go to={paths.version(from.slice(0, at), from.slice(at + 1))}>{from}</Go> {m.version.convertedTo(v.tags?.["keelson.converted_to"] ?? "")}</>;
}

function Golden({ golden }: { golden: Version["golden"] }) {
  if (!golden?.rows) return <p className="small dim" style={{ marginTop: 12 }}>{m.version.noGolden}</p>;
  if (golden.max_error === null) return <p className="small dim" style={{ marginTop: 12 }}>{m.version.goldenWaits(golden.rows)}</p>;
  const good = golden.max_error <= golden.limit;
  return <div style={{ marginTop: 12 }}><Note tone={good ? "ok" : "bad"} title={m.version.golden(good)}><p className="small">{m.version.goldenDetail(golden.rows, number(golden.max_error, 9), number(golden.limit, 9))}</p></Note></div>;
}

function Evaluations({ name, v }: { name: string; v: string }) {
  const query = useEvaluations(name, v);
  const columns: Column<Test>[] = [
    { key: "state", head: m.version.state, cell: (t) => <Chip tone={testTones[t.state]}>{m.testState[t.state] ?? t.state}</Chip> },
    { key: "name", head: m.version.test, cell: (t) => <b>{t.name}</b> },
    { key: "kind", head: m.models.kind, cell: (t) => t.kind },
    { key: "value", head: m.version.value, right: true, cell: (t) => number(t.value) },
    { key: "limit", head: m.version.limit, right: true, cell: (t) => text(t.limit) },
    { key: "detail", head: m.version.detail, cell: (t) => <div className="wrap" style={{ minWidth: 230 }}>{t.detail}</div> },
  ];
  return (
    <Panel title={m.version.evaluation} id="evaluation" flush>
      <Await query={query} lines={3}>{(all) => (all.length === 0 ? <Empty>{m.version.noEvaluation}</Empty> : (
        <>{all.map((e) => {
          const tests = e.tests ?? [];
          const metrics = Object.entries(e.metrics ?? {});
          return (
            <div key={e.id}>
              <p className="row" style={{ padding: "12px 16px 4px" }}><Chip tone={testTones[e.state]}>{m.evaluationState[e.state] ?? e.state}</Chip><b>{m.version.suite(e.suite)}</b><span className="dim">{m.version.passedOf(tests.filter((t) => t.state === "passed").length, tests.length)} · {m.doer(e.by, "")} · <Time at={e.started_at} /></span></p>
              {metrics.length > 0 && <p className="row small dim" style={{ padding: "0 16px 8px" }}>{metrics.map(([k, x]) => <span key={k} className="tag num">{k} {number(x)}</span>)}</p>}
              <DataTable label={m.version.suite(e.suite)} rows={tests} columns={columns} rowKey={(t) => t.name} />
              {tests.map((t) => t.fairness && <Fairness key={t.name} name={t.name} state={t.state} report={t.fairness} />)}
            </div>
          );
        })}</>
      ))}</Await>
    </Panel>
  );
}

function Signature({ label, rows }: { label: string; rows: Tensor[] }) {
  return <DataTable label={label} rows={rows} rowKey={(t) => t.name} empty={<Empty>{m.version.noSignature}</Empty>} columns={[
    { key: "name", head: m.name, cell: (t) => <><code>{t.name}</code>{t.optional && <span className="dim"> {m.version.optional}</span>}{(t.columns ?? []).length > 0 && <div className="dim small wrap">{(t.columns ?? []).join(", ")}</div>}</> }, { key: "type", head: m.version.datatype, cell: (t) => t.datatype },
    { key: "shape", head: m.version.shape, cell: (t) => <code className="nowrap">[{(t.shape ?? []).map((n) => (n < 0 ? "n" : n)).join(", ")}]</code> }]} />;
}

function Files({ version }: { version: Version }) {
  return <DataTable label={m.version.files} rows={version.files ?? []} rowKey={(f) => f.path} empty={<Empty>{m.version.noFiles}</Empty>} columns={[
    { key: "path", head: m.version.path, cell: (f) => <div style={{ minWidth: 130 }}><code className="wrap">{f.path}</code></div> }, { key: "size", head: m.version.size, right: true, cell: (f) => bytes(f.size) }, { key: "digest", head: m.version.digest, cell: (f) => <Id value={f.digest} what={m.version.digest} /> }]} />;
}

function Dependencies({ version }: { version: Version }) {
  type Dep = NonNullable<Version["dependencies"]>[number];
  const name = (d: Dep) => (d.kind === "data" ? <Go to={paths.dataset(d.name, d.version)}>{d.name}</Go> : d.kind === "run" ? <Go to={paths.trackingRun(d.version || d.name)}>{d.name}</Go> : d.kind === "model" ? <Go to={paths.model(d.name)}>{d.name}</Go> : d.name);
  return <DataTable label={m.version.dependencies} rows={version.dependencies ?? []} rowKey={(d) => d.kind + d.name + d.version} empty={<Empty>{m.version.noDependencies}</Empty>} columns={[
    { key: "kind", head: m.models.kind, cell: (d) => m.dependencyKind[d.kind] ?? d.kind }, { key: "name", head: m.name, cell: (d) => <div className="wrap" style={{ minWidth: 110 }}>{name(d)}</div> },
    { key: "version", head: m.version.version, cell: (d) => (d.kind === "run" && d.version ? <Id value={d.version} /> : d.version || m.none) }, { key: "digest", head: m.version.digest, cell: (d) => (d.digest ? <Id value={d.digest} what={m.version.digest} /> : <span className="dim">{m.none}</span>) }]} />;
}
