import { fireEvent, screen, waitFor, within } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { beforeEach, describe, expect, it, vi } from "vitest";
import type { Compared, RunDocument, RunRow } from "../../api/tracking";
import { findings, me, refusal, serve, show } from "../../test/show";
import { requirements } from "./Code";
import { joinBrush, lessIsBetter, linesOf, scaleOf, splitBrush, usualAxes, within as inside } from "./comparison";
import { ComparePage } from "./ComparePage";
import { kindOf } from "./Preview";
import { RunsGrid } from "./RunsGrid";
import { TrackingRunPage } from "./RunPage";
import { keyColumn, measured } from "./words";

beforeEach(() => {
  for (const side of ["offsetHeight", "clientHeight"] as const) vi.spyOn(HTMLElement.prototype, side, "get").mockReturnValue(500);
  for (const side of ["offsetWidth", "clientWidth"] as const) vi.spyOn(HTMLElement.prototype, side, "get").mockReturnValue(1100);
  return () => vi.restoreAllMocks();
});

const row = (n: number, more: Partial<RunRow> = {}): RunRow => ({ id: `run${n}`, name: `trial ${n}`, experiment: "1", status: "finished", user: "dana", started_at: "2026-03-02T10:00:00Z", ended_at: "2026-03-02T10:01:00Z", params: { lr: String(n / 10) }, metrics: { auc: 0.9 + n / 100, loss: n === 1 ? "NaN" : n }, tags: {}, ...more });
const columns = { metrics: [{ key: "auc", runs: 3 }, { key: "loss", runs: 3 }, { key: "system/cpu", runs: 3 }], params: [{ key: "lr", runs: 3 }], tags: [] };
const rights = me(["run.read", "run.write"]);

describe("the runs table", () => {
  const base = { "GET /api/v1/me": rights, "GET /api/v1/runs/columns": columns };
  it("asks for the columns shown and nothing more", async () => {
    const sent = serve({ ...base, "GET /api/v1/runs": { items: [row(1), row(2)], total: 2 } });
    show(<RunsGrid experiment="1" />);
    await screen.findByRole("link", { name: "trial 1" });
    const asked = sent.find((s) => s.path === "/api/v1/runs")!.query;
    expect(asked.get("columns")).toBe("metrics.auc,metrics.loss");
    expect(asked.get("experiment")).toBe("1");
    expect(screen.getByText("2 runs")).toBeTruthy();
    expect(screen.getByText("NaN")).toBeTruthy();
    expect(await findings()).toEqual([]);
  });
  it("sends sort and filter to the server; plain words look for a name", async () => {
    history.replaceState(null, "", "/?filter=big%20one&sort=-metrics.auc");
    const sent = serve({ ...base, "GET /api/v1/runs": { items: [], total: 0 } });
    show(<RunsGrid experiment="1" />);
    await screen.findByText(/No run matches the filter/);
    const asked = sent.find((s) => s.path === "/api/v1/runs")!.query;
    expect(asked.get("order_by")).toBe("metrics.auc DESC");
    expect(asked.get("filter")).toBe("attributes.run_name ILIKE '%big%' AND attributes.run_name ILIKE '%one%'");
  });
  it("shows the server's words about a wrong filter at the filter", async () => {
    history.replaceState(null, "", "/?filter=metrics.auc%20%3E");
    serve({ ...base, "GET /api/v1/runs": refusal(422, "A value is missing (at position 14 of the filter).", { field: "filter" }) });
    show(<RunsGrid experiment="1" />);
    await screen.findByText("A value is missing (at position 14 of the filter).");
    expect(screen.getByRole("combobox", { name: "Filter runs" }).getAttribute("aria-invalid")).toBe("true");
  });
  it("announces new runs and leaves the rows where they are", async () => {
    let asked = 0;
    serve({ ...base, "GET /api/v1/runs": () => ({ items: asked++ === 0 ? [row(1), row(2)] : [row(3), row(1), row(2)], total: 3 }) });
    show(<RunsGrid experiment="1" />);
    await userEvent.click(await screen.findByRole("button", { name: "1 new run ↑" }));
    await screen.findByRole("link", { name: "trial 3" });
  });
  it("moves selected runs to the bin and takes that back", async () => {
    const done: string[] = [];
    serve({ ...base, "GET /api/v1/runs": { items: [row(1), row(2)], total: 2 }, "DELETE /api/v1/runs/run1": () => { done.push("gone"); return row(1, { deleted: true }); }, "POST /api/v1/runs/run1/restore": () => { done.push("back"); return row(1); } });
    show(<RunsGrid experiment="1" />);
    await screen.findByRole("link", { name: "trial 1" });
    fireEvent.click(screen.getByRole("checkbox", { name: "Select trial 1" }));
    await userEvent.click(screen.getByRole("button", { name: "Move to bin" }));
    await screen.findByText("1 run moved to the bin.");
    await userEvent.click(screen.getByRole("button", { name: "Undo" }));
    await waitFor(() => expect(done).toEqual(["gone", "back"]));
  });
  it("says why a comparison of one run is not offered", async () => {
    serve({ ...base, "GET /api/v1/runs": { items: [row(1), row(2)], total: 2 } });
    show(<RunsGrid experiment="1" />);
    await screen.findByRole("link", { name: "trial 1" });
    fireEvent.click(screen.getByRole("checkbox", { name: "Select trial 1" }));
    expect(screen.getByRole("button", { name: "Compare" }).getAttribute("aria-disabled")).toBe("true");
    expect(screen.getByText("Select from 2 to 200 runs.")).toBeTruthy();
  });
});

