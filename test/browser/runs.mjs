// The pages of experiments and runs with 10,000 runs in the table: axe in both themes and at two widths, the number of cells in
// the document while scrolling, no blank rows, and the scientist's way by keyboard: filter, sort, a column, a saved view, two
// runs compared, one opened. KEELSON_RUNS sets another number of runs,
// KEELSON_SEEDED names an experiment that an earlier start filled, KEELSON_THEMES the themes to look at (light,dark).
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { as, assert, base, check, finish, get, post, shots, until } from "./harness.mjs";
import { seed } from "./seed.mjs";

const axe = readFileSync(new URL("../../ui/node_modules/axe-core/axe.min.js", import.meta.url), "utf8");
const count = Number(process.env.KEELSON_RUNS ?? 10_000);
const settled = (page) => page.waitForFunction(() => !document.querySelector("[aria-busy=true]"));
const grid = (page) => page.getByRole("grid", { name: "Runs" });
const shot = (page, name) => page.screenshot({ path: join(shots, `${name}.png`) });

/** The runs an earlier start of this script left in an experiment, in the order they were made. */
async function existing(experiment) {
  const runs = [];
  let cursor = "";
  do {
    const part = await get(window, `/runs?experiment=${experiment}&limit=1000&columns=none&order_by=start_time%20ASC&cursor=${encodeURIComponent(cursor)}`);
    runs.push(...part.items.filter((r) => r.name.startsWith("trial-")).map((r) => r.id));
    cursor = part.next ?? "";
  } while (cursor);
  return { experiment, runs };
}

const window = await as("data-scientist");
const { page } = window;
const cookie = (await window.context.cookies()).map((c) => `${c.name}=${c.value}`).join("; ");
const began = Date.now();
const made = process.env.KEELSON_SEEDED ? await existing(process.env.KEELSON_SEEDED) : await seed(base, { count, name: "Ten thousand", headers: cookie ? { Cookie: cookie } : {}, told: (n) => console.log(`      ${n} runs after ${Math.round((Date.now() - began) / 1000)} s`) });
const address = `/experiments/${made.experiment}`;
const wide = "cols=" + ["name", "status", "started", "took", "user", "metrics.val/auc", "metrics.val/loss", "metrics.train/loss", "metrics.accuracy", ...Array.from({ length: 12 }, (_, k) => `metrics.slice_${k}/recall`), "params.lr", "params.optimizer", "params.depth", "params.batch_size", "params.dropout", "params.seed", "params.rounds", "params.note", "tags.team", "tags.stage"].map(encodeURIComponent).join(",");

/** What is wrong with the page as it stands. */
async function faults(p) {
  await p.evaluate(axe);
  return p.evaluate(async () => {
    const result = await window.axe.run(document, { resultTypes: ["violations"] });
    const wrong = result.violations.filter((v) => v.impact === "serious" || v.impact === "critical").map((v) => `${v.impact} ${v.id}: ${v.nodes.slice(0, 3).map((n) => n.target.join(" ") + " " + (n.any[0]?.message ?? "")).join(" | ")}`);
    const sideways = document.documentElement.scrollWidth - document.documentElement.clientWidth;
    if (sideways > 0) wrong.push(`scrolls sideways by ${sideways} px`);
    const h1 = document.querySelectorAll("h1").length;
    if (h1 !== 1) wrong.push(`${h1} h1`);
    return wrong;
  });
}

/** Cells in the document, and whether rows cover the whole frame. */
const state = (p) => p.evaluate(() => {
  const box = document.querySelector("[role=grid]"), frame = box.getBoundingClientRect();
  const head = box.querySelector(".gridhead").getBoundingClientRect();
  const rows = [...box.querySelectorAll("[data-row]:not([data-row='-1'])")].map((r) => r.getBoundingClientRect()).sort((a, b) => a.top - b.top);
  let covered = head.bottom;
  for (const r of rows) if (r.top <= covered + 1) covered = Math.max(covered, r.bottom);
  const first = box.querySelector("[data-row]:not([data-row='-1'])");
  const right = first ? Math.max(...[...first.children].map((c) => c.getBoundingClientRect().right)) : 0;
  return { cells: box.querySelectorAll("[role=gridcell], [role=columnheader]").length, blank: Math.max(0, Math.round(Math.min(frame.bottom, frame.top + box.clientHeight) - covered)), blankRight: Math.max(0, Math.round(frame.left + box.clientWidth - right)), rows: rows.length, top: box.scrollTop, height: box.scrollHeight };
});

