// Watching, on a server that holds the demo's story:
//   the incident of the shift tells itself: first window, alert, what the policy did, what changed before, the rows behind it
//   a route is added, tested against a receiver of this test, switched off and deleted
//   a decision is marked as wrong, labelled from the queue, and counts as an outcome
// Needs the roles ml-engineer and business-owner, and a server whose outbound_allow holds 127.0.0.1.
import { createServer } from "node:http";
import { join } from "node:path";
import { as, assert, check, finish, get, shots, until } from "./harness.mjs";

const engineer = await as("ml-engineer");
const owner = await as("business-owner");
const settled = (page) => page.waitForFunction(() => !document.querySelector("[aria-busy=true]"));
const shot = (page, name) => page.screenshot({ path: join(shots, `${name}.png`), fullPage: true });

/** Presses a button that asks for a reason, gives one and confirms. */
async function because(page, button, reason, confirm = button) {
  await button.first().click();
  const dialog = page.getByRole("dialog");
  await dialog.getByRole("textbox", { name: /^Reason/ }).fill(reason);
  await dialog.getByRole("button", { name: confirm, exact: true }).click();
  await dialog.waitFor({ state: "detached" });
}

await check("the incident of a shift tells itself", async () => {
  const { page } = owner;
  const list = (await get(owner, "/incidents")).items ?? [];
  const incident = list.find((i) => i.kind === "data.moved");
  assert(incident, "the shift opened no incident");
  await page.goto("/incidents");
  await settled(page);
  await page.getByRole("link", { name: incident.title }).first().click();
  await page.getByRole("heading", { level: 1, name: incident.title }).waitFor();
  await settled(page);
  const story = page.getByRole("region", { name: "What happened" });
  for (const part of ["The first window over the limit began", "Alert: The data of", "By policy: Started the pipeline", "The retraining made"]) await story.getByText(part).first().waitFor();
  assert((await page.getByRole("table", { name: "What is over its limit" }).getByRole("row").count()) > 5, "the columns behind it are not listed");
  assert((await page.getByRole("region", { name: "What changed before" }).getByRole("listitem").count()) > 0, "no suspect is named");
  await because(page, page.getByRole("button", { name: "Add a note" }), "Seen by the browser test.", "Add a note");
  await story.getByText("Seen by the browser test.").waitFor();
  await shot(page, "incident");
  await page.getByRole("link", { name: "See the rows of the newest window" }).click();
  await page.getByRole("heading", { level: 1, name: "Predictions" }).waitFor();
  await settled(page);
  assert((await page.getByRole("table").getByRole("row").count()) > 1, "the rows behind the incident are not shown");
});

await check("one alert per cause, which can be acknowledged, silenced and taken back", async () => {
  const { page } = engineer;
  const alerts = (await get(engineer, "/alerts?model=screening")).items ?? [];
  const active = alerts.find((a) => a.state === "open");
  assert(new Set(alerts.map((a) => a.kind)).size === alerts.length || alerts.length < 5, `${alerts.length} alerts for one shift`);
  await page.goto("/alerts");
  await settled(page);
  await shot(page, "alerts");
  if (!active) return; // it recovered meanwhile
  const row = page.getByRole("row").filter({ hasText: active.title.slice(0, 40) }).first();
  await because(page, row.getByRole("button", { name: "Acknowledge" }), "The new scanner.", "Acknowledge");
  await row.getByText("Acknowledged").waitFor();
  await because(page, row.getByRole("button", { name: "Take back" }), "Not mine.", "Take back");
  await row.getByText("Open", { exact: false }).first().waitFor();
});

await check("a route is added, tested, switched off and deleted", async () => {
  const got = [];
  const receiver = createServer((req, res) => {
    let body = "";
    req.on("data", (c) => { body += c; });
    req.on("end", () => { got.push({ path: req.url, body }); res.end("ok"); });
  });
  await new Promise((done) => receiver.listen(0, "127.0.0.1", done));
  try {
    const { page } = engineer;
    await page.goto("/settings/routes");
    await settled(page);
    await page.getByRole("button", { name: "Add a route" }).click();
    const form = page.getByRole("dialog");
    await form.getByRole("textbox", { name: "Name" }).fill("browser-test");
    await form.getByLabel(/^Address of the incoming webhook/).fill(`http://127.0.0.1:${receiver.address().port}/services/secret`);
    await shot(page, "route-form");
    await form.getByRole("button", { name: "Add a route" }).click();
    await form.waitFor({ state: "detached" });
    await page.getByRole("button", { name: "Test browser-test" }).click();
    await page.getByText("It arrived.").waitFor();
    assert(got.length === 1 && got[0].path === "/services/secret" && JSON.parse(got[0].body).text.startsWith("Test: "), `the receiver got ${JSON.stringify(got)}`);
    assert(!(await page.content()).includes("services/secret"), "the page shows the secret address");
    await page.getByRole("button", { name: "Switch off browser-test" }).click();
    await page.getByRole("button", { name: "Switch on browser-test" }).waitFor();
    await page.getByRole("button", { name: "browser-test", exact: true }).click();
    await page.getByText("Nothing was sent by this route yet.").waitFor();
    await shot(page, "routes");
    await page.getByRole("button", { name: "Delete browser-test" }).click();
    await page.getByRole("dialog").getByRole("button", { name: "Delete", exact: true }).click();
    await page.getByRole("button", { name: "Test browser-test" }).waitFor({ state: "detached" });
  } finally {
    receiver.close();
  }
});

await check("a decision marked as wrong is labelled from the queue and counts", async () => {
  const some = (await get(owner, "/predictions?endpoint=screening&limit=50")).items ?? [];
  const free = some.find((p) => !(p.outcomes ?? []).length && !p.error);
  assert(free, "every decision has an outcome already");
  const { page } = owner;
  await page.goto(`/predictions/${free.id}`);
  await settled(page);
  await page.getByRole("button", { name: "Mark as wrong" }).click();
  const dialog = page.getByRole("dialog");
  await dialog.getByRole("textbox", { name: "What it should be" }).fill("1");
  await dialog.getByRole("textbox", { name: /^Reason/ }).fill("The biopsy says otherwise.");
  await dialog.getByRole("button", { name: "Mark as wrong" }).click();
  await dialog.waitFor({ state: "detached" });
  await page.getByRole("region", { name: "What people say about this decision" }).getByText("The biopsy says otherwise.").waitFor();
  await shot(page, "prediction-said");
  const item = await until("the item in the queue", async () => ((await get(engineer, `/feedback?prediction=${free.id}`)).items ?? [])[0]);
  const window = engineer.page;
  await window.goto("/feedback");
  await settled(window);
  const row = window.getByRole("row").filter({ hasText: item.prediction_id.slice(-8) });
  await row.getByRole("button", { name: "Label" }).click();
  await window.getByRole("dialog").getByLabel(/^What turned out to be true/).fill("1");
  await shot(window, "label-form");
  await window.getByRole("dialog").getByRole("button", { name: "Label" }).click();
  await window.getByRole("dialog").waitFor({ state: "detached" });
  await window.goto("/feedback?state=labelled");
  await settled(window);
  await window.getByRole("row").filter({ hasText: item.prediction_id.slice(-8) }).waitFor();
  await shot(window, "feedback");
  const after = await get(owner, `/predictions/${free.id}`);
  assert(after.outcomes?.length === 1 && after.outcomes[0].value === 1, `the label is no outcome: ${JSON.stringify(after.outcomes)}`);
});

await check("no page complained", async () => {
  const errors = [...engineer.errors, ...owner.errors];
  assert(errors.length === 0, errors.join("\n"));
});

await finish();
