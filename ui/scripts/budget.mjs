// Fails when the first load (HTML, its scripts and styles, and what they import
// statically) is over 250 kB compressed, or one lazy file over 150 kB; the file of
// ECharts, which only comparisons load, may have 220 kB.
import { existsSync, readFileSync, readdirSync, statSync } from "node:fs";
import { join } from "node:path";

const dist = new URL("../dist", import.meta.url).pathname;
const size = (file) => statSync(existsSync(join(dist, file + ".gz")) ? join(dist, file + ".gz") : join(dist, file)).size;

const first = new Set(["index.html"]);
const html = readFileSync(join(dist, "index.html"), "utf8");
for (const [, file] of html.matchAll(/(?:src|href)="\/([^"]+)"/g)) first.add(file);
for (const file of first) {
  if (!file.endsWith(".js")) continue;
  const code = readFileSync(join(dist, file), "utf8");
  for (const [, name] of code.matchAll(/(?:from|import)\s*["']\.\/([^"']+\.js)["']/g)) first.add("assets/" + name);
}

const total = [...first].reduce((sum, file) => sum + size(file), 0);
const rest = readdirSync(join(dist, "assets")).map((f) => "assets/" + f).filter((f) => /\.(js|css)$/.test(f) && !first.has(f));
const charts = rest.filter((f) => f.includes("/echarts-"));
const largest = rest.filter((f) => !charts.includes(f)).reduce((max, f) => Math.max(max, size(f)), 0);
const drawing = charts.reduce((max, f) => Math.max(max, size(f)), 0);
console.log(`first load ${(total / 1000).toFixed(1)} kB gzip in ${first.size} files (limit 250 kB); largest lazy file ${(largest / 1000).toFixed(1)} kB (limit 150 kB); ECharts ${(drawing / 1000).toFixed(1)} kB (limit 220 kB)`);
if (total > 250_000 || largest > 150_000 || drawing > 220_000) process.exit(1);
