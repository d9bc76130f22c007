import type { ReactNode } from "react";
import type { Step } from "../../api/types";
import { m } from "../../messages";
import { duration } from "../../ui/format";
import { Go } from "../../ui/Go";
import { RunChip, tones } from "./words";

interface Node { name: string; needs: string[] | null; kind: string; run?: Step }
interface Place { x: number; y: number }

const W = 212, H = 66, GX = 40, GY = 20;

/** The rank of each step: one more than the highest it needs. Steps of a cycle, which the server refuses, stay at the rank reached. */
export function ranks(steps: { name: string; needs: string[] | null }[]): Map<string, number> {
  const rank = new Map(steps.map((s) => [s.name, 0]));
  for (let round = 0; round < steps.length; round++) {
    let moved = false;
    for (const s of steps) {
      const want = Math.max(0, ...(s.needs ?? []).map((n) => (rank.get(n) ?? -1) + 1));
      if (want > rank.get(s.name)! && want < steps.length) { rank.set(s.name, want); moved = true; }
    }
    if (!moved) break;
  }
  return rank;
}

/** The steps from left to right as they depend on each other; with `link` each is a link. The table beside it says the same. */
export function StepGraph({ steps, link, current }: { steps: Node[]; link?: (name: string) => string; current?: string }) {
  const rank = ranks(steps);
  const rows = new Map<number, number>();
  const place = new Map<string, Place>();
  for (const s of steps) {
    const r = rank.get(s.name) ?? 0, row = rows.get(r) ?? 0;
    rows.set(r, row + 1);
    place.set(s.name, { x: 4 + r * (W + GX), y: 4 + row * (H + GY) });
  }
  const width = Math.max(...[...place.values()].map((p) => p.x), 0) + W + 8;
  const height = Math.max(...[...place.values()].map((p) => p.y), 0) + H + 8;
  return (
    <div className="dag" tabIndex={0} role="group" aria-label={m.pipeline.graph}>
      <div style={{ position: "relative", width, height }}>
        <svg width={width} height={height} aria-hidden="true">{steps.flatMap((s) => (s.needs ?? []).map((n) => <Edge key={n + s.name} from={place.get(n)} to={place.get(s.name)!} />))}</svg>
        {steps.map((s) => <Box key={s.name} node={s} place={place.get(s.name)!} href={link?.(s.name)} current={s.name === current} />)}
      </div>
    </div>
  );
}

function Edge({ from, to }: { from?: Place; to: Place }) {
  if (!from) return null;
  const x1 = from.x + W, y1 = from.y + H / 2, x2 = to.x, y2 = to.y + H / 2, c = Math.max(24, (x2 - x1) / 2);
  return <path d={`M${x1},${y1} C${x1 + c},${y1} ${x2 - c},${y2} ${x2 - 5},${y2} M${x2 - 10},${y2 - 4} L${x2 - 4},${y2} L${x2 - 10},${y2 + 4}`} />;
}

function Box({ node, place, href, current }: { node: Node; place: Place; href?: string; current: boolean }) {
  const run = node.run;
  const style = { left: place.x, top: place.y, width: W, height: H };
  const inside: ReactNode = (
    <>
      <span className="row" style={{ justifyContent: "space-between", flexWrap: "nowrap" }}><b style={{ overflow: "hidden", textOverflow: "ellipsis", whiteSpace: "nowrap" }}>{node.name}</b><span className="small dim">{node.kind}</span></span>
      {run ? <span className="row" style={{ flexWrap: "nowrap" }}><RunChip state={run.state} /><span className="small dim num nowrap">{run.started_at ? duration(run.started_at, run.ended_at) : ""}{run.attempt > 1 ? ` · ${m.pipeline.attempt(run.attempt)}` : ""}</span></span> : null}
    </>
  );
  return href ? <Go className="node" data-tone={run && tones[run.state]} aria-current={current ? "true" : undefined} style={style} to={href}>{inside}</Go> : <div className="node" data-tone={run && tones[run.state]} style={style}>{inside}</div>;
}
