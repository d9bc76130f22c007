package study

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"

	"keelson/internal/inventory"
	"keelson/internal/problem"
	"keelson/internal/rest"
)

// Routes mounts studies of versions and the search for other answers.
func (s *Service) Routes(a *rest.API) {
	rest.Get(a, "/api/v1/models/{name}/versions/{version}/study", "prediction.read", "What a version's answers hang on, as last studied", s.get)
	rest.Post(a, "/api/v1/models/{name}/versions/{version}/study", "prediction.read", "Study what a version's answers hang on, over its logged calls", s.post, rest.Status(http.StatusAccepted))
	rest.Get(a, "/api/v1/models/{name}/versions/{version}/study/history", "prediction.read", "The studies of a version that are kept, and what changed from one to the next", s.getHistory)
	rest.Get(a, "/api/v1/models/{name}/versions/{version}/study/shift", "prediction.read", "Compare what moved a version's answers at two times", s.getShift)
	rest.Post(a, "/api/v1/predictions/{id}/what-if", "prediction.read", "What the version that decided answers to other values of a row; not logged", s.postWhatIf)
	rest.Get(a, "/api/v1/predictions/{id}/counterfactual", "prediction.read", "What would have had to be different for another answer", s.getCounter)
}

func (s *Service) get(ctx context.Context, in *inventory.VersionPath) (Standing, error) {
	return s.Get(ctx, in.Name, in.Version)
}

func (s *Service) getHistory(ctx context.Context, in *inventory.VersionPath) (History, error) {
	return s.History(ctx, in.Name, in.Version)
}

func (s *Service) post(ctx context.Context, in *inventory.VersionPath) (Standing, error) {
	return s.Start(ctx, in.Name, in.Version)
}

func (s *Service) getShift(ctx context.Context, in *struct {
	inventory.VersionPath
	Since        time.Time `query:"since" doc:"begin of the window; a day ago if left out"`
	Until        time.Time `query:"until" doc:"its end; now if left out"`
	AgainstSince time.Time `query:"against_since" doc:"begin of what it is compared with; a week before the window if left out"`
	AgainstUntil time.Time `query:"against_until" doc:"its end; the begin of the window if left out"`
}) (Shift, error) {
	now, before := Window{in.Since, in.Until}, Window{in.AgainstSince, in.AgainstUntil}
	if now.Since.IsZero() {
		now.Since = s.Now().Add(-24 * time.Hour)
	}
	if before.Until.IsZero() {
		before.Until = now.Since
	}
	if before.Since.IsZero() {
		before.Since = before.Until.Add(-7 * 24 * time.Hour)
	}
	return s.Shift(ctx, in.Name, in.Version, now, before)
}

func (s *Service) getCounter(ctx context.Context, in *struct {
	ID        string   `path:"id"`
	Row       int      `query:"row" minimum:"0" doc:"of the call, counted from 0"`
	Threshold string   `query:"threshold" doc:"a number that parts the answers; left out it is 0.5 for answers between 0 and 1, else the median of the logged ones"`
	Hold      []string `query:"hold" doc:"features that must stay, parted by commas"`
}) (Other, error) {
	q := Asked{Prediction: in.ID, Row: in.Row}
	if in.Threshold != "" {
		v, err := number(in.Threshold)
		if err != nil {
			return Other{}, err
		}
		q.Threshold = &v
	}
	for _, h := range in.Hold {
		if h = strings.TrimSpace(h); h != "" {
			q.Hold = append(q.Hold, h)
		}
	}
	return s.Counter(ctx, q)
}

func (s *Service) postWhatIf(ctx context.Context, in *struct {
	ID   string `path:"id"`
	Body struct {
		Row    int                        `json:"row,omitempty" minimum:"0" doc:"of the call, counted from 0"`
		Values map[string]json.RawMessage `json:"values,omitempty" doc:"other values by feature, as an inference request has them: a number, a text, true or false, null for a missing value; left out: as logged"`
	}
}) (WhatIf, error) {
	return s.WhatIf(ctx, Supposed{Prediction: in.ID, Row: in.Body.Row, Values: in.Body.Values})
}

func number(text string) (float64, error) {
	v, err := strconv.ParseFloat(text, 64)
	if err != nil || v-v != 0 {
		return 0, problem.New(problem.Invalid, "The threshold is a finite number; got %q.", text).At("threshold")
	}
	return v, nil
}
