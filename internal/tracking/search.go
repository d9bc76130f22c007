package tracking

import (
	"slices"
	"strings"

	"keelson/internal/db"
	"keelson/internal/db/find"
	"keelson/internal/filter"
	"keelson/internal/problem"
)

// Search asks for a page of runs, experiments or logged models.
type Search struct {
	Experiments []string // runs and logged models: where to look
	Anywhere    bool     // runs: in all experiments that are not deleted
	Filter      string
	Order       []string
	View        string // ActiveOnly (default), DeletedOnly, All
	Limit       int
	Token       string
	Columns     *Columns // runs: what to load of them; nil is everything
	// Datasets restrict the metrics that a search of logged models looks at; OrderData does so for one term of Order.
	Datasets  []DatasetRef
	OrderData map[int]DatasetRef
}

// DatasetRef names data by name and, unless it is empty, digest.
type DatasetRef struct{ Name, Digest string }

// side names the tables that hold the metrics, parameters and tags of what is searched, and their column of owner ids.
type side struct{ owner, metric, param, tag string }

var (
	runSide        = side{"run", "metric_latest", "run_param", "run_tag"}
	experimentSide = side{"experiment", "", "", "experiment_tag"}
	modelSide      = side{"model", "logged_model_metric", "logged_model_param", "logged_model_tag"}
)

func (s side) table(entity string) string {
	switch entity {
	case filter.Metric:
		return s.metric
	case filter.Param:
		return s.param
	}
	return s.tag
}

// finder builds the statements of one search.
type finder struct {
	tx      db.Scope
	v       Search
	side    side
	t       string // alias of the table that is searched
	clauses []filter.Clause
	orders  []filter.Order
	scope   []string            // runs: the experiments whose indexes can be used
	seen    func(*find.Builder) // is shown every statement that finds runs; nil but in tests
}

func newFinder(tx db.Scope, v Search, t string, s side, g *filter.Grammar) (f *finder, err error) {
	f = &finder{tx: tx, v: v, side: s, t: t}
	if len(v.Experiments) > MaxSearchExperiments {
		return nil, problem.New(problem.Invalid, "A search covers at most %d experiments; got %d.", MaxSearchExperiments, len(v.Experiments)).At("experiment_ids")
	}
	switch v.View {
	case "", ActiveOnly, DeletedOnly, All:
	default:
		return nil, problem.New(problem.Invalid, "Invalid value '%s' for parameter 'view_type' supplied; use ACTIVE_ONLY, DELETED_ONLY or ALL.", problem.Clip(v.View, 40)).At("view_type")
	}
	if f.clauses, err = filter.Parse(v.Filter, g); err != nil {
		return nil, err
	}
	f.orders, err = filter.ParseOrder(v.Order, g)
	return f, err
}

// name is the search as page tokens are bound to it.
func (f *finder) name() []string {
	experiments := slices.Clone(f.v.Experiments)
	slices.Sort(experiments)
	out := []string{f.side.owner, f.v.Filter, strings.Join(f.v.Order, "\x01"), f.v.View, strings.Join(slices.Compact(experiments), ",")}
	for i := range f.orders {
		d := f.v.OrderData[i]
		out = append(out, d.Name, d.Digest)
	}
	for _, d := range f.v.Datasets {
		out = append(out, d.Name, d.Digest)
	}
	return out
}

// deleted are the values that the column deleted may have.
func (f *finder) deleted() []string {
	switch f.v.View {
	case DeletedOnly:
		return []string{"1"}
	case All:
		return []string{"0", "1"}
	}
	return []string{"0"}
}

