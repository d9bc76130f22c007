import { screen, waitFor, within } from "@testing-library/react";
import user from "@testing-library/user-event";
import { describe, expect, it } from "vitest";
import { request } from "../../test/documents";
import { findings, me, refusal, serve, show } from "../../test/show";
import { InboxPage } from "./ApprovalsPage";
import { Propose } from "./Propose";
import { ChangesPanel, ChecksPanel, VotesPanel } from "./Review";
import { VoteForm } from "./VoteForm";
import { planWords, requestTitle } from "./words";

const mine = { "GET /api/v1/me": me(["approval.vote", "approval.read"]) };

describe("VoteForm", () => {
  it("sends a grant with its reason", async () => {
    const sent = serve({ ...mine, "POST /api/v1/approvals/r1/votes": request() });
    show(<VoteForm request={request()} />);
    await user.type(screen.getByLabelText(/Reason/), "Checked the slices.");
    await user.click(screen.getByRole("button", { name: "Approve" }));
    await waitFor(() => expect(sent.find((s) => s.method === "POST")?.body).toEqual({ grant: true, reason: "Checked the slices." }));
  });

  it("sends a refusal as a refusal", async () => {
    const sent = serve({ ...mine, "POST /api/v1/approvals/r1/votes": request() });
    show(<VoteForm request={request()} />);
    await user.type(screen.getByLabelText(/Reason/), "Recall fell.");
    await user.click(screen.getByRole("button", { name: "Refuse" }));
    await waitFor(() => expect(sent.find((s) => s.method === "POST")?.body).toEqual({ grant: false, reason: "Recall fell." }));
  });

  it("asks for a reason and sends nothing without one", async () => {
    const sent = serve(mine);
    show(<VoteForm request={request()} />);
    await user.click(screen.getByRole("button", { name: "Approve" }));
    expect(screen.getByText("Say why, in a few words.")).toBeTruthy();
    expect(sent.filter((s) => s.method === "POST")).toHaveLength(0);
  });

  it("shows the author why the buttons do nothing, and they do nothing", async () => {
    const why = "You are an author of version 2.";
    const sent = serve(mine);
    show(<VoteForm request={request({ you: { may_vote: false, may_withdraw: true, why } })} />);
    const button = screen.getByRole("button", { name: "Approve" });
    expect(button.getAttribute("aria-disabled")).toBe("true");
    expect(document.getElementById(button.getAttribute("aria-describedby")!)?.textContent).toBe(why);
    expect(screen.getAllByText(why).length).toBeGreaterThan(1);
    await user.click(button);
    expect(sent.filter((s) => s.method === "POST")).toHaveLength(0);
    expect(await findings()).toEqual([]);
  });

  it("shows the server's refusal with its request id", async () => {
    serve({ ...mine, "POST /api/v1/approvals/r1/votes": refusal(403, "Authors cannot vote.") });
    show(<VoteForm request={request()} />);
    await user.type(screen.getByLabelText(/Reason/), "ok");
    await user.click(screen.getByRole("button", { name: "Approve" }));
    const alert = await screen.findByRole("alert");
    expect(alert.textContent).toContain("Authors cannot vote.");
    expect(alert.textContent).toContain("req-1");
  });

  it("offers no vote on a settled request", () => {
    serve(mine);
    show(<VoteForm request={request({ state: "refused" })} />);
    expect(screen.queryByRole("button", { name: "Approve" })).toBeNull();
    expect(screen.getByText(/settled: refused/)).toBeTruthy();
  });

  it("says what the last vote will do", () => {
    serve(mine);
    show(<VoteForm request={request()} />);
    expect(screen.getByText("With the last vote version 2 goes to prod: 10 % of calls until 400 rows, then all calls.")).toBeTruthy();
  });
});

