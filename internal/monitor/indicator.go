package monitor

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"keelson/internal/audit"
	"keelson/internal/caller"
	"keelson/internal/db"
	"keelson/internal/explain"
	"keelson/internal/problem"
)

// Reading is one value of an indicator.
type Reading struct {
	Name  string    `json:"name"`
	Value float64   `json:"value"`
	At    time.Time `json:"at" doc:"the time it is of"`
	By    string    `json:"by"`
}

// Standing is an indicator with its newest value.
type Standing struct {
	Indicator
	Value *float64   `json:"value" doc:"null while there is none"`
	At    *time.Time `json:"at"`
	OK    bool       `json:"ok"`
}

// MaxReadings is the largest batch of readings.
const MaxReadings = 1000

// ahead is how far a reading may lie in the future: clocks differ.
const ahead = 24 * time.Hour

// Tell stores readings of indicators, all or none. A reading that is there already with the same value counts as a duplicate,
// one with another value is a problem.Conflict that names it.
func (s *Service) Tell(ctx context.Context, endpoint string, list []Reading) (accepted, duplicates int, err error) {
	if len(list) == 0 || len(list) > MaxReadings {
		return 0, 0, invalid("items", "A batch has 1 to %d readings, this one has %d.", MaxReadings, len(list))
	}
	now := s.now()
	for i := range list {
		r := &list[i]
		if r.At.IsZero() {
			r.At = now
		}
		r.At = r.At.UTC().Truncate(time.Microsecond)
		switch {
		case !finite(r.Value) || math.Abs(r.Value) > 1e300:
			return 0, 0, invalid(fmt.Sprintf("items[%d].value", i), "The value of an indicator is a finite number.")
		case r.At.After(now.Add(ahead)) || r.At.Year() < 1970:
			return 0, 0, invalid(fmt.Sprintf("items[%d].at", i), "A reading is of a time since 1970 that lies at most a day ahead, not of %s.", r.At.Format(time.RFC3339))
		}
	}
	by := caller.From(ctx).Name
	err = s.DB.Write(ctx, func(tx db.Scope) error {
		accepted, duplicates = 0, 0
		m, _, err := get(tx, endpoint)
		if err != nil {
			return err
		}
		for i, r := range list {
			if m.indicator(r.Name) == nil {
				return invalid(fmt.Sprintf("items[%d].name", i), "The monitor of %q has no indicator %q; declare it first.", endpoint, clip(r.Name))
			}
			var have float64
			err := tx.QueryRow("SELECT value FROM monitor_indicator WHERE workspace = $1 AND endpoint = $2 AND name = $3 AND at = $4", tx.Workspace, endpoint, r.Name, db.Micros(r.At)).Scan(&have)
			switch {
			case err == nil && have == r.Value:
				duplicates++
				continue
			case err == nil:
				return problem.New(problem.Conflict, "%s of %s is on record as %v, not %v; nothing was stored.", r.Name, r.At.Format(time.RFC3339), have, r.Value).At(fmt.Sprintf("items[%d].value", i))
			case !errors.Is(err, sql.ErrNoRows):
				return err
			}
			_, err = tx.Exec("INSERT INTO monitor_indicator (workspace, endpoint, name, at, value, told_by, recorded_at) VALUES ($1, $2, $3, $4, $5, $6, $7)",
				tx.Workspace, endpoint, r.Name, db.Micros(r.At), r.Value, by, db.Micros(now))
			if err != nil {
				return err
			}
			accepted++
		}
		return nil
	})
	return accepted, duplicates, err
}

func (m *Monitor) indicator(name string) *Indicator {
	for i := range m.Indicators {
		if m.Indicators[i].Name == name {
			return &m.Indicators[i]
		}
	}
	return nil
}

