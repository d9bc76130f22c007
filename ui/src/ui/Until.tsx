import { NativeSelect, TextInput } from "@mantine/core";
import { useState, type ReactNode } from "react";
import { m } from "../messages";

/** A moment as the browser's own field for day and time writes it, in local time. */
const local = (at: number) => { const d = new Date(at); return new Date(at - d.getTimezoneOffset() * 60_000).toISOString().slice(0, 16); };

/** A field for the end of something: a length of time from now, or a day and time. `until` gives it for the server. */
export function useUntil(error?: string): { field: ReactNode; until: () => string } {
  const [hours, setHours] = useState("24");
  const [at, setAt] = useState(() => local(Date.now() + 86_400_000));
  const w = m.watching;
  const until = () => (hours ? new Date(Date.now() + Number(hours) * 3600_000) : new Date(at)).toISOString();
  const field = (
    <div className="row top gap16">
      <NativeSelect label={w.until} value={hours} error={hours ? error : undefined} onChange={(e) => setHours(e.currentTarget.value)} data={[...Object.entries(w.hours).map(([value, label]) => ({ value, label })), { value: "", label: w.untilTime }]} />
      {!hours && <TextInput type="datetime-local" label={w.untilTime} value={at} error={error} required onChange={(e) => setAt(e.currentTarget.value)} />}
    </div>
  );
  return { field, until };
}
