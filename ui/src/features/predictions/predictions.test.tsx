import { screen, waitFor } from "@testing-library/react";
import user from "@testing-library/user-event";
import { beforeEach, expect, it } from "vitest";
import type { Explained, Prediction } from "../../api/types";
import { findings, me, serve, show } from "../../test/show";
import { PredictionPage } from "./PredictionPage";
import { PredictionsPage } from "./PredictionsPage";

const call = (id: string, more: Partial<Prediction> = {}): Prediction => ({
  id, at: "2026-03-02T10:00:00Z", endpoint: "scores", model: "screening", version: 2, environment: "prod", slot: "live", caller: "bank", application: "", purpose: "", subject: "", request: "", rows: 1,
  inputs: [{ name: "age", shape: [1], datatype: "FP64", data: [61] }], outputs: [{ name: "score", shape: [1], datatype: "FP64", data: [0.25] }], latency_us: 400, compute_us: 80, error: "", trace: "", segment: "", override: "", trace_info: [], outcomes: [], ...more,
} as Prediction);
const why: Explained = { prediction_id: "p1", at: "2026-03-02T10:00:00Z", endpoint: "scores", model: "screening", version: 2, replay: { identical: true, redacted: false, difference: 0, detail: "Asked again, the version gave the identical answer." },
  explanation: { method: "TreeSHAP", unit: "score", rows: [{ row: 0, output: 0, base: 0.5, total: 0.25, rest: 0, features: [{ name: "age", value: 61, contribution: -0.25, words: "age lowered the score" }] }] } } as Explained;

beforeEach(() => history.replaceState(null, "", "/predictions"));

it("searches by words, id and values, each kept in the address", async () => {
  history.replaceState(null, "", "/predictions?caller=bank&id=abc12345&filter=input.age+%3E+60");
  const sent = serve({ "GET /api/v1/me": me(["prediction.read"]), "GET /api/v1/predictions": { items: [call("p1")] } });
  show(<PredictionsPage />);
  expect(await screen.findByText("score 0.25")).toBeTruthy();
  const asked = sent.find((x) => x.path === "/api/v1/predictions")!.query;
  expect(asked.get("caller")).toBe("bank");
  expect(asked.get("filter")).toBe("input.age > 60 AND id LIKE '%abc12345%'");
  expect(await findings()).toEqual([]);
});

it("exports what the filters select, where the person may", async () => {
  history.replaceState(null, "", "/predictions?caller=bank&filter=input.age+%3E+60");
  serve({ "GET /api/v1/me": me(["prediction.read", "prediction.export"]), "GET /api/v1/predictions": { items: [call("p1")] } });
  show(<PredictionsPage />);
  await screen.findByText("score 0.25");
  await user.click(screen.getByRole("button", { name: "Export" }));
  const href = (await screen.findByRole("link", { name: "Parquet" })).getAttribute("href")!;
  expect(href).toBe("/api/v1/predictions/export?caller=bank&filter=input.age+%3E+60&format=parquet");
});

it("says why it does not export for others", async () => {
  serve({ "GET /api/v1/me": me(["prediction.read"]), "GET /api/v1/predictions": { items: [call("p1")] } });
  show(<PredictionsPage />);
  await waitFor(() => expect(screen.getByRole("button", { name: "Export" }).getAttribute("aria-disabled")).toBe("true"));
});

it("writes a condition for those who do not know the language", async () => {
  const sent = serve({ "GET /api/v1/me": me(["prediction.read"]), "GET /api/v1/predictions": { items: [call("p1")] } });
  show(<PredictionsPage />);
  await screen.findByText("score 0.25");
  await user.click(screen.getByRole("button", { name: "Add a condition" }));
  await user.type(await screen.findByLabelText(/^Name/), "mean radius");
  await user.type(screen.getByLabelText(/^Value/), "12.5");
  await user.click(screen.getByRole("button", { name: "Add" }));
  await waitFor(() => expect(sent.some((x) => x.query.get("filter") === "input.`mean radius` > 12.5")).toBe(true));
});

it("searches further back where nothing was found yet", async () => {
  history.replaceState(null, "", "/predictions?filter=input.age+%3E+60");
  serve({ "GET /api/v1/me": me(["prediction.read"]), "GET /api/v1/predictions": (x: { query: URLSearchParams }) => (x.query.get("cursor") ? { items: [call("p9")] } : { items: [], next: "c1" }) });
  show(<PredictionsPage />);
  await user.click(await screen.findByRole("button", { name: "Search further back" }));
  expect(await screen.findByText("score 0.25")).toBeTruthy();
});

it("explains a call when asked, with its replay", async () => {
  serve({ "GET /api/v1/me": me(["prediction.read"]), "GET /api/v1/predictions/p1": call("p1"), "GET /api/v1/predictions/p1/explanation": why });
  show(<PredictionPage id="p1" />);
  await user.click(await screen.findByRole("button", { name: "Explain this call" }));
  expect(await screen.findByText("Identical replay")).toBeTruthy();
  expect(screen.getByText("age lowered the score")).toBeTruthy();
  expect(screen.getByText("-0.25")).toBeTruthy();
  expect(await findings()).toEqual([]);
});
