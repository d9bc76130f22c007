package drift

import (
	"math"
	"math/rand/v2"
	"slices"
)

// State is what a detector says after a value.
type State uint8

// The states of a detector. After Changed it starts anew with the next value.
const (
	Stable State = iota
	Warning
	Changed
)

// Detector notices a change of level in a stream of values as they come, in constant or logarithmic memory. Values must
// be finite; the caller leaves missing ones out. A detector is not safe for concurrent use.
type Detector interface {
	Update(x float64) State
}

// NewADWIN gives the detector of choice: a window that grows while its mean holds and drops its older part when two
// parts differ by more than chance allows at confidence 1 − delta (0 < delta < 1; 0.002 is usual). It looks every 32
// values. Memory grows with the logarithm of the window.
//
// Source: Bifet, Gavaldà, Learning from Time-Changing Data with Adaptive Windowing, SDM 2007.
func NewADWIN(delta float64) *ADWIN { return &ADWIN{delta: delta} }

// The parameters of ADWIN that are not its confidence.
const (
	adwinClock   = 32 // values between two looks
	adwinBuckets = 5  // of one size, before two are joined
	adwinPart    = 5  // smallest part of the window that is compared
	adwinGrace   = 10 // window below which nothing is looked for
)

// bucket holds 2^level values by their sum and their sum of squared deviations.
type bucket struct{ total, variance float64 }

// ADWIN is the detector that NewADWIN makes.
type ADWIN struct {
	delta           float64
	levels          [][]bucket // levels[i] holds buckets of 2^i values, oldest first; the highest level is the oldest
	width, tick     int
	total, variance float64
	changed         bool
}

// Window is the number of values whose mean is taken to be the current one, and that mean; 0 values have the mean 0.
func (a *ADWIN) Window() (values int, mean float64) {
	if a.width == 0 {
		return 0, 0
	}
	return a.width, a.total / float64(a.width)
}

// Update takes the next value.
func (a *ADWIN) Update(x float64) State {
	if a.changed {
		*a = ADWIN{delta: a.delta}
	}
	if len(a.levels) == 0 {
		a.levels = append(a.levels, nil)
	}
	a.levels[0] = append(a.levels[0], bucket{total: x})
	a.width++
	if n := float64(a.width); a.width > 1 {
		d := x - a.total/(n-1)
		a.variance += (n - 1) * d * d / n
	}
	a.total += x
	a.join()
	if a.tick++; a.tick%adwinClock == 0 && a.width > adwinGrace {
		for a.shrink() {
			a.changed = true
		}
	}
	if a.changed {
		return Changed
	}
	return Stable
}

// join makes two buckets of a full level into one of the next.
func (a *ADWIN) join() {
	for i := 0; i < len(a.levels) && len(a.levels[i]) > adwinBuckets; i++ {
		if i+1 == len(a.levels) {
			a.levels = append(a.levels, nil)
		}
		l, n := a.levels[i], math.Ldexp(1, i)
		d := l[0].total/n - l[1].total/n
		a.levels[i+1] = append(a.levels[i+1], bucket{l[0].total + l[1].total, l[0].variance + l[1].variance + n*d*d/2})
		a.levels[i] = append(l[:0], l[2:]...)
	}
}

// shrink drops the oldest bucket when the window's older part differs from the rest.
func (a *ADWIN) shrink() bool {
	n0, u0 := 0.0, 0.0
	n1, u1 := float64(a.width), a.total
	for i := len(a.levels) - 1; i >= 0; i-- {
		n := math.Ldexp(1, i)
		for k, b := range a.levels[i] {
			if i == 0 && k == len(a.levels[0])-1 {
				return false
			}
			n0, n1, u0, u1 = n0+n, n1-n, u0+b.total, u1-b.total
			if n0 >= adwinPart && n1 >= adwinPart && a.differ(n0, n1, u0/n0-u1/n1) {
				a.drop()
				return true
			}
		}
	}
	return false
}

// differ compares two parts of the window by their means (theorem 3.1 with the bound for known variance).
func (a *ADWIN) differ(n0, n1, difference float64) bool {
	width := float64(a.width)
	confidence := math.Log(2 * math.Log(width) / a.delta)
	m := 1/(n0-adwinPart+1) + 1/(n1-adwinPart+1)
	limit := math.Sqrt(2*m*(a.variance/width)*confidence) + 2./3.*confidence*m
	return math.Abs(difference) > limit
}

// drop forgets the oldest bucket.
func (a *ADWIN) drop() {
	i := len(a.levels) - 1
	b, n := a.levels[i][0], math.Ldexp(1, i)
	a.width -= int(n)
	a.total -= b.total
	if rest := float64(a.width); a.width > 0 {
		d := b.total/n - a.total/rest
		a.variance -= b.variance + n*rest*d*d/(n+rest)
	} else {
		a.variance = 0
	}
	if a.levels[i] = a.levels[i][1:]; len(a.levels[i]) == 0 && i > 0 {
		a.levels = a.levels[:i]
	}
}

// NewPageHinkley watches the cumulated deviation of values from their running mean, in both directions. Tolerance is
// the deviation that is overlooked (0.005 is usual), limit the cumulated deviation that is a change (50). It tends to
// fire early on long stable streams; prefer NewADWIN.
//
// Source: Page, Continuous Inspection Schemes, Biometrika 41 (1954); with a forgetting factor of 0.9999.
func NewPageHinkley(tolerance, limit float64) Detector {
	return &pageHinkley{tolerance: tolerance, limit: limit, lowest: math.Inf(1), highest: -1}
}

