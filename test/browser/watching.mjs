// Watching, on a server that holds the demo's story:
//   the incident of the shift tells itself: first window, alert, what the policy did, what changed before, the rows behind it
//   a route is added, tested against a receiver of this test, switched off and deleted
//   a route is changed and muted with an end; a policy of alerts is changed, refused at its field, taken back and that undone
//   how long predictions are kept is changed; what a purge would take is shown; a person is erased
//   a version is studied, its weights stand beside the inputs; data that moved is accepted as normal, and that is taken back;
//   a retraining is started from the page and makes a version
//   a decision is marked as wrong, labelled from the queue, and counts as an outcome
// Needs the roles ml-engineer, business-owner and risk-compliance, and a server whose outbound_allow holds 127.0.0.1.
import { createServer } from "node:http";
import { join } from "node:path";
import { accounts, as, assert, base, check, faults, finish, get, press, reach, settled, shots, until } from "./harness.mjs";

const engineer = await as("ml-engineer");
const owner = await as("business-owner");
const risk = await as("risk-compliance");
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
  await until("the columns behind it", async () => (await page.getByRole("table", { name: "What is over its limit" }).getByRole("row").count()) > 5);
  await until("a suspect", async () => (await page.getByRole("region", { name: "What changed before" }).getByRole("listitem").count()) > 0);
  await because(page, page.getByRole("button", { name: "Add a note" }), "Seen by the browser test.", "Add a note");
  await story.getByText("Seen by the browser test.").first().waitFor();
  await shot(page, "incident");
  await page.getByRole("link", { name: "See the rows of the newest window" }).click();
  await page.getByRole("heading", { level: 1, name: "Predictions" }).waitFor();
  await settled(page);
  await until("the rows behind the incident", async () => (await page.getByRole("table").getByRole("row").count()) > 1);
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
  await until("the story's calls to be filed", async () => ((await get(risk, "/prediction-retention")).kept ?? []).some((k) => k.endpoint === "referral"), 400_000);
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
  const logged = async () => ((await get(owner, "/predictions?limit=1")).items ?? [])[0]?.id; // the newest decision
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
  await until("reasons", async () => (await panel.getByRole("table", { name: "What moves the answer" }).getByRole("row").count()) > 3);
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

const monitorOf = (endpoint) => get(engineer, `/monitors/${endpoint}`);
/** What a person set about a watch; what it is compared with, and when that was set, aside. */
const settings = ({ monitor: { against, updated_at, ...rest } }) => JSON.stringify(rest);
const newestFirst = (windows) => [...windows].sort((a, b) => b.to.localeCompare(a.to));
const moved = (w) => (w.features ?? []).filter((f) => f.shift === "moved").length;

/** Asks screening with the rows that were logged in a window: at least n of them, so many at a time, again from the first after the last. Gives the version that answered last. */
async function asker(at) {
  const calls = (await get(engineer, `/predictions?endpoint=screening&since=${at.from}&until=${at.to}&limit=500`)).items.filter((p) => !p.error && p.inputs[0].shape.length === 2);
  const values = calls.flatMap((p) => p.inputs[0].data), width = calls[0].inputs[0].shape[1];
  assert(values.length / width >= 200, `${values.length / width} rows of the window are in the log`);
  return async (n, each = 100) => {
    let version;
    for (let from = 0; from < n; from += each) {
      const data = Array.from({ length: each * width }, (_, i) => values[(from * width + i) % values.length]);
      const answer = await engineer.context.request.post(`${base}/v2/models/screening/infer`, { data: { inputs: [{ name: calls[0].inputs[0].name, shape: [each, width], datatype: calls[0].inputs[0].datatype, data }] }, headers: { Origin: base } });
      assert(answer.ok(), `the calls were answered with ${answer.status()}: ${await answer.text()}`);
      version = Number((await answer.json()).model_version);
    }
    return version;
  };
}

