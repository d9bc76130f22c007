import { useQueryClient, type QueryClient } from "@tanstack/react-query";
import { useEffect, useLayoutEffect, useRef, useState, useSyncExternalStore } from "react";
import { liveState, onEvent, onGap, onLiveState, want, type LiveState } from "../api/live";

let now = Date.now();
const tickers = new Set<() => void>();
setInterval(() => { now = Date.now(); tickers.forEach((fn) => fn()); }, 15_000);

/** The time, renewed four times a minute. */
export function useNow(): number {
  return useSyncExternalStore((fn) => { tickers.add(fn); return () => tickers.delete(fn); }, () => now);
}

/** Asks for live events of these topics while the component is shown. */
export function useTopics(...topics: string[]) {
  const key = topics.join(",");
  useEffect(() => want(key.split(",").filter(Boolean)), [key]);
}

export function useLive(): LiveState {
  return useSyncExternalStore(onLiveState, liveState);
}

/**
 * Refetches what is on the screen when the server says something changed, at most twice a second. Queries with meta.still
 * are left alone: long lists, whose pages look for news themselves, and what never changes.
 */
export function followEvents(client: QueryClient): () => void {
  let timer: ReturnType<typeof setTimeout> | undefined;
  let last = 0;
  const refetch = () => {
    if (timer) return;
    timer = setTimeout(() => {
      timer = undefined;
      last = Date.now();
      void client.invalidateQueries({ predicate: (q) => q.queryKey[0] !== "me" && q.queryKey[0] !== "log" && !q.meta?.still });
    }, Math.max(30, last + 500 - Date.now()));
  };
  const ends = [onEvent(refetch), onGap(refetch)];
  return () => { clearTimeout(timer); ends.forEach((end) => end()); };
}

/** Refetches everything that begins with one of these keys. */
export function useRefresh(...keys: string[]) {
  const client = useQueryClient();
  return async () => { await Promise.all(keys.map((key) => client.invalidateQueries({ queryKey: [key] }))); };
}

/** True after `ms` of being mounted: skeletons do not flash for quick answers. */
export function useAfter(ms: number): boolean {
  const [past, setPast] = useState(false);
  useEffect(() => { const t = setTimeout(() => setPast(true), ms); return () => clearTimeout(t); }, [ms]);
  return past;
}

/** The width of an element in CSS pixels, for charts whose text must not scale. */
export function useWidth(fallback = 640) {
  const ref = useRef<HTMLDivElement>(null);
  const [width, setWidth] = useState(fallback);
  useLayoutEffect(() => {
    const node = ref.current;
    if (!node || typeof ResizeObserver === "undefined") return;
    const measure = () => { const w = Math.round(node.getBoundingClientRect().width); if (w > 0) setWidth(w); };
    measure();
    const seen = new ResizeObserver(measure);
    seen.observe(node);
    return () => seen.disconnect();
  }, []);
  return [ref, width] as const;
}
