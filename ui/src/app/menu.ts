import { m } from "../messages";
import { IconAlerts, IconApprovals, IconAudit, IconBin, IconData, IconDeployments, IconExperiments, IconFeedback, IconInbox, IconIncidents, IconModels, IconMonitoring, IconPipelines, IconPredictions, IconSettings, IconTraces } from "../ui/icons";

/** The pages of the side bar, in the order of the work. */
export const menu = [
  { title: m.shell.overview, pages: [{ to: "/inbox", label: m.inbox.title, icon: IconInbox }] },
  { title: m.shell.build, pages: [{ to: "/data", label: m.data.title, icon: IconData }, { to: "/experiments", label: m.tracking.title, icon: IconExperiments }, { to: "/traces", label: m.traces.title, icon: IconTraces }, { to: "/pipelines", label: m.pipeline.title, icon: IconPipelines }] },
  { title: m.shell.operate, pages: [{ to: "/models", label: m.models.title, icon: IconModels }, { to: "/deployments", label: m.deploy.title, icon: IconDeployments }, { to: "/monitoring", label: m.monitor.title, icon: IconMonitoring }, { to: "/alerts", label: m.alerts.title, icon: IconAlerts }, { to: "/incidents", label: m.incidents.title, icon: IconIncidents }, { to: "/predictions", label: m.predict.title, icon: IconPredictions }, { to: "/feedback", label: m.watching.feedback.title, icon: IconFeedback }] },
  { title: m.shell.govern, pages: [{ to: "/approvals", label: m.approvals.title, icon: IconApprovals }, { to: "/audit", label: m.audit.title, icon: IconAudit }] },
  { title: m.settings.title, pages: [{ to: "/bin", label: m.bin.title, icon: IconBin }, { to: "/settings", label: m.settings.title, icon: IconSettings }] },
];