await check("weights of a study stand beside the course of each input; a retired version is not sent to be studied", async () => {
  const { page } = engineer;
  const { monitor, windows } = await monitorOf("screening");
  const at = newestFirst(windows).find((w) => w.breached && w.version !== monitor.version);
  assert(at, "the demo's shift was not judged under the version before");
  const retired = (await get(engineer, `/models/screening/versions/${at.version}`)).state === "retired";
  const study = () => get(engineer, `/models/screening/versions/${monitor.version}/study`);
  await page.goto(`/models/screening/monitoring?endpoint=screening&window=${at.id}`);
  await settled(page);
  if ((await study()).state !== "ready") {
    await press(page, "link", retired ? `Study v${monitor.version}, whose weights then stand here` : "Study it");
    await page.waitForURL(/\/explain\?version=/);
    await settled(page);
    assert(page.url().endsWith(`version=${retired ? monitor.version : at.version}`), `the study is asked of ${page.url()}`);
    if (!retired) await page.goto(`/models/screening/explain?version=${monitor.version}`);
    const ask = await asker(at); // a version is studied on rows that it was asked with; of a canary these are few
    for (let calls = 0, rows = 0; calls < 200 && rows < 20; calls++) if ((await ask(2, 2)) === monitor.version) rows += 2;
    await press(page, "button", "Study its answers");
    const made = await until("the study", async () => { const s = await study(); return s.state !== "making" && s.state !== "none" && s; }, 120_000);
    assert(made.state === "ready", `the study of v${monitor.version} ended as ${made.state}: ${made.reason}; it serves ${JSON.stringify((await get(engineer, "/deployments/screening")).slots)}`);
    await page.getByRole("heading", { name: /moves the answers/ }).or(page.getByRole("button", { name: "Study again" })).first().waitFor();
    await sound(page, "study");
    await page.goto(`/models/screening/monitoring?endpoint=screening&window=${at.id}`);
    await settled(page);
  }
  await page.getByText(`Weights are those of v${monitor.version}; v${at.version} was not studied.`).waitFor();
  const share = new Map((await study()).study.features.map((f) => [f.name, f.share]));
  const rows = page.getByRole("table", { name: "Inputs of this window" }).locator("tbody tr");
  const shown = await rows.evaluateAll((all) => all.map((r) => ({ name: r.cells[0].textContent, weight: r.cells[1].textContent, course: r.querySelector("svg[role=img]")?.getAttribute("aria-label") })));
  assert(shown.length === at.features.length, `${shown.length} of ${at.features.length} inputs are listed`);
  for (const r of shown) assert(r.weight === `${(share.get(r.name) * 100).toFixed(1)} %`, `${r.name} weighs ${r.weight}, the study says ${share.get(r.name)}`);
  assert(shown[0].course?.startsWith(`PSI of ${shown[0].name} from `), `no course of ${shown[0].name}`);
  await page.goto(`/models/screening/explain?version=${at.version}`);
  await settled(page);
  assert((await page.getByRole("button", { name: "Study its answers" }).count()) === (retired ? 0 : 1), "a retired version can be asked to be studied, or another cannot");
});

await check("data that moved is accepted as normal until a day: the next window is quiet; taken back, it has moved again", async () => {
  const { page } = engineer;
  await engineer.context.request.put(`${base}/api/v1/monitors/screening`, { data: { against: { kind: "training" } }, headers: { Origin: base } }); // of an earlier run
  const before = await monitorOf("screening");
  const at = newestFirst(before.windows).find((w) => w.breached && moved(w) > 0);
  const ask = await asker(at);
  const after = async (time, fits) => newestFirst((await monitorOf("screening")).windows).find((w) => w.from > time && fits(w));
  await page.goto(`/models/screening/monitoring?endpoint=screening&window=${at.id}`);
  await settled(page);
  await press(page, "button", "Accept as normal…");
  const dialog = page.getByRole("dialog");
  await reach(page, dialog.getByLabel("Until"), "until when");
  await dialog.getByLabel("Until").selectOption({ label: "a day…" });
  const day = new Date(Date.now() + 40 * 86_400_000).toISOString().slice(0, 10);
  await dialog.getByLabel("Day").fill(day);
  await reach(page, dialog.getByRole("button", { name: "Accept as normal" }), "the confirmation");
  await page.keyboard.press("Enter");
  await dialog.getByText("Say why, in a few words.").waitFor(); // nothing without a reason
  assert((await monitorOf("screening")).monitor.against.kind === "training", "accepted without a reason");
  await reach(page, dialog.getByRole("textbox", { name: /^Reason/ }), "reason");
  await page.keyboard.type("The new scanner is here to stay.");
  await shot(page, "accept-form");
  await sound(page, "accept-form");
  await reach(page, dialog.getByRole("button", { name: "Accept as normal" }), "the confirmation");
  await page.keyboard.press("Enter");
  await dialog.waitFor({ state: "detached" });
  const accepted = await monitorOf("screening");
  assert(accepted.monitor.against.kind === "window" && accepted.monitor.against.window === at.id && accepted.monitor.against.until.slice(0, 10) >= day, JSON.stringify(accepted.monitor.against));
  assert(settings(accepted) === settings(before), `more than that was changed: ${settings(accepted)} was ${settings(before)}`);
  const entry = ((await get(engineer, "/audit?limit=20")).items ?? []).find((x) => x.action === "monitor.accepted");
  assert(entry?.detail.window === at.id && entry.detail.reason === "The new scanner is here to stay.", `the audit log has ${JSON.stringify(entry)}`);
  const verdict = page.getByRole("region", { name: "Verdict" });
  await verdict.getByText("against accepted as normal:").waitFor();
  assert((await page.getByRole("button", { name: "Accept as normal…" }).getAttribute("aria-disabled")) === "true", "the same window can be accepted twice");
  await shot(page, "accepted");
  await sound(page, "accepted");
  const since = new Date().toISOString();
  await ask(900); // the first window that closes has older calls in it as well
  const quiet = await until("a quiet window", () => after(since, (w) => moved(w) === 0), 60_000);
  await page.goto(`/models/screening/monitoring?endpoint=screening&window=${quiet.id}`);
  await settled(page);
  await page.getByRole("heading", { name: `None of ${quiet.features.length} inputs moved` }).waitFor();
  await press(page, "button", "Compare with the training data again");
  await verdict.getByRole("link", { name: `${before.monitor.reference.dataset} v${before.monitor.reference.version}` }).waitFor();
  const back = await monitorOf("screening");
  assert(back.monitor.against.kind === "training" && settings(back) === settings(before), `taken back, it is ${JSON.stringify(back.monitor)}`);
  const again = new Date().toISOString();
  await ask(900);
  await until("a window that has moved again", () => after(again, (w) => moved(w) > 0), 60_000);
});

