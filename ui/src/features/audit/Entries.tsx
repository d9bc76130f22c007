import type { ReactNode } from "react";
import type { Entry } from "../../api/types";
import { m } from "../../messages";
import { Await } from "../../ui/Await";
import { Avatar, Empty, Id, Time } from "../../ui/Bits";
import { DataTable, type Column } from "../../ui/DataTable";
import { text } from "../../ui/format";
import { Go } from "../../ui/Go";
import { pageOf } from "../../ui/url";
import { useTimeline } from "./api";

/** "approval/01ab… " as a link to the page of that thing, where there is one. */
function Thing({ object, number }: { object: string; number?: unknown }) {
  const page = pageOf(object);
  const [noun, ...rest] = object.split("/");
  const label = typeof number === "number" && noun === "approval" ? `${m.noun(noun)} #${number}` : rest.length === 0 ? object : noun === "model" && /^\d+$/.test(rest[1] ?? "") ? `${rest[0]} v${rest[1]}` : rest[0].length > 22 ? `${m.noun(noun)} ${rest[0].slice(-8)}` : `${m.noun(noun)} ${rest.join(" v")}`;
  return page ? <Go to={page}>{label}</Go> : <span className="wrap">{label}</span>;
}

/** The detail of an entry as names and values; other shapes have none. */
const detailOf = (e: Entry): Record<string, unknown> => (e.detail && typeof e.detail === "object" && !Array.isArray(e.detail) ? (e.detail as Record<string, unknown>) : {});

/** What happened as a person would say it; actions without a phrase are spelled out. */
export function phrase(e: Entry): string {
  const say = m.did[e.action];
  if (typeof say === "function") return say(detailOf(e));
  return say ?? e.action.replace(/[._-]/g, " ");
}

/** How it came about: what the platform did upon an approved request names the request. */
const howOf = (e: Entry) => {
  const { number } = detailOf(e);
  return e.via === "system" && typeof number === "number" && !e.action.startsWith("approval.voted") ? m.becauseOf(number) : m.via(e.via);
};

const reasonOf = (e: Entry) => { const reason = detailOf(e).reason; return typeof reason === "string" ? reason : ""; };

/** The whole detail of an entry, folded. */
function Detail({ entry }: { entry: Entry }) {
  const rows = Object.entries(detailOf(entry)).filter(([k]) => k !== "models");
  if (rows.length === 0) return null;
  return (
    <details className="small">
      <summary className="dim" style={{ cursor: "pointer", padding: "3px 0" }}>{m.audit.details}</summary>
      <dl className="kv" style={{ padding: "6px 0" }}>{rows.map(([k, v]) => <DetailRow key={k} name={k} value={v} />)}</dl>
    </details>
  );
}

function DetailRow({ name, value }: { name: string; value: unknown }) {
  return <><dt>{name}</dt><dd className="mono">{text(value)}</dd></>;
}

/** Entries as sentences, newest first. */
export function Feed({ entries, empty }: { entries: Entry[]; empty: ReactNode }) {
  if (entries.length === 0) return <>{empty}</>;
  return (
    <ol className="feed">
      {entries.map((e) => (
        <li key={e.id}>
          <Avatar name={m.doer(e.actor, e.via)} />
          <div className="grow">
            <p className="wrap"><b>{m.doer(e.actor, e.via)}</b> {phrase(e)} <Thing object={e.object} number={detailOf(e).number} /></p>
            {reasonOf(e) && <p className="wrap">“{reasonOf(e)}”</p>}
            <p className="small dim row"><Time at={e.at} /><span>{howOf(e)}</span><span className="num">{e.index < 0 ? m.notSealed : `#${e.index}`}</span></p>
            <Detail entry={e} />
          </div>
        </li>
      ))}
    </ol>
  );
}

/** Who changed what on one model, when. */
export function ModelTimeline({ model, limit }: { model: string; limit?: number }) {
  const query = useTimeline(model, limit ?? 50);
  return (
    <Await query={query}>{(all) => (
      <>
        <Feed entries={limit ? all.slice(0, limit) : all} empty={<Empty>{m.audit.noneYet}</Empty>} />
        {!limit && query.more.has && <div className="more"><button type="button" className="linkb" onClick={query.more.load}>{m.loadMore}</button></div>}
      </>
    )}</Await>
  );
}

export const entryColumns: Column<Entry>[] = [
  { key: "index", head: "#", value: (e) => e.index, right: true, cell: (e) => (e.index < 0 ? <span title={m.notSealed}>–</span> : e.index) },
  { key: "at", head: m.audit.when, value: (e) => e.at, cell: (e) => <Time at={e.at} full /> },
  { key: "actor", head: m.audit.who, value: (e) => e.actor, cell: (e) => <>{m.doer(e.actor, e.via)}<div className="dim small">{howOf(e)}</div></> },
  { key: "action", head: m.audit.did, value: (e) => e.action, cell: (e) => <div style={{ minWidth: 190, maxWidth: 460 }}><div className="wrap">{phrase(e)}</div>{reasonOf(e) && <div className="dim wrap">“{reasonOf(e)}”</div>}<Detail entry={e} /></div> },
  { key: "object", head: m.audit.to, value: (e) => e.object, cell: (e) => <Thing object={e.object} number={detailOf(e).number} /> },
  { key: "models", head: m.audit.models, value: (e) => (e.models ?? []).join(" "), cell: (e) => <span className="row">{(e.models ?? []).map((x) => <Go key={x} to={`/models/${encodeURIComponent(x)}`}>{x}</Go>)}</span> },
  { key: "leaf", head: m.audit.leaf, value: (e) => e.leaf ?? e.id, cell: (e) => <Id value={e.leaf ?? e.id} what={m.audit.leaf} /> },
];

export function EntryTable({ rows, empty, more }: { rows: Entry[]; empty: ReactNode; more?: { has: boolean; load: () => void; busy: boolean } }) {
  return <DataTable boxed label={m.audit.title} rows={rows} columns={entryColumns} rowKey={(e) => e.id} empty={empty} more={more} />;
}
