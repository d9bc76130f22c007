import { useVirtualizer } from "@tanstack/react-virtual";
import { memo, useEffect, useId, useLayoutEffect, useMemo, useRef, useState, type ClipboardEvent, type KeyboardEvent, type MouseEvent, type ReactNode, type UIEvent } from "react";
import { m } from "../../messages";
import { Go } from "../Go";
import { useWidth } from "../hooks";
import { useGo } from "../url";
import { clampWidth, moved, ordered, placed, visibleColumns, widthsOf, type GridColumn, type Layout } from "./columns";
import { copied } from "./copy";
import { Head } from "./Head";
import type { Selection } from "./selection";
import { rowHeight, type Density } from "./useLayout";

export interface More { has: boolean; load: () => void; busy: boolean }

interface Props<T> {
  /** Says what the grid holds, for people who cannot see it. */
  label: string;
  rows: T[];
  columns: GridColumn<T>[];
  layout: Layout;
  setLayout?: (next: Layout) => void;
  rowKey: (row: T) => string;
  /** What a row is called, where it is selected. */
  rowName: (row: T) => string;
  /** The page of a row; its first cell is a link to it and Enter opens it. */
  href?: (row: T) => string;
  /** How many rows there are in all, where the server said so. */
  total?: number;
  /** The sort as in the address: a column's sort, with "-" before it for descending. */
  sort?: string;
  onSort?: (sort: string) => void;
  selection?: Selection;
  more?: More;
  density?: Density;
  busy?: boolean;
  /** Shown instead of rows when there are none. */
  empty?: ReactNode;
  /** The least height of the frame in CSS pixels. */
  least?: number;
  /** A colour before the head of a column, by which charts know it. */
  headColour?: (key: string) => string | undefined;
}

const headHeight = 36;
const checkWidth = 40;
const slim = 150;
/** Rows left below the frame at which the next page is asked for. */
const ahead = 120;

/**
 * Rows and columns of any number, of which only those within the frame are in the document. One tab stop: arrows, Home,
 * End and the page keys move, Enter opens a row or sorts by a column, Space selects.
 */
