import { Button } from "@mantine/core";
import { useMutation, useQueryClient } from "@tanstack/react-query";
import { api, call } from "../../api/client";
import type { Me } from "../../api/types";
import { m } from "../../messages";
import { Time } from "../../ui/Bits";
import { Go } from "../../ui/Go";
import { Note, ProblemNote } from "../../ui/Note";

type Act = NonNullable<Me["handled"]>[number];

/** Says that somebody else made a password or a sign-in link of one's account, until one knows of it. */
export function HandledBar({ me }: { me: Me }) {
  const know = useKnow();
  const acts = (me.handled ?? []).filter((h) => !h.seen);
  const newest = acts[0];
  if (!newest) return null;
  return (
    <section aria-label={m.shell.handled.title}>
      <Note tone="warn" title={m.shell.handled.title} actions={<>
        <Button size="compact-sm" variant="default" loading={know.isPending} onClick={() => know.mutate(newest.at)}>{m.shell.handled.known}</Button>
        <Go to="/settings">{m.shell.handled.password}</Go>
      </>}>
        <ul className="stack gap4">{acts.slice(0, 5).map((h) => <li key={h.at + h.act}><What act={h} /></li>)}</ul>
        <p>{m.shell.handled.advice}</p>
        <ProblemNote problem={know.error} />
      </Note>
    </section>
  );
}

/** All of the last 90 days, also what one knows of. */
export function HandledList({ acts }: { acts: Act[] }) {
  return <ul className="stack gap4">{acts.map((h) => <li key={h.at + h.act}><What act={h} /> <span className="dim">({h.seen ? m.shell.handled.seen : m.shell.handled.open})</span></li>)}</ul>;
}

function What({ act }: { act: Act }) {
  return <>{m.shell.handled.acts[act.act](act.by)}, {m.shell.handled.at(act.workspace)}, <Time at={act.at} />.</>;
}

/** Says that one knows of what others did to one's account, up to a time. */
function useKnow() {
  const client = useQueryClient();
  return useMutation({
    mutationFn: (until: string) => call(api.POST("/api/v1/me/handled/seen", { body: { until } })),
    onSuccess: () => client.invalidateQueries({ queryKey: ["me"] }),
  });
}