// where adds the conditions of the clauses, but for those that skip names.
func (f *finder) where(b *find.Builder, skip ...int) {
	for i, c := range f.clauses {
		if slices.Contains(skip, i) {
			continue
		}
		b.Add(" AND ")
		switch c.Entity {
		case filter.Attribute:
			f.attribute(b, c)
		case filter.Dataset:
			b.Add(`EXISTS (SELECT 1 FROM run_input i WHERE i.workspace = `+f.t+`.workspace AND i.run = `+f.t+`.id AND `, b.Text("i."+c.Key, c), `)`)
		default:
			not := ""
			if c.Op == filter.IsNull {
				not = "NOT "
			}
			b.Add(not+`EXISTS (SELECT 1 FROM `+f.side.table(c.Entity)+` x WHERE x.workspace = `+f.t+`.workspace AND x.`+f.side.owner+` = `+f.t+`.id AND x.key = `, b.Arg(c.Key))
			if c.Op != filter.IsNull && c.Op != filter.IsNotNull {
				b.Add(` AND `)
				value(b, "x", c)
			}
			if c.Entity == filter.Metric && f.side == modelSide {
				onData(b, f.v.Datasets)
			}
			b.Add(`)`)
		}
	}
	if len(f.v.Datasets) > 0 && !slices.ContainsFunc(f.clauses, func(c filter.Clause) bool { return c.Entity == filter.Metric }) {
		b.Add(` AND EXISTS (SELECT 1 FROM logged_model_metric x WHERE x.workspace = ` + f.t + `.workspace AND x.model = ` + f.t + `.id`)
		onData(b, f.v.Datasets)
		b.Add(`)`)
	}
}

// value adds the comparison of a metric's, parameter's or tag's value.
func value(b *find.Builder, x string, c filter.Clause) {
	switch {
	case !c.Numeric:
		b.Add(b.Text(x+".value", c))
	case c.Op == filter.Ne: // NaN is unequal to every number
		b.Add(`(`+x+`.kind = 1 OR `, b.Number(x+".value", c), `)`)
	default:
		b.Add(x+`.kind <> 1 AND `, b.Number(x+".value", c))
	}
}

// onData adds that a metric x of a logged model was measured on one of the data.
func onData(b *find.Builder, data []DatasetRef) {
	for i, d := range data {
		b.Add([]string{` AND (`, ` OR `}[min(i, 1)], `x.dataset = `, b.Arg(d.Name))
		if d.Digest != "" {
			b.Add(` AND x.dataset_digest = `, b.Arg(d.Digest))
		}
	}
	if len(data) > 0 {
		b.Add(`)`)
	}
}

// stored is a clause on the status, with the status written as it is stored.
func stored(c filter.Clause) filter.Clause {
	own := func(s string) string {
		return strings.TrimPrefix(strings.TrimPrefix(strings.ToLower(s), "logged_model_"), "upload_")
	}
	c.Text, c.List = own(c.Text), slices.Clone(c.List)
	for i := range c.List {
		c.List[i] = own(c.List[i])
	}
	return c
}

func (f *finder) attribute(b *find.Builder, c filter.Clause) {
	col := f.t + "." + c.Key
	switch {
	case c.Numeric:
		if b.Add(b.Millis(col, c)); c.Key == "ended_at" { // a run that goes on has no end
			b.Add(` AND ` + col + ` <> 0`)
		}
	case c.Key == "artifact_uri":
		b.Add(b.Text(`('mlflow-artifacts:/' || `+f.t+`.experiment || '/' || `+f.t+`.id || '/artifacts')`, c))
	case c.Key == "status":
		b.Add(b.Text(col, stored(c)))
	default:
		b.Add(b.Text(col, c))
	}
}

