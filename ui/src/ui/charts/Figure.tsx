import { useState, type ReactNode } from "react";
import { m } from "../../messages";
import { download, toCSV } from "../csv";

export interface Numbers { head: string[]; rows: (string | number)[][] }

interface Props { title: string; legend?: ReactNode; numbers: Numbers | (() => Numbers); file: string; png?: () => Promise<Blob | null>; tools?: ReactNode; children: ReactNode }

/** A chart with its message as title, a table that says the same, and its numbers (and picture) as a file. */
export function Figure({ title, legend, numbers, file, png, tools, children }: Props) {
  const [table, setTable] = useState(false);
  const all = () => (typeof numbers === "function" ? numbers() : numbers);
  const csv = () => { const n = all(); download(file + ".csv", toCSV(n.head, n.rows)); };
  const picture = async () => { const blob = await png?.(); if (blob) download(file + ".png", blob); };
  return (
    <figure className="fig">
      <figcaption>
        <h3>{title}</h3>
        {tools}
        <button type="button" className="linkb" aria-pressed={table} onClick={() => setTable(!table)}>{table ? m.chart.asChart : m.chart.asTable}</button>
        <button type="button" className="linkb" aria-label={m.chart.csv} title={m.chart.csv} onClick={csv}>{m.chart.csvShort}</button>
        {png && !table && <button type="button" className="linkb" aria-label={m.chart.png} title={m.chart.png} onClick={() => void picture()}>{m.chart.pngShort}</button>}
      </figcaption>
      {legend && <div className="legend">{legend}</div>}
      {table ? <NumbersTable title={title} numbers={all()} /> : children}
    </figure>
  );
}

/** Rows the table of a chart draws; the file has all. */
const drawn = 500;

function NumbersTable({ title, numbers }: { title: string; numbers: Numbers }) {
  const rows = numbers.rows.slice(0, drawn);
  return (
    <>
      <div className="frame" tabIndex={0} role="region" aria-label={title} style={{ maxHeight: 320, overflowY: "auto" }}>
        <table className="t">
          <caption className="sr">{title}</caption>
          <thead><tr>{numbers.head.map((h, i) => <th key={h + i} scope="col" className={typeof rows[0]?.[i] === "number" ? "r" : undefined}>{h}</th>)}</tr></thead>
          <tbody>{rows.map((r, i) => <tr key={i}>{r.map((v, j) => <td key={j} className={typeof v === "number" ? "r" : undefined}>{v}</td>)}</tr>)}</tbody>
        </table>
      </div>
      {rows.length < numbers.rows.length && <p className="small dim">{m.chart.firstRows(rows.length, numbers.rows.length)}</p>}
    </>
  );
}

/** Round steps (1, 2, 5 × 10^k) from min to max, about n of them. */
export function ticks(min: number, max: number, n = 4): number[] {
  if (!(max > min)) return [min];
  const raw = (max - min) / n;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((k) => k * power).find((s) => s >= raw) ?? raw;
  const out: number[] = [];
  for (let i = Math.ceil(min / step - 1e-9); i * step <= max + step * 1e-6; i++) out.push(Number((i * step).toPrecision(12)));
  return out;
}

/** A number for an axis: three significant digits. */
export function axisNumber(n: number): string {
  if (n === 0) return "0";
  const a = Math.abs(n);
  if (a >= 1e5 || a < 1e-3) return n.toExponential(0);
  return String(Number(n.toPrecision(3)));
}
