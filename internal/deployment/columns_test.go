package deployment

import (
	"encoding/json"
	"strings"
	"testing"

	"keelson/internal/approval"
	"keelson/internal/db"
	"keelson/internal/db/dbtest"
	"keelson/internal/problem"
)

// reads makes version n of the shelf take a matrix of these columns.
func (b *bench) reads(n int, columns ...string) {
	list, _ := json.Marshal(columns)
	b.shelf.mu.Lock()
	defer b.shelf.mu.Unlock()
	if b.shelf.signatures == nil {
		b.shelf.signatures = map[int]string{}
	}
	b.shelf.signatures[n] = `{"inputs":[{"name":"input","datatype":"FP32","shape":[-1,2],"columns":` + string(list) + `}],"outputs":[{"name":"y","datatype":"FP32","shape":[-1]}]}`
}

func TestOtherColumnsAreAcceptedOrStayOut(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		b := newBench(d)
		b.reads(1, "age", "income")
		b.reads(2, "income", "age")
		b.reads(3, "income", "age")
		b.reads(4, "age", "income", "debt")
		b.execute(t, approval.Proposal{Version: 1})

		refused := func(err error, kind problem.Kind, parts ...string) {
			t.Helper()
			if problem.KindOf(err) != kind {
				t.Fatalf("got %v, want %s", err, kind)
			}
			for _, p := range parts {
				if !strings.Contains(err.Error(), p) {
					t.Errorf("%q does not hold %q", err, p)
				}
			}
		}
		open := func(p approval.Proposal) error {
			p.Kind, p.Model, p.Environment, p.Reason = approval.Deploy, "screening", "prod", "try"
			_, err := b.Approvals.Open(ada, p)
			return err
		}
		refused(open(approval.Proposal{Version: 2}), problem.Invalid, "screening/2", "screening/1", `column 1 is "income" instead of "age", column 2 is "age" instead of "income"`)
		refused(open(approval.Proposal{Version: 2, Plan: canary}), problem.Invalid, "accept_columns")
		refused(open(approval.Proposal{Version: 4, Plan: canary}), problem.Invalid, "there are 3 columns instead of 2")

		// Approved while nothing stood against it: what came in meanwhile is looked at when it is carried out.
		late := b.approve(t, approval.Proposal{Version: 4}) // all calls at once: another width is refused to who sends it
		swapped := b.approve(t, approval.Proposal{Version: 2, Plan: approval.Plan{AcceptColumns: true}})
		if _, err := b.Execute(otto, swapped); err != nil {
			t.Fatal(err)
		}
		if doc := b.newest(t, "screening"); doc.Previous != nil {
			t.Errorf("version %d would stand in and read other columns", doc.Previous.Version)
		}
		same := b.approve(t, approval.Proposal{Version: 3, Plan: canary}) // as version 2 does
		if _, err := b.Rollback(otto, "screening", "complaints"); err != nil {
			t.Fatal(err)
		}
		_, err := b.Execute(otto, same)
		refused(err, problem.Conflict, "screening/3", "screening/1")
		b.stands(t, "screening", "live: 1@100 live <")
		if _, err := b.Execute(otto, late); err != nil {
			t.Fatal(err)
		}
		v, err := b.Get(ada, "screening")
		if err != nil || v.Redact == nil {
			t.Errorf("%+v, %v", v, err)
		}
	})
}
