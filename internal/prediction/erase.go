package prediction

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	"keelson/internal/audit"
	"keelson/internal/blob"
	"keelson/internal/caller"
	"keelson/internal/db"
	"keelson/internal/problem"
)

// subjectRow is what tells whose a prediction is.
type subjectRow struct {
	PredictionID string `parquet:"prediction_id"`
	Subject      string `parquet:"subject"`
}

// Erased is what the erasure of a person removed.
type Erased struct {
	Subject     string `json:"subject_hash" doc:"the keyed hash under which the erasure is in the audit log"`
	Predictions int64  `json:"predictions"`
	Outcomes    int64  `json:"outcomes"`
	Files       int    `json:"files" doc:"files that were written again without the person"`
	Damaged     int    `json:"damaged_files" doc:"files of damaged parts of the log that were removed whole, for nothing tells whom they are about; none while a hold keeps any of the person's predictions, for they may be among them"`
	Kept        int    `json:"kept" doc:"predictions that stay because of a hold"`
	Hold        string `json:"hold,omitempty" doc:"why they stay"`
}

// Erase removes every prediction about a subject, with its outcomes: the files that hold any are written again without
// it, and the audit log gets the digest before and after. What was kept of damaged segments goes whole, here at once and
// on other processes at their next look, unless a hold keeps a prediction about the subject. Counts of calls stay. It can be broken off and repeated; what
// another process has not filed yet is erased by repeating it once that is filed. It fails with problem.Unavailable, having
// erased what it reached, when this process cannot file all it has.
func (s *Service) Erase(ctx context.Context, subject, reason string) (Erased, error) {
	if subject == "" || len(subject) > MaxField {
		return Erased{}, problem.New(problem.Invalid, "Name the subject whose predictions are to be erased, in at most %d bytes.", MaxField).At("subject")
	}
	if strings.TrimSpace(reason) == "" {
		return Erased{}, problem.New(problem.Invalid, "Say why: who asked, under which right.").At("reason")
	}
	unfiled := s.File(ctx) // what is filed is erased whether the rest can be filed or not
	mac := hmac.New(sha256.New, s.HashKey)
	mac.Write([]byte("subject\x00" + subject))
	out := Erased{Subject: hex.EncodeToString(mac.Sum(nil)[:16])}
	s.filing.Lock() // no file is written while files are written again
	defer s.filing.Unlock()
	for from, again := "", 0; ; {
		var page []file
		if err := s.DB.Read(ctx, func(tx db.Scope) (err error) {
			page, err = s.store.files(tx, bounds{}, false, from)
			return err
		}); err != nil {
			return out, err
		}
		var err error
		for _, f := range page {
			if err = s.eraseIn(ctx, f, subject, reason, &out); err != nil {
				err = fmt.Errorf("erase a subject from %s: %w", f.Name, err)
				break
			}
		}
		switch {
		case errors.Is(err, errChanged) && again < maxAgain:
			from, again = "", again+1
			out.Kept, out.Hold = 0, ""
		case err != nil:
			return out, err
		case len(page) < pageFiles:
			s.count(out.Predictions)
			err = s.sweep(ctx)
			if out.Hold == "" {
				err = errors.Join(err, s.eraseTorn(ctx, reason, &out))
			}
			if err == nil && unfiled != nil {
				err = problem.New(problem.Unavailable, "%d predictions about the subject were erased, but some predictions cannot be filed now, among which may be more; the server's log says why. Erase again once that is mended.",
					out.Predictions).Because(unfiled)
			}
			return out, err
		default:
			from = page[len(page)-1].First
		}
	}
}

// eraseTorn removes what was kept of damaged segments and has the other processes do so.
func (s *Service) eraseTorn(ctx context.Context, reason string, out *Erased) error {
	below := db.NewID() // above the segments that there are
	if err := s.DB.Write(ctx, func(tx db.Scope) error { return s.store.markErased(tx.In(caller.DefaultWorkspace), below) }); err != nil || s.Log == nil {
		return err
	}
	var err error
	if out.Damaged, err = dropTorn(s.Log.o.Dir, below); out.Damaged == 0 {
		return err
	}
	return errors.Join(err, s.DB.Write(context.WithoutCancel(ctx), func(tx db.Scope) error { // it has happened, whoever waits for it
		return audit.Record(tx, "prediction.erased", "prediction-segments", map[string]any{"subject": out.Subject, "why": reason, "damaged_files": out.Damaged})
	}))
}

