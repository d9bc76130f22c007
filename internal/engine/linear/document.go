package linear

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"

	"keelson/internal/problem"
)

// Mark is what the field format says.
const Mark = "keelson-linear-1"

// Document is the file. The number of columns is one per number and one per category, in the order of the features.
//
//	{"format": "keelson-linear-1",
//	 "features": ["age", {"name": "income", "mean": 31000, "scale": 8200, "missing": 30500},
//	              {"name": "city", "categories": ["Bonn", "Köln"], "unknown": "zero"}],
//	 "link": "logit", "intercept": -1.2, "coefficients": [0.03, 0.4, 0.2, -0.1], "classes": ["no", "yes"]}
//
// With one target, coefficients may stand by name instead, and features may then be left out or only describe some:
//
//	{"format": "keelson-linear-1", "link": "log", "intercept": 0.7, "coefficients": {"age": 0.03, "city": {"Bonn": 0.2}}}
type Document struct {
	Format       string          `json:"format"`
	Description  string          `json:"description,omitempty"`
	Input        string          `json:"input,omitempty"`  // name of the matrix; "" is Input
	Output       string          `json:"output,omitempty"` // name of the numbers; "" is Output
	Features     []Feature       `json:"features,omitempty"`
	Link         string          `json:"link"`                // see links; "" is identity
	Intercept    Numbers         `json:"intercept,omitempty"` // one per row of coefficients; missing is 0
	Coefficients json.RawMessage `json:"coefficients"`        // one row, one row per target or class, or an object by name
	Classes      []any           `json:"classes,omitempty"`   // texts or whole numbers
	Targets      []string        `json:"targets,omitempty"`   // names of the numbers that a regression answers
	Threshold    *float64        `json:"threshold,omitempty"` // of two classes: the probability from which the second wins
}

// Feature is one input. It is a number, or a text or whole number with categories, of which each has a column.
type Feature struct {
	Name       string   `json:"name"`
	Mean       float64  `json:"mean,omitempty"`    // taken away first
	Scale      *float64 `json:"scale,omitempty"`   // divided by then; not 0
	Missing    *float64 `json:"missing,omitempty"` // stands for NaN before that; without it NaN is refused
	Categories []any    `json:"categories,omitempty"`
	Unknown    string   `json:"unknown,omitempty"` // refuse (default) or zero: what a category that is not listed does
}

// UnmarshalJSON takes a name alone, too.
func (f *Feature) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '"' {
		return json.Unmarshal(b, &f.Name)
	}
	type plain Feature
	return strict(b, (*plain)(f))
}

// Numbers is one number or a list.
type Numbers []float64

// UnmarshalJSON takes a number alone, too.
func (n *Numbers) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '[' {
		var list []float64
		err := json.Unmarshal(b, &list)
		*n = list
		return err
	}
	var v float64
	err := json.Unmarshal(b, &v)
	*n = Numbers{v}
	return err
}

func strict(b []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return err
	}
	if _, err := d.Token(); err != io.EOF {
		return fmt.Errorf("something follows the document")
	}
	return nil
}

func broken(format string, a ...any) *problem.Error {
	return problem.New(problem.Invalid, "The linear model cannot be used: "+format+".", a...)
}

// maxColumns bounds features and columns.
const maxColumns = 1 << 20

// feature is a Feature made ready.
type feature struct {
	name        string
	mean, scale float64
	missing     *float64
	text        bool
	words       map[string]int  // column of each category
	numbers     map[float64]int // of whole numbers
	zero        bool            // what is not listed counts nothing
	column      int             // the first
}

// formula is a checked document: rows of coefficients over columns.
type formula struct {
	input     string // names of the tensors
	output    string
	features  []feature
	columns   int
	rows      int
	weights   []float64 // rows × columns
	intercept []float64
	link      string
	classes   []string
	numbers   []int64 // the classes when they are numbers
	targets   []string
	threshold float64
	texts     bool // any feature is a text
}