export function Grid<T>(props: Props<T>) {
  const { label, rows, layout, setLayout, rowKey, rowName, href, total, sort = "", onSort, selection, more, density = "comfortable", busy, empty, least = 240, headColour } = props;
  const id = useId();
  const go = useGo();
  const [wrap, room] = useWidth(1000);
  const frame = useRef<HTMLDivElement>(null);
  const [drag, setDrag] = useState<Record<string, number>>({});
  const [at, setAt] = useState({ row: 0, col: 0 });
  const anchor = useRef(0);
  const height = rowHeight[density];
  const byKey = useMemo(() => new Map(props.columns.map((c) => [c.key, c])), [props.columns]);
  const columns = useMemo(() => ordered(layout).map((k) => byKey.get(k)).filter((c): c is GridColumn<T> => c !== undefined), [layout, byKey]);
  const loose = room < 600 ? Math.min(1, columns.filter((c) => layout.pinned.includes(c.key)).length) : columns.filter((c) => layout.pinned.includes(c.key)).length;
  const lead = selection ? checkWidth : 0;
  const widths = useMemo(() => {
    const narrow = room < 600 ? columns.slice(0, loose).map((c) => ({ ...c, width: Math.min(c.width ?? slim, slim) })) : []; // a pinned column leaves room for the others
    return widthsOf([...narrow, ...columns.slice(narrow.length)], { ...layout.widths, ...drag }, room - lead - 2);
  }, [columns, layout.widths, drag, room, lead, loose]);
  const width = lead + widths.reduce((a, b) => a + b, 0);
  const [left, setLeft] = useState(0);
  const [from, to] = visibleColumns(widths, loose, left, room - lead);
  const virtual = useVirtualizer({ count: rows.length, getScrollElement: () => frame.current, estimateSize: () => height, overscan: 6, paddingStart: headHeight, scrollPaddingStart: headHeight });
  useLayoutEffect(() => virtual.measure(), [height, virtual]);
  const tall = useTall(wrap, least);
  const items = virtual.getVirtualItems();
  const last = items.at(-1)?.index ?? -1;
  useEffect(() => { if (more?.has && !more.busy && rows.length > 0 && last >= rows.length - ahead) more.load(); }, [more, last, rows.length]);

  const starts = useMemo(() => { let x = lead; return widths.map((w) => (x += w) - w); }, [widths, lead]);
  const scroll = (e: UIEvent<HTMLDivElement>) => {
    const x = e.currentTarget.scrollLeft;
    const [f, t] = visibleColumns(widths, loose, x, room - lead);
    if (f !== from || t !== to) setLeft(x);
  };
  const show = (row: number, col: number) => {
    if (row >= 0) virtual.scrollToIndex(row, { align: "auto" });
    const box = frame.current;
    if (!box || col < loose) return;
    const pinned = lead + widths.slice(0, loose).reduce((a, b) => a + b, 0);
    if (starts[col] < box.scrollLeft + pinned) box.scrollLeft = starts[col] - pinned;
    else if (starts[col] + widths[col] > box.scrollLeft + box.clientWidth) box.scrollLeft = starts[col] + widths[col] - box.clientWidth;
    if (box.scrollLeft !== left) setLeft(box.scrollLeft);
  };
  const move = (row: number, col: number) => {
    const next = { row: Math.max(-1, Math.min(rows.length - 1, row)), col: Math.max(0, Math.min(columns.length - 1, col)) };
    setAt(next);
    show(next.row, next.col);
    return next;
  };
  const order = (c: GridColumn<T>) => {
    if (!c.sort || !onSort) return;
    onSort(sort === c.sort ? "-" + c.sort : sort === "-" + c.sort ? "" : c.sort);
  };
  const pick = (index: number, range: boolean) => {
    if (!selection) return;
    const ids = range ? rows.slice(Math.min(anchor.current, index), Math.max(anchor.current, index) + 1).map(rowKey) : [];
    if (range) selection.put(ids, true);
    else { anchor.current = index; selection.toggle(rowKey(rows[index])); }
  };
  const act = useRef({ pick });
  act.current = { pick };

  const keys = (e: KeyboardEvent<HTMLDivElement>) => {
    if (e.target !== e.currentTarget && (e.target as HTMLElement).tagName === "INPUT" && e.key === " ") return;
    const page = Math.max(1, Math.floor(((frame.current?.clientHeight ?? 400) - headHeight) / height) - 1);
    const column = columns[at.col];
    const inHead = at.row < 0;
    const side = e.key === "ArrowRight" ? 1 : e.key === "ArrowLeft" ? -1 : 0;
    if (inHead && side && setLayout && (e.ctrlKey || e.metaKey)) {
      const next = moved(layout, column.key, side);
      if (next !== layout) { setLayout(next); setAt({ row: -1, col: at.col + side }); }
    } else if (inHead && side && setLayout && e.shiftKey) setLayout({ ...layout, widths: { ...layout.widths, [column.key]: clampWidth(widths[at.col] + side * 16) } });
    else if (side) move(at.row, at.col + side);
    else if (e.key === "ArrowDown" || e.key === "ArrowUp") {
      const next = move(at.row + (e.key === "ArrowDown" ? 1 : -1), at.col);
      if (e.shiftKey && selection && next.row >= 0) pick(next.row, true);
    } else if (e.key === "Home") move(e.ctrlKey ? 0 : at.row, e.ctrlKey ? at.col : 0);
    else if (e.key === "End") move(e.ctrlKey ? rows.length - 1 : at.row, e.ctrlKey ? at.col : columns.length - 1);
    else if (e.key === "PageDown") move(Math.max(0, at.row) + page, at.col);
    else if (e.key === "PageUp") move(Math.max(0, at.row - page), at.col);
    else if (e.key === "Enter" && inHead) { if (column) order(column); }
    else if (e.key === "Enter" && href && rows[at.row]) {
      if (e.ctrlKey || e.metaKey) window.open(frame.current?.querySelector<HTMLAnchorElement>(`[data-row="${at.row}"] a`)?.href, "_blank", "noopener");
      else go(href(rows[at.row]));
    } else if (e.key === " " && inHead) { if (column) order(column); }
    else if (e.key === " " && selection && rows[at.row]) pick(at.row, e.shiftKey);
    else if (e.key === "Escape" && selection && (selection.ids.size > 0 || selection.all)) selection.clear();
    else return;
    e.preventDefault();
  };
  const press = (e: MouseEvent<HTMLDivElement>) => {
    const cell = (e.target as HTMLElement).closest<HTMLElement>("[data-col]");
    const row = cell?.closest<HTMLElement>("[data-row]");
    if (cell && row) setAt({ row: Number(row.dataset.row), col: Number(cell.dataset.col) });
  };
  const copy = (e: ClipboardEvent<HTMLDivElement>) => {
    const text = copied(e.currentTarget, rows, columns, selection, rowKey, at);
    if (text === null) return;
    e.clipboardData.setData("text/plain", text);
    e.preventDefault();
  };
  const live = at.row < 0 ? at.col < columns.length && (at.col < loose || (at.col >= from && at.col < to)) : items.some((i) => i.index === at.row) && (at.col < loose || (at.col >= from && at.col < to));
  const loaded = rows.length > 0 && rows.every((r) => selection?.ids.has(rowKey(r)));
  return (
    <div ref={wrap} className="boxed gridwrap">
      <div ref={frame} id={id} className="grid" role="grid" aria-label={label} aria-busy={busy || undefined} aria-rowcount={total === undefined && more?.has ? -1 : (total ?? rows.length) + 1} aria-colcount={columns.length + (selection ? 1 : 0)} aria-multiselectable={selection ? true : undefined}
        tabIndex={0} aria-activedescendant={live ? `${id}-${at.row}-${at.col}` : undefined} aria-describedby={`${id}-help`} style={{ maxHeight: tall, height: rows.length ? undefined : "auto" }} onKeyDown={keys} onMouseDown={press} onCopy={copy} onScroll={scroll}>
        <div className="gridbody" role="presentation" style={{ height: Math.max(headHeight, virtual.getTotalSize()), width }}>
          <div role="rowgroup" className="gridhead" style={{ height: headHeight, width }}>
            <div role="row" aria-rowindex={1} data-row={-1} className="gridrow">
              {selection && <div role="columnheader" aria-colindex={1} className="cell pin check" style={{ width: checkWidth, left: 0 }}><input type="checkbox" tabIndex={-1} aria-label={m.grid.selectLoaded(rows.length)} checked={selection.all || loaded} ref={(n) => { if (n) n.indeterminate = !selection.all && !loaded && selection.ids.size > 0; }} onChange={() => selection.put(rows.map(rowKey), !loaded)} /></div>}
              {columns.map((c, i) => (i < loose || (i >= from && i < to)) && (
                <Head key={c.key} id={`${id}--1-${i}`} column={c} colour={headColour?.(c.key)} index={i} extra={selection ? 2 : 1} width={widths[i]} left={i < loose ? starts[i] : undefined} gap={i === from ? starts[i] - starts[loose] : 0} edge={i === loose - 1} active={at.row === -1 && at.col === i}
                  order={c.sort && sort === c.sort ? "ascending" : c.sort && sort === "-" + c.sort ? "descending" : undefined} onSort={c.sort && onSort ? () => order(c) : undefined}
                  onDrop={setLayout && ((key) => setLayout(placed(layout, key, c.key)))}
                  onWidth={setLayout && ((w, done) => { if (done) { setDrag({}); setLayout({ ...layout, widths: { ...layout.widths, [c.key]: clampWidth(w) } }); } else setDrag({ [c.key]: clampWidth(w) }); })} />
              ))}
            </div>
          </div>
          <div role="rowgroup">
            {items.map((item) => {
              const row = rows[item.index];
              if (row === undefined) return null;
              const key = rowKey(row);
              return <Row key={key} id={id} row={row} index={item.index} top={item.start} height={height} width={width} columns={columns} widths={widths} starts={starts} pinned={loose} from={from} to={to} name={selection ? rowName(row) : ""} link={href?.(row)}
                chosen={selection ? selection.all || selection.ids.has(key) : undefined} active={at.row === item.index ? at.col : -1} act={act} />;
            })}
          </div>
        </div>
      </div>
      {rows.length === 0 && !busy && empty}
      <p id={`${id}-help`} className="sr">{m.grid.help(!!selection, !!setLayout)}</p>
    </div>
  );
}

