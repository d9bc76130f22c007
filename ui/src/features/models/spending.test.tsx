import { screen } from "@testing-library/react";
import { expect, it } from "vitest";
import { findings, serve, show } from "../../test/show";
import { Spending } from "./Spending";
import type { ModelUsage } from "./types";

const usage = (more: Partial<ModelUsage> = {}): ModelUsage => ({
  model: "churn", since: "2026-02-01T00:00:00Z", until: "2026-03-03T00:00:00Z", calls: 2000, compute_seconds: 94, seconds_per_thousand_calls: 2, days: [], basis: "What stands idle is not counted.",
  work: [
    { work: "answering", seconds: 4, entries: 2, first: "2026-03-01T00:00:00Z", last: "2026-03-02T00:00:00Z", measured: "time in the engine" },
    { work: "pipeline", seconds: 90, entries: 1, first: "2026-03-01T00:00:00Z", last: "2026-03-01T00:00:00Z", measured: "time of processors" },
  ], ...more,
});

it("shows what each kind of work took, how it was measured and what 1,000 calls take", async () => {
  serve({ "GET /api/v1/models/churn/usage": usage() });
  show(<Spending name="churn" />);
  await screen.findByText("Answering calls");
  expect(screen.getAllByRole("row").slice(1).map((r) => r.textContent)).toEqual(["Answering callstime in the engine2,000 calls4.0 s", "Pipelinestime of processors11 min 30 s"]);
  expect(screen.getByText("Per 1,000 calls").nextSibling?.textContent).toBe("2.0 s");
  expect(screen.getByText("What stands idle is not counted.")).toBeTruthy();
  expect(await findings()).toEqual([]);
});

it("says when nothing was booked, and shows no rate without calls", async () => {
  serve({ "GET /api/v1/models/churn/usage": usage({ work: [], calls: 0, compute_seconds: 0, seconds_per_thousand_calls: null }), "GET /api/v1/models/new/usage": usage({ calls: 0, seconds_per_thousand_calls: null }) });
  show(<Spending name="churn" />);
  expect(await screen.findByText(/Nothing was booked/)).toBeTruthy();
  show(<Spending name="new" />);
  await screen.findByText("Pipelines");
  expect(screen.queryByText("Per 1,000 calls")).toBeNull();
});
