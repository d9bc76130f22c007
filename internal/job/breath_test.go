package job

import (
	"context"
	"testing"
	"time"
)

// spend keeps the processor busy.
func spend(d time.Duration) {
	for end := time.Now().Add(d); time.Now().Before(end); {
	}
}

func TestGentleWorkPausesLongerThanItWorks(t *testing.T) {
	ctx := Gently(t.Context())
	began := time.Now()
	Breathe(ctx)
	for range 5 {
		spend(2 * time.Millisecond)
		Breathe(ctx)
	}
	if took := time.Since(began); took < 5*(2+3*2)*time.Millisecond {
		t.Errorf("10 ms of work took %s", took)
	}
	began = time.Now()
	for range 5 {
		spend(2 * time.Millisecond)
		Breathe(t.Context()) // nobody asked for pauses
	}
	ended, end := context.WithCancel(ctx)
	end()
	spend(2 * piece)
	Breathe(ended)
	if took := time.Since(began); took > time.Second {
		t.Errorf("work that need not pause took %s", took)
	}
}
