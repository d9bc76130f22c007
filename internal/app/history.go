package app

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"keelson/internal/access"
	"keelson/internal/audit"
	"keelson/internal/caller"
	"keelson/internal/db"
	"keelson/internal/event"
	"keelson/internal/problem"
	"keelson/internal/rest"
)

// history serves the audit log and the stream of events: kits lie below rest, so their routes stand here.
type history struct {
	log *audit.Log
	bus *event.Bus
	db  *db.DB
}

func (h *history) Routes(a *rest.API) {
	rest.Get(a, "/api/v1/audit", "audit.read", "Who did what, newest first", h.getAudit)
	rest.Get(a, "/api/v1/models/{name}/timeline", "model.read", "Everything that happened to a model, newest first", h.getTimeline)
	rest.Get(a, "/api/v1/audit/checkpoint", "audit.read", "The newest signed checkpoint", h.getCheckpoint)
	rest.Post(a, "/api/v1/audit/verify", "audit.read", "Check every entry against the signed tree", h.postVerify)
	a.Handle("GET", "/api/v1/audit/export", "audit.export", rest.REST, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.export(a, w, r)
	}))
	a.Handle("GET", "/api/v1/events", access.Self, rest.REST, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := h.stream(w, r); err != nil {
			a.Fail(w, r, err)
		}
	}))
}

type auditInput struct {
	rest.Paging
	Model  string    `query:"model"`
	Actor  string    `query:"actor"`
	Action string    `query:"action" doc:"begins with, as approval or approval.voted"`
	Object string    `query:"object" doc:"as approval/ID or deployment/NAME"`
	Since  time.Time `query:"since"`
	Until  time.Time `query:"until"`
}

func (h *history) getAudit(ctx context.Context, in *auditInput) (rest.Page[audit.Entry], error) {
	list, err := h.log.List(ctx, audit.Query{Model: in.Model, Actor: in.Actor, Action: in.Action, Object: in.Object,
		Since: in.Since, Until: in.Until, Before: in.Cursor, Limit: in.Limit + 1})
	return rest.Paged(list, in.Limit, func(e audit.Entry) string { return e.ID }), err
}

func (h *history) getTimeline(ctx context.Context, in *struct {
	rest.Paging
	Name string `path:"name"`
}) (rest.Page[audit.Entry], error) {
	return h.getAudit(ctx, &auditInput{Paging: in.Paging, Model: in.Name})
}

// Point is a checkpoint with the key to check it.
type Point struct {
	audit.Checkpoint
	Origin string `json:"origin"`
	Key    string `json:"key" doc:"verifier key of the log; keep it where the server cannot change it"`
}

func (h *history) getCheckpoint(ctx context.Context, _ *struct{}) (Point, error) {
	c, err := h.log.Latest(ctx)
	return Point{c, audit.Origin, h.log.Verifier()}, err
}

func (h *history) postVerify(ctx context.Context, _ *struct{}) (audit.Report, error) {
	if err := h.log.Sequence(ctx); err != nil {
		return audit.Report{}, err
	}
	return h.log.Verify(ctx)
}

func (h *history) export(a *rest.API, w http.ResponseWriter, r *http.Request) {
	ctx := r.Context()
	// The export itself is an act, and its entry is part of the bundle.
	err := h.db.Write(ctx, func(tx db.Scope) error { return audit.Record(tx, "audit.exported", "audit", nil) })
	if err == nil {
		err = h.log.Sequence(ctx)
	}
	if err != nil {
		a.Fail(w, r, err)
		return
	}
	w.Header().Set("Content-Type", "application/zip")
	w.Header().Set("Content-Disposition", `attachment; filename="audit.zip"`)
	if _, err := h.log.Export(ctx, w); err != nil {
		panic(http.ErrAbortHandler) // the answer has begun: cut it, so that nobody takes half a bundle for a whole one
	}
}

const heartbeat = 15 * time.Second

// stream sends events of the caller's workspace as server-sent events: those after Last-Event-ID first, then live.
// topics narrows them: "model" all of a noun, "model:NAME" one object (matched with subject, and with "model" in data).
func (h *history) stream(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	var topics []string
	if t := r.URL.Query().Get("topics"); t != "" {
		topics = strings.Split(t, ",")
	}
	since := int64(-1)
	if last := r.Header.Get("Last-Event-ID"); last != "" {
		n, err := strconv.ParseInt(last, 10, 64)
		if err != nil || n < 0 {
			return problem.New(problem.Invalid, "Last-Event-ID %q is no number of an event; leave it out to begin with what comes next.", last).At("Last-Event-ID")
		}
		since = n
	}
	rc := http.NewResponseController(w)
	_ = rc.SetWriteDeadline(time.Time{})
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Accel-Buffering", "no")
	live := h.bus.Watch(ctx)
	send := func(e event.Event) error {
		if e.Seq <= since || e.Workspace != caller.Workspace(ctx) || !matches(e, topics) {
			return nil
		}
		since = e.Seq
		b, err := json.Marshal(e)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(w, "id: %d\nevent: %s\ndata: %s\n\n", e.Seq, e.Type, b)
		return err
	}
	if _, err := fmt.Fprint(w, ": hello\n\n"); err != nil {
		return nil
	}
	for since >= 0 {
		missed, err := h.bus.Since(ctx, since, 500)
		if err != nil || len(missed) == 0 {
			break
		}
		last := missed[len(missed)-1].Seq
		for _, e := range missed {
			if send(e) != nil {
				return nil
			}
		}
		since = max(since, last)
	}
	tick := time.NewTicker(heartbeat)
	defer tick.Stop()
	for {
		if rc.Flush() != nil {
			return nil
		}
		var err error
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			_, err = fmt.Fprint(w, ": still here\n\n")
		case e, ok := <-live:
			if !ok {
				return nil
			}
			err = send(e)
		}
		if err != nil {
			return nil
		}
	}
}

func matches(e event.Event, topics []string) bool {
	if len(topics) == 0 {
		return true
	}
	noun, _, _ := strings.Cut(e.Subject, "/")
	var d struct {
		Model string `json:"model"`
	}
	_ = json.Unmarshal(e.Data, &d)
	return slices.ContainsFunc(topics, func(t string) bool {
		kind, name, one := strings.Cut(t, ":")
		if !one {
			return kind == noun || strings.HasPrefix(e.Type, kind+".")
		}
		subject := kind + "/" + name
		return e.Subject == subject || strings.HasPrefix(e.Subject, subject+"/") || kind == "model" && d.Model == name
	})
}
