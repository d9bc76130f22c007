import { useMutation, useQuery } from "@tanstack/react-query";
import { api, call, items, prefix } from "../../api/client";
import { asProblem, Problem } from "../../api/problem";
import { usePages } from "../../api/query";
import type { CallForm, Deployment, LogLine, TrafficDocument, TrafficSummary } from "../../api/types";
import { useRefresh } from "../../ui/hooks";

export function useDeployments() {
  return useQuery<Deployment[]>({ queryKey: ["deployments", "list"], queryFn: async () => items(await call(api.GET("/api/v1/deployments", { params: { query: { limit: 1000 } } }))) });
}

export function useDeployment(endpoint: string) {
  return useQuery<Deployment>({ queryKey: ["deployments", endpoint], queryFn: () => call(api.GET("/api/v1/deployments/{endpoint}", { params: { path: { endpoint } } })) });
}

/** How all endpoints were called in the last hour, by endpoint; renewed by itself. */
export function useSummaries() {
  return useQuery<Map<string, TrafficSummary>>({ queryKey: ["traffic", "all"], refetchInterval: 10_000, meta: { still: true }, queryFn: async () => new Map(items(await call(api.GET("/api/v1/traffic"))).map((s) => [s.endpoint, s])) });
}

/** The spans that can be shown, in milliseconds. */
export const spans: Record<string, number> = { "15m": 9e5, "1h": 36e5, "6h": 216e5, "24h": 864e5, "7d": 6048e5, "30d": 2592e6 };

/** How an endpoint was called in a span that ends now, or at `until` when that is set; renewed by itself until then. */
export function useTraffic(endpoint: string, range: string, until: number | null) {
  const span = spans[range] ?? spans["1h"];
  return useQuery<TrafficDocument>({
    queryKey: ["traffic", endpoint, range, until], placeholderData: (old) => old, meta: { still: true }, refetchInterval: until ? false : span <= spans["1h"] ? 5_000 : 30_000, staleTime: 4_000,
    queryFn: () => {
      const end = until ?? Date.now();
      return call(api.GET("/api/v1/deployments/{endpoint}/traffic", { params: { path: { endpoint }, query: { since: new Date(end - span).toISOString(), until: new Date(end).toISOString() } } }));
    },
  });
}

export interface LogFilter { level: string; text: string; since?: string; until?: string }

export function useLines(endpoint: string, filter: LogFilter) {
  return usePages<LogLine>(["lines", endpoint, filter], (cursor) => call(api.GET("/api/v1/deployments/{endpoint}/log", { params: { path: { endpoint }, query: { level: (filter.level || undefined) as LogLine["level"] | undefined, text: filter.text || undefined, since: filter.since, until: filter.until, limit: 100, cursor } } })));
}

export function useForm(endpoint: string, version: string) {
  return useQuery<CallForm>({ queryKey: ["form", endpoint, version], meta: { still: true }, queryFn: () => call(api.GET("/api/v1/deployments/{endpoint}/form", { params: { path: { endpoint }, query: { version: version ? Number(version) : undefined } } })) });
}

/** A tensor of the Open Inference Protocol. */
export interface Tensor { name: string; shape: number[]; datatype: string; data: unknown[] }
export interface InferRequest { inputs: Tensor[]; parameters?: Record<string, unknown> }
interface Reason { row: number; base: number; total: number; rest: number; features: { name: string; value: unknown; contribution: number; words: string }[] | null }
export interface InferAnswer { model_name: string; model_version: string; outputs: Tensor[]; parameters?: { prediction_id?: string; explanation?: { method: string; unit: string; rows: Reason[] | null } } }
export interface Answered { body: InferAnswer; took: number; prediction: string; request: string }

export const inferPath = (endpoint: string, version: string) => `/v2/models/${encodeURIComponent(endpoint)}${version ? `/versions/${version}` : ""}/infer`;

/** Sends a request to an endpoint. A refusal is a Problem whose field is the place that the protocol's words name. */
export function useInfer(endpoint: string, version: string) {
  return useMutation<Answered, Error, string>({
    mutationFn: async (body) => {
      const begin = performance.now();
      let response: Response, text: string;
      try {
        response = await fetch(new Request(new URL(prefix + inferPath(endpoint, version), location.href), { method: "POST", credentials: "same-origin", headers: { "Content-Type": "application/json" }, body }));
        text = await response.text();
      } catch (error) { throw asProblem(error); }
      const took = performance.now() - begin;
      const request = response.headers.get("X-Request-Id") ?? "";
      let doc: unknown;
      try { doc = JSON.parse(text); } catch { doc = {}; }
      if (!response.ok) {
        const d = doc as { error?: string; detail?: string };
        const detail = d.error ?? d.detail ?? response.statusText;
        throw new Problem({ status: response.status, title: response.statusText, detail, request, field: /\(at ([^)]+)\)/.exec(detail)?.[1] });
      }
      const answer = doc as InferAnswer;
      return { body: answer, took, request, prediction: response.headers.get("Keelson-Prediction-Id") ?? answer.parameters?.prediction_id ?? "" };
    },
  });
}

export type Verb = "advance" | "rollback" | "suspend" | "resume";

export function useOperate(endpoint: string, verb: Verb) {
  const refresh = useRefresh("deployments", "models", "audit", "approvals", "traffic");
  const init = (reason: string) => ({ params: { path: { endpoint } }, body: { reason } });
  return useMutation<Deployment, Error, string>({
    mutationFn: (reason) => {
      switch (verb) {
        case "advance": return call(api.POST("/api/v1/deployments/{endpoint}/advance", init(reason)));
        case "rollback": return call(api.POST("/api/v1/deployments/{endpoint}/rollback", init(reason)));
        case "suspend": return call(api.POST("/api/v1/deployments/{endpoint}/suspend", init(reason)));
        case "resume": return call(api.POST("/api/v1/deployments/{endpoint}/resume", init(reason)));
      }
    },
    onSuccess: refresh,
  });
}
