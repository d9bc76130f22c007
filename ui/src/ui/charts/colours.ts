/** How many things are told apart by colour at once; the others are grey. */
export const most = 8;

/** Lines of the second half differ by dash as well. */
const dashes: (number[] | undefined)[] = [undefined, undefined, undefined, undefined, [7, 4], [2, 3], [9, 3, 2, 3], [4, 2]];

function slot(id: string): number {
  let h = 2166136261;
  for (let i = 0; i < id.length; i++) h = Math.imul(h ^ id.charCodeAt(i), 16777619);
  return (h >>> 0) % most;
}

/**
 * The place in the palette of each id. An id prefers the place that its own letters give, so that it keeps its colour
 * from page to page; of two that want the same, the earlier has it. Ids after the eighth have none.
 */
export function places(ids: readonly string[]): Map<string, number> {
  const out = new Map<string, number>();
  const taken = new Set<number>();
  for (const id of ids.slice(0, most)) {
    let p = slot(id);
    while (taken.has(p)) p = (p + 1) % most;
    taken.add(p);
    out.set(id, p);
  }
  return out;
}

/** The colour of a place as CSS; grey for none. */
export const colourOf = (place: number | undefined) => (place === undefined ? "var(--k-strong)" : `var(--k-c${place + 1})`);
export const dashOf = (place: number | undefined) => (place === undefined ? undefined : dashes[place]);
