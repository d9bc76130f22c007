import { Button } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { api, call, items, prefix } from "../../api/client";
import type { ColumnProfile, Dataset, DataVersion, Rule } from "../../api/types";
import { m } from "../../messages";
import { Await } from "../../ui/Await";
import { Chip, Empty, Facts, Id, Panel, Time } from "../../ui/Bits";
import { MiniHistogram } from "../../ui/charts/HistogramPair";
import { DataTable, type Column } from "../../ui/DataTable";
import { FilterBox } from "../../ui/Filter";
import { bytes, count, number, percent, text } from "../../ui/format";
import { Go } from "../../ui/Go";
import { useTopics } from "../../ui/hooks";
import { IconDownload } from "../../ui/icons";
import { Page } from "../../ui/Page";
import { paths, useParam } from "../../ui/url";

const columns: Column<Dataset>[] = [
  { key: "name", head: m.name, value: (d) => d.name, cell: (d) => <div style={{ minWidth: 160 }}><Go className="rowlink" to={paths.dataset(d.name)}>{d.name}</Go><div className="dim wrap">{d.description}</div></div> },
  { key: "owner", head: m.models.owner, value: (d) => d.owner, cell: (d) => d.owner || <Chip tone="warn">{m.data.noOwner}</Chip> },
  { key: "sensitivity", head: m.data.sensitivity, value: (d) => d.sensitivity, cell: (d) => d.sensitivity || m.none },
  { key: "versions", head: m.model.versions, value: (d) => d.versions, right: true, cell: (d) => d.versions },
  { key: "rows", head: m.predict.rows, value: (d) => d.latest?.rows, right: true, cell: (d) => count(d.latest?.rows) },
  { key: "columns", head: m.data.columns, value: (d) => d.latest?.columns, right: true, cell: (d) => count(d.latest?.columns) },
  { key: "rules", head: m.data.rules, value: (d) => (d.rules ?? []).length, right: true, cell: (d) => (d.rules ?? []).length },
  { key: "changed", head: m.models.changed, value: (d) => d.latest?.created_at, cell: (d) => <Time at={d.latest?.created_at} /> },
];

/** All data sets. */
export function DataPage() {
  useTopics("data");
  const [filter] = useParam("filter");
  const query = useQuery<Dataset[]>({ queryKey: ["datasets", "list"], queryFn: async () => items(await call(api.GET("/api/v1/datasets", { params: { query: { limit: 200 } } }))) });
  const match = (d: Dataset) => (d.name + d.description + d.owner).toLowerCase().includes(filter.toLowerCase());
  return (
    <Page title={m.data.title} lead={m.data.lead}>
      <div className="toolbar"><FilterBox name="filter" label={m.data.filter} /></div>
      <Await query={query}>{(all) => <DataTable boxed sort="sort" label={m.data.title} rows={all.filter(match)} columns={columns} rowKey={(d) => d.name} empty={<Empty command="keelson data add my-data file.csv">{filter ? m.data.noMatch : m.data.empty}</Empty>} />}</Await>
    </Page>
  );
}

function useDataset(name: string) {
  return useQuery<Dataset>({ queryKey: ["datasets", name], queryFn: () => call(api.GET("/api/v1/datasets/{name}", { params: { path: { name } } })) });
}

const ruleWords = (r: Rule) => m.data.rule(r.check, r.column ?? "", { min: r.min, max: r.max, max_share: r.max_share, type: r.type, values: (r.values ?? []).map(text).join(", ") });

/** One data set: its versions and rules. */
export function DatasetPage({ name }: { name: string }) {
  useTopics(`data:${name}`);
  const query = useDataset(name);
  const versions = useQuery<DataVersion[]>({ queryKey: ["datasets", name, "versions"], queryFn: async () => items(await call(api.GET("/api/v1/datasets/{name}/versions", { params: { path: { name }, query: { limit: 100 } } }))) });
  const cols: Column<DataVersion>[] = [
    { key: "version", head: m.version.version, cell: (v) => <Go className="rowlink" to={paths.dataset(name, v.version)}>v{v.version}</Go> }, { key: "rows", head: m.predict.rows, right: true, cell: (v) => count(v.rows) }, { key: "size", head: m.version.size, right: true, cell: (v) => bytes(v.size ?? 0) }, { key: "format", head: m.version.format, cell: (v) => v.format },
    { key: "digest", head: m.version.digest, cell: (v) => <Id value={v.digest} what={m.version.digest} /> }, { key: "by", head: m.version.by, cell: (v) => v.created_by }, { key: "note", head: m.data.note, cell: (v) => <span className="wrap">{v.note}</span> }, { key: "at", head: m.created, cell: (v) => <Time at={v.created_at} /> },
  ];
  return (
    <Page title={name} kind={m.data.kind} crumbs={[{ label: m.data.title, to: "/data" }]} lead={query.data?.description || undefined}>
      <div className="stack gap16" style={{ marginTop: 12 }}>
        <Await query={query}>{(d) => (
          <div className="grid2">
            <Panel title={m.data.about} id="about"><Facts rows={[[m.models.owner, d.owner], [m.data.sensitivity, d.sensitivity], [m.data.source, d.source], [m.data.target, d.target]]} /></Panel>
            <Panel title={m.data.rules} id="rules">{(d.rules ?? []).length ? <ul className="verdict">{(d.rules ?? []).map((r, i) => <li key={i}><span className="dim" aria-hidden="true">–</span><span>{ruleWords(r)}</span></li>)}</ul> : <p className="dim">{m.data.noRules}</p>}</Panel>
          </div>
        )}</Await>
        <Panel title={m.model.versions} id="versions" flush><Await query={versions}>{(rows) => <DataTable label={m.model.versions} rows={rows} columns={cols} rowKey={(v) => String(v.version)} empty={<Empty command={`keelson data add ${name} file.csv`}>{m.data.noVersions}</Empty>} />}</Await></Panel>
      </div>
    </Page>
  );
}

