import { screen, waitFor, within } from "@testing-library/react";
import user from "@testing-library/user-event";
import { expect, it } from "vitest";
import { model } from "../../test/documents";
import { findings, refusal, serve, show } from "../../test/show";
import { ModelsPage } from "./ModelsPage";

const rows = () => screen.getAllByRole("row").slice(1);

it("lists models with verdict, owner and live version, each row a real link", async () => {
  serve({ "GET /api/v1/models": { items: [model({ health: { verdict: "watch", reasons: ["Inputs moved."] } })] } });
  show(<ModelsPage />);
  const link = await screen.findByRole("link", { name: "screening" });
  expect(link.getAttribute("href")).toBe("/models/screening");
  const row = within(rows()[0]);
  expect(row.getByText("Warning")).toBeTruthy();
  expect(row.getByText("Inputs moved.")).toBeTruthy();
  expect(row.getByText("v1")).toBeTruthy();
  expect(await findings()).toEqual([]);
});

it("shows in red that nobody is accountable", async () => {
  serve({ "GET /api/v1/models": { items: [model({ responsibilities: {}, missing: ["accountable"], live: null })] } });
  show(<ModelsPage />);
  const chip = (await screen.findByText("Nobody")).closest(".chip");
  expect(chip?.getAttribute("data-tone")).toBe("bad");
});

it("filters by words, keeps them in the address and offers to remove them", async () => {
  serve({ "GET /api/v1/models": { items: [model(), model({ name: "churn", description: "", area: "sales", use_case: "" })] } });
  show(<ModelsPage />);
  await screen.findByText("churn");
  await user.type(screen.getByLabelText("Filter models"), "sales");
  await waitFor(() => expect(rows()).toHaveLength(1));
  expect(location.search).toBe("?filter=sales");
  await user.type(screen.getByLabelText("Filter models"), "-nothing");
  await user.click(await screen.findByRole("button", { name: "Remove filters" }));
  await waitFor(() => expect(rows()).toHaveLength(2));
});

it("sends a filter with an operator to the server", async () => {
  history.replaceState(null, "", "/models?filter=" + encodeURIComponent("name LIKE 'scr%'"));
  const sent = serve({ "GET /api/v1/models": { items: [model()] } });
  show(<ModelsPage />);
  await screen.findByRole("link", { name: "screening" });
  expect(sent[0].query.get("filter")).toBe("name LIKE 'scr%'");
});

it("sorts by a column and says so to readers of the table", async () => {
  serve({ "GET /api/v1/models": { items: [model(), model({ name: "churn" })] } });
  show(<ModelsPage />);
  await screen.findByText("churn");
  await user.click(screen.getByRole("button", { name: "Model" }));
  expect(rows().map((r) => within(r).getAllByRole("link")[0].textContent)).toEqual(["churn", "screening"]);
  expect(screen.getByRole("columnheader", { name: /Model/ }).getAttribute("aria-sort")).toBe("ascending");
});

it("says what the page is for when there is no model", async () => {
  serve({ "GET /api/v1/models": { items: null } });
  show(<ModelsPage />);
  expect(await screen.findByText(/Models appear here/)).toBeTruthy();
  expect(screen.getByText(/keelson deploy create/)).toBeTruthy();
});

it("shows the server's words when the list cannot be had, and tries again on request", async () => {
  let broken = true;
  serve({ "GET /api/v1/models": () => (broken ? refusal(503, "The database is being restored.") : { items: [model()] }) });
  show(<ModelsPage />);
  expect((await screen.findByRole("alert")).textContent).toContain("The database is being restored.");
  broken = false;
  await user.click(screen.getByRole("button", { name: "Try again" }));
  expect(await screen.findByRole("link", { name: "screening" })).toBeTruthy();
});
