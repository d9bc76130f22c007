import { Button, Checkbox, NativeSelect, Textarea, TextInput } from "@mantine/core";
import { useMemo, useState } from "react";
import { prefix } from "../../api/client";
import { useWhyNot } from "../../api/me";
import { asProblem } from "../../api/problem";
import type { CallForm, Deployment, FormField } from "../../api/types";
import { m } from "../../messages";
import { Action } from "../../ui/Action";
import { Await } from "../../ui/Await";
import { Copy, Empty, Facts, Id, Panel } from "../../ui/Bits";
import { DataTable } from "../../ui/DataTable";
import { number, text } from "../../ui/format";
import { Go } from "../../ui/Go";
import { ProblemNote } from "../../ui/Note";
import { paths, useParam } from "../../ui/url";
import { inferPath, useForm, useInfer, type Answered, type InferRequest } from "./api";
import { fault, fieldOf, filled, isText, isTruth, keyOf, languages, outside, program, requestOf, type Language, type Values } from "./request";

/** A form made from the signature of what answers at an endpoint, and what came of it. */
export function TryIt({ deployment: d }: { deployment: Deployment }) {
  const [version, setVersion] = useParam("version");
  const asked = (d.slots ?? []).some((s) => String(s.version) === version && s.kind !== "shadow") ? version : "";
  const query = useForm(d.endpoint, asked);
  return <Await query={query} lines={10}>{(form) => <Asking key={`${d.endpoint} ${form.version} ${asked}`} d={d} form={form} version={asked} setVersion={setVersion} />}</Await>;
}

type Mode = "form" | "json";
const pretty = (r: InferRequest) => JSON.stringify(r, null, 1).replace(/\[\s+([^[\]{}]*?)\s+\]/g, (_, inner: string) => `[${inner.replace(/\s*\n\s*/g, " ")}]`);

function Asking({ d, form, version, setVersion }: { d: Deployment; form: CallForm; version: string; setVersion: (v: string) => void }) {
  const fields = form.fields ?? [];
  const example = useMemo(() => ({ inputs: (form.example ?? []) as InferRequest["inputs"] }), [form]);
  const [mode, setMode] = useState<Mode>(fields.length ? "form" : "json");
  const [values, setValues] = useState<Values>(() => filled(form));
  const [body, setBody] = useState(() => pretty(example));
  const [explain, setExplain] = useState(false);
  const [tried, setTried] = useState(false);
  const infer = useInfer(d.endpoint, version);
  const why = useWhyNot("predict");
  const f = m.serving.form;

  const read = (): { request?: InferRequest; wrong?: string } => {
    if (mode === "form") return { request: requestOf(form, values, explain) };
    try { const r = JSON.parse(body) as InferRequest; return { request: explain ? { ...r, parameters: { ...r.parameters, explain: true } } : r }; } catch (error) { return { wrong: f.notJSON(String((error as Error).message)) }; }
  };
  const { request, wrong } = read();
  const faults = mode === "form" ? new Map(fields.map((x) => [keyOf(x), fault(x, values[keyOf(x)] ?? "")])) : new Map<string, string | undefined>();
  const bad = !!wrong || [...faults.values()].some(Boolean);
  const problem = infer.error ? asProblem(infer.error) : null;
  const named = problem && request && mode === "form" ? fieldOf(form, request, problem.field, problem.detail) : undefined;
  const send = () => { setTried(true); if (!bad && request) infer.mutate(JSON.stringify(request)); };
  const reset = () => { setValues(filled(form)); setBody(pretty(example)); setTried(false); infer.reset(); };
  const turn = (next: Mode) => { if (next === "json" && mode === "form" && request) setBody(pretty({ inputs: request.inputs })); setMode(next); infer.reset(); };
  const versions = (d.slots ?? []).filter((s) => s.kind !== "shadow");
  return (
    <div className="grid2 wide-left">
      <Panel title={f.title} id="ask" actions={fields.length > 0 && <div role="group" aria-label={f.mode} className="row">{(["form", "json"] as const).map((x) => <Button key={x} size="compact-sm" variant={x === mode ? "filled" : "default"} aria-pressed={x === mode} onClick={() => turn(x)}>{x === "form" ? f.asForm : f.asJSON}</Button>)}</div>}>
        <form className="stack gap16" noValidate onSubmit={(e) => { e.preventDefault(); send(); }}>
          <p className="dim">{f.lead} {form.golden ? f.golden : f.plain} {fields.length === 0 && f.only}</p>
          {mode === "form"
            ? <div className="fields">{fields.map((x) => <Value key={keyOf(x)} field={x} value={values[keyOf(x)] ?? ""} set={(v) => setValues((old) => ({ ...old, [keyOf(x)]: v }))} error={(tried && faults.get(keyOf(x))) || (named === keyOf(x) ? problem?.detail : undefined)} />)}</div>
            : <Textarea label={f.body} value={body} onChange={(e) => setBody(e.currentTarget.value)} rows={16} resize="vertical" error={tried && wrong} styles={{ input: { fontFamily: "var(--k-mono)", fontSize: 12.5 } }} spellCheck={false} />}
          <div className="row gap16">
            {versions.length > 1 && <NativeSelect aria-label={f.version} value={version} onChange={(e) => setVersion(e.currentTarget.value)} data={[{ value: "", label: f.byTraffic }, ...versions.map((s) => ({ value: String(s.version), label: m.serving.slotOf(s.version, m.slot[s.kind] ?? s.kind) }))]} />}
            <Checkbox label={f.explain} checked={explain} onChange={(e) => setExplain(e.currentTarget.checked)} />
          </div>
          <div className="row"><Action type="submit" why={why} loading={infer.isPending}>{f.send}</Action><Button variant="default" onClick={reset}>{f.reset}</Button></div>
        </form>
      </Panel>
      <div className="stack gap16 beside">
        <Panel title={f.answer} id="answer"><div aria-live="polite" className="stack gap16">{problem ? <ProblemNote problem={problem} /> : infer.data ? <Result a={infer.data} /> : <p className="dim">{f.none}</p>}</div></Panel>
        {request && <Program request={request} d={d} version={version} outputs={(form.outputs ?? []).map((o) => o.name)} />}
      </div>
    </div>
  );
}

