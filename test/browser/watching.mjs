// Watching, on a server that holds the demo's story:
//   the incident of the shift tells itself: first window, alert, what the policy did, what changed before, the rows behind it
//   a route is added, tested against a receiver of this test, switched off and deleted
//   a route is changed and muted with an end; a policy of alerts is changed, refused at its field, taken back and that undone
//   how long predictions are kept is changed; what a purge would take is shown; a person is erased
//   a decision is marked as wrong, labelled from the queue, and counts as an outcome
// Needs the roles ml-engineer, business-owner and risk-compliance, and a server whose outbound_allow holds 127.0.0.1.
import { createServer } from "node:http";
import { join } from "node:path";
import { as, assert, base, check, faults, finish, get, shots, until } from "./harness.mjs";

const engineer = await as("ml-engineer");
const owner = await as("business-owner");
const risk = await as("risk-compliance");
const settled = (page) => page.waitForFunction(() => !document.querySelector("[aria-busy=true]"));
/** No serious axe finding, nothing that scrolls sideways, as the page stands: with its dialog open. */
const sound = async (page, name) => { const wrong = await faults(page, name); assert(wrong.length === 0, `${name}: ${wrong.join("\n")}`); };
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
  await story.getByText("Seen by the browser test.").first().waitFor();
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

await check("the segments that were found are marked on the monitoring page, in the window they were found in", async () => {
  const { page } = engineer;
  const windows = (await get(engineer, "/monitors/screening/windows?limit=20")).items ?? [];
  const at = windows.find((w) => w.found_drift?.length);
  assert(at, "the demo's shift has no slice where it moved most");
  await page.goto(`/models/screening/monitoring?window=${at.id}`);
  await settled(page);
  const table = page.getByRole("table", { name: "Segments of this window" });
  for (const d of at.found_drift) {
    const row = table.getByRole("row").filter({ hasText: d.segment });
    await row.getByText(/found$/).waitFor();
    assert((await row.textContent()).includes(d.feature), `${d.segment} does not say that ${d.feature} moved`);
  }
  await sound(page, "segments that were found");
  await shot(page, "segments");
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
    await page.getByRole("button", { name: "Send a test browser-test" }).click();
    await page.getByText("It arrived.").waitFor();
    assert(got.length === 1 && got[0].path === "/services/secret" && JSON.parse(got[0].body).text.startsWith("Test: "), `the receiver got ${JSON.stringify(got)}`);
    assert(!(await page.content()).includes("services/secret"), "the page shows the secret address");
    await page.getByRole("button", { name: "Change browser-test" }).click();
    await form.getByRole("textbox", { name: "Models" }).fill("[");
    await form.getByRole("button", { name: "Save" }).click();
    await form.getByText("is no name of models").waitFor(); // at its field
    assert((await form.getByRole("textbox", { name: "Models" }).getAttribute("aria-invalid")) === "true", "the wrong field is not marked");
    await form.getByRole("textbox", { name: "Models" }).fill("screening*");
    await form.getByRole("button", { name: "Save" }).click();
    await form.waitFor({ state: "detached" });
    await page.getByText("screening* · warnings on").waitFor();
    await page.getByRole("button", { name: "Mute browser-test" }).click();
    await form.getByLabel("Until").selectOption("168");
    await form.getByRole("textbox", { name: /^Reason/ }).fill("The scanner is replaced.");
    await shot(page, "route-mute");
    await sound(page, "route-mute");
    await form.getByRole("button", { name: "Mute", exact: true }).click();
    await form.waitFor({ state: "detached" });
    await page.getByText("The scanner is replaced.").waitFor();
    const muted = (await get(engineer, "/alert-routes/browser-test")).muted;
    assert(Math.abs(Date.parse(muted.until) - Date.now() - 7 * 86_400_000) < 120_000, `muted until ${muted.until}`);
    await page.getByRole("button", { name: "End the mute browser-test" }).click();
    await page.getByRole("button", { name: "Mute browser-test" }).waitFor();
    await page.getByRole("button", { name: "Switch off browser-test" }).click();
    await page.getByRole("button", { name: "Switch on browser-test" }).waitFor();
    await page.getByRole("button", { name: "browser-test", exact: true }).click();
    await page.getByText("Nothing was sent by this route yet.").waitFor();
    await shot(page, "routes");
    await page.getByRole("button", { name: "Delete browser-test" }).click();
    await page.getByRole("dialog").getByRole("button", { name: "Delete", exact: true }).click();
    await page.getByRole("button", { name: "Send a test browser-test" }).waitFor({ state: "detached" });
  } finally {
    receiver.close();
  }
});

