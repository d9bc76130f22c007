/**
 * The REST API as types, in the shape openapi-typescript writes: `components`
 * holds the documents, `paths` the operations. Times are RFC 3339 UTC strings.
 */
type List<T> = T[] | null;
interface Page<T> { items: List<T>; next?: string }
interface Json<T> { headers: Record<string, unknown>; content: { "application/json": T } }
interface Failed { headers: Record<string, unknown>; content: { "application/problem+json": components["schemas"]["Problem"] } }
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
type S = components["schemas"];

export interface components {
  schemas: {
    Problem: { type?: string; title?: string; status?: number; detail?: string; field?: string; request?: string; errors?: List<{ field: string; detail: string; rule?: string; rows?: List<number>; count?: number }> };
    Me: { name: string; display: string; kind: string; roles: List<string>; workspace: string; workspaces: List<string>; permissions: List<string>; auth: "on" | "off" };
    User: { name: string; display: string; email?: string; roles: List<string>; disabled: boolean; created_at: string };
    Token: { id: string; name: string; owner: string; created_at: string; expires_at?: string | null; last_used_at?: string | null; token?: string };
    Role: { name: string; title: string; permissions: List<string> };
    Rule: { id?: string; column: string; check: string; type?: string; min?: number; max?: number; max_share?: number; values?: List<unknown> };
    Dataset: { name: string; description: string; owner: string; sensitivity: string; source: string; target: string; rules: List<S["Rule"]>; versions: number; latest?: { version: number; digest: string; rows: number; columns: number; created_at: string } | null };
    ColumnProfile: { name: string; type: string; count: number; missing: number; distinct: number; min?: number | string | null; max?: number | string | null; mean?: number | null; sd?: number | null; quantiles?: Record<string, number> | null; top?: List<{ value: unknown; count: number }>; histogram?: { edges: List<number>; counts: List<number> } | null };
    DataVersion: { dataset: string; version: number; digest: string; format: string; size: number; rows: number; schema: List<{ name: string; type: string }>; profile: List<S["ColumnProfile"]>; parents: List<{ dataset: string; version: number }>; created_by: string; created_at: string; note?: string; rules_result?: unknown };
    Experiment: { id: string; name: string; runs: number; last_run_at?: string | null };
    Source: { repository?: string; commit?: string; dirty?: boolean };
    Run: { id: string; name: string; experiment: string; status: string; user: string; started_at: string; ended_at?: string | null; params: Record<string, string> | null; metrics: Record<string, number> | null; tags: Record<string, string> | null; artifacts: List<{ path: string; size: number }>; inputs: List<{ dataset: string; version: number; digest: string }>; source?: S["Source"] | null; environment?: { digest?: string } | null; pipeline_run?: string };
    Responsibilities: { accountable?: string; responsible?: List<string>; consulted?: List<string>; informed?: List<string> };
    Slot: { version: number; kind: "live" | "canary" | "shadow"; share: number; environment?: string };
    Verdict: { verdict: "yes" | "watch" | "no" | "unknown"; reasons: List<string> };
    Model: { name: string; kind: string; description: string; area: string; owner: string; use_case: string; tier: number; intended_use: string; forbidden_use: string; responsibilities: S["Responsibilities"] | null; missing: List<string>; tags: Record<string, string> | null; latest_version: number; live: List<{ environment: string; version: number; share: number; kind: string }>; health: S["Verdict"]; last_used_at?: string | null; created_at: string; updated_at: string };
    Tensor: { name: string; datatype: string; shape: List<number> };
    Version: { model: string; version: number; state: "pending" | "ready" | "failed" | "retired"; reason?: string; artifact_digest: string; content_digest: string; format: string; engine: string; size: number; files: List<{ path: string; digest: string; size: number }>; signature?: { inputs: List<S["Tensor"]>; outputs: List<S["Tensor"]> } | null; dependencies: List<{ kind: string; name: string; version: string; digest?: string }>; golden?: { rows: number; max_error: number; limit: number } | null; run_id?: string; source?: S["Source"] | null; created_by: string; authors: List<string>; created_at: string; aliases: List<string>; evaluation?: { state: "passed" | "failed" | "running" | "none"; id?: string } | null; deployed: List<string>; tags: Record<string, string> | null };
    Evaluation: { id: string; model: string; version: number; suite: string; state: "running" | "passed" | "failed"; tests: List<{ name: string; kind: string; state: "passed" | "failed" | "skipped"; value?: number | null; limit?: number | string | null; detail?: string }>; metrics: Record<string, number> | null; started_at: string; ended_at?: string | null; by: string };
    ModelCaller: { caller: string; application?: string; versions: List<number>; calls: number; last_at: string };
    Environment: { name: string; title: string; policy: string; auto_approve: boolean; url_suffix?: string };
    Policy: { name: string; version: number; rules: List<{ id: string; when?: string; require: string; message: string }>; approvals?: string; text?: string };
    Plan: { mode: "all" | "canary" | "shadow"; steps?: List<{ share: number; hold_rows?: number; hold_seconds?: number }> };
    ChangeRequest: { id: string; number: number; kind: "deploy" | "retire" | "suspend" | "rollback"; model: string; version: number; environment: string; artifact_digest: string; plan?: S["Plan"] | null; plan_digest?: string; policy: { name: string; version: number }; reason: string; author: string; authors: List<string>; opened_at: string; expires_at?: string | null; state: "open" | "approved" | "refused" | "withdrawn" | "executed" | "expired" | "void"; when_approved: boolean; need: { count: number; roles: List<string> }; votes: List<{ by: string; role: string; grant: boolean; reason: string; at: string }>; missing: List<string>; verdict: { allowed: boolean; reasons: List<{ rule: string; ok: boolean; message: string }> }; you: { may_vote: boolean; why?: string } };
    Changes: { from?: { version: number } | null; to: number | { version: number }; sections: List<{ title: string; rows: List<{ label: string; before?: unknown; after?: unknown; note?: string; better?: boolean | null }> }> };
    Comment: { id?: string; by: string; text: string; at: string };
    Deployment: { id: string; endpoint: string; environment: string; model: string; state: "pending" | "rolling" | "live" | "suspended" | "retired" | "failed"; releases?: List<{ serial: number; state?: string; slots?: List<S["Slot"]>; issued_at: string; by?: string; request?: string; reason?: string }>; slots: List<S["Slot"]>; previous?: { version: number } | null; durability: string; updated_at: string; url: string; why?: string };
    Incident: { id: string; kind: string; model: string; endpoint: string; title: string; detail: string; severity: string; state: "open" | "acknowledged" | "closed"; opened_at: string; owner?: string; timeline: List<{ at: string; by: string; text: string }> };
    Prediction: { id: string; at: string; endpoint: string; model: string; version: number; environment: string; caller: string; application?: string; purpose?: string; subject?: string; rows: number; inputs?: unknown; outputs?: unknown; latency_us: number; compute_us?: number; error?: string; trace?: string; segment?: string; override?: string; trace_info?: unknown; outcomes?: List<{ row: number; value: unknown; at: string }> };
    Monitor: { endpoint: string; model: string; reference: { dataset: string; version: number }; window: { rows: number; min_rows: number }; limits: Record<string, number> | null; features?: List<string>; on_breach?: { retrain?: { pipeline: string } | null } | null; verdict?: S["Verdict"] };
    WindowFeature: { name: string; psi?: number | null; ks?: number | null; js?: number | null; missing?: number | null; shift: "none" | "moved"; limit?: number | null; histogram?: { edges: List<number>; labels?: List<string>; reference: List<number>; current: List<number>; reference_rows: number; current_rows: number } | null };
    Window: { id: string; endpoint: string; from: string; to: string; rows: number; first_prediction?: string; last_prediction?: string; version: number; features: List<S["WindowFeature"]>; performance?: { accuracy?: number | null; auc?: number | null; n: number; label_coverage: number } | null; breached: boolean; verdict?: unknown };
    MonitorState: { monitor: S["Monitor"]; verdict: S["Verdict"]; windows: List<S["Window"]> };
    Alert: { id: string; endpoint: string; model: string; window: string; feature: string; metric: string; value: number; limit: number; state: "open" | "acknowledged" | "silenced" | "recovered"; opened_at: string; by?: string; until?: string | null; link: string };
    Step: { name: string; needs: List<string>; kind: string; state: "waiting" | "running" | "succeeded" | "failed" | "skipped" | "cached"; attempt: number; started_at?: string | null; ended_at?: string | null; exit_code?: number | null; error?: string; outputs?: Record<string, unknown> | null };
    Pipeline: { name: string; version: number; digest: string; steps: List<{ name: string; needs?: List<string>; kind: string; run?: string }>; created_at?: string; created_by?: string; last_run?: S["PipelineRun"] | null };
    PipelineRun: { id: string; pipeline: string; pipeline_version: number; state: "queued" | "running" | "succeeded" | "failed" | "cancelled"; trigger: { kind: string; ref?: string }; by: string; started_at?: string | null; ended_at?: string | null; created_at?: string; content_digest?: string; source?: S["Source"] | null; environment_digest?: string; seed?: number; data?: List<{ name?: string; dataset?: string; version?: number; digest?: string }>; steps: List<S["Step"]> };
    Log: { text: string; offset: number; done: boolean };
    Entry: { index: number; id: string; at: string; actor: string; via: string; action: string; object: string; models: List<string>; detail?: Record<string, unknown> | null; leaf?: string };
    Checkpoint: { origin: string; size: number; root: string; note: string; key: string };
    Verified: { ok: boolean; size: number; checked: number; pending: number; broken: List<{ index: number; id: string; why: string }>; checkpoint?: S["Checkpoint"] | string | null };
    Reason: { reason: string };
  };
}

