package monitor

import (
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	"keelson/internal/db"
	"keelson/internal/explain"
	"keelson/internal/problem"
	"keelson/internal/score"
)

// challengeWindows is how many of the newest windows of an endpoint are looked at.
const challengeWindows = 500

// Challenge holds the versions that answer, or answered, an endpoint's live calls against each other by their outcomes.
type Challenge struct {
	Endpoint string      `json:"endpoint"`
	Champion int         `json:"champion" doc:"the version the others are held against: the one that was asked for, else the one with the most answers; 0 when nothing was answered"`
	Versions []Contender `json:"versions" doc:"the newest version first"`
	Method   string      `json:"method" doc:"how the figures came about, and their limits"`
}

// Contender is one version in live traffic.
type Contender struct {
	Version   int       `json:"version"`
	From      time.Time `json:"from"`
	To        time.Time `json:"to"`
	Windows   int       `json:"windows"`
	Rows      int       `json:"rows"`
	Outcomes  int       `json:"outcomes" doc:"rows whose outcome is known"`
	Metric    string    `json:"metric,omitempty" doc:"accuracy, or rmse of numbers; empty while no outcome is known"`
	Value     *float64  `json:"value" doc:"over all rows with an outcome; null while it is not known"`
	Lower     *float64  `json:"lower" doc:"95 % interval of value"`
	Upper     *float64  `json:"upper"`
	Estimate  *float64  `json:"estimate" doc:"the measure as expected without outcomes, mean over rows; no result"`
	Breached  int       `json:"breached" doc:"windows that exceeded a limit"`
	Against   *Margin   `json:"against_champion" doc:"null of the champion, and while either has too few outcomes"`
	Undecided string    `json:"undecided,omitempty" doc:"why it is not held against the champion"`
}

// Margin is the difference of a version to the champion, over the time in which both answered if there is such a time.
type Margin struct {
	Difference float64 `json:"difference" doc:"its measure minus the champion's"`
	Lower      float64 `json:"lower" doc:"95 % interval"`
	Upper      float64 `json:"upper"`
	Verdict    string  `json:"verdict" enum:"better,worse,undecided"`
	Words      string  `json:"words"`
	Together   bool    `json:"together" doc:"only windows of the time in which both answered count"`
}

// tallied is what windows of one version add up to.
type tallied struct {
	metric string
	n      int
	right  int     // of shares
	square float64 // of errors: their sum of squares
}

func tallyOf(windows []Result) (t tallied) {
	for i := range windows {
		p := windows[i].Performance
		if p == nil || p.N == 0 {
			continue
		}
		metric, v, _ := p.measure()
		if metric == "ndcg" || math.IsNaN(v) || t.metric != "" && t.metric != metric {
			continue
		}
		if _, ok, _ := p.Metrics[metric].Get(); !ok {
			continue
		}
		t.metric = metric
		t.n += p.N
		if metric == "rmse" {
			t.square += v * v * float64(p.N)
		} else {
			t.right += int(math.Round(v * float64(p.N)))
		}
	}
	return t
}

// value gives the measure with its 95 % interval: Wilson's of shares; of errors that of a root mean square with nearly normal
// errors, v ∓ 1.96 v/√(2n). false when there is no measure.
func (t tallied) value() (v float64, of score.Interval, ok bool) {
	switch {
	case t.n == 0:
		return 0, of, false
	case t.metric == "rmse":
		v = math.Sqrt(t.square / float64(t.n))
		wide := score.Deviate(level) * v / math.Sqrt(2*float64(t.n))
		return v, score.Interval{Lower: score.Of(max(0, v-wide)), Upper: score.Of(v + wide), Level: level}, finite(v + wide)
	}
	return float64(t.right) / float64(t.n), score.Wilson(t.right, t.n, level), true
}

// margin is the difference of two versions that both have a measure, with Newcombe's interval.
func margin(champion, other tallied) Margin {
	a, ofA, _ := champion.value()
	b, ofB, _ := other.value()
	d := score.Newcombe(b, ofB, a, ofA)
	m := Margin{Difference: b - a, Lower: d.Lower.V, Upper: d.Upper.V, Verdict: "undecided"}
	sign := 1.0
	if other.metric == "rmse" {
		sign = -1
	}
	switch {
	case sign*m.Lower > 0 && sign*m.Upper > 0:
		m.Verdict = "better"
	case sign*m.Lower < 0 && sign*m.Upper < 0:
		m.Verdict = "worse"
	}
	return m
}

// Challenge compares the versions of an endpoint; champion 0 takes the version with the most answers. It fails with
// problem.NotFound when there is no monitor and problem.Invalid when the champion never answered.
func (s *Service) Challenge(ctx context.Context, endpoint string, champion int) (c Challenge, err error) {
	var all []Result
	err = s.DB.Read(ctx, func(tx db.Scope) error {
		if _, _, err := get(tx, endpoint); err != nil {
			return err
		}
		all, err = brief(tx, endpoint, anyVersion, "", challengeWindows)
		return err
	})
	if err != nil {
		return c, err
	}
	return challenge(endpoint, champion, all)
}

