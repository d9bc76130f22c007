import type { Window } from "../../api/types";
import { m } from "../../messages";
import { Chip, Panel } from "../../ui/Bits";
import { LineChart } from "../../ui/charts/LineChart";
import { DataTable, type Column } from "../../ui/DataTable";
import { count, fixed, percent } from "../../ui/format";

const g = m.watching.groups;

type Gap = NonNullable<Window["fairness"]>[number];
type Group = NonNullable<Gap["groups"]>[number];

/** The server sends a number or null where the description may know only the number. */
const known = (v: unknown): number | null => (typeof v === "number" ? v : null);

const rates = ["selection_rate", "tpr", "fpr", "precision"] as const;

const by = (x: Gap) => (x.columns ?? []).join(" × ");
const key = (x: Gap) => `${x.measure} ${by(x)}`;

const columns = (of: Gap): Column<Group>[] => [
  { key: "name", head: g.group, cell: (x) => <span className="row">{x.name}{x.name === of.highest && <Chip tone="info">{g.highest}</Chip>}{x.name === of.lowest && <Chip tone="info">{g.lowest}</Chip>}{x.small && <Chip>{g.small}</Chip>}</span> },
  { key: "rows", head: m.monitor.segmentRows, right: true, cell: (x) => count(x.rows) },
  ...rates.map((r): Column<Group> => ({ key: r, head: g.rates[r], right: true, cell: (x) => (of.rate === r ? <b>{percent(known(x[r]), 1)}</b> : percent(known(x[r]), 1)) })),
];

/** How groups of people fare: of each declared measure the gap over the windows with its limit, and the groups of this window. */
export function Groups({ at, windows, endpoint }: { at: Window; windows: Window[]; endpoint: string }) {
  const gaps = at.fairness ?? [];
  if (gaps.length === 0) return null;
  const over = gaps.filter((x) => known(x.value) !== null && !x.ok).length;
  return (
    <Panel title={g.title(over, gaps.length)} id="groups">
      <div className="stack gap16">
        {gaps.map((x) => {
          const same = windows.map((w) => (w.fairness ?? []).find((o) => key(o) === key(x)));
          const values = same.map((o) => known(o?.value));
          const name = g.gap(x.label, by(x));
          return (
            <div key={key(x)} className="stack">
              <p><span className="row">{known(x.value) === null ? <Chip>{m.verdict.unknown}</Chip> : x.ok ? <Chip tone="ok">{m.measures.within}</Chip> : <Chip tone="warn">{m.measures.outside}</Chip>}</span> {x.detail}{x.outcomes && known(x.label_coverage) !== null && <span className="dim"> {g.coverage(percent(x.label_coverage))}</span>}{(x.notes ?? []).map((n) => <span key={n} className="dim"> {n}</span>)}</p>
              {values.some((v) => v !== null) && <LineChart title={name} file={`${endpoint}-${key(x).replace(/[^\w]+/g, "-")}`} x={windows.map((_, i) => `#${i + 1}`)} series={[{ name: x.label, values }]} min={0}
                marks={same.map((o) => known(o?.value) !== null && !o!.ok)} events={windows.map((w, i) => (w.version === windows[i - 1]?.version ? undefined : `v${w.version}`))} limit={{ value: x.limit, label: m.monitor.limitAt(fixed(x.limit, 2)) }}
                note={(i) => same[i]?.detail ?? m.none} />}
              {(x.groups ?? []).length > 0 && <DataTable boxed label={g.table(name)} rows={x.groups ?? []} columns={columns(x)} rowKey={(o) => o.name} />}
              {x.more > 0 && <p className="dim small">{g.more(x.more)}</p>}
            </div>
          );
        })}
      </div>
    </Panel>
  );
}
