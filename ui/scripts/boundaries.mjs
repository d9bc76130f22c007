// Checks who may import whom: app -> features -> ui -> api, messages; features
// never import each other, icons never come from the icon package's barrel.
import { readdirSync, readFileSync, statSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";

const src = new URL("../src", import.meta.url).pathname;
const may = {
  app: ["app", "features", "ui", "api", "messages"],
  features: ["ui", "api", "messages", "test"],
  ui: ["ui", "api", "messages", "test"],
  api: ["api", "messages"],
  messages: ["messages"],
  test: ["test", "api", "ui", "messages"],
};
const wrong = [];

function files(dir) {
  return readdirSync(dir).flatMap((name) => {
    const path = join(dir, name);
    return statSync(path).isDirectory() ? files(path) : /\.tsx?$/.test(name) && !name.endsWith(".d.ts") ? [path] : [];
  });
}

for (const file of files(src)) {
  const from = relative(src, file).split("/");
  const body = readFileSync(file, "utf8");
  if (!file.endsWith("api/schema.ts") && body.split("\n").length > 600) wrong.push(`${from.join("/")}: longer than 600 lines`);
  for (const [, spec] of body.matchAll(/(?:from|import)\s*\(?\s*["']([^"']+)["']/g)) {
    if (spec === "@tabler/icons-react") wrong.push(`${from.join("/")}: import icons one by one through ui/icons`);
    if (!spec.startsWith(".") || from.length === 1) continue;
    const to = relative(src, resolve(dirname(file), spec)).split("/");
    const same = from[0] === "features" && to[0] === "features" && from[1] === to[1];
    if (!same && !may[from[0]]?.includes(to[0])) wrong.push(`${from.join("/")} must not import ${to.join("/")}`);
  }
}

for (const line of wrong) console.error(line);
console.log(`boundaries: ${wrong.length} wrong`);
process.exit(wrong.length ? 1 : 0);
