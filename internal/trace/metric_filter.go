package trace

import (
	"context"
	"fmt"
	"math"
	"strings"

	"keelson/internal/db"
	"keelson/internal/filter"
	"keelson/internal/problem"
)

var equals = []string{filter.Eq}

// metricGrammar is what the filters of metrics may name: one equality each.
var metricGrammar = &filter.Grammar{Entities: []filter.Entity{
	{Name: "trace", Prefix: "", Keys: map[string]filter.Key{"status": {Ops: equals}}, Any: &filter.Key{Ops: equals}},
	{Name: "span", Keys: map[string]filter.Key{"name": {Ops: equals}, "status": {Ops: equals}, "type": {Ops: equals}}},
	{Name: "assessment", Keys: map[string]filter.Key{"name": {Ops: equals}, "type": {Ops: equals}}},
}}

// metricFilter is what the filters of a metric come to.
type metricFilter struct {
	traces     []filter.Clause
	spans      map[string]string
	name, kind string // of assessments
}

// span reports whether a span meets the filters on spans.
func (f *metricFilter) span(s *Span) bool {
	for k, v := range f.spans {
		if k == "type" {
			k = "kind"
		}
		if x, _ := spanText(s, k); x != v {
			return false
		}
	}
	return true
}

func metricFilters(view string, list []string) (f metricFilter, err error) {
	f.spans = map[string]string{}
	for _, text := range list {
		clauses, err := filter.Parse(text, metricGrammar)
		if err != nil {
			return f, err
		}
		if len(clauses) != 1 {
			return f, problem.New(problem.Invalid, "Invalid filter: '%s'. Expected one filter clause.", problem.Clip(text, 80)).At("filters")
		}
		c := clauses[0]
		switch {
		case c.Entity == "trace" && c.Key == "status":
			f.traces = append(f.traces, filter.Clause{Entity: filter.Attribute, Key: "state", Op: filter.Eq, Text: c.Text})
		case c.Entity == "trace":
			entity, key, ok := strings.Cut(c.Key, ".")
			if !ok || key == "" || entity != filter.Tag && entity != "metadata" {
				return f, problem.New(problem.Invalid, "Invalid entity '%s' specified for view type 'trace'. Valid entities are status, tag.<key>, metadata.<key>", problem.Clip(c.Key, 60)).At("filters")
			}
			sub, err := filter.Parse(entity+".`"+strings.ReplaceAll(strings.Trim(key, "`"), "`", "``")+"` = ''", Grammar) // read as in searches
			if err != nil {
				return f, err
			}
			sub[0].Text = c.Text
			f.traces = append(f.traces, sub[0])
		case c.Entity == ofSpan && view != OfSpans, c.Entity == "assessment" && view != OfAssessments:
			return f, problem.New(problem.Invalid, "Filtering by %s is only supported for the view of the same name, got %s", c.Entity, view).At("filters")
		case c.Entity == "span":
			f.spans[c.Key] = c.Text
		case c.Key == "name":
			f.name = c.Text
		default:
			f.kind = c.Text
		}
	}
	return f, nil
}

// Correlation is how often two filters hold together. NPMI is the normalised pointwise mutual information, −1 (never
// together) to 1 (always together), NaN where one of them never holds; Smoothed adds one half to each of the four counts.
//
// Source: Bouma, Normalized (Pointwise) Mutual Information in Collocation Extraction, 2009; Jeffreys' prior.
type Correlation struct {
	NPMI, Smoothed              float64
	First, Second, Joint, Total int
}

// maxCorrelated bounds the traces that are compared.
const maxCorrelated = 500_000

// Correlate counts how two filters hold among the traces of experiments that meet base.
func (s *Service) Correlate(ctx context.Context, experiments []string, first, second, base string) (c Correlation, err error) {
	if len(experiments) == 0 || len(experiments) > 1000 {
		return c, problem.New(problem.Invalid, "A correlation covers 1 to 1000 experiments; got %d.", len(experiments)).At("experiment_ids")
	}
	joined := func(f string) string {
		if base == "" {
			return f
		}
		return base + " AND " + f
	}
	var plans [3]plan
	for i, f := range []string{base, joined(first), joined(second)} {
		if plans[i], err = parse(f); err != nil {
			return c, err
		}
	}
	err = s.DB.Read(ctx, func(tx db.Scope) error {
		c = Correlation{}
		var sets [3]map[string]bool
		for i, p := range plans {
			var err error
			if sets[i], err = matching(tx, experiments, p); err != nil {
				return err
			}
		}
		c.Total, c.First, c.Second = len(sets[0]), len(sets[1]), len(sets[2])
		for id := range sets[1] {
			if sets[2][id] {
				c.Joint++
			}
		}
		return nil
	})
	if err != nil {
		return c, fmt.Errorf("correlate filters: %w", err)
	}
	c.NPMI, c.Smoothed = npmi(c)
	return c, nil
}

// matching gives the ids of all traces that meet a filter.
func matching(tx db.Scope, experiments []string, p plan) (map[string]bool, error) {
	out := map[string]bool{}
	if p.open || len(p.rest) > 0 {
		for v := (Search{Experiments: experiments, Limit: MaxSearch}); ; {
			list, next, err := lookUp(tx, v, p, nil)
			if err != nil {
				return nil, err
			}
			for _, t := range list {
				out[t.ID] = true
			}
			if v.Token = next; next == "" {
				return out, nil
			}
		}
	}
	q := newQuery(tx)
	q.Add(`SELECT t.id FROM trace t WHERE t.workspace = `, q.Arg(tx.Workspace))
	q.scope(Search{Experiments: experiments})
	q.where(tx.Postgres(), p)
	q.Add(` LIMIT `, q.Arg(maxCorrelated+1))
	err := tx.Each(q.String(), q.Values, func(scan func(...any) error) error {
		var id string
		err := scan(&id)
		out[id] = true
		return err
	})
	if err == nil && len(out) > maxCorrelated {
		err = problem.New(problem.Invalid, "More than %d traces would be compared; narrow the base_filter.", maxCorrelated).At("base_filter")
	}
	return out, err
}

func npmi(c Correlation) (plain, smoothed float64) {
	if c.Total == 0 || c.First == 0 || c.Second == 0 {
		return math.NaN(), math.NaN()
	}
	both, one, other := float64(c.Joint), float64(c.First-c.Joint), float64(c.Second-c.Joint)
	none := float64(c.Total - c.First - c.Second + c.Joint)
	of := func(prior float64) float64 {
		a, b, d, e := both+prior, one+prior, other+prior, none+prior
		n := a + b + d + e
		if one == 0 && other == 0 && none == 0 {
			return 1
		}
		v := (math.Log(a) + math.Log(n) - math.Log(a+b) - math.Log(a+d)) / (math.Log(n) - math.Log(a))
		return max(-1, min(1, v))
	}
	if plain = -1; c.Joint > 0 {
		plain = of(0)
	}
	return plain, of(0.5)
}
