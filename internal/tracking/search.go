package tracking

import (
	"encoding/base64"
	"encoding/json"
	"strings"

	"keelson/internal/db"
	"keelson/internal/filter"
	"keelson/internal/problem"
)

// Search asks for a page of runs, experiments or logged models.
type Search struct {
	Experiments []string // runs and logged models: where to look
	Filter      string
	Order       []string
	View        string // ActiveOnly (default), DeletedOnly, All
	Limit       int
	Token       string
}

// token is what a page token holds.
type token struct {
	Offset int `json:"offset"`
}

// ParseToken reads a page token; the empty one is the first page.
func ParseToken(s string) (int, error) {
	if s == "" {
		return 0, nil
	}
	b, err := base64.StdEncoding.DecodeString(s)
	var t token
	if err == nil {
		err = json.Unmarshal(b, &t)
	}
	if err != nil || t.Offset < 0 {
		return 0, problem.New(problem.Invalid, "Invalid page token: %q. Send the next_page_token of the page before, or none.", clip(s, 60)).At("page_token")
	}
	return t.Offset, nil
}

// MakeToken makes the token of the page that starts at offset.
func MakeToken(offset int) string {
	b, _ := json.Marshal(token{offset})
	return base64.StdEncoding.EncodeToString(b)
}

// Compare is the SQL of "col op value" for a clause on a text column, alike on both databases: LIKE tells capitals from
// small letters, ILIKE does not, both know % and _ and no escape.
func (q *query) compare(col string, c filter.Clause) string {
	switch c.Op {
	case "!=":
		return col + " <> " + q.arg(c.Text)
	case "LIKE":
		if q.pg {
			return col + " LIKE " + q.arg(c.Text) + " ESCAPE ''"
		}
		return col + " GLOB " + q.arg(globs.Replace(c.Text))
	case "ILIKE":
		if q.pg {
			return col + " ILIKE " + q.arg(c.Text) + " ESCAPE ''"
		}
		return col + " LIKE " + q.arg(c.Text)
	case "IN":
		return col + " IN (" + q.args(c.List) + ")"
	case "NOT IN":
		return col + " NOT IN (" + q.args(c.List) + ")"
	}
	return col + " = " + q.arg(c.Text)
}

// globs turns a LIKE pattern into a GLOB pattern.
var globs = strings.NewReplacer("%", "*", "_", "?", "*", "[*]", "?", "[?]", "[", "[[]")

// number is the SQL of "col op v".
func (q *query) number(col, op string, v any) string {
	if op == "!=" {
		op = "<>"
	}
	return col + " " + op + " " + q.arg(v)
}

// side names the tables that hold the metrics, parameters and tags of what is searched, and their column of owner ids.
type side struct{ owner, metric, param, tag string }

var (
	runSide        = side{"run", "metric_latest", "run_param", "run_tag"}
	experimentSide = side{"experiment", "", "", "experiment_tag"}
	modelSide      = side{"model", "logged_model_metric", "logged_model_param", "logged_model_tag"}
)

// where adds the conditions of clauses on rows of alias t.
func (q *query) where(t string, s side, clauses []filter.Clause) {
	for _, c := range clauses {
		q.add(" AND ")
		switch c.Entity {
		case filter.Attribute:
			q.attribute(t, c)
		case filter.Dataset:
			q.add(`EXISTS (SELECT 1 FROM run_input i WHERE i.workspace = `+t+`.workspace AND i.run = `+t+`.id AND `, q.compare("i."+c.Key, c), `)`)
		default:
			table := map[string]string{filter.Metric: s.metric, filter.Param: s.param, filter.Tag: s.tag}[c.Entity]
			not := ""
			if c.Op == "IS NULL" {
				not = "NOT "
			}
			q.add(not+`EXISTS (SELECT 1 FROM `+table+` x WHERE x.workspace = `+t+`.workspace AND x.`+s.owner+` = `+t+`.id AND x.key = `, q.arg(c.Key))
			switch {
			case c.Op == "IS NULL" || c.Op == "IS NOT NULL":
			case c.Numeric:
				if c.Op == filter.Ne { // NaN equals nothing
					q.add(` AND (x.kind = 1 OR `, q.number("x.value", c.Op, c.Number), `)`)
				} else {
					q.add(` AND x.kind <> 1 AND `, q.number("x.value", c.Op, c.Number))
				}
			default:
				q.add(` AND `, q.compare("x.value", c))
			}
			q.add(`)`)
		}
	}
}

