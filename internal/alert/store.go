package alert

import (
	"database/sql"
	"errors"
	"strconv"
	"time"

	"keelson/internal/db"
	"keelson/internal/problem"
)

const columns = `id, cause, endpoint, model, version, kind, feature, metric, value, threshold, first_window, last_window, windows, from_at, to_at,
	state, told_by, reason, silent_until, opened_at, updated_at, recovered_at, severity, owner, incident, escalate_at, doc`

func scanAlert(scan func(...any) error) (a Alert, err error) {
	var from, to, until, opened, updated, recovered, escalate int64
	var doc string
	err = scan(&a.ID, &a.cause, &a.Endpoint, &a.Model, &a.Version, &a.Kind, &a.Feature, &a.Metric, &a.Value, &a.Limit, &a.FirstWindow, &a.last, &a.Windows,
		&from, &to, &a.State, &a.By, &a.Reason, &until, &opened, &updated, &recovered,
		&a.Severity, &a.Owner, &a.Incident, &escalate, &doc)
	a.Window, a.From, a.To, a.OpenedAt, a.UpdatedAt = a.last, db.Time(from), db.Time(to), db.Time(opened), db.Time(updated)
	a.Until, a.RecoveredAt, a.EscalateAt = db.Moment(until), db.Moment(recovered), db.Moment(escalate)
	if err == nil {
		err = db.FromJSON(doc, &a.doc)
	}
	return a, err
}

// get reads an alert; NotFound when there is none.
func get(tx db.Scope, id string) (Alert, error) {
	a, err := scanAlert(tx.QueryRow("SELECT "+columns+" FROM alert WHERE workspace = $1 AND id = $2", tx.Workspace, id).Scan)
	if errors.Is(err, sql.ErrNoRows) {
		return a, problem.New(problem.NotFound, "There is no alert %q.", id)
	}
	return a, err
}

// newest reads the newest alert of a cause, active or not; false when there was none.
func newest(tx db.Scope, cause string) (Alert, bool, error) {
	a, err := scanAlert(tx.QueryRow("SELECT "+columns+" FROM alert WHERE workspace = $1 AND cause = $2 ORDER BY id DESC LIMIT 1", tx.Workspace, cause).Scan)
	if errors.Is(err, sql.ErrNoRows) {
		return a, false, nil
	}
	return a, err == nil, err
}

// filter narrows a list; empty fields do not.
type filter struct{ state, endpoint, model, kind, severity, incident string }

// list reads up to limit alerts, newest first, below an id.
func list(tx db.Scope, f filter, below string, limit int, now time.Time) (out []Alert, err error) {
	q, args := "SELECT "+columns+" FROM alert WHERE workspace = $1", []any{tx.Workspace, limit}
	and := func(text string, v any) {
		args = append(args, v)
		q += " AND " + text + "$" + strconv.Itoa(len(args))
	}
	switch f.state {
	case "": // nobody was told of what is pending
		and("state <> ", Pending)
	case "active":
		and("state <> ", Recovered)
		and("state <> ", Pending)
	case Open: // a silence that is over is open
		args = append(args, db.Micros(now))
		q += " AND (state = 'open' OR state = 'silenced' AND silent_until <= $" + strconv.Itoa(len(args)) + ")"
	case Silenced:
		and("state = ", Silenced)
		and("silent_until > ", db.Micros(now))
	default:
		and("state = ", f.state)
	}
	if f.endpoint != "" {
		and("endpoint = ", f.endpoint)
	}
	for column, v := range map[string]string{"model": f.model, "kind": f.kind, "severity": f.severity, "incident": f.incident} {
		if v != "" {
			and(column+" = ", v)
		}
	}
	if below != "" {
		and("id < ", below)
	}
	err = tx.Each(q+" ORDER BY id DESC LIMIT $2", args, func(scan func(...any) error) error {
		a, err := scanAlert(scan)
		a.show(now)
		out = append(out, a)
		return err
	})
	return out, err
}

