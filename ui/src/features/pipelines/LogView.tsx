import { Checkbox, TextInput } from "@mantine/core";
import { useEffect, useRef, useState } from "react";
import { m } from "../../messages";
import { download } from "../../ui/csv";
import { ProblemNote } from "../../ui/Note";
import { useLog } from "./api";

/** How many of the newest lines are drawn; the file has all. */
export const shownLines = 2000;

/** The log of one step as it grows. */
export function StepLog({ run, step, attempt, running }: { run: string; step: string; attempt: number; running: boolean }) {
  const log = useLog(run, step, attempt, false);
  return <><ProblemNote problem={log.error} /><LogView name={`${run}-${step}`} text={log.text} live={running && !log.done} /></>;
}

/** Lines of text with search and wrap; it follows the end until the reader scrolls away from it. */
export function LogView({ name, text, live }: { name: string; text: string; live: boolean }) {
  const [find, setFind] = useState("");
  const [wrap, setWrap] = useState(true);
  const [follow, setFollow] = useState(true);
  const box = useRef<HTMLDivElement>(null);
  const all = text === "" ? [] : clean(text).replace(/\n$/, "").split("\n");
  const wanted = find.toLowerCase();
  const found = wanted ? all.filter((l) => l.toLowerCase().includes(wanted)) : all;
  const shown = found.slice(-shownLines);
  useEffect(() => { if (follow && box.current) box.current.scrollTop = box.current.scrollHeight; }, [text, follow]);
  const scroll = () => { const b = box.current; if (b) setFollow(b.scrollHeight - b.scrollTop - b.clientHeight < 30); };
  return (
    <div className="stack">
      <div className="row">
        <TextInput size="xs" aria-label={m.log.find} placeholder={m.log.find} value={find} onChange={(e) => setFind(e.currentTarget.value)} />
        <Checkbox size="xs" label={m.log.wrap} checked={wrap} onChange={(e) => setWrap(e.currentTarget.checked)} />
        <Checkbox size="xs" label={m.log.follow} checked={follow} onChange={(e) => setFollow(e.currentTarget.checked)} />
        <span className="small dim num" aria-live="polite">{wanted ? m.log.matches(found.length, all.length) : m.log.lines(all.length)}{live ? ` · ${m.log.live}` : ""}</span>
        <button type="button" className="linkb" onClick={() => download(`${name}.log`, text, "text/plain")}>{m.log.download}</button>
      </div>
      <div ref={box} className="log" data-wrap={wrap} tabIndex={0} role="log" aria-live="off" aria-label={m.log.label} onScroll={scroll}>
        {all.length === 0 && <p style={{ padding: "0 14px" }}>{live ? m.log.waiting : m.log.empty}</p>}
        <ol style={shown.length < all.length && !wanted ? { counterSet: `line ${all.length - shown.length}` } : undefined}>{shown.map((l, i) => <li key={i}><Line text={l} find={wanted} /></li>)}</ol>
      </div>
    </div>
  );
}

/** Drops the colour codes programs print for terminals. */
function clean(text: string): string {
  return text.replace(/\u001b\[[0-9;?]*[A-Za-z]/g, "").replace(/\r(?!\n)/g, "\n").replace(/\r\n/g, "\n");
}

function Line({ text, find }: { text: string; find: string }) {
  const at = find ? text.toLowerCase().indexOf(find) : -1;
  const bad = /\b(error|exception|traceback|fatal|panic|refused)\b/i.test(text);
  return <span className={bad ? "err" : undefined}>{at < 0 ? text || " " : <>{text.slice(0, at)}<mark>{text.slice(at, at + find.length)}</mark>{text.slice(at + find.length)}</>}</span>;
}
