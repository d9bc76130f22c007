package engine

import (
	"fmt"
	"slices"
	"strings"

	"keelson/internal/problem"
	"keelson/internal/tensor"
)

// Signature says what a model takes and gives. Its JSON is stored with every version:
//
//	{"inputs":[{"name":"input","datatype":"FP32","shape":[-1,30],"columns":["mean radius",…]}],
//	 "outputs":[{"name":"predict","datatype":"FP32","shape":[-1,1]}]}
type Signature struct {
	Inputs  []Spec `json:"inputs"`
	Outputs []Spec `json:"outputs"`
}

// Spec describes one tensor. −1 in Shape is any length; the first dimension counts rows. Columns, when known, name the
// values of the second dimension in order; a model whose only input has columns also takes one tensor of shape [n] or
// [n,1] per column instead.
type Spec struct {
	Name     string   `json:"name"`
	Datatype string   `json:"datatype" doc:"protocol name: FP32, INT64, BYTES, …"`
	Shape    []int    `json:"shape"`
	Columns  []string `json:"columns,omitempty"`
	Optional bool     `json:"optional,omitempty" doc:"may be left out; the model has a default"`
	Doc      string   `json:"doc,omitempty"`
}

// Fits tells whether a tensor of this shape is one that the spec allows.
func (s Spec) Fits(shape []int) bool {
	if len(shape) != len(s.Shape) {
		return false
	}
	for i, n := range s.Shape {
		if n >= 0 && shape[i] != n {
			return false
		}
	}
	return true
}

// Check fails with problem.Invalid when s is not a usable signature: no inputs or outputs, a name missing or twice, an
// unknown datatype, a dimension below −1.
func (s Signature) Check() error {
	if len(s.Inputs) == 0 || len(s.Outputs) == 0 {
		return problem.New(problem.Invalid, "A signature needs at least one input and one output.").At("signature")
	}
	for side, specs := range map[string][]Spec{"inputs": s.Inputs, "outputs": s.Outputs} {
		names := map[string]bool{}
		for i, spec := range specs {
			at := fmt.Sprintf("signature.%s[%d]", side, i)
			if spec.Name == "" || names[spec.Name] {
				return problem.New(problem.Invalid, "Every tensor of a signature needs a name of its own; %q is missing or given twice.", spec.Name).At(at + ".name")
			}
			names[spec.Name] = true
			if _, err := tensor.ParseType(spec.Datatype); err != nil {
				return problem.New(problem.Invalid, "%s", err.Error()).At(at + ".datatype")
			}
			for _, d := range spec.Shape {
				if d < -1 {
					return problem.New(problem.Invalid, "The dimension %d is neither a length nor −1 (any).", d).At(at + ".shape")
				}
			}
		}
	}
	return nil
}

// Differs says in one phrase how o differs from s in what callers see (names, datatypes, shapes, columns), or "".
func (s Signature) Differs(o Signature) string {
	if d := differs("input", s.Inputs, o.Inputs); d != "" {
		return d
	}
	return differs("output", s.Outputs, o.Outputs)
}

func differs(what string, a, b []Spec) string {
	if len(a) != len(b) {
		return fmt.Sprintf("%d %ss instead of %d", len(b), what, len(a))
	}
	for i, x := range a {
		y := b[i]
		switch {
		case x.Name != y.Name:
			return fmt.Sprintf("%s %q instead of %q", what, y.Name, x.Name)
		case x.Datatype != y.Datatype:
			return fmt.Sprintf("%s %q is %s instead of %s", what, x.Name, y.Datatype, x.Datatype)
		case fmt.Sprint(x.Shape) != fmt.Sprint(y.Shape):
			return fmt.Sprintf("%s %q has shape %v instead of %v", what, x.Name, y.Shape, x.Shape)
		case strings.Join(x.Columns, "\x00") != strings.Join(y.Columns, "\x00"):
			return fmt.Sprintf("%s %q has other columns", what, x.Name)
		}
	}
	return ""
}

