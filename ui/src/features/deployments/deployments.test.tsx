import { fireEvent, screen, waitFor, within } from "@testing-library/react";
import user from "@testing-library/user-event";
import { beforeEach, describe, expect, it } from "vitest";
import type { CallForm, Deployment, FormField, TrafficDocument, TrafficSummary } from "../../api/types";
import { findings, me, refusal, serve, show } from "../../test/show";
import { changes, charts } from "./charts";
import { DeploymentPage } from "./DeploymentPage";
import { DeploymentsPage } from "./DeploymentsPage";
import { fault, fieldOf, filled, outside, program, requestOf } from "./request";

const deployment = (endpoint: string, more: Partial<Deployment> = {}): Deployment => ({
  id: endpoint, endpoint, environment: "prod", model: "screening", state: "live", slots: [{ version: 2, kind: "live", share: 100 }], previous: { version: 1 }, rollout: null as unknown as Deployment["rollout"], serial: 3, durability: "group", limits: {} as Deployment["limits"], redact: ["hash:postcode", "name"], request: "r1",
  updated_at: "2026-03-02T10:00:00Z", change: { at: "2026-03-02T10:00:00Z", by: "mira", act: "rolled-back" }, expires_at: "2026-03-09T10:00:00Z", url: `/v2/models/${endpoint}/infer`, words: "", sealed: true, releases: [], ...more,
});
const figures = { calls: 120, rows: 120, errors: 6, refused: 2, dropped: 0, p50_us: 400, p95_us: 2100, p99_us: 4000 };
const summary = (endpoint: string, more: Partial<TrafficSummary> = {}): TrafficSummary => ({ endpoint, hour: figures, rate: 0.5, spark: [0, 0, 0, 0, 0, 0, 0, 0, 10, 40, 60, 10], nodes: 2, troubled: 0, engines: ["xgboost"], ...more });
const since = "2026-03-02T10:00:00Z";
const traffic = (more: Partial<TrafficDocument> = {}): TrafficDocument => ({
  endpoint: "scores", since, until: "2026-03-02T10:01:00Z", step: 20, waiting: [0, 4, 0], missed: { model: [0, 3, 0], queue: [0, 2, 0] }, total: figures, nodes: [{ name: "host-a", seen_at: since, endpoint: "scores", release: 3, state: "live", since, slots: [{ version: 2, kind: "live", share: 100, engine: "xgboost", format: "xgboost" }] }],
  series: [{ version: 2, slot: "live", calls: [10, 20, 30], errors: [0, 3, 0], p50_us: [400, 500, null as unknown as number], p95_us: [900, 1000, null as unknown as number], p99_us: [900, 1000, null as unknown as number], batch_rows: [1, 2, null as unknown as number], total: figures }], ...more,
});
const field = (name: string, more: Partial<FormField> = {}): FormField => ({ name, input: "features", place: 0, datatype: "FP32", example: 41, ...more });
const form = (more: Partial<CallForm> = {}): CallForm => ({
  endpoint: "scores", model: "screening", version: 2, golden: true, limit: 1e-6, outputs: [{ name: "score", datatype: "FP64", shape: [-1] }],
  inputs: [{ name: "features", datatype: "FP32", shape: [-1, 2], columns: ["age", "income"] }, { name: "city", datatype: "BYTES", shape: [-1] }, { name: "limit", datatype: "INT64", shape: [-1], optional: true }],
  fields: [field("age", { min: 18, max: 90 }), field("income", { place: 1, example: null as unknown as number }), field("city", { input: "city", datatype: "BYTES", example: "Oslo", choices: ["Lyon", "Oslo"] }), field("limit", { input: "limit", datatype: "INT64", optional: true, example: null as unknown as number })],
  example: [{ name: "features", shape: [1, 2], datatype: "FP32", data: [41, null] }], ...more,
});

beforeEach(() => history.replaceState(null, "", "/deployments"));

