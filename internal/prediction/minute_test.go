package prediction

import (
	"math"
	"testing"
	"time"
)

func TestAMinuteCountsWhatWasAnsweredInIt(t *testing.T) {
	now := time.Date(2026, 3, 1, 10, 0, 30, 0, time.UTC)
	l, err := OpenLog(Options{Dir: t.TempDir(), Node: "n", Logger: quiet, Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	call := func(endpoint, slot, fault string, version int, took time.Duration) {
		t.Helper()
		r := Record{Workspace: "default", Endpoint: endpoint, Model: "m", Version: version, Slot: slot, Error: fault, Latency: took}
		for _, durability := range []string{Group, Async} {
			if err := l.Append(t.Context(), &r, durability); err != nil {
				t.Fatal(err)
			}
		}
		if err := l.AppendAll(t.Context(), []Record{r}); err != nil {
			t.Fatal(err)
		}
	}
	call("a", SlotLive, "", 1, time.Millisecond)
	call("a", SlotCanary, "it broke", 2, time.Second)
	call("a", SlotLive, "", 1, 3*time.Millisecond)
	call("a", SlotShadow, "", 3, time.Hour)
	call("b", SlotExternal, "", 3, time.Hour)
	if got := l.Minute(now.Truncate(time.Minute).Add(-time.Minute)); len(got) != 0 {
		t.Errorf("the minute before holds %+v", got)
	}
	now = now.Add(40 * time.Second)
	call("a", SlotLive, "", 1, time.Hour) // the next minute
	call("c", SlotLive, "", 4, time.Millisecond)
	got := l.Minute(now.Truncate(time.Minute).Add(-time.Minute))
	if len(got) != 1 || got[0].Endpoint != "a" || got[0].Model != "m" || got[0].Version != 1 || got[0].Calls != 9 || got[0].Failed != 3 || len(got[0].Took) != 6 {
		t.Fatalf("%+v", got)
	}
	sum := time.Duration(0)
	for _, d := range got[0].Took {
		sum += d
	}
	if sum != 12*time.Millisecond {
		t.Errorf("the calls took %v", sum)
	}
	if got = l.Minute(now.Truncate(time.Minute)); len(got) != 2 || got[1].Endpoint != "c" || got[1].Version != 4 {
		t.Errorf("%+v", got)
	}
	// Of very many calls some stand for all.
	now = now.Add(time.Minute)
	r := Record{Workspace: "default", Endpoint: "busy", Model: "m", Version: 1, Slot: SlotLive}
	const many = 20_000
	for i := range many {
		r.Latency, r.At = time.Duration(i), now
		l.meter.count(&r)
	}
	got = l.Minute(now.Truncate(time.Minute))
	if len(got) != 1 || got[0].Calls != many || len(got[0].Took) != mostTook {
		t.Fatalf("%d", len(got))
	}
	mean := 0.0
	for _, d := range got[0].Took {
		mean += float64(d) / mostTook
	}
	if math.Abs(mean-many/2) > 6*many/math.Sqrt(12*mostTook) {
		t.Errorf("the mean of those drawn is %v of %d", mean, many)
	}
	if l.Minute(now.Add(20 * time.Minute)); len(l.meter.of) != 0 {
		t.Errorf("%d endpoints without calls are kept", len(l.meter.of))
	}
}
