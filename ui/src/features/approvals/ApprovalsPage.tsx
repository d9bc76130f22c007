import { Button } from "@mantine/core";
import { m } from "../../messages";
import { Await } from "../../ui/Await";
import { Empty } from "../../ui/Bits";
import { FilterBox, FilterSelect } from "../../ui/Filter";
import { useTopics } from "../../ui/hooks";
import { Page } from "../../ui/Page";
import { useParam } from "../../ui/url";
import { useRequests } from "./api";
import { RequestList } from "./RequestList";

const states = ["open", "approved", "refused", "executed", "withdrawn", "expired", "void"] as const;

/** All requests for change, filtered by state and model. */
export function ApprovalsPage() {
  useTopics("approval");
  const [state, setState] = useParam("state");
  const [model, setModel] = useParam("model");
  const query = useRequests({ state: states.find((s) => s === state), model: model || undefined });
  const clear = () => { setState(""); setModel(""); };
  return (
    <Page title={m.approvals.title} lead={m.approvals.lead}>
      <div className="toolbar">
        <FilterSelect name="state" label={m.approvals.state} options={[{ value: "", label: m.approvals.anyState }, ...states.map((s) => ({ value: s, label: m.requestState[s] }))]} />
        <FilterBox name="model" label={m.approvals.model} width={220} />
      </div>
      <Await query={query} lines={6}>{(rows) => <RequestList boxed sort="sort" label={m.approvals.title} rows={rows} more={query.more}
        empty={state || model ? <Empty action={<Button variant="default" onClick={clear}>{m.removeFilters}</Button>}>{m.approvals.noMatch}</Empty> : <Empty command="keelson approval open my-model 1 --to prod --reason '…'">{m.approvals.empty}</Empty>} />}</Await>
    </Page>
  );
}

/** What waits for the person's own vote. */
export function InboxPage() {
  useTopics("approval");
  const query = useRequests({ state: "open", mine: true });
  return (
    <Page title={m.inbox.title} lead={m.inbox.lead}>
      <Await query={query} lines={4}>{(rows) => <RequestList boxed label={m.inbox.title} rows={rows} more={query.more} empty={<Empty>{m.inbox.empty}</Empty>} />}</Await>
    </Page>
  );
}

/** Open requests for one model, nothing when there are none. */
export function useWaiting(model: string) {
  return useRequests({ state: "open", model }).data ?? [];
}

/** How many requests wait for the person's vote. */
export function useInboxCount(): number {
  return useRequests({ state: "open", mine: true }).data?.length ?? 0;
}

/** Requests of one version, for its page. */
export function VersionRequests({ model, version }: { model: string; version: number }) {
  const query = useRequests({ model });
  return <Await query={query} lines={2}>{(all) => <RequestList label={m.version.approvals} rows={all.filter((r) => r.version === version)} empty={<Empty>{m.version.noApprovals}</Empty>} />}</Await>;
}
