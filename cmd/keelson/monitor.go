package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/spf13/cobra"

	"keelson/client"
)

// contender is a version in live traffic, as a line.
type contender struct {
	Version   int      `json:"version"`
	Verdict   string   `json:"verdict"`
	Rows      int      `json:"rows"`
	Outcomes  int      `json:"outcomes"`
	Metric    string   `json:"metric"`
	Value     *float64 `json:"value"`
	Lower     *float64 `json:"lower"`
	Upper     *float64 `json:"upper"`
	Estimate  *float64 `json:"estimate"`
	Words     string   `json:"words"`
	Undecided string   `json:"undecided,omitempty"`
}

// regionColumn is a column of a segment.
type regionColumn struct {
	Name, Shift, Direction, Metric string
	Value, Limit                   float64
}

// monitorVerbs are the commands that look at what a monitor found and set it up from a file.
func (c *cli) monitorVerbs() []*cobra.Command {
	window := ""
	driftCmd := verb("drift ENDPOINT", "List how far each column of the newest window moved", "keelson monitor drift screening\nkeelson monitor drift screening --window 0197c2b4-5d1e-7c3a-9a56-1f2e3d4c5b6a\nkeelson monitor drift screening -o csv", c.args(1, 1, "ENDPOINT"), func(cmd *cobra.Command, args []string) error {
		w, err := c.window(cmd.Context(), args[0], window)
		if err != nil {
			return err
		}
		return c.list(slices.Concat(w.Features, w.Predictions), columns("name", "shift", "direction", "psi", "ks", "js", "missing", "new", "limit", "why"), "name")
	})
	driftCmd.Flags().StringVar(&window, "window", "", "id of a window (default: the newest)")

	segments := verb("segments ENDPOINT", "List how the segments of the newest window fare, the declared ones and those that were found to be worst", "keelson monitor segments screening\nkeelson monitor segments screening --window 0197c2b4-5d1e-7c3a-9a56-1f2e3d4c5b6a\nkeelson monitor segments screening --json", c.args(1, 1, "ENDPOINT"), func(cmd *cobra.Command, args []string) error {
		w, err := c.window(cmd.Context(), args[0], window)
		if err != nil {
			return err
		}
		var raw []json.RawMessage
		for _, l := range w.segmentLines() {
			text, err := json.Marshal(l)
			if err != nil {
				return err
			}
			raw = append(raw, text)
		}
		return c.list(raw, columns("segment", "origin", "rows", "metric", "value", "rest", "gap_lower", "gap_upper", "moved", "why"), "segment")
	})
	segments.Flags().StringVar(&window, "window", "", "id of a window (default: the newest)")

	report := verb("report ENDPOINT", "Write what a monitor found as Markdown", "keelson monitor report screening\nkeelson monitor report screening --window 0197c2b4-5d1e-7c3a-9a56-1f2e3d4c5b6a\nkeelson monitor report screening > report.md", c.args(1, 1, "ENDPOINT"), func(cmd *cobra.Command, args []string) error {
		cl, err := c.dial()
		if err != nil {
			return err
		}
		var v struct {
			Monitor struct{ Model string }
			Verdict client.Health
		}
		if err := cl.Get(cmd.Context(), "/api/v1/monitors/"+escape(args[0]), &v); err != nil {
			return err
		}
		w, err := c.window(cmd.Context(), args[0], window)
		if err != nil {
			return err
		}
		_, err = fmt.Fprint(c.out, monitorReport(args[0], v.Monitor.Model, v.Verdict, w))
		return err
	})
	report.Flags().StringVar(&window, "window", "", "id of a window (default: the newest)")

	reason, end := "", ""
	accept := verb("accept ENDPOINT", "Make a window the reference of what follows: the change is all right", "keelson monitor accept screening --reason \"a new scanner\"\nkeelson monitor accept screening --window 0197c2b4-5d1e-7c3a-9a56-1f2e3d4c5b6a --reason \"Christmas trade\" --until 2027-01-07\nkeelson monitor accept screening --reason season --json", c.args(1, 1, "ENDPOINT"), func(cmd *cobra.Command, args []string) error {
		if reason == "" {
			return usage("Say with --reason why the changed data is all right.")
		}
		body := map[string]string{"window": window, "reason": reason}
		if end != "" {
			at, err := ahead("--until", end)
			if err != nil {
				return err
			}
			body["until"] = at
		}
		return c.act(cmd.Context(), http.MethodPost, "/api/v1/monitors/"+escape(args[0])+"/accept", body, columns("endpoint", "model", "against"), "endpoint")
	})
	accept.Flags().StringVar(&window, "window", "", "id of the window (default: the newest)")
	accept.Flags().StringVar(&reason, "reason", "", "why it is all right")
	accept.Flags().StringVar(&end, "until", "", "when the training data is the measure again: "+aheadHelp+" (default: until somebody changes it)")

	file := ""
	create := verb("create ENDPOINT", "Make a monitor, or change it, as a file declares it", "keelson monitor create screening\nkeelson monitor create screening --file monitors.yaml\nkeelson monitor create screening --json", c.args(1, 1, "ENDPOINT"), func(cmd *cobra.Command, args []string) error {
		body, err := declaredMonitor(file, args[0])
		if err != nil {
			return err
		}
		return c.act(cmd.Context(), http.MethodPut, "/api/v1/monitors/"+escape(args[0]), body, columns("endpoint", "model", "reference", "against", "window", "segments", "embeddings", "metrics", "rules"), "endpoint")
	})
	create.Flags().StringVarP(&file, "file", "f", "", "YAML file with monitors: (default: keelson.yaml here or above)")

	since, until, wait := "", "", false
	backfill := verb("backfill ENDPOINT", "Look again at stored windows with the present settings", "keelson monitor backfill screening\nkeelson monitor backfill screening --since 2026-03-01T00:00:00Z --wait\nkeelson monitor backfill screening --json", c.args(1, 1, "ENDPOINT"), func(cmd *cobra.Command, args []string) error {
		body := map[string]string{}
		for k, v := range map[string]string{"since": since, "until": until} {
			at, err := past("--"+k, v)
			if err != nil {
				return err
			}
			if at != "" {
				body[k] = at
			}
		}
		cl, err := c.dial()
		if err != nil {
			return err
		}
		var b struct {
			ID, State   string
			Done, Total int
			Error       string
		}
		base := "/api/v1/monitors/" + escape(args[0]) + "/backfills"
		if err := cl.Call(cmd.Context(), http.MethodPost, base, body, &b); err != nil {
			return err
		}
		for wait && b.State == "running" {
			select {
			case <-cmd.Context().Done():
				return cmd.Context().Err()
			case <-time.After(time.Second):
			}
			if err := cl.Get(cmd.Context(), base+"/"+b.ID, &b); err != nil {
				return err
			}
			c.say("%d of %d windows", b.Done, b.Total)
		}
		if err := c.printOne(cmd.Context(), base+"/"+b.ID, columns("id", "state", "done", "total", "error"), "id"); err != nil {
			return err
		}
		if b.State == "failed" {
			return answered(client.ExitCheck)
		}
		return nil
	})
	backfill.Flags().StringVar(&since, "since", "", "only windows "+sinceHelp)
	backfill.Flags().StringVar(&until, "until", "", "only windows up to this day or time, or so long ago")
	backfill.Flags().BoolVar(&wait, "wait", false, "wait until it is done; exit 5 if it fails")

	live := verb("live ENDPOINT", "Count what has arrived since the last window", "keelson monitor live screening\nkeelson monitor live screening --json\nkeelson monitor live screening -o yaml", c.args(1, 1, "ENDPOINT"), func(cmd *cobra.Command, args []string) error {
		return c.printOne(cmd.Context(), "/api/v1/monitors/"+escape(args[0])+"/live", columns("endpoint", "at", "open", "backlog"), "endpoint")
	})
	var champion int
	challenge := verb("challenge ENDPOINT", "Hold the versions that answer live calls against each other by their outcomes", "keelson monitor challenge screening\nkeelson monitor challenge screening --champion 3\nkeelson monitor challenge screening --json", c.args(1, 1, "ENDPOINT"), func(cmd *cobra.Command, args []string) error {
		cl, err := c.dial()
		if err != nil {
			return err
		}
		var doc struct {
			Versions []struct {
				contender
				Against *struct{ Verdict, Words string } `json:"against_champion"`
			}
			Champion int
			Method   string
		}
		if err := cl.Get(cmd.Context(), fmt.Sprintf("/api/v1/monitors/%s/challenge?champion=%d", escape(args[0]), champion), &doc); err != nil {
			return err
		}
		lines := []json.RawMessage{}
		for _, v := range doc.Versions {
			line := v.contender
			switch {
			case v.Version == doc.Champion:
				line.Verdict = "champion"
			case v.Against != nil:
				line.Verdict, line.Words = v.Against.Verdict, v.Against.Words
			default:
				line.Verdict, line.Words = "undecided", line.Undecided
			}
			line.Undecided = ""
			text, err := json.Marshal(line)
			if err != nil {
				return err
			}
			lines = append(lines, text)
		}
		return c.list(lines, columns("version", "verdict", "rows", "outcomes", "metric", "value", "lower", "upper", "estimate", "words"), "version")
	})
	challenge.Flags().IntVar(&champion, "champion", 0, "version the others are held against; left out: the one with the most answers")
	return []*cobra.Command{c.moduleCmd(), driftCmd, segments, report, accept, create, backfill, live, challenge}
}

