// Runs the browser tests against a server of its own: tells the demo's story on it, walks over all pages, plays the flows,
// stops it, and closes with the sum. Needs bin/keelson (make build) and KEELSON_PYTHON, a Python with the examples' packages.
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const root = join(here, "..", "..");
const python = process.env.KEELSON_PYTHON;
if (!python) {
  console.error("KEELSON_PYTHON is not set; make test sets it.");
  process.exit(2);
}
const password = "keelson-demo-2026";
const names = { "data-scientist": "dana", "risk-compliance": "rita", "business-owner": "bo", "ml-engineer": "mira", "data-engineer": "eddie", auditor: "ada" };

const folder = mkdtempSync(join(tmpdir(), "keelson-browser-"));
// The demo is told nothing of the tests' own settings; the scripts are.
const plain = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith("KEELSON_")));
if (!process.env.KEELSON_SHOTS) process.env.KEELSON_SHOTS = join(folder, "shots"); // looked at only when asked for
const env = { ...plain, ...Object.fromEntries(Object.entries(process.env).filter(([name]) => ["KEELSON_CHROMIUM", "KEELSON_SHOTS", "KEELSON_FLOWS", "KEELSON_RUNS"].includes(name))) };
const demo = spawn(join(root, "bin", "keelson"), ["demo", "--data", join(folder, "demo"), "--listen", "127.0.0.1:0", "--outbound-allow", "127.0.0.1", "--python", python], { env: plain, stdio: ["ignore", "pipe", "inherit"] });

/** The demo's address, once its story is told. */
const told = new Promise((resolve, reject) => {
  let text = "";
  demo.stdout.on("data", (chunk) => {
    text += chunk;
    const url = /ready on (http:\S+)/.exec(text)?.[1];
    if (url && text.includes("serving until")) resolve({ url, text });
  });
  demo.on("exit", (code) => reject(new Error(`the demo ended with ${code}:\n${text.slice(-3000)}`)));
  setTimeout(() => reject(new Error(`the story was not told in ten minutes:\n${text.slice(-3000)}`)), 600_000).unref();
});

/** Plays one script and gives what it counted. */
function play(script, url, more = {}) {
  return new Promise((resolve) => {
    console.log(`\n-- ${script}`);
    let text = "";
    const accounts = Object.fromEntries(Object.entries(names).map(([role, name]) => [role, { name, password }]));
    const child = spawn(process.execPath, [join(here, script)], { env: { ...env, KEELSON_URL: url, KEELSON_ACCOUNTS: JSON.stringify(accounts), ...more }, stdio: ["ignore", "pipe", "inherit"] });
    child.stdout.on("data", (chunk) => {
      text += chunk;
      process.stdout.write(String(chunk).replace(/^\d+ passed, \d+ failed$/gm, ""));
    });
    child.on("exit", (code) => {
      const sum = [...text.matchAll(/^(\d+) passed, (\d+) failed$/gm)].at(-1);
      resolve(sum ? [Number(sum[1]), Number(sum[2])] : [0, 1, console.log(`${script} ended with ${code} and no sum`)]);
    });
  });
}

let passed = 0, failed = 0;
try {
  const { url } = await told;
  for (const script of ["speed.mjs", "walk.mjs", "flows.mjs", "runs.mjs", "serving.mjs", "watching.mjs"]) {
    const [p, f] = await play(script, url);
    passed += p;
    failed += f;
  }
} catch (error) {
  console.error(String(error.message ?? error));
  failed++;
} finally {
  demo.removeAllListeners("exit");
  const ended = new Promise((resolve) => demo.on("exit", resolve));
  if (demo.exitCode === null) {
    demo.kill("SIGINT");
    await ended;
  }
  rmSync(folder, { recursive: true, force: true });
}
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed > 0 || passed === 0 ? 1 : 0);
