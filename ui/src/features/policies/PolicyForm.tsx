import { Button, Checkbox, NativeSelect, NumberInput, Textarea, TextInput } from "@mantine/core";
import { useState, type ReactNode } from "react";
import { useWhyNot } from "../../api/me";
import type { AlertPolicy } from "../../api/types";
import { m } from "../../messages";
import { faultsOf } from "../../ui/faults";
import { ProblemNote } from "../../ui/Note";
import { settable, useNames, useSave } from "./api";
import { inWords } from "./words";

const w = m.policies;
type Step = NonNullable<AlertPolicy["escalate"]>[number];
type Act = NonNullable<AlertPolicy["actions"]>[number];
const all = Object.keys(m.watching.cause);
const options = (of: Record<string, string>) => Object.entries(of).map(([value, label]) => ({ value, label }));

/** Changes the policy of one model or of all; `from` is what holds until then. What the server refuses stands at its field. */
export function PolicyForm({ model, from, onDone }: { model: string; from: AlertPolicy; onDone: () => void }) {
  const [p, setP] = useState({ ...from, note: "", escalate: from.escalate ?? [], actions: from.actions ?? [] });
  const save = useSave();
  const at = faultsOf(save.error);
  const routes = useNames("routes"), pipelines = useNames("pipelines");
  const operate = useWhyNot("deployment.operate"), run = useWhyNot("pipeline.run");
  const put = (more: Partial<typeof p>) => setP({ ...p, ...more });
  const step = (i: number, more: Partial<Step>) => put({ escalate: p.escalate.map((x, k) => (k === i ? { ...x, ...more } : x)) });
  const act = (i: number, more: Partial<Act>) => put({ actions: p.actions.map((x, k) => (k === i ? { ...x, ...more } : x)) });
  const number = (key: "windows" | "good" | "min_rows" | "min_importance" | "error_rate" | "p95_ms" | "min_calls", label: string, help: string, share = false, max?: number) =>
    <NumberInput label={label} description={help} value={share ? Number((100 * p[key]).toPrecision(6)) : p[key]} onChange={(v) => put({ [key]: v === "" ? 0 : share ? Number(v) / 100 : Number(v) })} error={at(key)} min={0} max={max} allowDecimal={share || key === "p95_ms"} />;
  const send = () => save.mutate({ ...settable(p), model, version: from.version, note: p.note.trim(),
    escalate: p.escalate.map(({ after, to, route }) => ({ after, ...(to ? { to: to.trim() } : {}), ...(route ? { route } : {}) })), actions: p.actions.map((a) => ({ ...a, kinds: a.kinds ?? undefined, pipeline: a.do === "retrain" ? a.pipeline : undefined })) }, { onSuccess: onDone });
  const why: Record<string, string | undefined> = { suspend: operate && w.onlyWith("deployment.operate"), rollback: operate && w.onlyWith("deployment.operate"), retrain: run && w.onlyWith("pipeline.run") };
  const placed = ["windows", "good", "min_rows", "min_importance", "error_rate", "p95_ms", "min_calls", "note", "actions"].some(at) || p.escalate.some((_, i) => at(`escalate[${i}].after`) ?? at(`escalate[${i}].to`)) || p.actions.some((_, i) => ["do", "kinds", "severity", "pipeline", "cooldown", "budget"].some((k) => at(`actions[${i}].${k}`)));
  return (
    <form className="stack gap16" noValidate onSubmit={(e) => { e.preventDefault(); send(); }}>
      <div className="quote small" aria-live="polite"><p className="bold">{w.preview}</p>{inWords(p).map((x) => <p key={x}>{x}</p>)}</div>
      <Part title={w.whenOpens}>
        <div className="fields">{number("windows", w.windows, w.windowsHelp, false, 10)}{number("good", w.good, "", false, 10)}{number("min_rows", w.minRows, w.minRowsHelp)}{number("min_importance", w.importance, w.importanceHelp, true)}</div>
      </Part>
      <Part title={w.operation}>
        <div className="fields">{number("error_rate", w.errorRate, w.errorHelp, true)}{number("p95_ms", w.p95, w.p95Help)}{number("min_calls", w.minCalls, "")}</div>
      </Part>
      <Part title={w.escalate}>
        {p.escalate.length === 0 && <p className="dim small">{w.noSteps}</p>}
        {p.escalate.map((e, i) => <StepFields key={i} n={i} step={e} routes={routes} at={at} set={(more) => step(i, more)} drop={() => put({ escalate: p.escalate.filter((_, k) => k !== i) })} />)}
        <div><Button size="compact-sm" variant="default" onClick={() => put({ escalate: [...p.escalate, { after: 60, to: "accountable" }] })}>{w.addStep}</Button></div>
      </Part>
      <Part title={w.actions}>
        {p.actions.length === 0 && <p className="dim small">{w.noActions}</p>}
        {p.actions.map((a, i) => <ActionFields key={i} n={i} act={a} pipelines={pipelines} why={why} at={at} set={(more) => act(i, more)} drop={() => put({ actions: p.actions.filter((_, k) => k !== i) })} />)}
        {at("actions") && <p role="alert" className="small" style={{ color: "var(--k-bad)" }}>{at("actions")}</p>}
        <div><Button size="compact-sm" variant="default" onClick={() => put({ actions: [...p.actions, { do: (["incident", "retrain", "rollback", "suspend"] as const).find((d) => !p.actions.some((a) => a.do === d)) ?? "retrain" }] })}>{w.addAction}</Button></div>
        <Checkbox label={w.close} checked={p.close} onChange={(e) => put({ close: e.currentTarget.checked })} />
      </Part>
      <Textarea label={w.note} description={w.noteHelp} rows={2} value={p.note} onChange={(e) => put({ note: e.currentTarget.value })} error={at("note")} />
      {!placed && <ProblemNote problem={save.error} />}
      <div className="row between"><Button variant="default" onClick={onDone}>{m.cancel}</Button><Button type="submit" loading={save.isPending}>{m.save}</Button></div>
    </form>
  );
}