await check("a policy of alerts is changed, refused at its field, taken back, and that is undone", async () => {
  const { page } = engineer;
  await engineer.context.request.delete(`${base}/api/v1/alert-policy?model=referral`, { headers: { Origin: base } }); // of an earlier run
  await page.goto("/settings/policies");
  await settled(page);
  await page.getByRole("button", { name: "Give a model its own" }).click();
  const dialog = page.getByRole("dialog");
  await dialog.getByLabel("Model").selectOption("referral");
  await dialog.getByRole("button", { name: "Next" }).click();
  const windows = dialog.getByRole("textbox", { name: "Windows over the limit in a row" });
  await windows.fill("0");
  await dialog.getByRole("button", { name: "Save" }).click();
  await dialog.getByText("An alert opens after 1 to 10 windows").waitFor();
  assert((await windows.getAttribute("aria-invalid")) === "true", "the wrong field is not marked");
  await windows.fill("1");
  await dialog.getByRole("button", { name: "Add an action" }).click();
  await dialog.getByRole("group", { name: "By itself 2" }).getByLabel("Pipeline").selectOption("screening");
  await dialog.getByText("Opens when one window is over a limit").waitFor(); // the rule in words follows the fields
  await shot(page, "policy-form");
  await sound(page, "policy-form");
  await dialog.getByRole("textbox", { name: "Why this change" }).fill("Rules are cheap to check.");
  await dialog.getByRole("button", { name: "Save" }).click();
  await dialog.waitFor({ state: "detached" });
  const row = page.getByRole("table", { name: "Alert policies" }).getByRole("row").filter({ hasText: "referral" });
  await row.getByText("start a retraining (screening)").waitFor();
  const saved = await get(engineer, "/alert-policy?model=referral");
  assert(saved.windows === 1 && saved.actions.some((a) => a.pipeline === "screening") && saved.note === "Rules are cheap to check.", JSON.stringify(saved));
  await page.getByRole("button", { name: "Take back the policy of referral" }).click();
  await page.getByText("The policy of referral was taken back.").waitFor();
  assert((await get(engineer, "/alert-policy?model=referral")).windows === 2, "the policy still holds");
  await page.getByRole("button", { name: "Undo" }).click();
  await row.waitFor();
  assert((await get(engineer, "/alert-policy?model=referral")).windows === 1, "the undo did not bring it back");
  await page.getByRole("button", { name: "Earlier versions of the policy of referral" }).click();
  await page.getByRole("table", { name: "Earlier versions of the policy of referral" }).getByText("taken back").first().waitFor();
  await shot(page, "policies");
  await sound(page, "policies");
  await page.getByRole("button", { name: "Take back the policy of referral" }).click();
  await row.waitFor({ state: "detached" });
  await owner.page.goto("/settings/policies");
  await settled(owner.page);
  const closed = owner.page.getByRole("button", { name: "Change the policy of every model" });
  assert((await closed.getAttribute("aria-disabled")) === "true" && (await closed.getAttribute("aria-describedby")), "who may not change it is not told why");
});

