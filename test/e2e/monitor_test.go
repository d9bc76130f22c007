package e2e

import (
	"context"
	"math/rand/v2"
	"net/url"
	"slices"
	"sync"
	"testing"
	"time"

	"keelson/client"
)

// watched is what the test reads of a window.
type watched struct {
	ID          string
	Rows        int
	First       string    `json:"first_prediction"`
	Last        string    `json:"last_prediction"`
	CreatedAt   time.Time `json:"created_at"`
	Performance *struct{ N int }
}

// TestWindowsAreMadeExactlyOnceHoweverOftenTheServerIsKilled sends calls and outcomes while the process is killed at random
// moments, in the middle of windows and of their closing. Afterwards every logged row lies in exactly one window, except those
// of the window that is open, no window that was seen before a kill has been made again, and each counts every outcome once.
func TestWindowsAreMadeExactlyOnceHoweverOftenTheServerIsKilled(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes half a minute")
	}
	const perCall, perWindow, rounds = 4, 200, 6
	ctx, cancel := context.WithTimeout(context.Background(), 4*time.Minute)
	defer cancel()
	s := Start(t)
	scientist := s.Person(ctx, "ana", "data-scientist")
	deployed(ctx, t, scientist, scientist, "kettle")
	if err := scientist.Call(ctx, "PUT", "/api/v1/monitors/kettle.dev", map[string]any{"window": map[string]int{"rows": perWindow, "min_rows": perWindow},
		"segments": []any{map[string]any{"name": "all", "when": "true"}}}, nil); err != nil {
		t.Fatal(err)
	}
	var meta struct {
		Inputs []struct {
			Name, Datatype string
			Shape          []int
		}
	}
	if err := scientist.Get(ctx, "/v2/models/kettle.dev", &meta); err != nil {
		t.Fatal(err)
	}
	in := meta.Inputs[0]
	width := in.Shape[1]

	var mu sync.Mutex
	var sent []string // acknowledged calls
	told := map[string]bool{}
	work, rest := context.WithCancel(ctx)
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for work.Err() == nil {
				data := make([]float64, perCall*width)
				for i := range data {
					data[i] = rand.Float64()
				}
				var out struct {
					Parameters struct {
						ID string `json:"prediction_id"`
					}
				}
				body := map[string]any{"inputs": []any{map[string]any{"name": in.Name, "datatype": in.Datatype, "shape": []int{perCall, width}, "data": data}}}
				if gone(work, t, "infer", ignoreMissing(scientist.Infer(work, "kettle.dev", body, &out))) || out.Parameters.ID == "" {
					pause(work, 20*time.Millisecond) // the release is loaded again after a start
					continue
				}
				mu.Lock()
				sent = append(sent, out.Parameters.ID)
				mu.Unlock()
				pause(work, 4*time.Millisecond)
			}
		})
	}
	wg.Go(func() { // tells the outcome of every row of a call, again until it is acknowledged
		for next := 0; ; {
			mu.Lock()
			id := ""
			if next < len(sent) {
				id = sent[next]
			}
			mu.Unlock()
			if id == "" {
				if work.Err() != nil {
					return
				}
				pause(work, 10*time.Millisecond)
				continue
			}
			list := make([]client.Outcome, perCall)
			for row := range list {
				list[row] = client.Outcome{PredictionID: id, Row: row, Value: 1.5 + float64(row)}
			}
			if _, _, err := scientist.AddOutcomes(ctx, list); gone(ctx, t, "outcomes", err) {
				if ctx.Err() != nil {
					return
				}
				continue
			}
			told[id] = true
			next++
		}
	})

	windows := func() []watched {
		list, err := client.All[watched](ctx, scientist, "/api/v1/monitors/kettle.dev/windows", nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		slices.Reverse(list)
		return list
	}
	seen := map[string]watched{}
	dice := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 2))
	for range rounds {
		pause(ctx, time.Duration(500+dice.IntN(1500))*time.Millisecond)
		for _, w := range windows() {
			seen[w.ID] = w
		}
		s.Kill()
		if err := s.Run(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := client.Wait(ctx, func(context.Context) (int, bool, error) { return 0, len(windows()) >= 6, nil }); err != nil {
		t.Fatal(err)
	}
	rest()
	wg.Wait()

	var logged []client.Prediction
	var all []watched
	_, err := client.Wait(ctx, func(ctx context.Context) (int, bool, error) { // until what arrived last is in windows and every outcome is counted
		var err error
		if logged, err = client.All[client.Prediction](ctx, scientist, "/api/v1/predictions", url.Values{"endpoint": {"kettle.dev"}}, 0); err != nil {
			return 0, false, err
		}
		all = windows()
		counted := true
		for _, w := range all {
			counted = counted && w.Performance != nil && w.Performance.N == outcomesIn(w, told)*perCall
		}
		return 0, counted && len(all) == len(logged)*perCall/perWindow, nil
	})
	slices.SortFunc(logged, func(a, b client.Prediction) int {
		if a.ID < b.ID {
			return -1
		}
		return 1
	})
	if err != nil {
		for i, w := range all {
			t.Logf("window %d: %d rows, outcomes told %d, %+v", i, w.Rows, outcomesIn(w, told)*perCall, w.Performance)
		}
		t.Fatalf("%d calls are logged, %d windows are there: %v", len(logged), len(all), err)
	}
	if len(logged) < len(sent) {
		t.Errorf("%d calls were answered, %d are logged", len(sent), len(logged))
	}
	next := 0
	for i, w := range all {
		rows := 0
		if logged[next].ID != w.First {
			t.Fatalf("window %d begins with %s, the first row that is in no window is of %s", i, w.First, logged[next].ID)
		}
		for ; next < len(logged) && logged[next].ID <= w.Last; next++ {
			rows += perCall
		}
		if rows != w.Rows || rows != perWindow {
			t.Errorf("window %d says %d rows, the log has %d there", i, w.Rows, rows)
		}
		if old, ok := seen[w.ID]; ok {
			if !old.CreatedAt.Equal(w.CreatedAt) || old.First != w.First || old.Last != w.Last {
				t.Errorf("window %d was made again: %+v, before %+v", i, w, old)
			}
			delete(seen, w.ID)
		}
	}
	if len(seen) > 0 {
		t.Errorf("%d windows that were there before a kill are gone", len(seen))
	}
	t.Logf("%d kills, %d calls, %d windows", rounds, len(logged), len(all))
}

// outcomesIn counts the calls of a window whose outcomes were acknowledged.
func outcomesIn(w watched, told map[string]bool) (n int) {
	for id := range told {
		if w.First <= id && id <= w.Last {
			n++
		}
	}
	return n
}
