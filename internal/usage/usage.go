// Package usage is the ledger of what models cost: seconds of computing and calls, booked where they arise.
package usage

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"keelson/internal/db"
	"keelson/internal/problem"
)

// Kinds of amounts.
const (
	ComputeSeconds = "compute_seconds"
	Calls          = "calls"
)

// Kinds of work, by what an entry's ref begins with.
const (
	Answering  = "answering"  // calls, as the prediction log has them
	Evaluating = "evaluating" // suites
	Pipeline   = "pipeline"   // steps of pipelines
	Testing    = "testing"    // golden rows of a version
	Other      = "other"
)

// works tells what the refs of a work begin with and how it is measured; the last one is all the rest.
var works = []struct{ work, begins, measured string }{
	{Answering, "prediction-file/", "time in the engine"},
	{Evaluating, "evaluation/", "time on the clock"},
	{Pipeline, "pipeline-run/", "time of processors"},
	{Testing, "model/", "time on the clock"},
	{Other, "", ""},
}

// workOf is the SQL of the work that an entry is about.
var workOf = func() string {
	var b strings.Builder
	b.WriteString("CASE")
	last := len(works) - 1
	for _, w := range works[:last] {
		fmt.Fprintf(&b, " WHEN ref LIKE '%s%%' THEN '%s'", w.begins, w.work)
	}
	fmt.Fprintf(&b, " ELSE '%s' END", works[last].work)
	return b.String()
}()

// MostDays is the longest time that a report looks back over.
const MostDays = 400

// Book adds an amount to the ledger. model may be empty for work that serves no single model; ref names what was done
// ("pipeline-run/ID").
func Book(tx db.Scope, model, kind string, amount float64, ref string) error {
	return book(tx, time.Now(), model, kind, amount, ref)
}

func book(tx db.Scope, at time.Time, model, kind string, amount float64, ref string) error {
	_, err := tx.Exec(`INSERT INTO usage_entry (id, workspace, at, model, kind, amount, ref) VALUES ($1, $2, $3, $4, $5, $6, $7)`,
		db.NewID(), tx.Workspace, db.Micros(at), model, kind, amount, ref)
	return err
}

// Report is what a model used in a time.
type Report struct {
	Model              string    `json:"model"`
	Since              time.Time `json:"since"`
	Until              time.Time `json:"until"`
	Calls              int64     `json:"calls" doc:"calls that are filed in the prediction log; those that the log leaves out and copies for shadows are not among them"`
	ComputeSeconds     float64   `json:"compute_seconds" doc:"of all work together"`
	SecondsPerThousand *float64  `json:"seconds_per_thousand_calls" doc:"of answering, per 1,000 calls; null without calls"`
	Work               []Work    `json:"work" doc:"answering first"`
	Days               []Day     `json:"days" doc:"days in UTC on which something was booked, the oldest first"`
	Cost               *Cost     `json:"cost,omitempty" doc:"left out where no price was given"`
	Basis              string    `json:"basis" doc:"what the figures are, and what they leave out"`
}

// Work is what one kind of work took.
type Work struct {
	Work     string    `json:"work" enum:"answering,evaluating,pipeline,testing,other"`
	Seconds  float64   `json:"seconds"`
	Entries  int64     `json:"entries" doc:"how often it was booked"`
	First    time.Time `json:"first"`
	Last     time.Time `json:"last"`
	Measured string    `json:"measured,omitempty" doc:"what the seconds are"`
}

// Day is what one day took.
type Day struct {
	Day     string  `json:"day" doc:"2026-11-22, in UTC"`
	Calls   int64   `json:"calls"`
	Seconds float64 `json:"seconds"`
}

// Cost is the report times a price.
type Cost struct {
	Price             float64  `json:"price" doc:"of an hour of computing, in whatever money it was given"`
	Total             float64  `json:"total"`
	PerThousand       *float64 `json:"per_thousand_calls" doc:"all work together, per 1,000 calls; null without calls"`
	AnsweringThousand *float64 `json:"answering_per_thousand_calls" doc:"answering only"`
}

const basis = "Seconds of computing as they were booked: answers when their part of the prediction log was filed, everything else when it ended. What stands idle, memory, storage, networks and people are not counted."

// Read sums up what was booked for a model from since on and before until. price, of an hour of computing, gives the cost; nil leaves
// it out. It fails with problem.Invalid when the time is empty or longer than MostDays or the price is no amount.
func Read(tx db.Scope, model string, since, until time.Time, price *float64) (Report, error) {
	r := Report{Model: model, Since: since.UTC(), Until: until.UTC(), Work: []Work{}, Days: []Day{}, Basis: basis}
	switch {
	case !since.Before(until):
		return r, problem.New(problem.Invalid, "The time from since to until is empty.").At("since")
	case until.Sub(since) > MostDays*24*time.Hour:
		return r, problem.New(problem.Invalid, "Usage is told of up to %d days at once.", MostDays).At("since")
	case price != nil && !(*price >= 0 && *price < 1e9):
		return r, problem.New(problem.Invalid, "The price of an hour of computing is a number from 0 up.").At("price")
	}
	const day = 24 * 3600 * 1_000_000 // microseconds
	by, days := map[string]*Work{}, map[int64]*Day{}
	err := tx.Each(`SELECT `+workOf+` AS work, kind, at / 86400000000 AS day, SUM(amount), COUNT(*), MIN(at), MAX(at)
		FROM usage_entry WHERE workspace = $1 AND model = $2 AND at >= $3 AND at < $4 GROUP BY work, kind, day ORDER BY day`,
		[]any{tx.Workspace, model, db.Micros(since), db.Micros(until)}, func(scan func(...any) error) error {
			var work, kind string
			var on, entries, first, last int64
			var amount float64
			if err := scan(&work, &kind, &on, &amount, &entries, &first, &last); err != nil {
				return err
			}
			d := days[on]
			if d == nil {
				d = &Day{Day: time.UnixMicro(on * day).UTC().Format(time.DateOnly)}
				days[on] = d
			}
			switch kind {
			case Calls:
				n := int64(math.Round(amount))
				r.Calls, d.Calls = r.Calls+n, d.Calls+n
			case ComputeSeconds:
				w := by[work]
				if w == nil {
					w = &Work{Work: work, First: db.Time(first)}
					by[work] = w
				}
				w.Seconds, w.Entries, w.Last = w.Seconds+amount, w.Entries+entries, db.Time(last)
				r.ComputeSeconds, d.Seconds = r.ComputeSeconds+amount, d.Seconds+amount
			}
			return nil
		})
	if err != nil {
		return r, err
	}
	for _, of := range works {
		if w := by[of.work]; w != nil {
			w.Measured = of.measured
			r.Work = append(r.Work, *w)
		}
	}
	for _, on := range slices.Sorted(maps.Keys(days)) {
		r.Days = append(r.Days, *days[on])
	}
	thousand := func(v float64) *float64 {
		if r.Calls == 0 {
			return nil
		}
		v *= 1000 / float64(r.Calls)
		return &v
	}
	answering := 0.0
	if w := by[Answering]; w != nil {
		answering = w.Seconds
	}
	r.SecondsPerThousand = thousand(answering)
	if price != nil {
		money := func(seconds float64) float64 { return *price * seconds / 3600 }
		r.Cost = &Cost{*price, money(r.ComputeSeconds), thousand(money(r.ComputeSeconds)), thousand(money(answering))}
	}
	return r, nil
}
