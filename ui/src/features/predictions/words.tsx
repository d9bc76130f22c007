import { text } from "../../ui/format";

/** The rules that fired, whatever shape the engine reports them in. */
export function fired(info: unknown): string {
  if (!info) return "";
  if (Array.isArray(info)) return info.map((x) => (typeof x === "string" ? x : typeof x === "object" && x ? fired(x) : text(x))).filter(Boolean).join(", ");
  if (typeof info === "object") {
    const doc = info as Record<string, unknown>;
    if (Array.isArray(doc.fired)) return fired(doc.fired);
    if (Array.isArray(doc.rules)) return fired(doc.rules);
    if (typeof doc.rule === "string") return doc.rule;
  }
  return text(info);
}
