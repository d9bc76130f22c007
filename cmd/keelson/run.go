package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"keelson/client"
)

var (
	trainingColumns   = columns("id", "name", "experiment", "status", "user", "started_at")
	experimentColumns = columns("id", "name", "runs", "last_run_at")
	experimentFields  = columns("id", "name", "description", "runs", "last_run_at", "created_at", "updated_at", "tags", "deleted")
)

// runSearch are the flags of what searches runs.
type runSearch struct{ experiment, filter, order, columns, view string }

func (s *runSearch) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&s.experiment, "experiment", "", "only runs of this experiment, by name or id; several with commas")
	f.StringVar(&s.filter, "filter", "", `which runs, as "metrics.acc > 0.9 AND params.optimizer = 'adam'"`)
	f.StringVar(&s.order, "order", "", `in which order, as "metrics.acc DESC, start_time DESC"; by default the newest first`)
	f.StringVar(&s.columns, "columns", "", `what to show beside the attributes, as "metrics.acc,params.optimizer"`)
	f.StringVar(&s.view, "view", "", "active, deleted or all (default active)")
}

// query is the search as the server takes it.
func (s *runSearch) query(ctx context.Context, cl *client.Client) (url.Values, error) {
	q := url.Values{}
	var ids []string
	for _, name := range strings.Split(s.experiment, ",") {
		if name = strings.TrimSpace(name); name != "" {
			id, err := experimentID(ctx, cl, name)
			if err != nil {
				return nil, err
			}
			ids = append(ids, id)
		}
	}
	for k, v := range map[string]string{"experiment": strings.Join(ids, ","), "filter": s.filter, "order_by": s.order, "columns": s.columns, "view": s.view} {
		if v != "" {
			q.Set(k, v)
		}
	}
	return q, nil
}

// experimentID finds an experiment by name or id, deleted ones as well.
func experimentID(ctx context.Context, cl *client.Client, name string) (string, error) {
	q := url.Values{"filter": {"name = '" + strings.ReplaceAll(name, "'", "''") + "'"}, "view": {"all"}, "order_by": {"last_update_time DESC"}}
	type experiment struct {
		ID      string `json:"id"`
		Deleted bool   `json:"deleted"`
	}
	list, err := client.All[experiment](ctx, cl, "/api/v1/experiments", q, 1000)
	if err != nil {
		return "", err
	}
	if i := slices.IndexFunc(list, func(e experiment) bool { return !e.Deleted }); i >= 0 {
		return list[i].ID, nil
	}
	if len(list) > 0 {
		return list[0].ID, nil
	}
	if strings.Trim(name, "0123456789") == "" {
		return name, nil
	}
	return "", &failure{code: client.ExitNotFound, text: fmt.Sprintf("There is no experiment %q.", name), hint: "list them with: keelson experiment list"}
}

