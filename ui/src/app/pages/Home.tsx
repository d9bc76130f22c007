import { useEffect } from "react";
import { useMe } from "../../api/me";
import { m } from "../../messages";
import { Empty } from "../../ui/Bits";
import { Go } from "../../ui/Go";
import { Page } from "../../ui/Page";
import { paths, useGo } from "../../ui/url";

const homes: Record<string, string> = { "data-scientist": "/experiments", "data-engineer": "/data", "ml-engineer": "/pipelines", "it-operations": "/alerts", "risk-compliance": "/inbox", "business-owner": "/inbox", auditor: "/audit" };

/** The page that a link printed by MLflow's client means ("#/experiments/2/runs/ID"), or undefined. */
export function printed(hash: string): string | undefined {
  const [, experiment, run] = /^#\/experiments\/([^/?]+)(?:\/runs\/([^/?]+))?/.exec(hash) ?? [];
  if (run) return paths.trackingRun(decodeURIComponent(run));
  if (experiment) return paths.experiment(decodeURIComponent(experiment));
  const [, model, version] = /^#\/models\/([^/?]+)(?:\/versions\/(\d+))?/.exec(hash) ?? [];
  return version ? paths.version(decodeURIComponent(model), version) : model ? paths.model(decodeURIComponent(model)) : undefined;
}

/** Sends a person to the first page of their role, or to what a link of MLflow's client names. */
export function Home() {
  const me = useMe().data;
  const go = useGo();
  const roles = me?.roles ?? [];
  const home = (roles.includes("administrator") ? undefined : roles.map((r) => homes[r]).find(Boolean)) ?? "/models";
  useEffect(() => { if (me) go(printed(location.hash) ?? home, true); }, [me, home, go]);
  return null;
}

export function NotFound() {
  return <Page title={m.notFound.title}><div className="panel"><Empty action={<Go to="/models">{m.notFound.toModels}</Go>}>{m.notFound.text}</Empty></div></Page>;
}
