// Package bin keeps what was deleted until it is purged, and says what must not be deleted.
//
//	there ── deleted ──▶ in the bin ── restored ──▶ there
//	  │ held: refused         └──── purged: by hand, by command, by age ──▶ gone
//
// A noun that deletes calls Put in the transaction of the deletion, and Drop when it restores. It registers a Kind, by
// which the bin restores and purges; how the rows are kept meanwhile is the noun's matter: marked where they are, or taken
// away with Shelve. Names are free at once. A purge removes rows; the bytes go when nothing else refers to them
// (blob.Keeper). Who put, restored or purged what is in the audit log.
package bin

import (
	"strconv"
	"strings"
	"time"

	"keelson/internal/db"
	"keelson/internal/problem"
)

// Entry is one thing in the bin. Bytes are those it refers to; others may refer to the same.
type Entry struct {
	Kind      string    `json:"kind" doc:"experiment, run, logged-model, model, version, trace"`
	ID        string    `json:"id"`
	Name      string    `json:"name"`
	Parent    string    `json:"parent,omitempty" doc:"experiment of a run, model of a version"`
	Files     int64     `json:"files"`
	Bytes     int64     `json:"bytes"`
	DeletedAt time.Time `json:"deleted_at"`
	DeletedBy string    `json:"deleted_by"`
	PurgeAt   time.Time `json:"purge_at" doc:"when it goes for good by itself"`
	Hold      string    `json:"hold,omitempty" doc:"why it does not go"`
}

// Object is how an entry is called in the audit log.
func (e Entry) Object() string {
	if e.Kind == "version" {
		return "model/" + e.Name
	}
	return e.Kind + "/" + e.ID
}

// Gone is what a purge removed.
type Gone struct {
	Files int64 `json:"files"`
	Bytes int64 `json:"bytes"` // of all files; what of them is freed depends on who else refers to them
	Runs  int64 `json:"runs,omitempty"`
}

func (g *Gone) add(o Gone) { g.Files += o.Files; g.Bytes += o.Bytes; g.Runs += o.Runs }

// Kind is a kind of thing that can lie in the bin.
type Kind interface {
	// Kind is its name: "run".
	Kind() string
	// Permission is what restoring needs.
	Permission() string
	// Restore brings an entry back, under another name if as is not empty, audits it and takes the entry out of the bin
	// with Drop. A name that is taken meanwhile is a problem.Conflict that says what can be done.
	Restore(tx db.Scope, e Entry, as string) error
	// Purge removes the rows of an entry and notes the digests it referred to with blob.Loose. What is too much for one
	// transaction is removed in several: as long as done is false it is called again.
	Purge(tx db.Scope, e Entry) (g Gone, done bool, err error)
}

// Hold keeps something from being deleted: a duty to keep records, a dispute, an inspection.
type Hold struct {
	Kind   string     `json:"kind" enum:"experiment,run,logged-model,model,version"`
	Name   string     `json:"name" doc:"name of a model, model/3 of a version, id of the others"`
	Reason string     `json:"reason" minLength:"1" maxLength:"2000"`
	Until  *time.Time `json:"until,omitempty" doc:"empty: until it is lifted"`
	By     string     `json:"by"`
	At     time.Time  `json:"at"`
}

func (h Hold) words() string {
	until := "until it is lifted"
	if h.Until != nil {
		until = "until " + h.Until.UTC().Format("2006-01-02 15:04")
	}
	return strings.TrimSuffix(h.Reason, ".") + " (held by " + h.By + ", " + until + ")"
}

// refuse is the answer to deleting what is held.
func (h Hold) refuse() error {
	return problem.New(problem.Conflict, "%s %s must not be deleted: %s. Have the hold lifted first.", strings.ToUpper(h.Kind[:1])+h.Kind[1:], h.Name, h.words())
}

// ParseAge reads "30d", "12h", "90m" or any duration of Go.
func ParseAge(s string) (time.Duration, error) {
	if n, ok := strings.CutSuffix(s, "d"); ok {
		if days, err := strconv.ParseFloat(n, 64); err == nil && days >= 0 && days < 100_000 {
			return time.Duration(days * 24 * float64(time.Hour)), nil
		}
	}
	d, err := time.ParseDuration(s)
	if err != nil || d < 0 {
		return 0, problem.New(problem.Invalid, "%q is no age; write 30d, 12h or 0s.", s).At("older_than")
	}
	return d, nil
}

func parseTime(s string) (time.Time, error) {
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return t, problem.New(problem.Invalid, "%q is no time; write 2027-01-31T00:00:00Z.", clip(s)).At("until")
	}
	return t.UTC().Truncate(time.Microsecond), nil
}
