package prediction

import (
	"context"
	"fmt"
	"math"
	"strings"
	"time"

	"keelson/internal/engine"
	"keelson/internal/engine/reason"
	"keelson/internal/problem"
	"keelson/internal/tensor"
)

// Explained says why a logged decision came out as it did, by the version that made it.
type Explained struct {
	Prediction  string             `json:"prediction_id"`
	At          time.Time          `json:"at"`
	Endpoint    string             `json:"endpoint"`
	Model       string             `json:"model"`
	Version     int                `json:"version" doc:"the version that made the decision, loaded again for this"`
	Replay      Replay             `json:"replay"`
	Explanation reason.Explanation `json:"explanation"`
	TraceInfo   []FiredView        `json:"trace_info,omitempty" doc:"rules that fired, row by row"`
	Unexplained string             `json:"unexplained,omitempty" doc:"why there are no reasons, though the decision was asked again"`
}

// Replay is the same inputs asked again of the same version.
type Replay struct {
	Identical  bool    `json:"identical" doc:"every output is the logged one, bit for bit"`
	Redacted   bool    `json:"redacted" doc:"inputs were left out of the record, so it was not asked again"`
	Difference float64 `json:"difference" doc:"largest difference between two numbers of the outputs"`
	Detail     string  `json:"detail" doc:"in words"`
}

// Explain loads the version of a logged decision, asks it again and explains its answer with the top features per row
// (top ≤ 0: all). Models that cannot explain themselves are compared with the decisions that stand before this one in the
// log; while there are too few of them, the replay stands alone. It fails with problem.NotFound for an unknown prediction or
// a version that is gone, problem.Conflict when the decision failed or names no version, and else as reason.Explain does.
func (s *Service) Explain(ctx context.Context, id string, top int) (Explained, error) {
	r, err := s.Get(ctx, id)
	if err != nil {
		return Explained{}, err
	}
	switch {
	case s.Version == nil:
		return Explained{}, problem.New(problem.Unavailable, "This process loads no models; ask one that runs with the part api.")
	case r.Error != "" || len(r.Outputs) == 0:
		return Explained{}, problem.New(problem.Conflict, "Prediction %s has no answer that could be explained.", r.ID)
	case r.Version == 0:
		return Explained{}, problem.New(problem.Conflict, "Prediction %s was handed in without a version, so it cannot be asked again.", r.ID)
	case r.Rows > reason.MaxRows:
		return Explained{}, problem.New(problem.TooLarge, "Prediction %s has %d rows; at most %d are explained at once.", r.ID, r.Rows, reason.MaxRows)
	}
	out := Explained{Prediction: r.ID, At: r.At, Endpoint: r.Endpoint, Model: r.Model, Version: r.Version, TraceInfo: r.fired()}
	if left := r.Left().Columns; len(left) > 0 {
		out.Explanation = reason.Explanation{Rows: []reason.Row{}}
		out.Replay = Replay{Redacted: true, Detail: fmt.Sprintf("Redacted, cannot be replayed exactly: the log does not hold the values of %s.", clip(strings.Join(left, ", ")))}
		return out, nil
	}
	s.replays.Lock() // a version may be large: one at a time is in memory for this
	defer s.replays.Unlock()
	m, err := s.Version(ctx, r.Model, r.Version)
	if err != nil {
		return Explained{}, err
	}
	defer m.Close()
	again, err := m.Predict(ctx, r.Inputs)
	if err != nil {
		return Explained{}, fmt.Errorf("ask version %d of %s again: %w", r.Version, r.Model, err)
	}
	out.Replay = compare(r.Outputs, again)
	out.Explanation, err = reason.Explain(ctx, m, m.Signature(), r.Inputs, top, func(ctx context.Context) ([][]tensor.Tensor, error) {
		return s.earlier(ctx, Query{Endpoint: r.Endpoint, Version: r.Version, After: r.ID})
	})
	if p, ok := problem.As(err); ok && p.Kind == problem.Conflict {
		out.Explanation, out.Unexplained, err = reason.Explanation{Rows: []reason.Row{}}, p.Detail, nil
	}
	if s.Page != nil {
		out.Explanation.Contest = s.Page("/predictions/" + r.ID)
	}
	return out, err
}

// compare holds the outputs of a replay against those on record.
func compare(logged, again []tensor.Tensor) Replay {
	out := Replay{Identical: len(logged) == len(again), Detail: "Asked again, the version gave the identical answer."}
	for i := range logged {
		was := &logged[i]
		is := tensor.Find(again, was.Name)
		if is == nil || is.Type != was.Type || is.Len() != was.Len() {
			return Replay{Detail: fmt.Sprintf("Asked again, the version gave no output %q of the same form.", clip(was.Name))}
		}
		out.Identical = out.Identical && was.Equal(is)
		if was.Type == tensor.Bytes {
			continue
		}
		for k := range was.Len() {
			if d := math.Abs(was.Float64(k) - is.Float64(k)); d-d == 0 {
				out.Difference = max(out.Difference, d)
			}
		}
	}
	if !out.Identical {
		out.Detail = fmt.Sprintf("Asked again, the version gave another answer; the largest difference of a number is %g. A model that runs elsewhere may have changed.", out.Difference)
	}
	return out
}

// backgroundCalls is how many calls are looked at for rows to compare with.
const backgroundCalls = 100

// Background gives the inputs of the newest calls that a version answered at an endpoint, newest first, for explaining
// another one by comparison.
func (s *Service) Background(ctx context.Context, endpoint string, version int) ([][]tensor.Tensor, error) {
	return s.earlier(ctx, Query{Endpoint: endpoint, Version: version})
}

// Lately gives the inputs of the newest calls that a version answered, wherever it runs, newest first.
func (s *Service) Lately(ctx context.Context, model string, version int) ([][]tensor.Tensor, error) {
	return s.earlier(ctx, Query{Model: model, Version: version})
}

func (s *Service) earlier(ctx context.Context, q Query) ([][]tensor.Tensor, error) {
	q.Limit = backgroundCalls
	list, err := s.List(ctx, q)
	if err != nil {
		return nil, err
	}
	out := make([][]tensor.Tensor, 0, len(list))
	for _, r := range list {
		if r.Error == "" && len(r.Inputs) > 0 && len(r.Redacted) == 0 { // what was left out cannot be compared with
			out = append(out, r.Inputs)
		}
	}
	return out, nil
}

// Loader loads a version for one question; who asks closes it.
type Loader func(ctx context.Context, model string, version int) (engine.Model, error)

type explainInput struct {
	ID  string `path:"id"`
	Top int    `query:"top" minimum:"0" doc:"features per row, all if left out"`
}

func (s *Service) getExplanation(ctx context.Context, in *explainInput) (Explained, error) {
	return s.Explain(ctx, in.ID, in.Top)
}
