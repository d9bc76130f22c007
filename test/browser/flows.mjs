// Flows 4, 6 and 7 of the interface design, by keyboard alone, on a server that holds the demo's story:
//   7  a breach on the monitoring page -> the retraining it started -> the new version -> a reviewer's inbox
//   6  the author cannot approve (the button says why, the API refuses too); two reviewers approve; it goes live
//   4  alert -> model -> roll back, three steps and a confirmation; the timeline shows it at once
// KEELSON_FLOWS=4,6 picks some. Needs the roles data-scientist, risk-compliance, business-owner, and it-operations or ml-engineer.
import { join } from "node:path";
import { accounts, as, assert, check, finish, get, post, press, reach, settled, shots, until } from "./harness.mjs";

const wanted = (process.env.KEELSON_FLOWS ?? "7,6,4").split(",");
const environment = "prod";

const shot = (page, name) => page.screenshot({ path: join(shots, `${name}.png`), fullPage: true });

/** The model with a watch whose windows were breached, else the first with a watch. */
async function watched(window) {
  const list = (await get(window, "/monitors")).items ?? [];
  assert(list.length, "nothing is watched on this server");
  for (const m of list) {
    const state = await get(window, `/monitors/${encodeURIComponent(m.endpoint)}`);
    if ((state.windows ?? []).some((w) => w.breached)) return { ...m, windows: state.windows };
  }
  throw new Error("no window of any monitor was breached on this server");
}

const versionsOf = async (window, model) => (await get(window, `/models/${encodeURIComponent(model)}/versions`)).items ?? [];
const deploymentOf = async (window, model) => ((await get(window, "/deployments")).items ?? []).find((d) => d.model === model && d.environment === environment);

/** A version that may be asked for: ready, evaluated, and where possible not the one that is live. */
async function candidate(window, model) {
  const live = new Set(((await deploymentOf(window, model))?.slots ?? []).filter((s) => s.kind === "live").map((s) => s.version));
  const able = (await versionsOf(window, model)).filter((v) => v.state === "ready" && v.evaluation?.state !== "failed");
  const passed = able.filter((v) => v.evaluation?.state === "passed");
  const from = passed.length ? passed : able;
  assert(from.length, `no version of ${model} is ready`);
  return (from.find((v) => !live.has(v.version)) ?? from[0]).version;
}

/** Withdraws what is open for a model, so that a flow can ask anew. */
async function clear(author, model) {
  for (const r of (await get(author, `/approvals?state=open&model=${encodeURIComponent(model)}`)).items ?? []) await post(author, `/approvals/${r.id}/withdraw`, { reason: "Makes way for the browser test." });
}

/** Asks for a version through the page of the model; returns the request. */
async function propose(author, model, version, reason) {
  const { page } = author;
  await page.goto(`/models/${encodeURIComponent(model)}/versions/${version}`);
  await settled(page);
  await press(page, "button", /^Propose/);
  await reach(page, page.getByRole("textbox", { name: /^Reason/ }), "reason");
  await page.keyboard.type(reason);
  await press(page, "button", "Ask for approval");
  await page.waitForURL(/\/approvals\/[^/]+$/).catch(async () => { throw new Error(`the request was not taken: ${await page.getByRole("alert").innerText().catch(() => "no message")}`); });
  const id = page.url().split("/").pop();
  return get(author, `/approvals/${id}`);
}

/** Makes sure that the model has an approved version to go back to: trains, approves and deploys a further one by API where it has not. */
async function goBackTo(model) {
  if ((await deploymentOf(operator, model))?.previous?.version) return;
  const live = new Set(((await deploymentOf(operator, model))?.slots ?? []).map((s) => s.version));
  const fit = async () => (await versionsOf(author, model)).find((v) => v.state === "ready" && v.evaluation?.state === "passed" && !live.has(v.version));
  let next = await fit();
  if (!next) {
    const pipeline = monitor.on_breach?.retrain?.pipeline;
    assert(pipeline, `${model} has one version only and no pipeline to make another`);
    const run = await post(author, `/pipelines/${encodeURIComponent(pipeline)}/runs`, { params: { rounds: 140 } });
    assert(run.body?.id, `the pipeline did not start: ${run.body?.detail}`);
    const done = await until("the further training", async () => { const r = await get(author, `/pipeline-runs/${run.body.id}`); return ["succeeded", "failed", "cancelled"].includes(r.state) && r; }, 180_000);
    assert(done.state === "succeeded", `the further training ${done.state}: ${done.error ?? ""}`);
    next = await until("the further version to be evaluated", fit, 60_000);
  }
  await clear(author, model);
  const request = await post(author, "/approvals", { kind: "deploy", model, version: next.version, environment, reason: "A further version to go back from.", when_approved: true });
  assert(request.body?.id, `the request was not taken: ${request.body?.detail}`);
  for (const reviewer of [risk, owner]) await post(reviewer, `/approvals/${request.body.id}/votes`, { grant: true, reason: "For the browser test." });
  await until(`v${next.version} to be live`, async () => ((await deploymentOf(operator, model))?.slots ?? []).some((s) => s.version === next.version && s.kind === "live"), 30_000);
}

