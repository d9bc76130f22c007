// What runs, watched and asked in the browser: the table of deployments, a form that asks, live curves, the log, and the
// search of predictions; lighter forms of a version side by side, and what a model took. Needs the demo's story, whose deployments "screening" and "referral" it asks.
import { join } from "node:path";
import { as, assert, base, check, faults, finish, get, press, reach, settled, shots, until } from "./harness.mjs";

const window = await as("ml-engineer", { width: 1280 });
const { page } = window;

const sound = async (name) => {
  await page.screenshot({ path: join(shots, `serving-${name}.png`), fullPage: true });
  const wrong = await faults(page, name);
  assert(wrong.length === 0, wrong.join("\n"));
};
const answered = async () => Number((await page.locator(".tiles div").filter({ hasText: "Answered" }).locator("dd").textContent()).replace(/\D/g, ""));
const send = (endpoint, body) => window.context.request.post(`${base}/v2/models/${endpoint}/infer`, { data: body, headers: { Origin: base, "Content-Type": "application/json" } });

await check("a deployment is found by its words and leads to its page", async () => {
  await page.goto("/deployments");
  const table = page.getByRole("table", { name: "Deployments" });
  await table.getByRole("link", { name: "screening", exact: true }).first().waitFor();
  await until("the engine beside the processes", async () => (await table.textContent()).includes("xgboost")); // the figures come after the table
  await page.getByLabel("Find an endpoint, model or version").fill("referral");
  await until("the table shows what was looked for", async () => (await table.locator("tbody tr").count()) === 2);
  await page.getByLabel("Environment").selectOption("dev");
  await until("one is left", async () => (await table.locator("tbody tr").count()) === 1);
  assert(page.url().includes("q=referral") && page.url().includes("environment=dev"), `the address is ${page.url()}`);
  await sound("list");
});

let prediction = "";
await check("a form asks with the golden row and shows the answer with its record", async () => {
  await page.goto("/deployments/referral?tab=try");
  await page.getByRole("textbox", { name: "age", exact: true }).fill("61");
  await page.getByRole("button", { name: "Send" }).click();
  const answer = page.locator("section", { has: page.getByRole("heading", { name: "Answer" }) });
  await answer.getByText("Round trip").waitFor();
  assert((await answer.textContent()).includes("decision"), "no output by its name");
  await sound("answer");
  await answer.getByRole("link", { name: "See it in the log" }).click();
  await page.getByRole("heading", { level: 1, name: /^Call / }).waitFor();
  prediction = page.url().split("/").pop();
  const inputs = page.locator("section", { has: page.getByRole("heading", { name: "Inputs" }) });
  assert((await inputs.textContent()).includes("61"), "the record has other inputs");
});

await check("what is no number is said at its field, and a refusal of the server as well", async () => {
  await page.goto("/deployments/screening?tab=try");
  const radius = page.getByLabel("mean_radius");
  await radius.fill("wide");
  await page.getByRole("button", { name: "Send" }).click();
  await page.getByText("This is not a number.").waitFor();
  await radius.fill("1000");
  await page.getByText(/Outside of 6.981 to 28.11/).waitFor();
  await page.getByLabel("worst_area").fill("1e300");
  await page.getByRole("button", { name: "Send" }).click();
  await page.getByRole("alert").waitFor();
  assert((await page.getByLabel("worst_area").getAttribute("aria-invalid")) === "true", `the field is not marked: ${await page.getByRole("alert").textContent()}`);
});

await check("the programs are those that were asked for, and curl's is one that works", async () => {
  await page.goto("/deployments/referral?tab=try");
  const code = page.locator("pre.program");
  await code.waitFor();
  const body = /-d '(.*)'$/s.exec(await code.textContent())?.[1];
  const got = await send("referral", body);
  assert(got.ok(), `the body that curl sends: ${got.status()} ${await got.text()}`);
  for (const [language, words] of [["requests", "requests.post"], ["triton", "tritonclient.http"], ["go", "net/http"]]) {
    await page.getByLabel("Language").selectOption(language);
    await until(`the program in ${language}`, async () => (await code.textContent()).includes(words));
  }
});

await check("curves go on by themselves, and stand still when paused", async () => {
  await page.goto("/deployments/screening?range=15m");
  await page.getByRole("heading", { name: "Calls answered per second" }).waitFor();
  const before = await answered();
  const { example } = await get(window, "/deployments/screening/form");
  for (let i = 0; i < 40; i++) assert((await send("screening", JSON.stringify({ inputs: example }))).ok(), "a call failed");
  assert((await send("screening", "{")).status() === 400, "half a request was answered");
  await until("40 more calls are counted", async () => (await answered()) >= before + 40, 40_000);
  await until("the refused request is counted by its cause", async () => (await page.locator(".legend").allTextContents()).join().includes("request does not fit"), 30_000);
  await until("curves are drawn", async () => (await page.locator(".curves canvas").count()) >= 3);
  await sound("traffic");
  await page.getByRole("button", { name: "Pause" }).click();
  await page.getByText(/Paused at/).waitFor();
  const held = await answered();
  for (let i = 0; i < 5; i++) await send("screening", JSON.stringify({ inputs: example }));
  await page.getByRole("button", { name: "Go on" }).click();
  await until("it goes on", async () => (await answered()) >= held + 5, 40_000);
});