// warmUp is how many values the simple detectors see before they speak.
const warmUp = 30

type pageHinkley struct {
	tolerance, limit float64
	n, mean          float64
	up, down         float64 // cumulated deviations
	lowest, highest  float64 // of up, of down
	changed          bool
}

const forgetting = 0.9999

func (p *pageHinkley) Update(x float64) State {
	if p.changed {
		*p = *NewPageHinkley(p.tolerance, p.limit).(*pageHinkley)
	}
	p.n++
	p.mean += (x - p.mean) / p.n
	d := x - p.mean
	p.up = forgetting*p.up + d - p.tolerance
	p.down = forgetting*p.down + d + p.tolerance
	p.lowest, p.highest = math.Min(p.lowest, p.up), math.Max(p.highest, p.down)
	if p.changed = p.n >= warmUp && (p.up-p.lowest > p.limit || p.highest-p.down > p.limit); p.changed {
		return Changed
	}
	return Stable
}

// NewDDM watches a stream of errors (1 is a wrong prediction, 0 a right one): it warns when their rate lies two standard
// deviations above the lowest so far and sees a change at three. It tends to fire early; prefer NewADWIN.
//
// Source: Gama et al., Learning with Drift Detection, SBIA 2004.
func NewDDM() Detector { return &ddm{lowest: math.Inf(1)} }

type ddm struct {
	n, rate              float64
	lowestRate, lowestSD float64
	lowest               float64 // of rate + sd
	changed              bool
}

func (d *ddm) Update(x float64) State {
	if d.changed {
		*d = ddm{lowest: math.Inf(1)}
	}
	d.n++
	d.rate += (x - d.rate) / d.n
	sd := math.Sqrt(math.Max(0, d.rate*(1-d.rate)/d.n))
	if d.n <= warmUp {
		return Stable
	}
	if d.rate+sd <= d.lowest {
		d.lowestRate, d.lowestSD, d.lowest = d.rate, sd, d.rate+sd
	}
	switch level := d.rate + sd; {
	case level > d.lowestRate+3*d.lowestSD:
		d.changed = true
		return Changed
	case level > d.lowestRate+2*d.lowestSD:
		return Warning
	}
	return Stable
}

// NewEDDM watches the distances between errors (1 is a wrong prediction, 0 a right one): it warns when they have shrunk
// to 95 % of their longest and sees a change at 90 %. It suits slow changes and fires often; prefer NewADWIN.
//
// Source: Baena-García et al., Early Drift Detection Method, 2006.
func NewEDDM() Detector { return &eddm{longest: -1} }

type eddm struct {
	n, last, errors float64
	mean, squares   float64 // of the distances, by Welford
	longest         float64
	state           State
}

func (e *eddm) Update(x float64) State {
	if e.state == Changed {
		*e = eddm{longest: -1}
	}
	e.n++
	if x != 1 {
		return e.state
	}
	e.errors++
	distance := e.n - e.last
	before := distance - e.mean
	e.mean += before / e.errors
	e.squares += before * (distance - e.mean)
	e.last = e.n
	if e.n <= warmUp {
		return e.state
	}
	sd := 0.0
	if e.errors > 1 {
		sd = math.Sqrt(e.squares / (e.errors - 1))
	}
	reach := e.mean + 2*sd
	switch {
	case reach > e.longest:
		e.longest = reach
	case e.errors <= warmUp:
	case reach/e.longest < 0.90:
		e.state = Changed
	case reach/e.longest < 0.95:
		e.state = Warning
	default:
		e.state = Stable
	}
	return e.state
}

// NewKSWIN compares the newest 30 of the last 100 values with 30 drawn from the others by the two-sample
// Kolmogorov-Smirnov test at the level alpha (0.005 is usual). seed makes the draw repeatable. It costs about a thousand
// times what NewADWIN does.
//
// Source: Raab, Heusinger, Schleif, Reactive Soft Prototype Computing for Concept Drift Streams, 2020.
func NewKSWIN(alpha float64, seed uint64) Detector {
	return &kswin{alpha: alpha, draw: rand.New(rand.NewPCG(seed, 0))}
}

const kswinWindow, kswinPart = 100, 30

type kswin struct {
	alpha  float64
	draw   *rand.Rand
	window []float64
}

func (k *kswin) Update(x float64) State {
	if len(k.window) == kswinWindow {
		k.window = append(k.window[:0], k.window[1:]...)
	}
	if k.window = append(k.window, x); len(k.window) < kswinWindow {
		return Stable
	}
	older, newer := k.window[:kswinWindow-kswinPart], k.window[kswinWindow-kswinPart:]
	sample := make([]float64, kswinPart)
	for i, at := range k.draw.Perm(len(older))[:kswinPart] {
		sample[i] = older[at]
	}
	recent := slices.Clone(newer)
	slices.Sort(sample)
	slices.Sort(recent)
	d, err := KS(sample, recent)
	if err != nil || d <= 0.1 || KSPValue(d, kswinPart, kswinPart) > k.alpha {
		return Stable
	}
	k.window = append(k.window[:0], newer...)
	return Changed
}
