package serving

import (
	"context"
	"errors"
	"time"

	"keelson/internal/engine"
	"keelson/internal/event"
	"keelson/internal/problem"
	"keelson/internal/release"
)

// Versions whose engine takes its time to load them are loaded aside: other releases do not wait, and what is in force at
// the endpoint stays until the version is there.
//
//	look ── not there ──▶ loading ── loaded ──▶ next look: in force
//	                         └── failed ──▶ refused; loaded again after a pause

const (
	pauseAfterFailure = time.Minute     // before a version that could not be loaded is loaded again
	unusedAtMost      = 5 * time.Minute // how long a version waits for the other versions of its release
)

// aside is a load under way, or one that failed.
type aside struct {
	done  chan struct{}
	err   error     // once done
	until time.Time // until when err is the answer
}

// loadAside begins to load a version and says that it is under way, or why it failed a moment ago. refresh is held.
func (s *Service) loadAside(ctx context.Context, n name, key string, want release.Slot) error {
	if s.stopping {
		return starting()
	}
	if l := s.asides[key]; l != nil {
		select {
		case <-l.done:
			if s.Now().Before(l.until) {
				return l.err
			}
		default:
			return loadingStill()
		}
	}
	l := &aside{done: make(chan struct{})}
	s.asides[key] = l
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(s.life, cancel)
	s.closers.Go(func() { // ends with the load, which has its time
		defer cancel()
		defer stop()
		v, err := s.loadVersion(ctx, n, key, want)
		s.refresh.Lock()
		switch {
		case err == nil && s.stopping:
			err = v.model.Close()
		case err == nil:
			v.kept = s.Now().Add(unusedAtMost)
			s.versions[key] = v
			delete(s.asides, key)
		case !errors.Is(err, engine.ErrPreparing): // else the next look asks again
			l.until = s.Now().Add(pauseAfterFailure)
		}
		l.err = err
		s.refresh.Unlock()
		close(l.done)
		_ = s.Released(ctx, event.Event{}) // never fails
	})
	return loadingStill()
}

func loadingStill() error {
	return problem.New(problem.Unavailable, "It is being loaded.").Because(engine.ErrPreparing)
}

// Settled waits until no version is being loaded aside.
func (s *Service) Settled(ctx context.Context) error {
	s.init()
	for {
		var wait chan struct{}
		s.refresh.Lock()
		for _, l := range s.asides {
			select {
			case <-l.done:
			default:
				wait = l.done
			}
		}
		s.refresh.Unlock()
		if wait == nil {
			return nil
		}
		select {
		case <-wait:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
