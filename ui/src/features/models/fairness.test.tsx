import { screen, within } from "@testing-library/react";
import { expect, it } from "vitest";
import { findings, serve, show } from "../../test/show";
import { Fairness } from "./Fairness";
import { VersionPage } from "./VersionPage";
import type { Evaluation, Version } from "./types";

type Report = NonNullable<NonNullable<Evaluation["tests"]>[number]["fairness"]>;
const group = (name: string, rows: number, selection_rate: number | null, small = false) => ({ name: `region ${name}`, values: [name], rows, small, selection_rate, tpr: 0.8, fpr: 0.1, precision: null });
const report = (more: Partial<Report> = {}): Report => ({
  measure: "demographic_parity_difference", label: "demographic parity difference", kind: "difference", rate: "selection_rate", columns: ["region"], value: 0.12, limit: 0.1, ok: false, highest: "region north", lowest: "region south", min_rows: 30, more: 0,
  groups: [group("north", 100, 0.41), group("south", 100, 0.29), group("west", 12, 0.5, true)], detail: "Of region north 41 % are chosen, of region south 29 %: a difference of 0.12, allowed is 0.1.", ...more,
});

it("shows the groups with their rates, the gap beside its limit and which two make it", async () => {
  show(<Fairness name="even by region" state="failed" report={report()} />);
  const rows = screen.getAllByRole("row").slice(1).map((r) => r.textContent);
  expect(rows).toEqual(["region northhighest10041.0 %80.0 %10.0 %–", "region southlowest10029.0 %80.0 %10.0 %–", "region westnot judged: under 30 rows1250.0 %80.0 %10.0 %–"]);
  expect(screen.getByText("0.12").parentElement?.textContent).toBe("Difference 0.12, at most 0.1");
  const bar = within(screen.getAllByRole("row")[1]).getByText("41.0 %").parentElement;
  expect(bar?.className).toBe("share on");
  expect((bar?.querySelector("i") as HTMLElement).style.width).toBe("41%");
  expect(await findings()).toEqual([]);
});

it("gives no gap where there is none and names no pair", async () => {
  show(<Fairness name="four fifths" state="failed" report={report({ kind: "ratio", value: null, limit: 0.8, highest: undefined, lowest: undefined, why: "fewer than two groups", groups: [group("north", 100, 0.4)], more: 3 })} />);
  expect(screen.getByText(/at least 0.8/).textContent).toBe("Ratio –, at least 0.8");
  expect(screen.queryByText("highest")).toBeNull();
  expect(screen.getByText("3 more groups are not listed.")).toBeTruthy();
});

it("stands on the version page under the suite it belongs to", async () => {
  const version = { model: "credit", version: 1, kind: "model", state: "ready", format: "cel", engine: "cel", size: 10, artifact_digest: "sha256:aa", deployable: true, evaluation: { state: "failed", id: "e1" }, created_by: "sam", created_at: "2026-03-02T10:00:00Z", golden: { rows: 0, max_error: null, limit: 0 } } as unknown as Version;
  const evaluation = { id: "e1", model: "credit", version: 1, suite: "release", state: "failed", by: "sam", started_at: "2026-03-02T10:00:00Z", metrics: {}, tests: [
    { name: "right", kind: "metric", state: "passed", value: 1, limit: 0.9, detail: "accuracy is 1." },
    { name: "even by region", kind: "fairness", state: "failed", value: 0.12, limit: 0.1, detail: "Of region north.", fairness: report() }] };
  serve({ "GET /api/v1/models/credit/versions/1": version, "GET /api/v1/models/credit/versions/1/evaluations": { items: [evaluation] }, "GET /api/v1/models/credit/versions": { items: [version] } });
  show(<VersionPage name="credit" v="1" approvals={null} actions={() => null} />);
  const section = await screen.findByRole("region", { name: "even by region" });
  expect(within(section).getByRole("table").getAttribute("aria-label") ?? section.querySelector("caption")?.textContent).toContain("By region");
  expect(screen.queryByRole("region", { name: "right" })).toBeNull();
  expect(await findings()).toEqual([]);
});
