import { m } from "../../messages";
import { Chip } from "../../ui/Bits";
import { DataTable, type Column } from "../../ui/DataTable";
import { number, percent } from "../../ui/format";
import type { Evaluation } from "./types";

type Test = NonNullable<Evaluation["tests"]>[number];
type Report = NonNullable<Test["fairness"]>;
type Group = NonNullable<Report["groups"]>[number];
const rates = ["selection_rate", "tpr", "fpr", "precision"] as const;
const words = m.fairness;

/** How a version treats the groups of one test: their rates as bars, the gap and what it may be. */
export function Fairness({ name, state, report: r }: { name: string; state: Test["state"]; report: Report }) {
  const judged = r.value !== null && r.value !== undefined;
  const columns: Column<Group>[] = [
    { key: "group", head: words.group, cell: (g) => <><b className={g.small ? "dim" : undefined}>{g.name}</b><Place group={g} report={r} judged={judged} /></>, value: (g) => g.name },
    { key: "rows", head: words.rows, right: true, cell: (g) => number(g.rows), value: (g) => g.rows },
    ...rates.map((rate): Column<Group> => ({
      key: rate, name: words.rate[rate], value: (g) => g[rate],
      head: <>{words.rate[rate]}{rate === r.rate && <span className="dim"> · {words.compared}</span>}</>,
      cell: (g) => <Share value={g[rate]} on={rate === r.rate && !g.small} />,
    })),
  ];
  return (
    <section aria-label={name} style={{ padding: "14px 0 4px" }}>
      <div className="stack gap4" style={{ padding: "0 16px 10px" }}>
        <h3>{name}</h3>
        <p className="row small"><Chip tone={state === "passed" ? "ok" : state === "failed" ? "bad" : "neutral"}>{m.testState[state] ?? state}</Chip><span>{words.by(r.columns ?? [])} · {r.label}</span>
          <span className="num">{words.gap(r.kind === "ratio")} <b>{number(r.value)}</b>, {words.limit(r.kind === "ratio", number(r.limit))}</span></p>
      </div>
      <DataTable label={`${name}: ${words.by(r.columns ?? [])}`} rows={r.groups ?? []} columns={columns} rowKey={(g) => (g.values ?? []).join("\u0000")} />
      {r.more > 0 && <p className="small dim" style={{ padding: "8px 16px" }}>{words.more(r.more)}</p>}
    </section>
  );
}

function Place({ group: g, report: r, judged }: { group: Group; report: Report; judged: boolean }) {
  const even = r.highest === r.lowest;
  const place = g.small ? words.small(r.min_rows) : !judged || even ? "" : g.name === r.highest ? words.highest : g.name === r.lowest ? words.lowest : "";
  return place ? <div className="small dim">{place}</div> : null;
}

function Share({ value, on }: { value: number | null; on: boolean }) {
  if (value === null) return <span className="dim">{m.none}</span>;
  return <div className={on ? "share on" : "share"}><div className="bar" aria-hidden="true"><i style={{ width: `${Math.min(Math.max(value, 0), 1) * 100}%` }} /></div><span className="num">{percent(value, 1)}</span></div>;
}