// put stores an alert, new or not.
func put(tx db.Scope, a *Alert) error {
	_, err := tx.Exec(`INSERT INTO alert (workspace, `+columns+`)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24, $25, $26, $27, $28)
		ON CONFLICT (workspace, id) DO UPDATE SET model = excluded.model, version = excluded.version, feature = excluded.feature, metric = excluded.metric, value = excluded.value,
			threshold = excluded.threshold, first_window = excluded.first_window, last_window = excluded.last_window, windows = excluded.windows, from_at = excluded.from_at,
			to_at = excluded.to_at, state = excluded.state, told_by = excluded.told_by, reason = excluded.reason, silent_until = excluded.silent_until, opened_at = excluded.opened_at,
			updated_at = excluded.updated_at, recovered_at = excluded.recovered_at, severity = excluded.severity, owner = excluded.owner, incident = excluded.incident,
			escalate_at = excluded.escalate_at, doc = excluded.doc`,
		tx.Workspace, a.ID, a.cause, a.Endpoint, a.Model, a.Version, a.Kind, a.Feature, a.Metric, a.Value, a.Limit, a.FirstWindow, a.last, a.Windows, db.Micros(a.From), db.Micros(a.To),
		a.State, a.By, a.Reason, db.MomentMicros(a.Until), db.Micros(a.OpenedAt), db.Micros(a.UpdatedAt), db.MomentMicros(a.RecoveredAt), a.Severity, a.Owner, a.Incident, db.MomentMicros(a.EscalateAt), db.ToJSON(a.doc))
	return err
}

// drop forgets a pending alert.
func drop(tx db.Scope, id string) error {
	_, err := tx.Exec("DELETE FROM alert WHERE workspace = $1 AND id = $2 AND state = 'pending'", tx.Workspace, id)
	return err
}

// losing says whether an alert about the result of an endpoint is active.
func losing(tx db.Scope, endpoint string) (yes bool, err error) {
	var n int
	err = tx.QueryRow("SELECT COUNT(*) FROM alert WHERE workspace = $1 AND endpoint = $2 AND kind = $3 AND state NOT IN ('pending', 'recovered')", tx.Workspace, endpoint, Result).Scan(&n)
	return n > 0, err
}

// active counts the alerts of an incident that are not over, without one.
func active(tx db.Scope, incident, without string) (n int, err error) {
	return n, tx.QueryRow("SELECT COUNT(*) FROM alert WHERE workspace = $1 AND incident = $2 AND id <> $3 AND state NOT IN ('pending', 'recovered')", tx.Workspace, incident, without).Scan(&n)
}

func ofIncident(tx db.Scope, incident string) (out []Alert, err error) {
	err = tx.Each("SELECT "+columns+" FROM alert WHERE workspace = $1 AND incident = $2 AND state NOT IN ('pending', 'recovered') ORDER BY id", []any{tx.Workspace, incident}, func(scan func(...any) error) error {
		a, err := scanAlert(scan)
		out = append(out, a)
		return err
	})
	return out, err
}

// quietSince lists workspace and id of the active alerts of engines of all workspaces that did not break down since.
func quietSince(tx db.Scope, since time.Time) (out [][2]string, err error) {
	err = tx.Each("SELECT workspace, id FROM alert WHERE kind = $1 AND to_at <= $2 AND state NOT IN ('pending', 'recovered') ORDER BY id LIMIT 1000", []any{Crash, db.Micros(since)}, func(scan func(...any) error) error {
		var d [2]string
		err := scan(&d[0], &d[1])
		out = append(out, d)
		return err
	})
	return out, err
}

// due lists workspace and id of the alerts of all workspaces that are to be passed on.
func due(tx db.Scope, now time.Time) (out [][2]string, err error) {
	err = tx.Each("SELECT workspace, id FROM alert WHERE escalate_at > 0 AND escalate_at <= $1 AND state <> 'recovered' ORDER BY escalate_at LIMIT 200", []any{db.Micros(now)}, func(scan func(...any) error) error {
		var d [2]string
		err := scan(&d[0], &d[1])
		out = append(out, d)
		return err
	})
	return out, err
}

// policyOf reads the newest version of the policy of a model, or of the workspace for ""; false when there is none that
// holds. Of a policy that was taken back it gives the version that says so.
func policyOf(tx db.Scope, model string) (p Policy, found bool, err error) {
	list, err := policies(tx, model, 1)
	if err != nil || len(list) == 0 {
		return p, false, err
	}
	return list[0], !list[0].Dropped, nil
}

// policies reads the versions of a policy, the newest first.
func policies(tx db.Scope, model string, limit int) (out []Policy, err error) {
	err = tx.Each("SELECT version, document, note, created_by, created_at FROM alert_policy WHERE workspace = $1 AND model = $2 ORDER BY version DESC LIMIT $3",
		[]any{tx.Workspace, model, limit}, func(scan func(...any) error) error {
			var text, note, by string
			var version int
			var at int64
			if err := scan(&version, &text, &note, &by, &at); err != nil {
				return err
			}
			p := Default() // fields that came later have their default
			if err := db.FromJSON(text, &p); err != nil {
				return err
			}
			p.Model, p.Version, p.Note, p.CreatedBy, p.CreatedAt = model, version, note, by, db.Time(at)
			out = append(out, p)
			return nil
		})
	return out, err
}

