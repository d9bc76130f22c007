package linear

import (
	"encoding/json"
	"strconv"

	"keelson/internal/engine"
	"keelson/internal/problem"
)

var portableLinks = map[string]string{"identity": engine.LinkIdentity, "log": engine.LinkExp, "logit": engine.LinkLogistic, "softmax": engine.LinkSoftmax, "ovr": engine.LinkOVR,
	"sqrt": engine.LinkSquare, "inverse": engine.LinkInverse, "cloglog": engine.LinkCloglog}

// Portable takes the model apart.
func (m *model) Portable() (engine.Formula, error) {
	f := engine.Formula{Input: m.input, Output: m.output, Features: len(m.features), Double: true, Groups: m.rows, Base: append([]float64{}, m.intercept...), Link: portableLinks[m.link],
		Labels: m.classes, Numbers: m.numbers, Threshold: m.threshold, Label: Label}
	if f.Link == "" {
		return f, problem.New(problem.Unsupported, "The link %s has no operator.", m.link)
	}
	f.Weights = make([]float64, m.rows*f.Features)
	for i, x := range m.features {
		if x.words != nil || x.numbers != nil {
			return f, problem.New(problem.Unsupported, "The feature %q has categories.", x.name)
		}
		f.Columns = append(f.Columns, x.name)
		if x.missing != nil {
			if f.Fill == nil {
				f.Fill = make([]float64, f.Features)
			}
			f.Fill[i] = *x.missing
		}
		for g := range m.rows {
			w := m.weights[g*m.columns+x.column] / x.scale
			f.Weights[g*f.Features+i] = w
			f.Base[g] -= w * x.mean
		}
	}
	f.Pair = len(m.classes) == 2 && m.rows == 1 && m.link != "identity"
	return f, nil
}

// Write makes the file of a formula of weights whose sums are its answers (LinkIdentity). It fails with
// problem.Unsupported otherwise.
func Write(f engine.Formula) ([]byte, error) {
	if f.Weights == nil {
		return nil, problem.New(problem.Unsupported, "It has trees instead of weights.")
	}
	if f.Link != engine.LinkIdentity || len(f.Labels)+len(f.Numbers) > 0 || f.Pair {
		return nil, problem.New(problem.Unsupported, "Its answers are more than its sums.")
	}
	d := Document{Format: Mark, Input: other(f.Input, Input), Output: other(f.Output, Output), Link: "identity", Intercept: f.Base}
	for i := range f.Features {
		x := Feature{Name: "f" + strconv.Itoa(i)}
		if i < len(f.Columns) {
			x.Name = f.Columns[i]
		}
		if f.Fill != nil {
			x.Missing = &f.Fill[i]
		}
		d.Features = append(d.Features, x)
	}
	rows := make([][]float64, f.Groups)
	for g := range rows {
		rows[g] = f.Weights[g*f.Features : (g+1)*f.Features]
	}
	var err error
	if d.Coefficients, err = json.Marshal(rows); err != nil {
		return nil, err
	}
	return json.Marshal(d)
}

// other is a name that is not the usual one, which needs no mention.
func other(name, usual string) string {
	if name == usual {
		return ""
	}
	return name
}
