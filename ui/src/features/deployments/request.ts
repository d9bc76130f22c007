/** From the values of a form to the request that carries them, and to programs that send it. */
import type { CallForm, FormField } from "../../api/types";
import { m } from "../../messages";
import type { InferRequest, Tensor } from "./api";

export type Values = Record<string, string>;

/** Fields may have the same name in two inputs. */
export const keyOf = (f: FormField) => `${f.input}[${f.place}]`;
const whole = (f: FormField) => /^U?INT/.test(f.datatype);
export const isText = (f: FormField) => f.datatype === "BYTES";
export const isTruth = (f: FormField) => f.datatype === "BOOL";

/** The example as it stands in the fields; an empty field is a missing value. */
export function filled(form: CallForm): Values {
  const out: Values = {};
  for (const f of form.fields ?? []) {
    const v = f.example as unknown;
    out[keyOf(f)] = v === null || v === undefined ? (isTruth(f) && !f.optional ? "false" : "") : String(v);
  }
  return out;
}

/** What is wrong with a value as it is written, before it is sent. */
export function fault(f: FormField, text: string): string | undefined {
  if (isText(f) || isTruth(f)) return undefined;
  if (text.trim() === "") return f.optional || !whole(f) ? undefined : m.serving.form.needed;
  if (whole(f)) return /^[+-]?\d+$/.test(text.trim()) ? undefined : m.serving.form.notWhole;
  return Number.isFinite(Number(text)) ? undefined : m.serving.form.notNumber;
}

/** Says that a value lies outside of what the model was trained on; that is no mistake. */
export function outside(f: FormField, text: string): string | undefined {
  const v = Number(text);
  if (isText(f) || isTruth(f) || text.trim() === "" || f.min === undefined || f.max === undefined || f.min === null || f.max === null || !Number.isFinite(v)) return undefined;
  return v < f.min || v > f.max ? m.serving.form.outside(String(f.min), String(f.max)) : undefined;
}

function valueOf(f: FormField, text: string): unknown {
  if (isText(f)) return text;
  if (isTruth(f)) return text === "true";
  return text.trim() === "" ? null : Number(text);
}

/** One row as tensors: a matrix has its fields by place, any other input its own field. Optional inputs left empty are left out. */
export function requestOf(form: CallForm, values: Values, explain: boolean): InferRequest {
  const fields = form.fields ?? [];
  const inputs: Tensor[] = [];
  for (const spec of form.inputs ?? []) {
    const mine = fields.filter((f) => f.input === spec.name).sort((a, b) => a.place - b.place);
    if (mine.length === 0 || (spec.optional && mine.every((f) => (values[keyOf(f)] ?? "").trim() === ""))) continue;
    inputs.push({ name: spec.name, shape: (spec.shape ?? []).length > 1 || mine.length > 1 ? [1, mine.length] : [1], datatype: mine[0].datatype, data: mine.map((f) => valueOf(f, values[keyOf(f)] ?? "")) });
  }
  return { inputs, ...(explain ? { parameters: { explain: true } } : {}) };
}

/** The field that a refusal names: by its place ("Value 3 of tensor "x"", "inputs[0].data[3]"), else by its name in quotes. */
export function fieldOf(form: CallForm, request: InferRequest, place: string | undefined, words: string): string | undefined {
  const fields = form.fields ?? [];
  const value = /\bvalue (\d+) of tensor "([^"]+)"/i.exec(words);
  if (value) {
    const mine = fields.filter((f) => f.input === value[2]);
    const found = mine.length === 1 ? mine[0] : mine.find((f) => f.place === Number(value[1]));
    if (found) return keyOf(found);
  }
  const at = /inputs\[(\d+)\](?:\.data(?:\[(\d+)\])*)?/.exec(place ?? "");
  if (at) {
    const input = request.inputs[Number(at[1])]?.name;
    const mine = fields.filter((f) => f.input === input);
    const found = mine.length === 1 ? mine[0] : mine.find((f) => f.place === Number(at[2]));
    if (found) return keyOf(found);
  }
  const named = fields.find((f) => words.includes(`"${f.name}"`) || words.includes(`'${f.name}'`)) ?? fields.find((f) => fields.filter((g) => g.input === f.input).length === 1 && words.includes(`"${f.input}"`));
  return named && keyOf(named);
}

const python = (v: unknown): string => (v === null ? 'float("nan")' : v === true ? "True" : v === false ? "False" : JSON.stringify(v));
const numpy: Record<string, string> = { BOOL: "np.bool_", INT8: "np.int8", INT16: "np.int16", INT32: "np.int32", INT64: "np.int64", UINT8: "np.uint8", UINT16: "np.uint16", UINT32: "np.uint32", UINT64: "np.uint64", FP16: "np.float16", FP32: "np.float32", FP64: "np.float64", BYTES: "np.object_" };

