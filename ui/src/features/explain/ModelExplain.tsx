import { Button, NativeSelect } from "@mantine/core";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { ask } from "../../api/ask";
import { m } from "../../messages";
import { Await } from "../../ui/Await";
import { Empty, Facts, Panel, Time } from "../../ui/Bits";
import { DataTable } from "../../ui/DataTable";
import { number, percent } from "../../ui/format";
import { Note, ProblemNote } from "../../ui/Note";
import { useParam } from "../../ui/url";
import { Beeswarm, CurveOf, Importances } from "./charts";
import { Nights } from "./Nights";
import type { Feature, Shift, Standing } from "./types";

const w = m.explaining;
const base = (model: string, version: number) => `/api/v1/models/${encodeURIComponent(model)}/versions/${version}/study`;

/** What a version's answers hang on. The address says which version and which feature is looked at. */
export function ModelExplain({ model, live, versions }: { model: string; live: number[]; versions: { version: number; state: string }[] }) {
  const [wanted, setWanted] = useParam("version");
  const version = Number(wanted) || live[0] || versions.find((v) => v.state === "ready")?.version || versions[0]?.version;
  if (!version) return <div className="panel"><Empty>{w.noVersion}</Empty></div>;
  const list = versions.some((v) => v.version === version) ? versions.map((v) => v.version) : [version, ...versions.map((v) => v.version)];
  return (
    <div className="stack gap16">
      <div className="toolbar"><NativeSelect label={w.version} value={String(version)} onChange={(e) => setWanted(e.currentTarget.value)} data={list.map((v) => ({ value: String(v), label: `v${v}${live.includes(v) ? ` (${w.live})` : ""}` }))} /></div>
      <Studied key={version} model={model} version={version} retired={versions.some((v) => v.version === version && v.state === "retired")} />
    </div>
  );
}

function Studied({ model, version, retired }: { model: string; version: number; retired: boolean }) {
  const client = useQueryClient();
  const key = ["models", model, "study", version];
  const query = useQuery({ queryKey: key, queryFn: ({ signal }) => ask<Standing>("GET", base(model, version), { signal }), refetchInterval: (q) => (q.state.data?.state === "making" ? 1000 : false) });
  const make = useMutation({ mutationFn: () => ask<Standing>("POST", base(model, version)), onSuccess: (x) => client.setQueryData(key, x) });
  return (
    <Await query={query} lines={10}>{(x) => (
      <>
        {make.error && <ProblemNote problem={make.error} />}
        {x.state === "failed" && <Note tone="warn" title={w.failed}>{x.reason}</Note>}
        {x.state === "making" && <p role="status" className="dim">{w.making}</p>}
        {!x.study ? x.state !== "making" && <div className="panel">{retired ? <Empty>{w.retired}</Empty> : <Empty action={<Button onClick={() => make.mutate()} loading={make.isPending}>{w.make}</Button>}>{w.none}</Empty>}</div>
          : <Shown standing={x} again={!retired && <Button variant="default" size="xs" onClick={() => make.mutate()} loading={make.isPending || x.state === "making"}>{w.again}</Button>} />}
        {x.study && <Nights model={model} version={version} />}
        {x.study && <Lately model={model} version={version} />}
      </>
    )}</Await>
  );
}

