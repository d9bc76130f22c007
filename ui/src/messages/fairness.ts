/** Words of the comparison of groups. */
export const fairness = {
  by: (columns: string[]) => `By ${columns.join(" and ")}`, group: "Group", rows: "Rows", gap: (ratio: boolean) => (ratio ? "Ratio" : "Difference"), limit: (ratio: boolean, n: string) => (ratio ? `at least ${n}` : `at most ${n}`),
  rate: { selection_rate: "Chosen", tpr: "True positive rate", fpr: "False positive rate", precision: "Precision" }, compared: "compared",
  highest: "highest", lowest: "lowest", small: (n: number) => `not judged: under ${n} rows`, more: (n: number) => `${n === 1 ? "1 more group is" : `${n} more groups are`} not listed.`,
};