await check("how long predictions are kept, what a purge would take, and the erasure of a person", async () => {
  const { page } = risk;
  await page.goto("/settings/retention");
  await settled(page);
  const kept = page.getByRole("region", { name: "What is kept" });
  const row = kept.getByRole("row").filter({ hasText: "referral" });
  await row.getByRole("button", { name: "Change" }).click();
  const dialog = page.getByRole("dialog");
  await dialog.getByRole("textbox", { name: "Days" }).fill("-4");
  await dialog.getByRole("textbox", { name: "Days" }).fill("90");
  await dialog.getByText("Nothing that is there now would be removed.").waitFor();
  await dialog.getByRole("button", { name: "Set" }).click();
  await dialog.waitFor({ state: "detached" });
  await row.getByText("90 days").waitFor();
  await page.getByRole("button", { name: "Take back the rule of referral" }).click();
  await page.getByRole("button", { name: "Undo" }).click();
  await until("the rule again", async () => ((await get(risk, "/prediction-retention")).items ?? []).some((r) => r.endpoint === "referral" && r.days === 90));
  await page.getByLabel("Before").fill("2999-01-01");
  await page.getByRole("button", { name: "Show what would go" }).click();
  await page.getByText("Nothing is older than that").or(page.getByRole("table", { name: "What would go" })).first().waitFor();
  await page.getByRole("textbox", { name: /^Subject/ }).fill("nobody-at-all");
  await page.getByRole("button", { name: "Erase" }).click();
  await page.getByText("Fill this in.").waitFor(); // why is asked for
  await page.getByRole("textbox", { name: /^Who asked/ }).fill("Request 12, right to erasure.");
  await page.getByRole("button", { name: "Erase" }).click();
  await dialog.getByRole("textbox", { name: "To go on, type the subject again" }).fill("nobody-at-all");
  await sound(page, "erase");
  await dialog.getByRole("button", { name: "Erase" }).click();
  await page.getByText("The log holds no decision about this subject.").waitFor();
  await shot(page, "retention");
  await sound(page, "retention");
});

await check("what if: sliders move the answer and its reasons, the nearest other answer loads into them, a link shows the same", async () => {
  const { page } = owner;
  const one = ((await get(owner, "/predictions?endpoint=screening&limit=20")).items ?? []).find((p) => !p.error);
  const logged = async () => (await get(owner, "/prediction-retention")).kept.reduce((a, k) => a + k.predictions, 0);
  const before = await logged();
  await page.goto(`/predictions/${one.id}`);
  await settled(page);
  await page.getByRole("button", { name: "Try other values" }).click();
  const panel = page.getByRole("region", { name: "What if" });
  await panel.getByText("Nothing changed yet").waitFor();
  const slider = panel.getByRole("slider").first();
  await slider.focus();
  const was = Number(await slider.inputValue());
  await page.keyboard.press(was > (Number(await slider.getAttribute("min")) + Number(await slider.getAttribute("max"))) / 2 ? "Home" : "End");
  await panel.getByText("1 input changed").waitFor();
  assert(await panel.getByRole("table", { name: "What moves the answer" }).getByRole("row").count() > 3, "no reasons are shown");
  await shot(page, "what-if");
  await sound(page, "what-if");
  const twin = await owner.context.newPage(); // a colleague who gets the link
  await twin.goto(page.url());
  await twin.getByRole("region", { name: "What if" }).getByText("1 input changed").waitFor();
  await twin.close();
  await panel.getByRole("button", { name: "Back to the decision" }).click();
  await panel.getByText("Nothing changed yet").waitFor();
  await page.getByRole("button", { name: "Look for another answer" }).click();
  await page.getByRole("button", { name: "Load into the sliders" }).first().click();
  await panel.getByText(/inputs? changed/).waitFor();
  await shot(page, "what-if-loaded");
  assert((await logged()) === before, "asking what if was logged as a decision");
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
  const errors = [...engineer.errors, ...owner.errors, ...risk.errors];
  assert(errors.length === 0, errors.join("\n"));
});

await finish();
