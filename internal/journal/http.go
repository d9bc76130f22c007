package journal

import (
	"context"
	"fmt"
	"time"

	"keelson/internal/db"
	"keelson/internal/problem"
	"keelson/internal/rest"
)

// Service reads what the Recorders of all processes stored. DB and Now are required.
type Service struct {
	DB  *db.DB
	Now func() time.Time

	store store
}

// Routes mounts how endpoints were called and what their log says.
func (s *Service) Routes(a *rest.API) {
	rest.Get(a, "/api/v1/traffic", "deployment.read", "How all endpoints were called in the last hour", s.getSummaries)
	rest.Get(a, "/api/v1/deployments/{endpoint}/traffic", "deployment.read", "How an endpoint was called over time", s.getTraffic)
	rest.Get(a, "/api/v1/deployments/{endpoint}/log", "prediction.read", "The log lines that name an endpoint, newest first", s.getLines)
}

// Summaries tells how the endpoints of the workspace were called in the last hour. Endpoints that were not called and
// are served nowhere are not in it.
func (s *Service) Summaries(ctx context.Context) (out []Summary, err error) {
	now := s.Now().UTC()
	err = s.DB.Read(ctx, func(tx db.Scope) error {
		points, err := s.store.points(tx, "", Coarse, now.Add(-time.Hour), now.Add(Coarse))
		if err != nil {
			return err
		}
		nodes, err := s.store.nodes(tx, now.Add(-nodeGone))
		out = summaries(points, nodes, now)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read how endpoints were called: %w", err)
	}
	return out, nil
}

func (s *Service) getSummaries(ctx context.Context, _ *struct{}) (rest.Page[Summary], error) {
	list, err := s.Summaries(ctx)
	return rest.Page[Summary]{Items: list}, err
}

// Traffic tells how an endpoint was called in [since, until), in at most so many places. A span that begins within the
// last hour is told in steps of ten seconds, an older one in steps of five minutes.
func (s *Service) Traffic(ctx context.Context, endpoint string, since, until time.Time, places int) (t Traffic, err error) {
	now := s.Now().UTC()
	base, step := resolution(since, until, now, places)
	err = s.DB.Read(ctx, func(tx db.Scope) error {
		points, err := s.store.points(tx, endpoint, base, since.Truncate(step), until)
		if err != nil {
			return err
		}
		t = traffic(points, since, until, step)
		nodes, err := s.store.nodes(tx, now.Add(-nodeGone))
		for _, n := range nodes {
			for _, st := range n.standings {
				if st.Endpoint == endpoint {
					t.Nodes = append(t.Nodes, Node{n.name, n.seen, st})
				}
			}
		}
		return err
	})
	t.Endpoint = endpoint
	if err != nil {
		return t, fmt.Errorf("read how %s was called: %w", endpoint, err)
	}
	return t, nil
}

type trafficInput struct {
	Endpoint string    `path:"endpoint" maxLength:"200"`
	Since    time.Time `query:"since" doc:"an hour ago if left out; at most 30 days are kept"`
	Until    time.Time `query:"until" doc:"now if left out"`
	Points   int       `query:"points" minimum:"10" maximum:"1000" default:"180" doc:"how many places at most"`
}

func (s *Service) getTraffic(ctx context.Context, in *trafficInput) (Traffic, error) {
	now := s.Now().UTC()
	if in.Until.IsZero() || in.Until.After(now) {
		in.Until = now
	}
	if in.Since.IsZero() {
		in.Since = in.Until.Add(-time.Hour)
	}
	if in.Until.Sub(in.Since) < Fine {
		return Traffic{}, problem.New(problem.Invalid, "The span from %s to %s is shorter than %s.", in.Since.Format(time.RFC3339), in.Until.Format(time.RFC3339), Fine).At("since")
	}
	if oldest := now.Add(-keepCoarse); in.Since.Before(oldest) {
		in.Since = oldest
	}
	if in.Until.Sub(in.Since) < Fine {
		return Traffic{}, problem.New(problem.Invalid, "How endpoints were called is kept for 30 days; %s is longer ago.", in.Until.Format(time.RFC3339)).At("until")
	}
	return s.Traffic(ctx, in.Endpoint, in.Since.UTC(), in.Until.UTC(), in.Points)
}

type linesInput struct {
	rest.Paging
	Endpoint string    `path:"endpoint" maxLength:"200"`
	Level    string    `query:"level" enum:"debug,info,warn,error" doc:"the least level"`
	Text     string    `query:"text" maxLength:"200" doc:"stands in the message or a field, capitals or not"`
	Since    time.Time `query:"since" doc:"inclusive"`
	Until    time.Time `query:"until" doc:"exclusive"`
	After    string    `query:"after" maxLength:"40" doc:"lines behind this one, oldest first: for following the log"`
}

func (s *Service) getLines(ctx context.Context, in *linesInput) (rest.Page[Line], error) {
	var list []Line
	err := s.DB.Read(ctx, func(tx db.Scope) (err error) {
		list, err = s.store.lines(tx, LineQuery{Endpoint: in.Endpoint, Level: in.Level, Text: in.Text, Since: in.Since, Until: in.Until, Before: in.Cursor, After: in.After, Limit: in.Limit + 1})
		return err
	})
	if err != nil {
		return rest.Page[Line]{}, fmt.Errorf("read the log of %s: %w", in.Endpoint, err)
	}
	return rest.Paged(list, in.Limit, func(l Line) string { return l.ID }), nil
}
