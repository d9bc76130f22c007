import { describe, expect, it } from "vitest";
import { colourOf, most, places } from "./colours";
import { curveOf, elapsed, extent, lonely, smooth, stepsWithin, valueAt } from "./curve";

const points = { steps: [0, 1, 2, 3], times: ["2026-03-02T10:00:00Z", "2026-03-02T10:00:10Z", "2026-03-02T10:00:20Z", "2026-03-02T10:00:40Z"], values: [4, "NaN", 2, 1] };

describe("a curve", () => {
  it("keeps the place of what is no number as a gap", () => { const c = curveOf("r", "r", points, "step"); expect(c.ys).toEqual([4, null, 2, 1]); expect(c.gaps).toEqual([1]); });
  it("over elapsed time begins at zero, or where it is told", () => {
    expect(curveOf("r", "r", points, "relative").xs).toEqual([0, 10, 20, 40]);
    expect(curveOf("r", "r", points, "relative", undefined, Date.parse("2026-03-02T09:59:50Z") / 1000).xs).toEqual([10, 20, 30, 50]);
  });
  it("is sorted by what is along the axis", () => { expect(curveOf("r", "r", { steps: [2, 0, 1], times: [], values: [3, 1, 2] }, "step").ys).toEqual([1, 2, 3]); });
  it("answers no value before its start, in a gap and after its end", () => { const c = curveOf("r", "r", points, "step"); expect([valueAt(c, -1), valueAt(c, 0), valueAt(c, 1), valueAt(c, 2.5), valueAt(c, 4)]).toEqual([null, 4, null, 2, null]); });
});

describe("a point", () => {
  const gap = undefined;
  it.each([
    ["alone between gaps is lonely", [null, 3, null], [1]], ["alone in all is lonely", [3], [0]], ["at either end beside a gap is lonely", [1, null, 2, 3, null, 4], [0, 5]],
    ["with a neighbour is not", [1, 2, null, 3, 4], []], ["looks past the places of other curves", [1, gap, 2, gap, null, gap, 3, gap], [6]], ["is not there in an empty curve", [], []],
  ])("%s", (_, ys, want) => expect(lonely(ys)).toEqual(want));
});

describe("smoothing", () => {
  it("of weight 0 changes nothing", () => { expect(smooth([1, null, 3], 0)).toEqual([1, null, 3]); });
  it("leaves a level line level from its first point on", () => { for (const y of smooth([5, 5, 5, 5], 0.9)) expect(y).toBeCloseTo(5, 12); });
  it("keeps gaps", () => { expect(smooth([1, null, 1], 0.5)[1]).toBeNull(); });
});

describe("ranges", () => {
  it("of values leave out what is below zero where the scale is logarithmic", () => { const c = { ...curveOf("r", "r", { steps: [0, 1, 2], times: null, values: [-1, 0.5, 8] }, "step") }; expect(extent([c], true)).toEqual([0.5, 8]); expect(extent([c], false)).toEqual([-1, 8]); });
  it("of time become the steps that reach over them", () => { expect(stepsWithin(points, "relative", 12, 30)).toEqual([1, 3]); });
  it("of steps are whole", () => { expect(stepsWithin(points, "step", 0.4, 2.2)).toEqual([0, 3]); });
});

describe("colours", () => {
  const ids = Array.from({ length: 30 }, (_, i) => `run-${i * 7919}`);
  it("are never given twice and never to more than eight", () => { const p = places(ids); expect(p.size).toBe(most); expect(new Set(p.values()).size).toBe(most); });
  it("stay with a run when another is taken away after it", () => { expect(places(ids.slice(0, 4)).get(ids[2])).toBe(places(ids.slice(0, 3)).get(ids[2])); });
  it("of the rest are grey", () => { expect(colourOf(places(ids).get(ids[20]))).toBe("var(--k-strong)"); });
});

it.each([[0, "0 s"], [90, "90 s"], [600, "10 min"], [90_000, "25 h"], [-5, "-5 s"]])("%d seconds read %s", (s, want) => { expect(elapsed(s)).toBe(want); });
