package app

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// Pace of the garbage collector. At rest a small resident size matters more than the last percent of throughput; under
// load a collector that runs many times a second costs a quarter of the processor and shows in the slowest calls.
const (
	restPercent = 50       // of the live heap may be garbage at rest
	loadRoom    = 64 << 20 // bytes of garbage at most under load, where restPercent of the live heap is less
	often       = 2        // collections in a second from which on there is load
	paceEvery   = time.Second
	calm        = 10 // seconds without load until it is as at rest
)

// pace gives the percentage for the next second. cycles were run in the last one; live is the size of the live heap.
func pace(percent int, cycles, live uint64, quiet int) int {
	most := max(restPercent, int(100*loadRoom/max(live, 1<<20)))
	switch {
	case cycles >= often:
		percent *= 2
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
		if next := pace(percent, ran, seen[1].Value.Uint64(), quiet); next != percent {
			percent = next
			debug.SetGCPercent(percent)
		}
	}
}
