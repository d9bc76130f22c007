package seal_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"keelson/internal/seal"
)

func TestASignatureHoldsForItsDocumentDomainAndKeyOnly(t *testing.T) {
	file := filepath.Join(t.TempDir(), "keys", "release.key")
	k, err := seal.Load(file)
	if err != nil {
		t.Fatal(err)
	}
	again, err := seal.Load(file)
	if err != nil || again.Public().ID != k.Public().ID {
		t.Fatalf("the key changed between two loads: %v", err)
	}
	if info, _ := os.Stat(file); info.Mode().Perm() != 0o600 {
		t.Fatalf("the key file is readable by others: %s", info.Mode())
	}
	other, _ := seal.Load(filepath.Join(t.TempDir(), "other.key"))
	sig := k.Sign("vote", []byte("yes"))
	for name, c := range map[string]struct {
		pub         seal.Public
		domain, doc string
		sig         string
		forged      bool
	}{
		"as signed":        {k.Public(), "vote", "yes", sig, false},
		"another document": {k.Public(), "vote", "no", sig, true},
		"another domain":   {k.Public(), "release", "yes", sig, true},
		"another key":      {other.Public(), "vote", "yes", sig, true},
		"no signature":     {k.Public(), "vote", "yes", "", true},
		"cut short":        {k.Public(), "vote", "yes", sig[:len(sig)-4], true},
	} {
		if err := c.pub.Verify(c.domain, []byte(c.doc), c.sig); errors.Is(err, seal.ErrForged) != c.forged {
			t.Errorf("%s: %v", name, err)
		}
	}
	p, err := seal.ParsePublic(k.Public().String())
	if err != nil || p.Verify("vote", []byte("yes"), sig) != nil {
		t.Fatalf("the printed public key does not verify: %v", err)
	}
}

func TestABrokenKeyFileIsNotReplaced(t *testing.T) {
	file := filepath.Join(t.TempDir(), "release.key")
	if err := os.WriteFile(file, []byte("garbage"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := seal.Load(file); err == nil {
		t.Fatal("a broken key was accepted")
	}
	if b, _ := os.ReadFile(file); string(b) != "garbage" {
		t.Fatal("the broken key was overwritten")
	}
}
