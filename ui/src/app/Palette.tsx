import { Modal } from "@mantine/core";
import { useEffect, useId, useRef, useState, type KeyboardEvent } from "react";
import { useModels } from "../features/models/api";
import { m } from "../messages";
import { paths, useGo } from "../ui/url";
import { menu } from "./menu";

interface Entry { label: string; what: string; to: string }

/** Whether the letters of a word occur in this order: "scrng" finds "screening". */
export function fits(word: string, text: string): number {
  const t = text.toLowerCase();
  const direct = t.indexOf(word);
  if (direct >= 0) return direct === 0 ? 0 : 1 + direct / 100;
  let at = -1;
  for (const c of word) { at = t.indexOf(c, at + 1); if (at < 0) return -1; }
  return 5;
}

/** Jumps to any page or model by typing a part of its name. */
export default function Palette({ onClose }: { onClose: () => void }) {
  const models = useModels("");
  const go = useGo();
  const id = useId();
  const [text, setText] = useState("");
  const [at, setAt] = useState(0);
  const list = useRef<HTMLUListElement>(null);
  const entries: Entry[] = [...(models.data ?? []).map((x) => ({ label: x.name, what: m.model.kind, to: paths.model(x.name) })), ...menu.flatMap((g) => g.pages.map((p) => ({ label: p.label, what: m.palette.page, to: p.to }))),
    ...(models.data ?? []).map((x) => ({ label: `${x.name} ${m.model.monitoring}`, what: m.model.kind, to: paths.model(x.name, "monitoring") }))];
  const word = text.trim().toLowerCase();
  const found = entries.map((e) => ({ e, score: word ? fits(word, e.label) : 0 })).filter((x) => x.score >= 0).sort((a, b) => a.score - b.score).slice(0, 12).map((x) => x.e);
  useEffect(() => setAt(0), [text]);
  useEffect(() => { list.current?.querySelector("[aria-selected=true]")?.scrollIntoView({ block: "nearest" }); }, [at]);
  const pick = (e: Entry | undefined) => { if (e) { onClose(); go(e.to); } };
  const keys = (e: KeyboardEvent) => {
    if (e.key === "ArrowDown") { e.preventDefault(); setAt((i) => Math.min(found.length - 1, i + 1)); }
    else if (e.key === "ArrowUp") { e.preventDefault(); setAt((i) => Math.max(0, i - 1)); }
    else if (e.key === "Enter") { e.preventDefault(); pick(found[at]); }
  };
  return (
    <Modal opened onClose={onClose} title={m.shell.find} yOffset="10vh" closeButtonProps={{ "aria-label": m.close }} transitionProps={{ duration: 0 }}>
      <input data-autofocus className="palette-input" role="combobox" aria-expanded="true" aria-controls={id} aria-label={m.shell.find} aria-activedescendant={found[at] ? `${id}-${at}` : undefined} value={text} onChange={(e) => setText(e.currentTarget.value)} onKeyDown={keys} placeholder={m.palette.hint} />
      <ul ref={list} id={id} role="listbox" aria-label={m.palette.results} className="palette-list">
        {found.map((e, i) => <li key={e.to} id={`${id}-${i}`} role="option" aria-selected={i === at} onMouseEnter={() => setAt(i)} onClick={() => pick(e)}><span>{e.label}</span><span className="dim small">{e.what}</span></li>)}
      </ul>
      {found.length === 0 && <p className="dim" role="status">{m.palette.none}</p>}
    </Modal>
  );
}
