import { NumberInput, TextInput } from "@mantine/core";
import { useMutation, useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { api, call, items } from "../../api/client";
import { useWhyNot } from "../../api/me";
import type { Feedback, Prediction } from "../../api/types";
import { m } from "../../messages";
import { ReasonAction } from "../../ui/Action";
import { Await } from "../../ui/Await";
import { Chip, Panel, Time, type Tone } from "../../ui/Bits";
import { text } from "../../ui/format";
import { useRefresh } from "../../ui/hooks";

const f = m.watching.feedback;
export const tones: Record<string, Tone> = { queued: "warn", claimed: "info", labelled: "ok", skipped: "neutral" };

/** A value as a person types it: a number or truth value where it reads as one, else the text. */
export function typed(value: string): number | boolean | string {
  const v = value.trim();
  if (v === "true" || v === "false") return v === "true";
  return v !== "" && Number.isFinite(Number(v)) ? Number(v) : v;
}

/** What was said about a row, in words. */
export function Words({ of: i }: { of: Feedback }) {
  return <span className="wrap">{i.value !== undefined && <><b>{i.kind === "override" ? f.instead : f.should} {text(i.value)}</b>{i.reason ? " · " : ""}</>}{i.reason}</span>;
}

/** What people say about a decision, and saying so. */
export function Said({ id }: { id: string }) {
  const why = useWhyNot("feedback.write");
  const p = useQuery<Prediction>({ queryKey: ["predictions", id], queryFn: () => call(api.GET("/api/v1/predictions/{id}", { params: { path: { id } } })) }).data;
  const query = useQuery<Feedback[]>({ queryKey: ["feedback", "of", id], queryFn: async () => items(await call(api.GET("/api/v1/feedback", { params: { query: { prediction: id, limit: 50 } } }))) });
  return (
    <Panel title={f.report} id="said" actions={p && <>
      <Say prediction={p} kind="wrong" why={why} title={f.markTitle}>{f.mark}</Say>
      <Say prediction={p} kind="contest" why={why} title={f.contestTitle}>{f.contest}</Say>
      <Say prediction={p} kind="override" why={why} title={f.overrideTitle}>{f.override}</Say>
    </>}>
      <Await query={query}>{(rows) => (rows.length === 0 ? <p className="dim">{f.none}</p> : (
        <ul className="feed">{rows.map((i) => <li key={i.id}><div className="grow"><p className="row"><b>{f.kinds[i.kind]}</b><span className="dim">{f.row(i.row)}</span><Chip tone={tones[i.state]}>{f.states[i.state]}</Chip>{i.label !== undefined && <b>{text(i.label)}</b>}</p><p><Words of={i} /></p><p className="small dim">{i.by} · <Time at={i.at} full /></p></div></li>)}</ul>
      ))}</Await>
    </Panel>
  );
}

function Say({ prediction: p, kind, title, why, children }: { prediction: Prediction; kind: Feedback["kind"]; title: string; why?: string; children: string }) {
  const refresh = useRefresh("feedback", "predictions");
  const [value, setValue] = useState("");
  const [row, setRow] = useState(0);
  const say = useMutation({ mutationFn: (reason: string) => call(api.POST("/api/v1/predictions/{id}/feedback", { params: { path: { id: p.id } }, body: { kind, row, reason, ...(value.trim() ? { value: typed(value) } : {}) } })), onSuccess: async () => { setValue(""); await refresh(); } });
  return (
    <ReasonAction size="compact-sm" variant="default" why={why} ask={{ title, confirm: children, optional: kind === "wrong", onConfirm: (reason) => say.mutateAsync(reason), children: <>
      {p.rows > 1 && <NumberInput label={f.rowOf} min={0} max={p.rows - 1} value={row} onChange={(v) => setRow(Number(v) || 0)} />}
      <TextInput label={kind === "override" ? f.newValue : f.value} description={f.truthHelp} required={kind === "override"} value={value} onChange={(e) => setValue(e.currentTarget.value)} />
    </> }}>{children}</ReasonAction>
  );
}
