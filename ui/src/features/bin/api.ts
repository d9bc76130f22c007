import { useInfiniteQuery, useQueryClient } from "@tanstack/react-query";
import { ask } from "../../api/ask";
import { items } from "../../api/client";
import type { Page } from "../../api/tracking";

/** One thing in the bin. bytes are those it refers to; others may refer to the same. */
export interface Binned { kind: string; id: string; name: string; parent?: string; files: number; bytes: number; deleted_at: string; deleted_by: string; purge_at: string; hold?: string }

export function useBinned(kind: string) {
  const q = useInfiniteQuery({ queryKey: ["bin", kind], initialPageParam: undefined as string | undefined, queryFn: ({ pageParam, signal }) => ask<Page<Binned>>("GET", "/api/v1/bin", { query: { kind, limit: 200, cursor: pageParam }, signal }), getNextPageParam: (last) => last.next || undefined });
  return { rows: q.data?.pages.flatMap((p) => items(p)) ?? [], error: q.error, isPending: q.isPending, refetch: q.refetch, more: { has: q.hasNextPage, busy: q.isFetchingNextPage, load: () => void q.fetchNextPage() } };
}

export function useBinActions() {
  const client = useQueryClient();
  const after = () => client.invalidateQueries({ predicate: (q) => !q.meta?.still });
  return {
    /** Brings things back, one after the other; `as` is another name for a single one. */
    restore: async (list: Binned[], as?: string) => { try { for (const b of list) await ask("POST", "/api/v1/bin/restore", { body: { kind: b.kind, id: b.id, as } }); } finally { await after(); } },
    /** Removes one thing for good; confirm is its name as the person typed it. */
    purge: async (b: Binned, confirm: string) => { await ask("DELETE", `/api/v1/bin/${encodeURIComponent(b.kind)}/${encodeURIComponent(b.id)}`, { query: { confirm } }); await after(); },
  };
}
