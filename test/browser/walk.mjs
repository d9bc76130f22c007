// Visits every page in both themes and at two widths: no serious axe finding, one h1, one main, a title,
// no sideways scroll, no error of the page. Leaves a screenshot of each.
import { join } from "node:path";
import { accounts, as, assert, check, faults, finish, get, open, shots } from "./harness.mjs";

const role = process.env.KEELSON_WALKER ?? (accounts.administrator ? "administrator" : "auditor");
const only = process.env.KEELSON_PAGES ? new RegExp(process.env.KEELSON_PAGES) : /./;

/** Every address with something to show, taken from what the server holds. */
async function addresses(window) {
  const list = async (path) => { const doc = await get(window, path).catch(() => null); return Array.isArray(doc) ? doc : (doc?.items ?? []); };
  const e = encodeURIComponent;
  const pages = ["/models", "/models?filter=nothing-has-this-name", "/approvals", "/inbox", "/pipelines", "/deployments", "/monitoring", "/alerts", "/incidents", "/predictions", "/data", "/experiments", "/traces", "/bin", "/compare", "/audit", "/audit?view=feed", "/settings", "/settings/users", "/settings/tokens", "/settings/routes", "/settings/policies", "/settings/retention", "/feedback", "/no-such-page", "/models/no-such-model"];
  for (const m of (await list("/models")).slice(0, 2)) {
    for (const tab of ["", "/versions", "/deployments", "/monitoring", "/explain", "/timeline"]) pages.push(`/models/${e(m.name)}${tab}`);
    const versions = await list(`/models/${e(m.name)}/versions`);
    for (const v of versions.slice(0, 2)) pages.push(`/models/${e(m.name)}/versions/${v.version}`);
    if (versions.length > 1) pages.push(`/models/${e(m.name)}/versions/${versions[0].version}?compare=${versions[1].version}`);
  }
  for (const r of (await list("/approvals")).slice(0, 2)) pages.push(`/approvals/${e(r.id)}`);
  for (const p of (await list("/pipelines")).slice(0, 1)) {
    pages.push(`/pipelines/${e(p.name)}`);
    for (const r of (await list(`/pipelines/${e(p.name)}/runs`)).slice(0, 2)) pages.push(`/pipelines/${e(p.name)}/runs/${e(r.id)}`);
  }
  for (const d of (await list("/deployments")).slice(0, 2)) for (const tab of ["", "try", "log", "releases"]) pages.push(`/deployments/${e(d.endpoint)}${tab && "?tab=" + tab}`);
  for (const d of (await list("/datasets")).slice(0, 1)) pages.push(`/data/${e(d.name)}`, ...(d.versions ? [`/data/${e(d.name)}/${d.latest?.version ?? 1}`] : []));
  for (const x of (await list("/experiments")).slice(0, 1)) pages.push(`/experiments/${e(x.id)}`);
  const runs = await list("/runs?limit=3");
  for (const r of runs.slice(0, 1)) for (const tab of ["", "charts", "system", "artifacts", "code", "traces"]) pages.push(`/runs/${e(r.id)}${tab && "?tab=" + tab}`);
  if (runs.length > 1) for (const view of ["", "curves", "parallel", "scatter"]) pages.push(`/compare?runs=${runs.map((r) => e(r.id)).join(",")}${view && "&view=" + view}`);
  for (const t of (await list("/traces?limit=1")).slice(0, 1)) pages.push(`/traces/${e(t.id)}`);
  for (const p of (await list("/predictions?limit=5")).slice(0, 1)) pages.push(`/predictions/${e(p.id)}`);
  const incidents = await list("/incidents");
  for (const i of [...incidents.slice(0, 1), ...incidents.filter((i) => i.kind === "data.moved").slice(0, 1)]) pages.push(`/incidents/${e(i.id)}`);
  return pages.filter((p) => only.test(p));
}

for (const theme of ["light", "dark"]) {
  for (const width of [1280, 390]) {
    const stranger = await open({ width, theme });
    await stranger.page.goto("/models");
    await stranger.page.locator("h1").first().waitFor();
    await check(`sign-in ${theme} ${width}`, async () => {
      await stranger.page.screenshot({ path: join(shots, `signin-${theme}-${width}.png`) });
      const wrong = await faults(stranger.page, "sign-in");
      assert(wrong.length === 0, wrong.join("\n"));
    });
    await stranger.context.close();
    const window = await as(role, { width, theme });
    for (const address of await addresses(window)) {
      await check(`${address} ${theme} ${width}`, async () => {
        window.errors.length = 0;
        await window.page.goto(address);
        await window.page.locator("h1").first().waitFor();
        await window.page.waitForFunction(() => !document.querySelector("[aria-busy=true]"), null, { timeout: 8000 });
        await window.page.waitForFunction(() => document.title.includes("keelson"));
        const name = address.replace(/[^a-z0-9]+/gi, "_").replace(/^_|_$/g, "").slice(0, 60) || "home";
        await window.page.screenshot({ path: join(shots, `${name}-${theme}-${width}.png`), fullPage: true });
        const wrong = [...(await faults(window.page, address)), ...window.errors];
        assert(wrong.length === 0, wrong.join("\n"));
      });
    }
    await window.context.close();
  }
}
console.log(`screenshots: ${shots}`);
await finish();
