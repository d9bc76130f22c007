import { useEffect } from "react";
import { useMe } from "../../api/me";
import { m } from "../../messages";
import { Empty } from "../../ui/Bits";
import { Go } from "../../ui/Go";
import { Page } from "../../ui/Page";
import { useGo } from "../../ui/url";

const homes: Record<string, string> = { "data-scientist": "/experiments", "data-engineer": "/data", "ml-engineer": "/pipelines", "it-operations": "/alerts", "risk-compliance": "/inbox", "business-owner": "/inbox", auditor: "/audit" };

/** Sends a person to the first page of their role. */
export function Home() {
  const me = useMe().data;
  const go = useGo();
  const roles = me?.roles ?? [];
  const home = (roles.includes("administrator") ? undefined : roles.map((r) => homes[r]).find(Boolean)) ?? "/models";
  useEffect(() => { if (me) go(home, true); }, [me, home, go]);
  return null;
}

export function NotFound() {
  return <Page title={m.notFound.title}><div className="panel"><Empty action={<Go to="/models">{m.notFound.toModels}</Go>}>{m.notFound.text}</Empty></div></Page>;
}
