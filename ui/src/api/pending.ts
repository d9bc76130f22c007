/**
 * Operations the server answers that its description (schema.ts, generated) does not
 * hold: plain handlers, and those it has not described yet. An operation that appears
 * in the description takes the place of the one here by itself; see types.ts.
 */
interface Page<T> { items: List<T>; next?: string }
interface Json<T> { headers: Record<string, unknown>; content: { "application/json": T } }
interface Plain<Out, Params> {
  parameters: Params & { header?: never; cookie?: never };
  requestBody?: never;
  responses: { 200: Json<Out>; default: Failed };
}
interface Sending<Out, Params, Body> {
  parameters: Params & { header?: never; cookie?: never };
  requestBody: { content: { "application/json": Body } };
  responses: { 200: Json<Out>; default: Failed };
}
type Op<Out, Params = { query?: never; path?: never }, Body = never> = [Body] extends [never] ? Plain<Out, Params> : Sending<Out, Params, Body>;
interface Path<K extends string> { query?: never; path: Record<K, string> }
interface Query<Q> { query?: Q; path?: never }
interface Both<K extends string, Q> { query?: Q; path: Record<K, string> }
interface Paging { limit?: number; cursor?: string }
interface Problem { type?: string; title?: string; status?: number; detail?: string }
interface Failed { headers: Record<string, unknown>; content: { "application/problem+json": Problem } }
type List<T> = T[] | null;
interface Reason { reason: string }

interface Me { name: string; display: string; kind: string; roles: List<string>; workspace: string; workspaces: List<string>; permissions: List<string>; auth: "on" | "off" }
interface Evaluation { id: string; model: string; version: number; suite: string; state: "running" | "passed" | "failed"; tests: List<{ name: string; kind: string; state: "passed" | "failed" | "skipped"; value?: number | null; limit?: number | string | null; detail?: string }>; metrics: Record<string, number> | null; started_at: string; ended_at?: string | null; by: string }
interface Caller { caller: string; application?: string; versions: List<number>; calls: number; last_at: string }
interface Slot { version: number; kind: string; share: number }
interface Release { serial: number; state?: string; slots?: List<Slot>; issued_at: string; request?: string; signed?: boolean }
interface Deployment { id: string; endpoint: string; environment: string; model: string; state: string; releases?: List<Release>; slots: List<Slot>; previous?: { version: number } | null; rollout?: { version: number; step: number; waits: string; request: string } | null; serial?: number; durability: string; updated_at: string; url: string; words?: string; sealed?: boolean; broken?: string }
interface Tensor { name: string; datatype: string; shape: List<number>; data: unknown }
interface Prediction { id: string; at: string; endpoint: string; model: string; version: number; environment: string; slot?: string; caller: string; application?: string; purpose?: string; subject?: string; rows: number; inputs?: List<Tensor>; outputs?: List<Tensor>; latency_us: number; compute_us?: number; error?: string; trace?: string; segment?: string; override?: string; trace_info?: List<{ row: number; fired: List<{ rule: string; message?: string }> }>; outcomes?: List<{ row: number; value: unknown; at: string }> }
interface Verdict { verdict: "yes" | "watch" | "no" | "unknown"; reasons: List<string> }
interface Monitor { endpoint: string; model: string; version?: number; reference: { dataset: string; version: number }; window: { rows: number; min_rows: number }; limits: { psi?: number; accuracy?: number }; features?: List<string>; on_breach?: { retrain?: { pipeline: string } | null } | null; verdict?: Verdict }
interface Histogram { edges?: List<number>; labels?: List<string>; reference: List<number>; current: List<number>; reference_rows: number; current_rows: number }
interface WindowFeature { name: string; kind?: string; psi?: number | null; ks?: number | null; js?: number | null; missing?: number | null; shift: "none" | "slight" | "moved" | "unknown"; metric?: string; value?: number; limit?: number | null; why?: string; histogram?: Histogram | null }
interface Window { id: string; endpoint: string; from: string; to: string; rows: number; first_prediction?: string; last_prediction?: string; version: number; features: List<WindowFeature>; predictions?: List<WindowFeature>; performance?: { accuracy?: number | null; auc?: number | null; n: number; label_coverage: number } | null; breached: boolean; verdict?: string; reasons?: List<string> }
interface Alert { id: string; title?: string; endpoint: string; model: string; window: string; kind?: string; feature: string; metric: string; value: number; limit: number; state: "open" | "acknowledged" | "silenced" | "recovered"; opened_at: string; by?: string; reason?: string; until?: string | null; link: string }

export interface Pending {
  "/api/v1/session": { post: Op<Me, Query<never>, { name?: string; password?: string; link?: string }>; delete: Op<undefined> };
  "/api/v1/models/{name}/versions/{version}/evaluations": { get: Op<Page<Evaluation>, { query?: never; path: { name: string; version: number } }> };
  "/api/v1/models/{name}/callers": { get: Op<Page<Caller>, Both<"name", { since?: string }>> };
  "/api/v1/deployments": { get: Op<Page<Deployment>, Query<Paging & { model?: string }>>; post: Op<Deployment, Query<never>, { request: string }> };
  "/api/v1/deployments/{endpoint}": { get: Op<Deployment, Path<"endpoint">> };
  "/api/v1/deployments/{endpoint}/advance": { post: Op<Deployment, Path<"endpoint">, Reason> };
  "/api/v1/deployments/{endpoint}/rollback": { post: Op<Deployment, Path<"endpoint">, Reason> };
  "/api/v1/deployments/{endpoint}/suspend": { post: Op<Deployment, Path<"endpoint">, Reason> };
  "/api/v1/deployments/{endpoint}/resume": { post: Op<Deployment, Path<"endpoint">, Reason> };
  "/api/v1/predictions": { get: Op<Page<Prediction>, Query<Paging & { endpoint?: string; model?: string; version?: number; caller?: string; since?: string; until?: string }>> };
  "/api/v1/predictions/{id}": { get: Op<Prediction, Path<"id">> };
  "/api/v1/monitors": { get: Op<Page<Monitor>, Query<Paging & { model?: string }>> };
  "/api/v1/monitors/{endpoint}": { get: Op<{ monitor: Monitor; verdict: Verdict; windows: List<Window> }, Path<"endpoint">> };
  "/api/v1/monitors/{endpoint}/windows/{id}": { get: Op<Window, Path<"endpoint" | "id">> };
  "/api/v1/alerts": { get: Op<Page<Alert>, Query<Paging & { state?: "open" | "acknowledged" | "silenced" | "recovered"; endpoint?: string }>> };
  "/api/v1/alerts/{id}/ack": { post: Op<Alert, Path<"id">, Reason> };
  "/api/v1/alerts/{id}/silence": { post: Op<Alert, Path<"id">, { reason: string; until: string }> };
}
