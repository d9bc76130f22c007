/** Documents of traces: what an application did to answer one request, span by span. */
export interface Tokens { input?: number; output?: number; total?: number; cache_read?: number; cache_creation?: number }
export interface Cost { input?: number; output?: number; total?: number }

export interface Assessment {
  id: string; name: string; kind: "feedback" | "expectation" | "issue"; value: unknown; rationale?: string; span?: string;
  source: { kind: string; id: string }; error?: { code?: string; message?: string } | null; valid: boolean; overrides?: string; created_at: string;
}

export interface Trace {
  id: string; name: string; experiment: string; state: string; started_at: string; duration_ms?: number; request?: string; response?: string;
  client_request_id?: string; session?: string; user?: string; spans: number; tokens?: Tokens; cost?: Cost; tags: Record<string, string> | null; metadata: Record<string, string> | null;
  runs: string[] | null; prompts?: { name: string; version: string }[] | null; assessments: Assessment[] | null;
}

export interface SpanEvent { name: string; at: string; offset_us?: number; attributes?: Record<string, unknown> | null }
export interface Span {
  id: string; parent?: string; name: string; type: string; kind?: string; status: string; message?: string; started_at: string; offset_us: number; duration_us?: number;
  inputs?: unknown; outputs?: unknown; attributes: Record<string, unknown> | null; events?: SpanEvent[] | null; model?: string; tokens?: Tokens; cost?: Cost; children?: Span[] | null;
}
export interface TraceDocument extends Trace { tree: Span[] | null; truncated?: boolean }
