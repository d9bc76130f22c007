import { MantineProvider } from "@mantine/core";
import { QueryClient, QueryClientProvider } from "@tanstack/react-query";
import { render } from "@testing-library/react";
import axe from "axe-core";
import type { ReactNode } from "react";
import { vi } from "vitest";
import type { Me } from "../api/types";

export interface Sent { method: string; path: string; query: URLSearchParams; body: unknown }
type Answer = unknown | ((sent: Sent) => unknown);

/** A refusal for `serve`: the problem document and its status. */
export const refusal = (status: number, detail: string, more: object = {}) => ({ problem: { status, title: "Refused", detail, request: "req-1", ...more } });

/** Answers requests like the server would: "GET /api/v1/me" -> document. Returns what was sent. */
export function serve(routes: Record<string, Answer>): Sent[] {
  const sent: Sent[] = [];
  vi.stubGlobal("fetch", async (input: RequestInfo | URL, init?: RequestInit) => {
    const request = input instanceof Request ? input : new Request(new URL(String(input), location.href), init);
    const url = new URL(request.url);
    const text = request.method === "GET" ? "" : await request.text();
    const one: Sent = { method: request.method, path: url.pathname, query: url.searchParams, body: text ? JSON.parse(text) : undefined };
    sent.push(one);
    const found = routes[`${one.method} ${one.path}`];
    const answer = typeof found === "function" ? (found as (s: Sent) => unknown)(one) : found;
    if (answer === undefined) return json(404, { status: 404, title: "Not Found", detail: `no route ${one.method} ${one.path}` });
    if (answer && typeof answer === "object" && "problem" in answer) { const p = (answer as { problem: { status: number } }).problem; return json(p.status, p); }
    return json(200, answer);
  });
  return sent;
}

const json = (status: number, doc: unknown) => new Response(JSON.stringify(doc), { status, headers: { "Content-Type": status < 400 ? "application/json" : "application/problem+json" } });

/** Somebody with these rights. */
export const me = (permissions: string[], name = "rita", roles = ["risk-compliance"]): Me => ({ name, display: name, kind: "person", roles, workspace: "default", workspaces: ["default"], permissions, auth: "on" });

/** Renders within the kit and an empty cache. */
export function show(node: ReactNode) {
  const client = new QueryClient({ defaultOptions: { queries: { retry: false } } });
  return { client, ...render(<MantineProvider env="test"><QueryClientProvider client={client}><main>{node}</main></QueryClientProvider></MantineProvider>) };
}

/** What axe finds of serious or critical impact; colours need a real browser and are left to it. */
export async function findings(): Promise<string[]> {
  const result = await axe.run(document.body, { resultTypes: ["violations"], rules: { "color-contrast": { enabled: false }, region: { enabled: false } } });
  return result.violations.filter((v) => v.impact === "serious" || v.impact === "critical").map((v) => `${v.id}: ${v.nodes.map((n) => n.html).join(" ")}`);
}
