import { Button, Checkbox, Menu, Modal, TextInput } from "@mantine/core";
import { useEffect, useRef, useState } from "react";
import { prefix } from "../../api/client";
import { useMe } from "../../api/me";
import { m } from "../../messages";
import { Copy } from "../Bits";
import { IconDown, IconView } from "../icons";
import { useQueryText, useSetParams } from "../url";

/** A named state of a table: what the address says about it. */
export interface View { name: string; query: Record<string, string>; start?: boolean }

const storeKey = (who: string, table: string) => `keelson-views:${prefix || "/w/default"}:${who}:${table}`;

export function readViews(who: string, table: string): View[] {
  try {
    const list: unknown = JSON.parse(localStorage.getItem(storeKey(who, table)) ?? "[]");
    return Array.isArray(list) ? list.filter((v): v is View => !!v && typeof v === "object" && typeof (v as View).name === "string" && !!(v as View).query) : [];
  } catch { return []; }
}

export function writeViews(who: string, table: string, views: View[]) {
  try { localStorage.setItem(storeKey(who, table), JSON.stringify(views)); } catch { /* private window: the address still has the view */ }
}

/**
 * Saved views of a table. A view is the part of the address named in `params`; saved ones stay in this browser, under the
 * person's name; sharing one is copying the address. A view marked as start is what an address without any of them opens.
 */
export function Views({ table, params }: { table: string; params: string[] }) {
  const who = useMe().data?.name;
  const text = useQueryText();
  const put = useSetParams();
  const [views, setViews] = useState<View[]>([]);
  const [ask, setAsk] = useState(false);
  const began = useRef(false);
  const now = new URLSearchParams(text);
  const state = Object.fromEntries(params.map((p) => [p, now.get(p) ?? ""]));
  const apply = (query: Record<string, string>) => put(Object.fromEntries(params.map((p) => [p, query[p] ?? ""])));
  useEffect(() => {
    if (who === undefined) return;
    const mine = readViews(who, table);
    setViews(mine);
    const start = mine.find((v) => v.start);
    if (!began.current && start && params.every((p) => !state[p])) apply(start.query);
    began.current = true;
    // eslint: only when the person or the table changes
  }, [who, table]);
  const keep = (next: View[]) => { setViews(next); if (who !== undefined) writeViews(who, table, next); };
  const current = views.find((v) => params.every((p) => (v.query[p] ?? "") === state[p]));
  const plain = params.every((p) => !state[p]);
  return (
    <>
      <Menu shadow="md" position="bottom-end" width={260} transitionProps={{ duration: 0 }}>
        <Menu.Target><Button variant="default" leftSection={<IconView size={16} aria-hidden="true" />} rightSection={<IconDown size={14} aria-hidden="true" />}>{current ? m.grid.viewIs(current.name) : m.grid.view}</Button></Menu.Target>
        <Menu.Dropdown>
          <Menu.Item onClick={() => apply({})} aria-current={plain && !current ? "true" : undefined}>{m.grid.standard}</Menu.Item>
          {views.map((v) => <Menu.Item key={v.name} onClick={() => apply(v.query)} aria-current={v === current ? "true" : undefined}>{v.name}{v.start && <span className="dim small"> · {m.grid.startView}</span>}</Menu.Item>)}
          <Menu.Divider />
          <Menu.Item onClick={() => setAsk(true)}>{m.grid.saveView}</Menu.Item>
          {current && <Menu.Item onClick={() => keep(views.map((v) => ({ ...v, start: v === current ? !v.start : false })))}>{current.start ? m.grid.notStart : m.grid.makeStart}</Menu.Item>}
          {current && <Menu.Item onClick={() => keep(views.filter((v) => v !== current))}>{m.grid.dropView(current.name)}</Menu.Item>}
        </Menu.Dropdown>
      </Menu>
      <Modal opened={ask} onClose={() => setAsk(false)} title={m.grid.saveView} centered closeButtonProps={{ "aria-label": m.close }} transitionProps={{ duration: 0 }}>
        <Save taken={views.map((v) => v.name)} onSave={(name, start) => { keep([...views.filter((v) => v.name !== name).map((v) => (start ? { ...v, start: false } : v)), { name, query: state, start }].sort((a, b) => a.name.localeCompare(b.name))); setAsk(false); }} />
      </Modal>
    </>
  );
}

function Save({ taken, onSave }: { taken: string[]; onSave: (name: string, start: boolean) => void }) {
  const [name, setName] = useState("");
  const [start, setStart] = useState(false);
  const [tried, setTried] = useState(false);
  return (
    <form className="stack gap16" noValidate onSubmit={(e) => { e.preventDefault(); setTried(true); if (name.trim()) onSave(name.trim(), start); }}>
      <TextInput data-autofocus label={m.name} value={name} maxLength={60} required withAsterisk onChange={(e) => setName(e.currentTarget.value)} error={tried && !name.trim() ? m.grid.nameMissing : undefined} description={taken.includes(name.trim()) ? m.grid.replaces : undefined} />
      <Checkbox label={m.grid.makeStart} checked={start} onChange={(e) => setStart(e.currentTarget.checked)} />
      <p className="small dim row">{m.grid.shareView} <Copy value={location.href} label={m.grid.copyLink} /></p>
      <div className="row between"><span /><Button type="submit">{m.grid.save}</Button></div>
    </form>
  );
}
