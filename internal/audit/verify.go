package audit

import (
	"archive/zip"
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/merkle/rfc6962"

	"keelson/internal/db"
	"keelson/internal/problem"
)

// Report is the outcome of a verification.
type Report struct {
	OK         bool       `json:"ok"`
	Size       int64      `json:"size"`    // entries under the newest checkpoint
	Checked    int64      `json:"checked"` // entries whose hash was computed again
	Pending    int64      `json:"pending"` // entries the sequencer has not numbered yet
	Broken     []Break    `json:"broken"`
	Checkpoint Checkpoint `json:"checkpoint"`
}

// Break says what is wrong and where.
type Break struct {
	Index int64  `json:"index"` // leaf number; -1 when it is about the log as a whole
	ID    string `json:"id,omitempty"`
	Why   string `json:"why"`
}

const maxBreaks = 100

// page is how many entries Verify reads at a time.
const page = 1000

func (r *Report) broken(index int64, id, format string, a ...any) {
	if len(r.Broken) < maxBreaks {
		r.Broken = append(r.Broken, Break{index, id, fmt.Sprintf(format, a...)})
	}
}

// checker computes the root again from entries in the order of their leaf numbers.
type checker struct {
	report *Report
	tree   *compact.Range
	next   int64
}

func newChecker(r *Report) *checker {
	f := compact.RangeFactory{Hash: rfc6962.DefaultHasher.HashChildren}
	return &checker{report: r, tree: f.NewEmptyRange(0)}
}

// skip reports the entries before index that did not come; the tree's own hash stands in for each, so that what
// follows can still be judged.
func (c *checker) skip(index int64, stored map[int64][]byte) error {
	for c.next < index {
		c.report.broken(c.next, "", "entry %d is missing", c.next)
		h := stored[c.next]
		if h == nil {
			h = make([]byte, 32)
		}
		if err := c.tree.Append(h, nil); err != nil {
			return err
		}
		c.next++
	}
	return nil
}

// add takes the next entry; stored holds the leaf hashes of the tree by leaf number, where they are known.
func (c *checker) add(e Entry, stored map[int64][]byte) error {
	if err := c.skip(e.Index, stored); err != nil {
		return err
	}
	sum, err := e.hash()
	h := sum[:]
	want := stored[e.Index]
	switch {
	case err != nil:
		c.report.broken(e.Index, e.ID, "entry %d (%s %s): %v", e.Index, e.Action, e.Object, err)
	case hex.EncodeToString(h) != e.Leaf || want != nil && !bytes.Equal(h, want):
		c.report.broken(e.Index, e.ID, "entry %d (%s %s) was changed after it was written", e.Index, e.Action, e.Object)
	}
	if want != nil {
		h = want
	}
	c.report.Checked++
	c.next++
	return c.tree.Append(h, nil)
}

// root compares the tree so far with a signed checkpoint of the same size.
func (c *checker) root(signed, verifier string) {
	t, err := parseCheckpoint(signed, verifier)
	if err != nil {
		c.report.broken(-1, "", "%v", err)
		return
	}
	if t.N != c.next {
		c.report.broken(-1, "", "the signed checkpoint speaks of %d entries, the log holds %d", t.N, c.next)
		return
	}
	if t.N == 0 {
		return
	}
	got, err := c.tree.GetRootHash(nil)
	if err != nil || string(got) != string(t.Hash[:]) {
		if len(c.report.Broken) == 0 {
			c.report.broken(-1, "", "the entries up to %d do not give the signed root", t.N-1)
		}
	}
}

// Verify computes every leaf and the root again and compares them with the tree, the newest signed checkpoint and the
// checkpoint remembered outside the database. Nothing is changed.
func (l *Log) Verify(ctx context.Context) (Report, error) {
	r := Report{Broken: []Break{}}
	known, err := l.remembered(ctx)
	if err != nil {
		return r, fmt.Errorf("read remembered checkpoint: %w", err)
	}
	err = l.DB.Read(ctx, func(tx db.Scope) error {
		c, err := latest(tx)
		if err != nil {
			return err
		}
		r.Size, r.Checkpoint = c.Size, c
		if err := tx.QueryRow("SELECT COUNT(*) FROM audit_entry WHERE idx IS NULL").Scan(&r.Pending); err != nil {
			return err
		}
		check := newChecker(&r)
		for from := int64(0); ; from += page {
			stored, err := leaves(tx, from, from+page)
			if err != nil {
				return err
			}
			entries, err := numbered(tx, from, from+page)
			if err != nil {
				return err
			}
			for _, e := range entries {
				if err := check.add(e, stored); err != nil {
					return err
				}
			}
			if err := check.skip(min(from+page, c.Size), stored); err != nil {
				return err
			}
			if len(entries) == 0 && from >= c.Size {
				break
			}
		}
		if c.Size > 0 {
			check.root(c.Note, l.Verifier())
		} else if r.Checked > 0 {
			r.broken(-1, "", "no signed checkpoint covers the %d entries", r.Checked)
		}
		if known != "" {
			t, err := parseCheckpoint(known, l.Verifier())
			if err != nil {
				r.broken(-1, "", "the checkpoint remembered outside the database: %v", err)
			} else if t.N > c.Size {
				r.broken(-1, "", "the log was cut: %d entries were signed, the database holds %d", t.N, c.Size)
			}
		}
		return nil
	})
	r.OK = err == nil && len(r.Broken) == 0
	return r, err
}