describe("the run page", () => {
  const run: RunDocument = { ...row(1), artifacts: [], inputs: [{ dataset: "patients", version: 2, digest: "abc" }], models: [], source: { commit: "aabbccddeeff", dirty: true }, environment: {}, tags: { team: "risk", "mlflow.note.content": "# Why\n\n<script>alert(1)</script> **bold**" } };
  const base = { "GET /api/v1/me": rights, "GET /api/v1/runs/run1": run, "GET /api/v1/experiments/1": { id: "1", name: "Trials", runs: 3, tags: {} }, "GET /api/v1/runs": { items: [] }, "GET /api/v1/runs/run1/metrics": { items: [{ key: "auc", latest: { step: 9, at: "2026-03-02T10:00:00Z", value: 0.91 }, min: 0.5, max: 0.93, count: 10 }] } };
  it("shows metrics with their range, notes as text, tags, data", async () => {
    serve(base);
    show(<TrackingRunPage id="run1" />);
    await screen.findByText("0.93000");
    expect(screen.getByText("bold").tagName).toBe("B");
    expect(screen.getByText(/<script>alert/)).toBeTruthy();
    expect(screen.getByRole("link", { name: "patients v2" })).toBeTruthy();
    expect(screen.getByText("risk")).toBeTruthy();
    expect(await findings()).toEqual([]);
  });
  it("removes a tag and puts it back", async () => {
    const sent = serve({ ...base, "PATCH /api/v1/runs/run1": run });
    show(<TrackingRunPage id="run1" />);
    await userEvent.click(await screen.findByRole("button", { name: "Remove tag team" }));
    await screen.findByText("Tag team was removed.");
    await userEvent.click(screen.getByRole("button", { name: "Undo" }));
    await waitFor(() => expect(sent.filter((s) => s.method === "PATCH").map((s) => s.body)).toEqual([{ tags: { team: null } }, { tags: { team: "risk" } }]));
  });
  it("fetches nothing of a tab that is not open", async () => {
    const sent = serve(base);
    show(<TrackingRunPage id="run1" />);
    await screen.findByText("0.93000");
    expect(sent.some((s) => s.path.includes("artifacts") || /metrics\/./.test(s.path))).toBe(false);
  });
});

const compared: Compared = {
  runs: [1, 2, 3].map((n) => ({ id: `run${n}`, name: `trial ${n}`, experiment: "1", status: "finished", user: "dana", started_at: "2026-03-02T10:00:00Z" })),
  params: [{ key: "lr", values: ["0.1", "0.2", null], differs: true }, { key: "opt", values: ["adam", "sgd", "adam"], differs: true }, { key: "depth", values: ["3", "3", "3"], differs: false }],
  metrics: [{ key: "auc", values: [0.9, 0.95, "NaN"], differs: true, min: 0.9, max: 0.95, best_low: 0, best_high: 1 }, { key: "loss", values: [0.2, 0.1, 0.3], differs: true, best_low: 1, best_high: 2 }], tags: [], inputs: [],
};