func parse(data []byte) (*formula, error) {
	var d Document
	if err := strict(data, &d); err != nil {
		return nil, broken("it is no document of the form %s: %v", Mark, err).Because(err)
	}
	if d.Format != Mark {
		return nil, broken("its format is %q instead of %q", clip(d.Format), Mark)
	}
	f := &formula{input: cmp.Or(d.Input, Input), output: cmp.Or(d.Output, Output), link: d.Link, targets: d.Targets, threshold: 0.5}
	if f.link == "" {
		f.link = "identity"
	}
	if links[f.link] == nil && f.link != "softmax" && f.link != "ovr" {
		return nil, broken("its link is %q; identity, log, logit, probit, cloglog, sqrt, inverse, inverse_squared, softmax and ovr are known", clip(f.link))
	}
	raw := bytes.TrimSpace(d.Coefficients)
	var rows [][]float64
	switch {
	case len(raw) == 0:
		return nil, broken("it has no coefficients")
	case raw[0] == '{':
		row, features, err := named(raw, d.Features)
		if err != nil {
			return nil, err
		}
		rows, d.Features = [][]float64{row}, features
	default:
		if err := json.Unmarshal(raw, &rows); err != nil {
			var row []float64
			if err := json.Unmarshal(raw, &row); err != nil {
				return nil, broken("its coefficients are neither a list of numbers, nor lists of them, nor numbers by name").Because(err)
			}
			rows = [][]float64{row}
		}
	}
	if err := f.lay(d.Features); err != nil {
		return nil, err
	}
	if d.Input != "" && f.texts {
		return nil, broken("it names its input %q, but with texts among its features it takes one tensor per feature, under the feature's name", clip(d.Input))
	}
	if f.rows = len(rows); f.rows == 0 {
		return nil, broken("it has no coefficients")
	}
	for i, r := range rows {
		if len(r) != f.columns {
			return nil, broken("row %d has %d coefficients for %d columns", i, len(r), f.columns)
		}
		f.weights = append(f.weights, r...)
	}
	switch f.intercept = d.Intercept; len(f.intercept) {
	case f.rows:
	case 0:
		f.intercept = make([]float64, f.rows)
	default:
		return nil, broken("it has %d intercepts for %d rows of coefficients", len(f.intercept), f.rows)
	}
	if err := f.answers(d); err != nil {
		return nil, err
	}
	if f.output == Label && len(f.classes) > 0 {
		return nil, broken("it names its numbers %q, as the class that wins is named", Label)
	}
	return f, nil
}

// named reads coefficients by name. Features that the document describes keep their place; others follow in the order of
// the file.
func named(raw []byte, described []Feature) ([]float64, []Feature, error) {
	d := json.NewDecoder(bytes.NewReader(raw))
	if _, err := d.Token(); err != nil {
		return nil, nil, broken("its coefficients are cut off").Because(err)
	}
	features := slices.Clone(described)
	place := map[string]int{}
	for i, f := range features {
		place[f.Name] = i
	}
	values := map[string][]float64{}
	for d.More() {
		t, err := d.Token()
		name, _ := t.(string)
		var v json.RawMessage
		if err == nil {
			err = d.Decode(&v)
		}
		if err != nil {
			return nil, nil, broken("its coefficients are cut off").Because(err)
		}
		if _, ok := values[name]; ok {
			return nil, nil, broken("the coefficient of %q stands twice", clip(name))
		}
		i, known := place[name]
		if !known {
			i = len(features)
			features = append(features, Feature{Name: name})
		}
		if len(features) > maxColumns {
			return nil, nil, broken("it has more than %d features", maxColumns)
		}
		if v[0] != '{' {
			var n float64
			if err := json.Unmarshal(v, &n); err != nil {
				return nil, nil, broken("the coefficient of %q is neither a number nor numbers by category", clip(name)).Because(err)
			}
			values[name] = []float64{n}
			continue
		}
		var by map[string]float64
		if err := json.Unmarshal(v, &by); err != nil {
			return nil, nil, broken("the coefficients of %q are not numbers by category", clip(name)).Because(err)
		}
		if features[i].Categories == nil {
			for c := range by {
				features[i].Categories = append(features[i].Categories, c)
			}
			slices.SortFunc(features[i].Categories, func(a, b any) int { return bytes.Compare([]byte(a.(string)), []byte(b.(string))) })
			if features[i].Unknown == "" {
				features[i].Unknown = "zero" // the level that has no coefficient is the reference
			}
		}
		row := make([]float64, len(features[i].Categories))
		for k, c := range features[i].Categories {
			row[k] = by[label(c)]
			delete(by, label(c))
		}
		if len(by) > 0 {
			return nil, nil, broken("%q has a coefficient for a category that its feature does not list", clip(name))
		}
		values[name] = row
	}
	var row []float64
	for _, f := range features {
		v, ok := values[f.Name]
		if !ok {
			return nil, nil, broken("the feature %q has no coefficient", clip(f.Name))
		}
		row = append(row, v...)
	}
	return row, features, nil
}

// label writes a category or class as text.
func label(v any) string {
	if f, ok := v.(float64); ok {
		return strconv.FormatFloat(f, 'f', -1, 64)
	}
	s, _ := v.(string)
	return s
}