describe("review", () => {
  it("shows differences with their direction", async () => {
    serve({ "GET /api/v1/approvals/r1/changes": { from: { version: 1 }, to: 2, sections: [{ title: "Metrics", rows: [{ label: "AUC", before: 0.87, after: 0.88, note: "limit 0.8", better: true }, { label: "Recall", before: 0.62, after: 0.6, better: false }] }] } });
    show(<ChangesPanel id="r1" />);
    const auc = (await screen.findByText("AUC")).closest("tr")!;
    expect(within(auc).getByText("0.87")).toBeTruthy();
    expect(within(auc).getByText("0.88")).toBeTruthy();
    expect(within(auc).getByText("better")).toBeTruthy();
    expect(within(screen.getByText("Recall").closest("tr")!).getByText("worse")).toBeTruthy();
    expect(await findings()).toEqual([]);
  });

  it("folds a section that was ticked as seen", async () => {
    serve({ "GET /api/v1/approvals/r1/changes": { from: null, to: 1, sections: [{ title: "Metrics", rows: [{ label: "AUC", after: 0.88 }] }] } });
    show(<ChangesPanel id="r1" />);
    const box = await screen.findByLabelText("I have looked at Metrics");
    await user.click(box);
    expect(box.closest("details")!.open).toBe(false);
  });

  it("tells each policy clause and whether it is met", () => {
    show(<ChecksPanel request={request({ verdict: { allowed: false, reasons: [{ rule: "evaluated", ok: false, message: "Test slice-age failed." }, { rule: "ready", ok: true, message: "Golden rows agree." }] } })} />);
    expect(screen.getByText("Checks 1 of 2")).toBeTruthy();
    expect(screen.getByText("Policy not satisfied")).toBeTruthy();
    expect(screen.getByText(/Test slice-age failed/).textContent).toContain("Not met");
  });

  it("lists votes and what is still missing, and bears lists that are null", () => {
    const { rerender } = show(<VotesPanel request={request({ votes: [{ by: "rita", role: "risk-compliance", grant: true, reason: "Fine.", at: "2026-03-02T10:00:00Z" }], missing: ["a vote by business-owner"] })} />);
    expect(screen.getByText("rita")).toBeTruthy();
    expect(screen.getByText(/a vote by business-owner/)).toBeTruthy();
    rerender(<VotesPanel request={request({ votes: null, missing: null })} />);
    expect(screen.getByText("No vote yet.")).toBeTruthy();
  });
});

it("the inbox asks for the person's own open requests and links to them", async () => {
  const sent = serve({ ...mine, "GET /api/v1/approvals": { items: [request()] } });
  show(<InboxPage />);
  const link = await screen.findByRole("link", { name: "#7 Deploy screening v2 to prod" });
  expect(link.getAttribute("href")).toBe("/approvals/r1");
  const asked = sent.find((s) => s.path === "/api/v1/approvals")!;
  expect([asked.query.get("mine"), asked.query.get("state")]).toEqual(["true", "open"]);
});

it.each([
  [{ mode: "all" } as const, "all calls at once"],
  [{ mode: "shadow" } as const, "beside the live version, answers not used"],
  [{ mode: "canary", steps: [{ share: 5, hold_seconds: 60 }] } as const, "5 % of calls until 60 s have passed, then all calls"],
  [null, "all calls at once"],
])("plan %o reads %s", (plan, words) => {
  expect(planWords(plan as Parameters<typeof planWords>[0])).toBe(words);
});

it("names a request by what it does", () => {
  expect(requestTitle({ kind: "retire", model: "m", version: 1, environment: "prod" })).toBe("Retire m v1 in prod");
});

it("proposes a canary, and other columns once the server has asked for it", async () => {
  let asked = 0;
  const sent = serve({
    "GET /api/v1/me": me(["approval.open", "approval.read"]), "GET /api/v1/environments": { items: [{ name: "prod", title: "prod", auto_approve: false }] },
    "POST /api/v1/approvals": () => (asked++ ? request() : refusal(422, "Version screening/2 reads the matrix by other columns.", { field: "plan.accept_columns" })),
  });
  show(<Propose model="screening" latest={2} />);
  await user.click(await screen.findByRole("button", { name: "Propose…" }));
  await user.selectOptions(await screen.findByLabelText("Rollout"), "canary");
  await user.type(screen.getByLabelText(/Reason/), "Retrained.");
  expect(screen.queryByLabelText(/its columns are others/)).toBeNull();
  await user.click(screen.getByRole("button", { name: "Ask for approval" }));
  await user.click(await screen.findByLabelText(/its columns are others/));
  await user.click(screen.getByRole("button", { name: "Ask for approval" }));
  const steps = [{ share: 10 }];
  await waitFor(() => expect(sent.filter((s) => s.method === "POST").map((s) => (s.body as { plan: unknown }).plan)).toEqual([{ mode: "canary", steps }, { mode: "canary", steps, accept_columns: true }]));
});
