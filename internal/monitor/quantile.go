package monitor

import (
	"regexp"
	"slices"
	"strconv"
	"strings"

	"keelson/internal/score"
)

// quantileName is what an output of a quantile is called: q10, p90, q0.1, p2.5, quantile_0.1.
var quantileName = regexp.MustCompile(`^(?:q|p|quantile_?)(\d{1,2}(?:[._]\d{1,4})?|\.\d{1,4})$`)

// quantileOf reads the level of a quantile from the name of its output, between 0 and 1.
func quantileOf(name string) (level float64, ok bool) {
	m := quantileName.FindStringSubmatch(strings.ToLower(name))
	if m == nil {
		return 0, false
	}
	text := strings.ReplaceAll(m[1], "_", ".")
	level, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return 0, false
	}
	if whole, _, _ := strings.Cut(text, "."); whole != "" && whole != "0" { // q10 and p2.5 are per cent, q0.1 is a share
		level /= 100
	}
	return level, level > 0 && level < 1
}

// quantiles are the outputs of a model that forecasts quantiles.
type quantiles struct {
	levels []float64 // rising
	at     []int     // the outputs
	point  int       // the output that stands for the forecast as a number
}

// quantilesOf finds two or more quantiles of different levels among the outputs; nil when there are none. The number that a row
// is judged by is an output in front of them, else their median or the quantile nearest to it.
func quantilesOf(outputs []outputValue) *quantiles {
	q := &quantiles{}
	for i, o := range outputs {
		level, ok := quantileOf(o.name)
		if !ok {
			continue
		}
		k, taken := slices.BinarySearch(q.levels, level)
		if taken {
			return nil
		}
		q.levels, q.at = slices.Insert(q.levels, k, level), slices.Insert(q.at, k, i)
	}
	if len(q.levels) < 2 {
		return nil
	}
	if _, ok := quantileOf(outputs[0].name); !ok {
		return q
	}
	best := 0
	for k, level := range q.levels {
		if abs(level-0.5) < abs(q.levels[best]-0.5) {
			best = k
		}
	}
	q.point = q.at[best]
	return q
}

func abs(v float64) float64 { return max(v, -v) }

// forecast is the number that a regression answers: the first output, or that of its quantiles that stands for it; NaN when it
// is a word or there is none.
func forecast(outputs []outputValue) float64 {
	if len(outputs) == 0 {
		return nan
	}
	if q := quantilesOf(outputs); q != nil {
		return outputs[q.point].number
	}
	return outputs[0].number
}

// quantiles measures forecasts of quantiles: pinball loss, how often the truth lies within the outermost two, how wide they are,
// and how often forecasts cross.
func (p *Performance) quantiles(rows []labelled) {
	q := quantilesOf(rows[0].outputs)
	if q == nil {
		return
	}
	var truth []float64
	predicted := make([][]float64, len(q.levels))
next:
	for _, r := range rows {
		y := truthNumber(r.truth)
		if !finite(y) || len(r.outputs) != len(rows[0].outputs) {
			continue
		}
		for _, i := range q.at {
			if !finite(r.outputs[i].number) {
				continue next
			}
		}
		truth = append(truth, y)
		for k, i := range q.at {
			predicted[k] = append(predicted[k], r.outputs[i].number)
		}
	}
	f, err := score.NewForecasts(truth, q.levels, predicted)
	if err != nil { // levels rise and numbers are finite
		p.Metrics["pinball"] = score.Undefined(err.Error())
		return
	}
	p.Metrics["pinball"], p.Metrics["crossing"] = f.Pinball(), f.Crossing()
	low, high := slices.Clone(predicted[0]), slices.Clone(predicted[len(predicted)-1])
	for i := range low { // forecasts that cross are counted above; the range lies between them all the same
		low[i], high[i] = min(low[i], high[i]), max(low[i], high[i])
	}
	r, err := score.NewRanges(truth, low, high)
	if err != nil {
		p.Metrics["coverage"] = score.Undefined(err.Error())
		return
	}
	p.Metrics["coverage"], p.Metrics["width"] = r.Coverage(), r.Width()
	p.Metrics["promised_coverage"] = score.Of(q.levels[len(q.levels)-1] - q.levels[0])
	if p.Intervals == nil {
		p.Intervals = map[string]score.Interval{}
	}
	p.Intervals["coverage"] = r.CoverageInterval(level)
}
