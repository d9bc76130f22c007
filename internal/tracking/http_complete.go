package tracking

import (
	"context"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"keelson/internal/db"
	"keelson/internal/filter"
	"keelson/internal/problem"
)

type columnsView struct {
	Metrics []keyCount `json:"metrics"`
	Params  []keyCount `json:"params"`
	Tags    []keyCount `json:"tags"`
	Capped  bool       `json:"capped,omitempty" doc:"there are more keys of a kind than 1,000, or more experiments than 20"`
}

// listColumns tells what columns a table of runs can have.
func (s *Service) listColumns(ctx context.Context, in *struct {
	Experiment string `query:"experiment" doc:"comma list of ids; without, the 20 experiments changed last"`
}) (out columnsView, err error) {
	v, err := RunQuery{Experiment: in.Experiment}.search()
	if err != nil {
		return out, err
	}
	err = s.DB.Read(ctx, func(tx db.Scope) error {
		experiments, err := places(tx, v.Experiments)
		if err != nil {
			return err
		}
		out.Capped = len(v.Experiments) > len(experiments)
		for _, c := range []struct {
			table string
			into  *[]keyCount
		}{{runSide.metric, &out.Metrics}, {runSide.param, &out.Params}, {runSide.tag, &out.Tags}} {
			keys, err := keysOf(tx, c.table, experiments, maxKeys)
			if err != nil {
				return err
			}
			out.Capped = out.Capped || len(keys) == maxKeys
			*c.into = []keyCount{}
			for _, k := range keys {
				n, err := countKey(tx, c.table, experiments, k)
				if err != nil {
					return err
				}
				*c.into = append(*c.into, keyCount{k, n})
			}
		}
		return nil
	})
	return out, err
}

type completion struct {
	Text  string `json:"text" doc:"what to put in place of from..to"`
	Label string `json:"label" doc:"what to show"`
	Kind  string `json:"kind" enum:"attribute,entity,metric,param,tag,dataset,operator,value,keyword"`
}

type filterProblem struct {
	Position int    `json:"position" doc:"in characters from 1; 0: the filter as a whole"`
	Detail   string `json:"detail"`
}

type completionView struct {
	Want    string         `json:"want" enum:"name,key,operator,value,and"`
	From    int            `json:"from" doc:"in characters from 0"`
	To      int            `json:"to"`
	Items   []completion   `json:"items"`
	Problem *filterProblem `json:"problem,omitempty" doc:"what is wrong with the filter as it is"`
}

// maxCompletions is how many are offered at most.
const maxCompletions = 50

var position = regexp.MustCompile(` \(at position (\d+) of the filter\)`)

// completeFilter says what can stand at a place of a filter.
func (s *Service) completeFilter(ctx context.Context, in *struct {
	Experiment string `query:"experiment" doc:"comma list of ids"`
	Text       string `query:"text" doc:"the filter so far"`
	At         int    `query:"at" default:"-1" doc:"place of the cursor in characters from 0; the end if absent"`
}) (out completionView, err error) {
	v, err := RunQuery{Experiment: in.Experiment}.search()
	if err != nil {
		return out, err
	}
	if len(in.Text) > filter.MaxLength || !utf8.ValidString(in.Text) {
		return out, problem.New(problem.Invalid, "The filter is longer than %d bytes or is not UTF-8.", filter.MaxLength).At("text")
	}
	runes := []rune(in.Text)
	if in.At < 0 || in.At > len(runes) {
		in.At = len(runes)
	}
	p := filter.Complete(in.Text, len(string(runes[:in.At])), filter.Runs)
	out = completionView{Want: p.Want, From: utf8.RuneCountInString(in.Text[:p.From]), To: utf8.RuneCountInString(in.Text[:p.To]), Items: []completion{}}
	if _, err := filter.Parse(in.Text, filter.Runs); err != nil {
		if q, ok := problem.As(err); ok {
			out.Problem = &filterProblem{Detail: q.Detail}
			if m := position.FindStringSubmatchIndex(q.Detail); m != nil {
				out.Problem.Position, _ = strconv.Atoi(q.Detail[m[2]:m[3]])
				out.Problem.Detail = q.Detail[:m[0]] + q.Detail[m[1]:]
			}
		}
	}
	err = s.DB.Read(ctx, func(tx db.Scope) error {
		experiments, err := places(tx, v.Experiments)
		if err != nil {
			return err
		}
		out.Items, err = completions(tx, p, experiments)
		return err
	})
	return out, err
}

