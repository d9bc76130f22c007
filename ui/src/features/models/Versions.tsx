import { m } from "../../messages";
import { Await } from "../../ui/Await";
import { Chip, Empty, Id, Time, type Tone } from "../../ui/Bits";
import { DataTable, type Column } from "../../ui/DataTable";
import { bytes } from "../../ui/format";
import { Go } from "../../ui/Go";
import { paths } from "../../ui/url";
import { useVersions } from "./api";
import type { Version } from "./types";

const tones: Record<string, Tone> = { ready: "ok", pending: "info", failed: "bad", retired: "neutral", passed: "ok", running: "info", none: "neutral" };

export function StateChip({ state }: { state: Version["state"] }) {
  return <Chip tone={tones[state]} glyph={state === "retired" ? "⊘" : undefined}>{m.versionState[state] ?? state}</Chip>;
}

export function EvaluationChip({ evaluation }: { evaluation: Version["evaluation"] }) {
  const state = evaluation?.state || "none";
  return <Chip tone={tones[state]}>{m.evaluationState[state] ?? state}</Chip>;
}

/** All versions of a model, newest first as the server gives them. */
export function Versions({ model }: { model: string }) {
  const query = useVersions(model);
  const columns: Column<Version>[] = [
    { key: "version", head: m.version.version, value: (v) => v.version, cell: (v) => <Go className="rowlink" to={paths.version(model, v.version)}>v{v.version}</Go> },
    { key: "state", head: m.version.state, value: (v) => v.state, cell: (v) => <StateChip state={v.state} /> },
    { key: "evaluation", head: m.version.evaluation, value: (v) => v.evaluation?.state, cell: (v) => <EvaluationChip evaluation={v.evaluation} /> },
    { key: "deployed", head: m.version.deployed, value: (v) => (v.deployed ?? []).join(" "), cell: (v) => ((v.deployed ?? []).length ? (v.deployed ?? []).join(", ") : <span className="dim">{m.none}</span>) },
    { key: "aliases", head: m.version.aliases, value: (v) => (v.aliases ?? []).join(" "), cell: (v) => <span className="row">{(v.aliases ?? []).map((a) => <span className="tag" key={a}>{a}</span>)}</span> },
    { key: "format", head: m.version.format, value: (v) => v.format, cell: (v) => v.format },
    { key: "size", head: m.version.size, value: (v) => v.size, right: true, cell: (v) => bytes(v.size) },
    { key: "digest", head: m.version.digest, cell: (v) => <Id value={v.artifact_digest} what={m.version.digest} /> },
    { key: "by", head: m.version.by, value: (v) => v.created_by, cell: (v) => v.created_by },
    { key: "created", head: m.created, value: (v) => v.created_at, cell: (v) => <Time at={v.created_at} /> },
  ];
  return <Await query={query}>{(rows) => <DataTable boxed sort="sort" label={m.model.versions} rows={rows} columns={columns} rowKey={(v) => String(v.version)} more={query.more} empty={<Empty command={`keelson version create ${model} model.json`}>{m.version.empty}</Empty>} />}</Await>;
}
