import { Button, Checkbox, Modal, NativeSelect, NumberInput, Textarea } from "@mantine/core";
import { useState } from "react";
import { useWhyNot } from "../../api/me";
import { asProblem } from "../../api/problem";
import { m } from "../../messages";
import { Action } from "../../ui/Action";
import { ProblemNote } from "../../ui/Note";
import { paths, useGo } from "../../ui/url";
import { useEnvironments, usePropose, type Proposal } from "./api";

interface Props { model: string; latest: number; version?: number; /** Why nothing can be proposed, besides what the form knows. */ why?: string }

/** Opens a request for change of a model; the policy answers before anything is asked of anyone. */
export function Propose({ model, latest, version, why: given }: Props) {
  const [open, setOpen] = useState(false);
  const lacking = useWhyNot("approval.open");
  const why = lacking ?? (latest < 1 ? m.propose.noVersion : given);
  return (
    <>
      <Action why={why} onClick={() => setOpen(true)}>{m.propose.button}</Action>
      <Modal opened={open} onClose={() => setOpen(false)} title={m.propose.title(model)} size="lg" centered closeButtonProps={{ "aria-label": m.close }} transitionProps={{ duration: 0 }}>
        <ProposeForm model={model} latest={latest} version={version} onCancel={() => setOpen(false)} />
      </Modal>
    </>
  );
}

function ProposeForm({ model, latest, version, onCancel }: Props & { onCancel: () => void }) {
  const propose = usePropose();
  const environments = useEnvironments();
  const go = useGo();
  const [kind, setKind] = useState<Proposal["kind"]>("deploy");
  const [v, setV] = useState(version ?? latest);
  const [env, setEnv] = useState("prod");
  const [mode, setMode] = useState<"all" | "canary" | "shadow">("all");
  const [share, setShare] = useState(10);
  const [rows, setRows] = useState(0);
  const [reason, setReason] = useState("");
  const [auto, setAuto] = useState(true);
  const [columns, setColumns] = useState(false);
  const [tried, setTried] = useState(false);
  const otherColumns = columns || (!!propose.error && asProblem(propose.error).field === "plan.accept_columns");
  const names = (environments.data ?? []).map((e) => ({ value: e.name, label: m.propose.environment(e.title || e.name, e.auto_approve) }));
  const submit = () => {
    setTried(true);
    if (!reason.trim()) return;
    const body: Proposal = { kind, model, version: v, environment: env, reason: reason.trim(), when_approved: auto };
    if (kind === "deploy") body.plan = { mode, ...(mode === "canary" ? { steps: [{ share, ...(rows > 0 ? { hold_rows: rows } : {}) }] } : {}), ...(columns ? { accept_columns: true } : {}) };
    propose.mutate(body, { onSuccess: (r) => go(paths.approval(r.id)) });
  };
  return (
    <form className="stack gap16" noValidate onSubmit={(e) => { e.preventDefault(); submit(); }}>
      <div className="grid2" style={{ gap: 12 }}>
        <NativeSelect label={m.propose.kind} value={kind} onChange={(e) => setKind(e.currentTarget.value as Proposal["kind"])} data={["deploy", "suspend", "retire"].map((k) => ({ value: k, label: m.changeKind[k] }))} data-autofocus />
        <NumberInput label={m.version.version} min={1} max={latest} value={v} onChange={(x) => setV(Number(x) || 1)} allowDecimal={false} />
        <NativeSelect label={m.approvals.environment} value={env} onChange={(e) => setEnv(e.currentTarget.value)} data={names.length ? names : [{ value: "prod", label: "prod" }]} />
        {kind === "deploy" && <NativeSelect label={m.approvals.plan} value={mode} onChange={(e) => setMode(e.currentTarget.value as typeof mode)} data={[{ value: "all", label: m.propose.all }, { value: "canary", label: m.propose.canary }, { value: "shadow", label: m.propose.shadow }]} />}
        {kind === "deploy" && mode === "canary" && <NumberInput label={m.propose.share} min={1} max={99} suffix=" %" value={share} onChange={(x) => setShare(Number(x) || 1)} />}
        {kind === "deploy" && mode === "canary" && <NumberInput label={m.propose.hold} description={m.propose.holdHelp} min={0} value={rows} onChange={(x) => setRows(Number(x) || 0)} />}
      </div>
      <Textarea label={m.reason} description={m.propose.reasonHelp} withAsterisk required value={reason} onChange={(e) => setReason(e.currentTarget.value)} rows={3} resize="vertical" error={tried && !reason.trim() ? m.reasonMissing : undefined} />
      <Checkbox label={m.propose.auto} checked={auto} onChange={(e) => setAuto(e.currentTarget.checked)} />
      {kind === "deploy" && otherColumns && <Checkbox label={m.propose.columns} description={m.propose.columnsHelp} checked={columns} onChange={(e) => setColumns(e.currentTarget.checked)} />}
      <ProblemNote problem={propose.error} />
      <div className="row between"><Button variant="default" onClick={onCancel}>{m.cancel}</Button><Button type="submit" loading={propose.isPending}>{m.propose.submit}</Button></div>
    </form>
  );
}
