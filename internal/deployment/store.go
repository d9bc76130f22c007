package deployment

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"keelson/internal/approval"
	"keelson/internal/db"
	"keelson/internal/release"
	"keelson/internal/seal"
)

// domain of the seals of deployments.
const domain = "keelson/deployment/v1"

// store is the SQL of deployments and releases.
type store struct{ key *seal.Key }

// found is a deployment as it was read. Broken says what did not fit; Lost that neither its record nor its newest
// release can be trusted, so that only a newly approved deployment replaces it.
type found struct {
	Deployment
	Broken string
	Lost   bool
	asked  string // the author of the request that is being executed
}

type raw struct {
	endpoint, environment, model, state, doc, seal string
	serial                                         int64
}

const columns = "endpoint, environment, model, state, serial, doc, seal"

func (r *raw) scan(scan func(...any) error) error {
	return scan(&r.endpoint, &r.environment, &r.model, &r.state, &r.serial, &r.doc, &r.seal)
}

// get reads the deployment of an endpoint; ok is false where there is none and never was a release.
func (s store) get(tx db.Scope, endpoint string) (f found, ok bool, err error) {
	var r raw
	err = r.scan(tx.QueryRow("SELECT "+columns+" FROM deployment WHERE workspace = $1 AND endpoint = $2", tx.Workspace, endpoint).Scan)
	if errors.Is(err, db.ErrNoRows) {
		r.endpoint, err = endpoint, nil
		f, err = s.verify(tx, r, true)
		return f, f.Broken != "", err
	}
	if err != nil {
		return f, false, err
	}
	f, err = s.verify(tx, r, false)
	return f, true, err
}

func (s store) list(tx db.Scope, model, after string, limit int) (out []found, err error) {
	var rows []raw
	err = tx.Each("SELECT "+columns+" FROM deployment WHERE workspace = $1 AND (model = $2 OR $2 = '') AND endpoint > $3 ORDER BY endpoint LIMIT $4",
		[]any{tx.Workspace, model, after, limit}, func(scan func(...any) error) error {
			var r raw
			err := r.scan(scan)
			rows = append(rows, r)
			return err
		})
	if err != nil {
		return nil, fmt.Errorf("list deployments: %w", err)
	}
	for _, r := range rows {
		f, err := s.verify(tx, r, false)
		if err != nil {
			return nil, err
		}
		out = append(out, f)
	}
	return out, nil
}

// verify holds the record against its seal, its columns and the newest release.
func (s store) verify(tx db.Scope, r raw, missing bool) (f found, err error) {
	newest, top, why, err := s.newest(tx, r.endpoint)
	if err != nil {
		return f, err
	}
	if missing && top == 0 {
		return f, nil
	}
	var d Deployment
	sealOK := !missing && s.key.Public().Verify(domain, []byte(r.doc), r.seal) == nil && json.Unmarshal([]byte(r.doc), &d) == nil &&
		d.Workspace == tx.Workspace && d.Endpoint == r.endpoint
	switch {
	case sealOK && newest == nil:
		f.Deployment, f.Broken = d, cmp.Or(why, "its releases are gone")
	case sealOK && newest.Serial > d.Serial:
		// A genuine release is newer than the record: the record was put back.
		f.Broken = fmt.Sprintf("its record is older than its release %d", newest.Serial)
		f.Deployment = restored(d.ID, *newest, s.plan(tx, newest.Request))
	case sealOK:
		f.Deployment = d
		if why != "" {
			f.Broken = why
		} else if newest.Serial < d.Serial {
			f.Broken = fmt.Sprintf("release %d is gone; the newest is %d", d.Serial, newest.Serial)
		} else if !same(d, *newest) {
			f.Broken = fmt.Sprintf("its record does not fit its release %d", newest.Serial)
		} else if r.environment != d.Environment || r.model != d.Model || r.state != d.State || r.serial != d.Serial {
			f.Broken = "the columns of its row do not fit its record"
		}
	case newest != nil:
		f.Broken = "the seal of its record does not fit"
		if missing {
			f.Broken = "its record is gone"
		}
		f.Deployment = restored(db.NewID(), *newest, s.plan(tx, newest.Request))
	default:
		f.Deployment = Deployment{Workspace: tx.Workspace, Endpoint: r.endpoint, Environment: r.environment, Model: r.model, State: r.state}
		f.Broken, f.Lost = "neither the seal of its record nor a signature of its releases fits", true
	}
	return f, nil
}

// same says whether the release tells what the record tells: the same state and the same versions with the same shares.
func same(d Deployment, doc release.Document) bool {
	want := d.document(doc.IssuedAt)
	if want.State != doc.State || (want.Previous == nil) != (doc.Previous == nil) || want.Previous != nil && !equal(*want.Previous, *doc.Previous) {
		return false
	}
	return slices.EqualFunc(want.Slots, doc.Slots, equal)
}

