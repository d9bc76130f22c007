import { Button, NativeSelect, Popover, TextInput } from "@mantine/core";
import { useState } from "react";
import { address } from "../../api/ask";
import { api, call } from "../../api/client";
import { useWhyNot } from "../../api/me";
import { usePages } from "../../api/query";
import type { Prediction } from "../../api/types";
import { m } from "../../messages";
import { Action } from "../../ui/Action";
import { Await } from "../../ui/Await";
import { Chip, Empty, Time } from "../../ui/Bits";
import { DataTable, type Column } from "../../ui/DataTable";
import { dayEnd, dayStart, FilterBox, FilterDays, FilterSelect } from "../../ui/Filter";
import { micros } from "../../ui/format";
import { Go } from "../../ui/Go";
import { IconDownload } from "../../ui/icons";
import { Page } from "../../ui/Page";
import { paths, useGo, useParam } from "../../ui/url";
import { fired } from "./words";

const columns: Column<Prediction>[] = [
  { key: "at", head: m.audit.when, value: (p) => p.at, cell: (p) => <Go className="rowlink" to={paths.prediction(p.id)}><Time at={p.at} full /></Go> },
  { key: "endpoint", head: m.deploy.endpoint, value: (p) => p.endpoint, cell: (p) => p.endpoint },
  { key: "version", head: m.version.version, value: (p) => p.version, right: true, cell: (p) => <><Go to={paths.version(p.model, p.version)}>v{p.version}</Go>{p.slot !== "live" && <div className="dim small">{m.slot[p.slot] ?? p.slot}</div>}</> },
  { key: "caller", head: m.model.caller, value: (p) => p.caller, cell: (p) => <>{p.caller}{p.application && p.application !== p.caller && <div className="dim small">{p.application}</div>}</> },
  { key: "rows", head: m.predict.rows, value: (p) => p.rows, right: true, cell: (p) => p.rows },
  { key: "latency", head: m.predict.latency, value: (p) => p.latency_us, right: true, cell: (p) => micros(p.latency_us) },
  { key: "outcome", head: m.predict.answer, cell: (p) => (p.error ? <Chip tone="bad">{p.error}</Chip> : fired(p.trace_info) ? <span className="wrap">{fired(p.trace_info)}</span> : <Outputs p={p} />) },
];

/** The first values of an answer. */
function Outputs({ p }: { p: Prediction }) {
  const outputs = (p.outputs ?? []) as { name: string; data: unknown }[];
  const words = outputs.slice(0, 2).map((o) => { const d = Array.isArray(o.data) ? (o.data as unknown[]) : []; return `${o.name} ${d.slice(0, 3).map((v) => (typeof v === "number" ? Number(v.toPrecision(4)) : String(v))).join(", ")}${d.length > 3 ? " …" : ""}`; });
  return words.length ? <span className="mono small wrap" style={{ display: "inline-block", minWidth: 170 }}>{words.join("; ")}</span> : <Chip tone="ok">{m.predict.answered}</Chip>;
}

const quote = (v: string) => `'${v.replaceAll("'", "''")}'`;
/** A name as the filter reads it: in backquotes where it is more than a word. */
const named = (v: string) => (/^[A-Za-z_][A-Za-z0-9_]*$/.test(v) ? v : "`" + v.replaceAll("`", "``") + "`");

