import type { ReactNode } from "react";
import { m } from "../messages";
import { useAfter } from "./hooks";
import { ProblemNote } from "./Note";

interface Query<T> { data: T | undefined; error: unknown; isPending: boolean; refetch: () => unknown }

/** Shows a query's data; before that a skeleton, instead of it the problem, and both when a refetch failed. */
export function Await<T>({ query, lines = 5, children }: { query: Query<T>; lines?: number; children: (data: T) => ReactNode }) {
  if (query.data !== undefined) {
    return <>{!!query.error && <ProblemNote problem={query.error} retry={() => query.refetch()} />}{children(query.data)}</>;
  }
  if (query.error) return <ProblemNote problem={query.error} retry={() => query.refetch()} />;
  return <Skeleton lines={lines} />;
}

/** Grey lines in place of what is loading; only after 200 ms. */
export function Skeleton({ lines = 5 }: { lines?: number }) {
  const shown = useAfter(200);
  return (
    <div aria-busy="true" className="stack gap16" style={{ padding: 16, minHeight: lines * 30 }}>
      <span className="sr">{m.loading}</span>
      {shown && Array.from({ length: lines }, (_, i) => <div key={i} className="skel" style={{ width: `${92 - ((i * 17) % 45)}%` }} />)}
    </div>
  );
}