const pages = [["runs", address], ["runs-wide", `${address}?${wide}`], ["experiments", "/experiments"], ["run", `/runs/${made.runs[0]}`], ["run-charts", `/runs/${made.runs[0]}?tab=charts`], ["run-artifacts", `/runs/${made.runs[0]}?tab=artifacts`], ["run-code", `/runs/${made.runs[0]}?tab=code`],
  ["compare", `/compare?runs=${made.runs.slice(0, 12).join(",")}`], ["compare-curves", `/compare?view=curves&runs=${made.runs.slice(0, 12).join(",")}`], ["compare-parallel", `/compare?view=parallel&runs=${made.runs.slice(0, 200).join(",")}`], ["compare-scatter", `/compare?view=scatter&runs=${made.runs.slice(0, 200).join(",")}`], ["traces", "/traces"], ["bin", "/bin"]];
for (const theme of (process.env.KEELSON_THEMES ?? "light,dark").split(",").filter(Boolean)) {
  for (const width of [1280, 390]) {
    const other = await as("data-scientist", { width, theme });
    for (const [name, to] of pages) {
      await check(`${name} ${theme} ${width}`, async () => {
        other.errors.length = 0;
        await other.page.goto(to);
        await other.page.locator("h1").first().waitFor();
        if (name.startsWith("runs")) await grid(other.page).waitFor();
        await settled(other.page);
        await shot(other.page, `tracking-${name}-${theme}-${width}`);
        const wrong = [...(await faults(other.page)), ...other.errors];
        assert(wrong.length === 0, wrong.join("\n"));
      });
    }
    await other.context.close();
  }
}

await check(`${count} runs and 31 columns scroll with at most 1,000 cells and no blank rows`, async () => {
  await page.goto(`${address}?${wide}`);
  await grid(page).waitFor();
  await settled(page);
  let most = 0, seen = 0;
  const box = grid(page);
  const end = Date.now() + 120_000;
  for (;;) {
    const now = await state(page);
    most = Math.max(most, now.cells);
    assert(now.cells <= 1000, `${now.cells} cells at ${now.top}`);
    assert(now.blank <= 1, `${now.blank} px without rows at ${now.top} of ${now.height}`);
    assert(now.blankRight <= 1, `${now.blankRight} px without columns at ${now.top}`);
    seen = Math.max(seen, Number(await box.locator("[data-row]").last().getAttribute("data-row")));
    if (seen >= count - 1) break;
    assert(Date.now() < end, `row ${seen} of ${count} after two minutes`);
    // The wheel in steps of several screens, and across: both ways, as a hurried reader does.
    await page.evaluate((step) => new Promise((done) => { const g = document.querySelector("[role=grid]"); g.scrollTop += g.clientHeight * 3; g.scrollLeft = (g.scrollWidth - g.clientWidth) * step; requestAnimationFrame(() => requestAnimationFrame(done)); }), (seen / 500) % 1);
  }
  console.log(`      at most ${most} cells in the document`);
});

/** Presses Tab until the element has the focus. */
async function reach(locator, what) {
  await locator.first().waitFor();
  for (let i = 0; i < 120; i++) {
    if (await locator.first().evaluate((n) => n === document.activeElement).catch(() => false)) return;
    await page.keyboard.press("Tab");
  }
  throw new Error(`${what}: not reached by Tab`);
}
const param = (name) => new URL(page.url()).searchParams.get(name);

