import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { Problem } from "../../api/problem";
import { m } from "../../messages";
import { Await } from "../../ui/Await";
import { Empty } from "../../ui/Bits";
import { bytes } from "../../ui/format";
import { Markdown } from "../../ui/Markdown";
import { parseCSV } from "../../ui/text";

/** Text is shown up to this many bytes, pictures up to that many. */
const mostText = 512 * 1024;
const mostImage = 20 * 1024 * 1024;

type Kind = "image" | "table" | "json" | "markdown" | "text" | "none";

const kinds: [Kind, RegExp][] = [
  ["image", /\.(png|jpe?g|gif|webp|bmp|svg|avif)$/i], ["table", /\.(csv|tsv)$/i], ["json", /\.(json|ipynb|geojson)$/i], ["markdown", /\.(md|markdown)$/i],
  ["none", /\.(pkl|pickle|joblib|bin|onnx|pt|pth|safetensors|h5|hdf5|keras|npy|npz|parquet|zip|gz|tgz|tar|whl|so|exe|pdf|mp4|wav|mp3|ubj|model)$/i],
];
export const kindOf = (name: string): Kind => kinds.find(([, ends]) => ends.test(name))?.[0] ?? "text";

/** A look into a file: pictures, tables, JSON, Markdown and text; nothing in it is run. */
export function Preview({ name, address, size }: { name: string; address: string; size?: number }) {
  const kind = kindOf(name);
  if (kind === "none") return <Empty>{m.tracking.file.noPreview}</Empty>;
  if (kind === "image") return size !== undefined && size > mostImage ? <Empty>{m.tracking.file.tooLargeImage(bytes(size))}</Empty> : <img className="shownimage" src={address} alt={m.tracking.file.preview(name)} />;
  return <Text name={name} address={address} size={size} kind={kind} />;
}

/** The first part of a file as text; undefined where it is not text. */
async function beginning(address: string, signal: AbortSignal): Promise<{ text?: string; cut: boolean }> {
  const answer = await fetch(address, { credentials: "same-origin", headers: { Range: `bytes=0-${mostText - 1}` }, signal });
  if (answer.status === 416) return { text: "", cut: false };
  if (!answer.ok) throw new Problem({ status: answer.status, detail: m.problem.status(answer.status) });
  const reader = answer.body?.getReader();
  const parts: Uint8Array[] = [];
  let n = 0;
  for (;;) {
    const got = await reader?.read();
    if (!got || got.done) break;
    parts.push(got.value);
    n += got.value.length;
    if (n >= mostText) { await reader?.cancel(); break; }
  }
  const all = new Uint8Array(Math.min(n, mostText));
  let at = 0;
  for (const p of parts) { const some = p.subarray(0, all.length - at); all.set(some, at); at += some.length; }
  const total = Number(/\/(\d+)$/.exec(answer.headers.get("Content-Range") ?? "")?.[1] ?? answer.headers.get("Content-Length") ?? n);
  const cut = total > all.length;
  if (all.subarray(0, 8000).includes(0)) return { cut };
  try { return { text: new TextDecoder("utf-8", { fatal: !cut }).decode(all), cut }; } catch { return { cut }; }
}

function Text({ name, address, size, kind }: { name: string; address: string; size?: number; kind: Kind }) {
  const [raw, setRaw] = useState(false);
  const query = useQuery({ queryKey: ["file", address], meta: { still: true }, staleTime: 60_000, queryFn: ({ signal }) => beginning(address, signal) });
  return (
    <Await query={query}>{({ text, cut }) => {
      if (text === undefined) return <Empty>{m.tracking.file.binary}</Empty>;
      if (text === "") return <Empty>{m.tracking.file.empty}</Empty>;
      return (
        <div className="stack">
          {cut && <p className="small dim">{m.tracking.file.tooLarge(size === undefined ? "…" : bytes(size))}</p>}
          {kind !== "text" && <p><button type="button" className="linkb" aria-pressed={raw} onClick={() => setRaw(!raw)}>{raw ? m.tracking.file.shown : m.tracking.file.raw}</button></p>}
          {raw || kind === "text" ? <Plain name={name} text={text} /> : kind === "table" ? <Rows name={name} text={text} cut={cut} /> : kind === "json" ? <JSONText name={name} text={text} /> : <Markdown text={text} />}
        </div>
      );
    }}</Await>
  );
}

function Plain({ name, text }: { name: string; text: string }) {
  return <pre className="filetext" tabIndex={0} role="region" aria-label={m.tracking.file.preview(name)}>{text}</pre>;
}

function JSONText({ name, text }: { name: string; text: string }) {
  let shown: string | undefined;
  try { shown = JSON.stringify(JSON.parse(text), null, 2); } catch { shown = undefined; }
  return <>{shown === undefined && <p className="small dim">{m.tracking.file.badJSON}</p>}<Plain name={name} text={shown ?? text} /></>;
}

const isNumber = (s: string | undefined) => s !== undefined && s.trim() !== "" && Number.isFinite(Number(s));

function Rows({ name, text, cut: short }: { name: string; text: string; cut: boolean }) {
  const { rows, cut } = parseCSV(text, /\.tsv$/i.test(name) ? "\t" : ",");
  const [head = [], ...body] = rows;
  const whole = short && !cut ? body.slice(0, -1) : body; // the last line may be torn
  const right = head.map((_, i) => whole.length > 0 && whole.every((r) => isNumber(r[i]) || r[i] === ""));
  return (
    <>
      <p className="small dim">{m.tracking.file.rows(whole.length, cut || short)}</p>
      <div className="frame tallest" tabIndex={0} role="region" aria-label={m.tracking.file.preview(name)}>
        <table className="t"><thead><tr>{head.map((h, i) => <th key={i} scope="col" className={right[i] ? "r" : undefined}>{h}</th>)}</tr></thead><tbody>{whole.map((r, k) => <tr key={k}>{head.map((_, i) => <td key={i} className={right[i] ? "r" : undefined}>{r[i] ?? ""}</td>)}</tr>)}</tbody></table>
      </div>
    </>
  );
}