// ownPolicies reads the newest policy of every model that has one, and of the workspace.
func ownPolicies(tx db.Scope) (out []Policy, err error) {
	var models []string
	err = tx.Each("SELECT DISTINCT model FROM alert_policy WHERE workspace = $1 ORDER BY model LIMIT 1000", []any{tx.Workspace}, func(scan func(...any) error) error {
		var m string
		err := scan(&m)
		models = append(models, m)
		return err
	})
	for _, m := range models {
		if err != nil {
			return nil, err
		}
		var p Policy
		var holds bool
		if p, holds, err = policyOf(tx, m); holds {
			out = append(out, p)
		}
	}
	return out, err
}

func insertPolicy(tx db.Scope, p Policy) error {
	_, err := tx.Exec("INSERT INTO alert_policy (workspace, model, version, document, note, created_by, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7)",
		tx.Workspace, p.Model, p.Version, db.ToJSON(p), p.Note, p.CreatedBy, db.Micros(p.CreatedAt))
	return err
}

// acts lists what policies did about an alert, the oldest first.
func acts(tx db.Scope, alert string) (out []Act, err error) {
	err = tx.Each("SELECT act, state, detail, ref, at FROM alert_act WHERE workspace = $1 AND alert = $2 ORDER BY at, act", []any{tx.Workspace, alert}, func(scan func(...any) error) error {
		var a Act
		var at int64
		err := scan(&a.Do, &a.State, &a.Detail, &a.Ref, &at)
		a.At = db.Time(at)
		out = append(out, a)
		return err
	})
	return out, err
}

func oneAct(tx db.Scope, alert, act string) (a Act, found bool, err error) {
	list, err := acts(tx, alert)
	for _, a := range list {
		if a.Do == act {
			return a, true, err
		}
	}
	return a, false, err
}

// What acts are counted for stands in the column model: a model or an endpoint, as Alert.actsFor says.

// actsSince gives when an act was last done for it, and how often from a time on.
func actsSince(tx db.Scope, model, act string, since time.Time) (last time.Time, n int, err error) {
	var at int64
	err = tx.QueryRow("SELECT COALESCE(MAX(at), 0), COALESCE(SUM(CASE WHEN at >= $4 THEN 1 ELSE 0 END), 0) FROM alert_act WHERE workspace = $1 AND model = $2 AND act = $3 AND state = 'done'",
		tx.Workspace, model, act, db.Micros(since)).Scan(&at, &n)
	if at > 0 {
		last = db.Time(at)
	}
	return last, n, err
}

// actingFor gives another alert of the model that is active and for which an act was done or begun; "" for none.
func actingFor(tx db.Scope, model, act, without string) (id string, err error) {
	err = tx.QueryRow(`SELECT a.alert FROM alert_act a JOIN alert b ON b.workspace = a.workspace AND b.id = a.alert
		WHERE a.workspace = $1 AND a.model = $2 AND a.act = $3 AND a.alert <> $4 AND a.state IN ('started', 'done') AND b.state <> 'recovered' ORDER BY a.alert LIMIT 1`,
		tx.Workspace, model, act, without).Scan(&id)
	if errors.Is(err, sql.ErrNoRows) {
		return "", nil
	}
	return id, err
}

// breakOff ends what was begun for another alert before a time and never ended: a process died over it. It counts as
// done, as it may have taken effect.
func breakOff(tx db.Scope, model, act, without string, before time.Time) error {
	_, err := tx.Exec(`UPDATE alert_act SET state = 'done', detail = 'It was interrupted; look at the deployment for whether it took effect.'
		WHERE workspace = $1 AND model = $2 AND act = $3 AND alert <> $4 AND state = 'started' AND at < $5`, tx.Workspace, model, act, without, db.Micros(before))
	return err
}

func putAct(tx db.Scope, alert, act, model string, a Act) error {
	_, err := tx.Exec(`INSERT INTO alert_act (workspace, alert, act, model, state, detail, ref, at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
		ON CONFLICT (workspace, alert, act) DO UPDATE SET state = excluded.state, detail = excluded.detail, ref = excluded.ref, at = excluded.at`,
		tx.Workspace, alert, act, model, a.State, a.Detail, a.Ref, db.Micros(a.At))
	return err
}

// census counts the alerts of all workspaces that are open or acknowledged, by kind and severity.
func census(tx db.Scope) (map[[2]string]int, error) {
	out := map[[2]string]int{}
	err := tx.Each("SELECT kind, severity, COUNT(*) FROM alert WHERE state IN ('open', 'acknowledged') GROUP BY kind, severity", nil, func(scan func(...any) error) error {
		var key [2]string
		var n int
		err := scan(&key[0], &key[1], &n)
		out[key] = n
		return err
	})
	return out, err
}
