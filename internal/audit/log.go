package audit

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"keelson/internal/blob"
	"keelson/internal/db"
	"keelson/internal/seal"
)

// Origin is the first line of every checkpoint: which log this is.
const Origin = "keelson.audit/v1"

// witness is the name under which the newest checkpoint is kept outside the database, so that cutting the end of the
// log in the database is noticed.
const witness = "audit/checkpoint"

// sequenced is how many entries are numbered in one transaction: others wait for the writer meanwhile.
const sequenced = 64

// Log numbers entries, signs checkpoints and answers questions. All fields are required.
type Log struct {
	DB    *db.DB
	Blobs blob.Store
	Key   *seal.Key
	Log   *slog.Logger

	signer note.Signer
}

// Open prepares the signer.
func (l *Log) Open() error {
	if l.signer != nil {
		return nil
	}
	s, err := newSigner(l.Key)
	l.signer = s
	return err
}

// Run sequences until ctx ends, a few times a second; what was recorded before ctx ended is sequenced.
func (l *Log) Run(ctx context.Context) error {
	if err := l.Open(); err != nil {
		return err
	}
	if err := l.catchUp(ctx); err != nil && ctx.Err() == nil {
		l.Log.ErrorContext(ctx, "the audit checkpoint of the last run could not be published", "error", err)
	}
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	for {
		if err := l.Sequence(ctx); err != nil && ctx.Err() == nil {
			l.Log.ErrorContext(ctx, "audit entries could not be sequenced", "error", err)
		}
		select {
		case <-ctx.Done():
			return l.Sequence(context.WithoutCancel(ctx))
		case <-tick.C:
		}
	}
}

// Sequence gives all committed entries their leaf numbers and signs a checkpoint. Calling it at the same time in several
// processes is safe: the database lets one win.
func (l *Log) Sequence(ctx context.Context) error {
	if err := l.Open(); err != nil {
		return err
	}
	last, since := Checkpoint{}, time.Now() // last is not published yet, or empty
	publish := func() error {
		if last.Size == 0 {
			return nil
		}
		if err := l.publish(ctx, last); err != nil {
			return fmt.Errorf("publish checkpoint %d: %w", last.Size, err)
		}
		last, since = Checkpoint{}, time.Now()
		return nil
	}
	for {
		var open bool
		if err := l.DB.Read(ctx, func(tx db.Scope) error {
			return tx.QueryRow("SELECT EXISTS (SELECT 1 FROM audit_entry WHERE idx IS NULL)").Scan(&open)
		}); err != nil || !open {
			return errors.Join(err, publish())
		}
		var c Checkpoint
		if err := l.DB.Write(ctx, func(tx db.Scope) (err error) {
			c, err = l.sequence(tx)
			return err
		}); err != nil {
			return errors.Join(fmt.Errorf("sequence audit entries: %w", err), publish())
		}
		last = c
		if time.Since(since) > time.Second { // each publication syncs files, which the database's commits wait behind
			if err := publish(); err != nil {
				return err
			}
		}
	}
}

func (l *Log) sequence(tx db.Scope) (c Checkpoint, err error) {
	c, err = latest(tx)
	if err != nil {
		return c, err
	}
	entries, err := unsequenced(tx, sequenced)
	if err != nil || len(entries) == 0 {
		return c, err
	}
	size := c.Size
	reader := &pending{nodes: nodes{tx}, fresh: map[int64]tlog.Hash{}}
	var n sequencing
	for _, e := range entries {
		raw, err := hex.DecodeString(e.Leaf)
		var h tlog.Hash
		if err != nil || len(raw) != len(h) {
			return c, fmt.Errorf("leaf of audit entry %s is damaged", e.ID)
		}
		copy(h[:], raw)
		hashes, err := tlog.StoredHashesForRecordHash(size, h, reader)
		if err != nil {
			return c, err
		}
		at := tlog.StoredHashIndex(0, size)
		for i, node := range hashes {
			reader.fresh[at+int64(i)] = node
			n.positions, n.hashes = append(n.positions, at+int64(i)), append(n.hashes, hex.EncodeToString(node[:]))
		}
		n.ids, n.workspaces, n.indexes = append(n.ids, e.ID), append(n.workspaces, e.Workspace), append(n.indexes, size)
		size++
	}
	if err := n.store(tx); err != nil {
		return c, err
	}
	root, err := tlog.TreeHash(size, reader)
	if err != nil {
		return c, err
	}
	signed, err := note.Sign(&note.Note{Text: checkpointText(size, root)}, l.signer)
	if err != nil {
		return c, err
	}
	c = Checkpoint{Size: size, Root: root.String(), Note: string(signed), At: time.Now()}
	_, err = tx.Exec("INSERT INTO audit_checkpoint (size, note, at) VALUES ($1, $2, $3)", c.Size, c.Note, db.Micros(c.At))
	return c, err
}