// errChanged says that another process removed a file or wrote it again since its row was read.
var errChanged = errors.New("another process changed the file at the same time")

// maxAgain is how often an erasure or a purge that others cross looks at the files again.
const maxAgain = 50

// eraseIn writes one file again without the subject. It fails with errChanged, having changed nothing, when f is not what
// the log holds any more.
func (s *Service) eraseIn(ctx context.Context, f file, subject, reason string, out *Erased) error {
	var gone []string
	for i := range f.Chunks {
		rows, err := fetch[subjectRow](ctx, s, f, i)
		if err != nil {
			return s.changed(ctx, f, err)
		}
		for _, r := range rows {
			if r.Subject == subject {
				gone = append(gone, r.PredictionID)
			}
		}
	}
	if len(gone) == 0 {
		return nil
	}
	if err := s.nameModels(ctx, &f); err != nil {
		return s.changed(ctx, f, err)
	}
	next, err := s.without(ctx, f, gone)
	if err != nil {
		return s.changed(ctx, f, err)
	}
	var outcomes int64
	why, removed := "", false
	err = s.DB.Write(ctx, func(tx db.Scope) (err error) {
		outcomes, removed = 0, false
		if why, err = held(tx, f); err != nil {
			return err
		}
		if why == "" {
			if removed, err = s.store.removeFile(tx, f); err != nil {
				return err
			}
		}
		if !removed { // then what was written again is nobody's
			if next.Predictions == 0 {
				return nil
			}
			return s.store.noteGone(tx, next.Name)
		}
		if next.Predictions > 0 {
			if err := s.store.insertFile(tx, next); err != nil {
				return err
			}
		}
		for _, id := range gone {
			n, err := s.store.forget(tx, f.Endpoint, id)
			if err != nil {
				return err
			}
			outcomes += n
		}
		for _, erase := range s.Erasing {
			if err := erase(tx, gone); err != nil {
				return err
			}
		}
		return audit.Record(tx, "prediction.erased", "prediction-file/"+f.ID, map[string]any{"endpoint": f.Endpoint, "subject": out.Subject, "why": reason,
			"predictions": len(gone), "outcomes": outcomes, "digest": f.Digest, "new_digest": next.Digest, "file": f.Name, "new_file": next.Name})
	})
	switch {
	case err != nil:
		return err
	case why != "":
		out.Kept += len(gone)
		out.Hold = why
	case !removed:
		return errChanged
	default:
		out.Files++
		out.Predictions += int64(len(gone))
		out.Outcomes += outcomes
	}
	return nil
}

// changed turns the failure to read a file into errChanged when its row is gone too.
func (s *Service) changed(ctx context.Context, f file, cause error) error {
	if !errors.Is(cause, blob.ErrNotFound) {
		return cause
	}
	var there bool
	if err := s.DB.Read(ctx, func(tx db.Scope) (err error) { there, err = s.store.there(tx, f); return err }); err != nil || there {
		return errors.Join(cause, err)
	}
	return errChanged
}

// without writes a file again, without some predictions, under a new name.
func (s *Service) without(ctx context.Context, f file, gone []string) (file, error) {
	var keep []filed
	for i := range f.Chunks {
		rows, err := fetch[filed](ctx, s, f, i)
		if err != nil {
			return file{}, err
		}
		keep = append(keep, slices.DeleteFunc(rows, func(r filed) bool { return slices.Contains(gone, r.PredictionID) })...)
	}
	next := file{ID: db.NewID(), Endpoint: f.Endpoint, Segment: f.Segment, Predictions: int64(len(keep)), Created: s.Now(), Models: []string{}}
	if len(keep) == 0 {
		return next, nil
	}
	next.Name = f.Name[:strings.LastIndexByte(f.Name, '/')+1] + next.ID + ".parquet"
	err := s.write(ctx, &next, len(keep), func(i int, l *line) error {
		r, err := keep[i].record()
		if err != nil {
			return err
		}
		return l.split(payloadOf(&r))
	})
	if err != nil {
		return file{}, err
	}
	return next, nil
}
