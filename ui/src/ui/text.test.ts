import { describe, expect, it } from "vitest";
import { blocks, parseCSV, spans } from "./text";

describe("CSV", () => {
  it("keeps commas, quotes and line ends inside quotes", () => { expect(parseCSV('a,b\r\n"x,1","say ""hi""\nthere"\n').rows).toEqual([["a", "b"], ["x,1", 'say "hi"\nthere']]); });
  it("says when there was more", () => { expect(parseCSV("a\n1\n2\n3\n", ",", 2)).toEqual({ rows: [["a"], ["1"]], cut: true }); });
  it("of nothing is nothing", () => { expect(parseCSV("").rows).toEqual([]); });
});

describe("Markdown", () => {
  it("becomes blocks", () => {
    expect(blocks("# Head\n\ntext **b**\nmore\n\n- one\n- two\n\n```py\nx = '<b>'\n```\n> said\n\n| a | b |\n|---|---|\n| 1 | 2 |").map((b) => b.kind)).toEqual(["heading", "text", "list", "code", "quote", "table"]);
  });
  it("leaves HTML as text and follows only web and mail addresses", () => {
    expect(spans("<img src=x onerror=alert(1)>")).toEqual([{ kind: "text", text: "<img src=x onerror=alert(1)>" }]);
    expect(spans("[x](javascript:alert)").every((s) => s.kind === "text")).toBe(true);
    expect(spans("[x](https://a.b/c) `k` *e*").map((s) => s.kind)).toEqual(["link", "text", "code", "text", "em"]);
  });
  it("does not fetch pictures", () => { expect(spans("![p](https://a.b/p.png)")).toEqual([{ kind: "link", text: "p", href: "https://a.b/p.png" }]); });
});
