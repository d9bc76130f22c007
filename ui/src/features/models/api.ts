import { useQuery } from "@tanstack/react-query";
import { api, call, items } from "../../api/client";
import { usePages } from "../../api/query";
import type { Evaluation, Model, ModelCaller, Version } from "./types";

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