// sequencing is what is written: nodes of the tree, and the leaf numbers of entries.
type sequencing struct {
	positions       []int64
	hashes          []string
	ids, workspaces []string
	indexes         []int64
}

// store writes row by row on SQLite, where that costs nothing but the rows, and in two round trips on PostgreSQL.
func (n *sequencing) store(tx db.Scope) error {
	if tx.Postgres() {
		if _, err := tx.Exec("INSERT INTO audit_node (pos, hash) SELECT * FROM unnest($1::INT8[], $2::TEXT[])", n.positions, n.hashes); err != nil {
			return err
		}
		_, err := tx.Exec(`UPDATE audit_entry e SET idx = n.idx FROM unnest($1::TEXT[], $2::TEXT[], $3::INT8[]) AS n (id, workspace, idx)
			WHERE e.id = n.id AND e.workspace = n.workspace`, n.ids, n.workspaces, n.indexes)
		return err
	}
	for i, at := range n.positions {
		if _, err := tx.Exec("INSERT INTO audit_node (pos, hash) VALUES ($1, $2)", at, n.hashes[i]); err != nil {
			return err
		}
	}
	for i, id := range n.ids {
		if _, err := tx.Exec("UPDATE audit_entry SET idx = $2 WHERE id = $1 AND workspace = $3", id, n.indexes[i], n.workspaces[i]); err != nil {
			return err
		}
	}
	return nil
}

// catchUp publishes what a process that ended suddenly had numbered and not published.
func (l *Log) catchUp(ctx context.Context) error {
	c, err := l.Latest(ctx)
	if err != nil || c.Size == 0 {
		return err
	}
	return l.publish(ctx, c)
}

// publish writes outside the database the tiles that became full since the checkpoint that is remembered there, and then
// the checkpoint. One that is not behind stays: another process was faster, or the log was cut, which verification tells
// by it. So it tells of one that somebody changed, which is an error here.
func (l *Log) publish(ctx context.Context, c Checkpoint) error {
	known, err := l.remembered(ctx)
	if err != nil {
		return err
	}
	var from int64
	if known != "" {
		t, err := parseCheckpoint(known, l.Verifier())
		if err != nil {
			return err
		}
		if from = t.N; from >= c.Size {
			return nil
		}
	}
	for _, t := range tlog.NewTiles(8, from, c.Size) {
		if t.W != 1<<8 {
			continue // partial tiles are made on export
		}
		var data []byte
		if err := l.DB.Read(ctx, func(tx db.Scope) (err error) {
			data, err = tlog.ReadTileData(t, nodes{tx})
			return err
		}); err != nil {
			return err
		}
		if err := l.Blobs.PutNamed(ctx, "audit/"+t.Path(), bytes.NewReader(data)); err != nil {
			return err
		}
	}
	return l.Blobs.PutNamed(ctx, witness, bytes.NewReader([]byte(c.Note)))
}

// pending reads nodes of this transaction's own inserts, and each other one only once.
type pending struct {
	nodes
	fresh map[int64]tlog.Hash
}

func (p *pending) ReadHashes(positions []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(positions))
	for i, at := range positions {
		h, ok := p.fresh[at]
		if !ok {
			one, err := p.nodes.ReadHashes([]int64{at})
			if err != nil {
				return nil, err
			}
			h = one[0]
			p.fresh[at] = h // the right edge of the tree is asked for with every entry
		}
		out[i] = h
	}
	return out, nil
}

// Latest gives the newest checkpoint, with its root; size 0 in an empty log.
func (l *Log) Latest(ctx context.Context) (c Checkpoint, err error) {
	if err := l.DB.Read(ctx, func(tx db.Scope) error { c, err = latest(tx); return err }); err != nil || c.Size == 0 {
		return c, err
	}
	t, err := parseCheckpoint(c.Note, l.Verifier())
	c.Root = t.Hash.String()
	return c, err
}

// List answers a query in the caller's workspace, newest first.
func (l *Log) List(ctx context.Context, q Query) (out []Entry, err error) {
	err = l.DB.Read(ctx, func(tx db.Scope) error { out, err = list(tx, q); return err })
	return out, err
}

// remembered is the checkpoint kept outside the database; empty when none was published yet.
func (l *Log) remembered(ctx context.Context) (string, error) {
	r, _, err := l.Blobs.OpenNamed(ctx, witness)
	if err != nil {
		if errors.Is(err, blob.ErrNotFound) {
			return "", nil
		}
		return "", err
	}
	defer r.Close()
	b, err := io.ReadAll(io.LimitReader(r, 64<<10))
	return string(b), err
}
