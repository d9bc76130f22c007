import { useMutation, useQuery } from "@tanstack/react-query";
import { api, call, items } from "../../api/client";
import { usePages } from "../../api/query";
import type { Alert, Monitor, MonitorState, Window } from "../../api/types";
import { useRefresh } from "../../ui/hooks";

export function useMonitors() {
  return useQuery<Monitor[]>({ queryKey: ["monitors", "list"], queryFn: async () => items(await call(api.GET("/api/v1/monitors", { params: { query: { limit: 200 } } }))) });
}

export function useMonitor(endpoint: string) {
  return useQuery<MonitorState>({ queryKey: ["monitors", endpoint], queryFn: () => call(api.GET("/api/v1/monitors/{endpoint}", { params: { path: { endpoint } } })) });
}

export function useWindow(endpoint: string, id?: string) {
  return useQuery<Window>({ queryKey: ["monitors", endpoint, "windows", id], enabled: !!id, staleTime: 60_000, queryFn: () => call(api.GET("/api/v1/monitors/{endpoint}/windows/{id}", { params: { path: { endpoint, id: id! } } })) });
}

/** Makes a window what later ones are compared with, with a reason and, where it is not for good, an end. */
export function useAccept(endpoint: string) {
  const refresh = useRefresh("monitors", "alerts", "audit");
  return useMutation({ mutationFn: (body: { window: string; reason: string; until?: string }) => call(api.POST("/api/v1/monitors/{endpoint}/accept", { params: { path: { endpoint } }, body })), onSuccess: refresh });
}

export function useCompareWithTraining(endpoint: string) {
  const refresh = useRefresh("monitors", "alerts", "audit");
  return useMutation({ mutationFn: () => call(api.PUT("/api/v1/monitors/{endpoint}", { params: { path: { endpoint } }, body: { against: { kind: "training" } } })), onSuccess: refresh });
}

/** Share of each input in what moves the answers of a version, 0..1, as last studied; empty while nobody studied it. */
export function useWeights(model: string, version: number) {
  return useQuery({ queryKey: ["models", model, "study", version], enabled: version > 0, staleTime: 60_000, retry: false, queryFn: () => call(api.GET("/api/v1/models/{name}/versions/{version}/study", { params: { path: { name: model, version } } })),
    select: (x) => new Map((x.study?.features ?? []).map((f) => [f.name, f.share])) });
}

/** The state of a version, asked for only where the number is above 0. */
export function useVersionState(model: string, version: number) {
  return useQuery({ queryKey: ["models", model, "versions", String(version)], enabled: version > 0, queryFn: () => call(api.GET("/api/v1/models/{name}/versions/{version}", { params: { path: { name: model, version } } })), select: (v) => v.state });
}

export const states = ["open", "acknowledged", "silenced", "recovered"] as const;

export function useAlerts(state: string) {
  return usePages<Alert>(["alerts", state], (cursor) => call(api.GET("/api/v1/alerts", { params: { query: { state: states.find((x) => x === state), limit: 100, cursor } } })));
}

export function useAck(id: string) {
  const refresh = useRefresh("alerts", "incidents", "monitors", "audit");
  return useMutation({ mutationFn: (reason: string) => call(api.POST("/api/v1/alerts/{id}/ack", { params: { path: { id } }, body: { reason } })), onSuccess: refresh });
}

export function useSilence(id: string) {
  const refresh = useRefresh("alerts", "incidents", "monitors", "audit");
  return useMutation({ mutationFn: (body: { reason: string; until: string }) => call(api.POST("/api/v1/alerts/{id}/silence", { params: { path: { id } }, body })), onSuccess: refresh });
}

export function useRelease(id: string) {
  const refresh = useRefresh("alerts", "incidents", "monitors", "audit");
  return useMutation({ mutationFn: (reason: string) => call(api.POST("/api/v1/alerts/{id}/release", { params: { path: { id } }, body: { reason } })), onSuccess: refresh });
}
