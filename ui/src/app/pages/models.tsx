/** The pages of one model: what several features know about it, put together. */
import { RequestList } from "../../features/approvals/RequestList";
import { useWaiting, VersionRequests } from "../../features/approvals/ApprovalsPage";
import { Propose } from "../../features/approvals/Propose";
import { ModelTimeline } from "../../features/audit/Entries";
import { ModelDeployments } from "../../features/deployments/DeploymentsPage";
import { ModelRollBack } from "../../features/deployments/Operate";
import { ModelFrame } from "../../features/models/ModelFrame";
import { Overview } from "../../features/models/Overview";
import { VersionPage } from "../../features/models/VersionPage";
import { Versions } from "../../features/models/Versions";
import { useModel, useVersions } from "../../features/models/api";
import { ModelExplain } from "../../features/explain/ModelExplain";
import { ModelMonitoring } from "../../features/monitoring/ModelMonitoring";
import { StartRetraining } from "../../features/pipelines/Retrain";
import { m } from "../../messages";
import { Panel } from "../../ui/Bits";
import { usePart } from "./part";

export { ModelsPage } from "../../features/models/ModelsPage";

function Actions({ name }: { name: string }) {
  const latest = useModel(name).data?.latest_version ?? 0;
  return <><ModelRollBack model={name} /><Propose model={name} latest={latest} /></>;
}

function Waiting({ name }: { name: string }) {
  const rows = useWaiting(name);
  if (rows.length === 0) return null;
  return <Panel title={m.model.waiting} id="waiting" flush><RequestList label={m.model.waiting} rows={rows} empty={null} brief /></Panel>;
}

export function ModelOverview() {
  const name = usePart("name");
  return <ModelFrame name={name} actions={<Actions name={name} />}>{(model) => <Overview model={model} timeline={<ModelTimeline model={name} limit={8} />} waiting={<Waiting name={name} />} />}</ModelFrame>;
}

export function ModelExplainTab() {
  const name = usePart("name");
  const versions = useVersions(name).data ?? [];
  return <ModelFrame name={name} tab="explain">{(model) => <ModelExplain model={name} live={(model.live ?? []).map((l) => l.version)} versions={versions} />}</ModelFrame>;
}

export function ModelVersions() {
  const name = usePart("name");
  return <ModelFrame name={name} tab="versions" actions={<Actions name={name} />}>{() => <Versions model={name} />}</ModelFrame>;
}

export function ModelDeploymentsTab() {
  const name = usePart("name");
  return <ModelFrame name={name} tab="deployments" actions={<Actions name={name} />}>{() => <ModelDeployments model={name} />}</ModelFrame>;
}

export function ModelMonitoringTab() {
  const name = usePart("name");
  return <ModelFrame name={name} tab="monitoring" actions={<Actions name={name} />}>{() => <ModelMonitoring model={name} retrain={(model, suggested) => <StartRetraining model={model} suggested={suggested} />} />}</ModelFrame>;
}

export function ModelTimelineTab() {
  const name = usePart("name");
  return <ModelFrame name={name} tab="timeline" actions={<Actions name={name} />}>{() => <Panel title={m.model.whoWhatWhen} id="timeline"><ModelTimeline model={name} /></Panel>}</ModelFrame>;
}

export function ModelVersion() {
  const name = usePart("name"), v = usePart("v");
  return <VersionPage name={name} v={v} approvals={<VersionRequests model={name} version={Number(v)} />} actions={(version) => <Propose model={name} latest={Math.max(version.version, 1)} version={version.version} why={version.state === "retired" ? m.propose.retired(version.version) : undefined} />} />;
}
