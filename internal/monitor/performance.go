package monitor

import (
	"fmt"
	"math"
	"slices"
	"strconv"

	"keelson/internal/explain"
	"keelson/internal/score"
)

// Performance is how good the predictions of a window turned out to be, as far as outcomes have arrived.
type Performance struct {
	Kind     string                 `json:"kind" enum:"binary,multiclass,regression,ranking"`
	Accuracy *float64               `json:"accuracy"`
	AUC      *float64               `json:"auc"`
	N        int                    `json:"n" doc:"rows with an outcome"`
	LeftOut  int                    `json:"left_out,omitempty" doc:"outcomes of another kind than the others"`
	Coverage float64                `json:"label_coverage" doc:"share of the window's rows with an outcome, 0..1"`
	Metrics  map[string]score.Value `json:"metrics" doc:"all measures; null where undefined"`
	Why      map[string]string      `json:"why,omitempty" doc:"why a measure is undefined"`
	// Intervals say how far chance alone may have moved a measure, at 95 %.
	Intervals map[string]score.Interval `json:"intervals,omitempty" doc:"95 % intervals: Wilson for shares, DeLong for ROC AUC, the bootstrap for errors"`
}

// labelled is one row whose outcome is known.
type labelled struct {
	outputs []outputValue // in the order of the model's outputs
	truth   any           // float64, string or bool
}

type outputValue struct {
	name   string
	number float64 // NaN when it is a word
	word   string
	class  bool // it is the class that was answered, beside probabilities
}

// evaluate measures the predictions of a window; nil without any outcome. What is measured follows from
// the outcomes: 0/1 or true/false with a first output that is a number or truth value is a two-class model
// whose score that output is (of two outputs that add up to 1 it is the second); words that name the classes of two
// probabilities are such a model's too (see rows.labelled), other words are classes; other numbers are a regression. Rows whose outcome does not fit the others are left out.
func evaluate(rows []labelled, all int) *Performance {
	if len(rows) == 0 {
		return nil
	}
	p := &Performance{Coverage: float64(len(rows)) / float64(max(all, len(rows)))}
	given := len(rows)
	rows = alike(rows)
	p.LeftOut = given - len(rows)
	switch kindOf(rows) {
	case "binary":
		p.binary(rows)
	case "multiclass":
		p.multiclass(rows)
	default:
		p.regression(rows)
	}
	p.explain()
	get := func(name string) *float64 {
		if v, ok := p.Metrics[name]; ok && v.OK() {
			return &v.V
		}
		return nil
	}
	p.Accuracy, p.AUC = get("accuracy"), get("roc_auc")
	return p
}

// explain lists why measures are undefined.
func (p *Performance) explain() {
	for name, v := range p.Metrics {
		if _, ok, why := v.Get(); !ok {
			if p.Why == nil {
				p.Why = map[string]string{}
			}
			p.Why[name] = why
		}
	}
}

// alike leaves out outcomes that are not of the kind of nearly all others: words among numbers or numbers among words,
// whichever are fewer, and of numbers the few, up to 5 %, that are neither 0 nor 1 while all others are.
func alike(rows []labelled) []labelled {
	words, truths := 0, 0
	for _, r := range rows {
		switch t := r.truth.(type) {
		case string:
			words++
		case bool:
			truths++
		case float64:
			if t == 0 || t == 1 {
				truths++
			}
		}
	}
	numbers := len(rows) - words
	wordy := 2*words > len(rows)
	mixed := words > 0 && numbers > 0
	odd := numbers - truths
	twofold := !wordy && odd > 0 && 20*odd <= numbers
	if !mixed && !twofold {
		return rows
	}
	out := make([]labelled, 0, len(rows))
	for _, r := range rows {
		t, isNumber := r.truth.(float64)
		_, isWord := r.truth.(string)
		if isWord == wordy && !(twofold && isNumber && t != 0 && t != 1) {
			out = append(out, r)
		}
	}
	return out
}

