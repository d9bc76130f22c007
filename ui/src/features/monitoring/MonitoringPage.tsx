import type { Monitor } from "../../api/types";
import { m } from "../../messages";
import { Await } from "../../ui/Await";
import { Empty } from "../../ui/Bits";
import { DataTable, type Column } from "../../ui/DataTable";
import { count } from "../../ui/format";
import { Go } from "../../ui/Go";
import { useTopics } from "../../ui/hooks";
import { Page } from "../../ui/Page";
import { paths } from "../../ui/url";
import { Plain, VerdictChip } from "../../ui/Verdict";
import { useMonitor, useMonitors } from "./api";

function State({ monitor }: { monitor: Monitor }) {
  const query = useMonitor(monitor.endpoint);
  const verdict = query.data?.verdict ?? monitor.verdict;
  return <div style={{ maxWidth: 420 }}><VerdictChip verdict={verdict?.verdict} /><div className="dim" style={{ marginTop: 4 }}><Plain>{verdict?.reasons?.[0] ?? ""}</Plain></div></div>;
}

const columns: Column<Monitor>[] = [
  { key: "endpoint", head: m.monitor.endpoint, value: (x) => x.endpoint, cell: (x) => <><Go className="rowlink" to={paths.monitoring(x.model, { endpoint: x.endpoint })}>{x.endpoint}</Go>{x.model !== x.endpoint && <div className="dim">{x.model}</div>}</> },
  { key: "verdict", head: m.models.health, cell: (x) => <State monitor={x} /> },
  { key: "reference", head: m.monitor.reference, value: (x) => x.reference?.dataset, cell: (x) => (x.reference?.dataset ? <Go to={paths.dataset(x.reference.dataset, x.reference.version)}>{x.reference.dataset} v{x.reference.version}</Go> : m.none) },
  { key: "window", head: m.monitor.windowSize, right: true, cell: (x) => m.monitor.rows(count(x.window?.rows)) },
  { key: "breach", head: m.monitor.onBreach, cell: (x) => (x.on_breach?.retrain?.pipeline ? <Go to={paths.pipeline(x.on_breach.retrain.pipeline)}>{m.monitor.retrains(x.on_breach.retrain.pipeline)}</Go> : <span className="dim">{m.monitor.alertOnly}</span>) },
];

/** Everything that is watched. */
export function MonitoringPage() {
  useTopics("monitor", "alert");
  const query = useMonitors();
  return (
    <Page title={m.monitor.title} lead={m.monitor.lead}>
      <Await query={query}>{(rows) => <DataTable boxed label={m.monitor.title} sort="sort" rows={rows} columns={columns} rowKey={(x) => x.endpoint} empty={<Empty command="keelson monitor set my-model --reference my-data:1">{m.monitor.empty}</Empty>} />}</Await>
    </Page>
  );
}
