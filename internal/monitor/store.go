package monitor

import (
	"database/sql"
	"errors"
	"time"

	"keelson/internal/dataset"
	"keelson/internal/db"
	"keelson/internal/problem"
)

// settings is the part of a monitor that is stored as a document.
type settings struct {
	Reference dataset.Ref `json:"reference"`
	Pinned    bool        `json:"pinned"`
	Window    Window      `json:"window"`
	Limits    Limits      `json:"limits"`
	Features  []string    `json:"features"`
	Plan
	OnBreach *OnBreach `json:"on_breach"`
}

// progress is how far a monitor has come.
type progress struct {
	generation    int64
	low, outcomes string
}

// versionState is what is kept of one version at an endpoint.
type versionState struct {
	ref      dataset.Ref
	place    string
	baseline baseline
	pace     pace // as the window before place was closed

	estimator *estimator // nil until one is learnt
	// In memory: what was learnt of the reference's rows, of which reference, for windows of how many rows.
	together *together
	parts    *parts // of the reference: its segments and embeddings
	usual    map[string]usual
	learnt   dataset.Ref
	chunk    int
	// asked says that since the look began nobody knew data to learn an estimate from.
	asked bool
}

// baseline is what was learned from the version's own traffic.
type baseline struct {
	Inputs    *profile   `json:"inputs,omitempty"` // only where the training data is not known
	Outputs   *profile   `json:"outputs,omitempty"`
	Yardstick *yardstick `json:"yardstick,omitempty"`
	Window    string     `json:"window,omitempty"` // the first quiet window, whose rows segments and outputs are compared with
}

const monitorColumns = "endpoint, model, version, config, created_at, updated_at, generation, low, outcomes"

func scanMonitor(scan func(...any) error) (m Monitor, p progress, err error) {
	var config string
	var created, updated int64
	if err = scan(&m.Endpoint, &m.Model, &m.Version, &config, &created, &updated, &p.generation, &p.low, &p.outcomes); err != nil {
		return m, p, err
	}
	var s settings
	err = db.FromJSON(config, &s)
	m.Reference, m.Pinned, m.Window, m.Limits, m.Features, m.Plan, m.OnBreach = s.Reference, s.Pinned, s.Window, s.Limits, s.Features, s.Plan, s.OnBreach
	m.CreatedAt, m.UpdatedAt = db.Time(created), db.Time(updated)
	m.fill()
	return m, p, err
}

// get reads a monitor; NotFound when there is none.
func get(tx db.Scope, endpoint string) (Monitor, progress, error) {
	m, p, err := scanMonitor(tx.QueryRow("SELECT "+monitorColumns+" FROM monitor WHERE workspace = $1 AND endpoint = $2", tx.Workspace, endpoint).Scan)
	if errors.Is(err, sql.ErrNoRows) {
		return m, p, problem.New(problem.NotFound, "Nothing watches the endpoint %q; make a monitor with: keelson monitor set %s.", endpoint, endpoint)
	}
	return m, p, err
}

// states reads what is kept of the versions.
func states(tx db.Scope, endpoint string) (map[int]*versionState, error) {
	out := map[int]*versionState{}
	err := tx.Each("SELECT version, dataset, revision, place, baseline, spent, spent_at FROM monitor_version WHERE workspace = $1 AND endpoint = $2",
		[]any{tx.Workspace, endpoint}, func(scan func(...any) error) error {
			var n int
			var base string
			var spent, at int64
			v := &versionState{}
			if err := scan(&n, &v.ref.Dataset, &v.ref.Version, &v.place, &base, &spent, &at); err != nil {
				return err
			}
			v.pace = pace{time.Duration(spent) * time.Microsecond, db.Time(at)}
			out[n] = v
			return db.FromJSON(base, &v.baseline)
		})
	if err != nil {
		return nil, err
	}
	return out, tx.Each("SELECT version, document FROM monitor_estimator WHERE workspace = $1 AND endpoint = $2", []any{tx.Workspace, endpoint}, func(scan func(...any) error) error {
		var n int
		var text string
		if err := scan(&n, &text); err != nil || out[n] == nil {
			return err
		}
		out[n].estimator = &estimator{}
		return db.FromJSON(text, out[n].estimator)
	})
}

