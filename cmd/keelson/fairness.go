package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"keelson/client"
)

// versionFairness makes "version fairness": the groups of the fairness tests of a version.
func (c *cli) versionFairness() *cobra.Command {
	cmd := verb("fairness NAME/VERSION", "Show how a version treats groups, from the newest evaluation of each suite", "keelson version fairness screening/1\nkeelson version fairness screening@champion -o csv\nkeelson version fairness screening/1 --json=test,group,selection_rate", c.args(1, 1, "NAME/VERSION"), func(cmd *cobra.Command, args []string) error {
		cl, model, version, err := c.oneVersion(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		all, err := cl.Evaluations(cmd.Context(), model, version)
		if err != nil {
			return err
		}
		items, seen, plain := []json.RawMessage{}, map[string]bool{}, !c.machine() && c.output == ""
		for _, e := range all { // the newest first
			if e.State == "running" || seen[e.Suite] {
				continue
			}
			seen[e.Suite] = true
			for _, t := range e.Tests {
				if t.Fairness == nil {
					continue
				}
				if plain {
					fmt.Fprintf(c.out, "%s %s (suite %s): %s\n", c.ended(t), t.Name, e.Suite, t.Detail)
					if err := groups(c.out, t.Fairness); err != nil {
						return err
					}
				}
				for _, g := range t.Fairness.Groups {
					row, err := json.Marshal(map[string]any{"suite": e.Suite, "test": t.Name, "state": t.State, "measure": t.Fairness.Measure, "gap": t.Fairness.Value, "limit": t.Fairness.Limit,
						"group": g.Name, "rows": g.Rows, "small": g.Small, "selection_rate": g.SelectionRate, "tpr": g.TPR, "fpr": g.FPR, "precision": g.Precision})
					if err != nil {
						return err
					}
					items = append(items, row)
				}
			}
		}
		if len(items) == 0 && plain {
			c.say("No evaluation of %s/%d compares groups; add a test of kind fairness to a suite.", model, version)
		}
		if plain {
			return nil
		}
		return c.list(items, columns("suite", "test", "state", "measure", "gap", "limit", "group", "rows", "small", "selection_rate", "tpr", "fpr", "precision"), "group")
	})
	cmd.ValidArgsFunction = c.complete("version", "name")
	return cmd
}

// ended is the sign of how a test ended.
func (c *cli) ended(t client.TestResult) string {
	if t.State == "failed" {
		return c.sign("✗", "x")
	}
	return c.sign("✓", "ok")
}

// groups prints the rates of the groups, one line each.
func groups(out io.Writer, f *client.Fairness) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "  GROUP\tROWS\tCHOSEN\tTPR\tFPR\tPRECISION\t")
	for _, g := range f.Groups {
		note := ""
		switch {
		case g.Small:
			note = "not judged: too few rows"
		case f.Value != nil && g.Name == f.Highest && f.Highest != f.Lowest:
			note = "highest"
		case f.Value != nil && g.Name == f.Lowest && f.Highest != f.Lowest:
			note = "lowest"
		}
		fmt.Fprintf(w, "  %s\t%d\t%s\t%s\t%s\t%s\t%s\n", cell(g.Name), g.Rows, percent(g.SelectionRate), percent(g.TPR), percent(g.FPR), percent(g.Precision), note)
	}
	if f.More > 0 {
		fmt.Fprintf(w, "  and %d more groups\n", f.More)
	}
	return w.Flush()
}

// percent writes a share; a dash where it is not defined.
func percent(v *float64) string {
	if v == nil {
		return "–"
	}
	return strconv.FormatFloat(*v*100, 'f', 1, 64) + " %"
}
