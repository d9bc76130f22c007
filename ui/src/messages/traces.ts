const s = (n: number, one: string, many = one + "s") => `${n} ${n === 1 ? one : many}`;

/** Words of traces. */
export const traces = {
  title: "Traces", lead: "What an application did to answer one request, step by step.", kind: "trace", name: "Trace", state: "State", started: "Started", took: "Took", spans: "Steps", tokens: "Tokens", cost: "Cost", request: "Asked", response: "Answered", user: "User", session: "Session", assessments: "Judgements", experiment: "Experiment", runs: "Runs",
  filter: "Filter traces", filterHint: "state = 'ERROR' AND duration_ms > 500", empty: "Traces appear here as soon as an application sends them: with mlflow.trace, mlflow.openai.autolog() or OTLP to /v1/traces.", noMatch: "No trace matches the filter.",
  states: { ok: "Finished", error: "Failed", in_progress: "Running", unspecified: "Unknown" } as Record<string, string | undefined>,
  waterfall: "Steps in time", step: "Step", type: "Kind", inTime: "In time", details: "Step", inputs: "Inputs", outputs: "Outputs", attributes: "Attributes", events: "Events", notLogged: "Nothing was logged.", failedWith: "Why it failed", about: "About", requestId: "Request", truncated: "The trace has more than 5,000 steps; the first 5,000 are shown.", model: "Model", tags: "Tags", metadata: "Metadata",
  noAssessments: "Nobody has judged this trace yet.", addFeedback: "Give feedback", feedbackName: "Name", feedbackHelp: "For example: correct, helpful", value: "Value", valueHelp: "yes, no, a number or a few words", rationale: "Why", send: "Save", drop: (n: string) => `Remove ${n}`, by: "By", replaced: "replaced", remove: "Delete trace", removeTitle: "Delete this trace", removeWhat: "The trace and its judgements are gone for good; there is no bin for traces.",
  bar: (from: string, took: string) => `begins after ${from}, takes ${took}`, count: (n: number, more: boolean) => (more ? `${n} traces shown` : s(n, "trace")), judged: (n: string, v: string) => `${n}: ${v}`, mine: "human", allSteps: (n: number) => s(n, "step"),
};

/** Words of the bin. */
export const bin = {
  title: "Bin", held: "held", files: "Files", newName: "Another name", typeName: (n: string) => `To go on, type its name: ${n}`, lead: "What was deleted. It can be restored whole until its time is over; then it is gone, its bytes too.", kind: "Kind", what: "What", deleted: "Deleted", by: "By", until: "Kept until", size: "Size", empty: "The bin is empty.", restore: "Restore", purge: "Delete for good", purgeTitle: "Delete for good", purgeWhat: (n: number) => `${s(n, "thing")} will be gone for good, with all files that nothing else uses. This cannot be undone.`, restored: (n: number) => `${s(n, "thing")} restored.`,
  kinds: { run: "run", experiment: "experiment", model: "model", version: "version", "logged-model": "logged model", artifact: "file", dataset: "data set", trace: "trace" } as Record<string, string | undefined>, anyKind: "Any kind", count: (n: number, more: boolean) => (more ? `${n} things shown` : s(n, "thing")), forGood: (n: number) => `${s(n, "thing")} deleted for good.`,
};

/** Words of the difference of two versions. */
export const versionDiff = {
  title: "Difference", against: "Compare with", none: "no other version", from: (a: string, b: string) => `From ${a} to ${b}`, sameFile: "Both versions have the same bytes.", sameContent: "Both come from the same training result.", onlyDifferences: "Only differences", nothing: "No difference.", change: "Change", before: "Before", after: "After", delta: "Difference", what: "What",
  changes: { added: "added", removed: "removed", changed: "changed", same: "same" } as Record<string, string>, sections: { metrics: "Metrics", params: "Parameters", signature: "Signature", dependencies: "Data, code and libraries", files: "Files", record: "Record", tags: "Tags" }, parts: { inputs: "input", outputs: "output", params: "parameter" } as Record<string, string | undefined>, changed: (n: number, of: number) => `${n} of ${of} differ`,
};
