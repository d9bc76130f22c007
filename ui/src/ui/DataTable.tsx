import { Button } from "@mantine/core";
import type { ReactNode } from "react";
import { m } from "../messages";
import { download, toCSV } from "./csv";
import { IconDownload } from "./icons";
import { useParam } from "./url";

type Value = string | number | null | undefined;

export interface Column<T> {
  key: string;
  head: ReactNode;
  /** Plain name for the export and the sort button, where head is not a string. */
  name?: string;
  cell: (row: T) => ReactNode;
  /** What the column sorts and exports by; without it the column does neither. */
  value?: (row: T) => Value;
  right?: boolean;
}

interface Props<T> {
  /** Says what the table holds, for people who cannot see it. */
  label: string;
  rows: T[];
  columns: Column<T>[];
  rowKey: (row: T) => string;
  /** The name of the sort in the address; without it the order is the server's. */
  sort?: string;
  selected?: (row: T) => boolean;
  empty?: ReactNode;
  more?: { has: boolean; load: () => void; busy: boolean };
  boxed?: boolean;
}

/** The table of every list. Wide tables scroll inside their frame, never the page. */
export function DataTable<T>({ label, rows, columns, rowKey, sort, selected, empty, more, boxed }: Props<T>) {
  const [order, setOrder] = useParam(sort ?? "sort");
  if (rows.length === 0 && empty) return <div className={boxed ? "boxed frame" : undefined}>{empty}</div>;
  const shown = sort ? sorted(rows, columns, order) : rows;
  return (
    <div className={boxed ? "boxed frame" : "frame"} tabIndex={0} role="region" aria-label={label}>
      <table className="t">
        <caption className="sr">{label}</caption>
        <thead>
          <tr>{columns.map((c) => <Head key={c.key} column={c} sortable={!!sort && !!c.value} order={order} setOrder={setOrder} />)}</tr>
        </thead>
        <tbody>
          {shown.map((row) => (
            <tr key={rowKey(row)} aria-selected={selected?.(row) || undefined}>
              {columns.map((c) => <td key={c.key} className={c.right ? "r" : undefined}>{c.cell(row)}</td>)}
            </tr>
          ))}
        </tbody>
      </table>
      {more?.has && <div className="more"><Button size="compact-sm" variant="default" loading={more.busy} onClick={more.load}>{m.loadMore}</Button></div>}
    </div>
  );
}

function Head<T>({ column, sortable, order, setOrder }: { column: Column<T>; sortable: boolean; order: string; setOrder: (v: string) => void }) {
  const mine = order.replace(/^-/, "") === column.key;
  const down = order.startsWith("-");
  if (!sortable) return <th scope="col" className={column.right ? "r" : undefined}>{column.head}</th>;
  const next = !mine ? column.key : down ? "" : "-" + column.key;
  return (
    <th scope="col" className={column.right ? "r" : undefined} aria-sort={mine ? (down ? "descending" : "ascending") : undefined}>
      <button type="button" className="sort" onClick={() => setOrder(next)}>{column.head}<span className="arrow" aria-hidden="true">{mine ? (down ? "▼" : "▲") : ""}</span></button>
    </th>
  );
}

function sorted<T>(rows: T[], columns: Column<T>[], order: string): T[] {
  const by = columns.find((c) => c.key === order.replace(/^-/, ""))?.value;
  if (!by) return rows;
  const sign = order.startsWith("-") ? -1 : 1;
  return [...rows].sort((a, b) => sign * compare(by(a), by(b)));
}

function compare(a: Value, b: Value): number {
  if (a === b) return 0;
  if (a === null || a === undefined) return 1;
  if (b === null || b === undefined) return -1;
  return typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b), undefined, { numeric: true });
}

/** A button that saves the rows as CSV, with the columns as shown. */
export function ExportCSV<T>({ name, rows, columns }: { name: string; rows: T[]; columns: Column<T>[] }) {
  const out = columns.filter((c) => c.value);
  const save = () => download(`${name}.csv`, toCSV(out.map((c) => (typeof c.head === "string" ? c.head : (c.name ?? c.key))), rows.map((r) => out.map((c) => c.value!(r)))));
  return <Button variant="default" leftSection={<IconDownload size={16} />} onClick={save} disabled={rows.length === 0}>{m.exportCSV}</Button>;
}