async function vote(reviewer, request, reason) {
  const { page } = reviewer;
  await page.goto("/inbox");
  await settled(page);
  await press(page, "link", new RegExp(`^#${request.number} `));
  await page.getByRole("heading", { name: "Changes" }).waitFor();
  await settled(page);
  const seen = page.getByRole("checkbox", { name: /^I have looked at/ }).first();
  if (await seen.count()) { await reach(page, seen, "tick of the first section"); await page.keyboard.press("Space"); }
  await reach(page, page.getByRole("textbox", { name: /^Reason/ }), "reason");
  await page.keyboard.type(reason);
  await press(page, "button", "Approve");
  await page.getByText(reason).first().waitFor();
}

const people = {};
const operates = accounts["it-operations"] ? "it-operations" : "ml-engineer"; // who may roll back
for (const role of ["data-scientist", "risk-compliance", "business-owner", operates]) people[role] = await as(role);
const author = people["data-scientist"], risk = people["risk-compliance"], owner = people["business-owner"], operator = people[operates];
let asked = null;
const monitor = await watched(operator).catch((error) => ({ error }));

if (wanted.includes("7")) {
  const { page } = author;
  const model = monitor.model;
  await check("7a the monitoring page shows the breach and both distributions", async () => {
    if (monitor.error) throw monitor.error;
    const breached = monitor.windows.find((w) => w.breached);
    await page.goto("/monitoring");
    await settled(page);
    await press(page, "link", monitor.endpoint);
    await page.waitForURL(/\/monitoring\?/);
    await settled(page);
    await page.getByRole("link", { name: /limit breached/ }).first().waitFor(); // the windows come after the page
    await press(page, "link", /limit breached/);
    await page.waitForURL(/window=/);
    await settled(page);
    await page.getByRole("img", { name: /^Reference, n =/ }).waitFor();
    await page.getByRole("img", { name: /^This window, n =/ }).waitFor();
    await until("the table to hold every input", async () => breached.features.length === (await page.getByRole("table", { name: "Inputs of this window" }).locator("tbody tr").count()));
    await shot(page, "flow7-monitoring");
  });
  let version = 0;
  await check("7b the retraining it started is a run with a new version", async () => {
    const name = monitor.on_breach?.retrain?.pipeline;
    assert(name, "the monitor starts no pipeline");
    await page.goto("/monitoring");
    await settled(page);
    await press(page, "link", new RegExp(`starts pipeline ${name}`));
    await page.getByRole("heading", { level: 1, name }).waitFor();
    const run = await until("a run started by the monitor", async () => ((await get(author, `/pipelines/${encodeURIComponent(name)}/runs`)).items ?? []).find((r) => r.trigger?.kind === "monitor"), 60_000);
    await press(page, "link", run.id.slice(-8));
    await page.getByRole("heading", { level: 1, name: `Run ${run.id.slice(-8)}` }).waitFor();
    await page.getByText("the watch over").first().waitFor();
    await settled(page);
    await shot(page, "flow7-run");
    const all = await versionsOf(author, model);
    version = run.versions?.find((v) => v.model === model)?.version ?? Math.max(...all.map((v) => v.version));
    assert(version > Math.min(...all.map((v) => v.version)), "the run made no newer version");
  });
  await check("7c asked for by its author, it appears in a reviewer's inbox without reload", async () => {
    const { page: inbox } = risk;
    await clear(author, model);
    await inbox.goto("/inbox");
    await settled(inbox);
    asked = await propose(author, model, await candidate(author, model), "The retrained version holds on the new patients.");
    await inbox.getByRole("link", { name: new RegExp(`^#${asked.number} `) }).waitFor({ timeout: 10_000 });
    await shot(inbox, "flow7-inbox");
  });
}