func kindOf(rows []labelled) string {
	binary, words := true, false
	for _, r := range rows {
		switch t := r.truth.(type) {
		case bool:
		case float64:
			binary = binary && (t == 0 || t == 1)
		default:
			binary, words = false, true
		}
		if len(r.outputs) == 0 || r.outputs[0].word != "" && len(chances(r.outputs)) != 2 { // a missing answer says nothing of the kind
			binary, words = false, true
		}
		if len(chances(r.outputs)) > 2 {
			return "multiclass"
		}
	}
	switch {
	case binary:
		return "binary"
	case words:
		return "multiclass"
	}
	return "regression"
}

// chances are the probabilities of the classes in an answer: all outputs, or all behind the first where that names the class;
// nil when they do not add up to 1.
func chances(outputs []outputValue) []outputValue {
	switch {
	case len(outputs) > 2 && outputs[0].class && isDistribution(outputs[1:]):
		return outputs[1:]
	case len(outputs) > 1 && isDistribution(outputs):
		return outputs
	case len(outputs) > 2 && isDistribution(outputs[1:]):
		return outputs[1:]
	}
	return nil
}

// isDistribution reports whether the outputs are probabilities that add up to 1.
func isDistribution(outputs []outputValue) bool {
	sum := 0.0
	for _, o := range outputs {
		if !(o.number >= 0 && o.number <= 1) {
			return false
		}
		sum += o.number
	}
	return math.Abs(sum-1) < 1e-3
}

func (p *Performance) binary(rows []labelled) {
	p.Kind = "binary"
	var truth []bool
	var scores []float64
	for _, r := range rows {
		y, s := truthNumber(r.truth), scoreOf(r.outputs)
		if math.IsNaN(y) || math.IsNaN(s) || math.IsInf(s, 0) {
			continue
		}
		truth, scores = append(truth, y == 1), append(scores, s)
	}
	p.N = len(truth)
	b, err := score.NewBinary(truth, scores, cut(rows))
	if err != nil { // NaN and infinity were left out above
		p.Metrics = map[string]score.Value{"accuracy": score.Undefined(err.Error())}
		return
	}
	p.Metrics = b.Metrics()
	p.Intervals = map[string]score.Interval{"accuracy": b.AccuracyInterval(level), "precision": b.PrecisionInterval(level), "recall": b.RecallInterval(level),
		"specificity": b.SpecificityInterval(level)}
	if len(truth) <= 20_000 { // DeLong's deviation ranks every pair of classes
		p.Intervals["roc_auc"] = b.ROCAUCInterval(level)
	}
}

func (p *Performance) multiclass(rows []labelled) {
	p.Kind = "multiclass"
	var truth, predicted []string
	for _, r := range rows {
		if len(r.outputs) == 0 {
			continue
		}
		y, guess := r.classes()
		truth, predicted = append(truth, y), append(predicted, guess)
	}
	p.N = len(truth)
	if why := strangers(truth, predicted); why != "" {
		p.Metrics = map[string]score.Value{"accuracy": score.Undefined(why)}
		return
	}
	m, err := score.NewMulticlass(truth, predicted)
	if err != nil {
		p.Metrics = map[string]score.Value{"accuracy": score.Undefined(err.Error())}
		return
	}
	p.Metrics = m.Metrics()
	if c, ok := classRowsOf(rows); ok {
		byRow := make([][]float64, len(c.truth))
		for i := range byRow {
			byRow[i] = make([]float64, len(c.p))
			for k := range c.p {
				byRow[i][k] = c.p[k][i]
			}
		}
		if q, err := score.NewProbabilities(c.truth, byRow); err == nil {
			p.Metrics["roc_auc"], p.Metrics["log_loss"] = q.ROCAUC(), q.LogLoss()
		}
	}
	if v, ok, _ := m.Accuracy().Get(); ok {
		p.Intervals = map[string]score.Interval{"accuracy": score.Wilson(int(math.Round(v*float64(p.N))), p.N, level)}
	}
}

// scoreOf is the score of a two-class answer: the first output, or the second of two that add up to 1, also behind the class's
// name; NaN when it is a word.
func scoreOf(outputs []outputValue) float64 {
	if len(outputs) == 0 {
		return nan
	}
	if p := chances(outputs); len(p) == 2 {
		return p[1].number
	}
	return outputs[0].number
}

