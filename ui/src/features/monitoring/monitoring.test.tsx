import { screen, within } from "@testing-library/react";
import user from "@testing-library/user-event";
import { expect, it } from "vitest";
import type { Window } from "../../api/types";
import { feature } from "../../test/documents";
import { findings, me, serve, show } from "../../test/show";
import { FeaturePanel } from "./FeaturePanel";
import { ModelMonitoring } from "./ModelMonitoring";

/** The server sends null where the description knows only the object. */
const none = null as unknown as Window["performance"];
const win = (id: string, breached: boolean, more: Partial<Window> = {}): Window => ({ id, endpoint: "screening", from: "2026-03-02T10:00:00Z", to: `2026-03-02T1${id.slice(1)}:00:00Z`, rows: 400, version: 1, estimate: null as unknown as Window["estimate"], breached, features: [feature({ histogram: undefined, shift: breached ? "moved" : "none", psi: breached ? 0.31 : 0.02 }), feature({ name: "texture", shift: "none", psi: 0.05, histogram: undefined })], performance: none, model: "screening", first_prediction: "p1", last_prediction: "p2", reference: { dataset: "patients", version: 1 }, predictions: [], causes: [], verdict: "yes", reasons: [], created_at: "2026-03-02T12:00:00Z", ...more });
const monitor = { endpoint: "screening", model: "screening", reference: { dataset: "patients", version: 1 }, window: { rows: 400, min_rows: 200 }, limits: { psi: 0.25 }, features: null, on_breach: null };
const routes = (windows: Window[] | null) => ({
  "GET /api/v1/me": me(["monitor.read"]),
  "GET /api/v1/monitors": { items: [monitor] },
  "GET /api/v1/monitors/screening": { monitor, verdict: { verdict: "watch", reasons: ["1 of 2 inputs moved."] }, windows },
  "GET /api/v1/monitors/screening/windows/w2": { ...win("w2", true), features: [feature(), feature({ name: "texture", shift: "none", psi: 0.05 })] },
  "GET /api/v1/monitors/screening/windows/w1": { ...win("w1", false), features: [feature({ shift: "none", psi: 0.02 })] },
  "GET /api/v1/alerts": { items: [{ id: "a1", title: "The data of screening moved: mean radius (PSI 0.31, limit 0.25).", kind: "data", severity: "warning", owner: "dana", level: 0, incident: "i1", began: "2026-03-02T10:00:00Z", endpoint: "screening", model: "screening", window: "w2", feature: "mean radius", metric: "psi", value: 0.31, limit: 0.25, state: "open", opened_at: "2026-03-02T12:00:00Z", link: "/api/v1/predictions?endpoint=screening&since=2026-03-02T10:00:00Z" }] },
});

it("shows the verdict, the newest window, its inputs by shift and both distributions with their counts", async () => {
  serve(routes([win("w1", false), win("w2", true)]));
  show(<ModelMonitoring model="screening" />);
  expect(await screen.findByText("1 of 2 inputs moved.")).toBeTruthy();
  expect(await screen.findByText("Reference, n = 100")).toBeTruthy();
  expect(screen.getByText("This window, n = 400")).toBeTruthy();
  const table = screen.getByRole("table", { name: "Inputs of this window" });
  expect(within(table).getAllByRole("link").map((l) => l.textContent)).toEqual(["mean radius", "texture"]);
  const newest = screen.getByRole("link", { name: /Window 2: limit breached/ });
  expect(newest.getAttribute("aria-current")).toBe("true");
  const words = (text: string | null) => (text ?? "").split(/[^\p{L}\p{N}]+/u).filter(Boolean).join(" ");
  expect(words(newest.getAttribute("aria-label"))).toContain(words(newest.textContent)); // who speaks what is seen reaches it
  expect(screen.getByText(/no outcome has been reported/)).toBeTruthy();
  expect(await findings()).toEqual([]);
});

it("links an alert to the rows it was computed from", async () => {
  serve(routes([win("w2", true)]));
  show(<ModelMonitoring model="screening" />);
  const table = await screen.findByRole("table", { name: "Alerts" });
  expect(within(table).getByRole("link", { name: "See the rows" }).getAttribute("href")).toBe("/predictions?endpoint=screening&since=2026-03-02T10:00:00Z");
  expect(within(table).getByRole("link", { name: /^The data of screening moved/ }).getAttribute("href")).toContain("window=w2");
});

