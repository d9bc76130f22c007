package blob

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"time"

	"keelson/internal/db"
	"keelson/internal/problem"
)

// Keeper removes content that nothing refers to any more, and never anything else.
//
//	put ── lease ──▶ stored ── row refers to it ──▶ held ── last row gone ──▶ loose ── nobody holds it ──▶ doomed ──▶ gone
//
// Whoever puts bytes takes a lease on their digest before they get their name (Store asks Claim); the lease lasts Grace
// or until Release in the transaction that refers to them. The collector dooms a digest in one transaction that sees
// neither a holder nor a lease, deletes the bytes, and takes the doom back; whoever puts the same bytes meanwhile waits
// for that. A doom whose collector died expires and is done again. So bytes in the store without a row are the worst
// that a crash leaves, and the next sweep finds them.
//
// Its tables span all workspaces, because equal bytes are stored once for all of them.
type Keeper struct {
	DB    *db.DB
	Store Store
	Log   *slog.Logger
	Now   func() time.Time
	// Holders are all who refer to content. A digest that any of them holds stays.
	Holders []Holder
	// Grace is how long bytes without a row are left alone; 0 is 15 minutes.
	Grace time.Duration
	// Altered is told of bytes that no longer have their digest; may be nil.
	Altered func(ctx context.Context, digest string) error

	aside chan string
}

// Holder refers to content.
type Holder interface {
	// Holding gives those of the digests that are held in any workspace; more do no harm.
	Holding(tx db.Scope, digests []string) ([]string, error)
}

// Column is a Holder: a column with one digest per row.
type Column struct{ Table, Name string }

// Holding implements Holder. It asks in all workspaces.
func (c Column) Holding(tx db.Scope, digests []string) (out []string, err error) {
	marks, args := marks(digests)
	err = tx.Each(`SELECT DISTINCT `+c.Name+` FROM `+c.Table+` WHERE `+c.Name+` IN (`+marks+`)`, args, func(scan func(...any) error) error {
		var d string
		err := scan(&d)
		out = append(out, d)
		return err
	})
	return out, err
}

func marks(digests []string) (string, []any) {
	out, args := make([]string, len(digests)), make([]any, len(digests))
	for i, d := range digests {
		out[i], args[i] = "$"+strconv.Itoa(i+1), d
	}
	return strings.Join(out, ", "), args
}

const (
	grace  = 15 * time.Minute
	doom   = 5 * time.Minute // how long a collector has for one batch
	batch  = 200
	waitMs = 20
)

func (k *Keeper) grace() time.Duration {
	if k.Grace > 0 {
		return k.Grace
	}
	return grace
}

// Watch makes the store ask for a lease before it names bytes. It comes before any other call.
func (k *Keeper) Watch() {
	k.aside = make(chan string, 64)
	if s, ok := k.Store.(Claiming); ok {
		s.OnPut(func(ctx context.Context, digest string) error { return k.Claim(ctx, digest) })
	}
}

type leaseKey struct{}

// WithLease gives ctx a lease, unless it has one: what is put with it is protected until Release of the same lease.
func WithLease(ctx context.Context) (context.Context, string) {
	if id, _ := ctx.Value(leaseKey{}).(string); id != "" {
		return ctx, id
	}
	id := db.NewID()
	return context.WithValue(ctx, leaseKey{}, id), id
}

// Release ends a lease in the transaction that refers to the bytes.
func Release(tx db.Scope, lease string) error {
	_, err := tx.Exec(`DELETE FROM blob_lease WHERE id = $1`, lease)
	return err
}

// Claim takes leases on digests, so that their bytes stay for Grace although nothing refers to them. It waits for a
// collector that is deleting one of them. It does not look whether the bytes are there.
func (k *Keeper) Claim(ctx context.Context, digests ...string) error {
	lease, _ := ctx.Value(leaseKey{}).(string)
	if lease == "" {
		lease = db.NewID()
	}
	for len(digests) > 0 {
		part := digests[:min(len(digests), batch)]
		digests = digests[len(part):]
		if err := k.claim(ctx, lease, part); err != nil {
			return fmt.Errorf("lease stored bytes: %w", err)
		}
	}
	return nil
}