// moduleCmd are the commands for the modules of custom metrics: WebAssembly, or a file of Python.
func (c *cli) moduleCmd() *cobra.Command {
	const base = "/api/v1/monitor-modules"
	cols := columns("name", "number", "size", "digest", "created_by", "created_at")
	put := verb("put NAME FILE", "Hand in a module of WebAssembly or Python", "keelson monitor module put cost cost.wasm\nkeelson monitor module put cost cost.py\nkeelson monitor module put cost build/cost.wasm --json", c.args(2, 2, "NAME FILE"), func(cmd *cobra.Command, args []string) error {
		f, err := os.Open(args[1])
		if err != nil {
			return usage("The file cannot be read: %v", err)
		}
		defer f.Close()
		cl, err := c.dial()
		if err != nil {
			return err
		}
		var v json.RawMessage
		if err := cl.Upload(cmd.Context(), http.MethodPut, base+"/"+escape(args[0]), "application/octet-stream", f, &v); err != nil {
			return err
		}
		return c.show(v, cols, "name")
	})
	list := verb("list [NAME]", "List modules and their versions", "keelson monitor module list\nkeelson monitor module list cost\nkeelson monitor module list -o csv", c.args(0, 1, "[NAME]"), func(cmd *cobra.Command, args []string) error {
		cl, err := c.dial()
		if err != nil {
			return err
		}
		path := base
		if len(args) > 0 {
			path += "/" + escape(args[0])
		}
		var page struct{ Items []json.RawMessage }
		if err := cl.Get(cmd.Context(), path, &page); err != nil {
			return err
		}
		return c.list(page.Items, cols, "name")
	})
	remove := verb("delete NAME NUMBER", "Delete a version of a module", "keelson monitor module delete cost 1\nkeelson monitor module delete cost 2\nkeelson monitor module list cost", c.args(2, 2, "NAME NUMBER"), func(cmd *cobra.Command, args []string) error {
		cl, err := c.dial()
		if err != nil {
			return err
		}
		return cl.Call(cmd.Context(), http.MethodDelete, base+"/"+escape(args[0])+"/"+escape(args[1]), nil, nil)
	})
	return c.noun("module", "Modules, in WebAssembly or Python, that custom metrics are computed by", nil, put, list, remove)
}

