import type { ReactNode } from "react";
import type { ChangeRequest } from "../../api/types";
import { m } from "../../messages";
import { Time } from "../../ui/Bits";
import { DataTable, type Column } from "../../ui/DataTable";
import { Go } from "../../ui/Go";
import { paths } from "../../ui/url";
import { granted, RequestChip, requestTitle } from "./words";

const columns: Column<ChangeRequest>[] = [
  { key: "request", head: m.approvals.request, value: (r) => r.number, cell: (r) => <div style={{ minWidth: 220, maxWidth: 420 }}><Go className="rowlink" to={paths.approval(r.id)}>#{r.number} {requestTitle(r)}</Go><div className="dim wrap clamp">{r.reason}</div></div> },
  { key: "state", head: m.approvals.state, value: (r) => r.state, cell: (r) => <RequestChip state={r.state} /> },
  { key: "votes", head: m.approvals.votes, value: granted, cell: (r) => <span className="nowrap">{m.approvals.of(granted(r), r.need?.count ?? 0)}</span> },
  { key: "missing", head: m.approvals.missing, value: (r) => (r.missing ?? []).join("; "), cell: (r) => (r.state === "open" && (r.missing ?? []).length ? <span style={{ minWidth: 150, display: "inline-block" }}>{m.approvals.missingWords(r.missing ?? [])}</span> : <span className="dim">{m.none}</span>) },
  { key: "author", head: m.approvals.author, value: (r) => r.author, cell: (r) => r.author },
  { key: "opened", head: m.approvals.opened, value: (r) => r.opened_at, cell: (r) => <Time at={r.opened_at} /> },
  { key: "expires", head: m.approvals.expires, value: (r) => r.expires_at ?? "", cell: (r) => (r.expires_at && r.state === "open" ? <Time at={r.expires_at} /> : <span className="dim">{m.none}</span>) },
];

export function RequestList({ label, rows, empty, more, boxed, sort, brief }: { label: string; rows: ChangeRequest[]; empty: ReactNode; more?: { has: boolean; load: () => void; busy: boolean }; boxed?: boolean; sort?: string; brief?: boolean }) {
  return <DataTable boxed={boxed} sort={sort} label={label} rows={rows} columns={brief ? columns.slice(0, 4) : columns} rowKey={(r) => r.id} empty={empty} more={more} />;
}
