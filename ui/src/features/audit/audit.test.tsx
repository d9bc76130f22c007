import { screen } from "@testing-library/react";
import user from "@testing-library/user-event";
import { describe, expect, it } from "vitest";
import { entry } from "../../test/documents";
import { findings, me, refusal, serve, show } from "../../test/show";
import { AuditPage } from "./AuditPage";
import { phrase } from "./Entries";

const routes = (verify: unknown) => ({
  "GET /api/v1/me": me(["audit.read", "audit.export"]),
  "GET /api/v1/audit": { items: [entry()] },
  "GET /api/v1/audit/checkpoint": { origin: "o", size: 5, root: "r", note: "n", key: "k" },
  "POST /api/v1/audit/verify": verify,
});

describe("the badge", () => {
  it("begins as not verified", async () => {
    serve(routes({}));
    show(<AuditPage />);
    expect(await screen.findByText("Not verified in this session")).toBeTruthy();
    expect(await screen.findByText(/“Looks right.”/)).toBeTruthy();
    expect(await findings()).toEqual([]);
  });

  it("becomes verified", async () => {
    serve(routes({ ok: true, size: 5, checked: 5, pending: 0, broken: null }));
    show(<AuditPage />);
    await user.click(await screen.findByRole("button", { name: "Verify now" }));
    expect(await screen.findByText(/Verified to entry 5 at/)).toBeTruthy();
  });

  it("names the broken entry", async () => {
    serve(routes({ ok: false, size: 5, checked: 5, pending: 0, broken: [{ index: 3, id: "e3", why: "its bytes do not match the leaf" }] }));
    show(<AuditPage />);
    await user.click(await screen.findByRole("button", { name: "Verify now" }));
    expect(await screen.findByText("Broken at entry 3")).toBeTruthy();
    expect(screen.getByText(/its bytes do not match the leaf/)).toBeTruthy();
  });

  it("is unknown when the check could not be made", async () => {
    serve(routes(refusal(503, "The log is being sealed.")));
    show(<AuditPage />);
    await user.click(await screen.findByRole("button", { name: "Verify now" }));
    expect(await screen.findByText("Unknown: the check could not be made")).toBeTruthy();
    expect(screen.getByRole("alert").textContent).toContain("The log is being sealed.");
  });
});

it("asks the server with the filters of the address", async () => {
  history.replaceState(null, "", "/audit?model=screening&actor=rita");
  const sent = serve(routes({}));
  show(<AuditPage />);
  await screen.findByText(/“Looks right.”/);
  const asked = sent.find((s) => s.path === "/api/v1/audit")!;
  expect([asked.query.get("model"), asked.query.get("actor")]).toEqual(["screening", "rita"]);
});

it.each([
  [entry(), "approved"],
  [entry({ detail: { grant: false } }), "refused"],
  [entry({ action: "runtime.changed", detail: { name: "onnxruntime", installed: true } }), "saw installed:"],
  [entry({ action: "runtime.changed", detail: { name: "onnxruntime", installed: false } }), "saw removed:"],
  [entry({ action: "request.refused", detail: { kind: "path", count: 3 } }), "was refused 3 requests that nobody sends by mistake (path):"],
  [entry({ action: "made.up_action" }), "made up action"],
])("says %o in words", (e, words) => {
  expect(phrase(e)).toBe(words);
});

it("names the request when the platform carries out what people approved, and never calls a part of it a person", async () => {
  const carried = entry({ actor: "deployment", via: "system", action: "deployment.version-retired", object: "model/screening/1", detail: { number: 7 }, index: -1 });
  serve({ ...routes({}), "GET /api/v1/audit": { items: [carried] } });
  show(<AuditPage />);
  expect(await screen.findByText("keelson (deployment)")).toBeTruthy();
  expect(screen.getByText("as approved in request #7")).toBeTruthy();
  expect(screen.getByText("screening v1")).toBeTruthy();
  expect(screen.queryByText(/#?-1/)).toBeNull();
});
