import { CloseButton, TextInput } from "@mantine/core";
import { useEffect, useId, useLayoutEffect, useRef, useState, type KeyboardEvent } from "react";
import { asProblem } from "../../api/problem";
import { m } from "../../messages";
import { IconSearch } from "../icons";
import { useParam } from "../url";
import { clauses, without } from "./query";

/** What may stand at the caret: text.slice(from, to) is replaced by the item's text. */
export interface Completion { from: number; to: number; items: { text: string; note?: string }[] }

interface Props {
  /** Name of the filter in the address. */
  name: string;
  label: string;
  placeholder?: string;
  complete: (text: string, at: number, signal: AbortSignal) => Promise<Completion>;
  /** Why the server refused the filter, shown under the box. */
  problem?: unknown;
}

/**
 * The filter of a table in the language of the search API, with completion. Enter takes the chosen suggestion or, when
 * none is chosen, applies the text; Escape closes the list; Tab leaves.
 */
export function FilterQuery({ name, label, placeholder, complete, problem }: Props) {
  const id = useId();
  const [value, set] = useParam(name);
  const [text, setText] = useState(value);
  const [found, setFound] = useState<Completion | null>(null);
  const [open, setOpen] = useState(false);
  const [at, setAt] = useState(-1);
  const box = useRef<HTMLInputElement>(null);
  const list = useRef<HTMLUListElement>(null);
  const asking = useRef<AbortController>(undefined);
  const applied = useRef(value);
  useEffect(() => { if (value !== applied.current) { applied.current = value; setText(value); } }, [value]);
  useEffect(() => () => asking.current?.abort(), []);
  useEffect(() => { list.current?.querySelector("[aria-selected=true]")?.scrollIntoView({ block: "nearest" }); }, [at]);
  /** A late answer leaves the choice where it is, if it still has it. */
  const shown = useRef<Completion | null>(null);
  const show = (c: Completion | null) => {
    const before = shown.current;
    shown.current = c;
    setFound(c);
    setAt((i) => (i < 0 ? -1 : (c?.items.findIndex((x) => x.text === before?.items[i]?.text) ?? -1)));
  };
  /** The caret goes behind a taken suggestion before the next key is heard, however slow the page is. */
  const caretAt = useRef<number>(undefined);
  useLayoutEffect(() => {
    if (caretAt.current === undefined) return;
    box.current?.setSelectionRange(caretAt.current, caretAt.current);
    caretAt.current = undefined;
  }, [text]);
  const look = (next: string, caret: number) => {
    asking.current?.abort();
    const mine = new AbortController();
    asking.current = mine;
    const wait = setTimeout(() => {
      complete(next, caret, mine.signal).then((c) => { if (!mine.signal.aborted) show(c); }, () => { if (!mine.signal.aborted) show(null); });
    }, 120);
    mine.signal.addEventListener("abort", () => clearTimeout(wait));
  };
  const apply = (next: string) => { applied.current = next.trim(); set(next.trim()); setOpen(false); };
  const edit = (next: string, caret = next.length) => { setText(next); setAt(-1); setOpen(true); look(next, caret); };
  const take = (i: number) => {
    const item = found?.items[i];
    if (!found || !item) return;
    const next = text.slice(0, found.from) + item.text + text.slice(found.to);
    const caret = found.from + item.text.length;
    caretAt.current = caret;
    edit(next, caret);
  };
  const items = open ? (found?.items ?? []) : [];
  const keys = (e: KeyboardEvent) => {
    if (e.key === "ArrowDown" || e.key === "ArrowUp") {
      e.preventDefault();
      if (!open) { setOpen(true); look(text, box.current?.selectionStart ?? text.length); return; }
      const step = e.key === "ArrowDown" ? 1 : -1;
      if (items.length) setAt((i) => (i + step < -1 ? items.length - 1 : i + step >= items.length ? -1 : i + step));
    } else if (e.key === "Enter") { e.preventDefault(); if (items[at]) take(at); else apply(text); }
    else if (e.key === "Escape" && open) { e.stopPropagation(); setOpen(false); }
  };
  const refused = problem ? asProblem(problem) : undefined;
  const parts = clauses(value);
  return (
    <div className="query">
      <div className="queryline">
        <TextInput ref={box} className="grow" aria-label={label} placeholder={placeholder ?? label} value={text} leftSection={<IconSearch size={16} aria-hidden="true" />} spellCheck={false} autoComplete="off" autoCapitalize="off"
          role="combobox" aria-expanded={items.length > 0} aria-controls={id} aria-autocomplete="list" aria-activedescendant={items[at] ? `${id}-${at}` : undefined} aria-invalid={!!refused} error={refused?.detail}
          onChange={(e) => edit(e.currentTarget.value, e.currentTarget.selectionStart ?? undefined)} onFocus={(e) => { setOpen(true); look(text, e.currentTarget.selectionStart ?? text.length); }} onBlur={() => setTimeout(() => setOpen(false), 120)} onKeyDown={keys}
          rightSection={text ? <CloseButton size="sm" aria-label={m.clear(label)} onClick={() => { setText(""); apply(""); box.current?.focus(); }} /> : null} />
        <ul ref={list} id={id} role="listbox" aria-label={m.grid.suggestions} className="suggest" hidden={items.length === 0}>
          {items.map((s, i) => <li key={s.text + i} id={`${id}-${i}`} role="option" aria-selected={i === at} onMouseDown={(e) => { e.preventDefault(); take(i); }} onMouseEnter={() => setAt(i)}><code>{s.text.trim()}</code>{s.note && <span className="dim small">{s.note}</span>}</li>)}
        </ul>
      </div>
      {text.trim() !== value && !open && <p className="small dim">{m.grid.pressEnter}</p>}
      {parts.length > 1 && <ul className="chips" aria-label={m.grid.conditions}>{parts.map((c, i) => <li key={c.text + i} className="tag"><code>{c.text}</code><CloseButton size="xs" aria-label={m.grid.dropCondition(c.text)} onClick={() => { const next = without(value, i); setText(next); apply(next); }} /></li>)}</ul>}
    </div>
  );
}