func challenge(endpoint string, champion int, all []Result) (Challenge, error) {
	c := Challenge{Endpoint: endpoint, Champion: champion, Versions: []Contender{},
		Method: fmt.Sprintf("Outcomes of live calls in the newest %d windows, copies for shadows left out; intervals hold in 95 of 100 cases. Who was answered by which version is up to the split of the calls: with a split by chance the difference is that of the versions, else it may be that of the callers.", challengeWindows)}
	byVersion := map[int][]Result{}
	for _, r := range all {
		byVersion[r.Version] = append(byVersion[r.Version], r)
	}
	if champion != 0 && byVersion[champion] == nil {
		return c, problem.New(problem.Invalid, "Version %d has answered no window of calls at %q.", champion, endpoint).At("champion")
	}
	for version, windows := range byVersion {
		x := Contender{Version: version, Windows: len(windows), From: windows[0].From, To: windows[0].To}
		sum, rows := 0.0, 0
		for _, r := range windows {
			x.Rows += r.Rows
			if r.From.Before(x.From) {
				x.From = r.From
			}
			if r.To.After(x.To) {
				x.To = r.To
			}
			if r.Breached {
				x.Breached++
			}
			if e := r.Estimate; e != nil {
				for _, metric := range []string{"accuracy", "rmse"} {
					if m, ok := e.Metrics[metric]; ok && m.Value.OK() {
						sum, rows = sum+m.Value.V*float64(r.Rows), rows+r.Rows
					}
				}
			}
		}
		if rows > 0 {
			v := sum / float64(rows)
			x.Estimate = &v
		}
		t := tallyOf(windows)
		if v, of, ok := t.value(); ok {
			x.Metric, x.Outcomes, x.Value, x.Lower, x.Upper = t.metric, t.n, &v, &of.Lower.V, &of.Upper.V
		}
		c.Versions = append(c.Versions, x)
	}
	slices.SortFunc(c.Versions, func(a, b Contender) int { return b.Version - a.Version })
	if c.Champion == 0 {
		most := 0
		for _, x := range c.Versions {
			if x.Rows > most || x.Rows == most && x.Version < c.Champion {
				most, c.Champion = x.Rows, x.Version
			}
		}
	}
	for i := range c.Versions {
		if x := &c.Versions[i]; x.Version != c.Champion {
			x.hold(c.Champion, byVersion)
		}
	}
	return c, nil
}

// hold compares a version with the champion.
func (x *Contender) hold(champion int, byVersion map[int][]Result) {
	during := func(windows, other []Result) (out []Result) {
		from, to := other[0].From, other[0].To
		for _, r := range other {
			if r.From.Before(from) {
				from = r.From
			}
			if r.To.After(to) {
				to = r.To
			}
		}
		for _, r := range windows {
			if !r.To.Before(from) && !r.From.After(to) {
				out = append(out, r)
			}
		}
		return out
	}
	own, its := byVersion[x.Version], byVersion[champion]
	a, b := tallyOf(during(its, own)), tallyOf(during(own, its))
	together := a.n >= enoughLabels && b.n >= enoughLabels
	if !together {
		a, b = tallyOf(its), tallyOf(own)
	}
	switch {
	case a.n < enoughLabels || b.n < enoughLabels:
		x.Undecided = fmt.Sprintf("%d outcomes of version %d and %d of version %d are known; each needs %d.", b.n, x.Version, a.n, champion, enoughLabels)
		return
	case a.metric != b.metric:
		x.Undecided = fmt.Sprintf("Version %d is judged by %s, version %d by %s.", x.Version, measureName(b.metric), champion, measureName(a.metric))
		return
	}
	m := margin(a, b)
	m.Together = together
	va, _, _ := a.value()
	vb, _, _ := b.value()
	one := func(v float64) string { return explain.Number(v) }
	gap, unit := fmt.Sprintf("%s and %s", explain.Number(m.Lower), explain.Number(m.Upper)), ""
	if b.metric == "accuracy" {
		one = func(v float64) string { return explain.Number(100*v) + " %" }
		gap, unit = fmt.Sprintf("%s and %s", explain.Number(100*m.Lower), explain.Number(100*m.Upper)), " points"
	}
	figures := fmt.Sprintf("%s %s of %d rows against %s of %d; the difference lies between %s%s", measureName(b.metric), one(vb), b.n, one(va), a.n, gap, unit)
	switch m.Verdict {
	case "better":
		m.Words = fmt.Sprintf("Version %d does better than version %d: %s.", x.Version, champion, figures)
	case "worse":
		m.Words = fmt.Sprintf("Version %d does worse than version %d: %s.", x.Version, champion, figures)
	default:
		m.Words = fmt.Sprintf("Versions %d and %d cannot be told apart yet: %s.", x.Version, champion, figures)
	}
	if !together {
		m.Words += " They answered at different times, so that the cases may differ as well."
	}
	x.Against = &m
}

type challengeInput struct {
	Endpoint string `path:"endpoint" doc:"endpoint"`
	Champion int    `query:"champion" minimum:"0" doc:"version the others are held against; 0 or nothing: the one with the most answers"`
}

func (s *Service) getChallenge(ctx context.Context, in *challengeInput) (Challenge, error) {
	return s.Challenge(ctx, in.Endpoint, in.Champion)
}
