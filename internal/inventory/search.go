package inventory

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"keelson/internal/db"
	"keelson/internal/filter"
	"keelson/internal/tracking"
)

// tagPrompt marks what MLflow keeps as prompts; a search that excludes them means models without the tag as well.
const tagPrompt = "mlflow.prompt.is_prompt"

// fieldsOf are the attributes of one searched thing.
type fieldsOf struct {
	text   map[string]string
	number map[string]float64
	tags   map[string]string
}

func match(clauses []filter.Clause, f fieldsOf) bool {
	for _, c := range clauses {
		v, ok := f.text[c.Key]
		if c.Entity == filter.Tag {
			v, ok = f.tags[c.Key]
			switch {
			case c.Op == "IS NULL":
				if ok {
					return false
				}
				continue
			case c.Op == "IS NOT NULL":
				if !ok {
					return false
				}
				continue
			case !ok && c.Key == tagPrompt && c.Op == "!=":
				continue
			}
		} else if c.Numeric {
			if !compareNumber(f.number[c.Key], c.Op, c.Number) {
				return false
			}
			continue
		}
		if !ok || !compareText(v, c) {
			return false
		}
	}
	return true
}

func compareNumber(a float64, op string, b float64) bool {
	switch op {
	case "!=":
		return a != b
	case "<":
		return a < b
	case "<=":
		return a <= b
	case ">":
		return a > b
	case ">=":
		return a >= b
	}
	return a == b
}

func compareText(v string, c filter.Clause) bool {
	switch c.Op {
	case "!=":
		return v != c.Text
	case "LIKE":
		return like(c.Text, v)
	case "ILIKE":
		return like(strings.ToLower(c.Text), strings.ToLower(v))
	case "IN":
		return slices.Contains(c.List, v)
	case "NOT IN":
		return !slices.Contains(c.List, v)
	}
	return v == c.Text
}

// like matches the wildcards % (any text) and _ (one character); it takes time in the product of the lengths at most.
func like(pattern, s string) bool {
	p, t := []rune(pattern), []rune(s)
	i, j, star, mark := 0, 0, -1, 0
	for j < len(t) {
		switch {
		case i < len(p) && p[i] == '%':
			star, mark = i, j
			i++
		case i < len(p) && (p[i] == '_' || p[i] == t[j]):
			i++
			j++
		case star >= 0:
			mark++
			i, j = star+1, mark
		default:
			return false
		}
	}
	for i < len(p) && p[i] == '%' {
		i++
	}
	return i == len(p)
}

// arrange filters, orders and cuts a list.
func arrange[T any](list []T, g *filter.Grammar, v tracking.Search, fields func(T) fieldsOf, usual []filter.Order) (out []T, next string, err error) {
	clauses, err := filter.Parse(v.Filter, g)
	if err != nil {
		return nil, "", err
	}
	order, err := filter.ParseOrder(v.Order, g)
	if err != nil {
		return nil, "", err
	}
	offset, err := tracking.ParseToken(v.Token)
	if err != nil {
		return nil, "", err
	}
	type row struct {
		v T
		f fieldsOf
	}
	var rows []row
	for _, x := range list {
		if f := fields(x); match(clauses, f) {
			rows = append(rows, row{x, f})
		}
	}
	order = append(order, usual...)
	slices.SortStableFunc(rows, func(a, b row) int {
		for _, o := range order {
			var c int
			switch {
			case o.Entity == filter.Tag:
				c = strings.Compare(a.f.tags[o.Key], b.f.tags[o.Key])
			case o.Numeric:
				c = cmp.Compare(a.f.number[o.Key], b.f.number[o.Key])
			default:
				c = strings.Compare(a.f.text[o.Key], b.f.text[o.Key])
			}
			if o.Desc {
				c = -c
			}
			if c != 0 {
				return c
			}
		}
		return 0
	})
	rows = rows[min(offset, len(rows)):]
	if len(rows) > v.Limit {
		rows, next = rows[:v.Limit], tracking.MakeToken(offset+v.Limit)
	}
	for _, r := range rows {
		out = append(out, r.v)
	}
	return out, next, nil
}

// Search finds models in MLflow's filter language. Models and versions number thousands at most, so the filter runs here
// and not in SQL.
func (s *Service) Search(ctx context.Context, v tracking.Search) (out []Model, next string, err error) {
	var all []Model
	if err := s.DB.Read(ctx, func(tx db.Scope) (err error) { all, err = listModels(tx, "", "", 0); return err }); err != nil {
		return nil, "", err
	}
	return arrange(all, filter.Models, v, func(m Model) fieldsOf {
		return fieldsOf{map[string]string{"name": m.Name}, map[string]float64{"created_at": float64(m.CreatedAt.UnixMilli()), "updated_at": float64(m.UpdatedAt.UnixMilli())}, m.Tags}
	}, []filter.Order{{Key: "name"}})
}

// SearchVersions finds versions of all models in MLflow's filter language, by default the youngest change first.
func (s *Service) SearchVersions(ctx context.Context, v tracking.Search) (out []Version, next string, err error) {
	clauses, err := filter.Parse(v.Filter, filter.Versions)
	if err != nil {
		return nil, "", err
	}
	model := "" // the usual search is for the versions of one model
	for _, c := range clauses {
		if c.Entity == filter.Attribute && c.Key == "name" && c.Op == "=" {
			model = c.Text
		}
	}
	var all []Version
	if err := s.DB.Read(ctx, func(tx db.Scope) (err error) { all, err = listVersions(tx, model, 0, 0); return err }); err != nil {
		return nil, "", err
	}
	return arrange(all, filter.Versions, v, func(v Version) fieldsOf {
		return fieldsOf{map[string]string{"name": v.Model, "run": v.Run, "origin": v.Origin},
			map[string]float64{"version": float64(v.Number), "created_at": float64(v.CreatedAt.UnixMilli()), "updated_at": float64(v.UpdatedAt.UnixMilli())}, v.Tags}
	}, []filter.Order{{Key: "updated_at", Numeric: true, Desc: true}, {Key: "name"}, {Key: "version", Numeric: true, Desc: true}})
}

// Latest gives the newest version of each of the named models that has one, without files.
func (s *Service) Latest(ctx context.Context, names []string) (map[string]Version, error) {
	out := map[string]Version{}
	err := s.DB.Read(ctx, func(tx db.Scope) error {
		for part := range slices.Chunk(names, 500) {
			args := []any{tx.Workspace}
			in := make([]string, len(part))
			for i, n := range part {
				args = append(args, n)
				in[i] = fmt.Sprintf("$%d", i+2)
			}
			if err := tx.Each(`SELECT `+versionColumns+` FROM model_version v WHERE workspace = $1 AND model IN (`+strings.Join(in, ", ")+`)
				AND version = (SELECT m.latest FROM model m WHERE m.workspace = v.workspace AND m.name = v.model)`, args, func(scan func(...any) error) error {
				v, err := scanVersion(scan)
				out[v.Model] = v
				return err
			}); err != nil {
				return err
			}
		}
		return nil
	})
	return out, err
}
