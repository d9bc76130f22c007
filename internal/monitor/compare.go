package monitor

import (
	"slices"
	"strconv"

	"keelson/internal/drift"
)

// compare holds a column of a window against its reference. features is how many are compared together.
func (c *column) compare(s series, l Limits, features int) Feature {
	f := Feature{Name: c.Name, Kind: c.Kind, Shift: "unknown", Limit: l.PSI}
	if c.Kind == wordKind && s.words == nil {
		s.words = asWords(s.numbers, c.Type == "bool")
	}
	if c.Kind == numberKind && s.words != nil {
		if s.numbers = asNumbers(s.words); s.numbers == nil {
			f.Why = "the reference holds numbers and the window words"
			return f
		}
	}
	if c.Kind == numberKind {
		c.compareNumbers(&f, s.numbers, l, features)
	} else {
		c.compareWords(&f, s.words, l, features)
	}
	return f
}

func (c *column) compareNumbers(f *Feature, values []float64, l Limits, features int) {
	sorted, missing, infinite := drift.Split(values)
	f.Missing, f.MissingWas = rate(missing+infinite, len(values)), rate(c.Missing+c.Infinite, c.Valid+c.Missing+c.Infinite)
	ref := *c
	if len(sorted) > 0 && len(c.Counts) > 0 && isNarrow(sorted, c.Sample) {
		ref = c.narrowed()
	}
	d := decision{f: f, chance: drift.ChanceLimits(ref.Valid, len(sorted), filled(ref.Counts), features, Alpha)}
	if len(ref.Counts) == 0 {
		f.Why = "the reference has no valid value"
	} else {
		current := drift.Count(ref.Edges, sorted)
		f.Histogram = histogram(c, &ref, sorted, current)
		psi, err := drift.PSI(ref.Counts, current)
		if err != nil {
			f.Why = reason(err)
		} else {
			js, _ := drift.JS(ref.Counts, current) // defined where PSI is
			f.PSI, f.JS = &psi, &js
			if ks, err := drift.KS(ref.Sample, sorted); err == nil {
				p := drift.KSPValue(ks, ref.Valid, len(sorted))
				f.KS, f.KSPValue = &ks, &p
			}
			if w, err := drift.NormedWasserstein(ref.Sample, sorted); err == nil {
				f.Wasserstein = &w
			}
			if out, err := drift.OutOfRange(ref.Min, ref.Max, sorted); err == nil {
				f.OutOfRange = &out
			}
			if mean, _ := drift.Moments(sorted); finite(mean) {
				was := ref.Mean
				f.Mean, f.MeanWas = &mean, &was
			}
		}
	}
	d.judge(l, c, len(sorted), len(values), features)
	// Which way it went is said where the mean moved by more than a tenth of a standard deviation.
	if f.Shift == "moved" && (f.Metric == "psi" || f.Metric == "ks") && f.Mean != nil {
		switch d := *f.Mean - *f.MeanWas; {
		case d > 0.1*c.SD:
			f.Direction = "up"
		case d < -0.1*c.SD:
			f.Direction = "down"
		}
	}
}

func (c *column) compareWords(f *Feature, values []string, l Limits, features int) {
	counts, missing, unknown := make([]float64, len(c.Words)), 0, 0.0
	for _, w := range values {
		if w == "" {
			missing++
		} else if i, ok := slices.BinarySearch(c.Words, clip(w)); ok {
			counts[i]++
		} else {
			unknown++
		}
	}
	valid := len(values) - missing
	f.Missing, f.MissingWas = rate(missing, len(values)), rate(c.Missing, c.Valid+c.Missing)
	ref, labels := slices.Clone(c.Counts), slices.Clone(c.Words)
	if c.Other > 0 || unknown > 0 {
		label := "(others)"
		if c.Other == 0 {
			label = "(new)"
		}
		ref, counts, labels = append(ref, c.Other), append(counts, unknown), append(labels, label)
	}
	d := decision{f: f, chance: drift.ChanceLimits(c.Valid, valid, len(ref), features, Alpha)}
	f.Histogram = &Histogram{Labels: labels, Reference: ref, Current: counts, ReferenceRows: c.Valid, CurrentRows: valid}
	psi, err := drift.PSI(ref, counts)
	if err != nil {
		f.Why = reason(err)
	} else {
		js, _ := drift.JS(ref, counts) // defined where PSI is
		f.PSI, f.JS = &psi, &js
		if chi, err := drift.ChiSquare(ref, counts); err == nil {
			f.CramersV = &chi.CramersV
		}
		if c.Other == 0 {
			share := rate(int(unknown), valid)
			f.New = &share
		}
	}
	d.judge(l, c, valid, len(values), features)
}

