import { ActionIcon, Button, Menu } from "@mantine/core";
import type { ReactNode } from "react";
import { m } from "../../messages";
import { count } from "../format";
import { IconComfortable, IconCompact, IconDown, IconDownload } from "../icons";
import type { Selection } from "./selection";
import { storeDensity, type Density } from "./useLayout";

/** Switches between tall and low rows; remembered in this browser. */
export function DensityButton({ density, set }: { density: Density; set: (d: Density) => void }) {
  const next: Density = density === "compact" ? "comfortable" : "compact";
  return <ActionIcon variant="default" size={36} aria-label={m.grid.density[next]} title={m.grid.density[next]} onClick={() => { storeDensity(next); set(next); }}>{density === "compact" ? <IconComfortable size={17} /> : <IconCompact size={17} />}</ActionIcon>;
}

/** Saves everything the filter matches; the server streams the file. */
export function ExportMenu({ href, disabled }: { href: (format: "csv" | "json") => string; disabled?: boolean }) {
  return (
    <Menu shadow="md" position="bottom-end" width={210} transitionProps={{ duration: 0 }}>
      <Menu.Target><Button variant="default" disabled={disabled} leftSection={<IconDownload size={16} aria-hidden="true" />} rightSection={<IconDown size={14} aria-hidden="true" />}>{m.grid.export}</Button></Menu.Target>
      <Menu.Dropdown>
        <Menu.Label>{m.grid.exportAll}</Menu.Label>
        {(["csv", "json"] as const).map((f) => <Menu.Item key={f} component="a" href={href(f)} download>{m.grid.exportAs[f]}</Menu.Item>)}
      </Menu.Dropdown>
    </Menu>
  );
}

/** One line above a grid: how many rows (total, or more with atLeast, or not known and more to come with open); and while some are selected, what can be done with them. It keeps its height, so that no row moves. */
export function SelectionBar({ selection, total, atLeast, loaded, open, status, children }: { selection: Selection; total?: number; atLeast?: boolean; loaded: number; open?: boolean; status?: ReactNode; children: ReactNode }) {
  const words = (k: number) => count(k) + (atLeast && k === total ? "+" : "");
  const n = selection.all ? (total ?? loaded) : selection.ids.size;
  const more = !selection.all && n >= loaded && loaded > 0 && (total === undefined ? !!open : total > n);
  const known = total !== undefined;
  return (
    <div className="selbar">
      {n === 0 ? <span className="dim small num">{status}</span> : (
        <>
          <b className="num" role="status">{selection.all ? (known ? m.grid.allSelected(words(n)) : m.grid.allSelectedUnknown) : m.grid.selected(count(n))}</b>
          {more && <button type="button" className="linkb" onClick={selection.everything}>{known ? m.grid.selectAll(words(total)) : m.grid.selectAllUnknown}</button>}
          {children}
          <button type="button" className="linkb" onClick={selection.clear}>{m.grid.clearSelection}</button>
        </>
      )}
    </div>
  );
}