// readings lists the values of an indicator (all if name is empty), newest first, behind a place as placeOf gives it.
func readings(tx db.Scope, endpoint, name, after string, limit int) (out []Reading, err error) {
	at, from := int64(math.MaxInt64), ""
	if after != "" {
		text, rest, _ := strings.Cut(after, "/")
		if at, err = strconv.ParseInt(text, 10, 64); err != nil {
			return nil, invalid("cursor", "The cursor %q is not one of this list; send the next of the page before, or none.", clip(after))
		}
		from = rest
	}
	q, args := "SELECT name, value, at, told_by FROM monitor_indicator WHERE workspace = $1 AND endpoint = $2 AND (at < $3 OR at = $3 AND name > $4)", []any{tx.Workspace, endpoint, at, from, limit}
	if name != "" {
		q, args = q+" AND name = $6", append(args, name)
	}
	err = tx.Each(q+" ORDER BY at DESC, name LIMIT $5", args, func(scan func(...any) error) error {
		var r Reading
		var at int64
		err := scan(&r.Name, &r.Value, &at, &r.By)
		r.At = db.Time(at)
		out = append(out, r)
		return err
	})
	return out, err
}

// placeOf is the place behind a reading.
func placeOf(r Reading) string { return strconv.FormatInt(db.Micros(r.At), 10) + "/" + r.Name }

// standings gives the declared indicators with their newest values.
func (m *Monitor) standings(tx db.Scope) ([]Standing, error) {
	out := []Standing{}
	for _, k := range m.Indicators {
		st := Standing{Indicator: k, OK: true}
		some, err := readings(tx, m.Endpoint, k.Name, "", 1)
		if err != nil {
			return nil, err
		}
		if len(some) == 1 {
			st.Value, st.At = &some[0].Value, &some[0].At
			st.OK = outside(Cause{}, st.Value, k.Min, k.Max) == nil
		}
		out = append(out, st)
	}
	return out, nil
}

// add puts what business metrics say to a verdict: one outside of its limits makes a yes a watch.
func (v *Verdict) add(all []Standing, now time.Time) {
	for _, k := range all {
		if k.Value == nil || now.Sub(*k.At) > silence {
			continue
		}
		unit := ""
		if k.Unit != "" {
			unit = " " + k.Unit
		}
		if k.OK {
			v.Reasons = append(v.Reasons, fmt.Sprintf("%s is %s%s.", k.Name, explain.Number(*k.Value), unit))
			continue
		}
		c := outside(Cause{}, k.Value, k.Min, k.Max)
		side := map[string]string{"down": "below", "up": "above"}[c.Direction]
		v.Reasons = append(v.Reasons, fmt.Sprintf("%s is %s%s since %s, %s its limit of %s.", k.Name, explain.Number(*k.Value), unit, day(*k.At), side, explain.Number(c.Limit)))
		if v.Verdict == "yes" || v.Verdict == "unknown" {
			v.Verdict = "watch"
		}
	}
}

// longest is how far in the future what was accepted may end.
const longest = 2 * 366 * 24 * time.Hour

// Accept makes a window the reference of what follows: the world has changed and that is all right. With until it is so only
// for windows that end before; then the training data is the measure again.
func (s *Service) Accept(ctx context.Context, endpoint, id, reason string, until *time.Time) (m Monitor, err error) {
	if reason == "" || len(reason) > 1000 {
		return m, invalid("reason", "Say in up to 1,000 bytes why the changed data is all right.")
	}
	if until != nil {
		if left := until.Sub(s.now()); left <= 0 || left > longest {
			return m, invalid("until", "It ends at a time to come, two years from now at most; %s is not.", until.UTC().Format(time.RFC3339))
		}
		utc := until.UTC()
		until = &utc
	}
	err = s.DB.Write(ctx, func(tx db.Scope) error {
		if m, _, err = get(tx, endpoint); err != nil {
			return err
		}
		if id == "" {
			newest, err := brief(tx, endpoint, anyVersion, "", 1)
			if err != nil {
				return err
			}
			if len(newest) == 0 {
				return problem.New(problem.Conflict, "The monitor of %q has no window yet that could be accepted.", endpoint).At("window")
			}
			id = newest[0].ID
		} else if _, err := windowOnly(tx, endpoint, id); err != nil {
			return err
		}
		said := map[string]any{"window": id, "reason": reason, "before": m.Against}
		if until != nil {
			said["until"] = until
		}
		m.Against, m.UpdatedAt = Against{Kind: "window", Window: id, Until: until}, s.now()
		return errors.Join(put(tx, m), audit.Record(tx, "monitor.accepted", "monitor/"+endpoint, said))
	})
	return m, err
}
