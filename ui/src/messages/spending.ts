/** Words of what a model used. */
export const spending = {
  title: "Computing, last 30 days", work: "Work", time: "Time", times: "Times", kind: { answering: "Answering calls", evaluating: "Evaluating", pipeline: "Pipelines", testing: "Golden rows", other: "Other" } as Record<string, string | undefined>,
  calls: "Calls", nCalls: (n: number, shown: string) => `${shown} ${n === 1 ? "call" : "calls"}`, noCalls: "none yet; a call is counted some minutes after it was answered", perThousand: "Per 1,000 calls", all: "All work", empty: "Nothing was booked in this time. Calls are, once their part of the log is filed.",
};