// putEstimator stores what the result of a version is estimated from; an older one gives way.
func putEstimator(tx db.Scope, endpoint string, version int, e *estimator, at time.Time) error {
	_, err := tx.Exec(`INSERT INTO monitor_estimator (workspace, endpoint, version, document, created_at) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (workspace, endpoint, version) DO UPDATE SET document = excluded.document, created_at = excluded.created_at`,
		tx.Workspace, endpoint, version, db.ToJSON(e), db.Micros(at))
	return err
}

// list reads up to limit monitors by endpoint; a model narrows it.
func list(tx db.Scope, model, after string, limit int) (out []Monitor, err error) {
	q, args := "SELECT "+monitorColumns+" FROM monitor WHERE workspace = $1 AND endpoint > $2", []any{tx.Workspace, after, limit}
	if model != "" {
		q, args = q+" AND model = $4", append(args, model)
	}
	err = tx.Each(q+" ORDER BY endpoint LIMIT $3", args, func(scan func(...any) error) error {
		m, _, err := scanMonitor(scan)
		out = append(out, m)
		return err
	})
	return out, err
}

// put stores a monitor and makes workers start over from what is stored.
func put(tx db.Scope, m Monitor) error {
	config := db.ToJSON(settings{m.Reference, m.Pinned, m.Window, m.Limits, m.Features, m.Plan, m.OnBreach})
	_, err := tx.Exec(`INSERT INTO monitor (workspace, endpoint, model, version, config, generation, low, outcomes, created_at, updated_at)
		VALUES ($1, $2, $3, $4, $5, 1, '', '', $6, $7)
		ON CONFLICT (workspace, endpoint) DO UPDATE SET model = excluded.model, version = excluded.version, config = excluded.config,
			generation = monitor.generation + 1, updated_at = excluded.updated_at`,
		tx.Workspace, m.Endpoint, m.Model, m.Version, config, db.Micros(m.CreatedAt), db.Micros(m.UpdatedAt))
	return err
}

// putVersion keeps a version's reference; what is known of its traffic stays.
func putVersion(tx db.Scope, endpoint string, version int, ref dataset.Ref) error {
	_, err := tx.Exec(`INSERT INTO monitor_version (workspace, endpoint, version, dataset, revision, place, baseline)
		VALUES ($1, $2, $3, $4, $5, '', '{}')
		ON CONFLICT (workspace, endpoint, version) DO UPDATE SET dataset = excluded.dataset, revision = excluded.revision`,
		tx.Workspace, endpoint, version, ref.Dataset, ref.Version)
	return err
}

// advance moves a version's place in the log and keeps its pace; false when somebody else has moved it.
func advance(tx db.Scope, endpoint string, version int, from, to string, p pace) (bool, error) {
	done, err := tx.Exec("UPDATE monitor_version SET place = $5, spent = $6, spent_at = $7 WHERE workspace = $1 AND endpoint = $2 AND version = $3 AND place = $4",
		tx.Workspace, endpoint, version, from, to, p.spent.Microseconds(), db.Micros(p.at))
	if err != nil {
		return false, err
	}
	n, err := done.RowsAffected()
	return n == 1, err
}

func setBaseline(tx db.Scope, endpoint string, version int, b baseline) error {
	_, err := tx.Exec("UPDATE monitor_version SET baseline = $4 WHERE workspace = $1 AND endpoint = $2 AND version = $3",
		tx.Workspace, endpoint, version, db.ToJSON(b))
	return err
}

func setLow(tx db.Scope, endpoint, low string) error {
	_, err := tx.Exec("UPDATE monitor SET low = $3 WHERE workspace = $1 AND endpoint = $2", tx.Workspace, endpoint, low)
	return err
}

func setOutcomes(tx db.Scope, endpoint, place string) error {
	_, err := tx.Exec("UPDATE monitor SET outcomes = $3 WHERE workspace = $1 AND endpoint = $2", tx.Workspace, endpoint, place)
	return err
}

// storedProfile reads the profile of a data version; nil when it was not made yet.
func storedProfile(tx db.Scope, ref dataset.Ref) (*profile, error) {
	var text string
	err := tx.QueryRow("SELECT profile FROM monitor_profile WHERE workspace = $1 AND dataset = $2 AND revision = $3 AND format = $4", tx.Workspace, ref.Dataset, ref.Version, profileFormat).Scan(&text)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	p := &profile{}
	return p, db.FromJSON(text, p)
}