export interface paths {
  "/api/v1/session": { post: Op<S["Me"], Query<never>, { name?: string; password?: string; link?: string }>; delete: Op<undefined> };
  "/api/v1/me": { get: Op<S["Me"]> };
  "/api/v1/users": { get: Op<Page<S["User"]>, Query<Paging>>; post: Op<S["User"], Query<never>, { name: string; display: string; email: string; roles: string[]; password: string }> };
  "/api/v1/users/{name}": { patch: Op<S["User"], Path<"name">, { display?: string; roles?: string[]; disabled?: boolean; password?: string }> };
  "/api/v1/tokens": { get: Op<Page<S["Token"]>, Query<Paging>>; post: Op<S["Token"], Query<never>, { name: string; user?: string; expires_in_days?: number }> };
  "/api/v1/tokens/{id}": { delete: Op<undefined, Path<"id">> };
  "/api/v1/roles": { get: Op<S["Role"][] | Page<S["Role"]>> };
  "/api/v1/datasets": { get: Op<Page<S["Dataset"]>, Query<Paging>> };
  "/api/v1/datasets/{name}": { get: Op<S["Dataset"], Path<"name">> };
  "/api/v1/datasets/{name}/versions": { get: Op<Page<S["DataVersion"]>, Both<"name", Paging>> };
  "/api/v1/datasets/{name}/versions/{v}": { get: Op<S["DataVersion"], Path<"name" | "v">> };
  "/api/v1/experiments": { get: Op<Page<S["Experiment"]>, Query<Paging>> };
  "/api/v1/runs": { get: Op<Page<S["Run"]>, Query<Paging & { experiment?: string }>> };
  "/api/v1/runs/{id}": { get: Op<S["Run"], Path<"id">> };
  "/api/v1/models": { get: Op<Page<S["Model"]>, Query<Paging & { filter?: string }>> };
  "/api/v1/models/{name}": { get: Op<S["Model"], Path<"name">> };
  "/api/v1/models/{name}/versions": { get: Op<Page<S["Version"]>, Both<"name", Paging>> };
  "/api/v1/models/{name}/versions/{v}": { get: Op<S["Version"], Path<"name" | "v">> };
  "/api/v1/models/{name}/versions/{v}/evaluations": { get: Op<Page<S["Evaluation"]>, Path<"name" | "v">> };
  "/api/v1/models/{name}/timeline": { get: Op<Page<S["Entry"]>, Both<"name", Paging>> };
  "/api/v1/models/{name}/callers": { get: Op<Page<S["ModelCaller"]> | S["ModelCaller"][], Both<"name", { since?: string }>> };
  "/api/v1/environments": { get: Op<Page<S["Environment"]>> };
  "/api/v1/approvals": { get: Op<Page<S["ChangeRequest"]>, Query<Paging & { state?: string; model?: string; mine?: boolean }>>; post: Op<S["ChangeRequest"], Query<never>, { kind: string; model: string; version: number; environment: string; plan?: S["Plan"]; reason: string; when_approved: boolean }> };
  "/api/v1/approvals/{id}": { get: Op<S["ChangeRequest"], Path<"id">> };
  "/api/v1/approvals/{id}/changes": { get: Op<S["Changes"], Path<"id">> };
  "/api/v1/approvals/{id}/votes": { post: Op<S["ChangeRequest"], Path<"id">, { grant: boolean; reason: string }> };
  "/api/v1/approvals/{id}/withdraw": { post: Op<S["ChangeRequest"], Path<"id">, S["Reason"]> };
  "/api/v1/approvals/{id}/comments": { get: Op<Page<S["Comment"]>, Path<"id">>; post: Op<S["Comment"], Path<"id">, { text: string }> };
  "/api/v1/deployments": { get: Op<Page<S["Deployment"]>, Query<Paging>>; post: Op<S["Deployment"], Query<never>, { request: string }> };
  "/api/v1/deployments/{endpoint}": { get: Op<S["Deployment"], Path<"endpoint">> };
  "/api/v1/deployments/{endpoint}/advance": { post: Op<S["Deployment"], Path<"endpoint">, S["Reason"]> };
  "/api/v1/deployments/{endpoint}/rollback": { post: Op<S["Deployment"], Path<"endpoint">, S["Reason"]> };
  "/api/v1/deployments/{endpoint}/suspend": { post: Op<S["Deployment"], Path<"endpoint">, S["Reason"]> };
  "/api/v1/deployments/{endpoint}/resume": { post: Op<S["Deployment"], Path<"endpoint">, S["Reason"]> };
  "/api/v1/incidents": { get: Op<Page<S["Incident"]>, Query<Paging & { state?: string }>> };
  "/api/v1/incidents/{id}": { get: Op<S["Incident"], Path<"id">> };
  "/api/v1/incidents/{id}/ack": { post: Op<S["Incident"], Path<"id">, S["Reason"]> };
  "/api/v1/incidents/{id}/close": { post: Op<S["Incident"], Path<"id">, S["Reason"]> };
  "/api/v1/predictions": { get: Op<Page<S["Prediction"]>, Query<Paging & { endpoint?: string; model?: string; version?: number; caller?: string; since?: string; until?: string }>> };
  "/api/v1/predictions/{id}": { get: Op<S["Prediction"], Path<"id">> };
  "/api/v1/monitors": { get: Op<Page<S["Monitor"]>, Query<Paging>> };
  "/api/v1/monitors/{endpoint}": { get: Op<S["MonitorState"], Path<"endpoint">> };
  "/api/v1/monitors/{endpoint}/windows/{id}": { get: Op<S["Window"], Path<"endpoint" | "id">> };
  "/api/v1/alerts": { get: Op<Page<S["Alert"]>, Query<Paging & { state?: string }>> };
  "/api/v1/alerts/{id}/ack": { post: Op<S["Alert"], Path<"id">, S["Reason"]> };
  "/api/v1/alerts/{id}/silence": { post: Op<S["Alert"], Path<"id">, { reason: string; until: string }> };
  "/api/v1/pipelines": { get: Op<Page<S["Pipeline"]>, Query<Paging>> };
  "/api/v1/pipelines/{name}": { get: Op<S["Pipeline"], Path<"name">> };
  "/api/v1/pipelines/{name}/runs": { get: Op<Page<S["PipelineRun"]>, Both<"name", Paging>>; post: Op<S["PipelineRun"], Path<"name">, { version?: number; params?: Record<string, string>; data?: Record<string, number> }> };
  "/api/v1/pipeline-runs/{id}": { get: Op<S["PipelineRun"], Path<"id">> };
  "/api/v1/pipeline-runs/{id}/steps/{step}/log": { get: Op<S["Log"], Both<"id" | "step", { offset?: number }>> };
  "/api/v1/pipeline-runs/{id}/cancel": { post: Op<S["PipelineRun"], Path<"id">> };
  "/api/v1/pipeline-runs/{id}/retry": { post: Op<S["PipelineRun"], Path<"id">> };
  "/api/v1/audit": { get: Op<Page<S["Entry"]>, Query<Paging & { model?: string; actor?: string; action?: string; object?: string; since?: string; until?: string }>> };
  "/api/v1/audit/checkpoint": { get: Op<S["Checkpoint"]> };
  "/api/v1/audit/verify": { post: Op<S["Verified"]> };
}
