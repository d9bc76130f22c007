package job

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"time"

	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/riverdriver/riversqlite"

	"keelson/internal/db"
)

// SQLite tells nobody of new rows, so River would ask every queue for work many times a second, each time with a
// transaction of its writer. Instead one reading looks which queues have jobs that are due, whoever put them there and
// whether they are new, scheduled or tried again, and rings for these; River's own asking is left as a safety net.
const (
	look      = 200 * time.Millisecond
	askOften  = 250 * time.Millisecond // on PostgreSQL, which tells of new jobs but not of those whose time has come
	askSeldom = 5 * time.Second
)

// ringing is River's driver for SQLite with a bell where others listen to their database.
type ringing struct {
	*riversqlite.Driver
	bell bell
}

func newRinging(pool *sql.DB) ringing { return ringing{riversqlite.New(pool), make(bell, 64)} }

// SupportsListener makes River use the bell.
func (ringing) SupportsListener() bool { return true }

// GetListener gives the bell.
func (r ringing) GetListener(*riverdriver.GetListenenerParams) riverdriver.Listener { return r.bell }

// bell carries the names of queues that have work to River's listener.
type bell chan string

// ring wakes a queue, or leaves it to the next look when River does not listen yet.
func (b bell) ring(queue string) {
	select {
	case b <- queue:
	default:
	}
}

// WaitForNotification waits for a queue to be rung for. The message is the one that River sends itself on an insertion.
func (b bell) WaitForNotification(ctx context.Context) (*riverdriver.Notification, error) {
	select {
	case queue := <-b:
		body, err := json.Marshal(map[string]string{"queue": queue})
		return &riverdriver.Notification{Topic: "river_insert", Payload: string(body)}, err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// The rest of a listener is about a connection, which a bell has not.

func (bell) Connect(context.Context) error          { return nil }
func (bell) Close(context.Context) error            { return nil }
func (bell) Ping(context.Context) error             { return nil }
func (bell) Listen(context.Context, string) error   { return nil }
func (bell) Unlisten(context.Context, string) error { return nil }
func (bell) Schema() string                         { return "" }
func (bell) SetAfterConnectExec(string)             {}

// watch looks for jobs that are due and rings for their queues until ctx ends.
func (r *Runner) watch(ctx context.Context, b bell) {
	tick := time.NewTicker(look)
	defer tick.Stop()
	failing := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		queues, err := r.due(ctx)
		if err != nil && ctx.Err() == nil && !failing {
			r.Log.ErrorContext(ctx, "jobs that are due could not be looked for", "error", err)
		}
		failing = err != nil
		for _, q := range queues {
			b.ring(q)
		}
	}
}

// due lists the queues with jobs that wait for a worker. River puts jobs of a time to come among the available ones some
// seconds early.
func (r *Runner) due(ctx context.Context) (queues []string, err error) {
	err = r.DB.Read(ctx, func(tx db.Scope) error {
		queues = nil
		return tx.Each("SELECT DISTINCT queue FROM river_job WHERE state = 'available' AND scheduled_at <= datetime('now', 'subsec')", nil, func(scan func(...any) error) error {
			var q string
			err := scan(&q)
			queues = append(queues, q)
			return err
		})
	})
	if err != nil {
		return nil, fmt.Errorf("look for jobs: %w", err)
	}
	return queues, nil
}
