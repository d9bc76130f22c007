import { keepPreviousData, useInfiniteQuery, useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { ask } from "../../api/ask";
import { items } from "../../api/client";
import type { Assessment, Trace, TraceDocument } from "../../api/traces";
import type { Page } from "../../api/tracking";
import type { Completion } from "../../ui/grid/FilterQuery";
import { containing, isQuery } from "../../ui/grid/query";

export interface TracesAsked { experiment?: string; run?: string; filter: string; sort: string }

const one = encodeURIComponent;
const queryOf = (q: TracesAsked) => ({ experiment: q.experiment, run: q.run, filter: q.filter.trim() ? (isQuery(q.filter) ? q.filter : containing("name", q.filter)) : undefined, order: q.sort ? (q.sort.startsWith("-") ? `${q.sort.slice(1)} DESC` : `${q.sort} ASC`) : undefined });

export function useTraces(q: TracesAsked) {
  const query = queryOf(q);
  const list = useInfiniteQuery({ queryKey: ["traces", "list", query], placeholderData: keepPreviousData, initialPageParam: undefined as string | undefined, queryFn: ({ pageParam, signal }) => ask<Page<Trace>>("GET", "/api/v1/traces", { query: { ...query, limit: 100, cursor: pageParam }, signal }), getNextPageParam: (last) => last.next || undefined });
  return { rows: list.data?.pages.flatMap((p) => items(p)) ?? [], error: list.error, isPending: list.isPending, busy: list.isPlaceholderData, more: { has: list.hasNextPage, busy: list.isFetchingNextPage, load: () => void list.fetchNextPage() } };
}

export const useTrace = (id: string) => useQuery({ queryKey: ["traces", "one", id], queryFn: () => ask<TraceDocument>("GET", `/api/v1/traces/${one(id)}`), refetchInterval: (q) => (q.state.data?.state === "in_progress" ? 3000 : false) });

export function useAssess(id: string) {
  const client = useQueryClient();
  const again = () => client.invalidateQueries({ queryKey: ["traces"] });
  return {
    add: useMutation({ mutationFn: (body: { name: string; kind: "feedback"; value: unknown; rationale?: string; span?: string }) => ask<Assessment>("POST", `/api/v1/traces/${one(id)}/assessments`, { body }), onSuccess: again }),
    drop: useMutation({ mutationFn: (a: string) => ask("DELETE", `/api/v1/traces/${one(id)}/assessments/${one(a)}`), onSuccess: again }),
    remove: useMutation({ mutationFn: () => ask("DELETE", `/api/v1/traces/${one(id)}`), onSuccess: again }),
  };
}

const names = ["state", "name", "duration_ms", "timestamp_ms", "session", "user", "run_id", "client_request_id", "trace_id", "text", "prompt", "tag.", "metadata.", "span.name", "span.type", "span.status", "span.content", "span.attributes.", "feedback.", "expectation."];
const numeric = /^(duration_ms|execution_time_ms|timestamp_ms|end_time_ms)$/;

/** Suggestions for the filter box of traces: the names the language has, its comparisons, the states. */
export async function complete(text: string, at: number): Promise<Completion> {
  const before = text.slice(0, at);
  const clause = before.slice(Math.max(0, ...[...before.matchAll(/\bAND\s+/gi)].map((x) => x.index + x[0].length)));
  const begin = at - clause.length;
  const parts = /^(\S*)(\s+)?(\S+(?:\s+LIKE|\s+IN)?)?(\s+)?(.*)$/s.exec(clause) ?? [];
  const [, name = "", gap, operator = "", gap2, value = ""] = parts;
  if (!gap) return { from: begin, to: at, items: names.filter((n) => n.startsWith(name.toLowerCase())).map((n) => ({ text: n.endsWith(".") ? n : n + " " })) };
  if (!gap2) {
    const from = begin + name.length + gap.length;
    return { from, to: at, items: (numeric.test(name) ? [">", "<", ">=", "<=", "="] : ["=", "!=", "LIKE", "ILIKE", "IN"]).filter((o) => o.startsWith(operator.toUpperCase())).map((o) => ({ text: o + " " })) };
  }
  const from = at - value.length;
  if (/^(state|status)$/.test(name) && !/^'.*'/.test(value)) return { from, to: at, items: ["'OK'", "'ERROR'", "'IN_PROGRESS'"].map((t) => ({ text: t })) };
  return /\S\s$/.test(value) ? { from: at, to: at, items: [{ text: "AND " }] } : { from: at, to: at, items: [] };
}