// terms gives the joins and terms of the orders from the given one on, closed by last so that no two rows are equal. What
// a row does not have comes last in both directions, NaN before it.
func (f *finder) terms(b *find.Builder, from int, last ...find.Term) (joins string, out []find.Term) {
	for i, o := range f.orders[from:] {
		if o.Entity == filter.Attribute {
			out = append(out, f.column(b, o)...)
			continue
		}
		x := "o" + string(rune('a'+i))
		if f.side == modelSide && o.Entity == filter.Metric {
			out = append(out, f.modelMetric(b, from+i)...)
			continue
		}
		joins += ` LEFT JOIN ` + f.side.table(o.Entity) + ` ` + x + ` ON ` + x + `.workspace = ` + f.t + `.workspace AND ` + x + `.` + f.side.owner + ` = ` + f.t + `.id AND ` + x + `.key = ` + b.Arg(o.Key)
		if o.Entity == filter.Metric {
			out = append(out, find.Term{SQL: `CASE WHEN ` + x + `.value IS NULL THEN 2 WHEN ` + x + `.kind = 1 THEN 1 ELSE 0 END`, Kind: find.Int},
				find.Term{SQL: `COALESCE(` + x + `.value, 0)`, Desc: o.Desc, Kind: find.Float})
		} else {
			out = append(out, find.Term{SQL: `CASE WHEN ` + x + `.value IS NULL THEN 1 ELSE 0 END`, Kind: find.Int},
				find.Term{SQL: b.Bytewise(`COALESCE(` + x + `.value, '')`), Desc: o.Desc, Kind: find.Text})
		}
	}
	for _, t := range last {
		if !slices.ContainsFunc(out, func(o find.Term) bool { return o.SQL == t.SQL }) {
			out = append(out, t)
		}
	}
	return joins, out
}

// column gives the terms of an attribute.
func (f *finder) column(b *find.Builder, o filter.Order) []find.Term {
	col := f.t + "." + o.Key
	switch {
	case o.Key == "ended_at": // a run that goes on has none
		return []find.Term{{SQL: `CASE WHEN ` + col + ` = 0 THEN 1 ELSE 0 END`, Kind: find.Int}, {SQL: col, Desc: o.Desc, Kind: find.Int}}
	case o.Numeric:
		return []find.Term{{SQL: col, Desc: o.Desc, Kind: find.Int}}
	case o.Key == "artifact_uri":
		col = f.t + ".id"
	case o.Key == "id" && f.side == experimentSide: // digits: the longer the greater
		return []find.Term{{SQL: `length(` + col + `)`, Desc: o.Desc, Kind: find.Int}, {SQL: b.Bytewise(col), Desc: o.Desc, Kind: find.Text}}
	}
	return []find.Term{{SQL: b.Bytewise(col), Desc: o.Desc, Kind: find.Text}}
}

// modelMetric gives the terms of a metric of logged models, of which the one measured last counts.
func (f *finder) modelMetric(b *find.Builder, order int) []find.Term {
	key, data := b.Arg(f.orders[order].Key), f.v.OrderData[order]
	on := ""
	if data.Name != "" {
		on += ` AND x.dataset = ` + b.Arg(data.Name)
	}
	if data.Digest != "" {
		on += ` AND x.dataset_digest = ` + b.Arg(data.Digest)
	}
	latest := func(what string) string {
		return `(SELECT ` + what + ` FROM logged_model_metric x WHERE x.workspace = m.workspace AND x.model = m.id AND x.key = ` + key + on +
			` ORDER BY x.at_ms DESC, x.step DESC, x.run, x.dataset, x.dataset_digest LIMIT 1)`
	}
	return []find.Term{{SQL: `COALESCE(` + latest(`CASE WHEN x.kind = 1 THEN 1 ELSE 0 END`) + `, 2)`, Kind: find.Int},
		{SQL: `COALESCE(` + latest(`x.value`) + `, 0)`, Desc: f.orders[order].Desc, Kind: find.Float}}
}

// row is one found row: its id and its place in the order.
type row struct {
	id string
	at []any
}

// cut ends a page: rows beyond limit are left out, and then there is a next page.
func (f *finder) cut(rows []row) (ids []string, next string) {
	if len(rows) > f.v.Limit {
		rows = rows[:f.v.Limit]
		next = find.Token(f.name(), rows[len(rows)-1].at)
	}
	ids = make([]string, len(rows))
	for i, r := range rows {
		ids[i] = r.id
	}
	return ids, next
}