describe("the table of deployments", () => {
  it("tells the split, latency, errors, processes and the last change of each", async () => {
    serve({ "GET /api/v1/me": me(["deployment.operate"]), "GET /api/v1/deployments": { items: [deployment("scores", { slots: [{ version: 2, kind: "live", share: 90 }, { version: 3, kind: "canary", share: 10 }] }), deployment("quiet", { model: "other", previous: null as unknown as Deployment["previous"] })] }, "GET /api/v1/traffic": { items: [summary("scores", { troubled: 1 })] } });
    show(<DeploymentsPage />);
    const row = (await screen.findByRole("link", { name: "scores" })).closest("tr")!;
    await within(row).findByText("0.5/s");
    expect(row.textContent).toContain("v2 live 90 %");
    expect(row.textContent).toContain("v3 canary 10 %");
    expect(row.textContent).toContain("400 µs");
    expect(row.textContent).toContain("2.10 ms");
    expect(row.textContent).toContain("4.8 %");
    expect(row.textContent).toContain("2 refused");
    expect(row.textContent).toContain("1 of 2 not as released");
    expect(row.textContent).toContain("rolled back by mira");
    expect(within(row).getByRole("img", { name: /120 in all, at most 60/ })).toBeTruthy();
    expect(within(row).getByRole("button", { name: "Roll back" })).toBeTruthy();
    const quiet = screen.getByRole("link", { name: "quiet" }).closest("tr")!;
    expect(within(quiet).queryByRole("button", { name: "Roll back" })).toBeNull();
    expect(quiet.textContent).toContain("no calls");
    expect(quiet.textContent).toContain("nowhere");
    expect(await findings()).toEqual([]);
  });

  it("is filtered by words, and says so when nothing is left", async () => {
    serve({ "GET /api/v1/me": me([]), "GET /api/v1/deployments": { items: [deployment("scores"), deployment("quiet", { model: "other" })] }, "GET /api/v1/traffic": { items: [] } });
    show(<DeploymentsPage />);
    await screen.findByRole("link", { name: "scores" });
    await user.type(screen.getByLabelText("Find an endpoint, model or version"), "other v2");
    await waitFor(() => expect(screen.queryByRole("link", { name: "scores" })).toBeNull());
    expect(screen.getByText("1 of 2 deployments")).toBeTruthy();
    await user.type(screen.getByLabelText("Find an endpoint, model or version"), "9");
    expect(await screen.findByText("No deployment matches the filters.")).toBeTruthy();
    await user.click(screen.getByRole("button", { name: "Remove filters" }));
    expect(await screen.findByRole("link", { name: "scores" })).toBeTruthy();
  });

  it("stays when only the figures fail", async () => {
    serve({ "GET /api/v1/me": me([]), "GET /api/v1/deployments": { items: [deployment("scores")] }, "GET /api/v1/traffic": refusal(403, "You may not.") });
    show(<DeploymentsPage />);
    expect(await screen.findByRole("link", { name: "scores" })).toBeTruthy();
    expect(await screen.findByText("You may not.")).toBeTruthy();
  });
});

