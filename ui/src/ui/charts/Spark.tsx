/** A small bar per stretch of time, for a table cell; the last one, which is not over, is lighter. */
export function Spark({ counts, label, width = 96, height = 26 }: { counts: number[]; label: string; width?: number; height?: number }) {
  const top = Math.max(1, ...counts), step = width / Math.max(1, counts.length);
  return (
    <svg role="img" aria-label={label} width={width} height={height} style={{ display: "block", flex: "none" }}>
      <line x1={0} x2={width} y1={height - 0.5} y2={height - 0.5} stroke="var(--k-border)" />
      {counts.map((c, i) => { const h = c > 0 ? Math.max(2, (c / top) * (height - 2)) : 0; return <rect key={i} x={i * step + 0.5} width={Math.max(1, step - 1.5)} y={height - h} height={h} fill="var(--k-c1)" opacity={i === counts.length - 1 ? 0.55 : 1} rx={1} />; })}
    </svg>
  );
}