it("shows how segments fare: the worst one, an expected result as one, what moved most in them, and vectors", async () => {
  const part = { rows: 200, share: 0.5, labelled: 60, metric: "accuracy", overall: 0.9 };
  serve(routes([win("w2", true, {
    segments: [{ ...part, name: "age < 40", value: 0.95 }, { ...part, name: "age >= 40", value: 0.71, estimated: true }],
    segment_drift: [{ name: "age >= 40", rows: 200, reference_rows: 100, share: 0.5, compared: 2, moved: 1, shift: "moved", features: [feature({ name: "income", shift: "moved", psi: 0.4 })] }],
    worst_segment: { ...part, name: "age >= 40", value: 0.71 },
    embeddings: [{ name: "meaning", columns: 384, rows: 400, reference_rows: 400, limit: 0.02, shift: "moved", mmd: 0.07, p_value: 0.01, cosine: 0.1, euclidean: 1 }] as unknown as Window["embeddings"],
  })]));
  show(<ModelMonitoring model="screening" />);
  const segments = within(await screen.findByRole("table", { name: "Segments of this window" })).getAllByRole("row").slice(1);
  expect(segments.map((r) => within(r).getAllByRole("cell").map((c) => c.textContent).join(" | "))).toEqual([expect.stringMatching(/^age >= 40.*worst \| 200 \(50 %\) \| .*71\.0 %.*all: 90\.0 % \| .*moved \| income PSI 0\.400$/), "age < 40 | 200 (50 %) | 95.0 % all: 90.0 % | – | –"]);
  expect(within(screen.getByRole("table", { name: "Vectors of this window" })).getByText("0.070")).toBeTruthy();
  expect(await findings()).toEqual([]);
});

it("shows the gap between groups over the windows with its limit, and the groups of this window", async () => {
  const gap = (value: number | null, more = {}) => ({ measure: "demographic_parity_difference", label: "demographic parity difference", kind: "difference", rate: "selection_rate", columns: ["region"], value, limit: 0.1, ok: value !== null && value <= 0.1, highest: "region north", lowest: "region south", min_rows: 30, groups: [], more: 0, outcomes: false, rows: 400, detail: "", ...more });
  const group = { values: [], small: false, tpr: null, fpr: null, precision: null };
  serve(routes([win("w1", false, { fairness: [gap(0.05)] as unknown as Window["fairness"] }), win("w2", true, { fairness: [
    gap(0.12, { detail: "Of region north 41 % are chosen, of region south 29 %: a difference of 0.12, allowed is 0.1.", more: 2, groups: [{ ...group, name: "region north", rows: 200, selection_rate: 0.41 }, { ...group, name: "region south", rows: 190, selection_rate: 0.29 }, { ...group, name: "no region", rows: 10, selection_rate: 0.5, small: true }] }),
    gap(null, { measure: "equal_opportunity_difference", label: "equal opportunity difference", rate: "tpr", outcomes: true, label_coverage: 0, highest: undefined, lowest: undefined, why: "no outcome has arrived", detail: "The equal opportunity difference by region has no value: no outcome has arrived." }),
  ] as unknown as Window["fairness"] })]));
  show(<ModelMonitoring model="screening" />);
  const panel = within(await screen.findByRole("region", { name: "Groups fare further apart than allowed by 1 of 2 measures" }));
  expect(panel.getByText(/Of region north 41 % are chosen, of region south 29 %/)).toBeTruthy();
  expect(panel.getByText(/no outcome has arrived/).textContent).toMatch(/Outcomes of 0 % of the rows are known\./);
  expect(panel.getByText("limit 0.10")).toBeTruthy();
  expect(within(panel.getByRole("table", { name: "Groups: Demographic parity difference by region" })).getAllByRole("row").slice(1).map((r) => within(r).getAllByRole("cell").map((c) => c.textContent).join(" | "))).toEqual([
    expect.stringMatching(/^region north.*highest \| 200 \| 41\.0 % \| – \| – \| –$/), expect.stringMatching(/^region south.*lowest \| 190 \| 29\.0 % /), expect.stringMatching(/^no region.*too few rows \| 10 \| 50\.0 % /),
  ]);
  expect(panel.getByText("and 2 more groups")).toBeTruthy();
  expect(panel.getAllByRole("img").length).toBe(1);
  expect(await findings()).toEqual([]);
});

it("marks segments that were found, names the result of the others and what moved most in one", async () => {
  const slice = { conditions: [], rest: 0.9, gap: 0.19, gap_lower: 0.11, gap_upper: 0.28, gap_at_least: 0.05, p_value: 0.001, looked_at: 1234, rows: 400 };
  const worst = { name: "region is north and age is above 60", rows: 60, share: 0.15, labelled: 60, metric: "accuracy", value: 0.71, overall: 0.87, slice };
  serve(routes([win("w2", true, {
    worst_segment: worst, found_segments: [worst, { ...worst, name: "income is missing", estimated: true }],
    found_drift: [{ segment: "region is south", kind: "data", feature: "texture", metric: "psi", value: 0.9, limit: 0.4, overall: 0.02, direction: "up", slice: { condition: { column: "region" }, rows: 90, reference_rows: 100, share: 0.225, share_reference: 0.2, looked_at: 300 } }],
  })]));
  show(<ModelMonitoring model="screening" />);
  const segments = within(await screen.findByRole("table", { name: "Segments of this window" })).getAllByRole("row").slice(1);
  expect(segments.map((r) => within(r).getAllByRole("cell").map((c) => c.textContent).join(" | "))).toEqual([
    "region is north and age is above 60◷found▲worst | 60 (15 %) | 71.0 % others: 90.0 % | – | –",
    "income is missing◷found | 60 (15 %) | 71.0 %, estimated others: 90.0 % | – | –",
    expect.stringMatching(/^region is south.found \| 90 \(2[23] %\) \| not known yet \| .*moved \| texture PSI 0\.900$/),
  ]);
  expect(screen.getAllByTitle("Worse than the other rows by 11.0 % to 28.0 %; found among 1,234 slices").length).toBe(2);
  expect(await findings()).toEqual([]);
});