func (c *cli) runCmd() *cobra.Command {
	var search, out runSearch
	list := verb("list", "Search training runs", "keelson run list --experiment churn\nkeelson run list --filter \"metrics.acc > 0.9 AND params.optimizer = 'adam'\" --order \"metrics.acc DESC\" --columns metrics.acc,params.optimizer\nkeelson run list --experiment churn --columns 'metrics.*,params.*' -o csv --limit 0\nkeelson run list --view deleted --json",
		c.args(0, 0, ""), func(cmd *cobra.Command, _ []string) error {
			cl, err := c.dial()
			if err != nil {
				return err
			}
			q, err := search.query(cmd.Context(), cl)
			if err != nil {
				return err
			}
			if search.columns == "" && !c.machine() {
				q.Set("columns", "none")
			}
			items, err := client.All[json.RawMessage](cmd.Context(), cl, "/api/v1/runs", q, c.limit)
			if err != nil {
				return err
			}
			cols, err := chosen(trainingColumns, search.columns, items)
			if err != nil {
				return err
			}
			if err := c.list(items, cols, "id"); err != nil {
				return err
			}
			c.showing(len(items))
			return nil
		})
	search.flags(list)
	list.Flags().IntVar(&c.limit, "limit", 50, "how many at most, 0 for all")
	var format string
	export := verb("export", "Write all runs of a search as csv or json", "keelson run export --experiment churn > runs.csv\nkeelson run export --filter \"status = 'FINISHED'\" --columns metrics.acc,params.optimizer > runs.csv\nkeelson run export --experiment churn --format json > runs.json",
		c.args(0, 0, ""), func(cmd *cobra.Command, _ []string) error {
			cl, err := c.dial()
			if err != nil {
				return err
			}
			q, err := out.query(cmd.Context(), cl)
			if err != nil {
				return err
			}
			q.Set("format", format)
			_, err = cl.Download(cmd.Context(), "/api/v1/runs/export?"+q.Encode(), c.out)
			return err
		})
	out.flags(export)
	export.Flags().StringVar(&format, "format", "csv", "csv or json")

	get := c.getCommand("run", "Show a training run: parameters, metrics, artifacts, data, source", "ID", "7c3f", func(id string) (string, error) { return "/api/v1/runs/" + escape(id), nil }, nil, "id")
	var only bool
	compare := verb("compare ID ID…", "Compare parameters, metrics, tags and data of runs", "keelson run compare 7c3f 9d21\nkeelson run compare 7c3f 9d21 --only-differences\nkeelson run compare 7c3f 9d21 4e55 --json\nkeelson run compare 7c3f 9d21 -o csv",
		c.args(2, 200, "two or more IDs"), func(cmd *cobra.Command, args []string) error { return c.compareRuns(cmd.Context(), args, only) })
	compare.Flags().BoolVar(&only, "only-differences", false, "leave out what is the same in all")

	watch := verb("watch ID", "Follow a run until it ends: its latest metrics as they come", "keelson run watch 7c3f\nkeelson run watch 7c3f --json\nkeelson run watch 7c3f --quiet",
		c.args(1, 1, "ID"), func(cmd *cobra.Command, args []string) error { return c.followRun(cmd.Context(), args[0]) })
	remove := verb("delete ID…", "Move runs to the bin", "keelson run delete 7c3f\nkeelson run delete 7c3f 9d21\nkeelson run delete 7c3f --json",
		c.args(1, 1000, "one or more IDs"), func(cmd *cobra.Command, args []string) error {
			return c.onRuns(cmd.Context(), args, http.MethodDelete, "", "keelson run restore %s")
		})
	restore := verb("restore ID…", "Take runs out of the bin", "keelson run restore 7c3f\nkeelson run restore 7c3f 9d21\nkeelson run restore 7c3f --json",
		c.args(1, 1000, "one or more IDs"), func(cmd *cobra.Command, args []string) error {
			return c.onRuns(cmd.Context(), args, http.MethodPost, "/restore", "")
		})
	return c.noun("run", "Training runs", []string{"runs"}, list, get, compare, watch, export, remove, restore)
}

// chosen adds columns to those that are always shown; "metrics.*" adds every metric that one of the items has.
func chosen(cols []column, list string, items []json.RawMessage) ([]column, error) {
	cols = slices.Clone(cols)
	quoted := false
	for _, name := range strings.FieldsFunc(list, func(r rune) bool {
		if r == '`' {
			quoted = !quoted
		}
		return r == ',' && !quoted
	}) {
		name = strings.ReplaceAll(strings.TrimSpace(name), "`", "")
		kind, key, ok := strings.Cut(name, ".")
		if !ok {
			continue
		}
		for full, short := range map[string]string{"metrics": "metric", "params": "param", "tags": "tag"} {
			if kind == short {
				kind = full
			}
		}
		if key != "*" {
			cols = append(cols, column{kind + "." + key, kind + "." + key})
			continue
		}
		keys := map[string]any{}
		for _, raw := range items {
			d, err := document(raw)
			if err != nil {
				return nil, err
			}
			m, _ := at(d, kind).(map[string]any)
			for k := range m {
				keys[k] = nil
			}
		}
		for _, k := range sortedKeys(keys) {
			cols = append(cols, column{kind + "." + k, kind + "." + k})
		}
	}
	return cols, nil
}

