import { QueryClient, useInfiniteQuery } from "@tanstack/react-query";
import { items } from "./client";
import { Problem } from "./problem";

/** The cache of what the server said. Refusals are not tried again, lost answers twice. */
export const newClient = () => new QueryClient({
  defaultOptions: {
    queries: { staleTime: 5_000, refetchOnWindowFocus: true, retry: (n, error) => n < 2 && !(error instanceof Problem && error.status > 0 && error.status < 500) },
    mutations: { retry: false },
  },
});

/** A list read page by page; `more` loads the next one. */
export function usePages<T>(key: unknown[], load: (cursor?: string) => Promise<{ items: T[] | null; next?: string }>, enabled = true) {
  const q = useInfiniteQuery({ queryKey: key, enabled, queryFn: ({ pageParam }) => load(pageParam), initialPageParam: undefined as string | undefined, getNextPageParam: (last) => last?.next || undefined });
  return {
    data: q.data?.pages.flatMap((p) => items(p)), error: q.error, isPending: q.isPending, refetch: q.refetch,
    more: { has: q.hasNextPage, load: () => void q.fetchNextPage(), busy: q.isFetchingNextPage },
  };
}