// The names inside an exported bundle.
const (
	bundleEntries    = "entries.ndjson"
	bundleCheckpoint = "checkpoint.txt"
	bundleKey        = "verifier-key.txt"
	bundleReadme     = "README.txt"
)

const readme = `Audit log of a Keelson installation.

entries.ndjson    one entry per line, in the order of their leaf numbers
checkpoint.txt    signed statement about them (C2SP tlog-checkpoint, Ed25519)
verifier-key.txt  the public key; compare it with the one you were given by another way

Check it without a server:  keelson audit verify --offline FILE.zip --key "$(cat the key you trust)"
`

// Export writes all entries of the log with the newest checkpoint as a ZIP archive that VerifyBundle checks.
func (l *Log) Export(ctx context.Context, w io.Writer) (Checkpoint, error) {
	var c Checkpoint
	z := zip.NewWriter(w)
	err := l.DB.Read(ctx, func(tx db.Scope) (err error) {
		if c, err = latest(tx); err != nil {
			return err
		}
		f, err := z.Create(bundleEntries)
		if err != nil {
			return err
		}
		enc := json.NewEncoder(f)
		return tx.Each("SELECT "+columns+" FROM audit_entry WHERE idx IS NOT NULL AND idx < $1 ORDER BY idx", []any{c.Size}, func(scan func(...any) error) error {
			e, err := read(scan)
			if err != nil {
				return err
			}
			return enc.Encode(e)
		})
	})
	if err != nil {
		return c, err
	}
	for name, text := range map[string]string{bundleCheckpoint: c.Note, bundleKey: l.Verifier() + "\n", bundleReadme: readme} {
		f, err := z.Create(name)
		if err != nil {
			return c, err
		}
		if _, err := io.WriteString(f, text); err != nil {
			return c, err
		}
	}
	return c, z.Close()
}

// VerifyBundle checks an exported archive without a server. verifier is the key to trust; if it is empty the one in the
// archive is used, which proves only that the archive agrees with itself.
func VerifyBundle(file io.ReaderAt, size int64, verifier string) (Report, error) {
	r := Report{Broken: []Break{}}
	bad := func(format string, a ...any) (Report, error) {
		return r, problem.New(problem.Invalid, "The file is no audit bundle: "+format+". Make one with: keelson audit export.", a...)
	}
	z, err := zip.NewReader(file, size)
	if err != nil {
		return bad("it is not a ZIP archive")
	}
	text := func(name string) (string, error) {
		f, err := z.Open(name)
		if err != nil {
			return "", err
		}
		defer f.Close()
		b, err := io.ReadAll(io.LimitReader(f, 64<<10))
		return string(b), err
	}
	signed, err := text(bundleCheckpoint)
	if err != nil {
		return bad("%s is missing", bundleCheckpoint)
	}
	if verifier == "" {
		if verifier, err = text(bundleKey); err != nil {
			return bad("%s is missing", bundleKey)
		}
	}
	f, err := z.Open(bundleEntries)
	if err != nil {
		return bad("%s is missing", bundleEntries)
	}
	defer f.Close()
	check := newChecker(&r)
	lines := bufio.NewScanner(f)
	lines.Buffer(make([]byte, 0, 64<<10), 16<<20)
	for lines.Scan() {
		var e Entry
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			return bad("line %d of %s is no JSON", check.next+1, bundleEntries)
		}
		if e.Index < check.next {
			r.broken(e.Index, e.ID, "entry %d stands in the wrong place", e.Index)
			continue
		}
		if e.Index > check.next+1_000_000 {
			return bad("line %d of %s has the leaf number %d", check.next+1, bundleEntries, e.Index)
		}
		if err := check.add(e, nil); err != nil {
			return r, err
		}
	}
	if err := lines.Err(); err != nil && !errors.Is(err, io.EOF) {
		return bad("%s cannot be read: %v", bundleEntries, err)
	}
	r.Size, r.Checkpoint = check.next, Checkpoint{Size: check.next, Note: signed}
	check.root(signed, strings.TrimSpace(verifier))
	r.OK = len(r.Broken) == 0
	return r, nil
}
