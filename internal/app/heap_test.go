package app

import "testing"

func TestTheCollectorRunsLessOftenUnderLoadAndIsBoundedAndCalmsDown(t *testing.T) {
	percent := restPercent
	for range 20 { // load: many collections a second over a live heap of 20 MiB
		percent = pace(percent, 7, 20<<20, 0)
	}
	if percent != 320 {
		t.Errorf("%d percent of 20 MiB, want 64 MiB of room", percent)
	}
	if got := pace(percent, 1, 20<<20, 0); got != percent {
		t.Errorf("one collection a second moves the pace to %d", got)
	}
	if got := pace(percent, 3, 300<<20, 0); got != restPercent {
		t.Errorf("a large heap has room enough with %d percent, got %d", restPercent, got)
	}
	if got := pace(percent, 0, 20<<20, calm); got != restPercent {
		t.Errorf("at rest the pace is %d", got)
	}
	if got := pace(restPercent, 9, 0, 0); got <= 0 || got > 6400 {
		t.Errorf("without a live heap the pace is %d", got)
	}
}