await check("the log tells of loads and refusals, and is searched on the server", async () => {
  await page.goto("/deployments/screening?tab=log");
  const table = page.getByRole("table", { name: "Log lines, newest first" });
  await table.getByText("version loaded").first().waitFor();
  await sound("log");
  await page.getByLabel("Find in the log").fill("version loaded");
  await until("only such lines are left", async () => { const all = await table.locator("tbody tr").allTextContents(); return all.length > 0 && all.every((l) => l.includes("version loaded")); });
  assert(page.url().includes("text=version"), `the address is ${page.url()}`);
});

await check("a call is found by a value of its inputs, and explained", async () => {
  await page.goto("/predictions?endpoint=referral");
  await page.getByRole("button", { name: "Add a condition" }).click();
  await page.getByRole("textbox", { name: "Name", exact: true }).fill("age");
  await page.getByLabel("Is", { exact: true }).selectOption("=");
  await page.getByRole("textbox", { name: "Value", exact: true }).fill("61");
  await page.getByRole("button", { name: "Add", exact: true }).click();
  await page.locator(`a[href$="/predictions/${prediction}"]`).waitFor();
  assert(decodeURIComponent(page.url()).replaceAll("+", " ").includes("input.age = 61"), `the address is ${page.url()}`);
  await sound("predictions");
  await page.locator(`a[href$="/predictions/${prediction}"]`).click();
  await page.getByRole("button", { name: "Explain this call" }).click();
  await page.getByText("Identical replay").waitFor();
  await sound("explained");
});

const live = (await get(window, "/deployments/screening")).slots.find((s) => s.kind === "live").version;
const conversions = async () => (await get(window, `/models/screening/versions/${live}/conversions`)).items ?? [];
/** Asks for a form by keyboard and gives what the server says of it in the end. */
async function lighter(form, register = false) {
  const known = new Set((await conversions()).map((c) => c.id));
  await press(page, "button", "Try a lighter form…");
  const dialog = page.getByRole("dialog");
  await dialog.getByLabel("Form").selectOption(form);
  if (register) { await reach(page, dialog.getByRole("checkbox"), "make a version"); await page.keyboard.press("Space"); }
  await reach(page, dialog.getByRole("button", { name: "Convert and compare" }), "convert");
  await page.keyboard.press("Enter");
  await dialog.waitFor({ state: "detached" });
  return until(`the form ${form}`, async () => (await conversions()).find((c) => !known.has(c.id) && c.state !== "running"), 60_000);
}

await check("a lighter form of a version is made and stands beside the original, as the server measured both", async () => {
  await page.goto(`/models/screening/versions/${live}`);
  await settled(page);
  await press(page, "button", "Try a lighter form…");
  const dialog = page.getByRole("dialog");
  await reach(page, dialog.getByLabel("Largest error that passes"), "the limit");
  await page.keyboard.type("2");
  await dialog.getByText("A number from 0 to 1.").waitFor();
  await sound("lighter-form");
  const were = (await conversions()).length;
  await page.keyboard.press("Enter"); // nothing is sent
  await page.keyboard.press("Escape");
  await dialog.waitFor({ state: "detached" });
  assert((await conversions()).length === were, "a limit of 2 was sent");
  const c = await lighter("onnx");
  assert(c.state === "done" && c.by && !c.result.registered, `the conversion ended as ${JSON.stringify(c)}`);
  const row = page.getByRole("table", { name: "Lighter forms that were tried" }).locator("tbody tr").first();
  await row.getByText("Passed").waitFor();
  const { original: a, converted: b, max_error: error, rows } = c.result;
  const size = (n) => (n < 10_000 ? `${(n / 1000).toFixed(1)} kB` : `${Math.round(n / 1000)} kB`), time = (us) => (us < 10 ? `${us.toFixed(1).replace(/\.0$/, "")} µs` : `${Math.round(us)} µs`);
  const said = await row.textContent();
  for (const pair of [`${size(a.bytes)} → ${size(b.bytes)}`, `${size(a.memory)} → ${size(b.memory)}`, `${time(a.p50_us)} → ${time(b.p50_us)}`, `${a.engine} → ${b.engine}`, `on ${rows.golden} golden, ${rows.logged} logged and ${rows.generated} generated rows`]) assert(said.includes(pair), `"${pair}" is not in "${said}"`);
  assert(b.bytes < a.bytes && error > 0 && error <= c.wish.limit && rows.golden > 0, JSON.stringify(c.result));
  const refused = await lighter("int8");
  assert(refused.state === "refused" && refused.result.reason, JSON.stringify(refused));
  await row.getByText(refused.result.reason).waitFor();
  await sound("lighter");
});

