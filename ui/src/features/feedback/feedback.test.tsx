import { screen, waitFor } from "@testing-library/react";
import { expect, it } from "vitest";
import { findings, me, serve, show } from "../../test/show";
import { FeedbackPage } from "./FeedbackPage";
import { typed } from "./Said";

it("shows the queue with what was said, and who works on it", async () => {
  serve({
    "GET /api/v1/me": me(["prediction.read", "feedback.label"]),
    "GET /api/v1/feedback/counts": { queued: 1, claimed: 1, labelled: 3, skipped: 0 },
    "GET /api/v1/feedback": { items: [
      { id: "f2", prediction_id: "06gz00000002", row: 0, endpoint: "credit", model: "credit", version: 2, kind: "contest", reason: "I have a job", by: "app", at: "2026-03-02T12:00:00Z", reports: 2, state: "queued", claimed_by: "", claimed_until: null, settled_by: "", settled_at: null, note: "" },
      { id: "f1", prediction_id: "06gz00000001", row: 1, endpoint: "credit", model: "credit", version: 2, kind: "override", value: 1, reason: "agreed", by: "mira", at: "2026-03-02T12:00:00Z", reports: 1, state: "claimed", claimed_by: "otto", claimed_until: "2026-03-02T12:30:00Z", settled_by: "", settled_at: null, note: "" },
    ] },
  });
  show(<FeedbackPage />);
  expect(await screen.findByText("Contested")).toBeTruthy();
  expect(screen.getByText("said 2 times")).toBeTruthy();
  expect(screen.getByText("decided instead 1")).toBeTruthy();
  await waitFor(() => expect(screen.getAllByRole("button", { name: /^Label/ }).map((b) => b.getAttribute("aria-disabled"))).toEqual([null, "true"]));
  expect(await screen.findByText("2 wait, 3 labelled")).toBeTruthy();
  expect(await findings()).toEqual([]);
});

it("reads a value as a number or truth value where it is one", () => {
  expect([typed("1"), typed(" 0.5 "), typed("true"), typed("good"), typed("")]).toEqual([1, 0.5, true, "good", ""]);
});
