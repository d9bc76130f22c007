package seal

import (
	"bytes"
	"errors"
	"strings"
	"testing"
)

func TestAHiddenSecretIsReadWithItsKeyDomainAndSubjectOnly(t *testing.T) {
	k, other := FromSeed(bytes.Repeat([]byte{1}, 32)), FromSeed(bytes.Repeat([]byte{2}, 32))
	hidden, err := k.Hide("webhook", "w1", []byte("whsec_abc"))
	if err != nil || strings.Contains(hidden, "whsec") {
		t.Fatalf("%s %v", hidden, err)
	}
	if again, _ := k.Hide("webhook", "w1", []byte("whsec_abc")); again == hidden {
		t.Error("the same secret is hidden twice in the same way")
	}
	for _, c := range []struct {
		name                  string
		key                   *Key
		domain, about, hidden string
		want                  bool
	}{
		{"as it was hidden", k, "webhook", "w1", hidden, true},
		{"with another key", other, "webhook", "w1", hidden, false},
		{"for another domain", k, "alert", "w1", hidden, false},
		{"moved to another row", k, "webhook", "w2", hidden, false},
		{"cut", k, "webhook", "w1", hidden[:len(hidden)-8], false},
		{"changed", k, "webhook", "w1", hidden[:len(hidden)-6] + "AAAA" + hidden[len(hidden)-2:], false},
		{"empty", k, "webhook", "w1", "", false},
		{"only the key's name", k, "webhook", "w1", k.Public().ID + ":", false},
	} {
		plain, err := c.key.Reveal(c.domain, c.about, c.hidden)
		if c.want && (err != nil || string(plain) != "whsec_abc") || !c.want && !errors.Is(err, ErrHidden) {
			t.Errorf("%s: %q %v", c.name, plain, err)
		}
	}
}
