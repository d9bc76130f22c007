import type { RunDocument } from "../../api/tracking";
import { m } from "../../messages";
import { Await } from "../../ui/Await";
import { Empty, Panel } from "../../ui/Bits";
import { DataTable } from "../../ui/DataTable";
import { bytes } from "../../ui/format";
import { Go } from "../../ui/Go";
import { IconDownload, IconFile, IconFolder } from "../../ui/icons";
import { paths, useParam } from "../../ui/url";
import { query } from "../../ui/url";
import { fileAddress, useFolder } from "./api";
import { Preview } from "./Preview";

interface Row { path: string; name: string; folder: boolean; size?: number; to: string }

/** The files of a run and of the models it logged: folders at the left, a look into the chosen file at the right. */
export function Artifacts({ run }: { run: RunDocument }) {
  const [folder] = useParam("folder");
  const [model] = useParam("model");
  const [file] = useParam("file");
  const list = useFolder(run.id, model, folder);
  const here = (more: Record<string, string>) => paths.trackingRun(run.id) + query({ tab: "artifacts", model, folder, ...more });
  const models = run.models ?? [];
  const up = folder.includes("/") ? folder.slice(0, folder.lastIndexOf("/")) : "";
  const size = list.data?.find((f) => f.path === file)?.file_size;
  const bare = list.data?.length === 0 && models.length === 0 && !folder;
  return (
    <div className={bare && !file ? undefined : "split"}>
      <Panel title={<Where run={run} model={model} folder={folder} here={here} />} id="files" flush>
        <Await query={list}>{(files) => {
          const rows: Row[] = [
            ...(folder || model ? [{ path: "..", name: m.tracking.file.up, folder: true, to: folder ? here({ folder: up, file: "" }) : here({ folder: "", model: "", file: "" }) }] : []),
            ...files.map((f): Row => ({ path: f.path, name: f.path.slice(f.path.lastIndexOf("/") + 1), folder: f.is_dir, size: f.file_size === undefined ? undefined : Number(f.file_size), to: f.is_dir ? here({ folder: f.path, file: "" }) : here({ file: f.path }) })).sort((a, b) => Number(b.folder) - Number(a.folder) || a.name.localeCompare(b.name, undefined, { numeric: true })),
            ...(!folder && !model ? models.map((id): Row => ({ path: "models:/" + id, name: id, folder: true, to: here({ model: id, file: "" }) })) : []),
          ];
          return <DataTable label={m.tracking.file.list} rows={rows.slice(0, 1000)} rowKey={(r) => r.path} selected={(r) => r.path === file} empty={<Empty>{m.tracking.noArtifacts}</Empty>} columns={[
            { key: "n", head: m.name, cell: (r) => <Go to={r.to} className="filelink">{r.folder ? <IconFolder size={16} aria-label={m.tracking.file.folder} /> : <IconFile size={16} aria-hidden="true" />}<span className="wrap">{r.name}</span></Go> },
            { key: "s", head: m.version.size, right: true, cell: (r) => (r.size === undefined ? "" : bytes(r.size)) },
          ]} />;
        }}</Await>
      </Panel>
      {(file || !bare) && <Panel title={file ? file.slice(file.lastIndexOf("/") + 1) : undefined} id="preview" actions={file ? <a className="linkb row" href={fileAddress(run.id, model, file)} download><IconDownload size={15} aria-hidden="true" />{m.tracking.file.download}</a> : undefined}>
        {file ? <Preview key={model + file} name={file} address={fileAddress(run.id, model, file)} size={size === undefined ? undefined : Number(size)} /> : <Empty>{m.tracking.file.choose}</Empty>}
      </Panel>}
    </div>
  );
}

function Where({ run, model, folder, here }: { run: RunDocument; model: string; folder: string; here: (more: Record<string, string>) => string }) {
  const parts = folder.split("/").filter(Boolean);
  if (parts.length === 0 && !model) return <>{m.tracking.artifacts}</>;
  return <span className="wrap"><Go to={paths.trackingRun(run.id) + "?tab=artifacts"}>{m.tracking.artifacts}</Go>{model && <> / <Go to={here({ folder: "", file: "" })}>{model}</Go></>}{parts.map((p, i) => <span key={i}> / <Go to={here({ folder: parts.slice(0, i + 1).join("/"), file: "" })}>{p}</Go></span>)}</span>;
}
