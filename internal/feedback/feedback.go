// Package feedback takes what people say about decisions, and what turned out to be true, back to the model.
//
// Outcomes arrive by call (package prediction), by file and by stream. A person who saw a decision marks it as wrong,
// contests it or overrides it; what they say stands in a queue until somebody who knows the truth labels it. The label
// becomes an outcome and counts in the verdict of the window that the decision belongs to.
//
//	wrong, contest, override ──▶ queued ──claim──▶ claimed ──label──▶ labelled, an outcome of the prediction
//	                               ▲ ◀──release, or half an hour──┘ └──skip──▶ skipped
//
// What a person was told to have been decided is in the log of predictions and never changes: an override stands beside it.
package feedback

import (
	"encoding/json"
	"strings"
	"time"

	"keelson/internal/prediction"
	"keelson/internal/problem"
)

// Kinds of feedback.
const (
	Wrong    = "wrong"
	Contest  = "contest"
	Override = "override"
)

// States of an item.
const (
	Queued   = "queued"
	Claimed  = "claimed"
	Labelled = "labelled"
	Skipped  = "skipped"
)

// ClaimTime is how long a claim holds.
const ClaimTime = 30 * time.Minute

// Item is what somebody said about one row of one prediction.
type Item struct {
	ID           string          `json:"id"`
	Prediction   string          `json:"prediction_id"`
	Row          int             `json:"row"`
	Endpoint     string          `json:"endpoint"`
	Model        string          `json:"model"`
	Version      int             `json:"version"`
	Kind         string          `json:"kind" enum:"wrong,contest,override"`
	Value        json.RawMessage `json:"value,omitempty" doc:"what it should be; of an override what was decided instead"`
	Reason       string          `json:"reason"`
	By           string          `json:"by"`
	At           time.Time       `json:"at"`
	Reports      int             `json:"reports" doc:"how often it was said"`
	State        string          `json:"state" enum:"queued,claimed,labelled,skipped"`
	ClaimedBy    string          `json:"claimed_by"`
	ClaimedUntil *time.Time      `json:"claimed_until"`
	Label        json.RawMessage `json:"label,omitempty" doc:"what turned out to be true"`
	SettledBy    string          `json:"settled_by"`
	SettledAt    *time.Time      `json:"settled_at"`
	Note         string          `json:"note"`
}

// Subject is the item as audit and events name it.
func (i *Item) Subject() string { return "feedback/" + i.ID }

// urgency orders the queue: a person who contests waits for an answer.
var urgency = map[string]int{Contest: 0, Override: 1, Wrong: 2}

const maxText = 4000

// check refuses what cannot be feedback.
func (i *Item) check() error {
	if _, ok := urgency[i.Kind]; !ok {
		return problem.New(problem.Invalid, "%q is no kind of feedback; use wrong, contest or override.", clip(i.Kind)).At("kind")
	}
	if len(i.Value) > 0 && string(i.Value) != "null" {
		v, ok := prediction.Scalar(i.Value)
		if !ok {
			return problem.New(problem.Invalid, "The value is a number, a text or a truth value.").At("value")
		}
		i.Value = v
	} else {
		i.Value = nil
	}
	switch {
	case i.Kind == Override && i.Value == nil:
		return problem.New(problem.Invalid, "Say what was decided instead.").At("value")
	case i.Kind != Wrong && strings.TrimSpace(i.Reason) == "":
		return problem.New(problem.Invalid, "Say why; others read it before they decide.").At("reason")
	case len(i.Reason) > maxText:
		return problem.New(problem.Invalid, "The reason has %d bytes; the limit is %d.", len(i.Reason), maxText).At("reason")
	case i.Row < 0:
		return problem.New(problem.Invalid, "Rows count from 0.").At("row")
	}
	return nil
}

// free puts back an item whose claim has run out.
func (i *Item) free(now time.Time) {
	if i.State == Claimed && i.ClaimedUntil != nil && !now.Before(*i.ClaimedUntil) {
		i.State, i.ClaimedBy, i.ClaimedUntil = Queued, "", nil
	}
}

// claim makes an item the caller's for a while; claiming again lengthens it.
func (i *Item) claim(by string, now time.Time) error {
	switch {
	case i.State == Labelled || i.State == Skipped:
		return problem.New(problem.Conflict, "%s has settled this already.", i.SettledBy)
	case i.State == Claimed && i.ClaimedBy != by:
		return problem.New(problem.Conflict, "%s works on this until %s; take the next one.", i.ClaimedBy, i.ClaimedUntil.Format("15:04 UTC"))
	}
	until := now.Add(ClaimTime)
	i.State, i.ClaimedBy, i.ClaimedUntil = Claimed, by, &until
	return nil
}

// settle ends an item: with a label, or skipped with a note.
func (i *Item) settle(by, state string, label json.RawMessage, note string, now time.Time) error {
	if err := i.claim(by, now); err != nil {
		return err
	}
	i.State, i.Label, i.Note, i.SettledBy, i.SettledAt, i.ClaimedUntil = state, label, note, by, &now, nil
	return nil
}

// clip shortens what others wrote for a message.
func clip(s string) string { return problem.Clip(s, 80) }
