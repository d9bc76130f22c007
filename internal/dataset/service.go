package dataset

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"syscall"
	"time"

	"keelson/internal/audit"
	"keelson/internal/blob"
	"keelson/internal/caller"
	"keelson/internal/db"
	"keelson/internal/event"
	"keelson/internal/problem"
)

// Service imports and reads data sets. DB, Blobs, Log and Now are required.
type Service struct {
	DB      *db.DB
	Blobs   blob.Store
	Log     *slog.Logger
	Now     func() time.Time
	TempDir string // where uploads wait while they are checked; empty is the system's
	Limits  Limits // zero fields take their defaults
}

// ImportRequest is a file on its way to become a version.
type ImportRequest struct {
	Dataset string    // made if it is not there, owned by the caller
	Format  string    // csv, parquet, or empty for what the first bytes say
	Note    string    // why this version
	Parents []Ref     // the versions it was made from
	Run     string    // the pipeline run that made it
	Body    io.Reader // the bytes
}

// Imported is the event of a new version.
const Imported = "dataset.imported"

// Import checks a file and stores it as the next version of its data set. A file that breaks a rule is
// refused with problem.Invalid, whose Fields name rule, column and rows; nothing is stored then. The same
// bytes again give the version they became before, with Existing set.
func (s *Service) Import(ctx context.Context, in ImportRequest) (Version, error) {
	var none Version
	fresh := Dataset{Name: in.Dataset}
	if err := fresh.Check(); err != nil {
		return none, err
	}
	if len(in.Note) > 10_000 {
		return none, problem.New(problem.Invalid, "The note is longer than 10,000 bytes.").At("note")
	}
	f, digest, size, err := s.spool(in.Body)
	if err != nil {
		return none, err
	}
	defer discard(f)
	var d Dataset
	var known *Version
	err = s.DB.Read(ctx, func(tx db.Scope) (err error) {
		if d, err = get(tx, in.Dataset); err != nil {
			if problem.Is(err, problem.NotFound) {
				return nil
			}
			return err
		}
		known, err = found(byDigest(tx, in.Dataset, digest))
		return err
	})
	if err != nil {
		return none, err
	}
	if known != nil {
		return *known, nil
	}
	seen, err := s.inspect(ctx, f, size, in.Format, d.Rules)
	if err != nil {
		return none, err
	}
	if len(seen.Findings) > 0 {
		s.Log.InfoContext(ctx, "data refused", "dataset", in.Dataset, "digest", digest, "rules", len(seen.Findings))
		return none, broken(in.Dataset, seen.Findings)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return none, err
	}
	// The bytes go first: bytes that no row names are harmless, a row without its bytes is not.
	stored, _, err := s.Blobs.Put(ctx, f)
	if err != nil {
		return none, fmt.Errorf("store %s: %w", in.Dataset, err)
	}
	if stored != digest {
		return none, fmt.Errorf("store %s: the bytes changed on the way from %s to %s", in.Dataset, digest, stored)
	}
	v := Version{Dataset: in.Dataset, Digest: digest, Format: seen.Format, Size: size, Rows: seen.Rows, Schema: seen.Schema,
		Profile: seen.Profile, RulesResult: seen.Results, Note: in.Note, Run: in.Run, CreatedBy: caller.From(ctx).Name, CreatedAt: s.now(), Parents: in.Parents}
	if v.Parents == nil {
		v.Parents = []Ref{}
	}
	if v.RulesResult == nil {
		v.RulesResult = []RuleResult{}
	}
	err = s.DB.Write(ctx, func(tx db.Scope) error {
		known = nil
		now, err := get(tx, in.Dataset)
		switch {
		case problem.Is(err, problem.NotFound):
			now = Dataset{Name: in.Dataset, Owner: v.CreatedBy, Rules: []Rule{}, CreatedBy: v.CreatedBy, CreatedAt: v.CreatedAt, UpdatedAt: v.CreatedAt}
			if err := errors.Join(put(tx, now), audit.Record(tx, "dataset.created", "dataset/"+in.Dataset, map[string]any{"owner": now.Owner})); err != nil {
				return err
			}
		case err != nil:
			return err
		case !now.UpdatedAt.Equal(d.UpdatedAt):
			return problem.New(problem.Conflict, "The rules of %s changed while the file was being checked; send it again.", in.Dataset)
		}
		if known, err = found(byDigest(tx, in.Dataset, digest)); err != nil || known != nil {
			return err // somebody else was faster with the same bytes
		}
		for i, p := range in.Parents {
			if _, err := version(tx, p.Dataset, p.Version); err != nil || p.Version < 1 {
				return problem.New(problem.Invalid, "Parent %s/%d is not a version of a data set.", p.Dataset, p.Version).At(fmt.Sprintf("parents[%d]", i))
			}
		}
		if err := add(tx, &v); err != nil {
			return err
		}
		told := map[string]any{"dataset": v.Dataset, "version": v.Version, "digest": v.Digest, "rows": v.Rows, "size": v.Size, "note": v.Note, "run": v.Run, "parents": v.Parents}
		object := fmt.Sprintf("dataset/%s/%d", v.Dataset, v.Version)
		return errors.Join(audit.Record(tx, Imported, object, told), event.Publish(tx, Imported, object, told))
	})
	if err != nil {
		return none, err
	}
	if known != nil {
		return *known, nil
	}
	s.Log.InfoContext(ctx, "data imported", "dataset", v.Dataset, "version", v.Version, "digest", v.Digest, "rows", v.Rows)
	return v, nil
}

