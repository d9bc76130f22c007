import { screen, waitFor, within } from "@testing-library/react";
import user from "@testing-library/user-event";
import { expect, it } from "vitest";
import type { Window } from "../../api/types";
import { feature } from "../../test/documents";
import { findings, me, refusal, serve, show } from "../../test/show";
import { ModelMonitoring } from "./ModelMonitoring";

const none = null as unknown as Window["performance"];
const plain = (name: string, psi: number, more = {}) => feature({ name, psi, shift: psi >= 0.25 ? "moved" : "none", metric: "psi", value: psi, histogram: undefined, ...more });
const win = (id: string, features: Window["features"], more: Partial<Window> = {}): Window => ({ id, endpoint: "screening", from: "2026-03-02T10:00:00Z", to: `2026-03-02T1${id.slice(1)}:00:00Z`, rows: 400, version: 1, estimate: null as unknown as Window["estimate"], breached: true, features, performance: none, model: "screening", first_prediction: "p1", last_prediction: "p2", reference: { dataset: "patients", version: 1 }, predictions: [], causes: [], verdict: "yes", reasons: [], created_at: "2026-03-02T12:00:00Z", ...more });
const windows = [win("w1", [plain("age", 0.02), plain("income", 0.05), plain("ward", 0.01)]), win("w2", [plain("age", 0.9), plain("income", 0.4), plain("ward", 0.1)])];
const study = { state: "ready", study: { features: [{ name: "age", share: 0.05 }, { name: "income", share: 0.7 }, { name: "ward", share: 0.25 }] } };
const routes = (monitor = {}, rights = ["monitor.read", "monitor.write"]) => {
  const mon = { endpoint: "screening", model: "screening", reference: { dataset: "patients", version: 1 }, against: { kind: "training" }, window: { rows: 400, min_rows: 200 }, limits: { psi: 0.25 }, features: null, on_breach: { retrain: { pipeline: "nightly" } }, ...monitor };
  return {
    "GET /api/v1/me": me(rights), "GET /api/v1/monitors": { items: [mon] }, "GET /api/v1/monitors/screening": { monitor: mon, verdict: { verdict: "watch", reasons: [] }, windows }, "GET /api/v1/alerts": { items: [] },
    "GET /api/v1/monitors/screening/windows/w2": windows[1], "GET /api/v1/models/screening/versions/1/study": study as object,
  };
};
const page = <ModelMonitoring model="screening" retrain={(model, suggested) => <button type="button">{`train ${model} by ${suggested}`}</button>} />;

it("orders inputs by what they weigh times how far they moved, and draws the course of each over the windows", async () => {
  serve(routes());
  show(page);
  const table = await screen.findByRole("table", { name: "Inputs of this window" });
  await within(table).findByText("70.0 %");
  expect(within(table).getAllByRole("link").map((l) => l.textContent)).toEqual(["income", "age", "ward"]); // age moved further and weighs little; ward did not move
  expect(within(table).getByRole("img", { name: "PSI of income from 0.05 to 0.40 over 2 windows" })).toBeTruthy();
  expect(await findings()).toEqual([]);
});

it("says where to study a version of which nobody knows what its inputs weigh, and orders by the shift alone", async () => {
  serve({ ...routes(), "GET /api/v1/models/screening/versions/1/study": { state: "none" } });
  show(page);
  expect((await screen.findByRole("link", { name: "Study it" })).getAttribute("href")).toBe("/models/screening/explain?version=1");
  expect(within(screen.getByRole("table", { name: "Inputs of this window" })).getAllByRole("link").map((l) => l.textContent)).toEqual(["age", "income", "ward"]);
});

it("does not send people to study a retired version, but the one that would lend its weights", async () => {
  serve({ ...routes({ version: 3 }), "GET /api/v1/models/screening/versions/1/study": { state: "none" }, "GET /api/v1/models/screening/versions/3/study": { state: "none" }, "GET /api/v1/models/screening/versions/1": { model: "screening", version: 1, state: "retired" } });
  show(page);
  expect((await screen.findByRole("link", { name: "Study v3, whose weights then stand here" })).getAttribute("href")).toBe("/models/screening/explain?version=3");
  expect(screen.queryByRole("link", { name: "Study it" })).toBeNull();
});

