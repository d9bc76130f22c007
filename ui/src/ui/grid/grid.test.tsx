import { fireEvent, screen, waitFor } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { useState } from "react";
import { beforeEach, describe, expect, it, vi } from "vitest";
import { findings, me, serve, show } from "../../test/show";
import { Chooser } from "./Chooser";
import { joinKeys, joinWidths, moved, ordered, placed, splitKeys, splitWidths, visibleColumns, widthsOf, type GridColumn, type Layout } from "./columns";
import { FilterQuery } from "./FilterQuery";
import { Grid } from "./Grid";
import { clauses, containing, isQuery, named, without } from "./query";
import { useSelection } from "./selection";
import { SelectionBar } from "./Toolbar";
import { readViews, Views, writeViews } from "./Views";

interface Row { id: string; values: number[] }
const rows: Row[] = Array.from({ length: 10_000 }, (_, i) => ({ id: `r${i}`, values: Array.from({ length: 30 }, (_, k) => i * 100 + k) }));
const columns: GridColumn<Row>[] = [{ key: "id", head: "Run", sort: "name", cell: (r) => r.id }, ...Array.from({ length: 30 }, (_, k): GridColumn<Row> => ({ key: `m${k}`, head: `Metric ${k}`, right: true, sort: `metrics.m${k}`, cell: (r) => r.values[k] }))];
const layout: Layout = { keys: columns.map((c) => c.key), pinned: ["id"], widths: {} };

beforeEach(() => {
  // happy-dom lays nothing out: the frame is as large as we say.
  for (const side of ["offsetHeight", "clientHeight"] as const) vi.spyOn(HTMLElement.prototype, side, "get").mockReturnValue(600);
  for (const side of ["offsetWidth", "clientWidth"] as const) vi.spyOn(HTMLElement.prototype, side, "get").mockReturnValue(1000);
  vi.spyOn(HTMLElement.prototype, "getBoundingClientRect").mockReturnValue({ width: 1000, height: 600, top: 0, left: 0, right: 1000, bottom: 600, x: 0, y: 0, toJSON: () => ({}) });
  return () => vi.restoreAllMocks();
});

function Bench({ onSort = () => undefined, start = layout }: { onSort?: (s: string) => void; start?: Layout }) {
  const [now, set] = useState(start);
  const selection = useSelection("sel");
  return <><SelectionBar selection={selection} total={12_345} loaded={rows.length} status="all"><span>acts</span></SelectionBar><Grid label="Runs" rows={rows} columns={columns} layout={now} setLayout={set} rowKey={(r) => r.id} rowName={(r) => r.id} href={(r) => `/runs/${r.id}`} total={12_345} onSort={onSort} selection={selection} /></>;
}

const press = (key: string, more: object = {}) => fireEvent.keyDown(screen.getByRole("grid"), { key, ...more });

