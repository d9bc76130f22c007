// Package scorer keeps what judges the answers of language models: named definitions in numbered versions, each belonging
// to an experiment. A definition is the client's text; nothing here runs it.
package scorer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"keelson/internal/audit"
	"keelson/internal/caller"
	"keelson/internal/db"
	"keelson/internal/event"
	"keelson/internal/problem"
)

// MaxDefinition bounds a definition, in bytes.
const MaxDefinition = 1 << 20

// Events.
const (
	EventRegistered = "scorer.registered" // data: {scorer, experiment, name, version}
	EventDeleted    = "scorer.deleted"    // data: {scorer, experiment, name, version}; version 0 is all
)

// Version is one version of a scorer.
type Version struct {
	Scorer     string // id of the scorer, the same for all its versions
	Experiment string
	Name       string
	Number     int
	Definition string
	CreatedBy  string
	CreatedAt  time.Time
}

// Service keeps scorers. All fields are required.
type Service struct {
	DB  *db.DB
	Now func() time.Time
	// Experiment fails for an experiment that is not there.
	Experiment func(ctx context.Context, id string) error
}

// Register adds a version; the first one of a name makes the scorer.
func (s *Service) Register(ctx context.Context, experiment, name, definition string) (Version, error) {
	switch {
	case strings.TrimSpace(name) == "" || utf8.RuneCountInString(name) > 256:
		return Version{}, problem.New(problem.Invalid, "Scorer name cannot be empty or contain only whitespace, and has at most 256 characters.").At("name")
	case len(definition) > MaxDefinition:
		return Version{}, problem.New(problem.Invalid, "A scorer's definition has at most %d bytes.", MaxDefinition).At("serialized_scorer")
	case !json.Valid([]byte(definition)):
		return Version{}, problem.New(problem.Invalid, "serialized_scorer must be valid JSON.").At("serialized_scorer")
	}
	if err := s.Experiment(ctx, experiment); err != nil {
		return Version{}, err
	}
	v := Version{Experiment: experiment, Name: name, Definition: definition, CreatedBy: caller.From(ctx).Name, CreatedAt: s.Now().UTC().Truncate(time.Microsecond)}
	err := s.DB.Write(ctx, func(tx db.Scope) error {
		err := tx.QueryRow("UPDATE scorer SET last = last + 1 WHERE workspace = $1 AND experiment = $2 AND name = $3 RETURNING id, last", tx.Workspace, experiment, name).Scan(&v.Scorer, &v.Number)
		if errors.Is(err, db.ErrNoRows) {
			v.Scorer, v.Number = db.NewID(), 1
			_, err = tx.Exec("INSERT INTO scorer (workspace, id, experiment, name, last) VALUES ($1, $2, $3, $4, 1)", tx.Workspace, v.Scorer, experiment, name)
		}
		if err != nil {
			return err
		}
		if _, err := tx.Exec("INSERT INTO scorer_version (workspace, scorer, version, definition, created_by, created_at) VALUES ($1, $2, $3, $4, $5, $6)",
			tx.Workspace, v.Scorer, v.Number, v.Definition, v.CreatedBy, db.Micros(v.CreatedAt)); err != nil {
			return err
		}
		return tell(tx, EventRegistered, v)
	})
	if err != nil {
		return Version{}, fmt.Errorf("register scorer: %w", err)
	}
	return v, nil
}

func tell(tx db.Scope, typ string, v Version) error {
	detail := map[string]any{"scorer": v.Scorer, "experiment": v.Experiment, "name": v.Name, "version": v.Number}
	return errors.Join(event.Publish(tx, typ, "scorer/"+v.Scorer, detail), audit.Record(tx, typ, "scorer/"+v.Scorer, detail))
}

// read gives versions by experiment, name and number; empty texts and number 0 are any.
func read(tx db.Scope, experiment, name string, number int) (out []Version, err error) {
	err = tx.Each(`SELECT s.id, s.experiment, s.name, v.version, v.definition, v.created_by, v.created_at FROM scorer s JOIN scorer_version v ON v.workspace = s.workspace AND v.scorer = s.id
		WHERE s.workspace = $1 AND ($2 = '' OR s.experiment = $2) AND ($3 = '' OR s.name = $3) AND ($4 = 0 OR v.version = $4) ORDER BY s.experiment, s.name, v.version`,
		[]any{tx.Workspace, experiment, name, number}, func(scan func(...any) error) error {
			var v Version
			var created int64
			err := scan(&v.Scorer, &v.Experiment, &v.Name, &v.Number, &v.Definition, &v.CreatedBy, &created)
			v.CreatedAt = db.Time(created)
			out = append(out, v)
			return err
		})
	return out, err
}

func missing(experiment, name string, number int) error {
	what := ""
	if number > 0 {
		what = fmt.Sprintf(" and version %d", number)
	}
	return problem.New(problem.NotFound, "Scorer with name '%s'%s not found for experiment %s.", problem.Clip(name, 100), what, problem.Clip(experiment, 40)).At("name")
}

// List gives the newest version of every scorer of the experiments (none named: of all), by name.
func (s *Service) List(ctx context.Context, experiments ...string) (out []Version, err error) {
	for _, e := range experiments {
		if err := s.Experiment(ctx, e); err != nil {
			return nil, err
		}
	}
	err = s.DB.Read(ctx, func(tx db.Scope) error {
		all, err := read(tx, "", "", 0)
		out = nil
		for i, v := range all {
			newest := i+1 == len(all) || all[i+1].Scorer != v.Scorer
			if newest && (len(experiments) == 0 || slices.Contains(experiments, v.Experiment)) {
				out = append(out, v)
			}
		}
		return err
	})
	return out, err
}

// Versions gives all versions of a scorer, the oldest first.
func (s *Service) Versions(ctx context.Context, experiment, name string) (out []Version, err error) {
	err = s.DB.Read(ctx, func(tx db.Scope) error { out, err = read(tx, experiment, name, 0); return err })
	if err == nil && len(out) == 0 {
		err = missing(experiment, name, 0)
	}
	return out, err
}

// Get gives a version; number 0 is the newest.
func (s *Service) Get(ctx context.Context, experiment, name string, number int) (Version, error) {
	var list []Version
	err := s.DB.Read(ctx, func(tx db.Scope) (err error) { list, err = read(tx, experiment, name, number); return err })
	if err == nil && len(list) == 0 {
		err = missing(experiment, name, number)
	}
	if err != nil {
		return Version{}, err
	}
	return list[len(list)-1], nil
}

// Delete removes a version, or the scorer with all versions for number 0. The number of a deleted version does not return
// while others are there.
func (s *Service) Delete(ctx context.Context, experiment, name string, number int) error {
	return s.DB.Write(ctx, func(tx db.Scope) error {
		list, err := read(tx, experiment, name, number)
		if err != nil {
			return err
		}
		if len(list) == 0 {
			return missing(experiment, name, number)
		}
		v := list[0]
		if _, err := tx.Exec("DELETE FROM scorer_version WHERE workspace = $1 AND scorer = $2 AND ($3 = 0 OR version = $3)", tx.Workspace, v.Scorer, number); err != nil {
			return err
		}
		if _, err := tx.Exec(`DELETE FROM scorer WHERE workspace = $1 AND id = $2 AND NOT EXISTS (SELECT 1 FROM scorer_version v WHERE v.workspace = $1 AND v.scorer = $2)`, tx.Workspace, v.Scorer); err != nil {
			return err
		}
		v.Number = number
		return tell(tx, EventDeleted, v)
	})
}
