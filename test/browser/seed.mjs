// Fills a server with runs as they come from another server: one request brings a run with its parameters and tags, one
// logs its metrics. Bounded: at most `lanes` requests are under way at a time.
//
//   node seed.mjs 10000     KEELSON_URL names the server; KEELSON_COOKIE or nothing where sign-in is off
import { randomUUID } from "node:crypto";

const optimisers = ["adam", "sgd", "rmsprop"];

/** A number in [0, 1) that depends on n and k only. */
const noise = (n, k) => { const x = Math.sin(n * 12.9898 + k * 78.233) * 43758.5453; return x - Math.floor(x); };

/** Sends one call; its answer, or an error with the server's words. */
async function send(base, headers, path, body) {
  const answer = await fetch(`${base}/api/${path}`, { method: "POST", headers: { "Content-Type": "application/json", Origin: base, ...headers }, body: JSON.stringify(body) });
  const text = await answer.text();
  if (!answer.ok) throw new Error(`${path}: ${answer.status} ${text.slice(0, 300)}`);
  return text ? JSON.parse(text) : {};
}

/** Parameters, metrics and tags of run number n: with what every run has, more than 30 columns. */
function contents(n, at) {
  const lr = 10 ** (-4 + 3 * noise(n, 1)), depth = 2 + Math.floor(noise(n, 2) * 8);
  const metrics = { "val/auc": 0.7 + 0.25 * noise(n, 4), "val/loss": 0.2 + noise(n, 5), "train/loss": 0.1 + noise(n, 6), accuracy: 0.6 + 0.35 * noise(n, 7) };
  for (let k = 0; k < 12; k++) metrics[`slice_${k}/recall`] = noise(n, 10 + k);
  return {
    params: { lr: lr.toPrecision(4), optimizer: optimisers[n % 3], depth: String(depth), batch_size: String(16 << (n % 5)), dropout: (noise(n, 3) / 2).toFixed(2), seed: String(n), rounds: String(50 + (n % 7) * 25), note: `variant ${n % 11}` },
    metrics: Object.entries(metrics).map(([key, value]) => ({ key, value, step: 0, timestamp: at })),
    tags: { team: n % 2 ? "risk" : "growth", stage: ["draft", "candidate", "final"][n % 3], "mlflow.source.name": "train.py", "mlflow.source.git.commit": (n % 40).toString(16).padStart(40, "a") },
  };
}

/** A curve of `points` steps in two metrics, with one NaN. */
function curves(n, points, at) {
  return Array.from({ length: points }, (_, step) => [
    { key: "train/loss", value: step === 77 ? "NaN" : 1.2 * Math.exp(-step / (120 + 30 * n)) + 0.1 + 0.05 * noise(step, n), step, timestamp: at + step * 500 },
    { key: "val/auc", value: 0.95 - 0.4 * Math.exp(-step / (90 + 20 * n)) + 0.01 * noise(step, n + 9), step, timestamp: at + step * 500 },
  ]).flat();
}

/** Makes an experiment with `count` runs; the ids of experiment and runs. The first `curved` runs have curves of `points` steps. */
export async function seed(base, { count, name = `seeded ${count} runs`, headers = {}, lanes = 16, curved = 12, points = 500, told = () => {} }) {
  const { experiment_id } = await send(base, headers, "2.0/mlflow/experiments/create", { name });
  const runs = Array.from({ length: count }, () => randomUUID().replaceAll("-", ""));
  const begin = Date.now() - count * 1000;
  let next = 0;
  const lane = async () => {
    for (let n = next++; n < count; n = next++) {
      const at = begin + n * 1000, { params, tags, metrics } = contents(n, at);
      await send(base, headers, "v1/imports/mlflow/runs", { source: "seed", run_id: runs[n], experiment_id, run_name: `trial-${String(n).padStart(5, "0")}`, user_id: ["dana", "mira", "eddie"][n % 3], status: n % 17 === 3 ? "FAILED" : "FINISHED", start_time: at, end_time: at + 1000 + Math.floor(noise(n, 8) * 600_000), params, tags });
      const all = n < curved ? [...metrics.filter((m) => m.key !== "train/loss" && m.key !== "val/auc"), ...curves(n, points, at)] : metrics;
      for (let i = 0; i < all.length; i += 1000) await send(base, headers, "2.0/mlflow/runs/log-batch", { run_id: runs[n], metrics: all.slice(i, i + 1000) });
      if ((n + 1) % 1000 === 0) told(n + 1);
    }
  };
  await Promise.all(Array.from({ length: lanes }, lane));
  return { experiment: experiment_id, runs };
}

if (import.meta.url === `file://${process.argv[1]}`) {
  const began = Date.now();
  const made = await seed(process.env.KEELSON_URL, { count: Number(process.argv[2] ?? 1000), name: process.argv[3], headers: process.env.KEELSON_COOKIE ? { Cookie: process.env.KEELSON_COOKIE } : {}, told: (n) => console.log(`${n} runs`) });
  console.log(`experiment ${made.experiment}: ${made.runs.length} runs in ${((Date.now() - began) / 1000).toFixed(1)} s`);
}