// WithColumns gives s with the names of columns that declared knows and s does not: those of matrices of the same name and
// width. s stays as it is.
func (s Signature) WithColumns(declared Signature) Signature {
	s.Inputs, s.Outputs = withColumns(s.Inputs, declared.Inputs), withColumns(s.Outputs, declared.Outputs)
	return s
}

func withColumns(own, declared []Spec) []Spec {
	own = slices.Clone(own)
	for i := range own {
		for _, d := range declared {
			if shape := own[i].Shape; d.Name == own[i].Name && len(own[i].Columns) == 0 && len(shape) == 2 && len(d.Columns) == shape[1] {
				own[i].Columns = d.Columns
			}
		}
	}
	return own
}

// Column is one feature over the rows of a call. Numbers is set for numbers and truth values (0 and 1, missing NaN),
// Texts for BYTES.
type Column struct {
	Name    string
	Numbers []float64
	Texts   []string
}

// Columns takes the tensors of one call apart into named features, each with one value per row. A tensor of shape [n] or
// [n,1] is one column of its own name; a matrix [n,k] becomes k columns named by the signature, or f0, f1, … where the
// signature has no names, NAME_0, NAME_1, … where there are several matrices. Tensors of higher rank are flattened per row. The zero Signature is allowed.
func (s Signature) Columns(in []tensor.Tensor) []Column {
	c := Columns{Of: s}
	return c.Take(in)
}

// Columns does for many calls of one signature, one after the other, what Signature.Columns does for one: in the memory of
// the call before, and with names that are made once for calls of one form.
type Columns struct {
	Of   Signature
	like []form // of the tensors that list has names for
	list []Column
}

// form is what a tensor's columns are named by.
type form struct {
	name  string
	width int
}

// Take takes the tensors of a call apart. The next call of Take overwrites what it gives.
func (c *Columns) Take(in []tensor.Tensor) []Column {
	same := len(in) == len(c.like)
	for i := 0; same && i < len(in); i++ {
		same = c.like[i].width == in[i].Width() && c.like[i].name == in[i].Name
	}
	if !same {
		c.name(in)
	}
	at := 0
	for i := range in {
		t := &in[i]
		n, w := t.Rows(), t.Width()
		for k := range w {
			o := &c.list[at]
			at++
			if t.Type == tensor.Bytes {
				o.Numbers, o.Texts = nil, slices.Grow(o.Texts[:0], n)[:n]
				for r := range n {
					o.Texts[r] = t.S[r*w+k]
				}
				continue
			}
			o.Numbers, o.Texts = slices.Grow(o.Numbers[:0], n)[:n], nil
			if t.F32 != nil {
				for r := range n {
					o.Numbers[r] = float64(t.F32[r*w+k])
				}
				continue
			}
			for r := range n {
				o.Numbers[r] = t.Float64(r*w + k)
			}
		}
	}
	return c.list
}

// name makes columns with their names for tensors of a new form.
func (c *Columns) name(in []tensor.Tensor) {
	c.like, c.list = nil, nil
	wide := 0
	for i := range in {
		c.like = append(c.like, form{in[i].Name, in[i].Width()})
		if in[i].Width() > 1 {
			wide++
		}
	}
	for i := range in {
		t := &in[i]
		w := t.Width()
		var names []string
		for _, spec := range c.Of.Inputs {
			if spec.Name == t.Name || len(c.Of.Inputs) == 1 && len(in) == 1 {
				names = spec.Columns
			}
		}
		for k := range w {
			o := Column{Name: t.Name}
			switch {
			case k < len(names) && len(names) == w:
				o.Name = names[k]
			case w > 1 && wide > 1: // two matrices without names would both have f0
				o.Name = fmt.Sprintf("%s_%d", t.Name, k)
			case w > 1:
				o.Name = fmt.Sprintf("f%d", k)
			}
			c.list = append(c.list, o)
		}
	}
}
