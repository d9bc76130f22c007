import { screen, waitFor, within } from "@testing-library/react";
import user from "@testing-library/user-event";
import { expect, it } from "vitest";
import type { Conversion, Version } from "../../api/types";
import { findings, me, refusal, serve, show } from "../../test/show";
import { Conversions } from "./Conversions";

const version = { model: "churn", version: 3, state: "ready", engine: "lightgbm" } as Version;
const base = "/api/v1/models/churn/versions/3/conversions";
const side = (engine: string, bytes: number, p50_us: number) => ({ format: engine, engine, file: "model", bytes, memory: bytes * 3, p50_us });
const tried = (more: Partial<Conversion>): Conversion => ({ id: "c1", model: "churn", version: 3, wish: { to: "onnx", limit: 1e-6 }, state: "done", by: "mira", started_at: "2026-03-02T10:00:00Z", result: { original: side("lightgbm", 400_000, 4), converted: side("onnx", 200_000, 8), rows: { golden: 24, logged: 500, generated: 1000 }, max_error: 3e-7 }, ...more });

it("shows size, time and error of a lighter form beside the original, and why one was refused", async () => {
  serve({ "GET /api/v1/me": me(["version.write"]), [`GET ${base}`]: { items: [tried({}), tried({ id: "c2", wish: { to: "int8", limit: 0.05 }, state: "refused", result: { reason: "The largest error is 0.2.", rows: { golden: 0, logged: 0, generated: 0 }, max_error: 0.2 } }), tried({ id: "c3", result: { ...tried({}).result, registered: 4 } })] } });
  show(<Conversions version={version} />);
  const rows = within(await screen.findByRole("table", { name: "Lighter forms that were tried" })).getAllByRole("row").slice(1).map((r) => r.textContent);
  expect(rows[0]).toMatch(/ONNXlightgbm → onnx.*Passed.*400 kB → 200 kB2 × less.*1\.2 MB → 600 kB.*4 µs → 8 µs2 × more.*0\.0000003limit 0\.000001not registeredon 24 golden, 500 logged and 1000 generated rows/);
  expect(rows[1]).toMatch(/8-bit whole numbers.*Refused.*The largest error is 0\.2\./);
  expect(screen.getByRole("link", { name: "registered as v4" }).getAttribute("href")).toBe("/models/churn/versions/4");
  expect(await findings()).toEqual([]);
});

it("asks for a form and its limit, refuses what is no limit, and keeps the server's refusal in the dialog", async () => {
  let asked = 0;
  const sent = serve({ "GET /api/v1/me": me(["version.write"]), [`GET ${base}`]: { items: [] }, [`POST ${base}`]: () => (asked++ === 0 ? refusal(409, "churn/3 is retired and cannot be converted.") : tried({ state: "running" })) });
  show(<Conversions version={version} />);
  expect(await screen.findByText("keelson version convert churn/3 --to onnx")).toBeTruthy();
  await user.click(screen.getByRole("button", { name: "Try a lighter form…" }));
  const dialog = within(await screen.findByRole("dialog", { name: "Try a lighter form of churn v3" }));
  await user.selectOptions(dialog.getByLabelText("Form"), "16-bit numbers");
  await user.type(dialog.getByLabelText("Largest error that passes"), "2");
  await user.click(dialog.getByRole("button", { name: "Convert and compare" }));
  expect(dialog.getByText("A number from 0 to 1.")).toBeTruthy();
  expect(sent.some((s) => s.method === "POST")).toBe(false);
  await user.clear(dialog.getByLabelText("Largest error that passes"));
  await user.type(dialog.getByLabelText("Largest error that passes"), "0.02");
  expect(await findings()).toEqual([]);
  await user.click(dialog.getByRole("button", { name: "Convert and compare" }));
  expect(await dialog.findByText(/is retired and cannot be converted/)).toBeTruthy();
  await user.click(dialog.getByRole("button", { name: "Convert and compare" }));
  await waitFor(() => expect(screen.queryByRole("dialog")).toBeNull());
  expect(sent.filter((s) => s.method === "POST").at(-1)!.body).toEqual({ to: "float16", limit: 0.02 });
});