await check("a retraining is started from the monitoring page, runs, and makes a version", async () => {
  const { page } = engineer;
  const { monitor } = await monitorOf("screening");
  const newest = (await get(engineer, "/models/screening")).latest_version;
  await page.goto("/models/screening/monitoring?endpoint=screening");
  await settled(page);
  await press(page, "button", "Start retraining…");
  const dialog = page.getByRole("dialog", { name: "Train screening again" });
  await dialog.getByText(/It runs on the newest version of its data: check/).waitFor();
  assert((await dialog.getByLabel("Pipeline").inputValue()) === monitor.on_breach.retrain.pipeline, "not the pipeline that a breach starts is suggested");
  await sound(page, "retrain-form");
  await shot(page, "retrain-form");
  await reach(page, dialog.getByRole("button", { name: "Start now" }), "start now");
  await page.keyboard.press("Enter");
  await page.waitForURL(/\/pipelines\/screening\/runs\/[^/]+$/);
  const id = page.url().split("/").pop();
  const run = () => get(engineer, `/pipeline-runs/${id}`);
  const begun = await run();
  assert(begun.pipeline === "screening" && begun.by === accounts["ml-engineer"].name && begun.trigger.kind !== "monitor", `the run is ${JSON.stringify([begun.pipeline, begun.by, begun.trigger])}`);
  const done = await until("the end of the run", async () => { const r = await run(); return ["succeeded", "failed", "cancelled"].includes(r.state) && r; }, 180_000);
  assert(done.state === "succeeded", `the run ${done.state}: ${done.error ?? ""}`);
  const made = (done.versions ?? []).find((v) => v.model === "screening")?.version;
  assert(made, `the run made ${JSON.stringify(done.versions)}`);
  // Trained on the same data with the same seed, it may be the very version that is there already.
  assert((await get(engineer, `/models/screening/versions/${made}`)).state === "ready" && made >= newest, `v${made} after v${newest}`);
  await page.getByRole("link", { name: new RegExp(`v${made}$|screening/${made}$`) }).first().waitFor(); // the page goes on by itself
  await settled(page);
  await sound(page, "retrained");
  await shot(page, "retrained");
  await owner.page.goto("/models/screening/monitoring?endpoint=screening");
  await settled(owner.page);
  for (const name of ["Start retraining…", "Accept as normal…"]) {
    const closed = owner.page.getByRole("button", { name });
    assert((await closed.getAttribute("aria-disabled")) === "true" && (await closed.getAttribute("aria-describedby")), `${name}: who may not is not told why`);
  }
});

await check("all of it on a narrow screen in the dark", async () => {
  const narrow = await as("ml-engineer", { width: 390, theme: "dark" });
  await narrow.page.goto("/models/screening/monitoring?endpoint=screening");
  await narrow.page.locator("h1").first().waitFor();
  await settled(narrow.page);
  await shot(narrow.page, "watching-narrow");
  await sound(narrow.page, "monitoring, narrow");
  await narrow.page.getByRole("button", { name: "Accept as normal…" }).click();
  await narrow.page.getByRole("dialog").waitFor();
  await sound(narrow.page, "accept, narrow");
  await shot(narrow.page, "accept-narrow");
  await narrow.context.close();
});

await check("no page complained", async () => {
  const errors = [...engineer.errors, ...owner.errors, ...risk.errors];
  assert(errors.length === 0, errors.join("\n"));
});

await finish();