/** Every call a model answered: by endpoint, version, caller, time, and by the values of its inputs and outputs. */
export function PredictionsPage() {
  const value = { endpoint: useParam("endpoint")[0], model: useParam("model")[0], version: useParam("version")[0], caller: useParam("caller")[0], slot: useParam("slot")[0] };
  const [since] = useParam("since");
  const [until] = useParam("until");
  const [text] = useParam("filter");
  const [id] = useParam("id");
  const go = useGo();
  const where = [text.trim(), id && `id LIKE ${quote("%" + id.trim() + "%")}`].filter(Boolean).join(" AND ");
  const filter = Object.fromEntries(Object.entries({ ...value, since: dayStart(since), until: dayEnd(until), filter: where }).filter(([, v]) => v));
  const query = usePages<Prediction>(["predictions", "list", filter], (cursor) => call(api.GET("/api/v1/predictions", { params: { query: { ...filter, limit: 100, cursor } } })));
  const filtered = Object.keys(filter).length > 0;
  const s = m.serving.search;
  return (
    <Page title={m.predict.title} lead={m.predict.lead}>
      <div className="toolbar">
        <FilterBox name="endpoint" label={m.deploy.endpoint} width={140} /><FilterBox name="caller" label={m.model.caller} width={120} /><FilterBox name="version" label={m.version.version} width={105} /><FilterBox name="id" label={s.id} width={140} />
        <FilterSelect name="slot" label={s.slot} options={[{ value: "", label: s.anySlot }, ...["live", "canary", "shadow", "external"].map((v) => ({ value: v, label: m.slot[v] ?? v }))]} /><FilterDays />
      </div>
      <div className="toolbar">
        <FilterBox name="filter" label={s.filter} placeholder={s.hint} width={420} /><AddCondition />
        <span className="end"><Export filter={filter} /></span>
      </div>
      <Await query={query} lines={8}>{(rows) => <DataTable boxed label={m.predict.title} rows={rows} columns={columns} rowKey={(p) => p.id} more={query.more}
        empty={query.more.has ? <Empty action={<Button variant="default" loading={query.more.busy} onClick={query.more.load}>{s.further}</Button>}>{s.lookedNone}</Empty>
          : filtered ? <Empty action={<Button variant="default" onClick={() => go("/predictions")}>{m.removeFilters}</Button>}>{m.predict.noMatch}</Empty> : <Empty>{m.predict.empty}</Empty>} />}</Await>
    </Page>
  );
}

/** Everything that the filters select, as a file, with outcomes; the server writes who took it into the audit log. */
function Export({ filter }: { filter: Record<string, string | undefined> }) {
  const [open, setOpen] = useState(false);
  const why = useWhyNot("prediction.export");
  const s = m.serving.search;
  if (why) return <Action variant="default" leftSection={<IconDownload size={16} />} why={why}>{s.export}</Action>;
  return (
    <Popover opened={open} onChange={setOpen} trapFocus withinPortal transitionProps={{ duration: 0 }}>
      <Popover.Target><Button variant="default" leftSection={<IconDownload size={16} />} aria-expanded={open} onClick={() => setOpen(!open)}>{s.export}</Button></Popover.Target>
      <Popover.Dropdown>
        <div className="stack"><p className="small dim">{s.exportHelp}</p>{Object.entries(s.formats).map(([format, label]) => <a key={format} href={address("/api/v1/predictions/export", { ...filter, format })} download onClick={() => setOpen(false)}>{label}</a>)}</div>
      </Popover.Dropdown>
    </Popover>
  );
}

/** Writes a condition on a value into the filter, for those who do not know its language. */
function AddCondition() {
  const [text, set] = useParam("filter");
  const [open, setOpen] = useState(false);
  const [side, setSide] = useState("input");
  const [name, setName] = useState("");
  const [op, setOp] = useState(">");
  const [value, setValue] = useState("");
  const s = m.serving.search;
  const add = () => {
    const clean = value.trim();
    const written = op === "LIKE" ? quote(`%${clean}%`) : Number.isFinite(Number(clean)) && clean !== "" ? clean : quote(clean);
    set([text.trim(), `${side}.${named(name.trim())} ${op} ${written}`].filter(Boolean).join(" AND "));
    setOpen(false);
    setValue("");
  };
  return (
    <Popover opened={open} onChange={setOpen} trapFocus withinPortal transitionProps={{ duration: 0 }}>
      <Popover.Target><Button variant="default" aria-expanded={open} onClick={() => setOpen(!open)}>{s.add}</Button></Popover.Target>
      <Popover.Dropdown>
        <form className="stack" aria-label={s.add} onSubmit={(e) => { e.preventDefault(); if (name.trim() && value.trim()) add(); }}>
          <NativeSelect label={s.side} value={side} onChange={(e) => setSide(e.currentTarget.value)} data={Object.entries(s.sides).map(([v, label]) => ({ value: v, label }))} />
          <TextInput label={s.name} value={name} onChange={(e) => setName(e.currentTarget.value)} required />
          <div className="row top"><NativeSelect label={s.op} value={op} onChange={(e) => setOp(e.currentTarget.value)} data={[{ value: ">", label: ">" }, { value: ">=", label: "≥" }, { value: "<", label: "<" }, { value: "<=", label: "≤" }, { value: "=", label: "=" }, { value: "!=", label: "≠" }, { value: "LIKE", label: "…" }]} w={80} /><TextInput label={s.value} value={value} onChange={(e) => setValue(e.currentTarget.value)} required w={140} /></div>
          <Button type="submit">{s.put}</Button>
        </form>
      </Popover.Dropdown>
    </Popover>
  );
}
