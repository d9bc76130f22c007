import { useMutation, useQuery } from "@tanstack/react-query";
import { api, call, items } from "../../api/client";
import { usePages } from "../../api/query";
import type { Conversion } from "../../api/types";
import { useRefresh } from "../../ui/hooks";
import type { Evaluation, Model, ModelCaller, ModelUsage, Version } from "./types";

/** Models; a text with an operator is a query for the server, plain words are matched on the page. */
export function useModels(filter: string) {
  const query = /[=<>]|\blike\b/i.test(filter) ? filter : undefined;
  return usePages<Model>(["models", "list", query ?? ""], (cursor) => call(api.GET("/api/v1/models", { params: { query: { filter: query, limit: 100, cursor } } })));
}

export function useModel(name: string) {
  return useQuery<Model>({ queryKey: ["models", name], queryFn: () => call(api.GET("/api/v1/models/{name}", { params: { path: { name } } })) });
}

export function useVersions(name: string) {
  return usePages<Version>(["models", name, "versions"], (cursor) => call(api.GET("/api/v1/models/{name}/versions", { params: { path: { name }, query: { limit: 50, cursor } } })));
}

export function useVersion(name: string, v: string) {
  return useQuery<Version>({ queryKey: ["models", name, "versions", v], queryFn: () => call(api.GET("/api/v1/models/{name}/versions/{version}", { params: { path: { name, version: Number(v) } } })) });
}

export function useEvaluations(name: string, v: string) {
  return useQuery<Evaluation[]>({ queryKey: ["models", name, "versions", v, "evaluations"], queryFn: async () => items(await call(api.GET("/api/v1/models/{name}/versions/{version}/evaluations", { params: { path: { name, version: Number(v) } } }))) });
}

export function useCallers(name: string) {
  return useQuery<ModelCaller[]>({ queryKey: ["models", name, "callers"], queryFn: async () => items<ModelCaller>(await call(api.GET("/api/v1/models/{name}/callers", { params: { path: { name } } }))) });
}

/** The lighter forms of a version that were tried, newest first; asked for every second while one is being measured. */
export function useConversions(name: string, version: number) {
  return useQuery<Conversion[]>({ queryKey: ["models", name, "versions", String(version), "conversions"], refetchInterval: (q) => (q.state.data?.some((c) => c.state === "running") ? 1000 : false),
    queryFn: async () => items<Conversion>(await call(api.GET("/api/v1/models/{name}/versions/{version}/conversions", { params: { path: { name, version } } }))) });
}

export function useConvert(name: string, version: number) {
  const refresh = useRefresh("models", "audit");
  return useMutation<Conversion, Error, Conversion["wish"]>({ mutationFn: (body) => call(api.POST("/api/v1/models/{name}/versions/{version}/conversions", { params: { path: { name, version } }, body })), onSuccess: refresh });
}

/** What the model used in the last 30 days. */
export function useSpending(name: string) {
  return useQuery<ModelUsage>({ queryKey: ["models", name, "usage"], queryFn: () => call(api.GET("/api/v1/models/{name}/usage", { params: { path: { name } } })) });
}
