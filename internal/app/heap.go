package app

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// Pace of the garbage collector. At rest a small resident size matters more than the last percent of throughput; under
// load a collection makes the calls of its time late, ten milliseconds on two cores, so that it had better be seldom.
const (
	restPercent = 50        // of the live heap may be garbage at rest
	leastRoom   = 64 << 20  // bytes of garbage under load, where restPercent of the live heap is less,
	mostRoom    = 256 << 20 // and where the machine has sixteen times as much
	paceEvery   = 2 * time.Second
	calm        = 5 // turns without a collection until it is as at rest
)

// room is how much garbage there may be under load on a machine, or in a container, of so much memory; 0 is not known.
func room(memory uint64) uint64 { return min(max(memory/16, leastRoom), mostRoom) }

// pace gives the percentage for the next turn, so that there is one collection in it. cycles were run in the last one; live
// is the size of the live heap.
func pace(percent int, cycles, live, room uint64, quiet int) int {
	most := max(restPercent, int(100*room/max(live, 1<<20)))
	switch {
	case cycles > 1:
		percent *= int(min(cycles, 100))
	case quiet >= calm:
		percent = restPercent
	}
	return min(max(percent, restPercent), most)
}

// collect sets the collector's pace by the load until ctx ends.
func collect(ctx context.Context) error {
	seen := []metrics.Sample{{Name: "/gc/cycles/automatic:gc-cycles"}, {Name: "/gc/heap/live:bytes"}}
	metrics.Read(seen)
	percent, cycles, quiet := restPercent, seen[0].Value.Uint64(), 0
	room := room(memory())
	tick := time.NewTicker(paceEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		metrics.Read(seen)
		ran := seen[0].Value.Uint64() - cycles
		cycles += ran
		if quiet++; ran > 0 {
			quiet = 0
		}
		if next := pace(percent, ran, seen[1].Value.Uint64(), room, quiet); next != percent {
			percent = next
			debug.SetGCPercent(percent)
		}
	}
}
