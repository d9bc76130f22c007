import type { Slot } from "../api/types";
import { m } from "../messages";

const colours: Record<string, string> = { live: "var(--k-c1)", canary: "var(--k-c5)", shadow: "var(--k-strong)" };

/** Which versions answer, and what part of the calls each gets. */
export function Traffic({ slots }: { slots: Slot[] }) {
  if (slots.length === 0) return <span className="dim">{m.nothingLive}</span>;
  return (
    <div className="stack gap4" style={{ minWidth: 150 }}>
      <span className="row small">{slots.map((s) => <span key={`${s.kind}${s.version}`} className="nowrap"><b>v{s.version}</b> <span className="dim">{m.slot[s.kind] ?? s.kind} {s.kind === "shadow" ? "" : `${s.share} %`}</span></span>)}</span>
      <div className="bar" aria-hidden="true">{slots.filter((s) => s.kind !== "shadow").map((s) => <i key={`${s.kind}${s.version}`} style={{ width: `${s.share}%`, background: colours[s.kind] }} />)}</div>
    </div>
  );
}
