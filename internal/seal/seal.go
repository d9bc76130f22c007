// Package seal signs and verifies documents with Ed25519 keys that are kept outside the database.
//
// A signature covers the domain ("release", "vote") as well as the bytes, in the pre-authentication encoding of DSSE
// v1, so that a document signed for one purpose is worth nothing for another.
package seal

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Key signs. It is made once per installation.
type Key struct {
	private ed25519.PrivateKey
	public  Public
}

// Public verifies what a Key signed.
type Public struct {
	ID  string // the first 8 bytes of the SHA-256 of the key, in hex
	key ed25519.PublicKey
}

// Load reads the key in file (the base64 of its 32-byte seed, one line). If the file is not there it is made, readable
// by its owner only.
func Load(file string) (*Key, error) {
	b, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		return create(file)
	}
	if err != nil {
		return nil, fmt.Errorf("read signing key: %w", err)
	}
	seed, err := base64.StdEncoding.DecodeString(strings.TrimSpace(string(b)))
	if err != nil || len(seed) != ed25519.SeedSize {
		return nil, fmt.Errorf("signing key %s does not hold the base64 of %d bytes", file, ed25519.SeedSize)
	}
	return FromSeed(seed), nil
}

func create(file string) (*Key, error) {
	seed := make([]byte, ed25519.SeedSize)
	if _, err := rand.Read(seed); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return nil, fmt.Errorf("make folder for signing key: %w", err)
	}
	// Written aside and linked, so that a process killed here leaves no half key and two that start at once agree on one.
	tmp, err := os.CreateTemp(filepath.Dir(file), ".key-*")
	if err != nil {
		return nil, fmt.Errorf("write signing key: %w", err)
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.WriteString(base64.StdEncoding.EncodeToString(seed) + "\n")
	if err = errors.Join(err, tmp.Sync(), tmp.Close()); err != nil {
		return nil, fmt.Errorf("write signing key: %w", err)
	}
	if err := os.Link(tmp.Name(), file); err != nil && !errors.Is(err, os.ErrExist) {
		return nil, fmt.Errorf("write signing key: %w", err)
	}
	return Load(file)
}

// FromSeed makes the key of a 32-byte seed.
func FromSeed(seed []byte) *Key {
	private := ed25519.NewKeyFromSeed(seed)
	return &Key{private: private, public: newPublic(private.Public().(ed25519.PublicKey))}
}

func newPublic(k ed25519.PublicKey) Public {
	sum := sha256.Sum256(k)
	return Public{ID: hex.EncodeToString(sum[:8]), key: k}
}

// Public is the half that verifies.
func (k *Key) Public() Public { return k.public }

// Private is the raw key, for formats with an encoding of their own (signed notes).
func (k *Key) Private() ed25519.PrivateKey { return k.private }

// Sign gives "<key id>:<base64 signature>" over doc for one domain.
func (k *Key) Sign(domain string, doc []byte) string {
	return k.public.ID + ":" + base64.StdEncoding.EncodeToString(ed25519.Sign(k.private, encode(domain, doc)))
}

// ErrForged says that a signature does not belong to the document, the domain or the key.
var ErrForged = errors.New("the signature does not match")

// Verify checks a signature made by Sign.
func (p Public) Verify(domain string, doc []byte, signature string) error {
	id, b64, ok := strings.Cut(signature, ":")
	if !ok || id != p.ID {
		return fmt.Errorf("%w: it was not made with key %s", ErrForged, p.ID)
	}
	sig, err := base64.StdEncoding.DecodeString(b64)
	if err != nil || !ed25519.Verify(p.key, encode(domain, doc), sig) {
		return ErrForged
	}
	return nil
}

// Bytes is the raw public key.
func (p Public) Bytes() ed25519.PublicKey { return p.key }

// ParsePublic reads what String printed.
func ParsePublic(s string) (Public, error) {
	b, err := base64.StdEncoding.DecodeString(strings.TrimSpace(s))
	if err != nil || len(b) != ed25519.PublicKeySize {
		return Public{}, fmt.Errorf("a public key is the base64 of %d bytes", ed25519.PublicKeySize)
	}
	return newPublic(b), nil
}

func (p Public) String() string { return base64.StdEncoding.EncodeToString(p.key) }

// encode is DSSE's pre-authentication encoding.
func encode(domain string, doc []byte) []byte {
	return fmt.Appendf(nil, "DSSEv1 %d %s %d %s", len(domain), domain, len(doc), doc)
}
