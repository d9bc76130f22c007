import { useState, type ReactNode } from "react";
import { m } from "../messages";
import { absolute, ago, short } from "./format";
import { useNow } from "./hooks";
import { IconCheck, IconCopy } from "./icons";

export type Tone = "ok" | "info" | "warn" | "bad" | "neutral";

const glyphs: Record<Tone, string> = { ok: "●", info: "◷", warn: "▲", bad: "■", neutral: "◌" };

/** A status: sign and word, so that colour is never the only carrier. */
export function Chip({ tone = "neutral", glyph, children }: { tone?: Tone; glyph?: string; children: ReactNode }) {
  return <span className="chip" data-tone={tone}><span className="glyph" aria-hidden="true">{glyph ?? glyphs[tone]}</span>{children}</span>;
}

/** A moment: relative in the text, absolute with zone on hover. */
export function Time({ at, full }: { at?: string | null; full?: boolean }) {
  const now = useNow();
  if (!at || at.startsWith("0001-")) return <span className="dim">{m.never}</span>;
  return <time dateTime={at} title={absolute(at)} className="nowrap">{full ? absolute(at) : ago(at, now)}</time>;
}

/** A button that copies text and says so. */
export function Copy({ value, label }: { value: string; label: string }) {
  const [done, setDone] = useState(false);
  const copy = async () => {
    try { await navigator.clipboard.writeText(value); } catch { window.prompt(label, value); return; }
    setDone(true);
    setTimeout(() => setDone(false), 1500);
  };
  return (
    <button type="button" className="copy" aria-label={done ? m.copied : label} title={done ? m.copied : label} onClick={copy}>
      {done ? <IconCheck size={14} /> : <IconCopy size={14} />}
    </button>
  );
}

/** The short form of an id or digest with a button that copies the whole. */
export function Id({ value, what = m.id }: { value?: string; what?: string }) {
  if (!value) return <span className="dim">{m.none}</span>;
  return <span className="idc"><span title={value}>{short(value)}</span><Copy value={value} label={m.copyOf(what, short(value))} /></span>;
}

/** A command to type, with a copy button. */
export function Command({ children }: { children: string }) {
  return <span className="cmd"><code tabIndex={0} role="group" aria-label={m.command}>{children}</code><Copy value={children} label={m.copyCommand} /></span>;
}

/** What an empty page is for and the one thing that fills it. */
export function Empty({ children, command, action }: { children: ReactNode; command?: string; action?: ReactNode }) {
  return <div className="empty"><p>{children}</p>{command && <Command>{command}</Command>}{action}</div>;
}

/** A titled card; `level` is the rank of its heading. */
export function Panel({ title, actions, children, flush, id }: { title?: ReactNode; actions?: ReactNode; children: ReactNode; flush?: boolean; id?: string }) {
  return (
    <section className="panel" aria-labelledby={title && id ? id : undefined}>
      {(title || actions) && <header>{title && <h2 id={id}>{title}</h2>}{actions && <div className="actions">{actions}</div>}</header>}
      <div className={flush ? "body flush" : "body"}>{children}</div>
    </section>
  );
}

/** Names and values; rows without a value are left out. */
export function Facts({ rows }: { rows: [string, ReactNode][] }) {
  const shown = rows.filter(([, value]) => value !== undefined && value !== null && value !== "");
  return <dl className="kv">{shown.map(([name, value]) => <FactRow key={name} name={name} value={value} />)}</dl>;
}

function FactRow({ name, value }: { name: string; value: ReactNode }) {
  return <><dt>{name}</dt><dd>{value}</dd></>;
}

/** A person's initials in a circle; decoration beside the name. */
export function Avatar({ name }: { name: string }) {
  const parts = name.split(/[\s._()-]+/).filter(Boolean);
  return <span className="avatar" aria-hidden="true">{((parts[0]?.[0] ?? "?") + (parts[1]?.[0] ?? "")).toUpperCase()}</span>;
}