func storeProfile(tx db.Scope, ref dataset.Ref, p *profile, at int64) error {
	_, err := tx.Exec(`INSERT INTO monitor_profile (workspace, dataset, revision, profile, created_at, format) VALUES ($1, $2, $3, $4, $5, $6)
		ON CONFLICT (workspace, dataset, revision) DO UPDATE SET profile = excluded.profile, created_at = excluded.created_at, format = excluded.format`,
		tx.Workspace, ref.Dataset, ref.Version, db.ToJSON(p), at, profileFormat)
	return err
}

// summary is the part of a window that lists show.
type summary struct {
	Features    []Feature `json:"features"`
	Predictions []Feature `json:"predictions"`
}

// pictures are the histograms of a window, in the order of its features and predictions.
type pictures struct {
	Features    []*Histogram `json:"features"`
	Predictions []*Histogram `json:"predictions"`
}

func (r *Result) split() (summary, pictures) {
	strip := func(all []Feature) (out []Feature, pics []*Histogram) {
		out = make([]Feature, len(all))
		for i, f := range all {
			pics = append(pics, f.Histogram)
			f.Histogram = nil
			out[i] = f
		}
		return out, pics
	}
	var s summary
	var p pictures
	s.Features, p.Features = strip(r.Features)
	s.Predictions, p.Predictions = strip(r.Predictions)
	return s, p
}

func insertWindow(tx db.Scope, r *Result) error {
	s, p := r.split()
	_, err := tx.Exec(`INSERT INTO monitor_window (workspace, id, endpoint, model, version, from_at, to_at, rows, first, last, place, until, dataset, revision,
			breached, verdict, causes, reasons, summary, histograms, performance, created_at, findings)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23)`,
		tx.Workspace, r.ID, r.Endpoint, r.Model, r.Version, db.Micros(r.From), db.Micros(r.To), r.Rows, r.First, r.Last, r.after, r.until, r.Reference.Dataset, r.Reference.Version,
		db.Bit(r.Breached), r.Verdict, db.ToJSON(r.Causes), db.ToJSON(r.Reasons), db.ToJSON(s), db.ToJSON(p), db.ToJSON(r.Performance), db.Micros(r.CreatedAt), db.ToJSON(r.Findings))
	return err
}

// updateWindow stores what outcomes changed.
func updateWindow(tx db.Scope, r *Result) error {
	_, err := tx.Exec("UPDATE monitor_window SET breached = $3, verdict = $4, causes = $5, reasons = $6, performance = $7, findings = $8 WHERE workspace = $1 AND id = $2",
		tx.Workspace, r.ID, db.Bit(r.Breached), r.Verdict, db.ToJSON(r.Causes), db.ToJSON(r.Reasons), db.ToJSON(r.Performance), db.ToJSON(r.Findings))
	return err
}

const briefColumns = "id, endpoint, model, version, from_at, to_at, rows, first, last, place, until, dataset, revision, breached, verdict, causes, reasons, performance, created_at, findings"

const windowColumns = briefColumns + ", summary"

// scanBrief reads a window without its features, which is all that a verdict needs.
func scanBrief(scan func(...any) error, more ...any) (r Result, err error) {
	var from, to, created int64
	var breached int
	var causes, reasons, performance, findings string
	err = scan(append([]any{&r.ID, &r.Endpoint, &r.Model, &r.Version, &from, &to, &r.Rows, &r.First, &r.Last, &r.after, &r.until, &r.Reference.Dataset, &r.Reference.Version,
		&breached, &r.Verdict, &causes, &reasons, &performance, &created, &findings}, more...)...)
	if err != nil {
		return r, err
	}
	r.From, r.To, r.CreatedAt, r.Breached = db.Time(from), db.Time(to), db.Time(created), breached != 0
	return r, errors.Join(db.FromJSON(causes, &r.Causes), db.FromJSON(reasons, &r.Reasons), db.FromJSON(performance, &r.Performance), db.FromJSON(findings, &r.Findings))
}

func scanWindow(scan func(...any) error, more ...any) (r Result, err error) {
	var text string
	if r, err = scanBrief(scan, append([]any{&text}, more...)...); err != nil {
		return r, err
	}
	var s summary
	err = db.FromJSON(text, &s)
	r.Features, r.Predictions = s.Features, s.Predictions
	return r, err
}

// anyVersion asks windows for those of every version.
const anyVersion = -1

