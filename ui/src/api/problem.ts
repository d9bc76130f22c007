import { m } from "../messages";
import type { ProblemDocument } from "./types";

/** A refusal or failure as the server described it; status 0 means that no answer came. */
export class Problem extends Error {
  readonly status: number;
  readonly title: string;
  readonly detail: string;
  readonly field?: string;
  readonly request?: string;
  readonly errors: NonNullable<ProblemDocument["errors"]>;

  constructor(doc: ProblemDocument) {
    super(doc.detail || doc.title || m.problem.unknown);
    this.name = "Problem";
    this.status = doc.status ?? 0;
    this.title = doc.title ?? "";
    this.detail = doc.detail || doc.title || m.problem.unknown;
    this.field = doc.field;
    this.request = doc.request;
    this.errors = doc.errors ?? [];
  }

  /** Everything worth pasting into a message to whoever runs the server. */
  details(): string {
    const lines = [`${this.status} ${this.title}`, this.detail, ...this.errors.map((e) => `${e.field}: ${e.detail}`)];
    if (this.request) lines.push(`request ${this.request}`);
    lines.push(location.href, new Date().toISOString());
    return lines.join("\n");
  }
}

/** Turns whatever was thrown into a Problem. */
export function asProblem(error: unknown): Problem {
  if (error instanceof Problem) return error;
  return new Problem({ status: 0, title: m.problem.noAnswerTitle, detail: m.problem.noAnswer });
}

/** Reads a failed answer; bodies that are not problem documents get a sentence from the status. */
export function problemFrom(body: unknown, response: Response): Problem {
  const request = response.headers.get("X-Request-Id") ?? undefined;
  if (body && typeof body === "object" && ("detail" in body || "title" in body)) return new Problem({ request, status: response.status, ...(body as ProblemDocument) });
  return new Problem({ status: response.status, title: response.statusText, detail: m.problem.status(response.status), request });
}