if (wanted.includes("6")) {
  const model = monitor.model ?? (await get(author, "/models")).items[0].name;
  await check("6a the author's buttons do nothing and say why", async () => {
    if (!asked) { await clear(author, model); asked = await propose(author, model, await candidate(author, model), "Better on new patients."); }
    const { page } = author;
    await page.goto(`/approvals/${asked.id}`);
    await settled(page);
    const button = page.getByRole("button", { name: "Approve" });
    await reach(page, button, "Approve");
    assert((await button.getAttribute("aria-disabled")) === "true", "the button is not disabled");
    const why = await page.locator(`[id="${await button.getAttribute("aria-describedby")}"]`).innerText();
    assert(why.length > 10, "the button does not say why");
    await page.keyboard.press("Enter");
    assert(((await get(author, `/approvals/${asked.id}`)).votes ?? []).length === 0, "a vote was counted");
    await shot(page, "flow6-author");
  });
  await check("6b the API refuses the author's vote too", async () => {
    const answer = await post(author, `/approvals/${asked.id}/votes`, { grant: true, reason: "mine" });
    assert(answer.status === 403 || answer.status === 409 || answer.status === 422, `status ${answer.status}`);
    assert(answer.body.detail, "without a reason");
  });
  await check("6c a reviewer reads the changes, comments and approves", async () => {
    const { page } = risk;
    await page.goto(`/approvals/${asked.id}`);
    await settled(page);
    await page.getByText(asked.reason).first().waitFor();
    await reach(page, page.getByRole("textbox", { name: "Comment" }), "comment");
    await page.keyboard.type("Slices looked at.");
    await press(page, "button", "Comment");
    await page.getByText("Slices looked at.").first().waitFor();
    await vote(risk, asked, "Fine by risk.");
    await shot(page, "flow6-reviewer");
  });
  await check("6d a second approves and it goes live", async () => {
    await vote(owner, asked, "Meets the goal.");
    await shot(owner.page, "flow6-second");
    const done = await until("the approval to be complete", async () => { const r = await get(owner, `/approvals/${asked.id}`); return r.state !== "open" && r; });
    if (done.state === "approved" && !done.when_approved) { // else it goes live by itself a moment later
      const { page } = operator;
      await page.goto(`/approvals/${asked.id}`);
      await press(page, "button", "Deploy now");
    }
    await until(`v${asked.version} to be live`, async () => ((await deploymentOf(operator, asked.model))?.slots ?? []).some((s) => s.version === asked.version && s.share > 0), 30_000);
    await operator.page.goto(`/models/${encodeURIComponent(asked.model)}/deployments`);
    await operator.page.getByRole("table", { name: "Deployments" }).getByText(`v${asked.version}`).first().waitFor();
  });
}

if (wanted.includes("4")) {
  await check("4 alert, model, roll back: three steps and a confirmation; the timeline shows it at once", async () => {
    if (monitor.error) throw monitor.error;
    const alerts = (await get(operator, "/alerts")).items ?? [];
    const alert = alerts.find((a) => a.model === monitor.model) ?? alerts[0];
    assert(alert, "there is no alert on this server");
    await goBackTo(alert.model);
    const before = await deploymentOf(operator, alert.model);
    assert(before?.previous?.version, `${alert.model} has no approved version to go back to`);
    const watcher = risk.page;
    await watcher.goto(`/models/${encodeURIComponent(alert.model)}/timeline`);
    await settled(watcher);
    const reason = `Inputs moved, going back (${Date.now()}).`;
    const { page } = operator;
    await page.goto("/alerts");
    await settled(page);
    const row = page.getByRole("table", { name: "Alerts" }).locator(`a[href*="/models/${encodeURIComponent(alert.model)}/"]`);
    await reach(page, row, "the alert");
    await page.keyboard.press("Enter"); // step 1: the model
    await page.waitForURL(/\/models\//);
    await settled(page);
    await press(page, "button", /^Roll back$/); // step 2: roll back
    await reach(page, page.getByRole("textbox", { name: /^Reason/ }), "reason");
    await page.keyboard.type(reason);
    await shot(page, "flow4-plan");
    const answered = page.waitForResponse((r) => r.url().includes("/rollback"));
    await press(page, "button", /^Roll back to v/); // step 3: confirm
    const answer = await answered;
    assert(answer.ok(), `the roll back was answered with ${answer.status()}`);
    const since = Date.now();
    await watcher.getByText(reason).first().waitFor({ timeout: 5000 });
    console.log(`      the timeline of a second person showed it after ${Date.now() - since} ms`);
    await shot(watcher, "flow4-timeline");
    const after = await deploymentOf(operator, alert.model);
    assert(after.slots.some((s) => s.version === before.previous.version && s.share === 100), `v${before.previous.version} does not answer all calls`);
  });
}

for (const [role, window] of Object.entries(people)) {
  await check(`no error of a page (${role})`, () => assert(window.errors.length === 0, window.errors.join("\n")));
}
console.log(`screenshots: ${shots}`);
await finish();