it("opens the window of the address", async () => {
  history.replaceState(null, "", "/models/screening/monitoring?window=w1");
  serve(routes([win("w2", true), win("w1", false)]));
  show(<ModelMonitoring model="screening" />);
  expect(await screen.findByText(/mean radius looks like the reference/)).toBeTruthy();
});

it("says when the first verdict comes while no window is full", async () => {
  serve(routes(null));
  show(<ModelMonitoring model="screening" />);
  expect(await screen.findByText(/after 400 rows/)).toBeTruthy();
});

it("shows the realised performance with how many outcomes are known", async () => {
  serve(routes([win("w2", true, { performance: { kind: "binary", metrics: {}, accuracy: 0.92, auc: null, n: 120, label_coverage: 0.3 } })]));
  show(<ModelMonitoring model="screening" />);
  expect(await screen.findByText("Accuracy 92.0 % of 120 known outcomes (30 % of the calls have one)")).toBeTruthy();
});

it("has a table with the same numbers as the pair of histograms", async () => {
  show(<FeaturePanel feature={feature()} endpoint="screening" />);
  await user.click(screen.getByRole("button", { name: "Show as table" }));
  const row = screen.getByText("20 – 30").closest("tr")!;
  expect(within(row).getAllByRole("cell").map((c) => c.textContent)).toEqual(["20 – 30", "10", "75", "10.0 %", "75.0 %"]);
});

it("shows metrics of the business beside those of the model, rules about the data, and where a version began", async () => {
  const documents = routes([win("w1", false, { version: 1 }), win("w2", true, {
    version: 2, custom: [{ name: "cost of misses", unit: "EUR", value: 281086, max: 200000, rows: 400 }, { name: "margin", value: null, rows: 0, why: "no outcome has arrived" }],
    rules: [{ rule: "age.range", check: "range", ok: true, value: 0, limit: 0, broken: 0, detail: "0 of 400 values break it." }, { rule: "city.allowed", check: "allowed", ok: false, value: 1, limit: 0, broken: 400, detail: "400 of 400 values break it.", example: "Paris" }],
  })]);
  serve({ ...documents, "GET /api/v1/monitors/screening": { ...(documents["GET /api/v1/monitors/screening"] as object), indicators: [{ name: "loans a day", unit: "loans", value: 41, at: "2026-03-02T10:00:00Z", max: 50, ok: true }] } });
  show(<ModelMonitoring model="screening" />);
  expect(await screen.findByText("1 of 3 metrics outside of the limits")).toBeTruthy();
  const metrics = within(screen.getByRole("table", { name: "Metrics of the business" })).getAllByRole("row").slice(1).map((r) => r.textContent);
  expect(metrics[0]).toMatch(/cost of misses.*281,086 EUR.*at most 200,000 EUR.*outside.*400 rows/);
  expect(metrics[1]).toMatch(/margin.*no outcome has arrived/);
  expect(metrics[2]).toMatch(/loans a day.*41 loans.*at most 50 loans.*within/);
  const rules = within(screen.getByRole("table", { name: "Rules about the data" })).getAllByRole("row").slice(1).map((r) => r.textContent);
  expect(rules).toEqual([expect.stringMatching(/city\.allowed.*broken.*400 of 400 values break it\. For example Paris\./), expect.stringMatching(/age\.range.*kept/)]);
  expect(screen.getByText("limit 0.25")).toBeTruthy();
  expect(screen.getByTitle("version 2 from here").textContent).toBe("v2");
  expect(await findings()).toEqual([]);
});

it("says of an input what decided: missing values, new ones, or that it could not be compared", () => {
  const text = (more: Parameters<typeof feature>[0]) => { const { container, unmount } = show(<FeaturePanel feature={feature({ histogram: undefined, ...more })} endpoint="screening" />); const t = container.querySelector("p")!.textContent; unmount(); return t; };
  expect(text({ metric: "missing", psi: null, missing: 1, missing_reference: 0.01 })).toBe("mean radius is missing in 100.0 % of the rows; in the reference it is 1.0 %.");
  expect(text({ metric: "new", new: 0.4 })).toBe("40.0 % of the values of mean radius do not occur in the reference.");
  expect(text({ shift: "unknown", why: "the logged inputs have no column of this name" })).toBe("mean radius could not be compared: the logged inputs have no column of this name.");
  expect(text({ metric: "psi", mean: 16000, mean_reference: 30900 })).toMatch(/PSI 0\.31, limit 0\.25\. On average it went from 30,900 to 16,000\./);
  expect(text({ name: "PSI_score", shift: "moved", metric: "ks", ks: 0.41, limit: 0.25, mean: undefined })).toBe("PSI_score is distributed differently from the reference: KS 0.41, limit 0.25.");
});
