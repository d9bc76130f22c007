const s = (n: number, one: string, many = one + "s") => `${n} ${n === 1 ? one : many}`;

/** Words of the tables with many rows and columns, and of their toolbars. */
export const grid = {
  columns: "Columns", findColumn: "Find a column", find: "Find", noColumn: "No column by that name.", resetColumns: "Back to the usual columns", resize: "Drag to resize", export: "Export", exportAll: "All rows the filter matches, with these columns", exportAs: { csv: "CSV", json: "JSON" },
  density: { comfortable: "Taller rows", compact: "Lower rows" }, suggestions: "Suggestions", pressEnter: "Press Enter to apply.", conditions: "Conditions", clearSelection: "Clear selection", showQuery: "Show the query",
  view: "View", standard: "Usual view", saveView: "Save this view…", startView: "opens first", makeStart: "Open this view first", notStart: "Do not open this view first", save: "Save", nameMissing: "Give the view a name.", replaces: "Replaces the view of this name.", copyLink: "Copy the link", shareView: "The view is kept in this browser. To share it, send the address:",
  shown: (n: number) => `Shown, in this order (${n})`, moreColumns: (n: number) => `and ${n} more; search for them`, pin: (c: string) => `Pin ${c}`, up: (c: string) => `Move ${c} forward`, down: (c: string) => `Move ${c} back`, viewIs: (n: string) => `View: ${n}`, dropView: (n: string) => `Delete view ${n}`,
  select: (n: string) => `Select ${n}`, selectLoaded: (n: number) => `Select the ${s(n, "loaded row")}`, allSelectedUnknown: "All that match selected", selectAllUnknown: "Select all that match", selected: (n: string) => `${n} selected`, allSelected: (n: string) => `All ${n} matching selected`, selectAll: (n: string) => `Select all ${n} matching`, dropCondition: (c: string) => `Remove ${c}`,
  help: (selects: boolean, arranges: boolean) => `Arrow keys, Home, End, Page Up and Page Down move. Enter opens a row, and in the head sorts by the column.${selects ? " Space selects a row, Shift and Space or Shift and an arrow key a range." : ""}${arranges ? " In the head, Shift with left or right changes the width and Control with left or right moves the column." : ""}`,
};

/** Words of charts of curves. */
export const curves = {
  axis: { step: "Step", time: "Time", relative: "Elapsed" }, isolate: "Show only this one; with Shift, add it", failed: "The drawing program could not be loaded; the table has the numbers.",
  grey: (n: number) => `${n} more in grey`, nothing: (t: string) => `${t}: no points`, all: (x: string, a: string, b: string) => `${x} ${a} to ${b} · show all`,
  summary: (t: string, n: number, low: string, high: string, x: string, a: string, b: string) => `${t}: ${s(n, "curve")}, values from ${low} to ${high}, ${x.toLowerCase()} ${a} to ${b}`,
};