describe("the grid", () => {
  it("draws a small part of 10,000 rows and 31 columns and says how many there are", async () => {
    show(<Bench />);
    const grid = screen.getByRole("grid", { name: "Runs" });
    expect(grid.getAttribute("aria-rowcount")).toBe("12346");
    expect(grid.getAttribute("aria-colcount")).toBe("32");
    const cells = grid.querySelectorAll("[role=gridcell]").length;
    expect(cells).toBeGreaterThan(50);
    expect(cells).toBeLessThan(1000);
    expect(await findings()).toEqual([]);
  });
  it("moves by arrows, Home and End, with one tab stop", () => {
    show(<Bench />);
    const grid = screen.getByRole("grid");
    press("ArrowDown"); press("ArrowDown"); press("ArrowRight");
    const current = () => document.getElementById(grid.getAttribute("aria-activedescendant") ?? "");
    expect(current()?.textContent).toBe("200");
    press("Home");
    expect(current()?.textContent).toBe("r2");
    press("ArrowUp"); press("ArrowUp"); press("ArrowUp");
    expect(current()?.getAttribute("role")).toBe("columnheader");
    expect([...grid.querySelectorAll("a, button, input")].every((n) => (n as HTMLElement).tabIndex < 0)).toBe(true);
  });
  it("sorts from the head by Enter: up, then down, then not", () => {
    const onSort = vi.fn();
    show(<Bench onSort={onSort} />);
    press("ArrowUp"); press("ArrowRight"); press("Enter");
    expect(onSort).toHaveBeenCalledWith("metrics.m0");
  });
  it("selects by Space and a range by Shift, offers all that match, and keeps the choice in the address", () => {
    show(<Bench />);
    press(" ");
    expect(screen.getByText("1 selected")).toBeTruthy();
    press("ArrowDown"); press("ArrowDown"); press(" ", { shiftKey: true });
    expect(screen.getByText("3 selected")).toBeTruthy();
    expect(new URLSearchParams(location.search).get("sel")).toBe("r0,r1,r2");
    fireEvent.click(screen.getByRole("checkbox", { name: "Select the 10000 loaded rows" }));
    fireEvent.click(screen.getByRole("button", { name: "Select all 12,345 matching" }));
    expect(screen.getByText("All 12,345 matching selected")).toBeTruthy();
    press("Escape");
    expect(screen.getByText("all")).toBeTruthy();
  });
  it("opens a row by Enter, and every row is a link", () => {
    show(<Bench />);
    expect(screen.getByRole("link", { name: "r3" }).getAttribute("href")).toBe("/runs/r3");
  });
  it("moves and widens a column by keys in the head", () => {
    show(<Bench />);
    press("ArrowUp"); press("ArrowRight"); press("ArrowRight", { ctrlKey: true });
    const heads = () => screen.getAllByRole("columnheader").map((h) => h.textContent).slice(1, 4);
    expect(heads()).toEqual(["Run", "Metric 1", "Metric 0"]);
    const width = () => parseInt(screen.getByRole("columnheader", { name: "Metric 0" }).style.width);
    const before = width();
    press("ArrowRight", { shiftKey: true });
    expect(width()).toBe(before + 16);
  });
  it("copies the selected rows with their heads, separated by tabs", () => {
    show(<Bench start={{ keys: ["id", "m0", "m1"], pinned: ["id"], widths: {} }} />);
    press(" "); press("ArrowDown"); press(" ");
    const data = new Map<string, string>();
    const event = new Event("copy", { bubbles: true, cancelable: true });
    Object.assign(event, { clipboardData: { setData: (k: string, v: string) => data.set(k, v) } });
    fireEvent(screen.getByRole("grid"), event);
    expect(data.get("text/plain")).toBe("Run\tMetric 0\tMetric 1\nr0\t0\t1\nr1\t100\t101");
  });
});

describe("columns", () => {
  it.each([[["a", "metrics.x,y", "p:q", "100%"]], [["metrics.val/loss"]]])("come back from the address as they were: %j", (keys) => { expect(splitKeys(joinKeys(keys))).toEqual(keys); });
  it("keep widths within bounds", () => { expect(splitWidths(joinWidths({ a: 120, "b,c": 5000, d: 1 }))).toEqual({ a: 120, "b,c": 900, d: 56 }); });
  const l: Layout = { keys: ["a", "b", "c", "d"], pinned: ["c"], widths: {} };
  it("are drawn pinned ones first", () => { expect(ordered(l)).toEqual(["c", "a", "b", "d"]); });
  it("move among their own kind only", () => {
    expect(ordered(moved(l, "a", 1))).toEqual(["c", "b", "a", "d"]);
    expect(moved(l, "a", -1)).toBe(l);
    expect(moved(l, "d", 1)).toBe(l);
  });
  it("dropped on a pinned column become pinned", () => { const next = placed(l, "d", "c"); expect(ordered(next)).toEqual(["d", "c", "a", "b"]); });
  it("fill the frame with text columns, at most doubled", () => {
    expect(widthsOf([{ key: "a", width: 100 }, { key: "b", width: 100, right: true }], {}, 250)).toEqual([150, 100]);
    expect(widthsOf([{ key: "a", width: 100 }], {}, 900)).toEqual([200]);
    expect(widthsOf([{ key: "a", width: 100 }], { a: 80 }, 900)).toEqual([80]);
  });
  it("outside the frame are left out, one beyond each edge stays", () => {
    expect(visibleColumns([100, 100, 100, 100, 100, 100, 100, 100], 1, 0, 350)).toEqual([1, 5]);
    expect(visibleColumns([100, 100, 100, 100, 100, 100, 100, 100], 1, 300, 350)).toEqual([3, 8]);
  });
});

