package audit

import (
	"fmt"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"strconv"
	"strings"

	"keelson/internal/seal"
)

const algEd25519 = 1

// keyName is the name under which checkpoints are signed.
const keyName = Origin

func keyHash(pub ed25519.PublicKey) uint32 {
	h := sha256.New()
	h.Write([]byte(keyName + "\n"))
	h.Write([]byte{algEd25519})
	h.Write(pub)
	return binary.BigEndian.Uint32(h.Sum(nil))
}

func newSigner(k *seal.Key) (note.Signer, error) {
	seed := append([]byte{algEd25519}, k.Private().Seed()...)
	return note.NewSigner(fmt.Sprintf("PRIVATE+KEY+%s+%08x+%s", keyName, keyHash(k.Public().Bytes()), base64.StdEncoding.EncodeToString(seed)))
}

// Verifier is the public key of the log in the note format "<name>+<hash>+<key>"; give it to whoever checks exports.
func (l *Log) Verifier() string { return VerifierKey(l.Key.Public()) }

// VerifierKey is a public key in the note format.
func VerifierKey(p seal.Public) string {
	b := append([]byte{algEd25519}, p.Bytes()...)
	return fmt.Sprintf("%s+%08x+%s", keyName, keyHash(p.Bytes()), base64.StdEncoding.EncodeToString(b))
}

func checkpointText(size int64, root tlog.Hash) string {
	return fmt.Sprintf("%s\n%d\n%s\n", Origin, size, base64.StdEncoding.EncodeToString(root[:]))
}

// parseCheckpoint checks a signed note and gives the tree it speaks of.
func parseCheckpoint(signed, verifier string) (tlog.Tree, error) {
	v, err := note.NewVerifier(verifier)
	if err != nil {
		return tlog.Tree{}, fmt.Errorf("the verifier key is malformed: %w", err)
	}
	n, err := note.Open([]byte(signed), note.VerifierList(v))
	if err != nil {
		return tlog.Tree{}, fmt.Errorf("the checkpoint is not signed with key %s", verifier)
	}
	lines := strings.Split(n.Text, "\n")
	if len(lines) != 4 || lines[0] != Origin {
		return tlog.Tree{}, fmt.Errorf("the checkpoint is malformed")
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	root, err2 := base64.StdEncoding.DecodeString(lines[2])
	if err != nil || err2 != nil || size < 0 || len(root) != tlog.HashSize {
		return tlog.Tree{}, fmt.Errorf("the checkpoint is malformed")
	}
	t := tlog.Tree{N: size}
	copy(t.Hash[:], root)
	return t, nil
}
