import { useMutation, useQuery } from "@tanstack/react-query";
import { api, call, items } from "../../api/client";
import type { AlertPolicy } from "../../api/types";
import { useRefresh } from "../../ui/hooks";

export function usePolicies() {
  return useQuery<AlertPolicy[]>({ queryKey: ["alert-policies"], queryFn: async () => (await call(api.GET("/api/v1/alert-policies"))) ?? [] });
}

export function useVersionsOf(model: string) {
  return useQuery<AlertPolicy[]>({ queryKey: ["alert-policies", "versions", model], queryFn: async () => (await call(api.GET("/api/v1/alert-policy/versions", { params: { query: { model } } }))) ?? [] });
}

/** Names that a form offers; an empty list where the person may not see them. */
export function useNames(of: "models" | "pipelines" | "routes") {
  return useQuery<string[]>({
    queryKey: ["names", of], retry: false, staleTime: 30_000,
    queryFn: async () => {
      switch (of) {
        case "models": return items(await call(api.GET("/api/v1/models", { params: { query: { limit: 1000 } } }))).map((x) => x.name);
        case "pipelines": return items(await call(api.GET("/api/v1/pipelines"))).map((x) => x.name);
        case "routes": return items(await call(api.GET("/api/v1/alert-routes", { params: { query: { limit: 200 } } }))).map((x) => x.name);
      }
    },
  }).data ?? [];
}

type Body = Partial<Pick<AlertPolicy, "windows" | "good" | "min_rows" | "min_importance" | "error_rate" | "p95_ms" | "min_calls" | "close" | "note" | "version">> & { escalate?: AlertPolicy["escalate"]; actions?: AlertPolicy["actions"] };

/** The part of a policy that may be set. */
export const settable = (p: AlertPolicy): Body => ({ windows: p.windows, good: p.good, min_rows: p.min_rows, min_importance: p.min_importance, error_rate: p.error_rate, p95_ms: p.p95_ms, min_calls: p.min_calls, close: p.close, escalate: p.escalate ?? [], actions: p.actions ?? [] });

/** Makes the next version of a policy; with `version` only when that one still holds. */
export function useSave() {
  const refresh = useRefresh("alert-policies", "audit");
  return useMutation({ mutationFn: ({ model, ...body }: Body & { model: string }) => call(api.PUT("/api/v1/alert-policy", { params: { query: { model } }, body: { ...body, escalate: body.escalate ?? undefined, actions: body.actions ?? undefined } })), onSuccess: refresh });
}

export function useDrop() {
  const refresh = useRefresh("alert-policies", "audit");
  return useMutation({ mutationFn: (model: string) => call(api.DELETE("/api/v1/alert-policy", { params: { query: { model } } })), onSuccess: refresh });
}
