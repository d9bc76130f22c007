import { keepPreviousData, useInfiniteQuery, useMutation, useQuery, useQueryClient, type InfiniteData } from "@tanstack/react-query";
import { useMemo } from "react";
import { address, ask } from "../../api/ask";
import { items } from "../../api/client";
import type { ArtifactEntry, Compared, Completed, Experiment, MetricKey, Page, RunColumns, RunDocument, RunRow, Series } from "../../api/tracking";
import type { Completion } from "../../ui/grid/FilterQuery";
import { containing, isQuery } from "../../ui/grid/query";

const one = (id: string) => encodeURIComponent(id);

/** A typed filter as the server wants it: plain words are looked for in the name. */
export const asFilter = (text: string, attribute: string) => (!text.trim() ? undefined : isQuery(text) ? text : containing(attribute, text));

/** "-metrics.acc" as "metrics.acc DESC". */
export const asOrder = (sort: string) => (sort ? (sort.startsWith("-") ? `${sort.slice(1)} DESC` : `${sort} ASC`) : undefined);

export interface RunsAsked { experiment?: string; filter: string; sort: string; columns: string[] }

const pageSize = 250;
const queryOf = (q: RunsAsked) => ({ experiment: q.experiment || undefined, filter: asFilter(q.filter, "attributes.run_name"), order_by: asOrder(q.sort), columns: columnsOf(q.columns) });
const columnsOf = (keys: string[]) => keys.filter((k) => /^(metrics|params|tags)\./.test(k)).map((k) => (/[, `]/.test(k) ? k.replace(/\.(.*)$/s, (_, name: string) => ".`" + name + "`") : k)).join(",") || "none";

/**
 * Runs page by page. What arrives while the list is open does not move it: `news` counts it, `show` brings it in. The
 * beginning of a run is no event of the server, so the top of the list is looked at every few seconds. `total` is
 * undefined while the server has not said it and not everything is loaded.
 */
export function useRuns(q: RunsAsked) {
  const client = useQueryClient();
  const query = queryOf(q);
  const key = ["runs", "list", query];
  const list = useInfiniteQuery({
    queryKey: key, meta: { still: true }, staleTime: Infinity, gcTime: 60_000, placeholderData: keepPreviousData, refetchOnWindowFocus: false, initialPageParam: undefined as string | undefined,
    queryFn: ({ pageParam, signal }) => ask<Page<RunRow>>("GET", "/api/v1/runs", { query: { ...query, limit: pageSize, cursor: pageParam }, signal }), getNextPageParam: (last) => last.next || undefined,
  });
  const loaded = useMemo(() => list.data?.pages.flatMap((p) => items(p)) ?? [], [list.data]);
  const live = loaded.some((r) => r.status === "running");
  const top = useQuery({ queryKey: ["runs", "top", query], enabled: list.isSuccess && !list.isPlaceholderData, refetchInterval: live ? 3000 : 5000, staleTime: 2000, queryFn: ({ signal }) => ask<Page<RunRow>>("GET", "/api/v1/runs", { query: { ...query, limit: 50 }, signal }) });
  const fresh = useMemo(() => new Map(items(top.data).map((r) => [r.id, r])), [top.data]);
  const rows = useMemo(() => loaded.map((r) => fresh.get(r.id) ?? r), [loaded, fresh]);
  const known = useMemo(() => new Set(loaded.map((r) => r.id)), [loaded]);
  const first = list.data?.pages[0];
  const news = list.isPlaceholderData ? 0 : [...fresh.keys()].filter((id) => !known.has(id)).length;
  return {
    rows, news, error: list.error ?? null, isPending: list.isPending, busy: list.isPlaceholderData || (list.isFetching && !list.isFetchingNextPage), total: first?.total ?? (list.isSuccess && !list.hasNextPage ? loaded.length : undefined), capped: first?.total_capped,
    refetch: () => list.refetch(), more: { has: list.hasNextPage && !list.isPlaceholderData, busy: list.isFetchingNextPage, load: () => void list.fetchNextPage() },
    show: () => { client.setQueryData<InfiniteData<Page<RunRow>>>(key, (old) => (old ? { pages: old.pages.slice(0, 1), pageParams: old.pageParams.slice(0, 1) } : old)); void list.refetch(); },
  };
}

/** Ids of everything that matches, at most `most`. */
export async function allIds(q: RunsAsked, most: number): Promise<string[]> {
  const ids: string[] = [];
  let cursor: string | undefined;
  do {
    const page: Page<RunRow> = await ask<Page<RunRow>>("GET", "/api/v1/runs", { query: { ...queryOf(q), columns: "none", limit: Math.min(1000, most - ids.length), cursor } });
    ids.push(...items(page).map((r) => r.id));
    cursor = page.next;
  } while (cursor && ids.length < most);
  return ids;
}

export const exportAddress = (q: RunsAsked, format: "csv" | "json") => address("/api/v1/runs/export", { format, ...queryOf(q) });

export function useRunColumns(experiment?: string) {
  return useQuery({ queryKey: ["runs", "columns", experiment ?? ""], staleTime: 60_000, meta: { still: true }, queryFn: () => ask<RunColumns>("GET", "/api/v1/runs/columns", { query: { experiment } }) });
}

/** Suggestions for the filter box of runs. */
export async function complete(experiment: string | undefined, text: string, at: number, signal: AbortSignal): Promise<Completion> {
  const chars = (n: number) => [...text].slice(0, n).join("").length; // the server counts characters, the browser UTF-16 units
  const c = await ask<Completed>("GET", "/api/v1/runs/complete", { query: { experiment, text, at: [...text.slice(0, at)].length }, signal });
  return { from: chars(c.from), to: chars(c.to), items: (c.items ?? []).map((i) => ({ text: i.text, note: i.label !== i.text ? i.label : undefined })) };
}

export function useExperiments(filter = "", sort = "", limit = 100) {
  const query = { filter: asFilter(filter, "name"), order_by: asOrder(sort) };
  const q = useInfiniteQuery({ queryKey: ["experiments", query, limit], placeholderData: keepPreviousData, initialPageParam: undefined as string | undefined, queryFn: ({ pageParam, signal }) => ask<Page<Experiment>>("GET", "/api/v1/experiments", { query: { ...query, limit, cursor: pageParam }, signal }), getNextPageParam: (last) => last.next || undefined });
  return { rows: q.data?.pages.flatMap((p) => items(p)) ?? [], error: q.error, isPending: q.isPending, busy: q.isPlaceholderData, refetch: q.refetch, more: { has: q.hasNextPage, busy: q.isFetchingNextPage, load: () => void q.fetchNextPage() } };
}

export const useExperiment = (id: string) => useQuery({ queryKey: ["experiments", "one", id], enabled: !!id, queryFn: () => ask<Experiment>("GET", `/api/v1/experiments/${one(id)}`) });
export const useRun = (id: string) => useQuery({ queryKey: ["runs", "one", id], queryFn: () => ask<RunDocument>("GET", `/api/v1/runs/${one(id)}`), refetchInterval: (q) => (q.state.data?.status === "running" ? 5000 : false) });
export const useChildren = (id: string, experiment: string | undefined) => useQuery({ queryKey: ["runs", "children", id], enabled: !!experiment, queryFn: () => ask<Page<RunRow>>("GET", "/api/v1/runs", { query: { experiment, filter: `tags.\`mlflow.parentRunId\` = '${id}'`, columns: "none", limit: 100 } }) });
export const useMetricKeys = (id: string, live: boolean) => useQuery({ queryKey: ["runs", "metrics", id], refetchInterval: live ? 3000 : false, queryFn: async () => items(await ask<{ items: MetricKey[] | null }>("GET", `/api/v1/runs/${one(id)}/metrics`)) });