function Part({ title, children }: { title: string; children: ReactNode }) {
  return <fieldset className="part"><legend>{title}</legend><div className="stack">{children}</div></fieldset>;
}

type At = (field: string) => string | undefined;

function StepFields({ n, step: e, routes, at, set, drop }: { n: number; step: Step; routes: string[]; at: At; set: (more: Partial<Step>) => void; drop: () => void }) {
  const [named, setNamed] = useState(!!e.to && !w.roles[e.to]);
  const names = [...new Set([...(e.route ? [e.route] : []), ...routes])];
  return (
    <div className="fields" role="group" aria-label={`${w.escalate} ${n + 1}`}>
      <NumberInput label={w.after} value={e.after} min={1} onChange={(v) => set({ after: Number(v) || 0 })} error={at(`escalate[${n}].after`)} allowDecimal={false} />
      <NativeSelect label={w.to} value={named ? "*" : (e.to ?? "")} onChange={(x) => { const v = x.currentTarget.value; setNamed(v === "*"); set({ to: v === "*" ? "" : v }); }} data={[...options(w.roles), { value: "*", label: w.someone }, { value: "", label: w.noOne }]} error={named ? undefined : at(`escalate[${n}].to`)} />
      {named && <TextInput label={w.person} value={e.to ?? ""} onChange={(x) => set({ to: x.currentTarget.value })} error={at(`escalate[${n}].to`)} />}
      <NativeSelect label={w.route} value={e.route ?? ""} onChange={(x) => set({ route: x.currentTarget.value })} data={[{ value: "", label: w.noRoute }, ...names.map((v) => ({ value: v, label: v }))]} />
      <div className="row" style={{ alignSelf: "end", minHeight: 36 }}><Button size="compact-sm" variant="default" aria-label={w.dropStep(n + 1)} onClick={drop}>{m.remove}</Button></div>
    </div>
  );
}

function ActionFields({ n, act: a, pipelines, why, at, set, drop }: { n: number; act: Act; pipelines: string[]; why: Record<string, string | undefined>; at: At; set: (more: Partial<Act>) => void; drop: () => void }) {
  const names = [...new Set([...(a.pipeline ? [a.pipeline] : []), ...pipelines])];
  const f = (k: string) => at(`actions[${n}].${k}`);
  return (
    <div className="stack" role="group" aria-label={`${w.actions} ${n + 1}`} style={{ borderBottom: "1px solid var(--k-border)", paddingBottom: 12 }}>
      <div className="fields">
        <NativeSelect label={w.what} value={a.do} onChange={(e) => set({ do: e.currentTarget.value as Act["do"] })} error={f("do")} data={Object.entries(w.act).map(([value, label]) => ({ value, label: why[value] ? `${label} (${why[value]})` : label, disabled: !!why[value] && value !== a.do }))} />
        {a.do === "retrain" && <NativeSelect label={w.pipeline} required value={a.pipeline ?? ""} onChange={(e) => set({ pipeline: e.currentTarget.value })} error={f("pipeline")} data={["", ...names]} />}
        <NativeSelect label={w.severity} value={a.severity || "warning"} onChange={(e) => set({ severity: e.currentTarget.value as Act["severity"] })} error={f("severity")} data={options({ warning: w.severities.warning, critical: w.severities.critical })} />
        {a.do !== "incident" && <>
          <NumberInput label={w.cooldown} description={w.cooldownHelp} min={0} value={a.cooldown ?? 0} onChange={(v) => set({ cooldown: Number(v) || 0 })} error={f("cooldown")} allowDecimal={false} />
          <NumberInput label={w.budget} description={w.budgetHelp} min={0} value={a.budget ?? 0} onChange={(v) => set({ budget: Number(v) || 0 })} error={f("budget")} allowDecimal={false} />
          <NumberInput label={w.period} description={w.periodHelp} min={0} value={a.period ?? 0} onChange={(v) => set({ period: Number(v) || 0 })} allowDecimal={false} />
        </>}
      </div>
      <Checkbox.Group label={w.kinds} description={w.kindsHelp} value={a.kinds ?? []} onChange={(kinds) => set({ kinds })} error={f("kinds")}><div className="row gap16" style={{ marginTop: 6 }}>{all.map((k) => <Checkbox key={k} size="sm" value={k} label={m.watching.cause[k]} />)}</div></Checkbox.Group>
      <div><Button size="compact-sm" variant="default" aria-label={w.dropAction(w.act[a.do] ?? a.do)} onClick={drop}>{m.remove}</Button></div>
    </div>
  );
}
