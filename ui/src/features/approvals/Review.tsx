import { Checkbox, Textarea } from "@mantine/core";
import { useState } from "react";
import { useWhyNot } from "../../api/me";
import type { ChangeRequest, Changes as Doc } from "../../api/types";
import { m } from "../../messages";
import { Action } from "../../ui/Action";
import { Await } from "../../ui/Await";
import { Avatar, Chip, Empty, Panel, Time } from "../../ui/Bits";
import { text } from "../../ui/format";
import { ProblemNote } from "../../ui/Note";
import { useChanges, useComment, useComments } from "./api";

type Section = NonNullable<Doc["sections"]>[number];
type Row = NonNullable<Section["rows"]>[number];

/** The differences the request brings, section by section; a section can be ticked off as seen. */
export function ChangesPanel({ id }: { id: string }) {
  const query = useChanges(id);
  return (
    <Panel title={m.approvals.changes} id="changes" flush>
      <Await query={query}>{(c) => {
        const sections = c.sections ?? [];
        const to = c.to?.version;
        if (!sections.length) return <Empty>{m.approvals.noChanges}</Empty>;
        return (
          <>
            <p className="dim" style={{ padding: "10px 16px 6px" }}>{c.from?.version ? m.approvals.fromTo(c.from.version, to ?? 0) : m.approvals.first(to ?? 0)}</p>
            {sections.map((s) => <ChangeSection key={s.title} request={id} section={s} compared={!!c.from?.version} />)}
          </>
        );
      }}</Await>
    </Panel>
  );
}

function ChangeSection({ request, section, compared }: { request: string; section: Section; compared: boolean }) {
  const key = `keelson-seen-${request}-${section.title}`;
  const [seen, setSeen] = useState(() => { try { return localStorage.getItem(key) === "1"; } catch { return false; } });
  const rows = section.rows ?? [];
  const mark = (on: boolean) => { setSeen(on); try { localStorage.setItem(key, on ? "1" : "0"); } catch { /* private window: the tick lives as long as the page */ } };
  return (
    <details className="section" open={!seen}>
      <summary><span>{section.title}</span><span className="dim small">{m.approvals.rowCount(rows.length)}</span>{seen && <Chip tone="ok">{m.approvals.seen}</Chip>}</summary>
      <div className="frame" tabIndex={0} role="region" aria-label={section.title}>
        <table className="t">
          <caption className="sr">{section.title}</caption>
          <thead><tr><th scope="col">{m.approvals.what}</th>{compared && <th scope="col">{m.approvals.before}</th>}<th scope="col">{compared ? m.approvals.after : m.version.value}</th><th scope="col">{m.approvals.noteHead}</th></tr></thead>
          <tbody>{rows.map((r) => <ChangeRow key={r.label} row={r} compared={compared} />)}</tbody>
        </table>
      </div>
      <div style={{ padding: "8px 16px 12px" }}><Checkbox size="sm" label={m.approvals.markSeen(section.title)} checked={seen} onChange={(e) => mark(e.currentTarget.checked)} /></div>
    </details>
  );
}

function ChangeRow({ row, compared }: { row: Row; compared: boolean }) {
  const changed = compared && text(row.before) !== text(row.after);
  return (
    <tr>
      <td><b>{row.label}</b></td>
      {compared && <td className="num"><span className={changed ? "diff-b" : ""}>{text(row.before)}</span></td>}
      <td className="num"><span className={changed ? "diff-a" : ""}>{text(row.after)}</span> {row.better === true && <Chip tone="ok" glyph="▲">{m.approvals.better}</Chip>}{row.better === false && <Chip tone="warn" glyph="▼">{m.approvals.worse}</Chip>}</td>
      <td className="dim wrap">{row.note}</td>
    </tr>
  );
}

/** What the policy says, clause by clause, in its own words. */
export function ChecksPanel({ request: r }: { request: ChangeRequest }) {
  const reasons = r.verdict?.reasons ?? [];
  const good = reasons.filter((x) => x.ok).length;
  return (
    <Panel title={m.approvals.checks(good, reasons.length)} id="checks" actions={<Chip tone={r.verdict?.allowed ? "ok" : "bad"}>{r.verdict?.allowed ? m.approvals.allowed : m.approvals.blocked}</Chip>}>
      <p className="dim small" style={{ marginBottom: 8 }}>{m.approvals.policy(r.policy?.name ?? "", r.policy?.version ?? 0)}</p>
      <ul className="verdict">
        {reasons.map((x) => <li key={x.rule + x.message}><span className={x.ok ? "ok" : x.advice ? "warn" : "bad"} aria-hidden="true">{x.ok ? "✓" : x.advice ? "▲" : "✕"}</span><span className="wrap"><span className="sr">{x.ok ? m.approvals.met : x.advice ? m.approvals.advice : m.approvals.notMet}: </span>{x.message || x.rule} <span className="dim small mono">{x.message ? x.rule : ""}</span></span></li>)}
        {reasons.length === 0 && <li className="dim">{m.approvals.noChecks}</li>}
      </ul>
    </Panel>
  );
}

/** Who voted how and why, and what is still missing. */
export function VotesPanel({ request: r }: { request: ChangeRequest }) {
  const votes = r.votes ?? [];
  const missing = r.missing ?? [];
  return (
    <div>
      {votes.length === 0 && <p className="dim">{m.approvals.noVotes}</p>}
      <ul className="votes">
        {votes.map((v) => (
          <li key={v.by + v.at}><Avatar name={v.by} /><div className="grow"><p className="row"><b>{v.by}</b><span className="dim">{m.role(v.role)}</span><Chip tone={v.grant ? "ok" : "bad"}>{v.grant ? m.approvals.grantedWord : m.approvals.refusedWord}</Chip></p><p className="wrap">{v.reason}</p><p className="small dim"><Time at={v.at} /></p></div></li>
        ))}
      </ul>
      {r.state === "open" && missing.length > 0 && <p className="small" style={{ marginTop: 8 }}><b>{m.approvals.stillMissing}</b> {m.approvals.missingWords(missing)}</p>}
    </div>
  );
}

/** The conversation about the request. */
export function CommentsPanel({ id }: { id: string }) {
  const query = useComments(id);
  const comment = useComment(id);
  const why = useWhyNot("approval.comment");
  const [draft, setDraft] = useState("");
  const send = () => comment.mutate(draft.trim(), { onSuccess: () => setDraft("") });
  return (
    <Panel title={m.approvals.conversation} id="conversation">
      <Await query={query} lines={2}>{(all) => (
        <ul className="feed">{all.map((c) => <li key={c.id ?? c.at + c.by}><Avatar name={c.by} /><div className="grow"><p className="row"><b>{c.by}</b><span className="small dim"><Time at={c.at} /></span></p><p className="wrap" style={{ whiteSpace: "pre-wrap" }}>{c.text}</p></div></li>)}
          {all.length === 0 && <li className="dim">{m.approvals.noComments}</li>}</ul>
      )}</Await>
      <form className="stack" style={{ marginTop: 12 }} onSubmit={(e) => { e.preventDefault(); if (draft.trim() && !why) send(); }}>
        <Textarea label={m.approvals.comment} value={draft} onChange={(e) => setDraft(e.currentTarget.value)} rows={2} resize="vertical" disabled={!!why} description={why} />
        <ProblemNote problem={comment.error} />
        <div className="row"><Action type="submit" variant="default" why={why ?? (draft.trim() ? undefined : m.approvals.commentEmpty)} loading={comment.isPending}>{m.approvals.sendComment}</Action></div>
      </form>
    </Panel>
  );
}