func equal(a, b release.Slot) bool {
	return a.Version == b.Version && a.ArtifactDigest == b.ArtifactDigest && a.Kind == b.Kind && a.Share == b.Share && slices.Equal(a.Files, b.Files)
}

// plan reads the approved plan of a request, nil when it cannot be trusted.
func (s store) plan(tx db.Scope, request string) *approval.Plan {
	r, err := approval.Read(tx, s.key.Public(), request)
	if err != nil || r.Broken != "" {
		return nil
	}
	return &r.Plan
}

// maxLooked bounds how many rows of one endpoint are tried for a signature that holds.
const maxLooked = 10_000

type releaseRow struct {
	serial   int64
	envelope string
}

// above reads up to limit releases of an endpoint with a serial in (low, high), largest first.
func (s store) above(tx db.Scope, endpoint string, low, high int64, limit int) (out []releaseRow, err error) {
	err = tx.Each("SELECT serial, envelope FROM release WHERE workspace = $1 AND endpoint = $2 AND serial > $3 AND serial < $4 ORDER BY serial DESC LIMIT $5",
		[]any{tx.Workspace, endpoint, low, high, limit}, func(scan func(...any) error) error {
			var r releaseRow
			err := scan(&r.serial, &r.envelope)
			out = append(out, r)
			return err
		})
	if err != nil {
		return nil, fmt.Errorf("read releases of %s: %w", endpoint, err)
	}
	return out, nil
}

// newest gives the release with the largest serial whose signature holds, the largest serial in the table, and why that
// one was passed over if it was.
func (s store) newest(tx db.Scope, endpoint string) (doc *release.Document, top int64, why string, err error) {
	for high, looked := int64(math.MaxInt64), 0; looked < maxLooked; {
		rows, err := s.above(tx, endpoint, math.MinInt64, high, 50)
		if err != nil || len(rows) == 0 {
			return nil, top, why, err
		}
		for _, r := range rows {
			top, high = max(top, r.serial), r.serial
			d, err := s.open(tx, endpoint, r.serial, r.envelope)
			if err == nil {
				return &d, top, why, nil
			}
			if why == "" {
				why = fmt.Sprintf("release %d: %v", r.serial, err)
			}
		}
		looked += len(rows)
	}
	return nil, top, why, nil
}

// clean removes rows above serial that are no releases of ours, so that the next one is the newest again. It gives the
// serials and digests of what it removed.
func (s store) clean(tx db.Scope, endpoint string, serial int64) (removed []string, err error) {
	rows, err := s.above(tx, endpoint, serial, math.MaxInt64, maxLooked)
	if err != nil {
		return nil, err
	}
	for _, r := range rows {
		if _, err := s.open(tx, endpoint, r.serial, r.envelope); err == nil {
			continue
		}
		if _, err := tx.Exec("DELETE FROM release WHERE workspace = $1 AND endpoint = $2 AND serial = $3", tx.Workspace, endpoint, r.serial); err != nil {
			return nil, err
		}
		removed = append(removed, fmt.Sprintf("%d %s", r.serial, release.Digest([]byte(r.envelope))))
	}
	return removed, nil
}

func (s store) open(tx db.Scope, endpoint string, serial int64, envelope string) (release.Document, error) {
	d, err := release.Open(s.key.Public(), []byte(envelope))
	if err == nil && (d.Serial != serial || d.Endpoint != endpoint || d.Workspace != tx.Workspace) {
		err = fmt.Errorf("the row holds release %d of %s", d.Serial, d.Endpoint)
	}
	return d, err
}

// put stores d as it is, without a new release.
func (s store) put(tx db.Scope, d Deployment) error {
	doc, err := release.Canonical(d)
	if err != nil {
		return err
	}
	_, err = tx.Exec(`INSERT INTO deployment (workspace, endpoint, environment, model, state, serial, doc, seal) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
		ON CONFLICT (workspace, endpoint) DO UPDATE SET environment = EXCLUDED.environment, model = EXCLUDED.model, state = EXCLUDED.state,
		serial = EXCLUDED.serial, doc = EXCLUDED.doc, seal = EXCLUDED.seal`,
		tx.Workspace, d.Endpoint, d.Environment, d.Model, d.State, d.Serial, string(doc), s.key.Sign(domain, doc))
	return err
}

// issue signs the next release of d and stores both.
func (s store) issue(tx db.Scope, d *Deployment, now time.Time) (digest string, err error) {
	d.Serial++
	doc := d.document(now)
	d.ExpiresAt, d.UpdatedAt = doc.ExpiresAt, now
	envelope, err := release.Sign(s.key, doc)
	if err != nil {
		return "", fmt.Errorf("sign release %d of %s: %w", d.Serial, d.Endpoint, err)
	}
	if _, err := tx.Exec("INSERT INTO release (workspace, endpoint, serial, envelope, issued_at) VALUES ($1, $2, $3, $4, $5)",
		tx.Workspace, d.Endpoint, d.Serial, envelope, db.Micros(now)); err != nil {
		return "", err
	}
	return release.Digest([]byte(envelope)), s.put(tx, *d)
}

