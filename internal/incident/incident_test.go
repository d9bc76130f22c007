package incident

import (
	"context"
	"encoding/json"
	"log/slog"
	"strings"
	"testing"
	"time"

	"keelson/internal/caller"
	"keelson/internal/db"
	"keelson/internal/db/dbtest"
	"keelson/internal/event"
	"keelson/internal/problem"
)

var noon = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

func as(name, kind string) context.Context {
	return caller.With(context.Background(), caller.Caller{Name: name, Kind: kind})
}

func service(d *db.DB) *Service {
	return &Service{DB: d, Log: slog.New(slog.DiscardHandler), Now: func() time.Time { return noon },
		Model: func(_ context.Context, endpoint string) string { return strings.TrimSuffix(endpoint, ".dev") }}
}

func TestTheSameTroubleIsOneIncidentUntilItIsClosed(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s, ctx := service(d), as("serving", caller.Process)
		for range 5 {
			if err := s.Refused(ctx, "screening.dev", "The signature does not match."); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.Refused(ctx, "other", "The signature does not match."); err != nil {
			t.Fatal(err)
		}
		list, err := s.List(ctx, Open, "screening", "", 10)
		if err != nil || len(list) != 1 || list[0].Count != 5 || list[0].Kind != LoaderRefused {
			t.Fatalf("%+v %v", list, err)
		}
		i, err := s.Get(ctx, list[0].ID)
		if err != nil || len(i.Timeline) != 3 { // the 1st, 2nd and 4th report
			t.Fatalf("%+v %v", i.Timeline, err)
		}
		if i, err = s.Ack(as("otto", caller.Person), i.ID, "looking"); err != nil || i.State != Acknowledged || i.Owner != "otto" {
			t.Fatalf("%+v %v", i, err)
		}
		if _, err = s.Close(as("otto", caller.Person), i.ID, " "); problem.KindOf(err) != problem.Invalid {
			t.Fatal(err)
		}
		if i, err = s.Close(as("otto", caller.Person), i.ID, "restored the row"); err != nil || i.State != Closed || !strings.Contains(i.Timeline[len(i.Timeline)-1].Text, "restored the row") {
			t.Fatalf("%+v %v", i, err)
		}
		if _, err = s.Ack(as("otto", caller.Person), i.ID, ""); problem.KindOf(err) != problem.Conflict {
			t.Fatal(err)
		}
		if err := s.Refused(ctx, "screening.dev", "Again."); err != nil {
			t.Fatal(err)
		}
		if list, _ = s.List(ctx, "", "screening", "", 10); len(list) != 2 || list[0].State != Open {
			t.Fatalf("a closed one was opened again: %+v", list)
		}
		if _, err := s.Get(ctx, "none"); problem.KindOf(err) != problem.NotFound {
			t.Fatal(err)
		}
		lab := caller.WithWorkspace(ctx, "lab")
		if list, _ := s.List(lab, "", "", "", 10); len(list) != 0 {
			t.Fatalf("another workspace sees %+v", list)
		}
	})
}

func TestAReviewIsClosedBySomebodyElse(t *testing.T) {
	for name, c := range map[string]struct {
		by   caller.Caller
		kind problem.Kind
	}{
		"not by who did it":      {caller.Caller{Name: "otto", Kind: caller.Person}, problem.Forbidden},
		"not by a service":       {caller.Caller{Name: "bot", Kind: caller.Service}, problem.Forbidden},
		"by somebody else it is": {caller.Caller{Name: "rita", Kind: caller.Person}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			i := Incident{ID: "i", Kind: Review, State: Open, OpenedBy: "otto"}
			err := i.Close(c.by, "looked at it")
			if c.kind == "" && (err != nil || i.State != Closed) || c.kind != "" && problem.KindOf(err) != c.kind {
				t.Fatal(err)
			}
		})
	}
}

func TestEventsOfTheModelAreOnItsTimeline(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s, ctx := service(d), as("monitor", caller.Process)
		if err := s.Open(ctx, New{Kind: MonitorBreached, Model: "screening", Title: "Drift.", Severity: Medium}); err != nil {
			t.Fatal(err)
		}
		e := event.Event{ID: "e1", Type: "deployment.released", Subject: "deployment/screening", Actor: "otto", At: noon.Add(time.Hour), Data: json.RawMessage(`{"models":["screening"],"words":"Version 1 answers again."}`)}
		for range 2 {
			if err := s.Follow(ctx, e); err != nil {
				t.Fatal(err)
			}
		}
		e.ID, e.Data = "e2", json.RawMessage(`{"models":["other"]}`)
		if err := s.Follow(ctx, e); err != nil {
			t.Fatal(err)
		}
		list, _ := s.List(ctx, Open, "", "", 10)
		i, err := s.Get(ctx, list[0].ID)
		if err != nil || len(i.Timeline) != 2 || i.Timeline[1].Text != "Version 1 answers again." || i.Timeline[1].By != "otto" {
			t.Fatalf("%+v %v", i.Timeline, err)
		}
		if err := s.Open(ctx, New{Kind: "x", Title: "y", Severity: "awful"}); problem.KindOf(err) != problem.Invalid {
			t.Fatal(err)
		}
	})
}
