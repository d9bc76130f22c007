import { screen, waitFor, within } from "@testing-library/react";
import user from "@testing-library/user-event";
import { describe, expect, it } from "vitest";
import { run } from "../../test/documents";
import { findings, me, serve, show } from "../../test/show";
import { LogView } from "./LogView";
import { StartRetraining } from "./Retrain";
import { RunPage, stepOf } from "./RunPage";
import { ranks } from "./StepGraph";

const id = run().id;

describe("LogView", () => {
  it("numbers lines, marks failures and finds text", async () => {
    const { container } = show(<LogView name="x" text={"one\n\u001b[31mError: two\u001b[0m\nthree\n"} live={false} />);
    expect([...container.querySelectorAll("li")].map((l) => l.textContent)).toEqual(["one", "Error: two", "three"]);
    expect(container.querySelector(".err")?.textContent).toBe("Error: two");
    await user.type(screen.getByLabelText("Find in the log"), "THREE");
    expect([...container.querySelectorAll("li")].map((l) => l.textContent)).toEqual(["three"]);
    expect(screen.getByText("1 of 3 lines")).toBeTruthy();
    expect(await findings()).toEqual([]);
  });

  it("draws the newest 2,000 of 10,000 lines", () => {
    const { container } = show(<LogView name="x" text={Array.from({ length: 10_000 }, (_, i) => `line ${i}`).join("\n")} live />);
    const lines = container.querySelectorAll("li");
    expect(lines).toHaveLength(2000);
    expect(lines[1999].textContent).toBe("line 9999");
    expect(screen.getByText(/10000 lines/)).toBeTruthy();
  });

  it("says that a silent step wrote nothing", () => {
    show(<LogView name="x" text="" live={false} />);
    expect(screen.getByText("The step wrote nothing.")).toBeTruthy();
  });
});

describe("RunPage", () => {
  const routes = (log: (offset: number) => unknown) => ({
    "GET /api/v1/me": me(["pipeline.run"]),
    [`GET /api/v1/pipeline-runs/${id}`]: run(),
    [`GET /api/v1/pipeline-runs/${id}/steps/train/log`]: (s: { query: URLSearchParams }) => log(Number(s.query.get("offset"))),
    [`POST /api/v1/pipeline-runs/${id}/retry`]: run({ state: "running" }),
  });

  it("opens the step that failed, with its cause and its log", async () => {
    serve(routes(() => ({ text: "out of memory\n", offset: 14, done: true })));
    show(<RunPage pipeline="screening" id={id} />);
    expect(await screen.findByText("The step used more than 512 MiB.")).toBeTruthy();
    expect(screen.getByText("Step train failed with exit code 137")).toBeTruthy();
    expect(await screen.findByText("out of memory")).toBeTruthy();
    expect(await findings()).toEqual([]);
  });

  it("reads a growing log from where it stopped", async () => {
    const parts = ["first\n", "second\n"];
    const asked: number[] = [];
    serve(routes((offset) => { asked.push(offset); return offset === 0 ? { text: parts[0], offset: 6, done: false } : { text: parts[1], offset: 13, done: true }; }));
    show(<RunPage pipeline="screening" id={id} />);
    expect(await screen.findByText("second")).toBeTruthy();
    expect(screen.getByText("first")).toBeTruthy();
    expect(asked).toEqual([0, 6]);
  });

  it("retries", async () => {
    const sent = serve(routes(() => ({ text: "", offset: 0, done: true })));
    show(<RunPage pipeline="screening" id={id} />);
    await user.click(await screen.findByRole("button", { name: "Retry from the failed step" }));
    await waitFor(() => expect(sent.some((s) => s.method === "POST" && s.path.endsWith("/retry"))).toBe(true));
  });
});

it("opens the step asked for, else the failed, else the running one", () => {
  const steps = run().steps!;
  expect(stepOf(steps, "register")?.name).toBe("register");
  expect(stepOf(steps, "")?.name).toBe("train");
  expect(stepOf([{ ...steps[0], state: "running" }, steps[2]], "no-such")?.name).toBe("check");
});

it("ranks steps by what they need, and ends on a cycle", () => {
  expect([...ranks([{ name: "a", needs: null }, { name: "b", needs: ["a"] }, { name: "c", needs: ["a", "b"] }])]).toEqual([["a", 0], ["b", 1], ["c", 2]]);
  expect(ranks([{ name: "a", needs: ["b"] }, { name: "b", needs: ["a"] }]).size).toBe(2);
});

describe("retraining", () => {
  const routes = (rights: string[]) => ({ "GET /api/v1/me": me(rights), "GET /api/v1/pipelines": { items: [{ name: "other", model: "prices", steps: [] }, { name: "nightly", model: "screening", steps: [{ name: "check" }, { name: "train" }] }] } });

  it("starts the pipeline that was suggested, after saying what it does, and closes", async () => {
    const sent = serve({ ...routes(["pipeline.run"]), "POST /api/v1/pipelines/nightly/runs": { id: "r9", pipeline: "nightly" } });
    show(<StartRetraining model="screening" suggested="nightly" />);
    await user.click(screen.getByRole("button", { name: "Start retraining…" }));
    const dialog = within(await screen.findByRole("dialog", { name: "Train screening again" }));
    expect(((await dialog.findByLabelText("Pipeline")) as HTMLSelectElement).value).toBe("nightly");
    expect(dialog.getByText("It runs on the newest version of its data: check, train.")).toBeTruthy();
    expect(await findings()).toEqual([]);
    await user.click(dialog.getByRole("button", { name: "Start now" }));
    await waitFor(() => expect(sent.find((s) => s.method === "POST")?.path).toBe("/api/v1/pipelines/nightly/runs"));
    await waitFor(() => expect(screen.queryByRole("dialog")).toBeNull());
  });

  it("chooses a pipeline of the model itself, and none where there is only one of another", async () => {
    serve(routes(["pipeline.run"]));
    const { unmount } = show(<StartRetraining model="screening" />);
    await user.click(screen.getByRole("button", { name: "Start retraining…" }));
    expect(((await screen.findByLabelText("Pipeline")) as HTMLSelectElement).value).toBe("nightly");
    unmount();
    const sent = serve({ ...routes(["pipeline.run"]), "POST /api/v1/pipelines/other/runs": { id: "r9", pipeline: "other" } });
    show(<StartRetraining model="readmission" />);
    await user.click(screen.getByRole("button", { name: "Start retraining…" }));
    const dialog = within(await screen.findByRole("dialog"));
    expect(((await dialog.findByLabelText("Pipeline")) as HTMLSelectElement).value).toBe("");
    await user.click(dialog.getByRole("button", { name: "Start now" }));
    expect(sent.some((s) => s.method === "POST")).toBe(false);
    await user.selectOptions(dialog.getByLabelText("Pipeline"), "other");
    await user.click(dialog.getByRole("button", { name: "Start now" }));
    await waitFor(() => expect(sent.find((s) => s.method === "POST")?.path).toBe("/api/v1/pipelines/other/runs"));
  });

  it("tells who may not start one why", async () => {
    serve(routes(["pipeline.read"]));
    show(<StartRetraining model="screening" />);
    await waitFor(() => expect(screen.getByRole("button", { name: "Start retraining…" }).getAttribute("aria-disabled")).toBe("true"));
    expect(screen.getByRole("button", { name: "Start retraining…" }).getAttribute("aria-describedby")).toBeTruthy();
  });
});