// found turns a version that may not be there into a pointer.
func found(v Version, err error) (*Version, error) {
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	v.Existing = true
	return &v, nil
}

// broken is the refusal of a file.
func broken(name string, findings []problem.Field) error {
	rules, f := "a rule", findings[0]
	if n := len(findings); n > 1 {
		rules = fmt.Sprintf("%d rules", n)
	}
	where := ""
	if f.Field != "" {
		where = " in column " + f.Field
	}
	if len(f.Rows) > 0 {
		where += fmt.Sprintf(", row %d", f.Rows[0])
	}
	return problem.New(problem.Invalid, "The file breaks %s of %s and was not stored; the first is %s%s: %s.", rules, name, f.Rule, where, f.Detail).At(f.Field).With(findings...)
}

// Check holds a file against the rules of a data set (none when it does not exist) and stores nothing. With
// rules given, those are used instead.
func (s *Service) Check(ctx context.Context, name, format string, body io.Reader, rules []Rule) (*Inspection, error) {
	if rules == nil {
		err := s.DB.Read(ctx, func(tx db.Scope) error {
			d, err := get(tx, name)
			rules = d.Rules
			return err
		})
		if err != nil {
			return nil, err
		}
	} else if err := CheckRules(rules); err != nil {
		return nil, err
	}
	f, _, size, err := s.spool(body)
	if err != nil {
		return nil, err
	}
	defer discard(f)
	return s.inspect(ctx, f, size, format, rules)
}

func (s *Service) inspect(ctx context.Context, f io.ReaderAt, size int64, format string, rules []Rule) (*Inspection, error) {
	src, format, err := open(f, size, format, s.Limits.filled())
	if err != nil {
		return nil, err
	}
	seen, err := inspect(ctx, src, rules, s.Limits.filled())
	if seen != nil {
		seen.Format = format
	}
	return seen, err
}

// spool writes body to a temporary file and hashes it on the way.
func (s *Service) spool(body io.Reader) (f *os.File, digest string, size int64, err error) {
	if s.TempDir != "" {
		if err = os.MkdirAll(s.TempDir, 0o700); err != nil {
			return nil, "", 0, onDisk(err)
		}
	}
	if f, err = os.CreateTemp(s.TempDir, "keelson-data-*"); err != nil {
		return nil, "", 0, onDisk(err)
	}
	limit := s.Limits.filled().Bytes
	hash := sha256.New()
	size, err = io.Copy(io.MultiWriter(f, hash), io.LimitReader(body, limit+1))
	if err == nil && size > limit {
		err = problem.New(problem.TooLarge, "The file is larger than the limit of %s.", bytesText(limit))
	}
	if err != nil {
		discard(f)
		return nil, "", 0, onDisk(err)
	}
	return f, "sha256:" + hex.EncodeToString(hash.Sum(nil)), size, nil
}

// onDisk says when the disk is what failed.
func onDisk(err error) error {
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT), errors.Is(err, syscall.EROFS), errors.Is(err, os.ErrPermission):
		return problem.New(problem.Stored, "The disk for temporary files takes no more; nothing was stored. Free space and send the file again.").Because(err)
	case errors.Is(err, io.ErrUnexpectedEOF):
		return problem.New(problem.Invalid, "The upload ended before all its bytes had come; nothing was stored. Send the file again.").Because(err)
	}
	return err
}

func discard(f *os.File) {
	_ = f.Close() // it was only read, or it is thrown away
	_ = os.Remove(f.Name())
}

