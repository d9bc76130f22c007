import type { Deployment } from "../../api/types";
import { useWhyNot } from "../../api/me";
import { m } from "../../messages";
import { ReasonAction } from "../../ui/Action";
import { Traffic } from "../../ui/Traffic";
import { useDeployments, useOperate } from "./api";

/** Returns to the version that was live before, in one step with a reason. */
export function RollBack({ deployment: d, small }: { deployment: Deployment; small?: boolean }) {
  const rollback = useOperate(d.endpoint, "rollback");
  const lacking = useWhyNot("deployment.operate");
  const to = d.previous?.version;
  const why = lacking ?? (to ? undefined : m.deploy.noPrevious);
  return (
    <ReasonAction size={small ? "compact-sm" : undefined} variant="default" why={why}
      ask={{ title: m.deploy.rollbackTitle(d.endpoint), confirm: m.deploy.rollbackConfirm(to ?? 0), danger: true, onConfirm: (reason) => rollback.mutateAsync(reason), children: <Plan d={d} after={m.deploy.rollbackPlan(d.endpoint, to ?? 0)} /> }}>
      {m.deploy.rollback}
    </ReasonAction>
  );
}

function Plan({ d, after }: { d: Deployment; after: string }) {
  return <div className="stack"><p className="small dim">{m.deploy.now}</p><Traffic slots={d.slots ?? []} /><p>{after}</p></div>;
}

/** The next step of a rollout, the stop button, and the way back from it. */
export function Operations({ deployment: d }: { deployment: Deployment }) {
  const advance = useOperate(d.endpoint, "advance");
  const suspend = useOperate(d.endpoint, "suspend");
  const resume = useOperate(d.endpoint, "resume");
  const why = useWhyNot("deployment.operate");
  const rolling = d.state === "rolling" || (d.slots ?? []).some((s) => s.kind === "canary");
  return (
    <>
      {rolling && <ReasonAction why={why} ask={{ title: m.deploy.advanceTitle(d.endpoint), confirm: m.deploy.advance, onConfirm: (r) => advance.mutateAsync(r), children: <Plan d={d} after={m.deploy.advancePlan} /> }}>{m.deploy.advance}</ReasonAction>}
      {d.state !== "suspended" && d.state !== "retired" && <ReasonAction variant="default" why={why} ask={{ title: m.deploy.suspendTitle(d.endpoint), confirm: m.deploy.suspend, danger: true, onConfirm: (r) => suspend.mutateAsync(r), children: <Plan d={d} after={m.deploy.suspendPlan} /> }}>{m.deploy.suspend}</ReasonAction>}
      {d.state === "suspended" && <ReasonAction why={why} ask={{ title: m.deploy.resumeTitle(d.endpoint), confirm: m.deploy.resume, onConfirm: (r) => resume.mutateAsync(r) }}>{m.deploy.resume}</ReasonAction>}
      <RollBack deployment={d} />
    </>
  );
}

/** The roll-back button of a model's page: for its deployment in prod, else its first. Nothing while nothing is deployed. */
export function ModelRollBack({ model }: { model: string }) {
  const query = useDeployments();
  const own = (query.data ?? []).filter((d) => d.model === model && d.state !== "retired");
  const d = own.find((x) => x.environment === "prod") ?? own[0];
  return d ? <RollBack deployment={d} /> : null;
}
