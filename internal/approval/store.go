package approval

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"keelson/internal/db"
	"keelson/internal/problem"
	"keelson/internal/seal"
)

// store is the SQL of requests, acts and comments. The documents are the truth; the other columns only find them.
type store struct {
	key *seal.Key // nil: reads only
	pub seal.Public
}

func (s store) insert(tx db.Scope, r Request) (record, error) {
	rec, err := start(s.key, r)
	if err != nil {
		return rec, err
	}
	_, err = tx.Exec(`INSERT INTO approval (workspace, id, number, kind, model, version, environment, doc, seal, head, head_seal)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)`,
		tx.Workspace, r.ID, r.Number, r.Kind, r.Model, r.Version, r.Environment, rec.request.doc, rec.request.seal, rec.head.doc, rec.head.seal)
	return rec, err
}

// append adds an act behind those of rec, which was read in the same transaction.
func (s store) append(tx db.Scope, rec record, a *Act) error {
	act, h, err := rec.extend(s.key, a)
	if err != nil {
		return err
	}
	if _, err := tx.Exec(`INSERT INTO approval_act (workspace, request, seq, kind, actor, doc, seal) VALUES ($1, $2, $3, $4, $5, $6, $7)`,
		tx.Workspace, a.Request, a.Seq, a.Kind, a.By, act.doc, act.seal); err != nil {
		return err
	}
	_, err = tx.Exec("UPDATE approval SET head = $3, head_seal = $4 WHERE workspace = $1 AND id = $2", tx.Workspace, a.Request, h.doc, h.seal)
	return err
}

func (s store) number(tx db.Scope) (n int, err error) {
	err = tx.QueryRow("SELECT COALESCE(MAX(number), 0) + 1 FROM approval WHERE workspace = $1", tx.Workspace).Scan(&n)
	return n, err
}

// get reads a request by id or by its number and verifies it.
func (s store) get(tx db.Scope, ref string) (Request, record, error) {
	ref = strings.TrimPrefix(ref, "#")
	where := "id = $2"
	if _, err := strconv.ParseInt(ref, 10, 32); err == nil {
		where = "number = CAST($2 AS BIGINT)"
	}
	rows, err := s.query(tx, where, "", 1, ref)
	if err != nil {
		return Request{}, record{}, err
	}
	if len(rows) == 0 {
		return Request{}, record{}, problem.New(problem.NotFound, "There is no change request %s.", ref)
	}
	return rows[0].Request, rows[0].record, nil
}

// Read gives a request by id inside a transaction, verified with pub; a broken one comes back with Broken set.
func Read(tx db.Scope, pub seal.Public, id string) (Request, error) {
	r, _, err := store{pub: pub}.get(tx, id)
	return r, err
}

type row struct {
	Request
	record
}

// query reads up to limit requests, newest first, that fulfil where ($1 is the workspace, $2 arg) and are older than
// the id before.
func (s store) query(tx db.Scope, where, before string, limit int, arg string) (out []row, err error) {
	type raw struct {
		id  string
		cmp string
		rec record
	}
	var raws []raw
	err = tx.Each(`SELECT id, number, kind, model, version, environment, doc, seal, head, head_seal FROM approval
		WHERE workspace = $1 AND (`+where+`) AND (id < $3 OR $3 = '') ORDER BY id DESC LIMIT $4`,
		[]any{tx.Workspace, arg, before, limit}, func(scan func(...any) error) error {
			var x raw
			var number, version int
			var kind, model, env string
			err := scan(&x.id, &number, &kind, &model, &version, &env, &x.rec.request.doc, &x.rec.request.seal, &x.rec.head.doc, &x.rec.head.seal)
			x.cmp = key(number, kind, model, version, env)
			raws = append(raws, x)
			return err
		})
	if err != nil {
		return nil, fmt.Errorf("read change requests: %w", err)
	}
	for _, x := range raws {
		var columns []string
		err = tx.Each("SELECT kind, actor, doc, seal FROM approval_act WHERE workspace = $1 AND request = $2 ORDER BY seq",
			[]any{tx.Workspace, x.id}, func(scan func(...any) error) error {
				var a sealed
				var kind, by string
				err := scan(&kind, &by, &a.doc, &a.seal)
				columns = append(columns, kind+" "+by)
				x.rec.acts = append(x.rec.acts, a)
				return err
			})
		if err != nil {
			return nil, fmt.Errorf("read acts of change request %s: %w", x.id, err)
		}
		r := x.rec.read(s.pub, tx.Workspace, x.id)
		if r.Broken == "" && x.cmp != key(r.Number, r.Kind, r.Model, r.Version, r.Environment) {
			r.Broken = "the columns of its row do not fit its document"
		}
		for i, a := range r.Acts {
			if r.Broken == "" && columns[i] != a.Kind+" "+a.By {
				r.Broken = fmt.Sprintf("the columns of act %d do not fit its document", i+1)
			}
		}
		out = append(out, row{r, x.rec})
	}
	return out, nil
}

func key(number int, kind, model string, version int, env string) string {
	return fmt.Sprintf("%d %s %s/%d %s", number, kind, model, version, env)
}

// Comment is a remark on a request; it decides nothing.
type Comment struct {
	ID   string    `json:"id"`
	By   string    `json:"by"`
	At   time.Time `json:"at"`
	Text string    `json:"text"`
}

func (s store) addComment(tx db.Scope, request string, c Comment) error {
	_, err := tx.Exec("INSERT INTO approval_comment (workspace, request, id, author, at, text) VALUES ($1, $2, $3, $4, $5, $6)",
		tx.Workspace, request, c.ID, c.By, db.Micros(c.At), c.Text)
	return err
}

func (s store) comments(tx db.Scope, request string) (out []Comment, err error) {
	out = []Comment{}
	err = tx.Each("SELECT id, author, at, text FROM approval_comment WHERE workspace = $1 AND request = $2 ORDER BY id",
		[]any{tx.Workspace, request}, func(scan func(...any) error) error {
			var c Comment
			var at int64
			err := scan(&c.ID, &c.By, &at, &c.Text)
			c.At = db.Time(at)
			out = append(out, c)
			return err
		})
	return out, err
}
