import type { ChangeRequest } from "../../api/types";
import { useWhyNot } from "../../api/me";
import { m } from "../../messages";
import { Action, ReasonAction } from "../../ui/Action";
import { Await, Skeleton } from "../../ui/Await";
import { Facts, Id, Panel, Time } from "../../ui/Bits";
import { Go } from "../../ui/Go";
import { useTopics } from "../../ui/hooks";
import { Note, ProblemNote } from "../../ui/Note";
import { Page } from "../../ui/Page";
import { paths } from "../../ui/url";
import { useExecute, useRequest, useWithdraw } from "./api";
import { ChangesPanel, ChecksPanel, CommentsPanel, VotesPanel } from "./Review";
import { VoteForm } from "./VoteForm";
import { granted, planWords, RequestChip, requestTitle } from "./words";

/** One request for change: the reason, what would change, what the policy says, the votes, and the vote. */
export function ApprovalPage({ id }: { id: string }) {
  useTopics("approval", `approval:${id}`);
  const query = useRequest(id);
  const r = query.data;
  const crumbs = [{ label: m.approvals.title, to: paths.approvals }];
  if (!r) return <Page title={m.approvals.request} kind={m.approvals.kind} crumbs={crumbs}>{query.error ? <ProblemNote problem={query.error} retry={() => void query.refetch()} /> : <Skeleton lines={10} />}</Page>;
  return (
    <Page title={`#${r.number} ${requestTitle(r)}`} kind={m.approvals.kind} crumbs={crumbs} status={<RequestChip state={r.state} />} actions={<Actions request={r} />}
      facts={<><span>{m.approvals.askedBy} <b>{r.author}</b> <Time at={r.opened_at} /></span><span>{m.approvals.votes} <b>{m.approvals.of(granted(r), r.need?.count ?? 0)}</b></span>{r.state === "open" && r.expires_at && <span>{m.approvals.expires} <b><Time at={r.expires_at} /></b></span>}</>}>
      <Await query={query}>{(request) => <Body request={request} />}</Await>
    </Page>
  );
}

function Body({ request: r }: { request: ChangeRequest }) {
  return (
    <div className="grid2 wide-left">
      <div className="stack gap16">
        {r.broken && <Note tone="bad" title={m.approvals.broken}><p>{r.broken}</p></Note>}
        <Panel title={m.approvals.why} id="why"><p className="quote">{r.reason || m.none}</p></Panel>
        <ChangesPanel id={r.id} />
        <CommentsPanel id={r.id} />
      </div>
      <div className="stack gap16">
        <Panel title={m.approvals.decision} id="decision"><div className="stack gap16"><VotesPanel request={r} /><VoteForm request={r} /></div></Panel>
        <ChecksPanel request={r} />
        <Panel title={m.approvals.binds} id="binds">
          <Facts rows={[[m.approvals.model, <Go key="m" to={paths.model(r.model)}>{r.model}</Go>], [m.version.version, <Go key="v" to={paths.version(r.model, r.version)}>v{r.version}</Go>], [m.approvals.environment, r.environment],
            [m.approvals.plan, planWords(r.plan)], [m.version.artifactDigest, <Id key="d" value={r.artifact_digest} what={m.version.digest} />], [m.approvals.planDigest, r.plan_digest ? <Id key="p" value={r.plan_digest} what={m.version.digest} /> : undefined],
            [m.approvals.needs, m.approvals.need(r.need?.count ?? 0, (r.need?.roles ?? []).map(m.role))], [m.approvals.cannotVote, (r.authors ?? []).join(", ")], [m.approvals.goesLive, r.when_approved ? m.approvals.whenApproved : m.approvals.byHand]]} />
        </Panel>
      </div>
    </div>
  );
}

function Actions({ request: r }: { request: ChangeRequest }) {
  const execute = useExecute();
  const withdraw = useWithdraw(r.id);
  const mayRun = useWhyNot("deployment.operate");
  const mayOpen = useWhyNot("approval.open");
  return (
    <>
      {r.state === "open" && !mayOpen && <ReasonAction variant="default" why={r.you.may_withdraw ? undefined : m.approvals.withdrawOnly(r.author)} ask={{ title: m.approvals.withdrawTitle, confirm: m.approvals.withdraw, onConfirm: (reason) => withdraw.mutateAsync(reason) }}>{m.approvals.withdraw}</ReasonAction>}
      {r.state === "approved" && <Action why={mayRun} loading={execute.isPending} onClick={() => execute.mutate(r.id)}>{m.approvals.execute}</Action>}
      {execute.error && <ProblemNote problem={execute.error} />}
    </>
  );
}
