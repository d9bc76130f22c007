import { useCallback, useMemo } from "react";
import { useParam, useSetParams } from "../url";
import { joinKeys, joinWidths, splitKeys, splitWidths, type Layout } from "./columns";

/** The columns of one grid, kept in the address; what equals the default is left out of it. `prefix` tells two grids of one page apart. */
export function useLayout(defaults: { keys: string[]; pinned: string[] }, prefix = ""): [Layout, (next: Layout) => void] {
  const [cols] = useParam(prefix + "cols");
  const [pin] = useParam(prefix + "pin");
  const [widths] = useParam(prefix + "w");
  const put = useSetParams();
  const keys = joinKeys(defaults.keys), pinned = joinKeys(defaults.pinned);
  const layout = useMemo<Layout>(() => {
    const chosen = splitKeys(cols || keys);
    return { keys: chosen, pinned: (pin === "none" ? [] : splitKeys(pin || pinned)).filter((k) => chosen.includes(k)), widths: splitWidths(widths) };
  }, [cols, pin, widths, keys, pinned]);
  const set = useCallback((next: Layout) => {
    const c = joinKeys(next.keys), p = joinKeys(next.pinned);
    put({ [prefix + "cols"]: c === keys ? "" : c, [prefix + "pin"]: p === pinned ? "" : p || "none", [prefix + "w"]: joinWidths(next.widths) });
  }, [put, prefix, keys, pinned]);
  return [layout, set];
}

const densityKey = "keelson-density";
export type Density = "comfortable" | "compact";
export const rowHeight: Record<Density, number> = { comfortable: 40, compact: 32 };

/** The density a person chose last, or comfortable. */
export function storedDensity(): Density {
  try { return localStorage.getItem(densityKey) === "compact" ? "compact" : "comfortable"; } catch { return "comfortable"; }
}
export function storeDensity(d: Density) {
  try { localStorage.setItem(densityKey, d); } catch { /* private window: lasts as long as the page */ }
}
