import { NativeSelect, TextInput } from "@mantine/core";
import { useState } from "react";
import { useWhyNot } from "../../api/me";
import type { MonitorState, Window } from "../../api/types";
import { m } from "../../messages";
import { Action, ReasonAction } from "../../ui/Action";
import { count } from "../../ui/format";
import { Time } from "../../ui/Bits";
import { Go } from "../../ui/Go";
import { ProblemNote } from "../../ui/Note";
import { paths } from "../../ui/url";
import { useAccept, useCompareWithTraining } from "./api";

type Watched = MonitorState["monitor"];

const w = m.accept;

/** What windows are compared with now; a window that was accepted has ended when its time has come. */
export function against(mon: Watched, now = Date.now()): Watched["against"] {
  const a = mon.against ?? { kind: "training" };
  return a.until && Date.parse(a.until) <= now ? { kind: "training" } : a;
}

/** In a line: what windows are compared with, until when, and the way back to the training data. */
export function Against({ monitor: mon, windows }: { monitor: Watched; windows: Window[] }) {
  const why = useWhyNot("monitor.write");
  const back = useCompareWithTraining(mon.endpoint);
  const a = against(mon);
  const at = windows.findIndex((x) => x.id === a.window);
  if (a.kind === "training") return mon.reference?.dataset ? <span className="dim small">{m.monitor.against} <Go to={paths.dataset(mon.reference.dataset, mon.reference.version)}>{mon.reference.dataset} v{mon.reference.version}</Go></span> : <span className="dim small">{w.firstQuiet}</span>;
  return (
    <span className="row small">
      <span className="dim">{m.monitor.against} {a.kind === "window" ? <>{w.accepted} {at < 0 ? w.earlier : <Go to={paths.monitoring(mon.model, { endpoint: mon.endpoint, window: a.window })}>{w.window(at + 1)}</Go>}</> : w.version(a.version ?? 0)}{a.until && <> {w.until} <Time at={a.until} full /></>}</span>
      <Action size="compact-sm" variant="default" why={why} loading={back.isPending} onClick={() => back.mutate()}>{w.back}</Action>
      <ProblemNote problem={back.error} />
    </span>
  );
}

const ends = Object.keys(w.ends);
const tomorrow = () => new Date(Date.now() + 86_400_000).toISOString().slice(0, 10);

interface Looked { at: Window; number: number }

/** Makes the window that is looked at what later ones are compared with: for a time, with a reason, in the audit log. The question stays about that window when a newer one comes in. */
export function Accept({ monitor: mon, at, number }: Looked & { monitor: Watched }) {
  const lacking = useWhyNot("monitor.write");
  const accept = useAccept(mon.endpoint);
  const [days, setDays] = useState(ends[1]);
  const [day, setDay] = useState(tomorrow);
  const [asked, setAsked] = useState<Looked>({ at, number });
  const now = against(mon);
  const why = lacking ?? (at.too_few ? w.tooFew : now.kind === "window" && now.window === at.id ? w.already : undefined);
  const until = () => (days === "" ? new Date(day + "T23:59:59").toISOString() : days === "0" ? undefined : new Date(Date.now() + Number(days) * 86_400_000).toISOString());
  return (
    <ReasonAction variant="default" why={why} onAsk={() => { setAsked({ at, number }); setDays(ends[1]); setDay(tomorrow()); }} ask={{ title: w.title(asked.number), confirm: w.confirm, onConfirm: (reason) => accept.mutateAsync({ window: asked.at.id, reason, until: until() }), children: (
      <>
        <p>{w.plan(count(asked.at.rows), asked.number)}</p>
        <ul className="small dim"><li>{w.stays}</li><li>{w.recovers}</li></ul>
        <div className="row top gap16">
          <NativeSelect label={w.untilHead} value={days} onChange={(e) => setDays(e.currentTarget.value)} data={[...ends.map((value) => ({ value, label: w.ends[value] })), { value: "", label: w.onDay }]} />
          {days === "" && <TextInput type="date" label={w.day} required min={tomorrow()} value={day} onChange={(e) => setDay(e.currentTarget.value)} />}
        </div>
      </>
    ) }}>{w.button}</ReasonAction>
  );
}

