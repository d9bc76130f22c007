package incident

import (
	"errors"
	"strings"
	"time"

	"keelson/internal/audit"
	"keelson/internal/caller"
	"keelson/internal/db"
	"keelson/internal/event"
	"keelson/internal/problem"
)

// rank orders severities.
var rank = map[string]int{Low: 0, Medium: 1, High: 2}

// reopen takes back the end of an incident.
func (i *Incident) reopen(reason string) error {
	if i.State != Closed {
		return problem.New(problem.Conflict, "Incident %s is not closed, so it need not be reopened.", i.ID)
	}
	if err := noted(reason); err != nil {
		return err
	}
	i.State = Open
	return nil
}

func noted(text string) error {
	if strings.TrimSpace(text) == "" {
		return problem.New(problem.Invalid, "Write a reason; others read it on the time line.").At("reason")
	}
	return nil
}

// NoteIn adds a line to the time line of an incident in the transaction of what it tells of. The same id twice is one
// line; an incident that is not there is none of an error.
func (s *Service) NoteIn(tx db.Scope, id, line string, at time.Time, text string) error {
	if id == "" {
		return nil
	}
	return s.store.line(tx, id, line, at, caller.From(tx.Ctx).Name, text)
}

// FactsIn brings up to date what an incident rests on; a higher severity stays.
func (s *Service) FactsIn(tx db.Scope, id, severity string, f *Facts) error {
	i, err := s.store.get(tx, id)
	if problem.Is(err, problem.NotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	i.Facts, i.LastAt = f, s.now()
	if rank[severity] > rank[i.Severity] {
		i.Severity = severity
	}
	return s.store.update(tx, i)
}

// AckIn makes who acts the owner of an incident that is open, in the transaction of acknowledging its cause.
func (s *Service) AckIn(tx db.Scope, id, reason string) error {
	return s.turn(tx, id, "incident.acknowledged", reason, Open, Acknowledged)
}

// RecoverIn closes an incident whose cause is over, and says so.
func (s *Service) RecoverIn(tx db.Scope, id, words string) error {
	return s.turn(tx, id, "incident.recovered", words, "", Closed)
}

// lineHeld is the identifier of the line that tells that an incident without windows closed by itself.
const lineHeld = "held"

// Lone is an incident that no alert measures.
type Lone struct{ Workspace, ID, Model string }

// LonePage is how many Unmeasured lists at most.
const LonePage = 1000

// Unmeasured lists incidents of some kinds (one at least), in all workspaces, that no alert measures, that were not reported
// again since, and that never closed by themselves: in the order of their identifiers, those behind one.
func (s *Service) Unmeasured(tx db.Scope, kinds []string, before time.Time, after string) ([]Lone, error) {
	return s.store.unmeasured(tx, kinds, before, after)
}

// HoldIn closes an incident that was not reported again since, with what words says of its model; none leaves it open.
func (s *Service) HoldIn(tx db.Scope, id string, before time.Time, words func(model string) (string, error)) error {
	i, err := s.store.get(tx, id)
	if problem.Is(err, problem.NotFound) || err == nil && (i.State == Closed || i.LastAt.After(before)) {
		return nil
	}
	if err != nil {
		return err
	}
	text, err := words(i.Model)
	if err != nil || text == "" {
		return err
	}
	return s.turnTo(tx, i, "incident.recovered", text, Closed, lineHeld)
}

// turn moves an incident on by what happened to its alert; only from one state unless that is empty.
func (s *Service) turn(tx db.Scope, id, action, words, from, to string) error {
	i, err := s.store.get(tx, id)
	if problem.Is(err, problem.NotFound) || err == nil && (i.State == Closed || from != "" && i.State != from) {
		return nil
	}
	if err != nil {
		return err
	}
	return s.turnTo(tx, i, action, words, to, db.NewID())
}

func (s *Service) turnTo(tx db.Scope, i Incident, action, words, to, line string) error {
	who := caller.From(tx.Ctx).Name
	i.State, i.LastAt = to, s.now()
	text := words
	if to == Acknowledged {
		i.Owner = who
		text = strings.TrimSuffix("acknowledged by "+who+": "+words, ": ")
	}
	return errors.Join(s.store.update(tx, i), s.store.line(tx, i.ID, line, s.now(), who, text),
		audit.Record(tx, action, i.Subject(), map[string]any{"kind": i.Kind, "models": models(i.Model), "endpoint": i.Endpoint, "reason": words}),
		event.Publish(tx, Changed, i.Subject(), i.notice()))
}
