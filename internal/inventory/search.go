package inventory

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"keelson/internal/db"
	"keelson/internal/db/find"
	"keelson/internal/filter"
	"keelson/internal/tracking"
)

// tagPrompt marks what MLflow keeps as prompts; a search that excludes them means models without the tag as well.
const tagPrompt = "mlflow.prompt.is_prompt"

// search finds a page of models or versions in SQL: tags are members of a JSON column.
type search struct {
	v       tracking.Search
	clauses []filter.Clause
	orders  []filter.Order
	columns map[string]string // key of an attribute → column
	last    []filter.Order    // closes the order
	kind    string            // what is searched, for page tokens
}

func (s *search) parse(g *filter.Grammar) (err error) {
	if s.clauses, err = filter.Parse(s.v.Filter, g); err != nil {
		return err
	}
	s.orders, err = filter.ParseOrder(s.v.Order, g)
	for _, o := range s.last {
		if !slices.ContainsFunc(s.orders, func(x filter.Order) bool { return x.Key == o.Key }) {
			s.orders = append(s.orders, o)
		}
	}
	return err
}

func (s *search) name() []string {
	return []string{s.kind, s.v.Filter, strings.Join(s.v.Order, "\x01")}
}

func (s *search) terms(b *find.Builder) (out []find.Term) {
	for _, o := range s.orders {
		t := find.Term{SQL: s.columns[o.Key], Desc: o.Desc, Kind: find.Int}
		if !o.Numeric {
			t.SQL, t.Kind = b.Bytewise(t.SQL), find.Text
		}
		out = append(out, t)
	}
	return out
}

// where adds the conditions of the clauses.
func (s *search) where(b *find.Builder) {
	for _, c := range s.clauses {
		b.Add(` AND `)
		col := s.columns[c.Key]
		switch {
		case c.Entity == filter.Tag:
			v := b.Member("tags", c.Key)
			switch {
			case c.Op == filter.IsNull || c.Op == filter.IsNotNull:
				b.Add(v, ` `, c.Op)
			case c.Key == tagPrompt && (c.Op == filter.Ne || c.Op == filter.Eq && c.Text == "false"):
				b.Add(`(`, v, ` IS NULL OR `, b.Text(v, c), `)`)
			default:
				b.Add(b.Text(v, c))
			}
		case c.Numeric && c.Key == "version":
			b.Add(b.Integer(col, c))
		case c.Numeric:
			b.Add(b.Millis(col, c))
		default:
			b.Add(b.Text(col, c))
		}
	}
}

// page runs the search over a table and calls read for every row of the page; it gives the token of the next page.
func (s *search) page(tx db.Scope, table, columns string, read func(scan func(...any) error) error) (next string, err error) {
	b := find.New(tx)
	terms := s.terms(b)
	at, err := find.ParseToken(s.name(), s.v.Token, terms)
	if err != nil {
		return "", err
	}
	b.Add(`SELECT `+columns+`, `, find.Select(terms), ` FROM `+table+` WHERE workspace = `, b.Arg(tx.Workspace))
	s.where(b)
	if at != nil {
		b.Add(` AND `, b.After(terms, at))
	}
	b.Add(` ORDER BY `, find.OrderBy(terms), ` LIMIT `, b.Arg(s.v.Limit+1))
	dest, values := find.Dest(terms)
	n := 0
	var place []any
	err = b.Each(func(scan func(...any) error) error {
		if n++; n > s.v.Limit {
			next = find.Token(s.name(), place)
			return nil
		}
		if err := read(func(own ...any) error { return scan(append(own, dest...)...) }); err != nil {
			return err
		}
		place = values()
		return nil
	})
	return next, err
}

// Search finds models in MLflow's filter language, by default in the order of their names.
func (s *Service) Search(ctx context.Context, v tracking.Search) (out []Model, next string, err error) {
	q := search{v: v, kind: "model", columns: map[string]string{"name": "name", "created_at": "created_at", "updated_at": "updated_at"}, last: []filter.Order{{Key: "name"}}}
	if err := q.parse(filter.Models); err != nil {
		return nil, "", err
	}
	err = s.DB.Read(ctx, func(tx db.Scope) (err error) {
		out = nil
		next, err = q.page(tx, "model", modelColumns, func(scan func(...any) error) error {
			m, err := scanModel(scan)
			out = append(out, m)
			return err
		})
		return err
	})
	return out, next, err
}

// SearchVersions finds versions of all models in MLflow's filter language, by default the youngest change first.
func (s *Service) SearchVersions(ctx context.Context, v tracking.Search) (out []Version, next string, err error) {
	q := search{v: v, kind: "version", columns: map[string]string{"name": "model", "run": "run", "origin": "origin", "version": "version", "created_at": "created_at", "updated_at": "updated_at"},
		last: []filter.Order{{Key: "name"}, {Key: "version", Numeric: true, Desc: true}}}
	if len(v.Order) == 0 {
		q.last = append([]filter.Order{{Key: "updated_at", Numeric: true, Desc: true}}, q.last...)
	}
	if err := q.parse(filter.Versions); err != nil {
		return nil, "", err
	}
	model := "" // the usual search is for the versions of one model
	for _, c := range q.clauses {
		if c.Entity == filter.Attribute && c.Key == "name" && c.Op == filter.Eq {
			model = c.Text
		}
	}
	err = s.DB.Read(ctx, func(tx db.Scope) (err error) {
		out = nil
		next, err = q.page(tx, "model_version", versionColumns, func(scan func(...any) error) error {
			v, err := scanVersion(scan)
			out = append(out, v)
			return err
		})
		if err != nil {
			return err
		}
		return fillAliases(tx, model, out)
	})
	return out, next, err
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