it("accepts a window as normal for a time with a reason, and shows a refusal in the dialog", async () => {
  let answers = 0;
  const sent = serve({ ...routes(), "POST /api/v1/monitors/screening/accept": () => (answers++ === 0 ? refusal(409, "The window is gone.") : {}) });
  show(page);
  await user.click(await screen.findByRole("button", { name: "Accept as normal…" }));
  const dialog = within(await screen.findByRole("dialog", { name: "Accept the data of window #2 as normal" }));
  await user.click(dialog.getByRole("button", { name: "Accept as normal" }));
  expect(sent.some((s) => s.method === "POST")).toBe(false); // not without a reason
  expect(await findings()).toEqual([]);
  await user.selectOptions(dialog.getByLabelText("Until"), "for 90 days");
  await user.type(dialog.getByRole("textbox", { name: /^Reason/ }), "The new scanner.");
  await user.click(dialog.getByRole("button", { name: "Accept as normal" }));
  expect(await dialog.findByText("The window is gone.")).toBeTruthy();
  await user.click(dialog.getByRole("button", { name: "Accept as normal" }));
  await waitFor(() => expect(screen.queryByRole("dialog")).toBeNull());
  const body = sent.filter((s) => s.method === "POST").at(-1)!.body as { window: string; reason: string; until: string };
  expect(body).toMatchObject({ window: "w2", reason: "The new scanner." });
  expect(Math.abs(Date.parse(body.until) - Date.now() - 90 * 86_400_000)).toBeLessThan(60_000);
});

it("asks on about the window it was asked about when a newer one comes in", async () => {
  const answers = routes();
  const sent = serve({ ...answers, "POST /api/v1/monitors/screening/accept": {} });
  const { client } = show(page);
  await user.click(await screen.findByRole("button", { name: "Accept as normal…" }));
  await user.type(within(screen.getByRole("dialog")).getByRole("textbox", { name: /^Reason/ }), "The new scanner.");
  (answers["GET /api/v1/monitors/screening"] as { windows: Window[] }).windows = [...windows, win("w3", [plain("age", 0.9)])];
  await client.invalidateQueries();
  expect(await screen.findByText("Last 3 windows")).toBeTruthy();
  const dialog = within(screen.getByRole("dialog", { name: "Accept the data of window #2 as normal" }));
  expect((dialog.getByRole("textbox", { name: /^Reason/ }) as HTMLTextAreaElement).value).toBe("The new scanner.");
  await user.click(dialog.getByRole("button", { name: "Accept as normal" }));
  await waitFor(() => expect(sent.find((s) => s.method === "POST")?.body).toMatchObject({ window: "w2" }));
});

it("tells which window was accepted until when, and leads back to the training data", async () => {
  const sent = serve({ ...routes({ against: { kind: "window", window: "w2", until: "2999-03-02T10:00:00Z" } }), "PUT /api/v1/monitors/screening": {} });
  show(page);
  expect((await screen.findByRole("link", { name: "window #2" })).getAttribute("href")).toContain("window=w2");
  expect(screen.getByRole("button", { name: "Accept as normal…" }).getAttribute("aria-disabled")).toBe("true"); // it is what others are compared with
  await user.click(screen.getByRole("button", { name: "Compare with the training data again" }));
  await waitFor(() => expect(sent.find((s) => s.method === "PUT")?.body).toEqual({ against: { kind: "training" } }));
});

it("is back at the training data once the time of an accepted window is over", async () => {
  serve(routes({ against: { kind: "window", window: "w2", until: "2020-03-02T10:00:00Z" } }));
  show(page);
  expect(await screen.findByRole("link", { name: "patients v1" })).toBeTruthy();
  expect(screen.queryByRole("button", { name: "Compare with the training data again" })).toBeNull();
});

it("offers the pipeline that the monitor starts by itself", async () => {
  serve(routes());
  show(page);
  expect(await screen.findByRole("button", { name: "train screening by nightly" })).toBeTruthy();
});

it("tells who may not accept why", async () => {
  serve(routes({}, ["monitor.read"]));
  show(page);
  await waitFor(() => expect(screen.getByRole("button", { name: "Accept as normal…" }).getAttribute("aria-disabled")).toBe("true"));
  expect(screen.getByRole("button", { name: "Accept as normal…" }).getAttribute("aria-describedby")).toBeTruthy();
});