function Shown({ standing, again }: { standing: Standing; again: React.ReactNode }) {
  const s = standing.study!;
  const [wanted, choose] = useParam("feature");
  const curved = s.features.filter((f) => f.curve);
  const feature = curved.find((f) => f.name === wanted) ?? curved[0];
  const top = s.features[0];
  return (
    <>
      <Panel title={top && top.importance > 0 ? w.importance(top.name, percent(top.share)) : w.importanceNone} id="importance" actions={again}>
        <div className="stack gap16">
          <p>{w.about(s.rows, s.explained)} <span className="dim">{w.from} <Time at={s.from} full /> {w.until} <Time at={s.until} full /></span></p>
          <Importances study={s} />
        </div>
      </Panel>
      <Panel id="swarm"><Beeswarm study={s} /></Panel>
      <Panel id="curve">
        {feature ? (
          <div className="stack gap16">
            <NativeSelect label={w.choose} value={feature.name} onChange={(e) => choose(e.currentTarget.value)} data={curved.map((f) => f.name)} maw={320} />
            <CurveOf feature={feature} study={s} />
          </div>
        ) : <p className="dim">{w.noCurve}</p>}
      </Panel>
      <Panel title={w.sensitivity} id="sensitivity" flush><Sensitivity features={s.features} /></Panel>
      <Panel title={w.limits} id="limits">
        <div className="stack gap16">
          <ul>{s.limits.map((l) => <li key={l}>{l}</li>)}</ul>
          <Facts rows={[[w.method, s.method], [w.unit, s.unit], [w.output, s.output || undefined], [w.made, <span key="t"><Time at={s.made_at} full /> ({s.nightly ? w.byNight : w.byPerson})</span>]]} />
        </div>
      </Panel>
    </>
  );
}

function Sensitivity({ features }: { features: Feature[] }) {
  const way = (d?: number) => (d === undefined || Math.abs(d) < 0.3 ? w.depends : d > 0 ? w.up : w.down);
  return <DataTable label={w.sensitivity} rows={features} rowKey={(f) => f.name} empty={<Empty>{m.none}</Empty>} columns={[
    { key: "name", head: w.feature, cell: (f) => <div style={{ minWidth: 190 }}>{f.name}<div className="dim small wrap">{f.words}</div></div> },
    { key: "way", head: w.direction, cell: (f) => way(f.direction) },
    { key: "star", head: <abbr title={w.morrisHelp}>{w.morris}</abbr>, right: true, cell: (f) => number(f.morris?.mu_star) },
    { key: "mu", head: <abbr title={w.muHelp}>{w.mu}</abbr>, right: true, cell: (f) => number(f.morris?.mu) },
    { key: "sigma", head: <abbr title={w.sigmaHelp}>{w.sigma}</abbr>, right: true, cell: (f) => number(f.morris?.sigma) },
    { key: "first", head: <abbr title={w.firstHelp}>{w.first}</abbr>, right: true, cell: (f) => percent(f.sobol_first, 1) },
    { key: "total", head: <abbr title={w.totalHelp}>{w.total}</abbr>, right: true, cell: (f) => percent(f.sobol_total, 1) },
  ]} />;
}

/** The last day against the week before; asked for by a person, because a version is loaded for it. */
function Lately({ model, version }: { model: string; version: number }) {
  const [asked, setAsked] = useState(false);
  return <Panel title={w.shift} id="shift">{asked ? <Compared model={model} version={version} /> : <div className="stack"><p className="dim">{w.shiftLead}</p><div><Button variant="default" onClick={() => setAsked(true)}>{w.shiftAsk}</Button></div></div>}</Panel>;
}

function Compared({ model, version }: { model: string; version: number }) {
  const query = useQuery({ queryKey: ["models", model, "study-shift", version], meta: { still: true }, staleTime: 60_000, retry: false, queryFn: ({ signal }) => ask<Shift>("GET", base(model, version) + "/shift", { signal }) });
  return (
    <Await query={query}>{(x) => (
      <div className="stack gap16">
        <p>{x.words} <span className="dim">{w.moved(percent(x.moved))} · {w.shiftRows(x.rows, x.against_rows)}</span></p>
        <DataTable label={w.shift} rows={x.features} rowKey={(f) => f.name} empty={<Empty>{m.none}</Empty>} columns={[
          { key: "name", head: w.feature, cell: (f) => f.name },
          { key: "now", head: `${w.share}, ${w.now}`, right: true, cell: (f) => percent(f.share, 1) },
          { key: "before", head: `${w.share}, ${w.before}`, right: true, cell: (f) => percent(f.share_before, 1) },
          { key: "mean", head: w.mean, right: true, cell: (f) => `${number(f.importance)} (${number(f.importance_before)})` },
        ]} />
      </div>
    )}</Await>
  );
}