describe("a comparison", () => {
  it("lists what differs, and everything when asked", () => {
    expect(linesOf(compared, false).map((l) => l.id)).toEqual(["metrics.auc", "metrics.loss", "params.lr", "params.opt"]);
    expect(linesOf(compared, true)).toHaveLength(5);
  });
  it("has numbers and words as scales", () => {
    expect(scaleOf(compared, "params.lr")).toEqual({ id: "params.lr", name: "lr", values: [0.1, 0.2, null] });
    expect(scaleOf(compared, "params.opt")?.words).toEqual(["adam", "sgd"]);
    expect(scaleOf(compared, "metrics.auc")?.values).toEqual([0.9, 0.95, null]);
    expect(scaleOf(compared, "params.nothing")).toBeUndefined();
  });
  it("begins with the axes that differ", () => { expect(usualAxes(compared)).toEqual(["params.lr", "params.opt", "metrics.auc", "metrics.loss"]); });
  it("keeps marks in the address and finds the runs within them", () => {
    const brush = { "params.lr": [0.05, 0.15] as [number, number], "params.opt": [-0.5, 0.5] as [number, number] };
    expect(splitBrush(joinBrush(brush))).toEqual(brush);
    const scales = ["params.lr", "params.opt"].map((id) => scaleOf(compared, id)!);
    expect(inside(scales, brush, 3)).toEqual([0]);
    expect(inside(scales, {}, 3)).toEqual([0, 1, 2]);
  });
  it.each([["val/loss", true], ["rmse", true], ["auc", false], ["accuracy", false]])("guesses for %s whether less is better: %s", (key, want) => { expect(lessIsBetter(key)).toBe(want); });
  it("marks the best by a sign and in bold, and turns round on request", async () => {
    history.replaceState(null, "", "/compare?runs=run1,run2,run3");
    serve({ "GET /api/v1/me": rights, "GET /api/v1/runs/compare": compared });
    show(<ComparePage />);
    const grid = await screen.findByRole("grid", { name: "Parameters and metrics" });
    expect(within(grid).getByText("▲ 0.95000").tagName).toBe("B");
    expect(within(grid).getByText("▲ 0.10000").tagName).toBe("B");
    fireEvent.click(within(grid).getByRole("button", { name: "lower" }));
    await within(grid).findByText("▲ 0.30000");
    expect(new URLSearchParams(location.search).get("flip")).toBe("loss");
    expect(await findings()).toEqual([]);
  });
  it("of one run says what to do", () => {
    history.replaceState(null, "", "/compare?runs=run1");
    serve({});
    show(<ComparePage />);
    expect(screen.getByText(/needs at least two runs/)).toBeTruthy();
  });
});

it.each([[0.5, "0.50000"], [12.3456, "12.346"], [4, "4"], [1e-7, "1.000e-7"], ["NaN", "NaN"], [null, "–"], [123456.789, "123456.8"]])("the value %s reads %s", (v, want) => { expect(measured(v)).toBe(want); });
it("a column of a key is sorted under its quoted name", () => { expect(keyColumn("metrics.val/loss")?.sort).toBe("metrics.`val/loss`"); expect(keyColumn("nonsense")).toBeUndefined(); });
it("a requirements file becomes packages", () => { expect(requirements("# c\nmlflow==3.1\nnumpy<3,>=2 # why\n-r other.txt\nplain\n").map((p) => [p.name, p.version])).toEqual([["mlflow", "3.1"], ["numpy", "<3,>=2"], ["plain", ""]]); });
it.each([["a.PNG", "image"], ["a.csv", "table"], ["x/y.json", "json"], ["README.md", "markdown"], ["model.pkl", "none"], ["MLmodel", "text"], ["page.html", "text"]])("%s is shown as %s", (name, want) => { expect(kindOf(name)).toBe(want); });
