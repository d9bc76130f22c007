import { screen, waitFor, within } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { expect, it } from "vitest";
import type { Supposed } from "../../api/types";
import { findings, refusal, serve, show, type Sent } from "../../test/show";
import { WhatIf } from "./WhatIf";

const user = userEvent.setup();

/** A linear model: 1 + 2·age − 5·income, and 3 for Bonn. */
function answer(sent: Sent): unknown {
  const { values = {}, row = 0 } = sent.body as { values?: Record<string, unknown>; row?: number };
  if (values.age === 999) return refusal(422, "999 is no value of age, which is INT64.", { field: "values.age" });
  const was = { age: 2, income: row ? 4 : 6, city: "Ulm" }, is = { ...was, ...values } as typeof was;
  const of = (x: typeof was) => 1 + 2 * x.age - 5 * x.income + (x.city === "Bonn" ? 3 : 0);
  return {
    prediction_id: "p1", model: "bills", version: 1, row, rows: 2, output: "predict", before: of(was), after: of(is), base: 1, total: of(is), unit: "the answer", method: "exact", changes: Object.entries(values).map(([feature, to]) => ({ feature, from: was[feature as "age"], to, words: `${feature} is ${String(to)}` })),
    reasons: [{ name: "income", value: is.income, contribution: -5 * is.income, words: "" }, { name: "age", value: is.age, contribution: 2 * is.age, words: "" }],
    inputs: [{ name: "age", kind: "whole", value: was.age, missing_allowed: false, min: 0, max: 10, from: "bills-train/2" }, { name: "income", kind: "number", value: was.income, missing_allowed: true, min: 0, max: 9, from: "300 logged rows" }, { name: "city", kind: "text", value: "Ulm", missing_allowed: false, choices: ["Bonn", "Ulm"], from: "bills-train/2" }],
  } satisfies Supposed;
}

const begin = async (rows = 1) => {
  const sent = serve({ "POST /api/v1/predictions/p1/what-if": answer });
  show(<WhatIf id="p1" rows={rows} />);
  await user.click(screen.getByRole("button", { name: "Try other values" }));
  await screen.findByText("Nothing changed yet: move a slider.");
  return sent;
};

it("shows what would be answered, asks once the values rest, and takes all changes back", async () => {
  const sent = await begin();
  const field = screen.getByRole("textbox", { name: "Value of income" });
  await user.clear(field);
  await user.type(field, "1.5");
  expect(await screen.findByText("1 input changed")).toBeTruthy();
  await waitFor(() => expect(screen.getByText("Would be").nextSibling?.textContent).toBe("-2.5"));
  expect(screen.getByText("Decided").nextSibling?.textContent).toBe("-25");
  expect(screen.getByText("▲ +22.5")).toBeTruthy();
  expect(sent.length).toBeLessThan(5); // not one per key
  expect(JSON.parse(new URLSearchParams(location.search).get("what")!)).toEqual({ income: 1.5 });
  await user.selectOptions(screen.getByRole("combobox", { name: /city/ }), "Bonn");
  expect(await screen.findByText("2 inputs changed")).toBeTruthy();
  await user.click(screen.getByRole("button", { name: /Take back the change of income/ }));
  expect(await screen.findByText("1 input changed")).toBeTruthy();
  await user.click(screen.getByRole("button", { name: "Back to the decision" }));
  expect(await screen.findByText("Nothing changed yet: move a slider.")).toBeTruthy();
  expect(await findings()).toEqual([]);
});

it("lists the inputs that matter most first, with the range and where it is from", async () => {
  await begin();
  expect(screen.getAllByRole("slider").map((s) => s.getAttribute("max"))).toEqual(["9", "10"]);
  expect(screen.getByText(/0 to 9 in 300 logged rows/)).toBeTruthy();
});

it("marks what lies outside of the range, and shows a refusal at its input", async () => {
  await begin();
  const age = screen.getByRole("textbox", { name: "Value of age" });
  await user.clear(age);
  await user.type(age, "99");
  expect(await screen.findByText(/Outside of 0 to 10/)).toBeTruthy();
  await user.type(age, "9");
  const refused = await screen.findByText("999 is no value of age, which is INT64.");
  expect(within(refused.closest(".slider") as HTMLElement).getByRole("slider")).toBeTruthy();
});

it("opens the question that a link holds, of the row it names", async () => {
  history.replaceState(null, "", `/predictions/p1?row=1&what=${encodeURIComponent('{"income":0}')}`);
  const sent = serve({ "POST /api/v1/predictions/p1/what-if": answer });
  show(<WhatIf id="p1" rows={2} />);
  await waitFor(() => expect(screen.getByText("Would be").nextSibling?.textContent).toBe("5"));
  expect(screen.getByText("Decided").nextSibling?.textContent).toBe("-15");
  expect(sent.every((s) => (s.body as { row: number }).row === 1)).toBe(true);
});