// window reads a window of a monitor; an empty id is the newest.
func (c *cli) window(ctx context.Context, endpoint, id string) (w monitorWindow, err error) {
	cl, err := c.dial()
	if err != nil {
		return w, err
	}
	path := "/api/v1/monitors/" + escape(endpoint) + "/windows"
	if id != "" {
		return w, cl.Get(ctx, path+"/"+escape(id), &w)
	}
	var page struct{ Items []monitorWindow }
	if err := cl.Get(ctx, path+"?limit=1", &page); err != nil {
		return w, err
	}
	if len(page.Items) == 0 {
		return w, usage("The monitor of %s has no window yet.", endpoint)
	}
	return page.Items[0], nil
}

// declaredMonitor reads what a file says of the monitor of an endpoint.
func declaredMonitor(file, endpoint string) (any, error) {
	if file == "" {
		dir, err := os.Getwd()
		if err != nil {
			return nil, err
		}
		for {
			if _, err := os.Stat(filepath.Join(dir, "keelson.yaml")); err == nil {
				file = filepath.Join(dir, "keelson.yaml")
				break
			}
			up := filepath.Dir(dir)
			if up == dir {
				return nil, &failure{code: client.ExitUsage, text: "There is no keelson.yaml in this folder or above.", hint: "name one with --file"}
			}
			dir = up
		}
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, usage("The file cannot be read: %v", err)
	}
	if len(text) > 1<<20 {
		return nil, usage("%s has more than 1 MiB; a file of monitors is smaller.", file)
	}
	var doc struct {
		Monitors map[string]any `yaml:"monitors"`
	}
	if err := yaml.Unmarshal(text, &doc); err != nil {
		return nil, usage("%s: %s", file, yaml.FormatError(err, false, true))
	}
	body, ok := doc.Monitors[endpoint]
	if !ok {
		return nil, usage("%s declares no monitor of %q under monitors:.", file, endpoint)
	}
	return body, nil
}

