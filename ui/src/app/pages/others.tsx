import { DatasetPage, DataVersionPage } from "../../features/datasets/DataPages";
import { IncidentPage } from "../../features/incidents/IncidentsPage";
import { Policies } from "../../features/policies/Policies";
import { Retention } from "../../features/retention/Retention";
import { Routes } from "../../features/routes/Routes";
import { SettingsPage } from "../../features/settings/SettingsPage";
import { useMonitors } from "../../features/monitoring/api";
import { MonitoringPage } from "../../features/monitoring/MonitoringPage";
import { paths, useGo } from "../../ui/url";
import { useEffect } from "react";
import { usePart } from "./part";

export { AuditPage } from "../../features/audit/AuditPage";
export { DataPage } from "../../features/datasets/DataPages";
export { IncidentsPage } from "../../features/incidents/IncidentsPage";
export { FeedbackPage } from "../../features/feedback/FeedbackPage";
export { AlertsPage } from "../../features/monitoring/Alerts";
export { MonitoringPage };

/** The address the API has for a monitor leads to the page of its model. */
export function MonitorOne() {
  const endpoint = usePart("id");
  const go = useGo();
  const monitor = useMonitors().data?.find((x) => x.endpoint === endpoint);
  const model = monitor?.model ?? endpoint;
  const known = monitor !== undefined;
  useEffect(() => { if (known) go(paths.monitoring(model, { endpoint }), true); }, [known, model, endpoint, go]);
  return known ? null : <MonitoringPage />;
}

export const IncidentOne = () => <IncidentPage id={usePart("id")} />;
export const DatasetOne = () => <DatasetPage name={usePart("name")} />;
export const DataVersionOne = () => <DataVersionPage name={usePart("name")} v={usePart("v")} />;
export const SettingsProfile = () => <SettingsPage tab="" />;
export const SettingsUsers = () => <SettingsPage tab="users" />;
export const SettingsTokens = () => <SettingsPage tab="tokens" />;
export const SettingsRoutes = () => <SettingsPage tab="routes"><Routes /></SettingsPage>;
export const SettingsPolicies = () => <SettingsPage tab="policies"><Policies /></SettingsPage>;
export const SettingsRetention = () => <SettingsPage tab="retention"><Retention /></SettingsPage>;
