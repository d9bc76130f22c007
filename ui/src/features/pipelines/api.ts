import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useEffect, useState } from "react";
import { api, call, items } from "../../api/client";
import { usePages } from "../../api/query";
import type { Pipeline, PipelineRun } from "../../api/types";
import { useRefresh } from "../../ui/hooks";

export function usePipelines() {
  return useQuery<Pipeline[]>({ queryKey: ["pipelines", "list"], queryFn: async () => items(await call(api.GET("/api/v1/pipelines"))) });
}

export function usePipeline(name: string) {
  return useQuery<Pipeline>({ queryKey: ["pipelines", name], queryFn: () => call(api.GET("/api/v1/pipelines/{name}", { params: { path: { name } } })) });
}

export function useRuns(name: string) {
  return usePages<PipelineRun>(["pipelines", name, "runs"], (cursor) => call(api.GET("/api/v1/pipelines/{name}/runs", { params: { path: { name }, query: { limit: 30, cursor } } })));
}

export const over = (state?: string) => state === "succeeded" || state === "failed" || state === "cancelled";

/** One run; while it lasts it is also asked for every two seconds, in case the live link is down. */
export function useRun(id: string) {
  return useQuery<PipelineRun>({ queryKey: ["pipeline-runs", id], queryFn: () => call(api.GET("/api/v1/pipeline-runs/{id}", { params: { path: { id } } })), refetchInterval: (q) => (over(q.state.data?.state) ? false : 2000) });
}

export function useStart(name: string) {
  const refresh = useRefresh("pipelines", "pipeline-runs");
  return useMutation({ mutationFn: () => call(api.POST("/api/v1/pipelines/{name}/runs", { params: { path: { name } }, body: {} })), onSuccess: refresh });
}

export function useRunAction(id: string, verb: "cancel" | "retry") {
  const refresh = useRefresh("pipelines", "pipeline-runs");
  return useMutation<PipelineRun, Error>({
    mutationFn: () => call(verb === "cancel" ? api.POST("/api/v1/pipeline-runs/{id}/cancel", { params: { path: { id } } }) : api.POST("/api/v1/pipeline-runs/{id}/retry", { params: { path: { id } } })),
    onSuccess: refresh,
  });
}

/** The log of a step as it grows: each answer says from where to go on. `attempt` starts it anew. */
export function useLog(run: string, step: string, attempt: number, waiting: boolean) {
  const client = useQueryClient();
  const [state, setState] = useState<{ text: string; done: boolean; error: unknown }>({ text: "", done: false, error: null });
  useEffect(() => {
    let stopped = false;
    let timer: ReturnType<typeof setTimeout> | undefined;
    let offset = 0, text = "";
    setState({ text: "", done: false, error: null });
    const next = async () => {
      try {
        const got = await call(api.GET("/api/v1/pipeline-runs/{id}/steps/{step}/log", { params: { path: { id: run, step }, query: { offset } } }));
        if (stopped) return;
        text += got.text;
        const grown = got.offset > offset;
        offset = got.offset;
        setState({ text, done: got.done, error: null });
        if (!got.done) timer = setTimeout(next, grown ? 150 : 1000);
        else void client.invalidateQueries({ queryKey: ["pipeline-runs", run] });
      } catch (error) {
        if (stopped) return;
        setState({ text, done: false, error });
        timer = setTimeout(next, 5000);
      }
    };
    if (!waiting) void next();
    return () => { stopped = true; clearTimeout(timer); };
  }, [run, step, attempt, waiting, client]);
  return state;
}
