import { screen, waitFor } from "@testing-library/react";
import user from "@testing-library/user-event";
import { describe, expect, it } from "vitest";
import { run } from "../../test/documents";
import { findings, me, serve, show } from "../../test/show";
import { LogView } from "./LogView";
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
