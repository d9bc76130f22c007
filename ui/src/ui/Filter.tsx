import { CloseButton, NativeSelect, TextInput } from "@mantine/core";
import { useEffect, useRef, useState } from "react";
import { m } from "../messages";
import { IconSearch } from "./icons";
import { useParam } from "./url";

/** A text filter kept in the address under `name`; it takes effect a moment after the last key. */
export function FilterBox({ name, label, placeholder, width = 280 }: { name: string; label: string; placeholder?: string; width?: number }) {
  const [value, set] = useParam(name);
  const [text, setText] = useState(value);
  const sent = useRef(value);
  useEffect(() => { if (value !== sent.current) { sent.current = value; setText(value); } }, [value]);
  useEffect(() => {
    if (text === sent.current) return;
    const t = setTimeout(() => { sent.current = text; set(text); }, 250);
    return () => clearTimeout(t);
  }, [text, set]);
  return (
    <TextInput aria-label={label} placeholder={placeholder ?? label} value={text} onChange={(e) => setText(e.currentTarget.value)} leftSection={<IconSearch size={16} />} w={width} maw="100%"
      rightSection={text ? <CloseButton size="sm" aria-label={m.clear(label)} onClick={() => setText("")} /> : null} />
  );
}

/** A choice kept in the address under `name`; the empty value is "all". */
export function FilterSelect({ name, label, options }: { name: string; label: string; options: { value: string; label: string }[] }) {
  const [value, set] = useParam(name);
  return <NativeSelect aria-label={label} value={value} onChange={(e) => set(e.currentTarget.value)} data={options} />;
}

/** Two days that bound a list, kept in the address as since and until. */
export function FilterDays() {
  const [since, setSince] = useParam("since");
  const [until, setUntil] = useParam("until");
  return (
    <span className="row" style={{ flexWrap: "nowrap" }}>
      <TextInput type="date" aria-label={m.since} title={m.since} value={since.slice(0, 10)} onChange={(e) => setSince(e.currentTarget.value)} />
      <span className="dim" aria-hidden="true">–</span>
      <TextInput type="date" aria-label={m.until} title={m.until} value={until.slice(0, 10)} onChange={(e) => setUntil(e.currentTarget.value)} />
    </span>
  );
}

/** The first moment of a day ("2026-03-02"), or the text as it is when it has a time; undefined when empty. */
export const dayStart = (day: string) => (day ? (day.length === 10 ? new Date(day + "T00:00:00").toISOString() : day) : undefined);
/** The last moment of a day, likewise. */
export const dayEnd = (day: string) => (day ? (day.length === 10 ? new Date(day + "T23:59:59.999").toISOString() : day) : undefined);
