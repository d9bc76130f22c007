import { m } from "../messages";

const locale = typeof navigator === "undefined" ? "en" : navigator.language;
const whole = new Intl.NumberFormat(locale);
const when = new Intl.DateTimeFormat(locale, { dateStyle: "medium", timeStyle: "long" });
const clock = new Intl.DateTimeFormat(locale, { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const relative = new Intl.RelativeTimeFormat("en", { numeric: "auto" });

export const count = (n: number | null | undefined) => (n === null || n === undefined ? m.none : whole.format(n));

/** A measured number with at most `digits` decimals; very small ones in exponents. */
export function number(n: number | null | undefined, digits = 4): string {
  if (n === null || n === undefined || Number.isNaN(n)) return m.none;
  if (n !== 0 && Math.abs(n) < 10 ** -digits) return n.toExponential(1);
  return new Intl.NumberFormat(locale, { maximumFractionDigits: digits, minimumFractionDigits: 0 }).format(n);
}

/** Same decimals in a column: 0.310 under 0.047. */
export function fixed(n: number | null | undefined, digits = 3): string {
  return n === null || n === undefined || Number.isNaN(n) ? m.none : n.toFixed(digits);
}

export const percent = (share: number | null | undefined, digits = 0) => (share === null || share === undefined ? m.none : `${(share * 100).toFixed(digits)} %`);

export function bytes(n: number): string {
  if (n < 1000) return `${n} B`;
  const units = ["kB", "MB", "GB", "TB"];
  let i = -1;
  do { n /= 1000; i++; } while (n >= 1000 && i < units.length - 1);
  return `${n < 10 ? n.toFixed(1) : Math.round(n)} ${units[i]}`;
}

/** How often, in the unit that needs no exponent: 2.6/s, 0.2/min, 3/h. */
export function perTime(perSecond: number): string {
  if (perSecond === 0 || perSecond >= 0.1) return `${number(perSecond, 2)}/s`;
  return perSecond * 60 >= 0.1 ? `${number(perSecond * 60, 1)}/min` : `${number(perSecond * 3600, 1)}/h`;
}

export const absolute = (iso: string) => when.format(new Date(iso));
export const clockTime = (d: Date) => clock.format(d);

/** "3 minutes ago", from now; the zero time of the server counts as never. */
export function ago(iso: string, now = Date.now()): string {
  const seconds = (new Date(iso).getTime() - now) / 1000;
  const steps: [Intl.RelativeTimeFormatUnit, number][] = [["year", 31_536_000], ["month", 2_592_000], ["day", 86_400], ["hour", 3600], ["minute", 60]];
  for (const [unit, size] of steps) if (Math.abs(seconds) >= size) return relative.format(Math.trunc(seconds / size), unit);
  return Math.abs(seconds) < 10 ? m.justNow : relative.format(Math.trunc(seconds), "second");
}

/** "1 min 04 s" between two times, the second defaulting to now. */
export function duration(from?: string | null, to?: string | null): string {
  if (!from) return m.none;
  return span((to ? new Date(to).getTime() : Date.now()) - new Date(from).getTime());
}

export function span(ms: number): string {
  if (ms < 0) return m.none;
  if (ms < 1000) return `${Math.round(ms)} ms`;
  const s = ms / 1000;
  if (s < 60) return `${s.toFixed(s < 10 ? 1 : 0)} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${String(Math.floor(s % 60)).padStart(2, "0")} s`;
  return `${Math.floor(s / 3600)} h ${String(Math.floor((s % 3600) / 60)).padStart(2, "0")} min`;
}

export const micros = (us: number) => (us < 1000 ? `${Math.round(us)} µs` : `${(us / 1000).toFixed(us < 10_000 ? 2 : 1)} ms`);

/** Eight characters of an id, digest or commit; digests lose their algorithm. */
export function short(id: string): string {
  const bare = id.replace(/^sha256:/, "");
  // Ids begin with their time, so that the end tells two of one minute apart.
  return /^[0-9a-z]{26}$/.test(bare) ? bare.slice(-8) : bare.slice(0, 8);
}

/** Any value of a document as one line of text. */
export function text(value: unknown): string {
  if (value === null || value === undefined || value === "") return m.none;
  if (typeof value === "number") return number(value);
  if (typeof value === "boolean") return value ? m.yes : m.no;
  if (typeof value === "string") return value;
  return JSON.stringify(value);
}
