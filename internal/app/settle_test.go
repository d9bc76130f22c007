package app_test

import (
	"os"
	"testing"

	"keelson/internal/app"
	"keelson/internal/db/dbtest"
)

func TestProcessesThatMayHaveOthersBesideThemReadWhatIsFiled(t *testing.T) {
	t.Run("with a file as the database a process is alone and reads what has just come", func(t *testing.T) {
		if a := start(t, nil); a.Predictions.Settle != 0 {
			t.Errorf("it waits %s", a.Predictions.Settle)
		}
	})
	t.Run("on PostgreSQL it waits until all have filed, also with all parts", func(t *testing.T) {
		if os.Getenv(dbtest.Postgres) == "" {
			t.Skip(dbtest.Postgres + " is not set")
		}
		a := start(t, func(c *app.Config) { c.Database = dbtest.DSN(t) })
		if p := a.Predictions; p.FileAfter <= 0 || p.Settle < 2*p.FileAfter {
			t.Errorf("segments are filed after %s and monitors look up to %s ago", p.FileAfter, p.Settle)
		}
	})
}
