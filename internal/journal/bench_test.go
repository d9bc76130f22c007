package journal

import (
	"testing"
	"time"
)

// What one call costs the serving path: the meter is all of this package that it touches.
func BenchmarkACallIsCounted(b *testing.B) {
	m := new(Meter)
	b.Run("alone", func(b *testing.B) {
		b.ReportAllocs()
		for i := range b.N {
			m.Waiting(0)
			m.Answered(64, time.Duration(i&0xFFFF)*time.Microsecond)
		}
	})
	b.Run("by all processors at once", func(b *testing.B) {
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for i := 0; pb.Next(); i++ {
				m.Waiting(0)
				m.Answered(64, time.Duration(i&0xFFFF)*time.Microsecond)
			}
		})
	})
	b.Run("without an answer", func(b *testing.B) {
		b.ReportAllocs()
		for range b.N {
			m.Missed(Invalid)
		}
	})
}

// What a flush reads of one meter, every ten seconds.
func BenchmarkAMeterIsRead(b *testing.B) {
	m := new(Meter)
	m.Answered(1, time.Millisecond)
	b.ReportAllocs()
	for b.Loop() {
		_ = m.Read()
	}
}