interface RowProps<T> {
  id: string; row: T; index: number; top: number; height: number; width: number; columns: GridColumn<T>[]; widths: number[]; starts: number[]; pinned: number; from: number; to: number; name: string; link?: string;
  chosen?: boolean; active: number; act: { current: { pick: (index: number, range: boolean) => void } };
}

function RowOf<T>({ id, row, index, top, height, width, columns, widths, starts, pinned, from, to, name, link, chosen, active, act }: RowProps<T>) {
  const extra = chosen === undefined ? 1 : 2;
  return (
    <div role="row" aria-rowindex={index + 2} aria-selected={chosen} data-row={index} className="gridrow" style={{ top, height, width }}>
      {chosen !== undefined && <div role="gridcell" aria-colindex={1} className="cell pin check" style={{ width: checkWidth, left: 0 }}><input type="checkbox" tabIndex={-1} aria-label={m.grid.select(name)} checked={chosen} onChange={() => undefined} onClick={(e) => act.current.pick(index, e.shiftKey)} /></div>}
      {columns.map((c, i) => {
        if (i >= pinned && (i < from || i >= to)) return null;
        const inside = c.cell(row);
        return (
          <div key={c.key} id={`${id}-${index}-${i}`} role="gridcell" aria-colindex={i + extra} data-col={i} data-active={active === i || undefined} className={`cell${c.right ? " r" : ""}${i < pinned ? " pin" : ""}${i === pinned - 1 ? " edge" : ""}`}
            style={{ width: widths[i], left: i < pinned ? starts[i] : undefined, marginLeft: i === from && i > pinned ? starts[i] - starts[pinned] : undefined }}>
            {i === 0 && link ? <Go to={link} tabIndex={-1} className="rowlink">{inside}</Go> : inside}
          </div>
        );
      })}
    </div>
  );
}
const Row = memo(RowOf) as typeof RowOf;

/** The height a frame may have so that it ends with the window, but at least `least`. */
function useTall(ref: { current: HTMLElement | null }, least: number): number {
  const [tall, setTall] = useState(600);
  useLayoutEffect(() => {
    const measure = () => {
      const node = ref.current;
      if (!node) return;
      const top = node.getBoundingClientRect().top + window.scrollY;
      setTall(Math.round(Math.max(least, window.innerHeight - top - 28)));
    };
    measure();
    const seen = typeof ResizeObserver === "undefined" ? undefined : new ResizeObserver(measure);
    seen?.observe(document.body);
    addEventListener("resize", measure);
    return () => { removeEventListener("resize", measure); seen?.disconnect(); };
  }, [ref, least]);
  return tall;
}
