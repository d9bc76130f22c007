package tracking

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"keelson/internal/db"
	"keelson/internal/db/find"
	"keelson/internal/problem"
)

// Columns says which metrics, parameters and tags of runs to load. The tags a view of a run needs (its parent, its
// pipeline run) are loaded in any case.
type Columns struct {
	Metrics, Params, Tags          []string // keys
	AllMetrics, AllParams, AllTags bool
}

// maxColumns bounds the keys of one request.
const maxColumns = 1000

// ParseColumns reads a list like "metrics.acc, params.`a b`, tags.*". An empty one is nil, everything; "none" loads only
// the attributes.
func ParseColumns(list []string) (*Columns, error) {
	if len(list) == 0 {
		return nil, nil
	}
	if len(list) > maxColumns {
		return nil, problem.New(problem.Invalid, "At most %d columns can be asked for; got %d.", maxColumns, len(list)).At("columns")
	}
	c := &Columns{}
	for _, name := range list {
		name = strings.TrimSpace(name)
		entity, key, _ := strings.Cut(name, ".")
		if k := strings.TrimSuffix(strings.TrimPrefix(key, "`"), "`"); len(k) == len(key)-2 {
			key = strings.ReplaceAll(k, "``", "`")
		}
		keys, all := &c.Metrics, &c.AllMetrics
		switch entity {
		case "metrics", "metric":
		case "params", "param":
			keys, all = &c.Params, &c.AllParams
		case "tags", "tag":
			keys, all = &c.Tags, &c.AllTags
		case "none", "attributes", "":
			continue
		default:
			return nil, problem.New(problem.Invalid, "There is no column '%s'; write metrics.<key>, params.<key>, tags.<key>, or metrics.* for all of a kind.", problem.Clip(name, 80)).At("columns")
		}
		switch {
		case key == "*":
			*all = true
		case key == "":
			return nil, problem.New(problem.Invalid, "The column '%s' names no key; write metrics.accuracy, or metrics.* for all.", problem.Clip(name, 80)).At("columns")
		case !slices.Contains(*keys, key):
			*keys = append(*keys, key)
		}
	}
	return c, nil
}

// SplitColumns parts a comma list in which keys may be quoted with backticks.
func SplitColumns(s string) (out []string) {
	if strings.TrimSpace(s) == "" {
		return nil
	}
	quoted, begin := false, 0
	for i := range len(s) {
		switch {
		case s[i] == '`':
			quoted = !quoted
		case s[i] == ',' && !quoted:
			out = append(out, s[begin:i])
			begin = i + 1
		}
	}
	return append(out, s[begin:])
}

// readRuns reads runs in the order of ids.
func readRuns(tx db.Scope, ids []string, c *Columns) ([]Run, error) {
	out, err := readBare(tx, ids)
	if err != nil {
		return nil, err
	}
	return out, load(tx, out, c)
}

// readBare reads runs without what load fills in.
func readBare(tx db.Scope, ids []string) ([]Run, error) {
	out := make([]Run, len(ids))
	at := place(ids)
	err := inChunks(ids, func(part []string) error {
		b := find.New(tx)
		b.Add(`SELECT `+runColumns+` FROM run r WHERE r.workspace = `, b.Arg(tx.Workspace), ` AND r.id IN (`, b.Args(part), `)`)
		return b.Each(func(scan func(...any) error) error {
			r, err := scanRun(scan)
			out[at[r.ID]] = r
			return err
		})
	})
	return out, err
}

// fill reads parameters, tags, latest metrics, inputs and models of the runs in list.
func fill(tx db.Scope, list []Run) error { return load(tx, list, nil) }

// load fills in what columns ask for.
func load(tx db.Scope, list []Run, c *Columns) error {
	for _, l := range loaders(list, c) {
		if err := l(tx); err != nil {
			return err
		}
	}
	return nil
}

// aside is the size of a page from which its tables are read at the same time.
const aside = 20

// loadAside is load with a transaction of its own per table, all at the same time: a page is many small rows that the
// database hands over one by one.
func (s *Service) loadAside(ctx context.Context, list []Run, c *Columns) error {
	var g errgroup.Group
	for _, l := range loaders(list, c) {
		g.Go(func() error { return s.DB.Read(ctx, l) })
	}
	return g.Wait()
}

