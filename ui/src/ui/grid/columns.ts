import type { ReactNode } from "react";

/** One column a grid can show. `text` is what copying and screen readers get where `cell` draws more than text. */
export interface GridColumn<T> {
  key: string;
  head: string;
  /** Under which heading the chooser lists it. */
  group?: string;
  /** Width in CSS pixels while nobody changed it; 140 when left out. */
  width?: number;
  right?: boolean;
  /** What the address and the server call the sort by this column; left out where it cannot be sorted. */
  sort?: string;
  cell: (row: T) => ReactNode;
  text?: (row: T) => string;
}

export const narrowest = 56;
export const widest = 900;
const usual = 140;

/** What a person chose: which columns in which order, which of them stay at the left, how wide. */
export interface Layout { keys: string[]; pinned: string[]; widths: Record<string, number> }

const escape = (key: string) => key.replace(/[%,:]/g, (c) => "%" + c.charCodeAt(0).toString(16).toUpperCase());
const unescape = (text: string) => text.replace(/%(25|2C|3A)/gi, (_, hex: string) => String.fromCharCode(parseInt(hex, 16)));

/** Keys as one value of the address; "," ":" and "%" inside a key are escaped. */
export const joinKeys = (keys: readonly string[]) => keys.map(escape).join(",");
export const splitKeys = (text: string) => (text ? [...new Set(text.split(",").filter(Boolean).map(unescape))] : []);

export const joinWidths = (widths: Record<string, number>) => Object.entries(widths).map(([k, w]) => `${escape(k)}:${Math.round(w)}`).join(",");
export function splitWidths(text: string): Record<string, number> {
  const out: Record<string, number> = {};
  for (const part of text.split(",")) {
    const [key, width] = part.split(":");
    const n = Number(width);
    if (key && Number.isFinite(n) && n > 0) out[unescape(key)] = clampWidth(n);
  }
  return out;
}

export const clampWidth = (w: number) => Math.min(widest, Math.max(narrowest, Math.round(w)));

/** The keys in the order they are drawn: pinned ones first. */
export function ordered(layout: Layout): string[] {
  const pinned = layout.keys.filter((k) => layout.pinned.includes(k));
  return [...pinned, ...layout.keys.filter((k) => !layout.pinned.includes(k))];
}

/** The layout with one key moved by `by` places among those that are pinned like it. */
export function moved(layout: Layout, key: string, by: number): Layout {
  const drawn = ordered(layout);
  const from = drawn.indexOf(key), to = from + by;
  if (from < 0 || to < 0 || to >= drawn.length || layout.pinned.includes(drawn[to]) !== layout.pinned.includes(key)) return layout;
  drawn.splice(to, 0, ...drawn.splice(from, 1));
  return { ...layout, keys: drawn };
}

/** The layout with `key` put before `target`; it becomes pinned or loose like the target. */
export function placed(layout: Layout, key: string, target: string): Layout {
  if (key === target) return layout;
  const drawn = ordered(layout).filter((k) => k !== key);
  const at = drawn.indexOf(target);
  if (at < 0) return layout;
  const after = ordered(layout).indexOf(key) < ordered(layout).indexOf(target);
  drawn.splice(after ? at + 1 : at, 0, key);
  const pinned = layout.pinned.filter((k) => k !== key);
  return { ...layout, keys: drawn, pinned: layout.pinned.includes(target) ? [...pinned, key] : pinned };
}

export function pinnedOr(layout: Layout, key: string): Layout {
  const on = layout.pinned.includes(key);
  return { ...layout, pinned: on ? layout.pinned.filter((k) => k !== key) : [...layout.pinned, key] };
}

export function shownOr(layout: Layout, key: string): Layout {
  if (!layout.keys.includes(key)) return { ...layout, keys: [...layout.keys, key] };
  return { ...layout, keys: layout.keys.filter((k) => k !== key), pinned: layout.pinned.filter((k) => k !== key) };
}

/**
 * Widths in CSS pixels. Room that is left over goes to the text columns nobody resized, each at most doubled, so that few
 * columns fill the frame without tearing numbers apart.
 */
export function widthsOf(columns: readonly { key: string; width?: number; right?: boolean }[], chosen: Record<string, number>, room: number): number[] {
  const widths = columns.map((c) => chosen[c.key] ?? c.width ?? usual);
  const free = columns.map((_, i) => i).filter((i) => chosen[columns[i].key] === undefined && !columns[i].right);
  let left = room - widths.reduce((a, b) => a + b, 0);
  if (left <= 0 || free.length === 0) return widths;
  const share = left / free.length;
  for (const i of free) {
    const more = Math.floor(Math.min(share, widths[i]));
    widths[i] += more;
    left -= more;
  }
  return widths;
}

/** The loose columns that are at least partly within the frame, and one more on each side: [from, to). */
export function visibleColumns(widths: readonly number[], pinned: number, scrollLeft: number, room: number): [number, number] {
  let x = 0;
  for (let i = 0; i < pinned; i++) x += widths[i];
  const begin = scrollLeft + x, end = scrollLeft + room;
  let from = -1, to = widths.length;
  for (let i = pinned; i < widths.length; i++) {
    const right = x + widths[i];
    if (from < 0 && right > begin) from = i;
    if (x >= end) { to = i; break; }
    x = right;
  }
  if (from < 0) from = widths.length;
  return [Math.max(pinned, from - 1), Math.min(widths.length, to + 1)];
}