export interface Target { server: string; path: string; endpoint: string; version: string; outputs: string[] }

/** Languages in which the call is shown. */
export const languages = { curl: "curl", requests: "Python, requests", triton: "Python, tritonclient", go: "Go" } as const;
export type Language = keyof typeof languages;

/** A program that sends the request. */
export function program(language: Language, request: InferRequest, t: Target): string {
  const url = t.server + t.path;
  const body = JSON.stringify(request);
  switch (language) {
    case "curl":
      return `curl -sS '${url}' \\\n  -H "Authorization: Bearer $KEELSON_TOKEN" \\\n  -H 'Content-Type: application/json' \\\n  -d '${body.replaceAll("'", "'\\''")}'`;
    case "requests":
      return `import os\n\nimport requests\n\nrequest = ${pythonOf(request, 0)}\nanswer = requests.post(\n    ${JSON.stringify(url)},\n    json=request,\n    headers={"Authorization": "Bearer " + os.environ["KEELSON_TOKEN"]},\n    timeout=10,\n)\nanswer.raise_for_status()\nfor output in answer.json()["outputs"]:\n    print(output["name"], output["data"])`;
    case "triton":
      return triton(request, t);
    case "go":
      return `package main\n\nimport (\n\t"fmt"\n\t"io"\n\t"log"\n\t"net/http"\n\t"os"\n\t"strings"\n)\n\nfunc main() {\n\tbody := strings.NewReader(${body.includes("`") ? JSON.stringify(body) : "`" + body + "`"})\n\tr, err := http.NewRequest("POST", ${JSON.stringify(url)}, body)\n\tif err != nil {\n\t\tlog.Fatal(err)\n\t}\n\tr.Header.Set("Authorization", "Bearer "+os.Getenv("KEELSON_TOKEN"))\n\tr.Header.Set("Content-Type", "application/json")\n\tanswer, err := http.DefaultClient.Do(r)\n\tif err != nil {\n\t\tlog.Fatal(err)\n\t}\n\tdefer answer.Body.Close()\n\ttext, err := io.ReadAll(answer.Body)\n\tif err != nil || answer.StatusCode != http.StatusOK {\n\t\tlog.Fatal(answer.Status, " ", string(text), err)\n\t}\n\tfmt.Println(string(text))\n}`;
  }
}

/** JSON as Python writes it; a missing number is None there, which requests sends as null. */
function pythonOf(v: unknown, depth: number): string {
  if (v === null) return "None";
  if (Array.isArray(v)) {
    const flat = v.every((x) => x === null || typeof x !== "object");
    if (flat) return `[${v.map((x) => pythonOf(x, depth)).join(", ")}]`;
    return `[\n${v.map((x) => "    ".repeat(depth + 1) + pythonOf(x, depth + 1)).join(",\n")},\n${"    ".repeat(depth)}]`;
  }
  if (typeof v === "object") return `{${Object.entries(v).map(([k, x]) => `${JSON.stringify(k)}: ${pythonOf(x, depth)}`).join(", ")}}`;
  return python(v);
}

function triton(request: InferRequest, t: Target): string {
  const url = new URL(t.server);
  const prefix = t.path.slice(0, t.path.indexOf("/v2/"));
  const lines = ["import os", "", "import numpy as np", "import tritonclient.http as http", "", `client = http.InferenceServerClient(${JSON.stringify(url.host + prefix)}${url.protocol === "https:" ? ", ssl=True" : ""})`, "inputs = []"];
  for (const i of request.inputs) {
    const data = i.datatype === "BYTES" ? i.data.map((x) => `${JSON.stringify(x)}.encode()`) : i.data.map(python);
    lines.push(`data = np.array([${data.join(", ")}], dtype=${numpy[i.datatype] ?? "np.float64"}).reshape(${JSON.stringify(i.shape)})`, `tensor = http.InferInput(${JSON.stringify(i.name)}, data.shape, ${JSON.stringify(i.datatype)})`, "tensor.set_data_from_numpy(data)", "inputs.append(tensor)");
  }
  lines.push("answer = client.infer(", `    ${JSON.stringify(t.endpoint)},`, "    inputs,", ...(t.version ? [`    model_version=${JSON.stringify(t.version)},`] : []), '    headers={"Authorization": "Bearer " + os.environ["KEELSON_TOKEN"]},', ")", ...t.outputs.map((o) => `print(${JSON.stringify(o)}, answer.as_numpy(${JSON.stringify(o)}))`));
  return lines.join("\n");
}
