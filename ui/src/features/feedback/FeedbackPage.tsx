import { Button, Modal, Textarea, TextInput } from "@mantine/core";
import { useMutation, useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { api, call } from "../../api/client";
import { useMe, useWhyNot } from "../../api/me";
import { usePages } from "../../api/query";
import type { Feedback } from "../../api/types";
import { m } from "../../messages";
import { Action, ReasonAction } from "../../ui/Action";
import { Await } from "../../ui/Await";
import { Chip, Empty, Time } from "../../ui/Bits";
import { DataTable, type Column } from "../../ui/DataTable";
import { FilterSelect } from "../../ui/Filter";
import { text } from "../../ui/format";
import { Go } from "../../ui/Go";
import { useRefresh, useTopics } from "../../ui/hooks";
import { ProblemNote } from "../../ui/Note";
import { Page } from "../../ui/Page";
import { paths, useParam } from "../../ui/url";
import { tones, typed, Words } from "./Said";

const f = m.watching.feedback;
const states = ["waiting", "queued", "claimed", "labelled", "skipped"] as const;

/** What people said about decisions, and the queue of those who know what turned out to be true. */
export function FeedbackPage() {
  useTopics("feedback");
  const [state] = useParam("state");
  const why = useWhyNot("feedback.label");
  const refresh = useRefresh("feedback");
  const [labelling, setLabelling] = useState<Feedback>();
  const query = usePages<Feedback>(["feedback", "list", state], (cursor) => call(api.GET("/api/v1/feedback", { params: { query: { state: states.find((x) => x === (state || "waiting")), limit: 100, cursor } } })));
  const counts = useQuery({ queryKey: ["feedback", "counts"], queryFn: () => call(api.GET("/api/v1/feedback/counts")) });
  const next = useMutation({ mutationFn: () => call(api.POST("/api/v1/feedback/next")), onSuccess: async (i) => { setLabelling(i); await refresh(); } });
  const columns: Column<Feedback>[] = [
    { key: "kind", head: f.kind, value: (i) => i.kind, cell: (i) => <div style={{ minWidth: 150 }}><b>{f.kinds[i.kind] ?? i.kind}</b>{i.reports > 1 && <div className="dim small">{f.reports(i.reports)}</div>}</div> },
    { key: "decision", head: f.decision, cell: (i) => <><Go className="rowlink nowrap" to={paths.prediction(i.prediction_id)}>…{i.prediction_id.slice(-8)}</Go><div className="dim small">{f.row(i.row)} · <Go to={paths.version(i.model, i.version)}>{i.model} v{i.version}</Go></div></> },
    { key: "said", head: f.said, cell: (i) => <div style={{ minWidth: 180 }}><Words of={i} /></div> },
    { key: "by", head: f.by, value: (i) => i.at, cell: (i) => <>{i.by}<div className="dim small"><Time at={i.at} /></div></> },
    { key: "state", head: f.state, value: (i) => i.state, cell: (i) => <><Chip tone={tones[i.state]}>{f.states[i.state]}</Chip>{i.state === "claimed" && <div className="dim small">{f.claimedBy(i.claimed_by)}</div>}{i.label !== undefined && <div><b>{text(i.label)}</b> <span className="dim small">{i.settled_by}</span></div>}{i.note && <div className="small wrap">{i.note}</div>}</> },
    { key: "do", head: <span className="sr">{m.actions}</span>, cell: (i) => <Act item={i} why={why} onLabel={() => setLabelling(i)} /> },
  ];
  return (
    <Page title={f.title} lead={f.lead}>
      <div className="toolbar">
        <FilterSelect name="state" label={f.state} options={states.map((s) => ({ value: s === "waiting" ? "" : s, label: f.states[s] }))} />
        {counts.data && <span className="dim">{f.counts(counts.data.queued + counts.data.claimed, counts.data.labelled)}</span>}
        <span className="end"><Action why={why} loading={next.isPending} onClick={() => next.mutate()}>{f.take}</Action></span>
      </div>
      <ProblemNote problem={next.error} />
      <Await query={query}>{(rows) => <DataTable boxed label={f.title} rows={rows} columns={columns} rowKey={(i) => i.id} more={query.more} empty={<Empty command="keelson feedback add PREDICTION wrong">{state ? f.noMatch : f.empty}</Empty>} />}</Await>
      <Modal opened={!!labelling} onClose={() => setLabelling(undefined)} title={f.labelTitle} centered closeButtonProps={{ "aria-label": m.close }} transitionProps={{ duration: 0 }}>{labelling && <LabelForm item={labelling} onDone={() => setLabelling(undefined)} />}</Modal>
    </Page>
  );
}

function Act({ item: i, why, onLabel }: { item: Feedback; why?: string; onLabel: () => void }) {
  const me = useMe().data?.name;
  const refresh = useRefresh("feedback", "audit");
  const skip = useMutation({ mutationFn: (note: string) => call(api.POST("/api/v1/feedback/{id}/skip", { params: { path: { id: i.id } }, body: { note } })), onSuccess: refresh });
  if (i.state === "labelled" || i.state === "skipped") return null;
  const blocked = why ?? (i.state === "claimed" && i.claimed_by !== me ? f.claimedBy(i.claimed_by) : undefined);
  return (
    <span className="row" style={{ flexWrap: "nowrap" }}>
      <Action size="compact-sm" variant="default" why={blocked} onClick={onLabel}>{f.label}</Action>
      <ReasonAction size="compact-sm" variant="default" why={blocked} ask={{ title: f.skipTitle, confirm: f.skip, onConfirm: (note) => skip.mutateAsync(note) }}>{f.skip}</ReasonAction>
    </span>
  );
}

function LabelForm({ item: i, onDone }: { item: Feedback; onDone: () => void }) {
  const refresh = useRefresh("feedback", "predictions", "monitors", "audit");
  const [value, setValue] = useState("");
  const [note, setNote] = useState("");
  const save = useMutation({ mutationFn: () => call(api.POST("/api/v1/feedback/{id}/label", { params: { path: { id: i.id } }, body: { value: typed(value), note } })), onSuccess: async () => { await refresh(); onDone(); } });
  return (
    <form className="stack gap16" onSubmit={(e) => { e.preventDefault(); if (value.trim()) save.mutate(); }}>
      <p><b>{f.kinds[i.kind]}</b>, {i.model} v{i.version}, <Go to={paths.prediction(i.prediction_id)}>{f.decision} …{i.prediction_id.slice(-8)}</Go>, {f.row(i.row)}</p>
      <p className="quote"><Words of={i} /></p>
      <TextInput label={f.truth} description={f.truthHelp} required value={value} onChange={(e) => setValue(e.currentTarget.value)} data-autofocus />
      <Textarea label={f.note} value={note} onChange={(e) => setNote(e.currentTarget.value)} rows={2} />
      <ProblemNote problem={save.error} />
      <div className="row between"><Button variant="default" onClick={onDone}>{m.cancel}</Button><Button type="submit" loading={save.isPending}>{f.label}</Button></div>
    </form>
  );
}
