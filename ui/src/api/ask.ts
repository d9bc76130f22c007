/** Calls that the generated description does not hold: answers have hand-written types, refusals are the same problems. */
import { call, prefix } from "./client";

export type Query = Record<string, string | number | boolean | undefined | null>;

/** "/api/v1/x?a=1" with the workspace prefix; values that are not set are left out. */
export function address(path: string, query: Query = {}): string {
  const p = new URLSearchParams();
  for (const [k, v] of Object.entries(query)) if (v !== undefined && v !== null && v !== "") p.set(k, String(v));
  const text = p.toString();
  return prefix + path + (text ? "?" + text : "");
}

interface Sent { query?: Query; body?: unknown; signal?: AbortSignal }

/** Sends a request and gives the answer's document, undefined when it has none; a refusal is thrown as a Problem. */
export function ask<T>(method: "GET" | "POST" | "PATCH" | "PUT" | "DELETE", path: string, { query, body, signal }: Sent = {}): Promise<T> {
  return call<T>(send(method, address(path, query), body, signal) as Promise<{ data?: T; error?: unknown; response: Response }>);
}

async function send(method: string, url: string, body: unknown, signal?: AbortSignal) {
  const response = await fetch(new Request(new URL(url, location.href), { method, credentials: "same-origin", signal, headers: body === undefined ? { Accept: "application/json" } : { "Content-Type": "application/json", Accept: "application/json" }, body: body === undefined ? undefined : JSON.stringify(body) }));
  const text = await response.text();
  let doc: unknown;
  try { doc = text ? JSON.parse(text) : undefined; } catch { doc = undefined; }
  return response.ok ? { data: doc, response } : { error: translated(doc), response };
}

/** MLflow's refusals ({error_code, message}) as problem documents. */
function translated(doc: unknown): unknown {
  if (doc && typeof doc === "object" && "error_code" in doc) { const d = doc as { error_code: string; message?: string }; return { title: d.error_code, detail: d.message }; }
  return doc;
}
