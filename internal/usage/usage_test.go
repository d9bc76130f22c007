package usage

import (
	"context"
	"errors"
	"math"
	"reflect"
	"testing"
	"time"

	"keelson/internal/caller"
	"keelson/internal/db"
	"keelson/internal/db/dbtest"
	"keelson/internal/problem"
)

func TestAReportSumsUpWhatWasBookedByWorkAndDay(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		ctx := caller.With(context.Background(), caller.Caller{ID: "u", Name: "mia", Kind: caller.Person})
		day := time.Date(2026, 3, 3, 0, 0, 0, 0, time.UTC)
		at := func(hours float64) time.Time { return day.Add(time.Duration(hours * float64(time.Hour))) }
		write := func(fn func(tx db.Scope) error) {
			t.Helper()
			if err := d.Write(ctx, fn); err != nil {
				t.Fatal(err)
			}
		}
		write(func(tx db.Scope) error {
			other := tx.In("elsewhere")
			return errors.Join(
				book(tx, at(0), "churn", Calls, 1500, "prediction-file/1"), book(tx, at(0), "churn", ComputeSeconds, 3, "prediction-file/1"),
				book(tx, at(23.5), "churn", Calls, 500, "prediction-file/2"), book(tx, at(23.5), "churn", ComputeSeconds, 1, "prediction-file/2"),
				book(tx, at(24), "churn", ComputeSeconds, 90, "pipeline-run/r"), book(tx, at(25), "churn", ComputeSeconds, 6, "evaluation/e"),
				book(tx, at(26), "churn", ComputeSeconds, 0.5, "model/churn/1"), book(tx, at(26), "churn", ComputeSeconds, 0.25, "something else"),
				book(tx, at(48), "churn", ComputeSeconds, 1e6, "pipeline-run/later"), book(tx, at(-0.001), "churn", Calls, 1e6, "prediction-file/before"),
				book(tx, at(1), "credit", Calls, 7, "prediction-file/3"), book(other, at(1), "churn", Calls, 7, "prediction-file/4"),
			)
		})
		read := func(model string, price *float64) (r Report) {
			t.Helper()
			if err := d.Read(ctx, func(tx db.Scope) (err error) { r, err = Read(tx, model, at(0), at(48), price); return err }); err != nil {
				t.Fatal(err)
			}
			return r
		}
		price := 3.6
		r := read("churn", &price)
		want := []Work{
			{Answering, 4, 2, at(0), at(23.5), "time in the engine"}, {Evaluating, 6, 1, at(25), at(25), "time on the clock"},
			{Pipeline, 90, 1, at(24), at(24), "time of processors"}, {Testing, 0.5, 1, at(26), at(26), "time on the clock"}, {Other, 0.25, 1, at(26), at(26), ""},
		}
		if !reflect.DeepEqual(r.Work, want) {
			t.Errorf("work is\n%+v, want\n%+v", r.Work, want)
		}
		if days := []Day{{"2026-03-03", 2000, 4}, {"2026-03-04", 0, 96.75}}; !reflect.DeepEqual(r.Days, days) {
			t.Errorf("days are %+v, want %+v", r.Days, days)
		}
		near := func(name string, got *float64, want float64) {
			t.Helper()
			if got == nil || math.Abs(*got-want) > 1e-12 {
				t.Errorf("%s is %v, want %v", name, got, want)
			}
		}
		if r.Calls != 2000 || r.ComputeSeconds != 100.75 {
			t.Errorf("%d calls and %v seconds", r.Calls, r.ComputeSeconds)
		}
		near("seconds per 1,000 calls", r.SecondsPerThousand, 2)
		near("the cost", &r.Cost.Total, 0.10075)
		near("the cost of 1,000 calls", r.Cost.PerThousand, 0.050375)
		near("the cost of answering 1,000 calls", r.Cost.AnsweringThousand, 0.002)
		if r = read("nobody", &price); r.Calls != 0 || r.SecondsPerThousand != nil || r.Cost.Total != 0 || r.Cost.PerThousand != nil || r.Work == nil || r.Days == nil {
			t.Errorf("a model that did nothing: %+v", r)
		}
		if r = read("churn", nil); r.Cost != nil {
			t.Errorf("a cost without a price: %+v", r.Cost)
		}
		write(func(tx db.Scope) error { return Book(tx, "churn", Calls, 1, "prediction-file/5") })
		for name, bad := range map[string]struct {
			since, until time.Time
			price        float64
			field        string
		}{
			"no time":             {at(1), at(1), 1, "since"},
			"too long":            {at(0), at(24*MostDays + 1), 1, "since"},
			"a price below 0":     {at(0), at(1), -1, "price"},
			"a price that is NaN": {at(0), at(1), math.NaN(), "price"},
		} {
			err := d.Read(ctx, func(tx db.Scope) error { _, err := Read(tx, "churn", bad.since, bad.until, &bad.price); return err })
			if p, ok := problem.As(err); !ok || p.Kind != problem.Invalid || p.Field != bad.field {
				t.Errorf("%s: %v, want a refusal at %s", name, err, bad.field)
			}
		}
	})
}