describe("the search language, as far as the page knows it", () => {
  it.each([
    ["metrics.a > 1 AND params.b = 'x AND y'", ["metrics.a > 1", "params.b = 'x AND y'"]], ["a = 1 and b IN ('p','q') AND c=2", ["a = 1", "b IN ('p','q')", "c=2"]], ["name = 'android'", ["name = 'android'"]], ["metrics.`x AND y` > 1", ["metrics.`x AND y` > 1"]], ["a = 'unfinished AND b", ["a = 'unfinished AND b"]], ["", []],
  ])("%s has the conditions %j", (text, want) => { expect(clauses(text).map((c) => c.text)).toEqual(want); });
  it("drops one condition", () => { expect(without("a = 1 AND b = 2 AND c = 3", 1)).toBe("a = 1 AND c = 3"); });
  it("tells words from conditions", () => { expect([isQuery("big run"), isQuery("metrics.a > 1"), isQuery("name like 'x'"), isQuery("android")]).toEqual([false, true, true, false]); });
  it("looks for plain words in a name", () => { expect(containing("attributes.run_name", "big o'neil")).toBe(`attributes.run_name ILIKE '%big%' AND attributes.run_name ILIKE "%o'neil%"`); });
  it("quotes keys that need it", () => { expect([named("auc"), named("val/loss")]).toEqual(["auc", "`val/loss`"]); });
});

describe("the filter box", () => {
  it("suggests, takes a suggestion by keyboard, applies by Enter and shows conditions to remove", async () => {
    const complete = vi.fn(async (text: string, at: number) => ({ from: 0, to: at, items: text.startsWith("met") && !text.includes(" ") ? [{ text: "metrics.auc " }, { text: "metrics.loss " }] : [] }));
    show(<FilterQuery name="filter" label="Filter runs" complete={complete} />);
    const box = screen.getByRole("combobox", { name: "Filter runs" });
    await userEvent.type(box, "met");
    await screen.findByRole("option", { name: "metrics.loss" });
    expect(box.getAttribute("aria-expanded")).toBe("true");
    expect(await findings()).toEqual([]);
    await userEvent.keyboard("{ArrowDown}{ArrowDown}{Enter}");
    expect((box as HTMLInputElement).value).toBe("metrics.loss ");
    await userEvent.type(box, "< 1 AND params.a = 'b'{Enter}");
    expect(new URLSearchParams(location.search).get("filter")).toBe("metrics.loss < 1 AND params.a = 'b'");
    await userEvent.click(screen.getByRole("button", { name: "Remove metrics.loss < 1" }));
    expect(new URLSearchParams(location.search).get("filter")).toBe("params.a = 'b'");
  });
});

describe("the column chooser", () => {
  const choices = [{ key: "name", head: "Run", group: "System" }, ...Array.from({ length: 60 }, (_, i) => ({ key: `metrics.m${i}`, head: `m${i}`, group: "Metrics" }))];
  function Choosing() {
    const [l, set] = useState<Layout>({ keys: ["name", "metrics.m1"], pinned: ["name"], widths: {} });
    return <><Chooser choices={choices} layout={l} setLayout={set} reset={() => undefined} /><output>{ordered(l).join(" ")}</output></>;
  }
  it("finds among many, adds, pins and moves", async () => {
    show(<Choosing />);
    fireEvent.click(screen.getByRole("button", { name: "Columns" }));
    const find = await screen.findByPlaceholderText("Find a column");
    const shown = () => document.querySelector("output")?.textContent;
    fireEvent.change(find, { target: { value: "m39" } });
    fireEvent.click(screen.getByLabelText("m39"));
    expect(shown()).toBe("name metrics.m1 metrics.m39");
    fireEvent.change(find, { target: { value: "" } });
    fireEvent.click(screen.getByLabelText("Move m39 forward"));
    expect(shown()).toBe("name metrics.m39 metrics.m1");
    fireEvent.click(screen.getByLabelText("Pin m1"));
    expect(shown()).toBe("name metrics.m1 metrics.m39");
  });
});

describe("saved views", () => {
  it("are kept per person and table, and the one marked as first opens", async () => {
    writeViews("rita", "runs", [{ name: "good ones", query: { filter: "metrics.auc > 0.9" }, start: true }]);
    expect(readViews("sam", "runs")).toEqual([]);
    serve({ "GET /api/v1/me": me([]) });
    show(<Views table="runs" params={["filter", "cols"]} />);
    await waitFor(() => expect(new URLSearchParams(location.search).get("filter")).toBe("metrics.auc > 0.9"));
    expect(screen.getByRole("button", { name: "View: good ones" })).toBeTruthy();
  });
  it("do not touch an address that already says something", async () => {
    history.replaceState(null, "", "/?filter=mine");
    writeViews("rita", "runs", [{ name: "good ones", query: { filter: "x" }, start: true }]);
    serve({ "GET /api/v1/me": me([]) });
    show(<Views table="runs" params={["filter", "cols"]} />);
    await userEvent.click(await screen.findByRole("button", { name: "View" }));
    await screen.findByText(/good ones/);
    expect(new URLSearchParams(location.search).get("filter")).toBe("mine");
  });
});