const profileColumns: Column<ColumnProfile>[] = [
  { key: "name", head: m.data.column, value: (c) => c.name, cell: (c) => <b>{c.name}</b> },
  { key: "type", head: m.data.type, value: (c) => c.type, cell: (c) => c.type },
  { key: "shape", head: m.data.distribution, cell: (c) => (c.histogram?.counts?.length ? <MiniHistogram counts={c.histogram.counts} label={m.data.histogramLabel(c.name, number(c.quantiles?.p05), number(c.quantiles?.p50), number(c.quantiles?.p95))} /> : <span className="small wrap">{(c.top ?? []).slice(0, 3).map((t) => `${text(t.value)} (${count(t.count)})`).join(", ")}</span>) },
  { key: "missing", head: m.data.missing, value: (c) => c.missing, right: true, cell: (c) => <>{count(c.missing)} <span className="dim">{c.count + c.missing > 0 ? percent(c.missing / Math.max(c.count, c.missing, 1), 1) : ""}</span></> },
  { key: "distinct", head: m.data.distinct, value: (c) => c.distinct, right: true, cell: (c) => count(c.distinct) },
  { key: "min", head: m.data.min, right: true, cell: (c) => text(c.min ?? c.earliest) },
  { key: "median", head: m.data.median, value: (c) => c.quantiles?.p50, right: true, cell: (c) => number(c.quantiles?.p50) },
  { key: "mean", head: m.data.mean, value: (c) => c.mean, right: true, cell: (c) => number(c.mean) },
  { key: "sd", head: m.data.sd, value: (c) => c.sd, right: true, cell: (c) => number(c.sd) },
  { key: "max", head: m.data.max, right: true, cell: (c) => text(c.max ?? c.newest) },
];

/** One version of a data set: schema and profile per column. */
export function DataVersionPage({ name, v }: { name: string; v: string }) {
  const query = useQuery<DataVersion>({ queryKey: ["datasets", name, "versions", v], queryFn: () => call(api.GET("/api/v1/datasets/{name}/versions/{version}", { params: { path: { name, version: v } } })) });
  const dataset = useDataset(name);
  const profile = (d: DataVersion): ColumnProfile[] => (d.profile?.length ? d.profile : (d.schema ?? []).map((s) => ({ name: s.name, type: s.type, count: d.rows, missing: 0, distinct: 0, distinct_exact: false, method: "" })));
  return (
    <Page title={`${name} v${v}`} kind={m.data.kind} crumbs={[{ label: m.data.title, to: "/data" }, { label: name, to: paths.dataset(name) }]}
      actions={<Button component="a" variant="default" leftSection={<IconDownload size={16} />} href={`${prefix}/api/v1/datasets/${encodeURIComponent(name)}/versions/${v}/content`} download>{m.data.download}</Button>}>
      <Await query={query} lines={10}>{(d) => (
        <div className="stack gap16" style={{ marginTop: 12 }}>
          <div className="grid2">
            <Panel title={m.data.about} id="about"><Facts rows={[[m.predict.rows, count(d.rows)], [m.data.columns, count((d.schema ?? []).length)], [m.version.format, d.format], [m.version.size, bytes(d.size ?? 0)], [m.version.digest, <Id key="d" value={d.digest} what={m.version.digest} />], [m.version.by, d.created_by], [m.created, <Time key="t" at={d.created_at} full />], [m.data.note, d.note], [m.data.parents, (d.parents ?? []).length ? <span key="p" className="row">{(d.parents ?? []).map((x) => <Go key={x.dataset + x.version} to={paths.dataset(x.dataset, x.version)}>{x.dataset} v{x.version}</Go>)}</span> : undefined]]} /></Panel>
            <Panel title={m.data.rulesPassed} id="rules">{(dataset.data?.rules ?? []).length ? <ul className="verdict">{(dataset.data?.rules ?? []).map((r, i) => <li key={i}><span className="ok" aria-hidden="true">✓</span><span>{ruleWords(r)}</span></li>)}</ul> : <p className="dim">{m.data.noRules}</p>}</Panel>
          </div>
          <Panel title={m.data.profile} id="profile" flush><DataTable sort="sort" label={m.data.profile} rows={profile(d)} columns={profileColumns} rowKey={(c) => c.name} empty={<Empty>{m.data.noProfile}</Empty>} /></Panel>
        </div>
      )}</Await>
    </Page>
  );
}
