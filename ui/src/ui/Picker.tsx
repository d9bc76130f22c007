import { Button, Checkbox, Popover, TextInput } from "@mantine/core";
import { useState } from "react";
import { m } from "../messages";
import { IconDown } from "./icons";

const most = 150;

/** A button that opens a searchable list of things to tick, at most `limit` of them. */
export function Picker({ label, options, chosen, onChange, limit = 50 }: { label: string; options: { key: string; head: string }[]; chosen: string[]; onChange: (keys: string[]) => void; limit?: number }) {
  const [open, setOpen] = useState(false);
  const [find, setFind] = useState("");
  const wanted = find.trim().toLowerCase();
  const found = options.filter((o) => o.head.toLowerCase().includes(wanted));
  const full = chosen.length >= limit;
  return (
    <Popover opened={open} onChange={setOpen} position="bottom-start" width={300} shadow="md" trapFocus returnFocus transitionProps={{ duration: 0 }}>
      <Popover.Target><Button variant="default" aria-haspopup="dialog" aria-expanded={open} rightSection={<IconDown size={14} aria-hidden="true" />} onClick={() => setOpen(!open)}>{label} <span className="dim num">&nbsp;{chosen.length}</span></Button></Popover.Target>
      <Popover.Dropdown aria-label={label} p={0}>{open && (
        <div className="chooser">
          <div className="chooserhead"><TextInput data-autofocus aria-label={m.grid.find} placeholder={m.grid.find} value={find} onChange={(e) => setFind(e.currentTarget.value)} /></div>
          <div className="chooserlist" tabIndex={-1}>
            <ul>{found.slice(0, most).map((o) => { const on = chosen.includes(o.key); return <li key={o.key}><Checkbox size="xs" label={<span className="wrap">{o.head}</span>} checked={on} disabled={!on && full} onChange={() => onChange(on ? chosen.filter((k) => k !== o.key) : [...chosen, o.key])} /></li>; })}</ul>
            {found.length > most && <p className="small dim">{m.grid.moreColumns(found.length - most)}</p>}
            {found.length === 0 && <p className="dim small" role="status">{m.grid.noColumn}</p>}
          </div>
        </div>
      )}</Popover.Dropdown>
    </Popover>
  );
}
