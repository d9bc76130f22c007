import { Button } from "@mantine/core";
import { useWhyNot } from "../../api/me";
import { m } from "../../messages";
import { Action } from "../../ui/Action";
import { Await } from "../../ui/Await";
import { Empty, Panel } from "../../ui/Bits";
import { ExportCSV } from "../../ui/DataTable";
import { dayEnd, dayStart, FilterBox, FilterDays } from "../../ui/Filter";
import { useTopics } from "../../ui/hooks";
import { IconDownload } from "../../ui/icons";
import { Page, Tabs } from "../../ui/Page";
import { query, useGo, useParam } from "../../ui/url";
import { exportAddress, useEntries } from "./api";
import { entryColumns, EntryTable, Feed } from "./Entries";
import { VerifyBadge } from "./VerifyBadge";

const names = ["actor", "action", "model", "object"] as const;

/** Who did what to which thing when; and the proof that nobody changed the record. */
export function AuditPage() {
  useTopics("audit", "approval", "model", "deployment");
  const [view] = useParam("view");
  const [since] = useParam("since");
  const [until] = useParam("until");
  const values = { actor: useParam("actor")[0], action: useParam("action")[0], model: useParam("model")[0], object: useParam("object")[0] };
  const go = useGo();
  const why = useWhyNot("audit.export");
  const filter = Object.fromEntries(Object.entries({ ...values, since: dayStart(since), until: dayEnd(until) }).filter(([, v]) => v));
  const entries = useEntries(filter);
  const filtered = Object.keys(filter).length > 0;
  const empty = filtered ? <Empty action={<Button variant="default" onClick={() => go("/audit")}>{m.removeFilters}</Button>}>{m.audit.noMatch(Object.keys(filter).length)}</Empty> : <Empty>{m.audit.noneYet}</Empty>;
  const address = (v: string) => "/audit" + query({ ...values, since, until, view: v });
  return (
    <Page title={m.audit.title} lead={m.audit.lead}
      actions={why ? <Action variant="default" why={why}>{m.audit.export}</Action> : <Button component="a" href={exportAddress()} download variant="default" leftSection={<IconDownload size={16} />}>{m.audit.export}</Button>}>
      <VerifyBadge />
      <div className="toolbar">
        {names.map((n) => <FilterBox key={n} name={n} label={m.audit.filter[n]} width={150} />)}
        <FilterDays />
        <span className="end"><ExportCSV name="audit" rows={entries.data ?? []} columns={entryColumns} /></span>
      </div>
      <Tabs label={m.audit.views} tabs={[{ to: address(""), label: m.audit.table, current: view !== "feed" }, { to: address("feed"), label: m.audit.feed, current: view === "feed" }]} />
      <Await query={entries} lines={10}>{(rows) => (view === "feed" ? <Panel><Feed entries={rows} empty={empty} /></Panel> : <EntryTable rows={rows} empty={empty} more={entries.more} />)}</Await>
    </Page>
  );
}
