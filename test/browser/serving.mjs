// What runs, watched and asked in the browser: the table of deployments, a form that asks, live curves, the log, and the
// search of predictions. Needs the demo's story, whose deployments "screening" and "referral" it asks.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { as, assert, base, check, finish, get, shots, until } from "./harness.mjs";

const axe = readFileSync(new URL("../../ui/node_modules/axe-core/axe.min.js", import.meta.url), "utf8");
const window = await as("ml-engineer", { width: 1280 });
const { page } = window;

/** Serious findings of the page as it stands, and sideways scroll. */
async function faults() {
  await page.evaluate(axe);
  return page.evaluate(async () => {
    const found = (await window.axe.run(document, { resultTypes: ["violations"] })).violations.filter((v) => v.impact === "serious" || v.impact === "critical").map((v) => `${v.id}: ${v.nodes.slice(0, 3).map((n) => n.target.join(" ")).join(" | ")}`);
    const sideways = document.documentElement.scrollWidth - document.documentElement.clientWidth;
    return sideways > 0 ? [...found, `scrolls sideways by ${sideways} px`] : found;
  });
}
const sound = async (name) => {
  await page.screenshot({ path: join(shots, `serving-${name}.png`), fullPage: true });
  const wrong = await faults();
  assert(wrong.length === 0, wrong.join("\n"));
};
const answered = async () => Number((await page.locator(".tiles div").filter({ hasText: "Answered" }).locator("dd").textContent()).replace(/\D/g, ""));
const send = (endpoint, body) => window.context.request.post(`${base}/v2/models/${endpoint}/infer`, { data: body, headers: { Origin: base, "Content-Type": "application/json" } });

await check("a deployment is found by its words and leads to its page", async () => {
  await page.goto("/deployments");
  const table = page.getByRole("table", { name: "Deployments" });
  await table.getByRole("link", { name: "screening", exact: true }).first().waitFor();
  assert((await table.textContent()).includes("xgboost"), "no engine beside the processes");
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

await check("all of it on a narrow screen in the dark", async () => {
  const narrow = await as("ml-engineer", { width: 390, theme: "dark" });
  for (const [name, path] of [["list", "/deployments"], ["traffic", "/deployments/screening"], ["try", "/deployments/screening?tab=try"], ["log", "/deployments/screening?tab=log"], ["predictions", "/predictions"]]) {
    await narrow.page.goto(path);
    await narrow.page.locator("h1").first().waitFor();
    await narrow.page.waitForFunction(() => !document.querySelector("[aria-busy=true]"), null, { timeout: 8000 });
    await narrow.page.screenshot({ path: join(shots, `serving-${name}-narrow.png`), fullPage: true });
    const sideways = await narrow.page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
    assert(sideways === 0, `${path} scrolls sideways by ${sideways} px`);
  }
  await narrow.context.close();
});

await check("nothing went wrong on the pages", async () => {
  const wrong = window.errors.filter((e) => !/status of 400/.test(e));
  assert(wrong.length === 0, wrong.join("\n"));
});
await window.context.close();
await finish();