// monitorReport is a window as Markdown.
func monitorReport(endpoint, model string, v client.Health, w monitorWindow) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# %s (%s, version %d): %s\n\n", endpoint, model, w.Version, v.Verdict)
	for _, r := range v.Reasons {
		fmt.Fprintf(&b, "- %s\n", printable(r))
	}
	fmt.Fprintf(&b, "\n%d rows from %s to %s.\n", w.Rows, w.From.UTC().Format(time.RFC3339), w.To.UTC().Format(time.RFC3339))
	number := func(v *float64) string {
		if v == nil {
			return "–"
		}
		return fmt.Sprintf("%.4g", *v)
	}
	table := func(title string, head []string, rows [][]string) {
		if len(rows) == 0 {
			return
		}
		fmt.Fprintf(&b, "\n## %s\n\n| %s |\n|%s\n", title, strings.Join(head, " | "), strings.Repeat(" --- |", len(head)))
		for _, r := range rows {
			for i := range r {
				r[i] = strings.ReplaceAll(printable(r[i]), "|", "\\|")
			}
			fmt.Fprintf(&b, "| %s |\n", strings.Join(r, " | "))
		}
	}
	var rows [][]string
	if e := w.Estimate; e != nil {
		for name, m := range e.Metrics {
			rows = append(rows, []string{name, number(m.Value), number(m.Lower) + " to " + number(m.Upper), number(m.Reference), number(m.Realised)})
		}
		slices.SortFunc(rows, func(a, b []string) int { return cmp.Compare(a[0], b[0]) })
		table("Result as estimated ("+e.Method+", from "+e.Basis+"), not confirmed by outcomes", []string{"measure", "estimate", "interval", "then", "realised"}, rows)
	}
	rows = nil
	if p := w.Performance; p != nil {
		for name, m := range p.Metrics {
			rows = append(rows, []string{name, number(m)})
		}
		slices.SortFunc(rows, func(a, b []string) int { return cmp.Compare(a[0], b[0]) })
		table(fmt.Sprintf("Result by outcomes of %d rows (%.0f %%)", p.N, 100*p.Coverage), []string{"measure", "value"}, rows)
	}
	rows = nil
	for _, l := range w.segmentLines() {
		if l.Value == nil && l.Why == "" && l.Moved == "" {
			continue
		}
		rest := number(l.Rest)
		if l.GapLower != nil {
			rest += fmt.Sprintf(" (worse by %.2g to %.2g)", *l.GapLower, *l.GapUpper)
		}
		rows = append(rows, []string{l.Segment, l.Origin, fmt.Sprint(l.Rows), strings.TrimSpace(l.Metric + " " + number(l.Value)), rest, cmp.Or(l.Moved, l.Why)})
	}
	table("Segments", []string{"segment", "", "rows", "result", "other rows", "what moved"}, rows)
	rows = nil
	for _, s := range w.Regions {
		what := s.Why
		for _, f := range slices.Concat(s.Features, s.Predictions) {
			if f.Shift == "moved" {
				what = strings.TrimPrefix(what+"; "+moved(f.Name, f.Direction, f.Metric, f.Value, f.Limit), "; ")
			}
		}
		rows = append(rows, []string{s.Name, fmt.Sprint(s.Rows), s.Shift, fmt.Sprintf("%d of %d", s.Moved, s.Compared), what})
	}
	table("What moved within segments", []string{"segment", "rows", "shift", "columns moved", ""}, rows)
	rows = nil
	for _, e := range w.Embeddings {
		rows = append(rows, []string{e.Name, fmt.Sprint(e.Columns), fmt.Sprint(e.Rows), e.Shift, number(e.MMD) + " (limit " + number(e.Limit) + ")", e.Why})
	}
	table("Embeddings", []string{"embedding", "columns", "rows", "shift", "MMD²", ""}, rows)
	rows = nil
	for _, m := range w.Custom {
		rows = append(rows, []string{m.Name, number(m.Value), m.Unit, m.Why})
	}
	table("Custom metrics", []string{"metric", "value", "unit", ""}, rows)
	rows = nil
	for _, g := range w.Fairness {
		covered := ""
		if g.Coverage != nil {
			covered = fmt.Sprintf("%.0f %%", 100**g.Coverage)
		}
		rows = append(rows, []string{g.Label, strings.Join(g.Columns, " × "), number(g.Value), number(&g.Limit), covered, g.Detail})
	}
	table("Groups of people", []string{"measure", "by", "gap", "limit", "outcomes", ""}, rows)
	for _, g := range w.Fairness {
		rows = nil
		for _, p := range g.Groups {
			small := ""
			if p.Small {
				small = "too few rows to be judged"
			}
			rows = append(rows, []string{p.Name, fmt.Sprint(p.Rows), number(p.SelectionRate), number(p.TPR), number(p.FPR), number(p.Precision), small})
		}
		if g.More > 0 {
			rows = append(rows, []string{fmt.Sprintf("%d more", g.More), "", "", "", "", "", ""})
		}
		table("Groups by "+strings.Join(g.Columns, " × ")+" ("+g.Label+")", []string{"group", "rows", "chosen", "true positive rate", "false positive rate", "precision", ""}, rows)
	}
	rows = nil
	for _, r := range w.Rules {
		state := "kept"
		if !r.OK {
			state = "broken"
		}
		rows = append(rows, []string{r.Rule, state, r.Detail})
	}
	table("Data-quality rules", []string{"rule", "", "detail"}, rows)
	rows = nil
	for _, raw := range slices.Concat(w.Features, w.Predictions) {
		var f struct {
			Name, Shift, Direction, Why string
			PSI, KS                     *float64
			Missing                     float64
		}
		if json.Unmarshal(raw, &f) == nil {
			rows = append(rows, []string{f.Name, strings.TrimSpace(f.Shift + " " + f.Direction), number(f.PSI), number(f.KS), fmt.Sprintf("%.1f %%", 100*f.Missing), f.Why})
		}
	}
	table("Columns", []string{"column", "shift", "PSI", "KS", "missing", ""}, rows)
	return b.String()
}

// profileCmd shows the columns of a data version.
func (c *cli) profileCmd() *cobra.Command {
	return verb("profile NAME[/VERSION]", "List what the columns of a data version hold", "keelson data profile screening-patients/1\nkeelson data profile screening-patients\nkeelson data profile screening-patients/1 -o csv", c.args(1, 1, "NAME[/VERSION]"), func(cmd *cobra.Command, args []string) error {
		p, err := datasetPath(args[0])
		if err != nil {
			return err
		}
		cl, err := c.dial()
		if err != nil {
			return err
		}
		var v struct {
			Profile []json.RawMessage
			Latest  *struct{ Version int }
		}
		if err := cl.Get(cmd.Context(), p, &v); err != nil {
			return err
		}
		if v.Profile == nil && v.Latest != nil {
			if err := cl.Get(cmd.Context(), fmt.Sprintf("%s/versions/%d", p, v.Latest.Version), &v); err != nil {
				return err
			}
		}
		return c.list(v.Profile, columns("name", "type", "count", "missing", "distinct", "min", "p05=quantiles.p05", "p50=quantiles.p50", "p95=quantiles.p95", "max", "mean", "sd", "method"), "name")
	})
}