// Envelope is a release as stored, for serving.
type Envelope struct {
	Workspace, Endpoint string
	Serial              int64
	Text                string
}

// selectNewest reads the $1 newest rows of every endpoint. The table is never shortened and this is asked every few
// seconds, so it steps from one key to the next, workspaces (w), endpoints (e) and serials (s), each by one look into the
// primary key: its cost grows with the endpoints and not with their history. A join would leave the way to the planner.
const selectNewest = `WITH RECURSIVE
	w(workspace) AS (
		SELECT MIN(workspace) FROM release
		UNION ALL SELECT (SELECT MIN(r.workspace) FROM release r WHERE r.workspace > w.workspace) FROM w WHERE w.workspace IS NOT NULL),
	e(workspace, endpoint) AS (
		SELECT w.workspace, (SELECT MIN(r.endpoint) FROM release r WHERE r.workspace = w.workspace) FROM w WHERE w.workspace IS NOT NULL
		UNION ALL SELECT e.workspace, (SELECT MIN(r.endpoint) FROM release r WHERE r.workspace = e.workspace AND r.endpoint > e.endpoint) FROM e WHERE e.endpoint IS NOT NULL),
	s(workspace, endpoint, serial, place) AS (
		SELECT e.workspace, e.endpoint, (SELECT MAX(r.serial) FROM release r WHERE r.workspace = e.workspace AND r.endpoint = e.endpoint), 1 FROM e WHERE e.endpoint IS NOT NULL
		UNION ALL SELECT s.workspace, s.endpoint, (SELECT MAX(r.serial) FROM release r WHERE r.workspace = s.workspace AND r.endpoint = s.endpoint AND r.serial < s.serial), s.place + 1
			FROM s WHERE s.serial IS NOT NULL AND s.place < $1)
	SELECT s.workspace, s.endpoint, s.serial, (SELECT r.envelope FROM release r WHERE r.workspace = s.workspace AND r.endpoint = s.endpoint AND r.serial = s.serial) FROM s
	WHERE s.serial IS NOT NULL ORDER BY s.workspace, s.endpoint, s.serial DESC`

// envelopes reads the newest releases of every endpoint of all workspaces, newest first per endpoint: a row that does
// not verify must not hide the one below it.
func (s store) envelopes(tx db.Scope, perEndpoint int) (out []Envelope, err error) {
	err = tx.Each(selectNewest, []any{perEndpoint}, func(scan func(...any) error) error {
		var e Envelope
		err := scan(&e.Workspace, &e.Endpoint, &e.Serial, &e.Text)
		out = append(out, e)
		return err
	})
	return out, err
}

// everywhere lists the endpoints of all workspaces that are not retired.
func (s store) everywhere(tx db.Scope, state string) (out []Envelope, err error) {
	err = tx.Each("SELECT workspace, endpoint FROM deployment WHERE workspace <> '' AND (state = $1 OR $1 = '') ORDER BY workspace, endpoint", []any{state},
		func(scan func(...any) error) error {
			var e Envelope
			err := scan(&e.Workspace, &e.Endpoint)
			out = append(out, e)
			return err
		})
	return out, err
}

// Release is one signed release in a view.
type Release struct {
	Serial    int64     `json:"serial"`
	State     string    `json:"state"`
	Slots     []Slot    `json:"slots"`
	Request   string    `json:"request"`
	IssuedAt  time.Time `json:"issued_at"`
	ExpiresAt time.Time `json:"expires_at"`
	Signed    bool      `json:"signed" doc:"false when its signature does not fit"`
}

func (s store) releases(tx db.Scope, endpoint string, limit int) (out []Release, err error) {
	out = []Release{}
	err = tx.Each("SELECT serial, envelope, issued_at FROM release WHERE workspace = $1 AND endpoint = $2 ORDER BY serial DESC LIMIT $3",
		[]any{tx.Workspace, endpoint, limit}, func(scan func(...any) error) error {
			var r Release
			var text string
			var at int64
			if err := scan(&r.Serial, &text, &at); err != nil {
				return err
			}
			r.IssuedAt, r.Slots = db.Time(at), []Slot{}
			if d, err := s.open(tx, endpoint, r.Serial, text); err == nil {
				r.State, r.Request, r.IssuedAt, r.ExpiresAt, r.Signed = d.State, d.Request, d.IssuedAt, d.ExpiresAt, true
				r.Slots = brief(d.Slots)
			}
			out = append(out, r)
			return nil
		})
	return out, err
}
