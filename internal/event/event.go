// Package event tells the rest of the platform, and the people watching, what happened.
//
// An event is written in the transaction of the act (outbox). A sequencer gives committed events their final numbers;
// each subscriber keeps a cursor over them and is called at least once per event, in order, so handlers are idempotent
// and short: what takes long becomes a job. An event carries its cause and a hop count; a chain of reactions that
// exceeds MaxHops stops and is audited.
package event

import (
	"context"
	"encoding/json"
	"time"

	"keelson/internal/audit"
	"keelson/internal/caller"
	"keelson/internal/db"
)

// MaxHops is how many reactions may follow from one act, each from the one before.
const MaxHops = 16

// Event is something that happened. Type is noun.verb in the past tense; Subject is written as audit writes objects.
type Event struct {
	ID        string          `json:"id"`
	Seq       int64           `json:"seq"`
	Type      string          `json:"type"`
	Subject   string          `json:"subject"`
	Workspace string          `json:"workspace"`
	Actor     string          `json:"actor"`
	Causation string          `json:"causation,omitempty"` // the event this one follows from
	Hops      int             `json:"hops,omitempty"`
	At        time.Time       `json:"at"`
	Data      json.RawMessage `json:"data,omitempty"`
}

type causeKey struct{}

// Publish writes an event in the transaction of the act it tells of.
func Publish(tx db.Scope, typ, subject string, data any) error {
	body, err := json.Marshal(data)
	if err != nil {
		return err
	}
	e := Event{ID: db.NewID(), Type: typ, Subject: subject, Workspace: tx.Workspace, Actor: caller.From(tx.Ctx).Name, At: time.Now(), Data: body}
	if cause, ok := tx.Ctx.Value(causeKey{}).(Event); ok {
		e.Causation, e.Hops = cause.ID, cause.Hops+1
	}
	if e.Hops > MaxHops {
		return audit.Record(tx, "event.loop-stopped", subject, map[string]any{"type": typ, "causation": e.Causation})
	}
	_, err = tx.Exec(`INSERT INTO event (id, workspace, type, subject, actor, causation, hops, data, at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)`,
		e.ID, e.Workspace, e.Type, e.Subject, e.Actor, e.Causation, e.Hops, string(e.Data), db.Micros(e.At))
	return err
}

// Caused is ctx in which everything published follows from e, in e's workspace and in the name of the subscriber.
func Caused(ctx context.Context, e Event, subscriber string) context.Context {
	ctx = context.WithValue(ctx, causeKey{}, e)
	return caller.WithWorkspace(caller.System(ctx, subscriber), e.Workspace)
}

const columns = "id, workspace, COALESCE(seq, 0), type, subject, actor, causation, hops, data, at"

func scan(scan func(...any) error) (e Event, err error) {
	var data string
	var at int64
	err = scan(&e.ID, &e.Workspace, &e.Seq, &e.Type, &e.Subject, &e.Actor, &e.Causation, &e.Hops, &data, &at)
	e.Data, e.At = json.RawMessage(data), db.Time(at)
	return e, err
}

// sequence numbers committed events that have no number yet, in the order of their ids.
func sequence(s db.Scope) (n int, err error) {
	var ids []string
	if err = s.Each("SELECT id FROM event WHERE seq IS NULL ORDER BY id LIMIT 500", nil, func(scan func(...any) error) error {
		var id string
		err := scan(&id)
		ids = append(ids, id)
		return err
	}); err != nil || len(ids) == 0 {
		return 0, err
	}
	var last int64
	if err = s.QueryRow("SELECT COALESCE(MAX(seq), 0) FROM event").Scan(&last); err != nil {
		return 0, err
	}
	for i, id := range ids {
		if _, err = s.Exec("UPDATE event SET seq = $2 WHERE id = $1", id, last+int64(i)+1); err != nil {
			return 0, err
		}
	}
	return len(ids), nil
}

// after reads up to limit events numbered above seq, of all workspaces.
func after(s db.Scope, seq int64, limit int) (out []Event, err error) {
	err = s.Each("SELECT "+columns+" FROM event WHERE seq > $1 ORDER BY seq LIMIT $2", []any{seq, limit}, func(row func(...any) error) error {
		e, err := scan(row)
		out = append(out, e)
		return err
	})
	return out, err
}
