import type { ChangeRequest, Entry, Model, PipelineRun, WindowFeature } from "../api/types";

/** Documents as the server sends them, to be varied by a test. */
export const request = (more: Partial<ChangeRequest> = {}): ChangeRequest => ({
  id: "r1", number: 7, kind: "deploy", model: "screening", version: 2, environment: "prod", artifact_digest: "sha256:aa11bb22cc33", plan: { mode: "canary", steps: [{ share: 10, hold_rows: 400 }, { share: 100 }] }, plan_digest: "sha256:dd",
  policy: { name: "prod", version: 1 }, reason: "Better on new patients.", author: "sam", authors: ["sam"], opened_at: "2026-03-02T10:00:00Z", expires_at: "2026-03-09T10:00:00Z", state: "open", when_approved: true, need: { count: 2, roles: ["risk-compliance", "business-owner"] },
  votes: [], missing: ["a vote by risk-compliance", "a vote by business-owner"], verdict: { allowed: true, reasons: [{ rule: "evaluated", ok: true, message: "Version 2 passed its evaluation." }] }, you: { may_vote: true, may_withdraw: false, why: "" }, acts: [], endpoint: "screening", sealed: true, ...more,
});

export const model = (more: Partial<Model> = {}): Model => ({
  name: "screening", kind: "ml", description: "Estimates malignancy.", area: "clinic", owner: "sam", use_case: "screening", tier: 1, intended_use: "", forbidden_use: "", responsibilities: { accountable: "bob" }, missing: [], tags: {}, latest_version: 2,
  live: [{ environment: "prod", version: 1, share: 100, kind: "live" }], health: { verdict: "yes", reasons: [] }, created_by: "sam", created_at: "2026-03-01T10:00:00Z", updated_at: "2026-03-02T10:00:00Z", ...more,
});

export const feature = (more: Partial<WindowFeature> = {}): WindowFeature => ({
  name: "mean radius", kind: "number", missing_reference: 0, psi: 0.31, ks: 0.2, js: 0.1, missing: 0, shift: "moved", limit: 0.25, histogram: { edges: [0, 10, 20, 30], reference: [10, 80, 10], current: [5, 20, 75], reference_rows: 100, current_rows: 400 }, ...more,
});

export const run = (more: Partial<PipelineRun> = {}): PipelineRun => ({
  id: "01k2run0000000000000000003", pipeline: "screening", pipeline_version: 3, state: "failed", trigger: { kind: "person", ref: "sam" }, by: "sam", started_at: "2026-03-02T10:00:00Z", ended_at: "2026-03-02T10:01:00Z", content_digest: "sha256:cc", source: { dirty: false }, model: "screening", params: {}, versions: [], created_at: "2026-03-02T10:00:00Z", environment_digest: "", seed: 42, data: [],
  steps: [
    { name: "check", needs: null, kind: "check", state: "succeeded", attempt: 1, started_at: "2026-03-02T10:00:00Z", ended_at: "2026-03-02T10:00:05Z", exit_code: 0 },
    { name: "train", needs: ["check"], kind: "command", state: "failed", attempt: 2, started_at: "2026-03-02T10:00:05Z", ended_at: "2026-03-02T10:01:00Z", exit_code: 137, error: "The step used more than 512 MiB." },
    { name: "register", needs: ["train"], kind: "register", state: "waiting", attempt: 0 },
  ], ...more,
});

export const entry = (more: Partial<Entry> = {}): Entry => ({ index: 4, id: "e4", at: "2026-03-02T10:00:00Z", actor: "rita", via: "ui", action: "approval.voted", object: "approval/r1", models: ["screening"], detail: { grant: true, reason: "Looks right.", models: ["screening"] }, leaf: "ab12", actor_seal: "", workspace: "default", ...more });
