import type { ReactNode } from "react";
import { m } from "../../messages";
import { Await } from "../../ui/Await";
import { Chip, Empty, Facts, Panel, Time } from "../../ui/Bits";
import { DataTable, type Column } from "../../ui/DataTable";
import { count } from "../../ui/format";
import { Go } from "../../ui/Go";
import { paths } from "../../ui/url";
import { VerdictReasons } from "../../ui/Verdict";
import { useCallers } from "./api";
import { Accountable } from "./ModelsPage";
import { Spending } from "./Spending";
import type { Model, ModelCaller } from "./types";

/** What a model is for, whether it can be relied on, who answers for it and who uses it. */
export function Overview({ model, timeline, waiting }: { model: Model; timeline: ReactNode; waiting: ReactNode }) {
  const r = model.responsibilities ?? {};
  const people = (names?: string[] | null) => ((names ?? []).length ? (names ?? []).join(", ") : <span className="dim">{m.none}</span>);
  return (
    <div className="grid2 wide-left">
      <div className="stack gap16">
        <Panel title={m.model.health} id="health" actions={<Go to={paths.model(model.name, "monitoring")}>{m.model.toMonitoring}</Go>}><VerdictReasons verdict={model.health} /></Panel>
        {waiting}
        <Panel title={m.model.lately} id="lately" actions={<Go to={paths.model(model.name, "timeline")}>{m.model.wholeTimeline}</Go>}>{timeline}</Panel>
      </div>
      <div className="stack gap16">
        <Panel title={m.model.people} id="people">
          <Facts rows={[[m.model.accountable, <Accountable key="a" model={model} />], [m.model.responsible, people(r.responsible)], [m.model.consulted, people(r.consulted)], [m.model.informed, people(r.informed)]]} />
        </Panel>
        <Panel title={m.model.purpose} id="purpose">
          <Facts rows={[[m.models.kind, m.modelKind[model.kind] ?? model.kind], [m.model.useCase, model.use_case], [m.models.area, model.area], [m.model.intended, model.intended_use], [m.model.forbidden, model.forbidden_use],
            [m.model.tags, Object.keys(model.tags ?? {}).length ? <span key="t" className="row">{Object.entries(model.tags ?? {}).map(([k, v]) => <span key={k} className="tag">{v ? `${k}: ${v}` : k}</span>)}</span> : undefined],
            [m.model.latest, model.latest_version ? <Go key="v" to={paths.version(model.name, model.latest_version)}>v{model.latest_version}</Go> : m.none], [m.created, <Time key="c" at={model.created_at} />]]} />
        </Panel>
        <Panel title={m.model.usedBy} id="callers" flush><Callers name={model.name} /></Panel>
        <Panel title={m.spending.title} id="spending" flush><Spending name={model.name} /></Panel>
      </div>
    </div>
  );
}

function Callers({ name }: { name: string }) {
  const query = useCallers(name);
  const columns: Column<ModelCaller>[] = [
    { key: "caller", head: m.model.caller, cell: (c) => <><Go className="rowlink" to={paths.predictions({ model: name, caller: c.caller })}>{c.caller || m.none}</Go>{c.application && <div className="dim small">{c.application}</div>}</> },
    { key: "versions", head: m.model.versions, cell: (c) => (c.versions ?? []).map((v) => <Chip key={v} glyph="◆">v{v}</Chip>) },
    { key: "calls", head: m.model.calls, right: true, cell: (c) => count(c.calls) },
    { key: "last", head: m.model.lastCall, cell: (c) => <Time at={c.last_at} /> },
  ];
  return <Await query={query} lines={2}>{(rows) => <DataTable label={m.model.usedBy} rows={rows} columns={columns} rowKey={(c) => c.caller + c.application} empty={<Empty>{m.model.noCallers}</Empty>} />}</Await>;
}