// decision turns measures into a shift.
type decision struct {
	f      *Feature
	chance drift.Limits
	ratio  float64 // of the measure that exceeds its limit most
}

// judge decides: the measure that exceeds its limit by the largest factor is named.
func (d *decision) judge(l Limits, c *column, valid, rows, features int) {
	f := d.f
	f.Limit = max(l.PSI, d.chance.PSI)
	if rows == 0 {
		f.Why = "the window has no row with it"
		return
	}
	if f.PSI != nil && valid >= fewest {
		f.Shift = "none"
		d.hold("psi", *f.PSI, max(l.PSIWarn, d.chance.PSI), f.Limit)
		if f.KS != nil {
			d.hold("ks", *f.KS, max(l.KSWarn, d.chance.KS), max(l.KS, d.chance.KS))
		}
		if f.New != nil {
			limit := max(l.New, drift.ChanceRate(0, c.Valid, valid, features, Alpha))
			d.hold("new", *f.New, limit, limit)
		}
	} else if f.Why == "" {
		f.Why = "only " + strconv.Itoa(valid) + " valid values, " + strconv.Itoa(fewest) + " are needed"
	}
	limit := f.MissingWas + max(l.Missing, drift.ChanceRate(f.MissingWas, c.Valid+c.Missing+c.Infinite, rows, features, Alpha))
	d.hold("missing", f.Missing, limit, limit)
}

func (d *decision) hold(metric string, value, warn, act float64) {
	f := d.f
	switch {
	case value > act:
		if f.Shift != "moved" || value/act > d.ratio {
			f.Shift, f.Metric, f.Value, f.Limit, d.ratio = "moved", metric, value, act, value/act
		}
	case value > warn && f.Shift != "moved":
		f.Shift = "slight"
		f.Metric, f.Value = metric, value
	}
}

// histogram puts the outer edges around the bins, for drawing. Edges are shown as the reference has them,
// not as 32 bits round them.
func histogram(c, ref *column, sorted, current []float64) *Histogram {
	inner := ref.Edges
	if len(c.Edges) == len(inner) {
		inner = c.Edges
	}
	low, high := c.Min, c.Max
	if len(sorted) > 0 && sorted[0] < ref.Min {
		low = sorted[0]
	}
	if len(sorted) > 0 && sorted[len(sorted)-1] > ref.Max {
		high = sorted[len(sorted)-1]
	}
	return &Histogram{Edges: slices.Concat([]float64{low}, inner, []float64{high}), Reference: ref.Counts, Current: current,
		ReferenceRows: ref.Valid, CurrentRows: len(sorted)}
}

func filled(counts []float64) int {
	n := 0
	for _, c := range counts {
		if c > 0 {
			n++
		}
	}
	return n
}

func rate(n, of int) float64 {
	if of == 0 {
		return 0
	}
	return float64(n) / float64(of)
}

func reason(err error) string {
	if u, ok := err.(drift.Undefined); ok {
		return string(u)
	}
	return err.Error()
}

// asWords writes numbers as a reference of words holds them; truth says that 0 and 1 are false and true.
func asWords(numbers []float64, truth bool) []string {
	out := make([]string, len(numbers))
	for i, v := range numbers {
		switch {
		case v != v:
		case truth:
			out[i] = strconv.FormatBool(v != 0)
		default:
			out[i] = strconv.FormatFloat(v, 'g', -1, 64)
		}
	}
	return out
}

// asNumbers reads words as numbers; nil when one is none.
func asNumbers(words []string) []float64 {
	out := make([]float64, len(words))
	for i, w := range words {
		v, err := strconv.ParseFloat(w, 64)
		if w == "" {
			v, err = nan, nil
		}
		if err != nil {
			return nil
		}
		out[i] = v
	}
	return out
}
