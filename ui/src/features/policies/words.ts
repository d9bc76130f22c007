import type { AlertPolicy } from "../../api/types";
import { m } from "../../messages";
import { number } from "../../ui/format";

const w = m.policies;

/** To whom a step leads, in words. */
export const toWhom = (e: { to?: string; route?: string }) => [e.to ? (w.roles[e.to] ?? e.to) : "", e.route ?? ""].filter(Boolean).join(" + ");

/** What a policy does, for people who have never read one. */
export function inWords(p: Pick<AlertPolicy, "windows" | "good" | "error_rate" | "p95_ms" | "escalate" | "actions">): string[] {
  const steps = p.escalate ?? [], acts = p.actions ?? [];
  const calls = [p.error_rate > 0 ? w.calls(`${number(100 * p.error_rate, 1)} %`) : "", p.p95_ms > 0 ? w.slow(number(p.p95_ms, 0)) : ""].filter(Boolean).join(" ");
  const parts = [
    `${w.opens(p.windows)}, ${w.ends(p.good)}${calls ? `; ${calls}` : ""}.`,
    steps.length ? w.passed(m.words(steps.map((e) => w.step(w.minutes(e.after), toWhom(e) || "…")))) : w.nobody,
    acts.length ? w.does(m.words(acts.map((a) => `${w.act[a.do] ?? a.do}${a.pipeline ? ` (${a.pipeline})` : ""}${a.severity === "critical" ? `, ${w.severities.critical}` : ""}`))) : w.nothing,
  ];
  return parts.map((x, i) => (i ? x[0].toUpperCase() + x.slice(1) + "." : x));
}
