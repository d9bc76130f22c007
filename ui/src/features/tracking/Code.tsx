import { useQuery } from "@tanstack/react-query";
import type { RunDocument } from "../../api/tracking";
import { m } from "../../messages";
import { Chip, Empty, Facts, Id, Panel } from "../../ui/Bits";
import { DataTable } from "../../ui/DataTable";
import { fileAddress, findFiles } from "./api";

/** What the code was and what it ran on: from the tags of the client and from the environment files among the artifacts. */
export function Code({ run }: { run: RunDocument }) {
  const tags = run.tags ?? {};
  const source = tags["mlflow.source.name"], commit = run.source?.commit;
  const client = Object.entries(tags).filter(([k]) => k.startsWith("mlflow.") && k !== "mlflow.note.content" && k !== "mlflow.log-model.history").sort(([a], [b]) => a.localeCompare(b));
  const env = useQuery({ queryKey: ["runs", "environment", run.id, run.models], meta: { still: true }, queryFn: ({ signal }) => environment(run, signal) });
  const packages = env.data?.packages ?? [];
  return (
    <div className="grid2">
      <Panel title={m.tracking.code.source} id="source">
        {source || commit ? <Facts rows={[[m.tracking.sourceName, source && <code key="s" className="wrap">{source}</code>], [m.tracking.repository, run.source?.repository && <span key="r" className="wrap">{run.source.repository}</span>], [m.tracking.branch, tags["mlflow.source.git.branch"]], [m.tracking.commit, commit ? <span key="c" className="row"><Id value={commit} what={m.commit} />{run.source.dirty ? <Chip tone="warn">{m.dirty}</Chip> : <Chip tone="ok">{m.clean}</Chip>}</span> : undefined], [m.tracking.entryPoint, tags["mlflow.project.entryPoint"]]]} /> : <p className="dim">{m.tracking.code.noSource}</p>}
      </Panel>
      <Panel title={m.tracking.code.environment} id="environment">
        <Facts rows={[[m.tracking.code.lock, run.environment?.digest ? <Id key="l" value={run.environment.digest} what={m.version.digest} /> : undefined], [m.tracking.code.python, env.data?.python]]} />
        {env.isSuccess && packages.length === 0 && !run.environment?.digest && <p className="dim">{m.tracking.code.noEnvironment}</p>}
      </Panel>
      {packages.length > 0 && <Panel title={m.tracking.code.packages} id="packages" flush><div className="tallest"><DataTable label={m.tracking.code.packages} rows={packages} rowKey={(p) => p.text} columns={[{ key: "n", head: m.name, cell: (p) => <code className="wrap">{p.name}</code> }, { key: "v", head: m.version.version, cell: (p) => <span className="mono wrap">{p.version}</span> }]} /></div><p className="small dim" style={{ padding: "8px 12px" }}>{m.tracking.code.from(env.data?.file ?? "")}</p></Panel>}
      <Panel title={m.tracking.code.client} id="client" flush><DataTable label={m.tracking.code.client} rows={client} rowKey={(e) => e[0]} empty={<Empty>{m.tracking.noTags}</Empty>} columns={[{ key: "k", head: m.name, cell: (e) => <span className="wrap">{e[0]}</span> }, { key: "v", head: m.version.value, cell: (e) => <span className="wrap clamp">{e[1]}</span> }]} /></Panel>
    </div>
  );
}

export interface Package { name: string; version: string; text: string }

/** The packages of a requirements file: "name", what is asked of its version, and the line; comments and options are left out. */
export function requirements(text: string): Package[] {
  return text.split("\n").map((l) => l.replace(/(^|\s)#.*$/, "").trim()).filter((l) => l && !l.startsWith("-")).map((line) => {
    const found = /^([A-Za-z0-9._-]+(?:\[[^\]]*\])?)\s*(?:==\s*)?(.*)$/.exec(line);
    return { name: found?.[1] ?? line, version: found?.[2]?.trim() ?? "", text: line };
  });
}

async function environment(run: RunDocument, signal: AbortSignal): Promise<{ packages: Package[]; python?: string; file?: string }> {
  const read = async (f: { model: string; path: string } | undefined) => {
    if (!f) return "";
    const answer = await fetch(fileAddress(run.id, f.model, f.path), { credentials: "same-origin", signal, headers: { Range: "bytes=0-262143" } });
    return answer.ok ? answer.text() : "";
  };
  const files = findFiles(run);
  const list = files.find((f) => /(^|\/)requirements\.txt$/.test(f.path));
  const python = files.find((f) => /(^|\/)python_env\.ya?ml$/.test(f.path));
  const [packages, env] = await Promise.all([read(list), read(python)]);
  return { packages: requirements(packages), python: /^python:\s*['"]?([\w.]+)/m.exec(env)?.[1], file: list?.path };
}