func (k *Keeper) claim(ctx context.Context, lease string, digests []string) error {
	in, args := marks(digests)
	for {
		busy := false
		err := k.DB.Write(ctx, func(tx db.Scope) error {
			busy = false
			now, err := tx.Now()
			if err != nil {
				return err
			}
			var until int64
			err = tx.QueryRow(`SELECT COALESCE(MAX(until), 0) FROM blob_doomed WHERE digest IN (`+in+`)`, args...).Scan(&until)
			if err != nil {
				return err
			}
			if until > now {
				busy = true
				return nil
			}
			if until > 0 { // its collector died
				if _, err := tx.Exec(`DELETE FROM blob_doomed WHERE digest IN (`+in+`)`, args...); err != nil {
					return err
				}
			}
			for _, d := range digests {
				if _, err := tx.Exec(`INSERT INTO blob_lease (digest, id, expires) VALUES ($1, $2, $3)
					ON CONFLICT (digest, id) DO UPDATE SET expires = excluded.expires`, d, lease, now+k.grace().Microseconds()); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil || !busy {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(waitMs * time.Millisecond):
		}
	}
}

// Loose notes digests that a row has just ceased to refer to, so that the next collection looks at them.
func Loose(tx db.Scope, digests ...string) error {
	now, err := tx.Now()
	if err != nil {
		return err
	}
	for _, d := range digests {
		if _, err := ParseDigest(d); err != nil {
			continue // a column may hold none
		}
		if _, err := tx.Exec(`INSERT INTO blob_loose (digest, since) VALUES ($1, $2) ON CONFLICT (digest) DO NOTHING`, d, now); err != nil {
			return err
		}
	}
	return nil
}

// Freed is what a collection removed.
type Freed struct {
	Files int   `json:"files"`
	Bytes int64 `json:"bytes"`
	// Waiting is how many unreferenced contents were put so recently that they may be about to be referred to; they go
	// with a later collection.
	Waiting int `json:"waiting"`
}

func (f *Freed) add(g Freed) { f.Files += g.Files; f.Bytes += g.Bytes; f.Waiting += g.Waiting }

// Collect removes what became loose.
func (k *Keeper) Collect(ctx context.Context) (all Freed, err error) {
	if err := k.revive(ctx); err != nil {
		return all, err
	}
	for after := ""; ; {
		var digests []string
		err := k.DB.Read(ctx, func(tx db.Scope) error {
			digests = nil
			return tx.Each(`SELECT digest FROM blob_loose WHERE digest > $1 ORDER BY digest LIMIT `+strconv.Itoa(batch), []any{after}, func(scan func(...any) error) error {
				var d string
				err := scan(&d)
				digests = append(digests, d)
				return err
			})
		})
		if err != nil || len(digests) == 0 {
			return all, err
		}
		after = digests[len(digests)-1]
		f, err := k.collect(ctx, digests)
		all.add(f)
		if err != nil {
			return all, err
		}
	}
}

// Sweep goes through the whole store and removes what nothing refers to, whoever forgot to say so, and what broken-off
// writes left.
func (k *Keeper) Sweep(ctx context.Context) (all Freed, err error) {
	if t, ok := k.Store.(Tidying); ok {
		if err := t.Tidy(ctx, k.Now().Add(-24*time.Hour)); err != nil {
			return all, fmt.Errorf("tidy the blob store: %w", err)
		}
	}
	l, ok := k.Store.(Listing)
	if !ok {
		return all, nil
	}
	for after := ""; ; {
		list, err := l.Contents(ctx, after, batch)
		if err != nil || len(list) == 0 {
			return all, err
		}
		after = list[len(list)-1].Digest
		var digests []string
		for _, c := range list {
			if c.Modified.Before(k.Now().Add(-k.grace())) {
				digests = append(digests, c.Digest)
			}
		}
		f, err := k.collect(ctx, digests)
		all.add(f)
		if err != nil {
			return all, err
		}
	}
}

// Scrub reads everything that is stored and tells Altered of what no longer has its digest; it gives how many contents
// it read and which were altered.
func (k *Keeper) Scrub(ctx context.Context) (read int, altered []string, err error) {
	l, ok := k.Store.(Listing)
	if !ok {
		return 0, nil, nil
	}
	for after := ""; ; {
		list, err := l.Contents(ctx, after, batch)
		if err != nil || len(list) == 0 {
			return read, altered, err
		}
		for _, c := range list {
			after = c.Digest
			err := k.Store.Verify(ctx, c.Digest)
			switch {
			case errors.Is(err, ErrAltered):
				altered = append(altered, c.Digest)
				if err := k.Report(ctx, c.Digest); err != nil {
					return read, altered, err
				}
			case errors.Is(err, ErrNotFound): // deleted meanwhile
				continue
			case err != nil:
				return read, altered, err
			}
			read++
		}
	}
}

// Report tells Altered of bytes that somebody found altered.
func (k *Keeper) Report(ctx context.Context, digest string) error {
	k.Log.ErrorContext(ctx, "stored bytes were altered", "digest", digest)
	if k.Altered == nil {
		return nil
	}
	return k.Altered(ctx, digest)
}

// Present refuses digests whose bytes are not in the store, after leasing them: for those who refer to bytes that were
// put a while ago. k may be nil.
func (k *Keeper) Present(ctx context.Context, digests ...string) error {
	if k == nil {
		return nil
	}
	if err := k.Claim(ctx, digests...); err != nil {
		return err
	}
	for _, d := range digests {
		r, _, err := k.Store.Open(ctx, d)
		if errors.Is(err, ErrNotFound) {
			return problem.New(problem.Conflict, "The bytes %s are no longer stored, because nothing referred to them; upload them again.", d)
		}
		if err != nil {
			return err
		}
		if err := r.Close(); err != nil {
			return err
		}
	}
	return nil
}

// revive makes what a dead collector doomed loose again.
func (k *Keeper) revive(ctx context.Context) error {
	return k.DB.Write(ctx, func(tx db.Scope) error {
		now, err := tx.Now()
		if err != nil {
			return err
		}
		if _, err := tx.Exec(`INSERT INTO blob_loose (digest, since) SELECT digest, until FROM blob_doomed WHERE until < $1 ON CONFLICT (digest) DO NOTHING`, now); err != nil {
			return err
		}
		if _, err := tx.Exec(`DELETE FROM blob_doomed WHERE until < $1`, now); err != nil {
			return err
		}
		_, err = tx.Exec(`DELETE FROM blob_lease WHERE expires < $1`, now)
		return err
	})
}

// collect removes those of the digests that nobody holds or leases.
func (k *Keeper) collect(ctx context.Context, digests []string) (f Freed, err error) {
	if len(digests) == 0 {
		return f, nil
	}
	var doomed []string
	var until int64
	start := time.Now()
	if err := k.DB.Write(ctx, func(tx db.Scope) error {
		doomed, f.Waiting = nil, 0
		now, err := tx.Now()
		if err != nil {
			return err
		}
		until = now + doom.Microseconds()
		stay := map[string]bool{}
		for _, h := range k.Holders {
			held, err := h.Holding(tx, digests)
			if err != nil {
				return err
			}
			for _, d := range held {
				stay[d] = true
			}
		}
		in, args := marks(digests)
		leased := map[string]bool{}
		if err := tx.Each(`SELECT digest FROM blob_lease WHERE digest IN (`+in+`) AND expires > $`+strconv.Itoa(len(args)+1), append(slices.Clone(args), now), func(scan func(...any) error) error {
			var d string
			err := scan(&d)
			leased[d] = true
			return err
		}); err != nil {
			return err
		}
		if err := tx.Each(`SELECT digest FROM blob_doomed WHERE digest IN (`+in+`)`, args, func(scan func(...any) error) error {
			var d string
			err := scan(&d)
			leased[d] = true // another collector has it
			return err
		}); err != nil {
			return err
		}
		for _, d := range digests {
			if !stay[d] && leased[d] {
				f.Waiting++
				continue
			}
			if _, err := tx.Exec(`DELETE FROM blob_loose WHERE digest = $1`, d); err != nil {
				return err
			}
			if stay[d] {
				continue
			}
			if _, err := tx.Exec(`INSERT INTO blob_doomed (digest, until) VALUES ($1, $2)`, d, until); err != nil {
				return err
			}
			doomed = append(doomed, d)
		}
		return nil
	}); err != nil {
		return f, fmt.Errorf("choose bytes to delete: %w", err)
	}
	for _, d := range doomed {
		if time.Since(start) > doom-time.Minute {
			break // whoever waits may soon take it; the doom expires and is done again
		}
		size := int64(0)
		r, n, err := k.Store.Open(ctx, d)
		if errors.Is(err, ErrNotFound) {
			continue
		}
		if err == nil {
			size, err = n, r.Close()
		}
		if err == nil {
			err = k.Store.Delete(ctx, d)
		}
		if err != nil {
			return f, fmt.Errorf("delete %s: %w", d, err)
		}
		f.Files++
		f.Bytes += size
	}
	if len(doomed) == 0 || time.Since(start) > doom-time.Minute {
		return f, nil
	}
	return f, k.DB.Write(ctx, func(tx db.Scope) error {
		in, args := marks(doomed)
		_, err := tx.Exec(`DELETE FROM blob_doomed WHERE digest IN (`+in+`) AND until = $`+strconv.Itoa(len(args)+1), append(args, until)...)
		return err
	})
}

// OpenSound is the function of that name, and reports what it finds altered. k may be nil.
func (k *Keeper) OpenSound(ctx context.Context, s Store, digest string) (io.ReadSeekCloser, int64, bool, error) {
	r, size, sound, err := OpenSound(ctx, s, digest)
	if k != nil && errors.Is(err, ErrAltered) {
		err = errors.Join(err, k.Report(ctx, digest))
	}
	return r, size, sound, err
}

// Aside has Run verify bytes that are handed out unchecked, because somebody asked for a part of them only. It does not
// wait; when much is waiting already, the bytes are left to the next time. k may be nil.
func (k *Keeper) Aside(digest string) {
	if k == nil || k.aside == nil {
		return
	}
	select {
	case k.aside <- digest:
	default:
	}
}

// Run verifies what Aside was told of until ctx ends.
func (k *Keeper) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case d := <-k.aside:
			if m, ok := k.Store.(Remembering); ok && m.Sound(d) {
				continue
			}
			err := k.Store.Verify(ctx, d)
			if errors.Is(err, ErrAltered) {
				err = k.Report(ctx, d)
			}
			if err != nil && ctx.Err() == nil && !errors.Is(err, ErrNotFound) {
				k.Log.WarnContext(ctx, "stored bytes could not be verified", "digest", d, "error", err)
			}
		}
	}
}