await check("a lighter form becomes a version that says what it was made of, and waits for approval like any other", async () => {
  await page.goto(`/models/screening/versions/${live}`);
  await settled(page);
  const c = await lighter("onnx", true);
  assert(c.state === "done" && c.result.registered > live, JSON.stringify(c));
  await press(page, "link", `registered as v${c.result.registered}`);
  await page.getByRole("heading", { level: 1, name: `screening v${c.result.registered}` }).waitFor();
  await settled(page);
  await page.getByRole("link", { name: `screening/${live}`, exact: true }).waitFor();
  const version = await get(window, `/models/screening/versions/${c.result.registered}`);
  assert(version.format === "onnx" && version.tags["keelson.converted_from"] === `screening/${live}` && !(version.deployed ?? []).length, JSON.stringify([version.format, version.tags, version.deployed]));
  await sound("lighter-version");
});

await check("what a model took is shown as it was booked, once its calls are filed", async () => {
  const usage = await until("the calls to be booked", async () => { const u = await get(window, "/models/screening/usage"); return u.calls > 0 && u; }, 400_000);
  const answering = usage.work.find((w) => w.work === "answering");
  assert(Math.abs(usage.seconds_per_thousand_calls - answering.seconds / usage.calls * 1000) < 1e-9 && answering.seconds > 0, JSON.stringify(usage));
  await page.goto("/models/screening");
  await settled(page);
  const panel = page.locator("section", { has: page.getByRole("heading", { name: "Computing, last 30 days" }) });
  await panel.locator("tbody tr").nth(usage.work.length - 1).waitFor();
  const rows = await panel.locator("tbody tr").evaluateAll((all) => all.map((r) => [...r.cells].map((c) => c.textContent)));
  assert(rows.length === usage.work.length, `${rows.length} of ${usage.work.length} kinds of work are shown`);
  const calls = new Intl.NumberFormat("en-US").format((await get(window, "/models/screening/usage")).calls); // more may be filed meanwhile
  const row = rows.find((r) => r[0].startsWith("Answering calls"));
  assert(row?.[1] === `${calls} calls` && /^\d+(\.\d+)? (ms|s)$|min/.test(row[2]), `the row is ${JSON.stringify(row)}, the server says ${calls}`);
  assert(rows.some((r) => r[0].startsWith("Pipelines") && Number(r[1]) === usage.work.find((w) => w.work === "pipeline").entries), JSON.stringify(rows));
  await sound("usage");
});

await check("nothing can be proposed for a version that is retired", async () => {
  const retired = (await get(window, "/models/screening/versions")).items.find((v) => v.state === "retired");
  assert(retired, "the demo retired no version");
  await page.goto(`/models/screening/versions/${retired.version}`);
  await settled(page);
  const propose = page.getByRole("button", { name: "Propose…" });
  assert((await propose.getAttribute("aria-disabled")) === "true", "it can be proposed");
  await page.getByText(`v${retired.version} is retired for good`).first().waitFor({ state: "attached" });
  assert((await page.getByRole("button", { name: "Try a lighter form…" }).count()) === 0, "a lighter form of it can be asked for");
});

await check("all of it on a narrow screen in the dark", async () => {
  const narrow = await as("ml-engineer", { width: 390, theme: "dark" });
  for (const [name, path] of [["list", "/deployments"], ["traffic", "/deployments/screening"], ["try", "/deployments/screening?tab=try"], ["log", "/deployments/screening?tab=log"], ["predictions", "/predictions"], ["version", `/models/screening/versions/${live}`], ["model", "/models/screening"]]) {
    await narrow.page.goto(path);
    await narrow.page.locator("h1").first().waitFor();
    await narrow.page.waitForFunction(() => !document.querySelector("[aria-busy=true]"), null, { timeout: 8000 });
    await narrow.page.screenshot({ path: join(shots, `serving-${name}-narrow.png`), fullPage: true });
    const sideways = await narrow.page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
    assert(sideways === 0, `${path} scrolls sideways by ${sideways} px`);
    const wrong = await faults(narrow.page, name);
    assert(wrong.length === 0, `${path}: ${wrong.join("\n")}`);
  }
  await narrow.context.close();
});

await check("nothing went wrong on the pages", async () => {
  const wrong = window.errors.filter((e) => !/status of 400/.test(e));
  assert(wrong.length === 0, wrong.join("\n"));
});
await window.context.close();
await finish();