// classes are the true and the answered class of a row, as words.
func (r labelled) classes() (truth, guess string) {
	switch t := r.truth.(type) {
	case string:
		truth = t
	case bool:
		truth = strconv.FormatBool(t)
	case float64:
		truth = strconv.FormatFloat(t, 'g', -1, 64)
	}
	guess = r.outputs[0].word
	switch p := chances(r.outputs); {
	case len(p) == len(r.outputs):
		guess = classNames(p, r.truth)[mostLikely(p)]
	case !math.IsNaN(r.outputs[0].number):
		guess = strconv.FormatFloat(r.outputs[0].number, 'g', -1, 64)
		if _, isBool := r.truth.(bool); isBool {
			guess = strconv.FormatBool(r.outputs[0].number != 0)
		}
	}
	return truth, guess
}

// mostLikely is the number of the largest probability, the first of equal ones.
func mostLikely(p []outputValue) int {
	best := 0
	for i, o := range p {
		if o.number > p[best].number {
			best = i
		}
	}
	return best
}

// classNames are the names of the classes that probabilities are of: their outputs' own where the outcome is such a word, else
// their numbers from 0 up.
func classNames(p []outputValue, truth any) []string {
	out := make([]string, len(p))
	word, isWord := truth.(string)
	named := false
	for i := range p {
		out[i] = strconv.Itoa(i)
		named = named || isWord && p[i].name == word
	}
	if named {
		for i := range p {
			out[i] = p[i].name
		}
	}
	return out
}

// classRows are rows of several classes, each with a probability per class.
type classRows struct {
	names            []string
	p                [][]float64 // by class, then by row
	predicted, truth []int
}

// classRowsOf takes the rows whose answer holds probabilities and whose outcome is one of their classes. The classes go by
// their outputs' names, by number, or, behind an output that says the answered class, by what it said of them; ok is false when
// there are no such rows.
func classRowsOf(rows []labelled) (c classRows, ok bool) {
	if len(rows) == 0 {
		return c, false
	}
	k := len(chances(rows[0].outputs))
	if k < 3 {
		return c, false
	}
	c.names, c.p = namesOf(rows, k), make([][]float64, k)
	at := map[string]int{}
	for i, name := range c.names {
		if name != "" {
			at[name] = i
		}
	}
	for _, r := range rows {
		p := chances(r.outputs)
		truth, _ := r.classes()
		y, known := at[truth]
		if len(p) != k || !known {
			continue
		}
		for i := range p {
			c.p[i] = append(c.p[i], p[i].number)
		}
		c.predicted, c.truth = append(c.predicted, mostLikely(p)), append(c.truth, y)
	}
	return c, len(c.truth) > 0
}

// namesOf are the names of the k classes of rows; an empty one is not known.
func namesOf(rows []labelled, k int) []string {
	names := make([]string, k)
	if p := chances(rows[0].outputs); len(p) < len(rows[0].outputs) { // the first output says the class
		own := map[string]int{}
		for i := range p {
			own[p[i].name] = i
		}
		strange := func(r labelled) bool { _, ok := own[r.outputs[0].word]; return !ok }
		if len(own) == k && !slices.ContainsFunc(rows, strange) {
			for i := range p {
				names[i] = p[i].name
			}
			return names
		}
		for _, r := range rows {
			if p := chances(r.outputs); len(p) == k && len(p) < len(r.outputs) {
				_, guess := r.classes()
				names[mostLikely(p)] = guess
			}
		}
		return names
	}
	for _, r := range rows {
		if names = classNames(chances(r.outputs), r.truth); len(names) == k && names[0] != "0" {
			return names
		}
	}
	for i := range k {
		names[i] = strconv.Itoa(i)
	}
	return names
}

