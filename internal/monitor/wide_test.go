package monitor

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"keelson/internal/dataset"
	"keelson/internal/db"
	"keelson/internal/db/dbtest"
)

// A reference that does not fit into memory is summed up by sketches: the same bins, the same shifts.
func TestAReferenceBeyondTheMemoryBudgetGivesTheSameShifts(t *testing.T) {
	each(t, func(w *world) {
		ref := dataset.Ref{Dataset: "patients", Version: 1}
		exact, err := w.profile(w.ctx, ref)
		if err != nil {
			t.Fatal(err)
		}
		small := *w.Data.(*dataset.Service)
		small.Limits = dataset.Limits{Table: 1000}
		w.Service.Data = &small
		sketched, err := w.profile(w.ctx, ref)
		if err != nil {
			t.Fatal(err)
		}
		if len(exact.Columns) != len(sketched.Columns) || exact.Rows != sketched.Rows {
			t.Fatalf("%d and %d columns", len(exact.Columns), len(sketched.Columns))
		}
		for i, c := range exact.Columns {
			s := sketched.Columns[i]
			if s.Method != "exact" && c.Kind == numberKind {
				t.Errorf("%s: %s", c.Name, s.Method) // 569 rows have few enough different values
			}
			s.Method = c.Method
			s.Mean, s.SD = c.Mean, c.SD // by rounding
			a, _ := json.Marshal(c)
			b, _ := json.Marshal(s)
			if string(a) != string(b) {
				t.Errorf("%s: exactly\n%s, by sketch\n%s", c.Name, a, b)
			}
		}
		w.ensure("screening", 1)
		w.send("screening", 1, w.large(400), false)
		w.tick()
		if r := w.all("screening")[0]; !r.Breached || r.Reference != ref {
			t.Errorf("%+v", r.Causes)
		}
	})
}

func TestTenThousandColumnsAreProfiledWithinBounds(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		c := newClinic(t, d, screeningRules, "malignant")
		rng := rand.New(rand.NewPCG(2, 2))
		var csv strings.Builder
		const columns, rows = 10_000, 60
		for k := range columns {
			fmt.Fprintf(&csv, ",c%d", k)
		}
		text := strings.TrimPrefix(csv.String(), ",") + "\n"
		csv.Reset()
		for range rows {
			for k := range columns {
				if k > 0 {
					csv.WriteByte(',')
				}
				fmt.Fprintf(&csv, "%.3f", rng.NormFloat64())
			}
			csv.WriteByte('\n')
		}
		data := c.Data.(*dataset.Service)
		if _, err := data.Put(c.ctx, dataset.Dataset{Name: "wide"}); err != nil {
			t.Fatal(err)
		}
		if _, err := data.Import(c.ctx, dataset.ImportRequest{Dataset: "wide", Body: strings.NewReader(text + csv.String())}); err != nil {
			t.Fatal(err)
		}
		for _, find := range []func() (*profile, error){
			func() (*profile, error) { return c.profile(c.ctx, dataset.Ref{Dataset: "wide", Version: 1}) },
			func() (*profile, error) { return c.sketched(c.ctx, dataset.Ref{Dataset: "wide", Version: 1}) },
		} {
			p, err := find()
			if err != nil || len(p.Columns) != columns {
				t.Fatalf("%v", err)
			}
			if text := db.ToJSON(p); len(text) > columns*64<<10 || len(text) > 40<<20 {
				t.Errorf("the profile has %d bytes", len(text))
			}
			all := make([]series, columns)
			for k := range all {
				all[k] = series{name: p.Columns[k].Name, numbers: make([]float64, 200)}
				for i := range all[k].numbers {
					all[k].numbers[i] = rng.NormFloat64()
				}
			}
			moved := 0
			for _, f := range compareAll(all, p, &lore{limits: DefaultLimits()}, nil) {
				if f.Shift == "moved" {
					moved++
				}
			}
			if moved > 5 {
				t.Errorf("%d of %d columns moved by chance", moved, columns)
			}
		}
	})
}
