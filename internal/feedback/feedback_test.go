package feedback

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"keelson/internal/blob/blobtest"
	"keelson/internal/caller"
	"keelson/internal/dataset"
	"keelson/internal/db"
	"keelson/internal/db/dbtest"
	"keelson/internal/prediction"
	"keelson/internal/problem"
	"keelson/internal/tensor"
)

// world is feedback on a log of predictions with n decisions about one person each.
type world struct {
	*Service
	log *prediction.Service
	ids []string
	ctx context.Context
}

func as(name string) context.Context {
	return caller.With(context.Background(), caller.Caller{ID: name, Name: name, Kind: caller.Person})
}

func each(t *testing.T, n int, fn func(t *testing.T, w *world)) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		quiet := slog.New(slog.DiscardHandler)
		l, err := prediction.OpenLog(prediction.Options{Dir: t.TempDir(), Node: "n1", Logger: quiet, Metrics: prometheus.NewRegistry()})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		blobs := blobtest.Dir(t)
		w := &world{log: &prediction.Service{DB: d, Blobs: blobs, Log: l, Logger: quiet, Now: time.Now, HashKey: []byte("key")}, ctx: as("mara")}
		w.Service = &Service{DB: d, Predictions: w.log, Tables: &dataset.Service{DB: d, Blobs: blobs, Log: quiet, Now: time.Now, TempDir: t.TempDir()}, Log: quiet, Now: time.Now}
		w.log.Erasing = append(w.log.Erasing, w.Forget)
		var list []prediction.Record
		for i := range n {
			list = append(list, prediction.Record{Request: fmt.Sprint(i), Model: "credit", Version: 1, Subject: fmt.Sprint("person-", i), Inputs: []tensor.Tensor{tensor.FP32s("x", []int{1}, []float32{1})},
				Outputs: []tensor.Tensor{tensor.FP32s("p", []int{1}, []float32{0.5})}})
		}
		if w.ids, err = w.log.HandIn(w.ctx, "credit", list); err != nil {
			t.Fatal(err)
		}
		fn(t, w)
	})
}

