import { createElement, type ReactNode } from "react";
import { blocks, spans } from "./text";

function Inline({ text }: { text: string }): ReactNode {
  return spans(text).map((s, i) => {
    switch (s.kind) {
      case "code": return <code key={i}>{s.text}</code>;
      case "bold": return <b key={i}>{s.text}</b>;
      case "em": return <em key={i}>{s.text}</em>;
      case "link": return <a key={i} href={s.href} target="_blank" rel="noopener noreferrer">{s.text}</a>;
      default: return s.text;
    }
  });
}

/** Markdown drawn as elements of our own: what looks like HTML stays text, pictures are not fetched. */
export function Markdown({ text }: { text: string }) {
  return (
    <div className="md">
      {blocks(text).map((b, i) => {
        switch (b.kind) {
          case "heading": return createElement(`h${Math.min(6, b.level + 2)}`, { key: i }, <Inline text={b.text} />);
          case "code": return <pre key={i} tabIndex={0}><code>{b.text}</code></pre>;
          case "list": { const items = b.items.map((t, k) => <li key={k}><Inline text={t} /></li>); return b.ordered ? <ol key={i}>{items}</ol> : <ul key={i}>{items}</ul>; }
          case "quote": return <blockquote key={i} className="quote"><Inline text={b.text} /></blockquote>;
          case "rule": return <hr key={i} />;
          case "table": return <table key={i} className="t"><thead><tr>{b.rows[0].map((c, k) => <th key={k} scope="col"><Inline text={c} /></th>)}</tr></thead><tbody>{b.rows.slice(1).map((r, k) => <tr key={k}>{r.map((c, n) => <td key={n}><Inline text={c} /></td>)}</tr>)}</tbody></table>;
          default: return <p key={i}><Inline text={b.text} /></p>;
        }
      })}
    </div>
  );
}