func (q *query) attribute(t string, c filter.Clause) {
	col := t + "." + c.Key
	switch {
	case c.Numeric: // times: asked in milliseconds, stored in microseconds
		q.add(q.number(col, c.Op, int64(max(-9e15, min(9e15, c.Number*1000)))))
	case c.Key == "artifact_uri":
		q.add(q.compare(`('mlflow-artifacts:/' || `+t+`.experiment || '/' || `+t+`.id || '/artifacts')`, c))
	case c.Key == "status":
		c.Text = strings.ToLower(strings.TrimPrefix(c.Text, "LOGGED_MODEL_"))
		for i := range c.List {
			c.List[i] = strings.ToLower(c.List[i])
		}
		q.add(q.compare(col, c))
	default:
		q.add(q.compare(col, c))
	}
}

// ordering gives the joins and the ORDER BY of terms; rows without a value come last in both directions, NaN before them.
// rest closes the ordering so that it is total.
func (q *query) ordering(t string, s side, terms []filter.Order, rest string) (joins, order string) {
	var out []string
	for i, o := range terms {
		dir := ""
		if o.Desc {
			dir = " DESC"
		}
		if o.Entity == filter.Attribute {
			col := t + "." + o.Key
			switch {
			case o.Key == "ended_at":
				out = append(out, `CASE WHEN `+col+` = 0 THEN 1 ELSE 0 END`)
			case o.Key == "artifact_uri":
				col = t + ".id"
			case o.Key == "id" && s.owner == "experiment":
				out = append(out, `length(`+col+`)`+dir)
			}
			if !o.Numeric {
				col = bytewise(q.tx, col)
			}
			out = append(out, col+dir)
			continue
		}
		table := map[string]string{filter.Metric: s.metric, filter.Param: s.param, filter.Tag: s.tag}[o.Entity]
		x := "o" + string(rune('a'+i))
		if o.Entity == filter.Metric && s == modelSide { // several data sets: the greatest value counts
			joins += ` LEFT JOIN (SELECT workspace, model, MAX(value) AS value, MIN(kind) AS kind FROM logged_model_metric WHERE workspace = ` + q.arg(q.tx.Workspace) +
				` AND key = ` + q.arg(o.Key) + ` GROUP BY workspace, model) ` + x + ` ON ` + x + `.workspace = ` + t + `.workspace AND ` + x + `.model = ` + t + `.id`
		} else {
			joins += ` LEFT JOIN ` + table + ` ` + x + ` ON ` + x + `.workspace = ` + t + `.workspace AND ` + x + `.` + s.owner + ` = ` + t + `.id AND ` + x + `.key = ` + q.arg(o.Key)
		}
		if o.Entity == filter.Metric {
			out = append(out, `CASE WHEN `+x+`.value IS NULL THEN 2 WHEN `+x+`.kind = 1 THEN 1 ELSE 0 END`, x+`.value`+dir)
		} else {
			out = append(out, `CASE WHEN `+x+`.value IS NULL THEN 1 ELSE 0 END`, bytewise(q.tx, x+`.value`)+dir)
		}
	}
	return joins, strings.Join(append(out, rest), ", ")
}

