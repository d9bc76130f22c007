package tracking

import (
	"fmt"
	"strings"
	"sync"

	"keelson/internal/db"
)

// insert writes many rows of one table. SQLite gets statements of a few fixed widths, which the database keeps prepared
// (wider ones cost more per row than they save); PostgreSQL gets one statement over arrays, which is one round trip.
type insert struct {
	into    string   // the table, with an alias where the end needs one
	columns []string // name and type, without the workspace, which comes first
	end     string   // ON CONFLICT …

	once  sync.Once
	array string
	wide  [len(widths)]string
}

var widths = [...]int{16, 4, 1}

// texts builds the statements. SQLite gets nameless placeholders: binding numbered ones costs as much as the insert.
func (in *insert) texts() {
	names, types, params := make([]string, len(in.columns)), make([]string, len(in.columns)), make([]string, len(in.columns))
	for i, c := range in.columns {
		names[i], types[i], _ = strings.Cut(c, " ")
		params[i] = fmt.Sprintf("$%d::%s[]", i+2, types[i])
	}
	head := "INSERT INTO " + in.into + " (workspace, " + strings.Join(names, ", ") + ") "
	in.array = head + "SELECT $1, u.* FROM unnest(" + strings.Join(params, ", ") + ") AS u " + in.end
	row := "(?" + strings.Repeat(", ?", len(names)) + ")"
	for i, w := range widths {
		in.wide[i] = head + "VALUES " + row + strings.Repeat(", "+row, w-1) + " " + in.end
	}
}

// run writes n rows; values holds one slice of length n per column. It gives how many rows were written.
func (in *insert) run(tx db.Scope, n int, values ...any) (written int64, err error) {
	if n == 0 {
		return 0, nil
	}
	in.once.Do(in.texts)
	if tx.Postgres() {
		res, err := tx.Exec(in.array, append([]any{tx.Workspace}, values...)...)
		if err != nil {
			return 0, err
		}
		return res.RowsAffected()
	}
	args := make([]any, 0, widths[0]*(1+len(values)))
	for i := 0; i < n; {
		w := 0
		for widths[w] > n-i {
			w++
		}
		args = args[:0]
		for range widths[w] {
			args = append(args, tx.Workspace)
			for _, v := range values {
				args = append(args, at(v, i))
			}
			i++
		}
		res, err := tx.Exec(in.wide[w], args...)
		if err != nil {
			return written, err
		}
		k, err := res.RowsAffected()
		if err != nil {
			return written, err
		}
		written += k
	}
	return written, nil
}

// at is the i-th value of a column.
func at(column any, i int) any {
	switch v := column.(type) {
	case []string:
		return v[i]
	case []int64:
		return v[i]
	case []float64:
		return v[i]
	case [][]byte:
		return v[i]
	}
	panic(fmt.Sprintf("tracking: a column of %T", column))
}
