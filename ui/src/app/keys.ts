import { useEffect, useRef } from "react";
import { useGo } from "../ui/url";

const pages: Record<string, string> = { m: "/models", e: "/experiments", p: "/pipelines", i: "/inbox", a: "/audit", d: "/deployments" };
const typing = (t: EventTarget | null) => t instanceof HTMLElement && (t.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(t.tagName));

/** Keys of the whole interface: Ctrl K and / search, g then a letter goes to a page, t changes the theme. Letters never fire in a field. */
export function useKeys(does: { palette: () => void; theme: () => void }) {
  const go = useGo();
  const now = useRef(does);
  now.current = does;
  useEffect(() => {
    let after = 0;
    const press = (e: KeyboardEvent) => {
      if ((e.ctrlKey || e.metaKey) && e.key.toLowerCase() === "k") { e.preventDefault(); now.current.palette(); return; }
      if (e.ctrlKey || e.metaKey || e.altKey || typing(e.target) || document.querySelector("[role=dialog]")) return;
      if (e.key === "/") { e.preventDefault(); now.current.palette(); }
      else if (e.key === "g") after = Date.now();
      else if (Date.now() - after < 1200 && pages[e.key]) { after = 0; go(pages[e.key]); }
      else if (e.key === "t") now.current.theme();
    };
    addEventListener("keydown", press);
    return () => removeEventListener("keydown", press);
  }, [go]);
}
