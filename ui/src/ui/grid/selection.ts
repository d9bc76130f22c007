import { useMemo, useState } from "react";
import { useParam } from "../url";
import { joinKeys, splitKeys } from "./columns";

/** Chosen rows: some by id, or everything the filter matches. */
export interface Selection {
  ids: ReadonlySet<string>;
  /** Everything that matches, also what is not loaded. */
  all: boolean;
  toggle: (id: string) => void;
  /** Adds or drops several, like a range with Shift. */
  put: (ids: readonly string[], on: boolean) => void;
  everything: () => void;
  clear: () => void;
}

/** More than these stay out of the address: it would become too long to send. */
const inAddress = 50;

/** A selection kept in the address under `name` while it is small, so that a copied link shows it too. */
export function useSelection(name: string): Selection {
  const [text, set] = useParam(name);
  const [many, setMany] = useState<ReadonlySet<string> | null>(null);
  const [all, setAll] = useState(false);
  return useMemo(() => {
    const ids = many ?? new Set(splitKeys(text));
    const keep = (next: Set<string>) => {
      setAll(false);
      setMany(next.size > inAddress ? next : null);
      set(next.size > inAddress ? "" : joinKeys([...next]));
    };
    return {
      ids, all,
      toggle: (id) => { const next = new Set(ids); if (!next.delete(id)) next.add(id); keep(next); },
      put: (list, on) => { const next = new Set(ids); for (const id of list) if (on) next.add(id); else next.delete(id); keep(next); },
      everything: () => setAll(true),
      clear: () => keep(new Set()),
    };
  }, [text, many, all, set]);
}
