package prediction

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"
	"time"

	"keelson/internal/caller"
)

// tally counts the calls in one segment. It goes on where it stopped, because a segment only grows: who asks pays for
// what came since somebody asked last, not for the whole segment.
type tally struct {
	mu   sync.Mutex
	upTo int64                // place in the file before which everything is counted
	uses map[string]*counting // by workspace
}

// tally counts what came into s since the last time and calls f with the uses of a workspace, which f must not keep.
func (l *Log) tally(s *segment, workspace string, f func(useKey, useCount)) error {
	t := &s.tally
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.uses == nil {
		t.upTo, t.uses = int64(len(segmentMagic)), map[string]*counting{}
	}
	b, err := s.bytes(t.upTo, s.size.Load())
	if err != nil {
		return err
	}
	defer func() { // b is gone then
		for _, of := range t.uses {
			of.settle()
		}
	}()
	var line line
	for n := 1; len(b) > 0; n++ {
		payload, rest, err := nextFrame(b)
		if err != nil {
			return fmt.Errorf("segment %s: %w", s.id, err)
		}
		if err := line.split(payload); err != nil {
			return fmt.Errorf("segment %s: %w", s.id, err)
		}
		of := t.uses[string(line.texts[textWorkspace])]
		if of == nil {
			of = &counting{}
			t.uses[string(line.texts[textWorkspace])] = of
		}
		of.add(&line)
		t.upTo += int64(len(b) - len(rest))
		b = rest
		if n%politeness == 0 {
			runtime.Gosched()
		}
	}
	if of := t.uses[workspace]; of != nil {
		for k, c := range of.all() {
			f(k, c)
		}
	}
	return nil
}

// unfiledUses adds the calls in the segments of this process; model "" is every model. As in SQL, a day counts whole
// when its last call is not before since.
func (s *Service) unfiledUses(ctx context.Context, model string, since time.Time, into map[useKey]useCount) error {
	if s.Log == nil {
		return nil
	}
	all, _ := s.Log.segments()
	for _, seg := range all {
		err := s.Log.tally(seg, caller.Workspace(ctx), func(k useKey, c useCount) {
			if model == "" || k.Model == model && !c.LastAt.Before(since) {
				into[k] = into[k].plus(c)
			}
		})
		if err != nil && !errors.Is(err, os.ErrClosed) {
			return err
		}
	}
	return nil
}
