package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
)

// ErrHidden says that a hidden text was not made with this key for this domain and subject.
var ErrHidden = errors.New("the secret cannot be read with this key")

// box is AES-256-GCM under a key derived from k for one domain, so that a key which signs never encrypts as itself.
func (k *Key) box(domain string) (cipher.AEAD, error) {
	key, err := hkdf.Key(sha256.New, k.private.Seed(), nil, "keelson/hide/"+domain, 32)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// Hide encrypts what is kept in the database and has to be read again, as "<key id>:<base64>". about is what the secret
// belongs to: moved to another row it cannot be read.
func (k *Key) Hide(domain, about string, plain []byte) (string, error) {
	b, err := k.box(domain)
	if err != nil {
		return "", fmt.Errorf("hide a secret: %w", err)
	}
	nonce := make([]byte, b.NonceSize())
	if _, err := rand.Read(nonce); err != nil {
		return "", fmt.Errorf("hide a secret: %w", err)
	}
	return k.public.ID + ":" + base64.StdEncoding.EncodeToString(b.Seal(nonce, nonce, plain, []byte(about))), nil
}

// Reveal decrypts what Hide made; it fails with ErrHidden for another key, domain or subject, or when a byte was changed.
func (k *Key) Reveal(domain, about, hidden string) ([]byte, error) {
	id, text, _ := strings.Cut(hidden, ":")
	raw, err := base64.StdEncoding.DecodeString(text)
	if err != nil || id != k.public.ID {
		return nil, fmt.Errorf("%w: it was made with another one", ErrHidden)
	}
	b, err := k.box(domain)
	if err != nil || len(raw) < b.NonceSize() {
		return nil, ErrHidden
	}
	plain, err := b.Open(nil, raw[:b.NonceSize()], raw[b.NonceSize():], []byte(about))
	if err != nil {
		return nil, ErrHidden
	}
	return plain, nil
}
