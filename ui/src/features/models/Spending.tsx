import { m } from "../../messages";
import { Await } from "../../ui/Await";
import { Empty, Facts } from "../../ui/Bits";
import { DataTable, type Column } from "../../ui/DataTable";
import { count, span } from "../../ui/format";
import { useSpending } from "./api";
import type { ModelUsage } from "./types";

type Work = NonNullable<ModelUsage["work"]>[number];
const words = m.spending;
const took = (seconds: number | null | undefined) => (seconds === null || seconds === undefined ? undefined : span(seconds * 1000));

/** What a model took to answer, to train and to judge; money is left to those who know a price. */
export function Spending({ name }: { name: string }) {
  const query = useSpending(name);
  const columns: Column<Work>[] = [
    { key: "work", head: words.work, cell: (w) => <>{words.kind[w.work] ?? w.work}{w.measured && <div className="dim small">{w.measured}</div>}</> },
    { key: "times", head: words.times, right: true, cell: (w) => (w.work === "answering" ? words.nCalls(query.data?.calls ?? 0, count(query.data?.calls)) : count(w.entries)) },
    { key: "time", head: words.time, right: true, cell: (w) => took(w.seconds) },
  ];
  return (
    <Await query={query} lines={2}>{(u) => (
      <>
        <DataTable label={words.title} rows={u.work ?? []} columns={columns} rowKey={(w) => w.work} empty={<Empty>{words.empty}</Empty>} />
        {(u.work ?? []).length > 0 && (
          <div className="stack gap4" style={{ padding: "10px 16px 14px" }}>
            <Facts rows={[[words.all, took(u.compute_seconds)], [words.calls, u.calls ? count(u.calls) : words.noCalls], [words.perThousand, took(u.seconds_per_thousand_calls)]]} />
            <p className="dim small">{u.basis}</p>
          </div>
        )}
      </>
    )}</Await>
  );
}
