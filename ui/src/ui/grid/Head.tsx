import { useEffect, useRef, type DragEvent, type PointerEvent } from "react";
import { m } from "../../messages";

interface Props {
  id: string;
  column: { key: string; head: string; right?: boolean };
  colour?: string;
  index: number;
  /** What is added to index for aria-colindex. */
  extra: number;
  width: number;
  /** Distance from the left edge where the column is pinned. */
  left?: number;
  /** Room of the columns before it that are not drawn. */
  gap: number;
  edge: boolean;
  active: boolean;
  order?: "ascending" | "descending";
  onSort?: () => void;
  onDrop?: (key: string) => void;
  onWidth?: (width: number, done: boolean) => void;
}

const kind = "application/x-keelson-column";

/** The head of one column: click sorts, dragging moves it, the right edge resizes it. All three have keys, see the grid's help. */
export function Head({ id, column, colour, index, extra, width, left, gap, edge, active, order, onSort, onDrop, onWidth }: Props) {
  const moving = useRef<AbortController>(undefined);
  useEffect(() => () => moving.current?.abort(), []);
  const resize = (e: PointerEvent) => {
    e.preventDefault();
    e.stopPropagation();
    const begin = e.clientX;
    const end = new AbortController();
    moving.current = end;
    addEventListener("pointermove", (v) => onWidth?.(width + v.clientX - begin, false), { signal: end.signal });
    addEventListener("pointerup", (v) => { end.abort(); onWidth?.(width + v.clientX - begin, true); }, { signal: end.signal });
  };
  const over = (e: DragEvent) => { if (onDrop && e.dataTransfer.types.includes(kind)) e.preventDefault(); };
  const drop = (e: DragEvent) => { const key = e.dataTransfer.getData(kind); if (key) { e.preventDefault(); onDrop?.(key); } };
  return (
    <div id={id} role="columnheader" aria-colindex={index + extra} aria-sort={order} data-col={index} data-active={active || undefined} className={`cell${column.right ? " r" : ""}${left !== undefined ? " pin" : ""}${edge ? " edge" : ""}`} style={{ width, left, marginLeft: gap || undefined }}
      draggable={!!onDrop} onDragStart={(e) => { e.dataTransfer.setData(kind, column.key); e.dataTransfer.effectAllowed = "move"; }} onDragOver={over} onDrop={drop} title={column.head}>
      {colour && <i className="swatch" style={{ background: colour }} aria-hidden="true" />}
      {onSort ? <button type="button" className="sort" tabIndex={-1} onClick={onSort}><span className="cut">{column.head}</span>{order && <span className="arrow" aria-hidden="true">{order === "descending" ? "▼" : "▲"}</span>}</button> : <span className="cut">{column.head}</span>}
      {onWidth && <span className="grip" aria-hidden="true" title={m.grid.resize} onPointerDown={resize} draggable onDragStart={(e) => { e.preventDefault(); e.stopPropagation(); }} />}
    </div>
  );
}
