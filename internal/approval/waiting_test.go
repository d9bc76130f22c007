package approval

import (
	"strings"
	"testing"

	"keelson/internal/db"
	"keelson/internal/db/dbtest"
)

func TestAVersionThatIsApprovedAndNotYetDeployedIsWaitedFor(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		b := newBench(d)
		waiting := func(version int) (why string) {
			t.Helper()
			if err := d.Read(as(ada), func(tx db.Scope) (err error) { why, err = b.Waiting(tx, "screening", version); return err }); err != nil {
				t.Fatal(err)
			}
			return why
		}
		r := b.open(t, toProd())
		if why := waiting(2); why != "" {
			t.Errorf("while it is open: %s", why)
		}
		b.vote(t, r.ID, risk)
		b.vote(t, r.ID, owner)
		for _, v := range []int{0, 2} {
			if why := waiting(v); !strings.Contains(why, "version 2 is approved for prod") {
				t.Errorf("version %d when it is approved: %q", v, why)
			}
		}
		if why := waiting(1); why != "" {
			t.Errorf("another version: %s", why)
		}
		if _, err := b.Withdraw(as(ada), r.ID, "not now"); err != nil {
			t.Fatal(err)
		}
		if why := waiting(2); why != "" {
			t.Errorf("when it was withdrawn: %s", why)
		}
	})
}
