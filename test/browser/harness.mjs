// What every browser test shares: the browser, signing in, checks that are counted, and the closing line.
//
// KEELSON_URL       address of a running server, for example http://127.0.0.1:8080
// KEELSON_ACCOUNTS  JSON: {"data-scientist": {"name": "…", "password": "…"}, "risk-compliance": {…}, …}; not needed where sign-in is off
// KEELSON_CHROMIUM  the browser's program, /usr/bin/chromium by default
// KEELSON_SHOTS     folder for screenshots, a new one under the system's temporary folder by default
import { mkdirSync, mkdtempSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { chromium } from "../../ui/node_modules/playwright-core/index.mjs";

if (!process.env.KEELSON_URL) {
  console.error("KEELSON_URL is not set; it names the running server to test.");
  process.exit(2);
}
export const base = process.env.KEELSON_URL.replace(/\/$/, "");
export const accounts = JSON.parse(process.env.KEELSON_ACCOUNTS ?? "{}");
export const shots = process.env.KEELSON_SHOTS ?? mkdtempSync(join(tmpdir(), "keelson-shots-"));
mkdirSync(shots, { recursive: true });

let passed = 0, failed = 0;

/** Runs one named check and counts it; a failed one is told with its cause. Returns whether it held. */
export async function check(name, fn) {
  try {
    await fn();
    passed++;
    console.log(`ok    ${name}`);
    return true;
  } catch (error) {
    failed++;
    console.log(`FAIL  ${name}\n      ${String(error?.message ?? error).split("\n").slice(0, 12).join("\n      ")}`);
    return false;
  }
}

export function assert(condition, message) {
  if (!condition) throw new Error(message);
}

/** Calls fn until it returns something true, at most `ms`; the last answer is the result. */
export async function until(what, fn, ms = 15_000) {
  const end = Date.now() + ms;
  let last;
  do {
    last = await fn();
    if (last) return last;
    await new Promise((done) => setTimeout(done, 100));
  } while (Date.now() < end);
  throw new Error(`${what}: not within ${ms} ms`);
}

const browser = await chromium.launch({
  executablePath: process.env.KEELSON_CHROMIUM ?? "/usr/bin/chromium",
  args: ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
});

/** A fresh browser window; `errors` collects what the page complained about. */
export async function open({ width = 1280, height = 900, theme = "light" } = {}) {
  const context = await browser.newContext({ baseURL: base, viewport: { width, height }, colorScheme: theme, reducedMotion: "reduce", acceptDownloads: true });
  const page = await context.newPage();
  const errors = [];
  page.on("pageerror", (e) => errors.push(`script: ${e.message}`));
  page.on("console", (msg) => { if (msg.type() === "error" && !/status of (401|403|404|409|422)/.test(msg.text())) errors.push(`console: ${msg.text()}`); });
  page.setDefaultTimeout(15_000);
  return { context, page, errors };
}

/** A window in which the person of this role is signed in, by the form. */
export async function as(role, options) {
  const window = await open(options);
  await window.page.goto("/models");
  await window.page.locator("h1").first().waitFor();
  if (await window.page.getByLabel("Account name").count()) {
    const account = accounts[role];
    assert(account, `KEELSON_ACCOUNTS names nobody with the role ${role}`);
    await window.page.getByLabel("Account name").fill(account.name);
    await window.page.getByRole("textbox", { name: "Password" }).fill(account.password);
    await window.page.keyboard.press("Enter");
    await window.page.getByRole("navigation", { name: "Where you are" }).or(window.page.getByRole("heading", { level: 1, name: "Models" })).first().waitFor();
  }
  return window;
}

/** The document at an API path, with the rights of the window's person. */
export async function get(window, path) {
  const answer = await window.context.request.get(base + "/api/v1" + path);
  assert(answer.ok(), `GET ${path}: ${answer.status()} ${(await answer.text()).slice(0, 300)}`);
  return answer.json();
}

/** Sends a document to an API path as the page would; returns status and body. */
export async function post(window, path, body = {}) {
  const answer = await window.context.request.post(base + "/api/v1" + path, { data: body, headers: { Origin: base } });
  const text = await answer.text();
  return { status: answer.status(), body: text ? JSON.parse(text) : null };
}

/** Presses Tab until the element has the focus. */
export async function reach(page, locator, what) {
  await locator.first().waitFor();
  const here = () => locator.first().evaluate((n) => n === document.activeElement).catch(() => false);
  for (let i = 0; i < 400; i++) {
    if (await here()) return;
    await page.keyboard.press("Tab");
  }
  throw new Error(`${what}: not reached by Tab`);
}

/** Reaches a link or button by keyboard and presses Enter. */
export async function press(page, role, name) {
  const locator = page.getByRole(role, { name });
  await reach(page, locator, `${role} ${name}`);
  await page.keyboard.press("Enter");
}

/** Once nothing on the page is loading. */
export const settled = (page) => page.waitForFunction(() => !document.querySelector("[aria-busy=true]"));

const axe = readFileSync(new URL("../../ui/node_modules/axe-core/axe.min.js", import.meta.url), "utf8");

/** What is wrong with the page as it stands. */
export async function faults(page, kind) {
  await page.evaluate(axe);
  const found = await page.evaluate(async () => {
    const result = await window.axe.run(document, { resultTypes: ["violations"] });
    return {
      axe: result.violations.filter((v) => v.impact === "serious" || v.impact === "critical").map((v) => `${v.impact} ${v.id}: ${v.nodes.slice(0, 3).map((n) => n.target.join(" ") + " " + (n.any[0]?.message ?? "")).join(" | ")}`),
      h1: [...document.querySelectorAll("h1")].filter((h) => h.offsetParent !== null || h.getClientRects().length).length,
      main: document.querySelectorAll("main").length,
      sideways: document.documentElement.scrollWidth - document.documentElement.clientWidth,
      title: document.title,
      busy: document.querySelectorAll("[aria-busy=true]").length,
    };
  });
  const wrong = [...found.axe];
  if (found.h1 !== 1) wrong.push(`${found.h1} visible h1`);
  if (found.main !== 1) wrong.push(`${found.main} main`);
  if (found.sideways > 0) wrong.push(`scrolls sideways by ${found.sideways} px`);
  if (!/ · keelson$/.test(found.title)) wrong.push(`title "${found.title}"`);
  if (found.busy) wrong.push(`${kind}: still loading`);
  return wrong;
}

/** Closes the browser, prints the closing line and ends the program. */
export async function finish() {
  await browser.close();
  console.log(`${passed} passed, ${failed} failed`);
  process.exit(failed || !passed ? 1 : 0);
}