describe("the page of a deployment", () => {
  const routes = { "GET /api/v1/me": me(["deployment.operate", "predict", "prediction.read"]), "GET /api/v1/deployments/scores": deployment("scores"), "GET /api/v1/deployments/scores/traffic": traffic(), "GET /api/v1/deployments/scores/form": form(),
    "GET /api/v1/deployments/scores/log": { items: [{ id: "l2", at: since, endpoint: "scores", level: "error", message: "a model failed", node: "host-a", fields: { version: 2, error: "it broke" } }] } };

  it("shows figures, a chart for each question and the processes", async () => {
    serve(routes);
    show(<DeploymentPage endpoint="scores" />);
    expect(await screen.findByRole("heading", { name: "Calls answered per second" })).toBeTruthy();
    for (const title of ["Latency of v2 live, ms", "Calls without an answer, per minute", "Refused per minute, and most calls waiting", "Rows computed at once, on average"]) expect(screen.getByRole("heading", { name: title })).toBeTruthy();
    expect(screen.getByRole("table", { name: "Processes that serve it" }).textContent).toContain("host-a");
    expect(screen.getByText("Longest queue").nextElementSibling?.textContent).toBe("4");
    expect(await findings()).toEqual([]);
  });

  it("stands still when paused, and asks for another span", async () => {
    const sent = serve(routes);
    show(<DeploymentPage endpoint="scores" />);
    await screen.findByRole("heading", { name: "Calls answered per second" });
    fireEvent.change(screen.getByLabelText("Time range"), { target: { value: "7d" } });
    await waitFor(() => expect(sent.some((x) => x.path.endsWith("/traffic") && Date.parse(x.query.get("until")!) - Date.parse(x.query.get("since")!) === 7 * 864e5)).toBe(true));
    await user.click(screen.getByRole("button", { name: "Pause" }));
    expect(await screen.findByText(/Paused at/)).toBeTruthy();
  });

  it("says that nothing failed where nothing did", async () => {
    serve({ ...routes, "GET /api/v1/deployments/scores/traffic": traffic({ missed: {}, waiting: [0, 0, 0], series: [], nodes: [] }) });
    show(<DeploymentPage endpoint="scores" />);
    expect(await screen.findByText("Every call of this time was answered.")).toBeTruthy();
    expect(screen.getByText("No call was refused or had to wait.")).toBeTruthy();
    expect(screen.getByText(/No process has told/)).toBeTruthy();
  });

  it("asks from the fields and shows the answer with its record", async () => {
    history.replaceState(null, "", "/deployments/scores?tab=try");
    const sent = serve({ ...routes, "POST /v2/models/scores/infer": { model_name: "scores", model_version: "2", outputs: [{ name: "score", datatype: "FP64", shape: [1], data: [0.25] }], parameters: { prediction_id: "p00000000000000000000000001" } } });
    show(<DeploymentPage endpoint="scores" />);
    const age = await screen.findByLabelText(/^age/);
    expect((age as HTMLInputElement).value).toBe("41");
    expect((screen.getByLabelText(/^city/) as HTMLSelectElement).value).toBe("Oslo");
    await user.clear(age);
    await user.type(age, "120");
    expect(screen.getByText(/Outside of 18 to 90/)).toBeTruthy();
    await user.click(screen.getByRole("button", { name: "Send" }));
    expect(await screen.findByText("0.25")).toBeTruthy();
    expect(sent.find((x) => x.method === "POST")?.body).toEqual({ inputs: [{ name: "features", shape: [1, 2], datatype: "FP32", data: [120, null] }, { name: "city", shape: [1], datatype: "BYTES", data: ["Oslo"] }] });
    expect(screen.getByRole("link", { name: "See it in the log" }).getAttribute("href")).toBe("/predictions/p00000000000000000000000001");
    expect(await findings()).toEqual([]);
  });

  it("does not send what is no number, and shows a refusal at the field it names", async () => {
    history.replaceState(null, "", "/deployments/scores?tab=try");
    const sent = serve({ ...routes, "POST /v2/models/scores/infer": () => ({ problem: { status: 400, error: 'The value of "income" is missing (at inputs[0].data[1]).' } }) });
    show(<DeploymentPage endpoint="scores" />);
    const age = await screen.findByLabelText(/^age/);
    await user.clear(age);
    await user.type(age, "old");
    await user.click(screen.getByRole("button", { name: "Send" }));
    expect(await screen.findByText("This is not a number.")).toBeTruthy();
    expect(sent.some((x) => x.method === "POST")).toBe(false);
    await user.clear(age);
    await user.type(age, "50");
    await user.click(screen.getByRole("button", { name: "Send" }));
    const income = screen.getByLabelText(/^income/);
    await waitFor(() => expect(income.getAttribute("aria-invalid")).toBe("true"));
    expect(screen.getAllByText(/is missing \(at inputs/).length).toBe(2);
  });

  it("takes tensors as JSON where no form can be made", async () => {
    history.replaceState(null, "", "/deployments/scores?tab=try");
    serve({ ...routes, "GET /api/v1/deployments/scores/form": form({ fields: [], golden: false }) });
    show(<DeploymentPage endpoint="scores" />);
    const body = (await screen.findByLabelText("Request (Open Inference Protocol v2)")) as HTMLTextAreaElement;
    expect(JSON.parse(body.value)).toEqual({ inputs: form().example });
    await user.type(body, "x");
    await user.click(screen.getByRole("button", { name: "Send" }));
    expect(await screen.findByText(/This is not JSON/)).toBeTruthy();
  });

  it("says which right is missing", async () => {
    history.replaceState(null, "", "/deployments/scores?tab=try");
    serve({ ...routes, "GET /api/v1/me": me(["deployment.read"]) });
    show(<DeploymentPage endpoint="scores" />);
    expect(await screen.findByText(/lacks the right "predict"/)).toBeTruthy(); // once it is known who is signed in
    expect(screen.getByRole("button", { name: "Send" }).getAttribute("aria-disabled")).toBe("true");
  });

  it("reads the log, and filters it on the server", async () => {
    history.replaceState(null, "", "/deployments/scores?tab=log");
    const sent = serve(routes);
    show(<DeploymentPage endpoint="scores" />);
    const table = await screen.findByRole("table", { name: "Log lines, newest first" });
    expect(table.textContent).toContain("a model failed");
    expect(table.textContent).toContain("error=it broke");
    fireEvent.change(screen.getByLabelText("Level"), { target: { value: "error" } });
    await waitFor(() => expect(sent.some((x) => x.path.endsWith("/log") && x.query.get("level") === "error")).toBe(true));
    expect(await findings()).toEqual([]);
  });
});

describe("a request", () => {
  it("keeps missing values and leaves out what is optional and empty", () => {
    expect(filled(form())).toEqual({ "features[0]": "41", "features[1]": "", "city[0]": "Oslo", "limit[0]": "" });
    expect(requestOf(form(), { ...filled(form()), "limit[0]": "7" }, true)).toEqual({ inputs: [{ name: "features", shape: [1, 2], datatype: "FP32", data: [41, null] }, { name: "city", shape: [1], datatype: "BYTES", data: ["Oslo"] }, { name: "limit", shape: [1], datatype: "INT64", data: [7] }], parameters: { explain: true } });
  });
  it("knows what is wrong before it is sent", () => {
    const whole = field("n", { datatype: "INT64" });
    expect([fault(whole, "1.5"), fault(whole, ""), fault({ ...whole, optional: true }, ""), fault(field("x"), "1e3"), fault(field("x"), "")]).toEqual(["This is not a whole number.", "A whole number cannot be missing.", undefined, undefined, undefined]);
    expect(outside(field("age", { min: 18, max: 90 }), "17")).toMatch(/Outside/);
    expect(outside(field("age", { min: 18, max: 90 }), "18")).toBeUndefined();
  });
  it("finds the field that a refusal names", () => {
    const r = requestOf(form(), filled(form()), false);
    expect(fieldOf(form(), r, "inputs[0].data[1]", "")).toBe("features[1]");
    expect(fieldOf(form(), r, "inputs[1].data", "")).toBe("city[0]");
    expect(fieldOf(form(), r, 'inputs[0] "features"', 'Value 1 of tensor "features" is 1e+300, which FP32 cannot hold (at inputs[0] "features").')).toBe("features[1]");
    expect(fieldOf(form(), r, undefined, 'Input "city" is of the wrong type.')).toBe("city[0]");
    expect(fieldOf(form(), r, undefined, "Something else.")).toBeUndefined();
  });
  it("is written as programs, with what programs would trip over", () => {
    const odd = { inputs: [{ name: "city", shape: [1], datatype: "BYTES", data: ["L'Aquila `x`"] }, { name: "x", shape: [1, 2], datatype: "FP64", data: [null, 2] }] };
    const t = { server: "https://models.example:8443", path: "/w/lab/v2/models/scores/infer", endpoint: "scores", version: "2", outputs: ["score"] };
    expect(program("curl", odd, t)).toContain("L'\\''Aquila");
    expect(program("requests", odd, t)).toContain('"data": [None, 2]');
    expect(program("triton", odd, t)).toContain('InferenceServerClient("models.example:8443/w/lab", ssl=True)');
    expect(program("triton", odd, t)).toContain('np.array([float("nan"), 2], dtype=np.float64).reshape([1,2])');
    expect(program("go", odd, t)).toContain('strings.NewReader("{');
  });
});

describe("the curves", () => {
  it("are rates per second, latencies in ms and what became of the rest by cause", () => {
    const all = charts(traffic(), deployment("scores"));
    expect(charts(traffic({ series: [{ ...traffic().series![0], version: 5 }, ...traffic().series!] }), deployment("scores"))[0].curves[1].place).toBe(all[0].curves[0].place);
    expect(all.map((c) => c.key)).toEqual(["rate", "latency", "errors", "queue", "batch"]);
    expect(all[0].curves[0].ys).toEqual([0.5, 1, 1.5]);
    expect(all[1].curves[0].ys).toEqual([0.4, 0.5, null]);
    expect(all[2].curves.map((c) => [c.name, c.ys[1]])).toEqual([["model failed", 9]]);
    expect(all[3].curves.map((c) => [c.name, c.ys[1]])).toEqual([["refused: queue full", 6], ["waiting", 4]]);
  });
  it("are marked where what answers changed, not where a release was signed anew", () => {
    const release = (serial: number, share: number, state = "live") => ({ serial, state, slots: [{ version: 2, kind: "live" as const, share }], request: "", issued_at: `2026-03-02T10:0${serial}:00Z`, expires_at: since, signed: true });
    expect(changes([release(4, 100, "suspended"), release(3, 90), release(2, 100), release(1, 100)]).map((x) => x.label)).toEqual(["v2", "v2 90 %", "suspended"]);
    expect(changes([release(9, 100), release(8, 100)])).toEqual([]);
  });
});
