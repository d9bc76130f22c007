import { screen, waitFor, within } from "@testing-library/react";
import { expect, it } from "vitest";
import { findings, me, serve, show } from "../../test/show";
import { IncidentPage, lasting } from "./IncidentsPage";

const incident = {
  id: "i1", kind: "data.moved", model: "screening", endpoint: "screening", title: "What screening is asked is no longer what it was made for.", detail: "2 inputs have moved.", severity: "low", state: "open", opened_at: "2026-03-02T12:00:00Z", opened_by: "alert", last_at: "2026-03-02T12:00:00Z", count: 1, owner: "dana",
  timeline: [{ at: "2026-03-02T10:00:00Z", by: "alert", text: "The first window over the limit began." }, { at: "2026-03-02T12:01:00Z", by: "policy:alert", text: "By policy: Started the pipeline screening." }],
  facts: { alert: "a1", version: 1, windows: ["w1", "w2"], began: "2026-03-02T10:00:00Z", from: "2026-03-02T11:00:00Z", to: "2026-03-02T12:00:00Z", link: "/api/v1/predictions?endpoint=screening&version=1", columns: [{ key: "data:mean radius", name: "mean radius", words: "mean radius (PSI 1.9, limit 0.25)", metric: "psi", value: 1.9, limit: 0.25, importance: 0.41, windows: 2, over: true }, { key: "data:area", name: "area", words: "area", metric: "ks", value: 0.3, limit: 0.25, windows: 1, over: false }] },
  suspects: [{ at: "2026-03-02T08:00:00Z", by: "eddie", action: "dataset.imported", object: "dataset/patients/2", text: "The data patients/2 arrived.", before: "2h0m0s", score: 0.83, entry: "e1" }],
};

it("tells an incident by itself: the rows behind it, what is over its limit, what changed before, and what the policy did", async () => {
  serve({ "GET /api/v1/me": me(["incident.read"]), "GET /api/v1/incidents/i1": incident, "GET /api/v1/alerts": { items: [] } });
  show(<IncidentPage id="i1" />);
  expect(await screen.findByText("By policy: Started the pipeline screening.")).toBeTruthy();
  const facts = screen.getByRole("table", { name: "What is over its limit" });
  expect(within(facts).getByText("41.0 %")).toBeTruthy();
  expect(within(facts).getByText("within")).toBeTruthy();
  expect(screen.getByRole("link", { name: "The data patients/2 arrived." }).getAttribute("href")).toBe("/data/patients/2");
  expect(screen.getByText(/2 h before/)).toBeTruthy();
  expect(screen.getByRole("link", { name: "See the rows of the newest window" }).getAttribute("href")).toBe("/predictions?endpoint=screening&version=1");
  await waitFor(() => expect(screen.getByRole("button", { name: "Take on" }).getAttribute("aria-disabled")).toBe("true"));
  expect(await findings()).toEqual([]);
});

it("writes durations in their largest unit", () => {
  expect(["49h10m0s", "2h0m0s", "2h30m5s", "12m3s", "40s", "0s"].map(lasting)).toEqual(["2 d", "2 h", "2 h 30 min", "12 min", "40 s", "0 s"]);
});