func (p *Performance) regression(rows []labelled) {
	p.Kind = "regression"
	var truth, predicted []float64
	for _, r := range rows {
		y, v := truthNumber(r.truth), forecast(r.outputs)
		if !math.IsNaN(y) && !math.IsInf(y, 0) && !math.IsNaN(v) && !math.IsInf(v, 0) {
			truth, predicted = append(truth, y), append(predicted, v)
		}
	}
	p.N = len(truth)
	r, err := score.NewRegression(truth, predicted)
	if err != nil { // NaN and infinity were left out above
		p.Metrics = map[string]score.Value{"rmse": score.Undefined(err.Error())}
		return
	}
	p.Metrics = r.Metrics()
	p.quantiles(rows)
	if p.N < 2 || p.N > 20_000 {
		return // of one row chance says nothing, of very many it hardly matters
	}
	draw := func(measure func(*score.Regression) score.Value) score.Interval {
		return score.Bootstrap(p.N, 200, level, uint64(p.N), func(rows []int) score.Value {
			one, err := score.NewRegression(score.Pick(truth, rows), score.Pick(predicted, rows))
			if err != nil {
				return score.Undefined(err.Error())
			}
			return measure(one)
		})
	}
	if p.Intervals == nil {
		p.Intervals = map[string]score.Interval{}
	}
	p.Intervals["mae"], p.Intervals["rmse"] = draw((*score.Regression).MAE), draw((*score.Regression).RMSE)
}

func truthNumber(t any) float64 {
	switch t := t.(type) {
	case float64:
		return t
	case bool:
		if t {
			return 1
		}
		return 0
	}
	return nan
}

// yardstick is the performance later windows are held against: that of the version's first window with
// enough outcomes.
type yardstick struct {
	Metric string  `json:"metric"` // accuracy or rmse
	Value  float64 `json:"value"`
	N      int     `json:"n"`
	Window string  `json:"window"`
}

// enoughLabels is how many outcomes a window needs before its result counts.
const enoughLabels = 50

// measure names the measure by which the result is judged.
func (p *Performance) measure() (metric string, value float64, ok bool) {
	metric = "accuracy"
	switch p.Kind {
	case "regression":
		metric = "rmse"
	case "ranking":
		metric = "ndcg"
	}
	v, ok, _ := p.Metrics[metric].Get()
	return metric, v, ok && p.N >= enoughLabels
}

// worse says whether the result fell below its limit: the declared one, or else the yardstick minus the
// larger of 0.05 and three standard errors of a difference of two shares, or of two means over queries (plus 25 % for an error). The
// cause is nil while the result holds or is not known.
func (p *Performance) worse(l Limits, y *yardstick) *Cause {
	if p == nil {
		return nil
	}
	metric, value, ok := p.measure()
	if !ok {
		return nil
	}
	c := &Cause{Kind: "result", Metric: metric, Value: value}
	switch {
	case metric == "accuracy" && l.Accuracy != nil:
		c.Limit = *l.Accuracy
	case metric == "rmse" && l.RMSE != nil:
		c.Limit = *l.RMSE
	case metric == "ndcg" && l.NDCG != nil:
		c.Limit = *l.NDCG
	case y == nil || y.Metric != metric:
		return nil
	case metric == "accuracy":
		a := min(max(y.Value, 0.01), 0.99)
		c.Limit = y.Value - max(0.05, 3*math.Sqrt(a*(1-a)*(1/float64(y.N)+1/float64(p.N))))
	case metric == "ndcg": // of a query it lies in 0..1, so that its deviation is at most a half
		c.Limit = y.Value - max(0.05, 1.5*math.Sqrt(1/float64(max(y.N, 1))+1/float64(p.counted())))
	default:
		c.Limit = 1.25 * y.Value
	}
	if metric != "rmse" && value >= c.Limit || metric == "rmse" && value <= c.Limit {
		return nil
	}
	return c
}

func (p *Performance) text() string {
	metric, value, _ := p.measure()
	if p.AUC != nil && p.Kind == "binary" {
		return fmt.Sprintf("%s %.3f, ROC AUC %.3f on %d rows", measureName(metric), value, *p.AUC, p.N)
	}
	return fmt.Sprintf("%s %s on %d rows", measureName(metric), explain.Number(value), p.N)
}

var nan = math.NaN()
