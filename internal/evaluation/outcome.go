package evaluation

import (
	"fmt"
	"math"
	"slices"
	"strconv"

	"keelson/internal/dataset"
	"keelson/internal/inventory"
	"keelson/internal/problem"
	"keelson/internal/score"
	"keelson/internal/tensor"
)

// frame shows a table as the model is fed with it.
func frame(t *dataset.Table) inventory.Frame {
	f := inventory.Frame{Rows: t.Rows}
	for i := range t.Columns {
		c := &t.Columns[i]
		f.Columns = append(f.Columns, inventory.FrameColumn{Name: c.Name, Numbers: c.Numbers, Words: c.Words})
	}
	return f
}

// picker chooses the rows of a slice.
type picker struct {
	word     string
	number   float64
	isNumber bool
	isRange  bool
	from, to float64
}

// newPicker reads a slice's value: a scalar or a range of two, whose ends may be null.
func newPicker(v any) (p picker, err error) {
	switch v := v.(type) {
	case string:
		p.word = v
		p.number, err = strconv.ParseFloat(v, 64)
		p.isNumber = err == nil
		return p, nil
	case float64:
		return picker{word: strconv.FormatFloat(v, 'g', -1, 64), number: v, isNumber: true}, nil
	case int:
		return newPicker(float64(v))
	case bool:
		p = picker{word: strconv.FormatBool(v), isNumber: true}
		if v {
			p.number = 1
		}
		return p, nil
	case []any:
		p = picker{isRange: true, from: math.Inf(-1), to: math.Inf(1)}
		if len(v) != 2 {
			break
		}
		for i, end := range []*float64{&p.from, &p.to} {
			switch x := v[i].(type) {
			case nil:
			case float64:
				*end = x
			case int:
				*end = float64(x)
			default:
				return p, fmt.Errorf("the ends of a range are numbers or null")
			}
		}
		return p, nil
	}
	return p, fmt.Errorf("a slice is chosen by a word, a number, true or false, or a range of two numbers")
}

func (p picker) String() string {
	if p.isRange {
		return fmt.Sprintf("in [%s, %s)", short(p.from), short(p.to))
	}
	return "= " + p.word
}

// rows gives the numbers of the rows that p picks by a column.
func (p picker) rows(t *dataset.Table, column string) ([]int, error) {
	c, ok := t.Column(column)
	if !ok {
		return nil, problem.New(problem.Invalid, "The data has no column %q.", clip(column))
	}
	var out []int
	for r := range t.Rows {
		hit := false
		switch {
		case c.Numbers == nil:
			hit = !p.isRange && !c.Missing[r] && c.Words[r] == p.word
		case p.isRange:
			hit = c.Numbers[r] >= p.from && c.Numbers[r] < p.to
		default:
			hit = p.isNumber && c.Numbers[r] == p.number
		}
		if hit {
			out = append(out, r)
		}
	}
	if c.Numbers == nil && p.isRange {
		return nil, problem.New(problem.Invalid, "The column %q holds words, of which there is no range.", clip(column))
	}
	return out, nil
}

// outcome pairs what a model answered with what was true, row by row of the data.
type outcome struct {
	suite   *Suite
	answers tensor.Tensor // of all rows
	width   int
	truth   *dataset.Column
	words   []string // truth as words; missing rows are empty
	missing []bool
}

// newOutcome chooses the output and the target. out holds the outputs of all rows.
func newOutcome(s *Suite, target string, t *dataset.Table, out []tensor.Tensor) (*outcome, error) {
	col, ok := t.Column(target)
	if target == "" || !ok {
		return nil, problem.New(problem.Invalid, "The data has no target column %q; name it in the data set or the suite.", clip(target))
	}
	if len(out) == 0 {
		return nil, problem.New(problem.Invalid, "The model gave no output.")
	}
	pick := &out[0]
	if s.Output != "" {
		if pick = tensor.Find(out, s.Output); pick == nil {
			return nil, problem.New(problem.Invalid, "The model has no output %q.", clip(s.Output))
		}
	} else if same := tensor.Find(out, target); same != nil {
		pick = same
	}
	if pick.Rows() != t.Rows {
		return nil, problem.New(problem.Invalid, "The model answered %d rows of %d.", pick.Rows(), t.Rows)
	}
	o := &outcome{suite: s, answers: *pick, width: max(pick.Width(), 1), truth: col}
	o.words, o.missing = col.Text()
	if o.missing == nil {
		o.missing = make([]bool, t.Rows)
	}
	return o, nil
}

// metrics gives every measure that fits target and answers, over the given rows (nil: all) whose truth is known.
func (o *outcome) metrics(rows []int) (map[string]score.Value, error) {
	if rows == nil {
		rows = make([]int, len(o.words))
		for i := range rows {
			rows[i] = i
		}
	}
	rows = slices.DeleteFunc(slices.Clone(rows), func(r int) bool { return o.missing[r] })
	if len(rows) == 0 {
		return nil, problem.New(problem.Invalid, "No row has a known target.")
	}
	switch {
	case o.answers.Type == tensor.Bytes || o.answers.Type == tensor.Bool:
		return o.wordMetrics(rows)
	case o.width > 1:
		return o.classMetrics(rows)
	case o.binary(rows):
		return o.binaryMetrics(rows)
	case o.truth.Numbers != nil:
		return o.numberMetrics(rows)
	}
	return nil, problem.New(problem.Invalid, "The target %q holds words and the model answers numbers; name the word for the positive class in the suite (positive).", clip(o.truth.Name))
}