/** The series of one metric of some runs: at most `points` of each, those of [from, to] only where a range is given. */
export function useSeries(runs: string[], key: string, points: number, range: [number, number] | null, on: boolean, live = false) {
  return useQuery({
    queryKey: ["runs", "series", runs, key, points, range], enabled: on && runs.length > 0, placeholderData: keepPreviousData, refetchInterval: live ? 3000 : false,
    queryFn: async ({ signal }) => {
      const [from, to] = range ?? [undefined, undefined];
      if (runs.length === 1) return [await ask<Series>("GET", `/api/v1/runs/${one(runs[0])}/metrics/${one(key)}`, { query: { points, from_step: from, to_step: to }, signal })];
      return items(await ask<{ items: Series[] | null }>("POST", "/api/v1/metrics/series", { body: { runs, keys: [key], points, from_step: from, to_step: to }, signal }));
    },
  });
}

export const useCompared = (ids: string[]) => useQuery({ queryKey: ["runs", "compare", ids], enabled: ids.length >= 2, queryFn: ({ signal }) => ask<Compared>("GET", "/api/v1/runs/compare", { query: { ids: ids.join(","), only_differences: false }, signal }) });

/** One folder of a run's files, or of a model it logged. */
export function useFolder(run: string, model: string, folder: string) {
  return useQuery({
    queryKey: ["runs", "artifacts", run, model, folder], queryFn: async () => {
      const files: ArtifactEntry[] = [];
      let token: string | undefined;
      do {
        const page: { files?: ArtifactEntry[]; next_page_token?: string } = model
          ? await ask("GET", `/api/2.0/mlflow/logged-models/${one(model)}/artifacts/directories`, { query: { artifact_directory_path: folder, page_token: token } })
          : await ask("GET", "/api/2.0/mlflow/artifacts/list", { query: { run_id: run, path: folder, page_token: token } });
        files.push(...(page.files ?? []));
        token = page.next_page_token || undefined;
      } while (token && files.length < 10_000);
      return files;
    },
  });
}