// loaders fill in what columns ask for, each fields of its own. A loader may run again after it failed.
func loaders(list []Run, c *Columns) (out []func(db.Scope) error) {
	ids := make([]string, len(list))
	for i, r := range list {
		ids[i] = r.ID
	}
	at := place(ids)
	add := func(what string, begin func(*Run), part func(tx db.Scope, ids []string) error) {
		out = append(out, func(tx db.Scope) error {
			for i := range list {
				begin(&list[i])
			}
			if err := inChunks(ids, func(some []string) error { return part(tx, some) }); err != nil {
				return fmt.Errorf("read %s: %w", what, err)
			}
			return nil
		})
	}
	all := c == nil
	if all {
		c = &Columns{AllMetrics: true, AllParams: true, AllTags: true}
	}
	tags := c.Tags
	if !c.AllTags {
		tags = append([]string{TagParent, TagPipelineRun}, tags...)
	}
	add("metrics", func(r *Run) { r.Metrics = nil }, func(tx db.Scope, part []string) error { return loadMetrics(tx, list, at, part, c) })
	add("parameters", func(r *Run) { r.Params = map[string]string{} }, func(tx db.Scope, part []string) error {
		return loadPairs(tx, "run_param", part, c.Params, c.AllParams, func(id string, k, v string) { list[at[id]].Params[k] = v })
	})
	add("tags", func(r *Run) { r.Tags = map[string]string{} }, func(tx db.Scope, part []string) error {
		return loadPairs(tx, "run_tag", part, tags, c.AllTags, func(id string, k, v string) { list[at[id]].Tags[k] = v })
	})
	if all {
		add("inputs", func(r *Run) { r.Inputs = nil }, func(tx db.Scope, part []string) error { return loadInputs(tx, list, at, part) })
		add("models", func(r *Run) { r.ModelsIn, r.ModelsOut = nil, nil }, func(tx db.Scope, part []string) error { return loadModels(tx, list, at, part) })
	}
	return out
}

func among(b *find.Builder, keys []string, all bool) {
	if !all {
		b.Add(` AND key IN (`, b.Args(keys), `)`)
	}
}

func loadPairs(tx db.Scope, table string, ids, keys []string, all bool, put func(id, k, v string)) error {
	if !all && len(keys) == 0 {
		return nil
	}
	b := find.New(tx)
	b.Add(`SELECT run, key, value FROM `+table+` WHERE workspace = `, b.Arg(tx.Workspace), ` AND run IN (`, b.Args(ids), `)`)
	among(b, keys, all)
	return b.Each(func(scan func(...any) error) error {
		var id, k, v string
		if err := scan(&id, &k, &v); err != nil {
			return err
		}
		put(id, k, v)
		return nil
	})
}

func loadMetrics(tx db.Scope, list []Run, at map[string]int, ids []string, c *Columns) error {
	if !c.AllMetrics && len(c.Metrics) == 0 {
		return nil
	}
	b := find.New(tx)
	b.Add(`SELECT run, key, value, kind, step, at_ms FROM metric_latest WHERE workspace = `, b.Arg(tx.Workspace), ` AND run IN (`, b.Args(ids), `)`)
	among(b, c.Metrics, c.AllMetrics)
	b.Add(` ORDER BY run, key`)
	return b.Each(func(scan func(...any) error) error {
		var id string
		var p Point
		var kind int
		if err := scan(&id, &p.Key, &p.Value, &kind, &p.Step, &p.At); err != nil {
			return err
		}
		p.Value = join(p.Value, kind)
		r := &list[at[id]]
		r.Metrics = append(r.Metrics, p)
		return nil
	})
}

func loadInputs(tx db.Scope, list []Run, at map[string]int, ids []string) error {
	b := find.New(tx)
	b.Add(`SELECT run, document, created_at FROM run_input WHERE workspace = `, b.Arg(tx.Workspace), ` AND run IN (`, b.Args(ids), `) ORDER BY run, created_at, name, digest`)
	return b.Each(func(scan func(...any) error) error {
		var id, doc string
		var us int64
		if err := scan(&id, &doc, &us); err != nil {
			return err
		}
		var in Input
		if err := db.FromJSON(doc, &in); err != nil {
			return err
		}
		in.Logged = db.Time(us)
		r := &list[at[id]]
		r.Inputs = append(r.Inputs, in)
		return nil
	})
}

func loadModels(tx db.Scope, list []Run, at map[string]int, ids []string) error {
	b := find.New(tx)
	b.Add(`SELECT run, direction, model, step FROM run_model WHERE workspace = `, b.Arg(tx.Workspace), ` AND run IN (`, b.Args(ids), `) ORDER BY run, model`)
	return b.Each(func(scan func(...any) error) error {
		var id, direction string
		var m ModelRef
		if err := scan(&id, &direction, &m.Model, &m.Step); err != nil {
			return err
		}
		r := &list[at[id]]
		if direction == "in" {
			r.ModelsIn = append(r.ModelsIn, m)
		} else {
			r.ModelsOut = append(r.ModelsOut, m)
		}
		return nil
	})
}
