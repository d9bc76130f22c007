/** Documents of experiments, runs, metrics and the difference of versions. */

/** A metric's value: numbers, or "NaN", "Infinity", "-Infinity". */
export type Measured = number | string;

export interface Experiment { id: string; name: string; description?: string; runs: number; last_run_at?: string | null; created_at?: string; updated_at?: string; deleted?: boolean; tags: Record<string, string> | null }

export interface RunRow {
  id: string; name: string; experiment: string; status: string; user: string; started_at: string; ended_at?: string | null;
  params: Record<string, string> | null; metrics: Record<string, Measured> | null; tags: Record<string, string> | null;
  parent?: string; pipeline_run?: string; deleted?: boolean;
}

export interface RunInput { dataset: string; version?: number; digest: string; context?: string }
export interface RunDocument extends RunRow {
  artifacts?: { path: string; size: number }[] | null; inputs: RunInput[] | null; models: string[] | null;
  source: { repository?: string; commit?: string; dirty?: boolean }; environment: { digest?: string };
}

export interface Page<T> { items: T[] | null; next?: string; total?: number; total_capped?: boolean }
export interface KeyCount { key: string; runs: number }
export interface RunColumns { metrics: KeyCount[] | null; params: KeyCount[] | null; tags: KeyCount[] | null; capped?: boolean }
export interface Completed { from: number; to: number; items: { text: string; label: string; kind: string; runs?: number }[] | null; problem?: { position: number; detail: string } }

export interface MetricKey { key: string; latest: { step: number; at: string; value: Measured }; min: Measured | null; max: Measured | null; count: number }
export interface Series { run: string; key: string; count: number; sampled: boolean; steps: number[] | null; times: string[] | null; values: Measured[] | null }

export interface ComparedRun { id: string; name: string; experiment: string; status: string; user: string; started_at: string; ended_at?: string | null }
export interface ComparedRow<V> { key: string; values: (V | null)[]; differs: boolean }
export interface ComparedMetric extends ComparedRow<Measured> { min?: Measured; max?: Measured; best_low?: number; best_high?: number }
export interface Compared { runs: ComparedRun[]; params: ComparedRow<string>[] | null; metrics: ComparedMetric[] | null; tags: ComparedRow<string>[] | null; inputs: ComparedRow<string>[] | null }

export interface ArtifactEntry { path: string; is_dir: boolean; file_size?: number | string }

type Change = "added" | "removed" | "changed" | "same";
export interface NamedChange { name: string; change: Change; before: string; after: string }
export interface FileSide { digest: string; size: number }
export interface VersionDiff {
  model: string; version: number; with_model: string; with: number; same: boolean; same_content: boolean;
  record: NamedChange[] | null; params: NamedChange[] | null; tags: NamedChange[] | null;
  files: { path: string; change: Change; before: FileSide | null; after: FileSide | null }[] | null;
  signature: (NamedChange & { part: string })[] | null; dependencies: (NamedChange & { kind: string })[] | null;
  metrics: { name: string; change: Change; before: Measured | null; after: Measured | null; delta: Measured | null }[] | null;
}