// compareRuns prints one line per parameter, metric, tag and data set, one column per run.
func (c *cli) compareRuns(ctx context.Context, ids []string, only bool) error {
	cl, err := c.dial()
	if err != nil {
		return err
	}
	var raw json.RawMessage
	q := url.Values{"ids": {strings.Join(ids, ",")}}
	if only {
		q.Set("only_differences", "true")
	}
	if err := cl.Get(ctx, "/api/v1/runs/compare?"+q.Encode(), &raw); err != nil {
		return err
	}
	if c.machine() {
		return c.show(raw, nil, "runs")
	}
	type line struct {
		Key    string `json:"key"`
		Values []any  `json:"values"`
	}
	var v struct {
		Runs []struct {
			ID string `json:"id"`
		} `json:"runs"`
		Params, Metrics, Tags, Inputs []line
	}
	if err := json.Unmarshal(raw, &v); err != nil {
		return fmt.Errorf("read comparison: %w", err)
	}
	cols := columns("kind", "name")
	for _, r := range v.Runs {
		cols = append(cols, column{r.ID, r.ID})
	}
	var items []json.RawMessage
	for _, part := range []struct {
		kind  string
		lines []line
	}{{"param", v.Params}, {"metric", v.Metrics}, {"tag", v.Tags}, {"data", v.Inputs}} {
		for _, l := range part.lines {
			row := map[string]any{"kind": part.kind, "name": l.Key}
			for i, x := range l.Values {
				row[v.Runs[i].ID] = x
			}
			b, err := json.Marshal(row)
			if err != nil {
				return err
			}
			items = append(items, b)
		}
	}
	return c.list(items, cols, "name")
}

// followRun prints a run's state and latest metrics whenever they change, until it ends; a run that failed is exit 5.
func (c *cli) followRun(ctx context.Context, id string) error {
	cl, err := c.dial()
	if err != nil {
		return err
	}
	type seen struct {
		ID      string         `json:"id"`
		Name    string         `json:"name"`
		Status  string         `json:"status"`
		Metrics map[string]any `json:"metrics"`
	}
	var last seen
	before := ""
	last, err = client.Wait(ctx, func(ctx context.Context) (r seen, done bool, err error) {
		if err := cl.Get(ctx, "/api/v1/runs/"+escape(id), &r); err != nil {
			return r, false, err
		}
		b, err := json.Marshal(r)
		if err != nil {
			return r, false, err
		}
		if string(b) != before {
			if c.machine() {
				fmt.Fprintln(c.out, string(b))
			} else if !c.quiet {
				line := r.ID + "\t" + r.Status
				for _, k := range sortedKeys(r.Metrics) {
					if before == "" || fmt.Sprint(last.Metrics[k]) != fmt.Sprint(r.Metrics[k]) {
						line += "\t" + k + "=" + cell(r.Metrics[k])
					}
				}
				fmt.Fprintln(c.out, line)
			}
			before, last = string(b), r
		}
		return r, slices.Contains([]string{"finished", "failed", "killed"}, r.Status), nil
	})
	if err != nil {
		return err
	}
	if last.Status != "finished" {
		return &failure{code: client.ExitCheck, text: fmt.Sprintf("Run %s ended as %s.", last.Name, last.Status), hint: "see: keelson run get " + last.ID}
	}
	return nil
}

// onRuns changes runs one after the other and prints each.
func (c *cli) onRuns(ctx context.Context, ids []string, method, tail, undo string) error {
	cl, err := c.dial()
	if err != nil {
		return err
	}
	items := []json.RawMessage{}
	for _, id := range ids {
		var r struct {
			ID string `json:"id"`
		}
		if err := cl.Get(ctx, "/api/v1/runs/"+escape(id), &r); err != nil { // the id may be shortened
			return err
		}
		var raw json.RawMessage
		if err := cl.Call(ctx, method, "/api/v1/runs/"+escape(r.ID)+tail, struct{}{}, &raw); err != nil {
			return err
		}
		items = append(items, raw)
		if undo != "" {
			c.next(undo, r.ID)
		}
	}
	return c.list(items, trainingColumns, "id")
}

