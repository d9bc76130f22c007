import { Checkbox, NativeSelect } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import type { ReactNode } from "react";
import { ask } from "../../api/ask";
import type { Measured, VersionDiff as Diff } from "../../api/tracking";
import { m } from "../../messages";
import { Await } from "../../ui/Await";
import { Chip, Empty, Panel, type Tone } from "../../ui/Bits";
import { DataTable } from "../../ui/DataTable";
import { bytes, number, short } from "../../ui/format";
import { Note } from "../../ui/Note";
import { useParam } from "../../ui/url";
import { useVersions } from "./api";

const w = m.versionDiff;
const tones: Record<string, Tone> = { added: "ok", removed: "bad", changed: "warn", same: "neutral" };
const glyphs: Record<string, string> = { added: "+", removed: "−", changed: "≠", same: "=" };

/** Chooses the other version; the choice is in the address as compare. */
export function CompareChoice({ model, version }: { model: string; version: number }) {
  const [other, set] = useParam("compare");
  const versions = useVersions(model).data ?? [];
  const others = versions.filter((v) => v.version !== version);
  if (others.length === 0 && !other) return null;
  const known = others.some((v) => String(v.version) === other);
  return <NativeSelect aria-label={w.against} value={other} onChange={(e) => set(e.currentTarget.value)} data={[{ value: "", label: w.against + "…" }, ...(other && !known ? [{ value: other, label: `v${other}` }] : []), ...others.map((v) => ({ value: String(v.version), label: `v${v.version}${(v.deployed ?? []).length ? ` (${(v.deployed ?? []).join(", ")})` : ""}` }))]} />;
}

interface Row { id: string; name: ReactNode; change: string; before: ReactNode; after: ReactNode; delta?: ReactNode }

/** What is different between a version and the one that the address names. */
export function VersionDiff({ model, version }: { model: string; version: number }) {
  const [other] = useParam("compare");
  const query = useQuery({ queryKey: ["models", model, "diff", version, other], enabled: /^\d+$/.test(other), queryFn: ({ signal }) => ask<Diff>("GET", `/api/v1/models/${encodeURIComponent(model)}/versions/${version}/diff`, { query: { with: other }, signal }) });
  if (!/^\d+$/.test(other)) return null;
  return <Await query={query} lines={8}>{(d) => <Shown diff={d} />}</Await>;
}

const value = (v: Measured | null) => (v === null ? "" : typeof v === "number" ? number(v, 6) : v);

function rowsOf(d: Diff): [string, Row[]][] {
  const side = (s: { digest: string; size: number } | null) => (s ? <span title={s.digest}>{bytes(s.size)} · <code>{short(s.digest)}</code></span> : "");
  return [
    [w.sections.metrics, (d.metrics ?? []).map((x) => ({ id: x.name, name: x.name, change: x.change, before: value(x.before), after: value(x.after), delta: typeof x.delta === "number" ? (x.delta > 0 ? "+" : "") + number(x.delta, 6) : value(x.delta) }))],
    [w.sections.params, (d.params ?? []).map((x) => ({ id: x.name, name: x.name, change: x.change, before: x.before, after: x.after }))],
    [w.sections.signature, (d.signature ?? []).map((x) => ({ id: x.part + x.name, name: <>{x.name} <span className="dim small">{w.parts[x.part] ?? x.part}</span></>, change: x.change, before: <code>{x.before}</code>, after: <code>{x.after}</code> }))],
    [w.sections.dependencies, (d.dependencies ?? []).map((x) => ({ id: x.kind + x.name, name: <>{x.name} <span className="dim small">{m.dependencyKind[x.kind] ?? x.kind}</span></>, change: x.change, before: x.before, after: x.after }))],
    [w.sections.files, (d.files ?? []).map((x) => ({ id: x.path, name: <code>{x.path}</code>, change: x.change, before: side(x.before), after: side(x.after) }))],
    [w.sections.record, (d.record ?? []).map((x) => ({ id: x.name, name: x.name, change: x.change, before: x.before, after: x.after }))],
    [w.sections.tags, (d.tags ?? []).map((x) => ({ id: x.name, name: x.name, change: x.change, before: x.before, after: x.after }))],
  ];
}

function Shown({ diff: d }: { diff: Diff }) {
  const [all, setAll] = useParam("all");
  const before = d.with_model === d.model ? `v${d.with}` : `${d.with_model} v${d.with}`, after = `v${d.version}`;
  const sections = rowsOf(d).map(([title, rows]): [string, Row[], number] => [title, rows, rows.filter((r) => r.change !== "same").length]);
  const shown = sections.filter(([, rows, n]) => (all === "1" ? rows.length : n) > 0);
  return (
    <section className="stack gap16" aria-label={w.title}>
      <div className="row between"><h2>{w.from(before, after)}</h2><Checkbox label={w.onlyDifferences} checked={all !== "1"} onChange={(e) => setAll(e.currentTarget.checked ? "" : "1")} /></div>
      {(d.same || d.same_content) && <Note tone="ok" title={d.same ? w.sameFile : w.sameContent} />}
      {shown.length === 0 && <div className="panel"><Empty>{w.nothing}</Empty></div>}
      {shown.map(([title, rows, n]) => {
        const numeric = title === w.sections.metrics;
        return (
          <Panel key={title} title={<>{title} <span className="dim small num">{w.changed(n, rows.length)}</span></>} id={`diff-${title}`} flush>
            <div className="tallest"><DataTable label={`${w.title}: ${title}`} rows={rows.filter((r) => all === "1" || r.change !== "same")} rowKey={(r) => r.id} columns={[
              { key: "c", head: w.change, cell: (r) => <Chip tone={tones[r.change]} glyph={glyphs[r.change]}>{w.changes[r.change] ?? r.change}</Chip> },
              { key: "n", head: w.what, cell: (r) => <span className="wrap">{r.name}</span> },
              { key: "b", head: before, right: numeric, cell: (r) => (numeric ? r.before : <span className={`wrap${r.change === "changed" || r.change === "removed" ? " diff-b" : ""}`}>{r.before}</span>) },
              { key: "a", head: after, right: numeric, cell: (r) => (numeric ? <b>{r.after}</b> : <span className={`wrap${r.change === "changed" || r.change === "added" ? " diff-a" : ""}`}>{r.after}</span>) },
              ...(numeric ? [{ key: "d", head: w.delta, right: true, cell: (r: Row) => r.delta }] : []),
            ]} /></div>
          </Panel>
        );
      })}
    </section>
  );
}
