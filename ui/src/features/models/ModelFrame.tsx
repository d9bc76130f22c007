import type { ReactNode } from "react";
import { m } from "../../messages";
import { Await } from "../../ui/Await";
import { Chip, Time } from "../../ui/Bits";
import { useTopics } from "../../ui/hooks";
import { Page, Tabs } from "../../ui/Page";
import { paths } from "../../ui/url";
import { VerdictChip } from "../../ui/Verdict";
import { useModel } from "./api";
import { Accountable } from "./ModelsPage";
import type { Model } from "./types";

const tabs = ["", "versions", "deployments", "monitoring", "explain", "timeline"] as const;
const titles = { "": m.model.overview, versions: m.model.versions, deployments: m.model.deployments, monitoring: m.model.monitoring, explain: m.explaining.tab, timeline: m.model.timeline };

/** The head and tabs every page of one model shares. */
export function ModelFrame({ name, tab = "", actions, children }: { name: string; tab?: keyof typeof titles; actions?: ReactNode; children: (model: Model) => ReactNode }) {
  useTopics(`model:${name}`, "deployment", "monitor", "alert", "approval");
  const query = useModel(name);
  const model = query.data;
  const live = model?.live ?? [];
  return (
    <Page title={name} kind={tab ? `${titles[tab]} · ${m.model.kind}` : m.model.kind} crumbs={[{ label: m.models.title, to: paths.models }]}
      status={model && <><VerdictChip verdict={model.health?.verdict} />{model.tier > 0 && <Chip tone="neutral" glyph="◆">{m.model.tier(model.tier)}</Chip>}</>} actions={model && actions}
      lead={model?.description || undefined}
      facts={model && <>
        <span>{m.model.accountable} <b><Accountable model={model} /></b></span>
        {model.owner && <span>{m.models.owner} <b>{model.owner}</b></span>}
        <span>{m.models.live} <b>{live.length ? live.map((s) => `v${s.version} → ${s.environment}${s.kind === "live" && s.share === 100 ? "" : ` (${m.slot[s.kind] ?? s.kind} ${s.share} %)`}`).join(", ") : m.nothingLive}</b></span>
        <span>{m.models.used} <b><Time at={model.last_used_at} /></b></span>
      </>}>
      <Tabs label={m.model.tabs(name)} tabs={tabs.map((t) => ({ to: paths.model(name, t), label: titles[t] }))} />
      <Await query={query}>{children}</Await>
    </Page>
  );
}
