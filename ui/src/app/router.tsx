import { createRootRoute, createRoute, createRouter, lazyRouteComponent } from "@tanstack/react-router";
import type { ComponentType } from "react";
import { prefix } from "../api/client";
import { Skeleton } from "../ui/Await";
import { Home, NotFound } from "./pages/Home";
import { Shell } from "./Shell";

const root = createRootRoute({ component: Shell, notFoundComponent: NotFound });

type Load = () => Promise<Record<string, ComponentType>>;
const page = (path: string, load: Load, name: string) => createRoute({ getParentRoute: () => root, path, component: lazyRouteComponent(load, name) });

const m = () => import("./pages/models") as unknown as Promise<Record<string, ComponentType>>;
const o = () => import("./pages/others") as unknown as Promise<Record<string, ComponentType>>;
const a = () => import("./pages/approvals") as unknown as Promise<Record<string, ComponentType>>;
const p = () => import("./pages/pipelines") as unknown as Promise<Record<string, ComponentType>>;
const t = () => import("./pages/tracking") as unknown as Promise<Record<string, ComponentType>>;
const s = () => import("./pages/serving") as unknown as Promise<Record<string, ComponentType>>;

const tree = root.addChildren([
  createRoute({ getParentRoute: () => root, path: "/", component: Home }),
  page("/models", m, "ModelsPage"), page("/models/$name", m, "ModelOverview"), page("/models/$name/versions", m, "ModelVersions"), page("/models/$name/versions/$v", m, "ModelVersion"),
  page("/models/$name/deployments", m, "ModelDeploymentsTab"), page("/models/$name/monitoring", m, "ModelMonitoringTab"), page("/models/$name/explain", m, "ModelExplainTab"), page("/models/$name/timeline", m, "ModelTimelineTab"),
  page("/approvals", a, "ApprovalsPage"), page("/approvals/$id", a, "Approval"), page("/approvals/$id/changes", a, "Approval"), page("/inbox", a, "InboxPage"),
  page("/pipelines", p, "PipelinesPage"), page("/pipelines/$name", p, "PipelineOne"), page("/pipelines/$name/runs/$id", p, "PipelineRunOne"),
  page("/deployments", s, "DeploymentsPage"), page("/deployments/$id", s, "DeploymentOne"),
  page("/monitoring", o, "MonitoringPage"), page("/monitors/$id", o, "MonitorOne"), page("/alerts", o, "AlertsPage"), page("/incidents", o, "IncidentsPage"), page("/incidents/$id", o, "IncidentOne"),
  page("/predictions", s, "PredictionsPage"), page("/predictions/$id", s, "PredictionOne"),
  page("/data", o, "DataPage"), page("/data/$name", o, "DatasetOne"), page("/data/$name/$v", o, "DataVersionOne"),
  page("/experiments", t, "ExperimentsPage"), page("/experiments/$id", t, "ExperimentOne"), page("/runs/$id", t, "TrackingRunOne"), page("/compare", t, "ComparePage"), page("/bin", t, "BinPage"), page("/traces", t, "TracesPage"), page("/traces/$id", t, "TraceOne"),
  page("/audit", o, "AuditPage"),
  page("/settings", o, "SettingsProfile"), page("/settings/users", o, "SettingsUsers"), page("/settings/tokens", o, "SettingsTokens"), page("/settings/routes", o, "SettingsRoutes"), page("/settings/policies", o, "SettingsPolicies"), page("/settings/retention", o, "SettingsRetention"), page("/feedback", o, "FeedbackPage"),
]);

export const router = createRouter({
  routeTree: tree,
  basepath: prefix || "/",
  parseSearch: (text) => Object.fromEntries(new URLSearchParams(text)),
  stringifySearch: (values: Record<string, unknown>) => { const text = new URLSearchParams(values as Record<string, string>).toString(); return text ? "?" + text : ""; },
  defaultPendingComponent: () => <Skeleton lines={8} />,
  defaultPendingMs: 200,
  scrollRestoration: true,
});