// Put creates a data set or replaces its description and rules. Rules hold for files imported from then on.
func (s *Service) Put(ctx context.Context, d Dataset) (Dataset, error) {
	if err := d.Check(); err != nil {
		return d, err
	}
	who := caller.From(ctx).Name
	if d.Rules == nil {
		d.Rules = []Rule{}
	}
	err := s.DB.Write(ctx, func(tx db.Scope) error {
		old, err := get(tx, d.Name)
		action := "dataset.updated"
		switch {
		case problem.Is(err, problem.NotFound):
			action = "dataset.created"
			d.CreatedBy, d.CreatedAt = who, s.now()
			if d.Owner == "" {
				d.Owner = who
			}
		case err != nil:
			return err
		default:
			d.CreatedBy, d.CreatedAt = old.CreatedBy, old.CreatedAt
			if d.Owner == "" {
				d.Owner = old.Owner
			}
			if d.Personal == nil { // not said: the marks stay, so that no program takes them off that does not know them
				d.Personal = old.Personal
			}
			same := old
			same.Description, same.Owner, same.Sensitivity, same.Source, same.Target, same.Rules, same.Personal = d.Description, d.Owner, d.Sensitivity, d.Source, d.Target, d.Rules, d.Personal
			if db.ToJSON(same) == db.ToJSON(old) {
				d = old
				return nil
			}
		}
		if d.Personal == nil {
			d.Personal = []string{}
		}
		d.UpdatedAt = s.now()
		detail := map[string]any{"owner": d.Owner, "sensitivity": d.Sensitivity, "source": d.Source, "target": d.Target, "description": d.Description, "rules": d.Rules, "personal": d.Personal}
		if err := errors.Join(put(tx, d), audit.Record(tx, action, "dataset/"+d.Name, detail), event.Publish(tx, action, "dataset/"+d.Name, detail)); err != nil {
			return err
		}
		d, err = get(tx, d.Name)
		return err
	})
	return d, err
}

// Get returns a data set; NotFound when there is none.
func (s *Service) Get(ctx context.Context, name string) (d Dataset, err error) {
	err = s.DB.Read(ctx, func(tx db.Scope) error { d, err = get(tx, name); return err })
	return d, err
}

// Version returns a version, the latest for 0; NotFound when there is none.
func (s *Service) Version(ctx context.Context, name string, n int) (v Version, err error) {
	err = s.DB.Read(ctx, func(tx db.Scope) error { v, err = version(tx, name, n); return err })
	return v, err
}

// ByDigest finds the version of a data set that holds the bytes of a digest; NotFound when there is none.
func (s *Service) ByDigest(ctx context.Context, name, digest string) (v Version, err error) {
	err = s.DB.Read(ctx, func(tx db.Scope) error { v, err = byDigest(tx, name, digest); return err })
	if errors.Is(err, sql.ErrNoRows) {
		err = problem.New(problem.NotFound, "Data set %q has no version with digest %s.", name, digest)
	}
	return v, err
}

// Content opens the bytes of a version (0: the latest), after holding them against their digest: altered
// bytes are a problem.Conflict. The caller closes.
func (s *Service) Content(ctx context.Context, name string, n int) (io.ReadSeekCloser, Version, error) {
	v, err := s.Version(ctx, name, n)
	if err != nil {
		return nil, v, err
	}
	if err := s.Blobs.Verify(ctx, v.Digest); err != nil {
		return nil, v, fmt.Errorf("verify %s/%d: %w", v.Dataset, v.Version, err)
	}
	r, _, err := s.Blobs.Open(ctx, v.Digest)
	return r, v, err
}

// Open reads a version (0: the latest) into memory. It fails with problem.TooLarge beyond Limits.Table and
// with problem.Conflict when the bytes were altered.
func (s *Service) Open(ctx context.Context, name string, n int) (*Table, error) {
	r, v, err := s.Content(ctx, name, n)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	at, ok := r.(io.ReaderAt)
	if !ok { // an object store has no random access; a copy on disk has
		f, _, _, err := s.spool(r)
		if err != nil {
			return nil, err
		}
		defer discard(f)
		at = f
	}
	src, _, err := open(at, v.Size, v.Format, s.Limits.filled())
	if err != nil {
		return nil, err
	}
	t, err := load(ctx, src, v.Schema, s.Limits.filled())
	if err != nil {
		return nil, fmt.Errorf("read %s/%d: %w", v.Dataset, v.Version, err)
	}
	return t, nil
}

func (s *Service) now() time.Time { return s.Now().UTC().Truncate(time.Microsecond) }

// ParseRef reads "name" or "name/3".
func ParseRef(text string) (Ref, error) {
	name, n, numbered := strings.Cut(text, "/")
	r := Ref{Dataset: name}
	if numbered {
		if _, err := fmt.Sscanf(n, "%d", &r.Version); err != nil || r.Version < 1 || fmt.Sprint(r.Version) != n {
			return r, problem.New(problem.Invalid, "%q names no version; write name/3.", text)
		}
	}
	return r, nil
}
