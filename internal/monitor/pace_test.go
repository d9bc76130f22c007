package monitor

import (
	"testing"
	"time"
)

func TestWindowsGrowWhereCallsWouldFillTooMany(t *testing.T) {
	start := time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		name                 string
		every                time.Duration // between two calls of 40 rows
		span                 time.Duration
		fewest, most, widest int
	}{
		{"a window every 20 seconds is always the size that was asked for", 2 * time.Second, time.Hour, 179, 180, 400},
		{"a window every 10 seconds is, too", time.Second, time.Hour, 359, 360, 400},
		{"a window a second becomes one in ten seconds after the first 60", 100 * time.Millisecond, time.Hour, 415, 421, 4040},
		{"fifty a second do, too", 2 * time.Millisecond, time.Minute, 60 + 11, 60 + 12, most},
		{"the largest window bounds what is held", 100 * time.Microsecond, time.Minute, 60 + 239, 60 + 240, most},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := &Monitor{Window: Window{Rows: 400, MinRows: 200}}
			tail := &tail{}
			b := &buffer{}
			windows, rows, widest := 0, 0, 0
			for at := time.Duration(0); at < c.span; at += c.every {
				if b.rows += 40; !tail.full(m, 1, b, start.Add(at), start.Add(at)) {
					continue
				}
				tail.paceOf(1).close()
				windows, rows, widest = windows+1, rows+b.rows, max(widest, b.rows)
				*b = buffer{}
			}
			if sent := 40 * int(c.span/c.every); rows+b.rows != sent || windows < c.fewest || windows > c.most || widest > c.widest {
				t.Errorf("%d windows of up to %d rows, %d and %d open of %d sent; want %d to %d of up to %d", windows, widest, rows, b.rows, sent, c.fewest, c.most, c.widest)
			}
		})
	}
}

func TestAClockThatIsAheadUsesUpNoTurns(t *testing.T) {
	now := time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC)
	m := &Monitor{Window: Window{Rows: 400, MinRows: 200}}
	tail, closed := &tail{}, 0
	for i := range 1000 {
		at := now.Add(time.Duration(i) * time.Minute)
		if tail.full(m, 1, &buffer{rows: 400}, at.Add(24*time.Hour), at) {
			tail.paceOf(1).close()
			closed++
		}
	}
	if closed != 1000 {
		t.Errorf("%d of 1000 windows, a minute apart by our clock, were closed at their size", closed)
	}
}

func TestAWindowThatGrewIsClosedInItsTurnAndNothingIsLost(t *testing.T) {
	each(t, func(w *world) {
		w.ensure("screening", 1)
		for range atOnce + 1 {
			w.send("screening", 1, w.quiet(400), false)
		}
		w.tick()
		if n := len(w.all("screening")); n != atOnce {
			t.Fatalf("%d windows at once, want %d", n, atOnce)
		}
		w.send("screening", 1, w.quiet(200), false)
		w.tick()
		open, err := w.Live(w.ctx, "screening")
		if err != nil || len(open.Open) != 1 {
			t.Fatalf("%+v %v", open, err)
		}
		if o := open.Open[0]; o.Rows != 600 || o.Needed != 0 || o.Closes == nil || time.Until(*o.Closes) > steady {
			t.Errorf("the open window: %+v", o)
		}
		w.Now = func() time.Time { return time.Now().Add(steady) }
		w.tick()
		all := w.all("screening")
		if len(all) != atOnce+1 || all[atOnce].Rows != 600 || all[atOnce].First <= all[atOnce-1].Last {
			t.Fatalf("%d windows, the last of %d rows", len(all), all[len(all)-1].Rows)
		}
		if f := all[atOnce].Features; len(f) != 10 || f[0].PSI == nil || all[atOnce].Breached {
			t.Errorf("the window that grew was not compared: %+v", all[atOnce].Causes)
		}
	})
}

func TestAWindowOfManyColumnsGrowsLess(t *testing.T) {
	now := time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		name                    string
		inputs, outputs, asked  int
		closedAt, closedAtLeast int
	}{
		{"20 columns in all grow to the largest window", 19, 1, 400, most, most},
		{"300 columns to 2,000,000 values", 290, 10, 400, 6_700, 6_600},
		{"10,000 columns to what was asked for", 10_000, 0, 400, 400, 400},
		{"what was asked for is given", 300, 0, 50_000, 50_000, 50_000},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := &Monitor{Window: Window{Rows: c.asked, MinRows: 200}}
			tail := &tail{paces: map[int]*pace{1: {spent: atOnce * steady, at: now}}} // no turn is left
			b := &buffer{inputs: frame{columns: make([]series, c.inputs)}, outputs: frame{columns: make([]series, c.outputs)}}
			for b.rows = 100; !tail.full(m, 1, b, now, now); b.rows += 100 {
				if b.rows > most {
					t.Fatal("it grows without end")
				}
			}
			if b.rows > c.closedAt || b.rows < c.closedAtLeast {
				t.Errorf("the window is closed at %d rows, want %d to %d", b.rows, c.closedAtLeast, c.closedAt)
			}
		})
	}
}

func TestTurnsThatAreUsedUpStayUsedUp(t *testing.T) {
	for name, change := range map[string]func(w *world){
		"after a restart": func(w *world) { w.Service = w.again() },
		"when another worker goes on, which has read before": func(w *world) {
			old := w.Service
			w.Service = w.again()
			w.tick()
			w.Service = old
			w.tick()
		},
		"after a change of settings": func(w *world) {
			if _, err := w.Put(w.ctx, "screening", Change{Window: &Window{Rows: 390, MinRows: 200}}); err != nil {
				w.t.Fatal(err)
			}
		},
		"after a failure": func(w *world) { w.drop([2]string{"default", "screening"}) },
	} {
		t.Run(name, func(t *testing.T) {
			each(t, func(w *world) {
				now := time.Now().UTC().Truncate(time.Microsecond) // calls come a little later: their clocks are ahead
				w.Now = func() time.Time { return now }
				w.ensure("screening", 1)
				for range atOnce + 2 {
					w.send("screening", 1, w.quiet(400), false)
				}
				w.tick()
				change(w)
				w.tick()
				w.send("screening", 1, w.quiet(400), false)
				w.tick()
				if n := len(w.all("screening")); n != atOnce {
					w.t.Errorf("%d windows at once, want %d", n, atOnce)
				}
				other := w.again() // a process that does not read the log for windows
				open, err := other.Live(w.ctx, "screening")
				if err != nil || len(open.Open) != 1 {
					w.t.Fatalf("%+v %v", open, err)
				}
				if o := open.Open[0]; o.Rows != 1200 || o.Needed != 0 || o.Closes == nil || !o.Closes.Equal(now.Add(steady)) {
					w.t.Errorf("the open window, as another process sees it: %+v", o)
				}
			})
		})
	}
}
