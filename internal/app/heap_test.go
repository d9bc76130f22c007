package app

import "testing"

func TestTheCollectorRunsLessOftenUnderLoadAndIsBoundedAndCalmsDown(t *testing.T) {
	percent := restPercent
	if percent = pace(percent, 3, 20<<20, leastRoom, 0); percent != 3*restPercent { // a third of the collections
		t.Errorf("three collections in a turn give %d percent", percent)
	}
	for range 20 { // load: many collections over a live heap of 20 MiB
		percent = pace(percent, 7, 20<<20, leastRoom, 0)
	}
	if percent != 320 {
		t.Errorf("%d percent of 20 MiB, want 64 MiB of room", percent)
	}
	for _, cycles := range []uint64{0, 1} {
		if got := pace(percent, cycles, 20<<20, leastRoom, 1); got != percent {
			t.Errorf("a turn with %d collections moves the pace to %d", cycles, got)
		}
	}
	if got := pace(percent, 3, 300<<20, leastRoom, 0); got != restPercent {
		t.Errorf("a large heap has room enough with %d percent, got %d", restPercent, got)
	}
	if got := pace(percent, 0, 20<<20, leastRoom, calm); got != restPercent {
		t.Errorf("at rest the pace is %d", got)
	}
	if got := pace(restPercent, 9, 0, mostRoom, 0); got <= 0 || got > 25600 {
		t.Errorf("without a live heap the pace is %d", got)
	}
}

func TestGarbageHasRoomByTheMachinesMemory(t *testing.T) {
	for memory, want := range map[uint64]uint64{0: leastRoom, 512 << 20: leastRoom, 2 << 30: 128 << 20, 64 << 30: mostRoom} {
		if got := room(memory); got != want {
			t.Errorf("%d MiB have room for %d MiB, want %d", memory>>20, got>>20, want>>20)
		}
	}
	if n := memory(); n != 0 && (n < 64<<20 || n > 1<<50) {
		t.Errorf("this machine has %d bytes", n)
	}
}