func TestTheQueueGivesEachItemToOnePerson(t *testing.T) {
	each(t, 12, func(t *testing.T, w *world) {
		for i, id := range w.ids {
			kind := []string{Wrong, Override, Contest}[i%3]
			if _, err := w.Report(w.ctx, Item{Prediction: id, Kind: kind, Value: json.RawMessage("1"), Reason: "x"}); err != nil {
				t.Fatal(err)
			}
		}
		var mu sync.Mutex
		var wg sync.WaitGroup
		taken := map[string]string{}
		for n := range 4 {
			name := fmt.Sprint("labeller-", n)
			wg.Go(func() {
				for {
					i, err := w.Next(as(name), "credit")
					if problem.Is(err, problem.NotFound) {
						return
					}
					if problem.Is(err, problem.Conflict) {
						continue
					}
					if err != nil {
						t.Error(err)
						return
					}
					mu.Lock()
					if other := taken[i.ID]; other != "" {
						t.Errorf("%s was given to %s and %s", i.ID, other, name)
					}
					taken[i.ID] = name
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		if len(taken) != 12 {
			t.Fatalf("%d of 12 were given", len(taken))
		}
		for id, name := range taken {
			if _, err := w.Label(as("somebody-else"), id, json.RawMessage("1"), ""); !problem.Is(err, problem.Conflict) {
				t.Errorf("somebody else labelled what %s works on: %v", name, err)
			}
			if i, err := w.Label(as(name), id, json.RawMessage("1.0"), ""); err != nil || i.State != Labelled || string(i.Label) != "1" {
				t.Errorf("%+v %v", i, err)
			}
			break
		}
	})
}

func TestNobodysWordsStandUnderAnotherName(t *testing.T) {
	each(t, 1, func(t *testing.T, w *world) {
		say := func(who, kind, value, reason string) (Item, error) {
			i := Item{Prediction: w.ids[0], Kind: kind, Reason: reason}
			if value != "" {
				i.Value = json.RawMessage(value)
			}
			return w.Report(as(who), i)
		}
		for _, kind := range []string{Wrong, Contest} {
			if _, err := say("mara", kind, "", "income was proven"); err != nil {
				t.Fatal(err)
			}
			if i, err := say("oskar", kind, "", "I do not like him"); err != nil || i.Reports != 2 || i.By != "mara" || i.Reason != "income was proven" {
				t.Errorf("%s: %+v %v", kind, i, err)
			}
			if i, err := say("mara", kind, "", "and the address, too"); err != nil || i.Reports != 3 || i.Reason != "and the address, too" {
				t.Errorf("%s: %+v %v", kind, i, err)
			}
		}
		if _, err := say("mara", Override, `"granted"`, "income was proven"); err != nil {
			t.Fatal(err)
		}
		if _, err := say("oskar", Override, `"refused"`, "no"); problem.KindOf(err) != problem.Conflict {
			t.Errorf("a second person overrode it: %v", err)
		}
	})
}

func TestAClaimRunsOut(t *testing.T) {
	each(t, 1, func(t *testing.T, w *world) {
		now := time.Now()
		w.Now = func() time.Time { return now }
		if _, err := w.Report(w.ctx, Item{Prediction: w.ids[0], Kind: Wrong}); err != nil {
			t.Fatal(err)
		}
		i, err := w.Next(as("a"), "")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Next(as("b"), ""); !problem.Is(err, problem.NotFound) {
			t.Fatalf("it was given twice: %v", err)
		}
		if _, err := w.Claim(as("b"), i.ID); !problem.Is(err, problem.Conflict) {
			t.Fatalf("it was taken away: %v", err)
		}
		now = now.Add(ClaimTime)
		if got, err := w.Next(as("b"), ""); err != nil || got.ClaimedBy != "b" {
			t.Fatalf("%+v %v", got, err)
		}
		if _, err := w.Release(as("a"), i.ID); !problem.Is(err, problem.Conflict) {
			t.Fatalf("a puts back what b has: %v", err)
		}
	})
}

func TestWhatWasSaidAboutAPersonIsErasedWithTheDecision(t *testing.T) {
	each(t, 2, func(t *testing.T, w *world) {
		for _, id := range w.ids {
			if _, err := w.Report(w.ctx, Item{Prediction: id, Kind: Contest, Reason: "I have a job"}); err != nil {
				t.Fatal(err)
			}
		}
		if out, err := w.log.Erase(w.ctx, "person-0", "asked for it"); err != nil || out.Predictions != 1 {
			t.Fatalf("%+v %v", out, err)
		}
		var left []Item
		if err := w.DB.Read(w.ctx, func(tx db.Scope) (err error) { left, err = list(tx, filter{}, "", 10, time.Now()); return err }); err != nil || len(left) != 1 || left[0].Prediction != w.ids[1] {
			t.Fatalf("%+v %v", left, err)
		}
	})
}

func TestAFileWithManyWrongRowsKeepsTheGoodOnes(t *testing.T) {
	each(t, 3, func(t *testing.T, w *world) {
		var b strings.Builder
		b.WriteString("prediction_id,value\n")
		for i := range 40 {
			fmt.Fprintf(&b, "nobody-%d,1\n", i)
			if i < 3 {
				fmt.Fprintf(&b, "%s,%d\n", w.ids[i], i)
			}
		}
		sum, err := w.File(w.ctx, "csv", strings.NewReader(b.String()))
		if p, ok := problem.As(err); !ok || p.Kind != problem.Invalid || len(p.Fields) != 40 || p.Fields[1].Field != "row 3" || !strings.HasPrefix(p.Detail, "40 of 43 rows were refused; the others are on record (3 new, 0 known).") {
			t.Fatalf("%+v %v", sum, err)
		}
		if known, err := w.log.Outcomes(w.ctx, w.ids); err != nil || len(known) != 3 {
			t.Fatalf("%v %v", known, err)
		}
	})
}

// FuzzLine looks for a line that becomes an outcome with a value that is no scalar, or that breaks the reader.
func FuzzLine(f *testing.F) {
	for _, s := range []string{`{"prediction_id":"a","value":1}`, `{"prediction_id":"a","row":-1,"value":true}`, `{"prediction_id":"a","value":{"b":1}}`, `{}{}`, "\x00", `{"value":1e999}`, `{"prediction_id":"a","value":"` + strings.Repeat("x", 5000) + `"}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		l := parse(1, text)
		if l.no != "" {
			return
		}
		var v any
		if err := json.Unmarshal(l.o.Value, &v); err != nil || l.o.Prediction == "" || l.o.Row < 0 {
			t.Fatalf("%q became %+v", text, l.o)
		}
		switch v.(type) {
		case float64, string, bool:
		default:
			t.Fatalf("%q became the value %s", text, l.o.Value)
		}
	})
}
