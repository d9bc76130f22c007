import { number } from "../../ui/format";

/** A contribution with a bar to its right or left of the middle. */
export function Effect({ value, most, half = 44 }: { value: number; most: number; half?: number }) {
  const w = most > 0 ? (Math.abs(value) / most) * half : 0;
  return <span className="row" style={{ flexWrap: "nowrap", justifyContent: "flex-end" }}><span>{value > 0 ? "+" : ""}{number(value)}</span><svg width={2 * half} height={12} aria-hidden="true" style={{ flex: "none" }}><line x1={half} x2={half} y1={0} y2={12} stroke="var(--k-strong)" /><rect x={value < 0 ? half - w : half} width={w} y={2} height={8} fill={value < 0 ? "var(--k-c1)" : "var(--k-c2)"} /></svg></span>;
}
