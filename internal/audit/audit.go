// Package audit keeps the history of governed acts so that a stranger can check it.
//
// Every act appends one entry in its own transaction. A sequencer gives committed entries their leaf numbers in an
// RFC 6962 Merkle tree and signs a checkpoint (C2SP tlog-checkpoint, Ed25519) over it; the key lies outside the
// database. Changing, inserting or deleting an entry afterwards changes the root and is found by Verify, which names
// the entry. The actor's name is bound to the leaf by a salted commitment, so that it can be erased without breaking the tree.
//
//	act ── Record (same transaction) ──▶ entry ── sequencer ──▶ leaf, signed checkpoint
package audit

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"keelson/internal/caller"
	"keelson/internal/db"
)

// Entry is one act.
type Entry struct {
	Index     int64           `json:"index"` // leaf number; -1 while the sequencer has not seen it
	ID        string          `json:"id"`
	At        time.Time       `json:"at"`
	Workspace string          `json:"workspace"`
	Actor     string          `json:"actor"` // empty after erasure
	Via       string          `json:"via"`
	Action    string          `json:"action"` // noun.verb in the past tense: "approval.voted"
	Object    string          `json:"object"` // "approval/ID", "model/NAME/3", "deployment/ENDPOINT"
	Models    []string        `json:"models"`
	Detail    json.RawMessage `json:"detail"`
	Leaf      string          `json:"leaf"`       // hex of the leaf hash
	Proof     string          `json:"actor_seal"` // base64 salt and commitment of the actor, see seal
}

// leaf is what is hashed: the canonical JSON of these fields in this order. Its form never changes.
type leaf struct {
	ID        string          `json:"id"`
	At        int64           `json:"at"` // UTC microseconds
	Workspace string          `json:"workspace"`
	Actor     string          `json:"actor_commitment"` // hex of SHA-256(salt ‖ actor)
	Via       string          `json:"via"`
	Action    string          `json:"action"`
	Object    string          `json:"object"`
	Models    []string        `json:"models"`
	Detail    json.RawMessage `json:"detail"`
}

const saltSize = 16

// commit binds an actor: base64 of salt ‖ SHA-256(salt ‖ actor).
func commit(salt []byte, actor string) string {
	sum := sha256.Sum256(append(slices.Clone(salt), actor...))
	return base64.StdEncoding.EncodeToString(append(slices.Clone(salt), sum[:]...))
}

// hash computes the leaf hash of an entry from its fields; it fails when the actor does not fit its commitment.
func (e Entry) hash() (tlog.Hash, error) {
	seal, err := base64.StdEncoding.DecodeString(e.Proof)
	if err != nil || len(seal) != saltSize+sha256.Size {
		return tlog.Hash{}, fmt.Errorf("its actor commitment is damaged")
	}
	if e.Actor != "" && commit(seal[:saltSize], e.Actor) != e.Proof {
		return tlog.Hash{}, fmt.Errorf("its actor was changed")
	}
	b, err := json.Marshal(leaf{e.ID, db.Micros(e.At), e.Workspace, hex.EncodeToString(seal[saltSize:]), e.Via, e.Action, e.Object, e.Models, e.Detail})
	if err != nil {
		return tlog.Hash{}, fmt.Errorf("its detail is no JSON")
	}
	return tlog.RecordHash(b), nil
}

// Record appends an entry in the transaction of the act. detail is a document about what was done, without secrets; the
// models it names under "model" or "models", and the one in the object, show the entry on their time lines.
func Record(tx db.Scope, action, object string, detail any) error {
	body, err := json.Marshal(detail)
	if err != nil {
		return fmt.Errorf("audit %s: %w", action, err)
	}
	who := caller.From(tx.Ctx)
	name := who.Name
	if name == "" {
		name = "nobody"
	}
	salt := make([]byte, saltSize)
	if _, err := rand.Read(salt); err != nil {
		return err
	}
	e := Entry{ID: db.NewID(), At: time.Now().Truncate(time.Microsecond), Workspace: tx.Workspace, Actor: name, Via: who.Via,
		Action: action, Object: object, Models: modelsOf(object, body), Detail: canonical(body), Proof: commit(salt, name)}
	h, err := e.hash()
	if err != nil {
		return err
	}
	e.Leaf = hex.EncodeToString(h[:])
	return insert(tx, e)
}

// canonical is detail as JSON marshals it inside the leaf: HTML escapes and spaces as encoding/json leaves them.
func canonical(b []byte) json.RawMessage {
	out, err := json.Marshal(json.RawMessage(b))
	if err != nil {
		return b
	}
	return out
}

func modelsOf(object string, detail []byte) []string {
	var d struct {
		Model  any `json:"model"`
		Models any `json:"models"`
	}
	models := []string{}
	add := func(v any) {
		if s, ok := v.(string); ok && s != "" && !slices.Contains(models, s) {
			models = append(models, s)
		}
	}
	if rest, ok := strings.CutPrefix(object, "model/"); ok {
		name, _, _ := strings.Cut(rest, "/")
		add(name)
	}
	if json.Unmarshal(detail, &d) == nil {
		add(d.Model)
		if list, ok := d.Models.([]any); ok {
			for _, m := range list {
				add(m)
			}
		}
	}
	return models
}