await check("by keyboard: a filter with completion, a sort, a further column, a saved view", async () => {
  await page.goto(address);
  await grid(page).waitFor();
  await settled(page);
  await reach(page.getByRole("combobox", { name: "Filter runs" }), "filter");
  await page.keyboard.type("metrics.accu");
  await page.getByRole("option", { name: /accuracy/ }).first().waitFor();
  await page.keyboard.press("ArrowDown");
  await page.keyboard.press("Enter");
  await page.keyboard.type(" > 0.9 AND params.optimizer = 'adam'");
  await page.keyboard.press("Enter");
  await until(`the filter to be in the address, not ${await page.getByRole("combobox", { name: "Filter runs" }).inputValue()}`, () => /accuracy`?\s+> 0\.9 AND params/.test(param("filter") ?? ""));
  await settled(page);
  const want = (await get(window, `/runs?experiment=${made.experiment}&limit=5&columns=none&filter=${encodeURIComponent(param("filter"))}`)).items.map((r) => r.name);
  await until(`the rows ${want}`, async () => { const names = await page.locator("[role=grid] a.rowlink").allInnerTexts(); return want.every((n, i) => names[i] === n); });
  await reach(page.getByRole("button", { name: "Columns" }), "columns");
  await page.keyboard.press("Enter");
  await page.getByRole("textbox", { name: "Find a column" }).waitFor();
  await page.keyboard.type("dropout");
  await reach(page.getByRole("checkbox", { name: "dropout" }), "the column's box");
  await page.keyboard.press("Space");
  await page.keyboard.press("Escape");
  await page.getByRole("columnheader", { name: "dropout" }).waitFor();
  await reach(grid(page), "the table");
  await page.keyboard.press("Control+Home");
  await page.keyboard.press("ArrowUp");
  const head = () => page.evaluate(() => document.getElementById(document.activeElement.getAttribute("aria-activedescendant"))?.title);
  for (let i = 0; i < 12 && (await head()) !== "dropout"; i++) await page.keyboard.press("ArrowRight");
  await page.keyboard.press("Enter");
  await page.keyboard.press("Enter");
  await until("the sort to be in the address", () => param("sort") === "-params.dropout");
  await settled(page);
  const values = await until("rows sorted by dropout", async () => { const all = (await page.locator("[role=grid] [role=row]").evaluateAll((rows) => rows.slice(1, 12).map((r) => r.lastElementChild.textContent))).map(Number); return all.length > 5 && all.every((v, i) => i === 0 || v <= all[i - 1]) && all; });
  assert(values[0] >= values.at(-1), `not sorted: ${values}`);
  await reach(page.getByRole("button", { name: "View" }), "views").catch(async () => { await page.keyboard.press("Shift+Tab"); await reach(page.getByRole("button", { name: "View" }), "views"); });
  await page.keyboard.press("Enter");
  await page.getByRole("menuitem", { name: /Save this view/ }).waitFor();
  for (let i = 0; i < 6 && !(await page.getByRole("menuitem", { name: /Save this view/ }).evaluate((n) => n === document.activeElement)); i++) await page.keyboard.press("ArrowDown");
  await page.keyboard.press("Enter");
  await page.getByRole("textbox", { name: "Name" }).waitFor();
  await page.keyboard.type("accurate adams");
  await page.keyboard.press("Enter");
  await page.getByRole("button", { name: "View: accurate adams" }).waitFor();
  await shot(page, "flow2-view");
});

const link = page.url();
await check("the copied address shows a second person the same table", async () => {
  const other = await as("ml-engineer");
  await other.page.goto(link.replace(base, ""));
  await grid(other.page).waitFor();
  await settled(other.page);
  const texts = (p) => p.locator("[role=grid] [role=row]").evaluateAll((rows) => rows.slice(0, 8).map((r) => [...r.children].slice(1).map((c) => c.textContent).join("|").replace(/\d+ \w+ ago/g, "")));
  const [mine, theirs] = [await texts(page), await texts(other.page)];
  assert(mine.length > 3 && JSON.stringify(mine) === JSON.stringify(theirs), `mine ${mine[1]}\ntheirs ${theirs[1]}`);
  await other.context.close();
});

await check("by keyboard: two runs selected, compared, one opened", async () => {
  await reach(grid(page), "the table");
  await page.keyboard.press("Control+Home");
  await page.keyboard.press("Space");
  await page.keyboard.press("ArrowDown");
  await page.keyboard.press("Space");
  await page.getByText("2 selected").waitFor();
  await page.keyboard.press("c");
  await page.waitForURL(/\/compare\?runs=/);
  await page.getByRole("heading", { level: 1, name: "2 runs compared" }).waitFor();
  await page.getByRole("grid", { name: "Parameters and metrics" }).waitFor();
  await settled(page);
  await shot(page, "flow2-compare");
  await page.goBack();
  await grid(page).waitFor();
  await settled(page);
  await reach(grid(page), "the table");
  await page.keyboard.press("Control+Home");
  await page.keyboard.press("Enter");
  await page.waitForURL(/\/runs\//);
  await page.getByRole("heading", { level: 2, name: "Metrics" }).waitFor();
});

await check("two curves of 500 points are drawn, NaN as a mark; after a zoom the range is in the address", async () => {
  await page.goto(`/compare?view=curves&metrics=train%2Floss&runs=${made.runs.slice(0, 2).join(",")}`);
  const chart = page.getByRole("img", { name: /^train\/loss/ });
  await chart.locator("canvas").waitFor();
  await settled(page);
  const box = await chart.locator(".u-over").boundingBox();
  await page.mouse.move(box.x + box.width * 0.3, box.y + 60);
  await page.mouse.down();
  await page.mouse.move(box.x + box.width * 0.6, box.y + 60, { steps: 5 });
  await page.mouse.up();
  await until("the zoom in the address", () => /~/.test(param("zoom") ?? ""));
  await shot(page, "curves-zoomed");
  await chart.focus();
  await page.keyboard.press("ArrowRight");
  await until("the value to be read out", async () => (await page.locator("p[aria-live=polite]").allInnerTexts()).some((t) => /Step \d+: trial-/.test(t)));
});

await check("a run goes to the bin and comes back by Undo", async () => {
  await page.goto(`${address}?filter=${encodeURIComponent("attributes.run_name = 'trial-00020'")}`);
  await grid(page).waitFor();
  await settled(page);
  await reach(grid(page), "the table");
  await page.keyboard.press("Control+Home");
  await page.keyboard.press("Space");
  await page.getByRole("button", { name: "Move to bin" }).click();
  await page.getByText("1 run moved to the bin.").waitFor();
  assert((await get(window, `/runs/${made.runs[20]}`)).deleted === true, "the run is not deleted");
  await page.getByRole("button", { name: "Undo" }).click();
  await until("the run to be back", async () => !(await get(window, `/runs/${made.runs[20]}`)).deleted);
  await page.getByRole("link", { name: "trial-00020" }).waitFor();
});

await check("a new run is announced and does not move the table until asked", async () => {
  const name = `arrives-${Date.now()}`;
  await page.goto(address);
  await grid(page).waitFor();
  await settled(page);
  const first = () => page.locator("[role=grid] [data-row='0'] a").innerText();
  const before = await first();
  const answer = await post(window, "/../2.0/mlflow/runs/create", { experiment_id: made.experiment, run_name: name, start_time: Date.now() });
  assert(answer.status === 200, `status ${answer.status}`);
  await page.getByRole("button", { name: /1 new run/ }).waitFor({ timeout: 10_000 });
  assert((await first()) === before, "the table moved");
  await page.getByRole("button", { name: /1 new run/ }).click();
  await until("the new run on top", async () => (await first()) === name);
});

await check("the export holds what the filter matches, under the names shown", async () => {
  await page.goto(`${address}?filter=${encodeURIComponent("metrics.accuracy > 0.9")}&cols=name,${encodeURIComponent("metrics.accuracy")}`);
  await grid(page).waitFor();
  await settled(page);
  await page.getByRole("button", { name: "Export" }).click();
  const [file] = await Promise.all([page.waitForEvent("download"), page.getByRole("menuitem", { name: "CSV" }).click()]);
  const text = readFileSync(await file.path(), "utf8");
  let want = 0, cursor = "";
  do {
    const part = await get(window, `/runs?experiment=${made.experiment}&limit=1000&columns=none&filter=${encodeURIComponent("metrics.accuracy > 0.9")}&cursor=${encodeURIComponent(cursor)}`);
    want += part.items.length;
    cursor = part.next ?? "";
  } while (cursor);
  assert(want > 0 && text.trim().split("\n").length === want + 1, `${text.trim().split("\n").length - 1} rows, wanted ${want}`);
  assert(/accuracy/.test(text.split("\n")[0]), text.split("\n")[0]);
});

await check("no error of the page", () => assert(window.errors.length === 0, window.errors.join("\n")));
await finish();
