import { asProblem } from "../api/problem";

/** What a refusal says of each field of a form, by the server's name of it ("escalate[0].after"); undefined for a field that it says nothing of. */
export function faultsOf(error: unknown): (field: string) => string | undefined {
  if (!error) return () => undefined;
  const p = asProblem(error);
  const found = new Map<string, string>();
  for (const e of p.errors) if (e.field) found.set(e.field.replace(/^body\.?/, ""), e.detail ?? p.detail);
  if (p.field) found.set(p.field.replace(/^body\.?/, ""), p.detail);
  return (field) => found.get(field);
}
