import { Button, Modal, Textarea, Tooltip, type ButtonProps } from "@mantine/core";
import { useId, useState, type ButtonHTMLAttributes, type ReactNode } from "react";
import { m } from "../messages";
import { ProblemNote } from "./Note";

type Attributes = Omit<ButtonHTMLAttributes<HTMLButtonElement>, "style" | "color">;
interface Props extends ButtonProps, Attributes { why?: string }

/** A button that, when `why` is given, stays visible and reachable but does nothing and says why. */
export function Action({ why, children, onClick, type = "button", ...rest }: Props) {
  const id = useId();
  if (!why) return <Button type={type} onClick={onClick} {...rest}>{children}</Button>;
  return (
    <Tooltip label={why} multiline events={{ hover: true, focus: true, touch: true }}>
      <span>
        <Button {...rest} type="button" aria-disabled="true" aria-describedby={id} onClick={(e) => e.preventDefault()}>{children}</Button>
        <span id={id} className="sr">{why}</span>
      </span>
    </Tooltip>
  );
}

interface Asked { title: string; confirm: string; danger?: boolean; optional?: boolean; children?: ReactNode; onConfirm: (reason: string) => Promise<unknown> }

/** A button that says what will happen, asks once for a reason, and then does it; `onAsk` is told when the question is put. */
export function ReasonAction({ ask, onAsk, why, children, ...rest }: Props & { ask: Asked; onAsk?: () => void }) {
  const [open, setOpen] = useState(false);
  return (
    <>
      <Action why={why} {...rest} onClick={() => { onAsk?.(); setOpen(true); }}>{children}</Action>
      <Modal opened={open} onClose={() => setOpen(false)} title={ask.title} centered closeButtonProps={{ "aria-label": m.close }} transitionProps={{ duration: 0 }}>
        <ReasonForm ask={ask} onDone={() => setOpen(false)} />
      </Modal>
    </>
  );
}

function ReasonForm({ ask, onDone }: { ask: Asked; onDone: () => void }) {
  const [reason, setReason] = useState("");
  const [tried, setTried] = useState(false);
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState<unknown>(null);
  const missing = !ask.optional && !reason.trim();
  const submit = async () => {
    setTried(true);
    if (missing) return;
    setBusy(true);
    setProblem(null);
    try { await ask.onConfirm(reason.trim()); onDone(); } catch (error) { setProblem(error); } finally { setBusy(false); }
  };
  return (
    <form className="stack gap16" noValidate onSubmit={(e) => { e.preventDefault(); void submit(); }}>
      {ask.children}
      <Textarea label={m.reason} description={m.reasonHelp} value={reason} onChange={(e) => setReason(e.currentTarget.value)} rows={3} resize="vertical" required={!ask.optional}
        error={tried && missing ? m.reasonMissing : undefined} data-autofocus withAsterisk={!ask.optional} />
      <ProblemNote problem={problem} />
      <div className="row between">
        <Button variant="default" onClick={onDone}>{m.cancel}</Button>
        <Button type="submit" color={ask.danger ? "red" : undefined} loading={busy}>{ask.confirm}</Button>
      </div>
    </form>
  );
}