func (c *cli) experimentCmd() *cobra.Command {
	find := func(do func(ctx context.Context, path string, args []string) error) func(*cobra.Command, []string) error {
		return func(cmd *cobra.Command, args []string) error {
			cl, err := c.dial()
			if err != nil {
				return err
			}
			id, err := experimentID(cmd.Context(), cl, args[0])
			if err != nil {
				return err
			}
			return do(cmd.Context(), "/api/v1/experiments/"+escape(id), args)
		}
	}
	var filter, order, view string
	list := verb("list", "List experiments", "keelson experiment list\nkeelson experiment list --filter \"name LIKE 'churn%'\" --order \"name\"\nkeelson experiment list --view deleted --json", c.args(0, 0, ""), func(cmd *cobra.Command, _ []string) error {
		q := url.Values{}
		for k, v := range map[string]string{"filter": filter, "order_by": order, "view": view} {
			if v != "" {
				q.Set(k, v)
			}
		}
		return c.printList(cmd.Context(), "/api/v1/experiments", q, experimentColumns, "name")
	})
	list.Flags().StringVar(&filter, "filter", "", `which, as "name LIKE 'churn%' AND tags.team = 'a'"`)
	list.Flags().StringVar(&order, "order", "", `in which order, as "name" or "creation_time DESC"; by default the youngest change first`)
	list.Flags().StringVar(&view, "view", "", "active, deleted or all (default active)")
	list.Flags().IntVar(&c.limit, "limit", 50, "how many at most, 0 for all")

	get := verb("get NAME", "Show an experiment", "keelson experiment get churn\nkeelson experiment get 3 --json\nkeelson experiment get churn -o yaml", c.args(1, 1, "NAME"), find(func(ctx context.Context, path string, _ []string) error {
		return c.printOne(ctx, path, experimentFields, "id")
	}))
	var description string
	var tags []string
	create := verb("create NAME", "Create an experiment", "keelson experiment create churn\nkeelson experiment create churn --description \"who leaves\" --tag team=a\nkeelson experiment create churn -o name", c.args(1, 1, "NAME"), func(cmd *cobra.Command, args []string) error {
		set, err := pairsOf(tags)
		if err != nil {
			return err
		}
		return c.act(cmd.Context(), http.MethodPost, "/api/v1/experiments", map[string]any{"name": args[0], "description": description, "tags": set}, experimentFields, "id")
	})
	create.Flags().StringVar(&description, "description", "", "what it is about")
	create.Flags().StringArrayVar(&tags, "tag", nil, "tag as key=value; may be repeated")
	rename := verb("rename NAME NEW", "Rename an experiment", "keelson experiment rename churn leavers\nkeelson experiment rename 3 leavers\nkeelson experiment rename churn leavers --json", c.args(2, 2, "NAME and NEW"), find(func(ctx context.Context, path string, args []string) error {
		return c.act(ctx, http.MethodPatch, path, map[string]any{"name": args[1]}, experimentFields, "id")
	}))
	var about string
	var put, drop []string
	change := verb("set NAME", "Change description and tags of an experiment", "keelson experiment set churn --description \"who leaves\"\nkeelson experiment set churn --tag team=a --tag tier=2\nkeelson experiment set churn --untag team", c.args(1, 1, "NAME"), nil)
	change.RunE = find(func(ctx context.Context, path string, _ []string) error {
		set, err := pairsOf(put)
		if err != nil {
			return err
		}
		all := map[string]any{}
		for k, v := range set {
			all[k] = v
		}
		for _, k := range drop {
			all[k] = nil
		}
		body := map[string]any{"tags": all}
		if change.Flags().Changed("description") {
			body["description"] = about
		}
		return c.act(ctx, http.MethodPatch, path, body, experimentFields, "id")
	})
	change.Flags().StringVar(&about, "description", "", "what it is about; empty removes it")
	change.Flags().StringArrayVar(&put, "tag", nil, "tag to set, as key=value; may be repeated")
	change.Flags().StringArrayVar(&drop, "untag", nil, "tag to remove; may be repeated")
	remove := verb("delete NAME", "Move an experiment and its runs to the bin", "keelson experiment delete churn\nkeelson experiment delete 3\nkeelson experiment delete churn --json", c.args(1, 1, "NAME"), find(func(ctx context.Context, path string, _ []string) error {
		if err := c.act(ctx, http.MethodDelete, path, nil, experimentFields, "id"); err != nil {
			return err
		}
		c.next("undo with: keelson experiment restore %s", path[strings.LastIndex(path, "/")+1:])
		return nil
	}))
	restore := verb("restore NAME", "Take an experiment and its runs out of the bin", "keelson experiment restore churn\nkeelson experiment restore 3\nkeelson experiment restore churn --json", c.args(1, 1, "NAME"), find(func(ctx context.Context, path string, _ []string) error {
		return c.act(ctx, http.MethodPost, path+"/restore", nil, experimentFields, "id")
	}))
	return c.noun("experiment", "Experiments that gather runs", []string{"experiments"}, list, get, create, rename, change, remove, restore)
}

// pairsOf reads key=value.
func pairsOf(list []string) (map[string]string, error) {
	out := map[string]string{}
	for _, p := range list {
		k, v, ok := strings.Cut(p, "=")
		if !ok || k == "" {
			return nil, usage("%q is no tag; write key=value.", p)
		}
		out[k] = v
	}
	return out, nil
}