// lay gives every feature its columns.
func (f *formula) lay(list []Feature) error {
	if len(list) == 0 || len(list) > maxColumns {
		return broken("it has %d features", len(list))
	}
	seen := make(map[string]bool, len(list))
	for _, d := range list {
		if d.Name == "" || seen[d.Name] {
			return broken("the feature %q has no name of its own", clip(d.Name))
		}
		seen[d.Name] = true
		x := feature{name: d.Name, mean: d.Mean, scale: 1, missing: d.Missing, column: f.columns, zero: d.Unknown == "zero"}
		if d.Scale != nil {
			if x.scale = *d.Scale; x.scale == 0 {
				return broken("the feature %q has the scale 0", clip(d.Name))
			}
		}
		if d.Unknown != "" && d.Unknown != "zero" && d.Unknown != "refuse" {
			return broken("the feature %q says unknown %q; zero and refuse are known", clip(d.Name), clip(d.Unknown))
		}
		if d.Categories == nil {
			f.features = append(f.features, x)
			f.columns++
			continue
		}
		if d.Mean != 0 || d.Scale != nil || d.Missing != nil || len(d.Categories) == 0 {
			return broken("the feature %q has categories; mean, scale and missing are for numbers", clip(d.Name))
		}
		for _, c := range d.Categories {
			var twice bool
			switch v := c.(type) {
			case string:
				if x.words == nil {
					x.words, x.text = make(map[string]int, len(d.Categories)), true
				}
				_, twice = x.words[v]
				x.words[v] = f.columns
			case float64:
				if x.numbers == nil {
					x.numbers = make(map[float64]int, len(d.Categories))
				}
				_, twice = x.numbers[v]
				x.numbers[v] = f.columns
			default:
				return broken("a category of %q is neither a text nor a number", clip(d.Name))
			}
			if twice || x.words != nil && x.numbers != nil {
				return broken("the categories of %q stand twice or mix texts with numbers", clip(d.Name))
			}
			f.columns++
		}
		f.texts = f.texts || x.text
		f.features = append(f.features, x)
	}
	if f.columns > maxColumns {
		return broken("it has more than %d columns", maxColumns)
	}
	return nil
}

// answers checks classes and targets against the rows of coefficients.
func (f *formula) answers(d Document) error {
	for _, c := range d.Classes {
		switch v := c.(type) {
		case string:
		case float64:
			if v != math.Trunc(v) || math.Abs(v) > 1<<53 {
				return broken("the class %v is no whole number", v)
			}
			f.numbers = append(f.numbers, int64(v))
		default:
			return broken("a class is neither a text nor a whole number")
		}
		if slices.Contains(f.classes, label(c)) {
			return broken("the class %q stands twice", clip(label(c)))
		}
		if f.classes = append(f.classes, label(c)); len(f.classes) > 1<<14 {
			return broken("it has more than %d classes", 1<<14)
		}
	}
	if len(f.numbers) > 0 && len(f.numbers) < len(f.classes) {
		return broken("its classes mix texts with numbers")
	}
	n := len(f.classes)
	switch {
	case n == 1 || n > 0 && f.rows != n && !(n == 2 && f.rows == 1):
		return broken("it has %d classes for %d rows of coefficients", n, f.rows)
	case (f.link == "softmax" || f.link == "ovr") && (n == 0 || f.rows == 1):
		return broken("the link %s needs classes with a row of coefficients each", f.link)
	case n > 2 && f.link != "softmax" && f.link != "ovr" && f.link != "identity", n == 2 && f.rows == 2 && f.link != "softmax" && f.link != "ovr" && f.link != "identity":
		return broken("%d classes take the link softmax, ovr or identity (scores), not %s", n, f.link)
	case n == 2 && f.rows == 1 && !slices.Contains([]string{"logit", "probit", "cloglog", "identity"}, f.link):
		return broken("two classes take the link logit, probit, cloglog or identity (scores), not %s", f.link)
	case n > 0 && len(f.targets) > 0:
		return broken("it has both classes and targets")
	case len(f.targets) > 0 && len(f.targets) != f.rows:
		return broken("it has %d targets for %d rows of coefficients", len(f.targets), f.rows)
	case d.Threshold != nil && (n != 2 || f.rows != 1 || f.link == "identity" || !(*d.Threshold >= 0 && *d.Threshold <= 1)):
		return broken("a threshold lies between 0 and 1 and is for two classes with probabilities")
	}
	if d.Threshold != nil {
		f.threshold = *d.Threshold
	}
	return nil
}

// clip shortens what others wrote for a message.
func clip(s string) string { return problem.Clip(s, 80) }
