export interface Point { value: unknown; place?: number; contribution: number }
export interface Curve { values: unknown[]; mean: number[]; low: number[]; high: number[]; local?: { edges: number[]; effect: number[] } }
export interface Bar { from?: number; to?: number; text?: string; count: number }
export interface Feature { name: string; importance: number; share: number; direction?: number; words: string; points: Point[]; curve?: Curve; density?: Bar[]; morris?: { mu_star?: number; mu?: number; sigma?: number }; sobol_first?: number; sobol_total?: number }
export interface Study { model: string; version: number; made_at: string; rows: number; explained: number; from: string; until: string; output: string; unit: string; method: string; limits: string[]; features: Feature[]; nightly?: boolean; digest: string }
export interface Standing { state: "none" | "making" | "ready" | "failed"; reason?: string; study?: Study }
export interface Past { digest: string; made_at: string; nightly: boolean; rows: number; explained: number; from: string; until: string; shares: { name: string; share: number }[]; shift?: Shift }
export interface History { nightly: boolean; studies: Past[] }
export interface Shift { rows: number; against_rows: number; unit: string; method: string; moved: number; words: string; features: { name: string; share: number; share_before: number; importance: number; importance_before: number }[] }
