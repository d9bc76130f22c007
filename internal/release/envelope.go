package release

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"

	"keelson/internal/problem"
	"keelson/internal/seal"
)

// envelope is the stored form. Key repeats the key's id for readers that choose among keys.
type envelope struct {
	Payload   string `json:"payload"`
	Signature string `json:"signature"`
	Key       string `json:"key"`
}

// Sign checks d and gives its envelope.
func Sign(key *seal.Key, d Document) (string, error) {
	if err := d.Check(); err != nil {
		return "", err
	}
	payload, err := d.Payload()
	if err != nil {
		return "", err
	}
	out, err := Canonical(envelope{
		Payload:   base64.StdEncoding.EncodeToString(payload),
		Signature: key.Sign(Domain, payload),
		Key:       key.Public().ID,
	})
	if err == nil && len(out) > MaxEnvelope {
		return "", problem.New(problem.TooLarge, "The release of %s takes %d bytes; the limit is %d.", d.Endpoint, len(out), MaxEnvelope)
	}
	return string(out), err
}

// Open verifies the envelope with pub, then reads and checks the document in it. It does not look at the time or the
// serial: the reader asks Expired and Supersedes. Every failure is a problem.Conflict whose sentence fits an incident.
func Open(pub seal.Public, text []byte) (Document, error) {
	var d Document
	if len(text) > MaxEnvelope {
		return d, refuse("it has %d bytes and the limit is %d", len(text), MaxEnvelope)
	}
	var e envelope
	if err := strict(text, &e); err != nil {
		return d, refuse("it is no envelope").Because(err)
	}
	payload, err := base64.StdEncoding.Strict().DecodeString(e.Payload)
	if err != nil {
		return d, refuse("its payload is not base64").Because(err)
	}
	if err := pub.Verify(Domain, payload, e.Signature); err != nil {
		return d, refuse("its signature does not match its content").Because(err)
	}
	if err := strict(payload, &d); err != nil {
		return Document{}, refuse("its payload is no release document").Because(err)
	}
	if err := d.Check(); err != nil {
		return Document{}, refuse("it breaks a rule of releases").Because(err)
	}
	return d, nil
}

func refuse(format string, a ...any) *problem.Error {
	return problem.New(problem.Conflict, "The release is refused because %s.", fmt.Sprintf(format, a...))
}

// strict decodes one JSON value with no unknown field and nothing behind it.
func strict(text []byte, v any) error {
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		return err
	}
	if _, err := dec.Token(); err != io.EOF {
		return fmt.Errorf("something follows the document")
	}
	return nil
}
