import { Button } from "@mantine/core";
import type { ReactNode } from "react";
import { asProblem } from "../api/problem";
import { m } from "../messages";
import { Copy, type Tone } from "./Bits";
import { IconCheck, IconError, IconInfo, IconWarning } from "./icons";

const icons: Record<Tone, typeof IconInfo> = { ok: IconCheck, info: IconInfo, neutral: IconInfo, warn: IconWarning, bad: IconError };

/** A remark that stays on the page. */
export function Note({ tone = "info", title, children, actions }: { tone?: Tone; title?: ReactNode; children?: ReactNode; actions?: ReactNode }) {
  const Sign = icons[tone];
  return (
    <div className="note" data-tone={tone}>
      <Sign size={18} aria-hidden="true" />
      <div className="grow stack gap4">
        {title && <p className="bold">{title}</p>}
        {children}
        {actions && <div className="row">{actions}</div>}
      </div>
    </div>
  );
}

/** A refusal or failure in the server's words, with the request id and a way on; nothing when there is none. */
export function ProblemNote({ problem, retry }: { problem: unknown; retry?: () => void }) {
  if (!problem) return null;
  const p = asProblem(problem);
  return (
    <div role="alert">
      <Note tone={p.status === 403 || p.status === 409 || p.status === 422 ? "warn" : "bad"} title={m.problem.heading(p.status)}
        actions={<>{retry && <Button size="compact-sm" variant="default" onClick={retry}>{m.tryAgain}</Button>}</>}>
        <p>{p.detail}</p>
        {p.errors.length > 0 && (
          <ul className="stack gap4 small">
            {p.errors.map((e, i) => <li key={i}>{e.field && <code>{e.field}</code>}{e.field && ": "}{e.detail}</li>)}
          </ul>
        )}
        <p className="row small dim">
          {p.request && <span>{m.problem.request} <code>{p.request}</code></span>}
          <span className="row">{m.problem.copy}<Copy value={p.details()} label={m.problem.copy} /></span>
        </p>
      </Note>
    </div>
  );
}
