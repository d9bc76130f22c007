import { Button, Modal, NativeSelect } from "@mantine/core";
import { useState } from "react";
import { useWhyNot } from "../../api/me";
import { m } from "../../messages";
import { Action } from "../../ui/Action";
import { Await } from "../../ui/Await";
import { Empty } from "../../ui/Bits";
import { ProblemNote } from "../../ui/Note";
import { paths, useGo } from "../../ui/url";
import { usePipelines, useStart } from "./api";

const w = m.retrain;

/** Starts a pipeline that makes the next version of a model, after saying what it will do; the run's page opens then. */
export function StartRetraining({ model, suggested, why }: { model: string; suggested?: string; why?: string }) {
  const [open, setOpen] = useState(false);
  const lacking = useWhyNot("pipeline.run");
  return (
    <>
      <Action variant="default" why={lacking ?? why} onClick={() => setOpen(true)}>{w.button}</Action>
      <Modal opened={open} onClose={() => setOpen(false)} title={w.title(model)} centered closeButtonProps={{ "aria-label": m.close }} transitionProps={{ duration: 0 }}>
        {open && <Choice model={model} suggested={suggested} onClose={() => setOpen(false)} />}
      </Modal>
    </>
  );
}

function Choice({ model, suggested, onClose }: { model: string; suggested?: string; onClose: () => void }) {
  const query = usePipelines();
  const [chosen, setChosen] = useState("");
  return (
    <Await query={query} lines={3}>{(all) => {
      if (all.length === 0) return <Empty command="keelson pipeline run">{w.none}</Empty>;
      const of = all.find((p) => p.name === chosen) ?? all.find((p) => p.name === suggested) ?? all.find((p) => p.model === model);
      return (
        <div className="stack gap16">
          <NativeSelect label={w.pipeline} data-autofocus value={of?.name ?? ""} onChange={(e) => setChosen(e.currentTarget.value)}
            data={[...(of ? [] : [{ value: "", label: w.pick(model), disabled: true }]), ...all.map((p) => ({ value: p.name, label: p.name === suggested ? w.chosen(p.name) : p.name }))]} />
          {of && <><p>{w.plan((of.steps ?? []).map((s) => s.name))}</p><p className="small dim">{w.gate}</p></>}
          <Start key={of?.name ?? ""} name={of?.name} onClose={onClose} />
        </div>
      );
    }}</Await>
  );
}

function Start({ name, onClose }: { name?: string; onClose: () => void }) {
  const start = useStart(name ?? "");
  const go = useGo();
  return (
    <>
      <ProblemNote problem={start.error} />
      <div className="row between">
        <Button variant="default" onClick={onClose}>{m.cancel}</Button>
        <Action why={name ? undefined : w.first} loading={start.isPending} onClick={() => start.mutate(undefined, { onSuccess: (r) => { onClose(); go(paths.run(name!, r.id)); } })}>{w.confirm}</Action>
      </div>
    </>
  );
}
