import type { GridColumn } from "./columns";
import type { Selection } from "./selection";

const plain = (s: string) => s.replace(/[\t\r\n]+/g, " ");

/** What a cell says, as text. */
export function textOf<T>(column: GridColumn<T>, row: T): string {
  if (column.text) return column.text(row);
  const drawn = column.cell(row);
  return typeof drawn === "string" || typeof drawn === "number" ? String(drawn) : "";
}

/**
 * What copying gives, or null where the browser's own way is right (marked text within one cell): the marked cells, else
 * the selected rows under their heads, else the current cell. Cells are separated by tabs, rows by line ends.
 */
export function copied<T>(grid: HTMLElement, rows: T[], columns: GridColumn<T>[], selection: Selection | undefined, rowKey: (row: T) => string, at: { row: number; col: number }): string | null {
  const marked = document.getSelection();
  if (marked && !marked.isCollapsed) {
    const lines: string[] = [];
    let cells = 0;
    for (const line of grid.querySelectorAll<HTMLElement>("[data-row]")) {
      if (!marked.containsNode(line, true)) continue;
      const inside = [...line.querySelectorAll<HTMLElement>("[data-col]")].filter((c) => marked.containsNode(c, true));
      if (inside.length === 0) continue;
      cells += inside.length;
      const row = rows[Number(line.dataset.row)];
      lines.push(inside.map((c) => { const column = columns[Number(c.dataset.col)]; return plain(row === undefined ? column.head : textOf(column, row)); }).join("\t"));
    }
    return cells < 2 ? null : lines.join("\n");
  }
  const chosen = selection ? rows.filter((r) => selection.all || selection.ids.has(rowKey(r))) : [];
  if (chosen.length > 0) return [columns.map((c) => plain(c.head)), ...chosen.map((r) => columns.map((c) => plain(textOf(c, r))))].map((line) => line.join("\t")).join("\n");
  const column = columns[at.col];
  if (!column) return null;
  return at.row < 0 ? column.head : rows[at.row] === undefined ? null : textOf(column, rows[at.row]);
}
