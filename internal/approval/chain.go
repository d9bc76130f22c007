package approval

import (
	"encoding/json"
	"fmt"

	"keelson/internal/release"
	"keelson/internal/seal"
)

// Domains of the seals.
const (
	requestDomain = "keelson/approval-request/v1"
	actDomain     = "keelson/approval-act/v1"
	headDomain    = "keelson/approval-head/v1"
)

// sealed is a document as stored: its bytes and their signature.
type sealed struct{ doc, seal string }

func (s sealed) digest() string { return release.Digest([]byte(s.doc)) }

// head is signed anew with every act, so that acts cut off at the end are missed.
type head struct {
	Request string `json:"request"`
	Acts    int    `json:"acts"`
	Last    string `json:"last"` // digest of the last act, of the request when there is none
}

// record is a request as it lies in the database.
type record struct {
	request, head sealed
	acts          []sealed
}

func sign(key *seal.Key, domain string, v any) (sealed, error) {
	doc, err := release.Canonical(v)
	if err != nil {
		return sealed{}, err
	}
	return sealed{string(doc), key.Sign(domain, doc)}, nil
}

func open(pub seal.Public, domain string, s sealed, v any) error {
	if err := pub.Verify(domain, []byte(s.doc), s.seal); err != nil {
		return err
	}
	return json.Unmarshal([]byte(s.doc), v)
}

// start seals a new request.
func start(key *seal.Key, r Request) (record, error) {
	req, err := sign(key, requestDomain, r)
	if err != nil {
		return record{}, err
	}
	h, err := sign(key, headDomain, head{Request: r.ID, Last: req.digest()})
	return record{request: req, head: h}, err
}

// extend seals act a behind the last one and gives the new head.
func (rec record) extend(key *seal.Key, a *Act) (act, newHead sealed, err error) {
	a.Seq, a.Previous = len(rec.acts)+1, rec.request.digest()
	if n := len(rec.acts); n > 0 {
		a.Previous = rec.acts[n-1].digest()
	}
	if act, err = sign(key, actDomain, a); err != nil {
		return act, newHead, err
	}
	newHead, err = sign(key, headDomain, head{Request: a.Request, Acts: a.Seq, Last: act.digest()})
	return act, newHead, err
}

// read verifies the record of request id and gives the request with its acts. A record that does not verify comes back
// with Broken set to the reason in words, with what its own document says as far as that can be read.
func (rec record) read(pub seal.Public, workspace, id string) Request {
	var r Request
	if err := open(pub, requestDomain, rec.request, &r); err != nil {
		if json.Unmarshal([]byte(rec.request.doc), &r) != nil {
			r = Request{}
		}
		r.ID, r.Workspace, r.Broken = id, workspace, "the request's seal does not fit its content"
		return r
	}
	if r.ID != id || r.Workspace != workspace {
		r.ID, r.Workspace, r.Broken = id, workspace, "the row holds another request"
		return r
	}
	previous := rec.request.digest()
	for i, s := range rec.acts {
		var a Act
		if err := open(pub, actDomain, s, &a); err != nil {
			r.Broken = fmt.Sprintf("the seal of act %d does not fit its content", i+1)
			return r
		}
		if a.Request != id || a.Workspace != workspace || a.Seq != i+1 || a.Previous != previous {
			r.Broken = fmt.Sprintf("act %d does not follow the one before", i+1)
			return r
		}
		previous = s.digest()
		r.Acts = append(r.Acts, a)
	}
	var h head
	if err := open(pub, headDomain, rec.head, &h); err != nil {
		r.Broken = "the seal of its head does not fit"
		return r
	}
	if h.Request != id || h.Acts != len(rec.acts) || h.Last != previous {
		r.Broken = fmt.Sprintf("%d acts are there, but %d were recorded", len(rec.acts), h.Acts)
	}
	return r
}
