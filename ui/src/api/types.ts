/** Short names for the documents of the API, taken from the operations that answer them. */
import type { Pending } from "./pending";
import type { components, paths as Described } from "./schema";

/** All operations: what the description holds, and beside it what it does not hold yet. */
export type Paths = Described & Omit<Pending, keyof Described>;

type Content<R> = R extends { content: { "application/json": infer T } } ? T : never;
type Success<R> = { [K in keyof R]: K extends 200 | 201 | 202 ? Content<R[K]> : never }[keyof R];
type Answer<P extends keyof Paths, M extends keyof Paths[P]> = Paths[P][M] extends { responses: infer R } ? Success<R> : never;
type Item<T> = T extends { items: (infer I)[] | null } ? I : T extends (infer I)[] ? I : never;
type Some<T> = NonNullable<T> extends (infer I)[] ? I : never;

export type ProblemDocument = Partial<components["schemas"]["RestDoc"]>;
export type Me = Answer<"/api/v1/me", "get">;
export type User = Item<Answer<"/api/v1/users", "get">>;
export type Token = Item<Answer<"/api/v1/tokens", "get">>;
export type Role = Item<Answer<"/api/v1/roles", "get">>;
export type Dataset = Answer<"/api/v1/datasets/{name}", "get">;
export type DataVersion = Answer<"/api/v1/datasets/{name}/versions/{version}", "get">;
export type ColumnProfile = Some<DataVersion["profile"]>;
export type Rule = Some<Dataset["rules"]>;
export type Experiment = Item<Answer<"/api/v1/experiments", "get">>;
export type Run = Answer<"/api/v1/runs/{id}", "get">;
export type Source = Partial<Run["source"]>;
export type Model = Answer<"/api/v1/models/{name}", "get">;
export type ModelCaller = Item<Answer<"/api/v1/models/{name}/callers", "get">>;
export type Verdict = Model["health"];
export type Version = Answer<"/api/v1/models/{name}/versions/{version}", "get">;
export type Evaluation = Item<Answer<"/api/v1/models/{name}/versions/{version}/evaluations", "get">>;
export type Environment = Item<Answer<"/api/v1/environments", "get">>;
export type ChangeRequest = Answer<"/api/v1/approvals/{id}", "get">;
export type Changes = Answer<"/api/v1/approvals/{id}/changes", "get">;
export type Comment = Item<Answer<"/api/v1/approvals/{id}/comments", "get">>;
export type Plan = ChangeRequest["plan"];
export type Deployment = Answer<"/api/v1/deployments/{endpoint}", "get">;
export type Slot = Some<Deployment["slots"]>;
export type TrafficSummary = Item<Answer<"/api/v1/traffic", "get">>;
export type TrafficDocument = Answer<"/api/v1/deployments/{endpoint}/traffic", "get">;
export type LogLine = Item<Answer<"/api/v1/deployments/{endpoint}/log", "get">>;
export type CallForm = Answer<"/api/v1/deployments/{endpoint}/form", "get">;
export type FormField = Some<CallForm["fields"]>;
export type Explained = Answer<"/api/v1/predictions/{id}/explanation", "get">;
export type Incident = Answer<"/api/v1/incidents/{id}", "get">;
export type Prediction = Answer<"/api/v1/predictions/{id}", "get">;
export type Monitor = Item<Answer<"/api/v1/monitors", "get">>;
export type MonitorState = Answer<"/api/v1/monitors/{endpoint}", "get">;
export type Window = Answer<"/api/v1/monitors/{endpoint}/windows/{id}", "get">;
export type WindowFeature = Some<Window["features"]>;
export type Alert = Item<Answer<"/api/v1/alerts", "get">>;
export type Pipeline = Item<Answer<"/api/v1/pipelines", "get">>;
export type PipelineRun = Answer<"/api/v1/pipeline-runs/{id}", "get">;
export type Step = Some<PipelineRun["steps"]>;
export type Entry = Item<Answer<"/api/v1/audit", "get">>;
export type Verified = Answer<"/api/v1/audit/verify", "post">;
export type Checkpoint = Answer<"/api/v1/audit/checkpoint", "get">;
