import { screen, waitFor } from "@testing-library/react";
import user from "@testing-library/user-event";
import { describe, expect, it } from "vitest";
import { useMe } from "../../api/me";
import type { Me } from "../../api/types";
import { findings, me, refusal, serve, show } from "../../test/show";
import { HandledBar, HandledList } from "./Handled";

const act = (at: string, more: object = {}) => ({ at, by: "eve", act: "password" as const, workspace: "risk", seen: false, ...more });
const told = (...handled: NonNullable<Me["handled"]>): Me => ({ ...me([]), handled });

function Bar() {
  const { data } = useMe();
  return data ? <HandledBar me={data} /> : null;
}

describe("what others did to an account", () => {
  it("is told until one knows of it", async () => {
    let now = told(act("2026-03-02T10:00:00Z", { act: "link" }), act("2026-03-01T10:00:00Z"), act("2026-02-01T10:00:00Z", { by: "otto", seen: true }));
    const sent = serve({ "GET /api/v1/me": () => now, "POST /api/v1/me/handled/seen": () => { now = told(...now.handled!.map((h) => ({ ...h, seen: true }))); return {}; } });
    show(<Bar />);
    expect((await screen.findByRole("region", { name: "Somebody else changed how you sign in" })).textContent).toContain("eve made a one-time sign-in link for your account, in the workspace risk");
    expect(screen.queryByText(/otto/)).toBeNull();
    expect(await findings()).toEqual([]);
    await user.click(screen.getByRole("button", { name: "I know of it" }));
    await waitFor(() => expect(screen.queryByRole("region")).toBeNull());
    expect(sent.find((s) => s.method === "POST")?.body).toEqual({ until: "2026-03-02T10:00:00Z" });
  });

  it("stays when the server refuses", async () => {
    serve({ "GET /api/v1/me": told(act("2026-03-01T10:00:00Z")), "POST /api/v1/me/handled/seen": refusal(503, "The database is away.") });
    show(<Bar />);
    await user.click(await screen.findByRole("button", { name: "I know of it" }));
    expect((await screen.findByRole("alert")).textContent).toContain("The database is away.");
    expect(screen.getByText(/eve set a new password/)).toBeTruthy();
  });

  it("is not there when nobody did anything", async () => {
    serve({ "GET /api/v1/me": me([]) });
    show(<HandledBar me={me([])} />);
    expect(screen.getByRole("main").querySelector("section, button, .note")).toBeNull();
  });

  it("is listed with what one knows of", () => {
    show(<HandledList acts={[act("2026-03-02T10:00:00Z"), act("2026-03-01T10:00:00Z", { seen: true })]} />);
    expect(screen.getAllByRole("listitem").map((l) => l.textContent?.endsWith("(new)"))).toEqual([true, false]);
  });
});