// page runs the statement for the ids of one page.
func page(tx db.Scope, table, t string, s side, g *filter.Grammar, v Search, scope func(*query), rest string, limit int) (ids []string, next string, err error) {
	clauses, err := filter.Parse(v.Filter, g)
	if err != nil {
		return nil, "", err
	}
	terms, err := filter.ParseOrder(v.Order, g)
	if err != nil {
		return nil, "", err
	}
	offset, err := ParseToken(v.Token)
	if err != nil {
		return nil, "", err
	}
	q := newQuery(tx)
	joins, order := q.ordering(t, s, terms, rest)
	q.add(`SELECT `+t+`.id FROM `+table+` `+t, joins, ` WHERE `+t+`.workspace = `, q.arg(tx.Workspace))
	if scope != nil {
		scope(q)
	}
	switch v.View {
	case "", ActiveOnly:
		q.add(` AND ` + t + `.deleted = 0`)
	case DeletedOnly:
		q.add(` AND ` + t + `.deleted = 1`)
	case All:
	default:
		return nil, "", problem.New(problem.Invalid, "Invalid value '%s' for parameter 'view_type' supplied; use ACTIVE_ONLY, DELETED_ONLY or ALL.", clip(v.View, 40)).At("view_type")
	}
	q.where(t, s, clauses)
	q.add(` ORDER BY `, order, ` LIMIT `, q.arg(limit+1), ` OFFSET `, q.arg(offset))
	err = tx.Each(q.String(), q.a, func(scan func(...any) error) error {
		var id string
		if err := scan(&id); err != nil {
			return err
		}
		ids = append(ids, id)
		return nil
	})
	if len(ids) > limit {
		ids, next = ids[:limit], MakeToken(offset+limit)
	}
	return ids, next, err
}

// MaxSearchExperiments bounds the experiments of one search.
const MaxSearchExperiments = 5000

func (v *Search) check() error {
	if len(v.Experiments) > MaxSearchExperiments {
		return problem.New(problem.Invalid, "A search covers at most %d experiments; got %d.", MaxSearchExperiments, len(v.Experiments)).At("experiment_ids")
	}
	return nil
}

func searchRuns(tx db.Scope, v Search) (out []Run, next string, err error) {
	if len(v.Experiments) == 0 {
		return nil, "", nil
	}
	if err := v.check(); err != nil {
		return nil, "", err
	}
	ids, next, err := page(tx, "run", "r", runSide, filter.Runs, v, func(q *query) {
		q.add(` AND r.experiment IN (`, q.args(v.Experiments), `)`)
	}, `r.started_at DESC, r.id`, v.Limit)
	if err != nil || len(ids) == 0 {
		return nil, "", err
	}
	at := place(ids)
	out = make([]Run, len(ids))
	err = inChunks(ids, func(part []string) error {
		q := newQuery(tx)
		q.add(`SELECT `+runColumns+` FROM run r WHERE r.workspace = `, q.arg(tx.Workspace), ` AND r.id IN (`, q.args(part), `)`)
		return tx.Each(q.String(), q.a, func(scan func(...any) error) error {
			r, err := scanRun(scan)
			out[at[r.ID]] = r
			return err
		})
	})
	if err != nil {
		return nil, "", err
	}
	return out, next, fill(tx, out)
}

func searchExperiments(tx db.Scope, v Search) (out []Experiment, next string, err error) {
	rest := `e.updated_at DESC, length(e.id) DESC, ` + bytewise(tx, "e.id") + ` DESC`
	ids, next, err := page(tx, "experiment", "e", experimentSide, filter.Experiments, v, nil, rest, v.Limit)
	if err != nil || len(ids) == 0 {
		return nil, "", err
	}
	at := place(ids)
	out = make([]Experiment, len(ids))
	err = inChunks(ids, func(part []string) error {
		q := newQuery(tx)
		q.add(`SELECT `+experimentColumns+` FROM experiment e WHERE e.workspace = `, q.arg(tx.Workspace), ` AND e.id IN (`, q.args(part), `)`)
		return tx.Each(q.String(), q.a, func(scan func(...any) error) error {
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
	if len(v.Experiments) == 0 {
		return nil, "", nil
	}
	if err := v.check(); err != nil {
		return nil, "", err
	}
	ids, next, err := page(tx, "logged_model", "m", modelSide, filter.LoggedModels, v, func(q *query) {
		q.add(` AND m.experiment IN (`, q.args(v.Experiments), `)`)
	}, `m.created_at DESC, m.id`, v.Limit)
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
