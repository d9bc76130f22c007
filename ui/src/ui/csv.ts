/** One table as RFC 4180 text; cells that a spreadsheet would run as a formula get a leading apostrophe. */
export function toCSV(head: string[], rows: (string | number | null | undefined)[][]): string {
  const cell = (v: string | number | null | undefined) => {
    let s = v === null || v === undefined ? "" : String(v);
    if (typeof v === "string" && /^[=+\-@\t\r]/.test(s)) s = "'" + s;
    return /[",\n\r]/.test(s) ? `"${s.replaceAll('"', '""')}"` : s;
  };
  return [head, ...rows].map((r) => r.map(cell).join(",")).join("\r\n") + "\r\n";
}

/** Hands text or bytes to the browser as a file. */
export function download(name: string, body: string | Blob, type = "text/csv") {
  const url = URL.createObjectURL(typeof body === "string" ? new Blob([body], { type }) : body);
  const a = document.createElement("a");
  a.href = url;
  a.download = name;
  a.click();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
}
