import createClient from "openapi-fetch";
import { asProblem, problemFrom } from "./problem";
import type { Paths } from "./types";

/** "/w/NAME" when the page is in a workspace other than the default, else "". */
export const prefix = /^\/w\/[^/]+/.exec(location.pathname)?.[0] ?? "";

/** The typed client: `call(api.GET("/api/v1/models/{name}", { params: { path: { name } } }))`. */
export const api = createClient<Paths>({
  baseUrl: location.origin + prefix,
  credentials: "same-origin",
  fetch: (request: Request) => globalThis.fetch(request),
});

type Listener = () => void;
const leavers = new Set<Listener>();

/** Calls fn whenever the server says that nobody is signed in. Returns the way to stop. */
export function onSignedOut(fn: Listener): () => void {
  leavers.add(fn);
  return () => leavers.delete(fn);
}

/** The answer's document, or a thrown Problem. */
export async function call<T>(answer: Promise<{ data?: T; error?: unknown; response: Response }>): Promise<T> {
  let got: { data?: T; error?: unknown; response: Response };
  try {
    got = await answer;
  } catch (error) {
    throw asProblem(error);
  }
  if (got.response.ok) return got.data as T;
  if (got.response.status === 401) leavers.forEach((fn) => fn());
  throw problemFrom(got.error, got.response);
}

/** The items of a page or list; Go's nil slice arrives as null. */
export function items<T>(page: { items: T[] | null } | T[] | null | undefined): T[] {
  if (!page) return [];
  return Array.isArray(page) ? page : (page.items ?? []);
}
