import { useEffect, useRef, type ReactNode } from "react";
import { m } from "../messages";
import { Go } from "./Go";
import { usePath } from "./url";

export interface Crumb { label: string; to: string }
interface Props { title: string; kind?: string; crumbs?: Crumb[]; status?: ReactNode; actions?: ReactNode; lead?: ReactNode; facts?: ReactNode; children: ReactNode }

/** One page: its place, its one h1, its state and actions, its content. `kind` names the sort of thing in the window's title. */
export function Page({ title, kind, crumbs, status, actions, lead, facts, children }: Props) {
  useEffect(() => { document.title = [title, kind, "keelson"].filter(Boolean).join(" · "); }, [title, kind]);
  return (
    <>
      {crumbs && (
        <nav className="crumbs" aria-label={m.shell.breadcrumbs}>
          <ol>{crumbs.map((c) => <li key={c.to}><Go to={c.to}>{c.label}</Go></li>)}<li aria-current="page">{title}</li></ol>
        </nav>
      )}
      <div className="pagehead"><h1>{title}</h1>{status}{actions && <div className="actions">{actions}</div>}</div>
      {lead && <p className="lead">{lead}</p>}
      {facts && <div className="facts">{facts}</div>}
      {children}
    </>
  );
}

/** Tabs that are links: each has its address. */
export function Tabs({ label, tabs }: { label: string; tabs: { to: string; label: string; count?: number; current?: boolean }[] }) {
  const path = usePath();
  const list = useRef<HTMLUListElement>(null);
  const current = tabs.find((t) => t.current ?? path === t.to.split("?")[0])?.to;
  useEffect(() => { // where the tabs do not fit, the one that is open is in sight
    const ul = list.current, at = ul?.querySelector<HTMLElement>('[aria-current="page"]');
    const box = [ul, ul?.parentElement].find((x) => x && x.scrollWidth > x.clientWidth);
    if (box && at) box.scrollLeft = Math.max(0, at.offsetLeft - box.offsetLeft + at.offsetWidth + 24 - box.clientWidth);
  }, [current]);
  return (
    <nav className="tabs" aria-label={label}>
      <ul ref={list}>{tabs.map((t) => <li key={t.to}><Go to={t.to} aria-current={(t.current ?? path === t.to.split("?")[0]) ? "page" : undefined}>{t.label}{t.count !== undefined && <span className="dim num"> {t.count}</span>}</Go></li>)}</ul>
    </nav>
  );
}
