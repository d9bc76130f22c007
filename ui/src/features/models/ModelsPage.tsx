import { m } from "../../messages";
import { Await } from "../../ui/Await";
import { Chip, Empty, Time } from "../../ui/Bits";
import { DataTable, ExportCSV, type Column } from "../../ui/DataTable";
import { FilterBox, FilterSelect } from "../../ui/Filter";
import { Go } from "../../ui/Go";
import { useTopics } from "../../ui/hooks";
import { Page } from "../../ui/Page";
import { paths, useParam } from "../../ui/url";
import { Plain, VerdictChip } from "../../ui/Verdict";
import { Button } from "@mantine/core";
import { useModels } from "./api";
import type { Model } from "./types";

const liveText = (model: Model) => (model.live ?? []).map((s) => `v${s.version} ${s.environment}${s.share < 100 ? ` ${s.share} %` : ""}`).join(", ");

const columns: Column<Model>[] = [
  { key: "name", head: m.models.name, value: (r) => r.name, cell: (r) => <div style={{ minWidth: 120, maxWidth: 320 }}><Go className="rowlink" to={paths.model(r.name)}>{r.name}</Go>{r.description && <div className="dim wrap clamp">{r.description}</div>}</div> },
  { key: "health", head: m.models.health, value: (r) => r.health?.verdict, cell: (r) => <div style={{ minWidth: 150, maxWidth: 300 }}><VerdictChip verdict={r.health?.verdict} />{r.health?.verdict !== "yes" && <div className="dim wrap clamp" style={{ marginTop: 4 }}><Plain>{r.health?.reasons?.[0] ?? ""}</Plain></div>}</div> },
  { key: "accountable", head: m.models.accountable, value: (r) => r.responsibilities?.accountable ?? "", cell: (r) => <Accountable model={r} /> },
  { key: "owner", head: m.models.owner, value: (r) => r.owner, cell: (r) => r.owner || <span className="dim">{m.none}</span> },
  { key: "tier", head: m.models.tier, value: (r) => r.tier, right: true, cell: (r) => (r.tier ? r.tier : <span className="dim">{m.none}</span>) },
  { key: "live", head: m.models.live, value: liveText, cell: (r) => <LiveVersions model={r} /> },
  { key: "kind", head: m.models.kind, value: (r) => `${r.kind} ${r.area}`, cell: (r) => <>{m.modelKind[r.kind] ?? r.kind}{r.area && <div className="dim">{r.area}</div>}</> },
  { key: "used", head: m.models.used, value: (r) => r.last_used_at ?? "", cell: (r) => <Time at={r.last_used_at} /> },
  { key: "changed", head: m.models.changed, value: (r) => r.updated_at, cell: (r) => <Time at={r.updated_at} /> },
];

function LiveVersions({ model }: { model: Model }) {
  const live = model.live ?? [];
  if (live.length === 0) return <span className="dim">{m.nothingLive}</span>;
  return <div className="stack gap4">{live.map((s) => <span key={s.environment + s.kind + s.version} className="nowrap"><b>v{s.version}</b> {s.environment} {s.share < 100 && <span className="dim">{s.kind === "shadow" ? m.slot.shadow : `${s.share} %`}</span>}</span>)}</div>;
}

/** The accountable person, or in red that nobody is. */
export function Accountable({ model }: { model: Pick<Model, "missing" | "responsibilities"> }) {
  const who = model.responsibilities?.accountable;
  if (who && !(model.missing ?? []).includes("accountable")) return <>{who}</>;
  return <Chip tone="bad">{m.models.nobody}</Chip>;
}

/** Every model of the workspace, whatever its kind. */
export function ModelsPage() {
  useTopics("model", "deployment", "monitor");
  const [filter, setFilter] = useParam("filter");
  const [verdict, setVerdict] = useParam("health");
  const query = useModels(filter);
  const words = /[=<>]|\blike\b/i.test(filter) ? [] : filter.toLowerCase().split(/\s+/).filter(Boolean);
  const match = (r: Model) => words.every((w) => JSON.stringify([r.name, r.description, r.kind, r.owner, r.area, r.use_case, r.tags, r.responsibilities]).toLowerCase().includes(w)) && (!verdict || r.health?.verdict === verdict);
  const rows = (query.data ?? []).filter(match);
  const clear = () => { setFilter(""); setVerdict(""); };
  return (
    <Page title={m.models.title} lead={m.models.lead}>
      <div className="toolbar">
        <FilterBox name="filter" label={m.models.filter} placeholder={m.models.filterHint} />
        <FilterSelect name="health" label={m.models.health} options={[{ value: "", label: m.models.anyHealth }, ...(["yes", "watch", "no", "unknown"] as const).map((v) => ({ value: v, label: m.verdict[v] }))]} />
        <span className="dim small" aria-live="polite">{query.data && m.models.count(rows.length, query.data.length)}</span>
        <span className="end"><ExportCSV name="models" rows={rows} columns={columns} /></span>
      </div>
      <Await query={query} lines={8}>
        {(all) => <DataTable boxed label={m.models.title} sort="sort" rows={rows} columns={columns} rowKey={(r) => r.name} more={query.more}
          empty={all.length ? <Empty action={<Button variant="default" onClick={clear}>{m.removeFilters}</Button>}>{m.models.noMatch}</Empty> : <Empty command="keelson deploy create model.json --name my-model --to dev">{m.models.empty}</Empty>} />}
      </Await>
    </Page>
  );
}
