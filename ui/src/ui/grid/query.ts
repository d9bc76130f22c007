/** What the filter box knows of the search language: where clauses and quotes begin and end. The rules are the server's. */

/** One condition of a filter and where it stands: text.slice(from, to). */
export interface Clause { text: string; from: number; to: number }

/** The conditions that AND joins. Words inside quotes or brackets do not count; an unfinished quote reaches to the end. */
export function clauses(text: string): Clause[] {
  const out: Clause[] = [];
  let quote = "", depth = 0, from = 0;
  const add = (to: number) => {
    const raw = text.slice(from, to);
    const lead = raw.length - raw.trimStart().length;
    if (raw.trim()) out.push({ text: raw.trim(), from: from + lead, to: from + lead + raw.trim().length });
  };
  for (let i = 0; i < text.length; i++) {
    const c = text[i];
    if (quote) { if (c === quote) quote = ""; continue; }
    if (c === "'" || c === '"' || c === "`") { quote = c; continue; }
    if (c === "(") depth++;
    else if (c === ")") depth = Math.max(0, depth - 1);
    else if (depth === 0 && /^and\b/i.test(text.slice(i, i + 4)) && (i === 0 || /\s/.test(text[i - 1])) && (i + 3 >= text.length || /\s/.test(text[i + 3]))) {
      add(i);
      from = i + 3;
      i += 2;
    }
  }
  add(text.length);
  return out;
}

/** The filter without one of its clauses. */
export const without = (text: string, at: number) => clauses(text).filter((_, i) => i !== at).map((c) => c.text).join(" AND ");

/** Whether a text is a condition rather than plain words to look for. */
export const isQuery = (text: string) => /[=<>]|\b(i?like|in|not|is|between|and|or|rlike)\b/i.test(text);

/** A value as the language wants it: in single quotes, or in double ones where it holds a single one. */
export const quoted = (text: string) => (text.includes("'") ? `"${text.replaceAll('"', "")}"` : `'${text}'`);

/** A name of a metric, parameter or tag, in backticks unless it is a plain word. */
export const named = (key: string) => (/^[A-Za-z_][\w]*$/.test(key) ? key : "`" + key.replaceAll("`", "") + "`");

/** Plain words as a condition on a text: each must occur, upper and lower case alike. */
export const containing = (attribute: string, words: string) => words.trim().split(/\s+/).map((w) => `${attribute} ILIKE ${quoted(`%${w}%`)}`).join(" AND ");