// kinds are the names of entities in completions.
var kinds = map[string]string{filter.Metric: "metric", filter.Param: "param", filter.Tag: "tag", filter.Dataset: "dataset"}

func completions(tx db.Scope, p filter.Place, experiments []string) (out []completion, err error) {
	out = []completion{}
	begun := strings.ToLower(p.Begun)
	add := func(kind, text, label string) {
		if len(out) < maxCompletions {
			out = append(out, completion{text, label, kind})
		}
	}
	// matching keeps what begins with the word under the cursor, then what holds it.
	matching := func(list []string) (fits []string) {
		var holds []string
		for _, k := range list {
			switch l := strings.ToLower(k); {
			case strings.HasPrefix(l, begun):
				fits = append(fits, k)
			case strings.Contains(l, begun):
				holds = append(holds, k)
			}
		}
		return append(fits, holds...)
	}
	switch p.Want {
	case filter.WantName:
		for _, n := range matching(filter.Runs.Names()) {
			if strings.HasSuffix(n, ".") {
				add("entity", n, n)
			} else if n == strings.ToLower(n) && !strings.Contains(n, " ") { // the other spellings are for old clients
				add("attribute", n+" ", n)
			}
		}
		if begun == "" {
			return out, nil
		}
		for _, e := range []struct{ entity, written string }{{filter.Metric, "metrics"}, {filter.Param, "params"}, {filter.Tag, "tags"}} {
			keys, err := keysOf(tx, runSide.table(e.entity), experiments, maxKeys)
			if err != nil {
				return nil, err
			}
			for _, k := range matching(keys) {
				add(kinds[e.entity], filter.Name(e.written, k)+" ", e.written+"."+k)
			}
		}
	case filter.WantKey:
		keys := filter.Runs.Keys(p.Entity)
		if p.Entity != filter.Dataset && p.Entity != filter.Attribute {
			if keys, err = keysOf(tx, runSide.table(p.Entity), experiments, maxKeys); err != nil {
				return nil, err
			}
		}
		kind := kinds[p.Entity]
		if kind == "" {
			kind = "attribute"
		}
		for _, k := range matching(keys) {
			add(kind, filter.Name(p.Written, k)+" ", k)
		}
	case filter.WantOperator:
		for _, op := range matching(p.Rule.Ops) {
			text := op + " "
			if op == filter.In || op == filter.NotIn {
				text += "("
			}
			add("operator", text, op)
		}
	case filter.WantValue:
		list, err := knownValues(tx, p, experiments)
		if err != nil {
			return nil, err
		}
		for _, v := range matching(list) {
			add("value", filter.Quote(v), problem.Clip(v, 120))
		}
	case filter.WantAnd:
		if strings.HasPrefix("and", begun) {
			add("keyword", "AND ", "AND")
		}
	}
	return out, nil
}

// knownValues are values that a key has in runs.
func knownValues(tx db.Scope, p filter.Place, experiments []string) ([]string, error) {
	switch p.Entity {
	case filter.Param, filter.Tag:
		return valuesOf(tx, runSide.table(p.Entity), experiments, p.Key, p.Begun, maxCompletions)
	case filter.Attribute:
		switch p.Rule.Stored {
		case "status":
			return []string{"RUNNING", "SCHEDULED", "FINISHED", "FAILED", "KILLED"}, nil
		case "name":
			return valuesOf(tx, runSide.tag, experiments, TagName, p.Begun, maxCompletions)
		case "author":
			return valuesOf(tx, runSide.tag, experiments, TagUser, p.Begun, maxCompletions)
		case "experiment":
			return experiments, nil
		}
	case filter.Dataset:
		if !slices.Contains([]string{"name", "digest", "context"}, p.Key) {
			return nil, nil
		}
		var out []string
		err := tx.Each(`SELECT DISTINCT `+p.Key+` FROM (SELECT `+p.Key+` FROM run_input WHERE workspace = $1 LIMIT 10000) i ORDER BY 1 LIMIT 1000`, []any{tx.Workspace}, func(scan func(...any) error) error {
			var v string
			err := scan(&v)
			out = append(out, v)
			return err
		})
		return out, err
	}
	return nil, nil
}