// windows reads up to limit windows of an endpoint, newest first, below an id; a version narrows it unless it is anyVersion.
func windows(tx db.Scope, endpoint string, version int, below string, limit int) (out []Result, err error) {
	err = newest(tx, windowColumns, endpoint, version, below, limit, func(scan func(...any) error) error {
		r, err := scanWindow(scan)
		out = append(out, r)
		return err
	})
	return out, err
}

// brief is windows without their features.
func brief(tx db.Scope, endpoint string, version int, below string, limit int) (out []Result, err error) {
	err = newest(tx, briefColumns, endpoint, version, below, limit, func(scan func(...any) error) error {
		r, err := scanBrief(scan)
		out = append(out, r)
		return err
	})
	return out, err
}

func newest(tx db.Scope, columns, endpoint string, version int, below string, limit int, each func(func(...any) error) error) error {
	q, args := "SELECT "+columns+" FROM monitor_window WHERE workspace = $1 AND endpoint = $2", []any{tx.Workspace, endpoint, limit}
	if below != "" {
		q, args = q+" AND id < $4", append(args, below)
	}
	if version != anyVersion {
		args = append(args, version)
		q += map[int]string{4: " AND version = $4", 5: " AND version = $5"}[len(args)]
	}
	return tx.Each(q+" ORDER BY id DESC LIMIT $3", args, each)
}

// windowOnly reads one window; NotFound when there is none.
func windowOnly(tx db.Scope, endpoint, id string) (Result, error) {
	return oneWindow(tx, windowColumns, endpoint, id)
}

func oneWindow(tx db.Scope, columns, endpoint, id string, more ...any) (Result, error) {
	r, err := scanWindow(tx.QueryRow("SELECT "+columns+" FROM monitor_window WHERE workspace = $1 AND endpoint = $2 AND id = $3", tx.Workspace, endpoint, id).Scan, more...)
	if errors.Is(err, sql.ErrNoRows) {
		return r, problem.New(problem.NotFound, "The monitor of %q has no window %q.", endpoint, id)
	}
	return r, err
}

// window is windowOnly with the histograms.
func window(tx db.Scope, endpoint, id string) (Result, error) {
	var text string
	r, err := oneWindow(tx, windowColumns+", histograms", endpoint, id, &text)
	if err != nil {
		return r, err
	}
	var p pictures
	err = db.FromJSON(text, &p)
	for i := range r.Features {
		if i < len(p.Features) {
			r.Features[i].Histogram = p.Features[i]
		}
	}
	for i := range r.Predictions {
		if i < len(p.Predictions) {
			r.Predictions[i].Histogram = p.Predictions[i]
		}
	}
	return r, err
}

// holding reads the windows that a prediction may be in, without their features.
func holding(tx db.Scope, endpoint, prediction string) (out []Result, err error) {
	err = tx.Each("SELECT "+briefColumns+" FROM monitor_window WHERE workspace = $1 AND endpoint = $2 AND first <= $3 AND last >= $3 ORDER BY id",
		[]any{tx.Workspace, endpoint, prediction}, func(scan func(...any) error) error {
			r, err := scanBrief(scan)
			out = append(out, r)
			return err
		})
	return out, err
}

// everywhere lists the monitors of all workspaces, for the worker, which acts in each one's own.
func everywhere(tx db.Scope) (out [][2]string, err error) {
	err = tx.Each("SELECT workspace, endpoint FROM monitor ORDER BY workspace, endpoint", nil, func(scan func(...any) error) error {
		var at [2]string
		err := scan(&at[0], &at[1])
		out = append(out, at)
		return err
	})
	return out, err
}

// firstSeen makes a place for a version that nobody announced.
func firstSeen(tx db.Scope, endpoint string, version int) error {
	_, err := tx.Exec(`INSERT INTO monitor_version (workspace, endpoint, version, dataset, revision, place, baseline)
		VALUES ($1, $2, $3, '', 0, '', '{}') ON CONFLICT DO NOTHING`, tx.Workspace, endpoint, version)
	return err
}

// previous is the window of the same version before r, without its features; nil when r is its first.
func previous(tx db.Scope, endpoint string, r *Result) (*Result, error) {
	before, err := brief(tx, endpoint, r.Version, r.ID, 1)
	if err != nil || len(before) == 0 {
		return nil, err
	}
	return &before[0], nil
}
