package trace

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"keelson/internal/audit"
	"keelson/internal/db"
	"keelson/internal/problem"
)

// namedPrompts reads the tag that names prompts: [{"name": …, "version": …}].
func namedPrompts(tag string) (out []Prompt) {
	var list []Prompt
	if tag == "" || json.Unmarshal([]byte(tag), &list) != nil {
		return nil
	}
	for _, p := range list {
		if p.ok() && len(out) < MaxPrompts {
			out = append(out, p)
		}
	}
	return out
}

// arriving checks new assessments and gives them identifiers and times.
func (s *Service) arriving(list []Assessment) ([]Assessment, error) {
	if len(list) > MaxAssessments {
		return nil, problem.New(problem.Invalid, "A trace has at most %d assessments; got %d.", MaxAssessments, len(list)).At("assessments")
	}
	out := make([]Assessment, len(list))
	for i, a := range list {
		if err := a.check(); err != nil {
			return nil, err
		}
		if a.ID == "" {
			a.ID = "a-" + strings.ToLower(db.NewID())
		}
		now := s.Now()
		if a.CreatedAt.IsZero() {
			a.CreatedAt = now
		}
		if a.UpdatedAt.IsZero() {
			a.UpdatedAt = a.CreatedAt
		}
		a.Valid = true
		out[i] = a
	}
	return out, nil
}

// Assess adds an assessment to a trace; the one it overrides is no longer valid.
func (s *Service) Assess(ctx context.Context, trace string, a Assessment) (Assessment, error) {
	a.ID = ""
	list, err := s.arriving([]Assessment{a})
	if err != nil {
		return a, err
	}
	a = list[0]
	err = s.DB.WriteBulk(ctx, func(tx db.Scope) error {
		if _, err := lockTrace(tx, trace); err != nil {
			return err
		}
		n, err := countAssessments(tx, trace)
		if err != nil {
			return err
		}
		if n >= MaxAssessments {
			return problem.New(problem.Invalid, "Trace %s has %d assessments already, which is as many as one may have.", trace, n)
		}
		if a.Overrides != "" {
			ok, err := setValid(tx, trace, a.Overrides, false)
			if err != nil {
				return err
			}
			if !ok {
				return noAssessment(trace, a.Overrides)
			}
		}
		return putAssessment(tx, trace, a)
	})
	if err != nil {
		return a, fmt.Errorf("assess trace: %w", err)
	}
	return a, nil
}

// Assessment gives one.
func (s *Service) Assessment(ctx context.Context, trace, id string) (a Assessment, err error) {
	err = s.DB.Read(ctx, func(tx db.Scope) (err error) { a, err = getAssessment(tx, trace, id); return err })
	return a, err
}

// Reassess changes an assessment; its source, span and kind stay.
func (s *Service) Reassess(ctx context.Context, trace, id string, c AssessmentChange) (a Assessment, err error) {
	err = s.DB.WriteBulk(ctx, func(tx db.Scope) (err error) {
		if _, err = lockTrace(tx, trace); err != nil {
			return err
		}
		if a, err = getAssessment(tx, trace, id); err != nil {
			return err
		}
		if err = c.apply(&a); err != nil {
			return err
		}
		a.UpdatedAt = s.Now()
		return putAssessment(tx, trace, a)
	})
	if err != nil {
		err = fmt.Errorf("change assessment: %w", err)
	}
	return a, err
}

// DeleteAssessment removes an assessment; the one it replaced is valid again. One that is not there is no mistake, so
// that the request may be repeated; a trace that is not there is one.
func (s *Service) DeleteAssessment(ctx context.Context, trace, id string) error {
	return s.DB.Write(ctx, func(tx db.Scope) error {
		if _, err := lockTrace(tx, trace); err != nil {
			return err
		}
		a, err := getAssessment(tx, trace, id)
		if problem.Is(err, problem.NotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		if a.Overrides != "" {
			if _, err := setValid(tx, trace, a.Overrides, true); err != nil {
				return err
			}
		}
		if err := dropAssessment(tx, trace, id); err != nil {
			return err
		}
		return audit.Record(tx, "trace.assessment.deleted", "trace/"+trace, map[string]any{"assessment": id, "name": a.Name, "kind": a.Kind, "source": a.Source})
	})
}