// plain finds a page in one statement over the whole table, for what numbers thousands.
func (f *finder) plain(table string, last ...find.Term) (ids []string, next string, err error) {
	b := find.New(f.tx)
	joins, terms := f.terms(b, 0, last...)
	at, err := find.ParseToken(f.name(), f.v.Token, terms)
	if err != nil {
		return nil, "", err
	}
	b.Add(`SELECT `+f.t+`.id, `, find.Select(terms), ` FROM `+table+` `+f.t, joins, ` WHERE `+f.t+`.workspace = `, b.Arg(f.tx.Workspace),
		` AND `+f.t+`.deleted IN (`, strings.Join(f.deleted(), ", "), `)`)
	if f.side != experimentSide {
		b.Add(` AND `+f.t+`.experiment IN (`, b.Args(f.v.Experiments), `)`)
	}
	f.where(b)
	if at != nil {
		b.Add(` AND `, b.After(terms, at))
	}
	b.Add(` ORDER BY `, find.OrderBy(terms), ` LIMIT `, b.Arg(f.v.Limit+1))
	rows, err := fetch(b, terms, nil)
	ids, next = f.cut(rows)
	return ids, next, err
}

// fetch reads rows of an id and the terms' values; before stands in front of each row's place.
func fetch(b *find.Builder, terms []find.Term, before []any) (rows []row, err error) {
	dest, values := find.Dest(terms)
	var id string
	dest = append([]any{&id}, dest...)
	err = b.Each(func(scan func(...any) error) error {
		if err := scan(dest...); err != nil {
			return err
		}
		rows = append(rows, row{id, append(slices.Clone(before), values()...)})
		return nil
	})
	return rows, err
}

// MaxSearchExperiments bounds the experiments of one search.
const MaxSearchExperiments = 5000

func searchExperiments(tx db.Scope, v Search) (out []Experiment, next string, err error) {
	f, err := newFinder(tx, v, "e", experimentSide, filter.Experiments)
	if err != nil {
		return nil, "", err
	}
	b := find.New(tx)
	last := append([]find.Term{{SQL: "e.updated_at", Desc: true, Kind: find.Int}}, f.column(b, filter.Order{Entity: filter.Attribute, Key: "id", Desc: true})...)
	ids, next, err := f.plain("experiment", last...)
	if err != nil || len(ids) == 0 {
		return nil, "", err
	}
	at := place(ids)
	out = make([]Experiment, len(ids))
	err = inChunks(ids, func(part []string) error {
		b := find.New(tx)
		b.Add(`SELECT `+experimentColumns+` FROM experiment e WHERE e.workspace = `, b.Arg(tx.Workspace), ` AND e.id IN (`, b.Args(part), `)`)
		return b.Each(func(scan func(...any) error) error {
			e, err := scanExperiment(scan)
			out[at[e.ID]] = e
			return err
		})
	})
	if err != nil {
		return nil, "", err
	}
	return out, next, experimentTags(tx, out)
}

func searchModels(tx db.Scope, v Search) (out []LoggedModel, next string, err error) {
	f, err := newFinder(tx, v, "m", modelSide, filter.LoggedModels)
	if err != nil || len(v.Experiments) == 0 {
		return nil, "", err
	}
	for i, o := range f.orders {
		if d := v.OrderData[i]; d.Name == "" && d.Digest != "" || d.Name != "" && o.Entity != filter.Metric {
			return nil, "", problem.New(problem.Invalid, "`dataset_digest` can only be specified if `dataset_name` is also specified, and both only for a metric.").At("order_by")
		}
	}
	for _, d := range v.Datasets {
		if d.Name == "" {
			return nil, "", problem.New(problem.Invalid, "`dataset_name` in the `datasets` clause must be specified.").At("datasets")
		}
	}
	ids, next, err := f.plain("logged_model", find.Term{SQL: "m.created_at", Desc: true, Kind: find.Int}, find.Term{SQL: find.New(tx).Bytewise("m.id"), Kind: find.Text})
	if err != nil {
		return nil, "", err
	}
	out, err = readModels(tx, ids)
	return out, next, err
}

func place(ids []string) map[string]int {
	at := make(map[string]int, len(ids))
	for i, id := range ids {
		at[id] = i
	}
	return at
}
