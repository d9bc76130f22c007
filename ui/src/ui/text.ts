/** Reading text formats for a look at them. */

/** Rows of RFC 4180 text, at most `most`; `cut` says that there were more. A last line that ends the text early is kept. */
export function parseCSV(text: string, separator = ",", most = 200): { rows: string[][]; cut: boolean } {
  const rows: string[][] = [];
  let row: string[] = [], cell = "", inside = false;
  for (let i = 0; i < text.length; i++) {
    const c = text[i];
    if (inside) {
      if (c === '"' && text[i + 1] === '"') { cell += '"'; i++; }
      else if (c === '"') inside = false;
      else cell += c;
    } else if (c === '"' && cell === "") inside = true;
    else if (c === separator) { row.push(cell); cell = ""; }
    else if (c === "\n" || c === "\r") {
      if (c === "\r" && text[i + 1] === "\n") i++;
      row.push(cell);
      if (row.length > 1 || row[0] !== "") rows.push(row);
      row = [];
      cell = "";
      if (rows.length > most) return { rows: rows.slice(0, most), cut: true };
    } else cell += c;
  }
  if (cell !== "" || row.length) { row.push(cell); rows.push(row); }
  return { rows: rows.slice(0, most), cut: rows.length > most };
}

export type Block = { kind: "heading"; level: number; text: string } | { kind: "code"; text: string } | { kind: "list"; ordered: boolean; items: string[] } | { kind: "quote"; text: string } | { kind: "rule" } | { kind: "table"; rows: string[][] } | { kind: "text"; text: string };

/** The blocks of Markdown that notes use: headings, lists, code, quotes, tables, paragraphs. HTML in it stays text. */
export function blocks(text: string): Block[] {
  const out: Block[] = [];
  const lines = text.replace(/\r\n?/g, "\n").split("\n");
  for (let i = 0; i < lines.length; i++) {
    const line = lines[i];
    if (!line.trim()) continue;
    const fence = /^\s*(```+|~~~+)/.exec(line)?.[1];
    if (fence) {
      const code: string[] = [];
      while (++i < lines.length && !lines[i].trim().startsWith(fence)) code.push(lines[i]);
      out.push({ kind: "code", text: code.join("\n") });
      continue;
    }
    const head = /^(#{1,6})\s+(.*?)\s*#*$/.exec(line);
    if (head) { out.push({ kind: "heading", level: head[1].length, text: head[2] }); continue; }
    if (/^\s*([-*_])(\s*\1){2,}\s*$/.test(line)) { out.push({ kind: "rule" }); continue; }
    const item = /^\s*([-*+]|\d+[.)])\s+(.*)$/;
    if (item.test(line)) {
      const items: string[] = [];
      const ordered = /^\s*\d/.test(line);
      for (; i < lines.length && lines[i].trim(); i++) { const found = item.exec(lines[i]); if (found) items.push(found[2]); else items.push((items.pop() ?? "") + " " + lines[i].trim()); }
      i--;
      out.push({ kind: "list", ordered, items });
      continue;
    }
    if (line.trim().startsWith("|") && /^\s*\|?[\s:|-]+\|[\s:|-]*$/.test(lines[i + 1] ?? "")) {
      const rows: string[][] = [];
      const cells = (l: string) => l.trim().replace(/^\||\|$/g, "").split("|").map((c) => c.trim());
      rows.push(cells(line));
      for (i += 2; i < lines.length && lines[i].trim().startsWith("|"); i++) rows.push(cells(lines[i]));
      i--;
      out.push({ kind: "table", rows });
      continue;
    }
    const quote = /^\s*>/.test(line);
    const part: string[] = [];
    for (; i < lines.length && lines[i].trim() && quote === /^\s*>/.test(lines[i]) && !/^\s*(```|~~~|#{1,6}\s)/.test(lines[i]); i++) part.push(lines[i].replace(/^\s*>\s?/, "").trim());
    i--;
    out.push(quote ? { kind: "quote", text: part.join(" ") } : { kind: "text", text: part.join("\n") });
  }
  return out;
}

export type Span = { kind: "text" | "code" | "bold" | "em"; text: string } | { kind: "link"; text: string; href: string };

/** Marked words within a line. Only http, https and mailto become links; a picture becomes a link to it, so that nothing is fetched. */
export function spans(text: string): Span[] {
  const out: Span[] = [];
  const find = /`([^`]+)`|!?\[([^\]]*)\]\(([^)\s]+)[^)]*\)|\*\*([^*]+)\*\*|__([^_]+)__|(?<![\w*])\*([^*\s][^*]*)\*|(?<!\w)_([^_\s][^_]*)_(?!\w)|(https?:\/\/[^\s<>()]+)/g;
  let last = 0;
  for (const hit of text.matchAll(find)) {
    if (hit.index > last) out.push({ kind: "text", text: text.slice(last, hit.index) });
    last = hit.index + hit[0].length;
    const [all, code, label, href, b1, b2, e1, e2, url] = hit;
    if (code !== undefined) out.push({ kind: "code", text: code });
    else if (href !== undefined) out.push(/^(https?:|mailto:)/i.test(href) ? { kind: "link", text: label || href, href } : { kind: "text", text: label || all });
    else if (url !== undefined) out.push({ kind: "link", text: url, href: url });
    else if (b1 ?? b2) out.push({ kind: "bold", text: b1 ?? b2 });
    else out.push({ kind: "em", text: e1 ?? e2 });
  }
  if (last < text.length) out.push({ kind: "text", text: text.slice(last) });
  return out;
}