/** Where the bytes of a file of a run, or of a model it logged, are. */
export const fileAddress = (run: string, model: string, path: string) => (model ? address(`/api/2.0/mlflow/logged-models/${one(model)}/artifacts/files`, { artifact_file_path: path }) : address("/get-artifact", { run_id: run, path }));

/** All files the run's document names; those of a logged model are told apart from its own. */
export function findFiles(run: RunDocument): { model: string; path: string }[] {
  const models = new Set(run.models ?? []);
  return (run.artifacts ?? []).map((f) => {
    const [, model, rest] = /^models\/([^/]+)\/(.*)$/s.exec(f.path) ?? [];
    return model && models.has(model) ? { model, path: rest } : { model: "", path: f.path };
  });
}

interface Changed { name?: string; description?: string; tags?: Record<string, string | null> }

/** Renames, describes and tags; then everything of that kind is read again. */
export function useChange(kind: "experiments" | "runs", id: string) {
  const client = useQueryClient();
  return useMutation({ mutationFn: (change: Changed) => ask("PATCH", `/api/v1/${kind}/${one(id)}`, { body: change }), onSuccess: () => client.invalidateQueries({ queryKey: [kind] }) });
}

export function useCreateExperiment() {
  const client = useQueryClient();
  return useMutation({ mutationFn: (body: { name: string; description?: string }) => ask<Experiment>("POST", "/api/v1/experiments", { body }), onSuccess: () => client.invalidateQueries({ queryKey: ["experiments"] }) });
}

/** Moves experiments or runs to the bin, or takes them out again, one after the other. */
export function useBin(kind: "experiments" | "runs") {
  const client = useQueryClient();
  const each = async (ids: string[], act: (id: string) => Promise<unknown>) => {
    try { for (const id of ids) await act(id); } finally { await client.invalidateQueries({ predicate: (q) => (q.queryKey[0] === kind || q.queryKey[0] === "bin") && !q.meta?.still }); }
  };
  return {
    remove: (ids: string[]) => each(ids, (id) => ask("DELETE", `/api/v1/${kind}/${one(id)}`)),
    restore: (ids: string[]) => each(ids, (id) => ask("POST", `/api/v1/${kind}/${one(id)}/restore`, { body: {} })),
  };
}

export const untagRuns = (ids: string[], key: string) => tagRuns(ids, key, null);

/** Sets a tag on many runs, one after the other; null removes it. */
export async function tagRuns(ids: string[], key: string, value: string | null) {
  for (const id of ids) await ask("PATCH", `/api/v1/runs/${one(id)}`, { body: { tags: { [key]: value } } });
}

/** The newest five runs, of one person where a name is given. */
export const useNewest = (user?: string) => useQuery({ queryKey: ["runs", "newest", user ?? ""], queryFn: async () => items(await ask<Page<RunRow>>("GET", "/api/v1/runs", { query: { filter: user ? `attributes.user_id = '${user}'` : undefined, columns: "none", limit: 5 } })) });