function Value({ field: x, value, set, error }: { field: FormField; value: string; set: (v: string) => void; error?: string | false }) {
  const f = m.serving.form;
  const known = x.min !== undefined && x.min !== null && x.max !== undefined && x.max !== null;
  const about = [x.doc, f.type(x.datatype), known && !isText(x) && !isTruth(x) ? f.range(number(x.min), number(x.max)) : undefined, x.optional ? f.optional : undefined].filter(Boolean).join(" · ");
  const beyond = outside(x, value);
  const common = { label: x.name, description: about, error: error || undefined };
  const pick = (data: { value: string; label: string }[]) => <NativeSelect {...common} value={value} onChange={(e) => set(e.currentTarget.value)} data={data} />;
  if (isTruth(x)) return pick([...(x.optional ? [{ value: "", label: f.missing }] : []), { value: "true", label: m.yes }, { value: "false", label: m.no }]);
  if (isText(x) && x.choices?.length) return pick([...new Set([...(x.optional || !x.choices.includes(value) ? [value] : []), ...x.choices])].map((c) => ({ value: c, label: c || f.missing })));
  return (
    <div>
      <TextInput {...common} value={value} onChange={(e) => set(e.currentTarget.value)} inputMode={isText(x) ? undefined : "decimal"} placeholder={isText(x) ? undefined : f.missing} autoComplete="off" />
      {beyond && !error && <p className="small warn">▲ {beyond}</p>}
    </div>
  );
}

function Result({ a }: { a: Answered }) {
  const f = m.serving.form;
  const why = a.body.parameters?.explanation;
  return (
    <>
      <Facts rows={(a.body.outputs ?? []).map((o) => [o.name, <b key={o.name} className="mono wrap">{o.data.slice(0, 60).map((v) => text(v)).join(", ")}{o.data.length > 60 ? " …" : ""}</b>])} />
      <Facts rows={[[f.by, `v${a.body.model_version}`], [f.took, `${number(a.took, 1)} ms`], [f.id, a.prediction ? <span key="p" className="row"><Id value={a.prediction} /><Go to={paths.prediction(a.prediction)}>{f.logged}</Go></span> : f.notLogged], [f.request, a.request ? <Id key="r" value={a.request} /> : undefined]]} />
      {why && (why.rows ?? []).map((r) => <DataTable key={r.row} label={f.why} rows={r.features ?? []} rowKey={(x) => x.name} columns={[{ key: "name", head: f.feature, cell: (x) => x.name }, { key: "value", head: f.value, right: true, cell: (x) => text(x.value) }, { key: "effect", head: f.effect, right: true, cell: (x) => `${x.contribution > 0 ? "+" : ""}${number(x.contribution)}` }]} empty={<Empty>{m.none}</Empty>} />)}
    </>
  );
}

function Program({ request, d, version, outputs }: { request: InferRequest; d: Deployment; version: string; outputs: string[] }) {
  const [language, setLanguage] = useState<Language>("curl");
  const code = program(language, request, { server: location.origin, path: prefix + inferPath(d.endpoint, version), endpoint: d.endpoint, version, outputs });
  const f = m.serving.form;
  return (
    <Panel title={f.snippet} id="program" actions={<span className="row" style={{ flexWrap: "nowrap" }}><NativeSelect aria-label={f.language} size="xs" value={language} onChange={(e) => setLanguage(e.currentTarget.value as Language)} data={Object.entries(languages).map(([value, label]) => ({ value, label }))} /><Copy value={code} label={f.copy} /></span>}>
      <div className="stack"><pre className="program" tabIndex={0} role="region" aria-label={languages[language]}>{code}</pre><p className="small dim">{f.token}</p></div>
    </Panel>
  );
}