// binary reports whether the truth is of two classes, coded 0 and 1 or by a word for the positive one.
func (o *outcome) binary(rows []int) bool {
	if o.suite.Positive != "" {
		return true
	}
	if o.truth.Numbers == nil {
		return false
	}
	for _, r := range rows {
		if v := o.truth.Numbers[r]; v != 0 && v != 1 {
			return false
		}
	}
	return true
}

func (o *outcome) positive(r int) bool {
	if o.suite.Positive != "" {
		return o.words[r] == o.suite.Positive
	}
	return o.truth.Numbers[r] == 1
}

func (o *outcome) binaryMetrics(rows []int) (map[string]score.Value, error) {
	truth, scores := make([]bool, len(rows)), make([]float64, len(rows))
	for i, r := range rows {
		truth[i], scores[i] = o.positive(r), o.answers.Float64(r)
	}
	threshold := 0.5
	if o.suite.Threshold != nil {
		threshold = *o.suite.Threshold
	}
	b, err := score.NewBinary(truth, scores, threshold)
	if err != nil {
		return nil, problem.New(problem.Invalid, "The answers cannot be judged: %s.", err)
	}
	return b.Metrics(), nil
}

func (o *outcome) numberMetrics(rows []int) (map[string]score.Value, error) {
	truth, predicted := make([]float64, len(rows)), make([]float64, len(rows))
	whole := true
	for i, r := range rows {
		truth[i], predicted[i] = o.truth.Numbers[r], o.answers.Float64(r)
		whole = whole && truth[i] == math.Trunc(truth[i]) && predicted[i] == math.Trunc(predicted[i]) && math.Abs(truth[i]) < 1e6
	}
	reg, err := score.NewRegression(truth, predicted)
	if err != nil {
		return nil, problem.New(problem.Invalid, "The answers cannot be judged: %s.", err)
	}
	out := reg.Metrics()
	if whole { // whole numbers may be classes
		a, b := make([]string, len(rows)), make([]string, len(rows))
		for i := range rows {
			a[i], b[i] = strconv.Itoa(int(truth[i])), strconv.FormatFloat(predicted[i], 'f', 0, 64)
		}
		if m, err := score.NewMulticlass(a, b); err == nil {
			for k, v := range m.Metrics() {
				out[k] = v
			}
		}
	}
	return out, nil
}

// classMetrics judges one probability per class; classes are numbered from 0.
func (o *outcome) classMetrics(rows []int) (map[string]score.Value, error) {
	if o.truth.Numbers == nil {
		return nil, problem.New(problem.Invalid, "The model gives one probability per class; the target %q must number the classes from 0.", clip(o.truth.Name))
	}
	truth, p := make([]int, len(rows)), make([][]float64, len(rows))
	a, b := make([]string, len(rows)), make([]string, len(rows))
	for i, r := range rows {
		v := o.truth.Numbers[r]
		if v != math.Trunc(v) || v < 0 || v >= float64(o.width) {
			return nil, problem.New(problem.Invalid, "Row %d has the target %v; the model knows the classes 0 to %d.", r+1, v, o.width-1)
		}
		truth[i], p[i] = int(v), make([]float64, o.width)
		best := 0
		for k := range o.width {
			p[i][k] = o.answers.Float64(r*o.width + k)
			if p[i][k] > p[i][best] {
				best = k
			}
		}
		a[i], b[i] = strconv.Itoa(truth[i]), strconv.Itoa(best)
	}
	m, err := score.NewMulticlass(a, b)
	if err != nil {
		return nil, problem.New(problem.Invalid, "The answers cannot be judged: %s.", err)
	}
	out := m.Metrics()
	if q, err := score.NewProbabilities(truth, p); err == nil {
		out["log_loss"], out["roc_auc"] = q.LogLoss(), q.ROCAUC()
	}
	return out, nil
}

// wordMetrics compares words, or truth values, with the target; a target of 0 and 1 is read as false and true.
func (o *outcome) wordMetrics(rows []int) (map[string]score.Value, error) {
	truth, predicted := make([]string, len(rows)), make([]string, len(rows))
	values := o.answers.Type == tensor.Bool
	for i, r := range rows {
		truth[i] = o.words[r]
		if values {
			predicted[i] = strconv.FormatBool(o.answers.B[r*o.width])
			switch truth[i] {
			case "1":
				truth[i] = "true"
			case "0":
				truth[i] = "false"
			}
			continue
		}
		predicted[i] = o.answers.S[r*o.width]
	}
	m, err := score.NewMulticlass(truth, predicted)
	if err != nil {
		return nil, problem.New(problem.Invalid, "The answers cannot be judged: %s.", err)
	}
	out := m.Metrics()
	positive := o.suite.Positive
	if positive == "" && values {
		positive = "true"
	}
	if positive == "" {
		return out, nil
	}
	yes, scores := make([]bool, len(rows)), make([]float64, len(rows))
	for i := range rows {
		yes[i] = truth[i] == positive
		if predicted[i] == positive {
			scores[i] = 1
		}
	}
	if b, err := score.NewBinary(yes, scores, 0.5); err == nil { // a decision has no probability: only what counts decisions
		for k, v := range map[string]score.Value{"precision": b.Precision(), "recall": b.Recall(), "specificity": b.Specificity(), "f1": b.F1(), "balanced_accuracy": b.Balanced()} {
			out[k] = v
		}
	}
	return out, nil
}
