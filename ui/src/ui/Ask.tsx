import { Button, Modal, Textarea, TextInput } from "@mantine/core";
import { useState, type ReactNode } from "react";
import { m } from "../messages";
import { ProblemNote } from "./Note";

export interface Field { name: string; label: string; value?: string; help?: string; required?: boolean; long?: boolean; max?: number }

interface Props { opened: boolean; onClose: () => void; title: string; confirm: string; fields: Field[]; onConfirm: (values: Record<string, string>) => Promise<unknown>; children?: ReactNode }

/** A dialog that asks for a few texts and does something with them; a refusal is shown in it. */
export function Ask({ opened, onClose, title, ...rest }: Props) {
  return (
    <Modal opened={opened} onClose={onClose} title={title} centered closeButtonProps={{ "aria-label": m.close }} transitionProps={{ duration: 0 }}>
      {opened && <Form {...rest} onDone={onClose} />}
    </Modal>
  );
}

function Form({ confirm, fields, onConfirm, onDone, children }: Omit<Props, "opened" | "onClose" | "title"> & { onDone: () => void }) {
  const [values, setValues] = useState<Record<string, string>>(Object.fromEntries(fields.map((f) => [f.name, f.value ?? ""])));
  const [tried, setTried] = useState(false);
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState<unknown>(null);
  const missing = fields.filter((f) => f.required && !values[f.name]?.trim()).map((f) => f.name);
  const submit = async () => {
    setTried(true);
    if (missing.length) return;
    setBusy(true);
    setProblem(null);
    try { await onConfirm(Object.fromEntries(Object.entries(values).map(([k, v]) => [k, v.trim()]))); onDone(); } catch (error) { setProblem(error); } finally { setBusy(false); }
  };
  return (
    <form className="stack gap16" noValidate onSubmit={(e) => { e.preventDefault(); void submit(); }}>
      {children}
      {fields.map((f, i) => {
        const props = { label: f.label, description: f.help, value: values[f.name] ?? "", maxLength: f.max, required: f.required, withAsterisk: f.required, "data-autofocus": i === 0 || undefined, error: tried && missing.includes(f.name) ? m.fieldMissing : undefined };
        const put = (v: string) => setValues((old) => ({ ...old, [f.name]: v }));
        return f.long ? <Textarea key={f.name} {...props} rows={6} resize="vertical" onChange={(e) => put(e.currentTarget.value)} /> : <TextInput key={f.name} {...props} onChange={(e) => put(e.currentTarget.value)} />;
      })}
      <ProblemNote problem={problem} />
      <div className="row between"><Button variant="default" onClick={onDone}>{m.cancel}</Button><Button type="submit" loading={busy}>{confirm}</Button></div>
    </form>
  );
}
