import { screen } from "@testing-library/react";
import user from "@testing-library/user-event";
import { describe, expect, it, vi } from "vitest";
import { parse } from "../api/live";
import { Problem } from "../api/problem";
import { findings, show } from "../test/show";
import { Action, ReasonAction } from "./Action";
import { binNames } from "./charts/HistogramPair";
import { LineChart } from "./charts/LineChart";
import { ticks } from "./charts/Figure";
import { toCSV } from "./csv";
import { ago, bytes, micros, number, short, span } from "./format";
import { ProblemNote } from "./Note";
import { pageOf, query } from "./url";
import { VerdictReasons } from "./Verdict";

it("a disabled action can be reached by keyboard and says why", async () => {
  const fn = vi.fn();
  show(<Action why="Only reviewers may." onClick={fn}>Approve</Action>);
  await user.tab();
  const button = screen.getByRole("button", { name: "Approve" });
  expect(document.activeElement).toBe(button);
  await user.keyboard("{Enter}");
  expect(fn).not.toHaveBeenCalled();
  expect(document.getElementById(button.getAttribute("aria-describedby")!)?.textContent).toBe("Only reviewers may.");
  expect(await findings()).toEqual([]);
});

it("an action with a reason is done once a reason is given, and its refusal is shown", async () => {
  const fn = vi.fn().mockRejectedValueOnce(new Problem({ status: 409, detail: "Somebody was faster." })).mockResolvedValue(null);
  show(<ReasonAction ask={{ title: "Roll back", confirm: "Do it", onConfirm: fn }}>Roll back</ReasonAction>);
  await user.click(screen.getByRole("button", { name: "Roll back" }));
  await user.click(await screen.findByRole("button", { name: "Do it" }));
  expect(fn).not.toHaveBeenCalled();
  await user.type(screen.getByLabelText(/Reason/), "It is wrong.");
  await user.click(screen.getByRole("button", { name: "Do it" }));
  expect((await screen.findByRole("alert")).textContent).toContain("Somebody was faster.");
  await user.click(screen.getByRole("button", { name: "Do it" }));
  expect(fn).toHaveBeenLastCalledWith("It is wrong.");
});

describe("ProblemNote", () => {
  it("shows detail, fields and request id", async () => {
    show(<ProblemNote problem={new Problem({ status: 422, title: "Unprocessable", detail: "Two rules are broken.", request: "req-9", errors: [{ field: "age", detail: "is below 0 in row 7" }] })} />);
    const text = screen.getByRole("alert").textContent!;
    for (const part of ["Refused", "Two rules are broken.", "age", "is below 0 in row 7", "req-9"]) expect(text).toContain(part);
    expect(screen.getByRole("button", { name: "Copy details" })).toBeTruthy();
    expect(await findings()).toEqual([]);
  });

  it("explains a lost connection", () => {
    show(<ProblemNote problem={new TypeError("Failed to fetch")} />);
    expect(screen.getByRole("alert").textContent).toContain("The server did not answer.");
  });

  it("shows nothing without a problem", () => {
    show(<ProblemNote problem={null} />);
    expect(screen.queryByRole("alert")).toBeNull();
  });
});

it.each([["yes", "Healthy"], ["watch", "Warning"], ["no", "Failing"], ["unknown", "Unknown"]] as const)("verdict %s is the word %s with its reasons", (verdict, word) => {
  show(<VerdictReasons verdict={{ verdict, reasons: ["Because."] }} />);
  expect(screen.getByText(word)).toBeTruthy();
  expect(screen.getByText("Because.")).toBeTruthy();
});

it("a line chart reads its values to the keyboard and leaves gaps as gaps", async () => {
  const { container } = show(<LineChart title="Accuracy" file="a" x={["#1", "#2", "#3"]} series={[{ name: "accuracy", values: [0.9, null, 0.8] }]} />);
  screen.getByRole("img", { name: /Accuracy/ }).focus();
  await user.keyboard("{ArrowRight}{ArrowRight}{ArrowRight}");
  expect(screen.getByText("#3: accuracy 0.800")).toBeTruthy();
  expect(container.querySelector("path")!.getAttribute("d")!.match(/M/g)).toHaveLength(2);
});

describe("words and numbers", () => {
  it("names bins between edges and beyond them", () => {
    expect(binNames([0, 1, 2], 2)).toEqual(["0 – 1", "1 – 2"]);
    expect(binNames([0, 1], 3)).toEqual(["≤ 0", "0 – 1", "> 1"]);
    expect(binNames([], 1, ["benign"])).toEqual(["benign"]);
  });
  it("chooses round ticks", () => expect(ticks(0, 0.37, 3)).toEqual([0, 0.2]));
  it("writes CSV that a spreadsheet neither splits nor runs", () => expect(toCSV(["a", "b"], [["x,\"y\"", "=1+1"], [-3, null]])).toBe('a,b\r\n"x,""y""",\'=1+1\r\n-3,\r\n'));
  it("shortens ids and digests", () => {
    expect(short("sha256:abcdef0123456789")).toBe("abcdef01");
    expect(short("01k2run000000000000abcdefg")).toBe("0abcdefg".slice(0, 8));
  });
  it("tells sizes and times", () => {
    expect([bytes(999), bytes(184332), span(850), span(64_000), micros(312), number(1e-9), number(null)]).toEqual(["999 B", "184 kB", "850 ms", "1 min 04 s", "312 µs", "1.0e-9", "–"]);
    expect(ago("2026-03-02T10:00:00Z", Date.parse("2026-03-02T10:03:00Z"))).toBe("3 minutes ago");
  });
  it("finds the page of an object", () => {
    expect(pageOf("model/screening/3")).toBe("/models/screening/versions/3");
    expect(pageOf("approval/r1")).toBe("/approvals/r1");
    expect(pageOf("nothing")).toBeUndefined();
  });
  it("builds a query of what is set", () => expect(query({ a: "1", b: "", c: undefined })).toBe("?a=1"));
});

describe("the live stream", () => {
  it("reads an event", () => expect(parse('id: 5\nevent: approval.voted\ndata: {"type":"approval.voted","subject":"approval/r1"}')).toEqual({ id: "5", type: "approval.voted", subject: "approval/r1" }));
  it("passes over heartbeats and what is not JSON", () => {
    expect(parse(": ping")).toBeNull();
    expect(parse("data: nonsense")).toBeNull();
  });
});
