import { Button, Checkbox, Popover, TextInput } from "@mantine/core";
import { useState } from "react";
import { m } from "../../messages";
import { IconColumns, IconDown, IconPin, IconPinned, IconUp } from "../icons";
import { moved, ordered, pinnedOr, shownOr, type Layout } from "./columns";

export interface Choice { key: string; head: string; group: string }

/** More than these are not listed at once; the search finds the rest. */
const most = 150;

/** Chooses the columns of a grid: search, groups, order, pins. Everything here works by keyboard. */
export function Chooser({ choices, layout, setLayout, reset, onSearch, note }: { choices: Choice[]; layout: Layout; setLayout: (next: Layout) => void; reset: () => void; onSearch?: (text: string) => void; note?: string }) {
  const [open, setOpen] = useState(false);
  return (
    <Popover opened={open} onChange={setOpen} position="bottom-end" width={340} shadow="md" trapFocus returnFocus transitionProps={{ duration: 0 }}>
      <Popover.Target><Button variant="default" aria-haspopup="dialog" aria-expanded={open} leftSection={<IconColumns size={16} aria-hidden="true" />} rightSection={<IconDown size={14} aria-hidden="true" />} onClick={() => setOpen(!open)}>{m.grid.columns}</Button></Popover.Target>
      <Popover.Dropdown aria-label={m.grid.columns} p={0}>{open && <Panel choices={choices} layout={layout} setLayout={setLayout} reset={reset} onSearch={onSearch} note={note} />}</Popover.Dropdown>
    </Popover>
  );
}

function Panel({ choices, layout, setLayout, reset, onSearch, note }: { choices: Choice[]; layout: Layout; setLayout: (next: Layout) => void; reset: () => void; onSearch?: (text: string) => void; note?: string }) {
  const [find, setFind] = useState("");
  const names = new Map(choices.map((c) => [c.key, c.head]));
  const wanted = find.trim().toLowerCase();
  const found = choices.filter((c) => !wanted || c.head.toLowerCase().includes(wanted) || c.key.toLowerCase().includes(wanted));
  const groups = [...new Set(found.map((c) => c.group))];
  let room = most;
  return (
    <div className="chooser">
      <div className="chooserhead"><TextInput data-autofocus aria-label={m.grid.findColumn} placeholder={m.grid.findColumn} value={find} onChange={(e) => { setFind(e.currentTarget.value); onSearch?.(e.currentTarget.value.trim()); }} /></div>
      <div className="chooserlist" tabIndex={-1}>
        {!wanted && (
          <section>
            <h3>{m.grid.shown(layout.keys.length)}</h3>
            <ul>{ordered(layout).map((key) => <Chosen key={key} name={names.get(key) ?? key} pinned={layout.pinned.includes(key)} up={() => setLayout(moved(layout, key, -1))} down={() => setLayout(moved(layout, key, 1))} pin={() => setLayout(pinnedOr(layout, key))} hide={layout.keys.length > 1 ? () => setLayout(shownOr(layout, key)) : undefined} />)}</ul>
          </section>
        )}
        {groups.map((g) => {
          const mine = found.filter((c) => c.group === g && (wanted || !layout.keys.includes(c.key)));
          const listed = mine.slice(0, Math.max(0, room));
          room -= listed.length;
          if (mine.length === 0) return null;
          return (
            <section key={g}>
              <h3>{g} <span className="num">{mine.length}</span></h3>
              <ul>{listed.map((c) => <li key={c.key}><Checkbox size="xs" label={<span className="wrap">{c.head}</span>} checked={layout.keys.includes(c.key)} onChange={() => { if (!layout.keys.includes(c.key) || layout.keys.length > 1) setLayout(shownOr(layout, c.key)); }} /></li>)}</ul>
              {listed.length < mine.length && <p className="small dim">{m.grid.moreColumns(mine.length - listed.length)}</p>}
            </section>
          );
        })}
        {found.length === 0 && <p className="dim small" role="status">{m.grid.noColumn}</p>}
        {note && <p className="small dim">{note}</p>}
      </div>
      <div className="chooserfoot"><Button size="compact-sm" variant="default" onClick={reset}>{m.grid.resetColumns}</Button></div>
    </div>
  );
}

function Chosen({ name, pinned, up, down, pin, hide }: { name: string; pinned: boolean; up: () => void; down: () => void; pin: () => void; hide?: () => void }) {
  const Pin = pinned ? IconPinned : IconPin;
  return (
    <li className="chosen">
      <Checkbox size="xs" label={<span className="wrap">{name}</span>} checked disabled={!hide} onChange={hide} />
      <span className="tools">
        <button type="button" className="copy" aria-pressed={pinned} aria-label={m.grid.pin(name)} title={m.grid.pin(name)} onClick={pin}><Pin size={15} /></button>
        <button type="button" className="copy" aria-label={m.grid.up(name)} title={m.grid.up(name)} onClick={up}><IconUp size={15} /></button>
        <button type="button" className="copy" aria-label={m.grid.down(name)} title={m.grid.down(name)} onClick={down}><IconDown size={15} /></button>
      </span>
    </li>
  );
}
