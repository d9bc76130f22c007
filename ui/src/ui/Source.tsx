import type { Source as Doc } from "../api/types";
import { m } from "../messages";
import { Chip, Id } from "./Bits";

/** Where code came from: repository, commit, and whether it had uncommitted changes. */
export function Source({ source }: { source?: Doc | null }) {
  if (!source?.commit) return <span className="dim">{m.none}</span>;
  return <span className="row">{source.repository && <span className="wrap">{source.repository}</span>}<Id value={source.commit} what={m.commit} />{source.dirty ? <Chip tone="warn">{m.dirty}</Chip> : <Chip tone="ok">{m.clean}</Chip>}</span>;
}
