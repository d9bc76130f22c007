package reason

import (
	"fmt"
	"math"
	"slices"

	"keelson/internal/engine"
	"keelson/internal/tensor"
)

// cells turns the tensors of a call into rows of numbers and back. Texts become their place in a list of the texts seen.
type cells struct {
	form  []tensor.Tensor // name, type and shape; no data
	width []int
	names []string
	texts []map[string]float64 // per cell of a row, nil where it is a number
	words [][]string
}

func newCells(sig engine.Signature, in []tensor.Tensor) *cells {
	c := &cells{}
	for i := range in {
		t := &in[i]
		w := 1
		for _, d := range t.Shape[min(1, len(t.Shape)):] {
			w *= d
		}
		c.form, c.width = append(c.form, tensor.Tensor{Name: t.Name, Type: t.Type, Shape: t.Shape}), append(c.width, w)
		var columns []string
		for _, s := range sig.Inputs {
			if (s.Name == t.Name || len(in) == 1 && len(sig.Inputs) == 1) && len(s.Columns) == w {
				columns = s.Columns
			}
		}
		for k := range w {
			switch {
			case columns != nil:
				c.names = append(c.names, columns[k])
			case w == 1:
				c.names = append(c.names, t.Name)
			default:
				c.names = append(c.names, fmt.Sprintf("%s[%d]", t.Name, k))
			}
			var known map[string]float64
			if t.Type == tensor.Bytes {
				known = map[string]float64{}
			}
			c.texts, c.words = append(c.texts, known), append(c.words, nil)
		}
	}
	return c
}

// read gives the rows of in; false when they have another form.
func (c *cells) read(in []tensor.Tensor) ([]float64, bool) {
	if len(in) != len(c.form) || len(in) == 0 {
		return nil, false
	}
	n, f := in[0].Rows(), len(c.names)
	rows := make([]float64, n*f)
	at := 0
	for i, form := range c.form {
		t := tensor.Find(in, form.Name)
		w := c.width[i]
		if t == nil || (t.Type == tensor.Bytes) != (form.Type == tensor.Bytes) || t.Rows() != n || t.Len() != n*w || len(t.Shape) != len(form.Shape) || !slices.Equal(t.Shape[min(1, len(t.Shape)):], form.Shape[min(1, len(form.Shape)):]) {
			return nil, false
		}
		for r := range n {
			for k := range w {
				if t.Type != tensor.Bytes {
					rows[r*f+at+k] = t.Float64(r*w + k)
					continue
				}
				word := t.S[r*w+k]
				code, ok := c.texts[at+k][word]
				if !ok {
					code = float64(len(c.words[at+k]))
					c.texts[at+k][word] = code
					c.words[at+k] = append(c.words[at+k], word)
				}
				rows[r*f+at+k] = code
			}
		}
		at += w
	}
	return rows, true
}

// write gives rows as tensors of the form.
func (c *cells) write(rows []float64) []tensor.Tensor {
	f := len(c.names)
	n := len(rows) / f
	out := make([]tensor.Tensor, len(c.form))
	at := 0
	for i, form := range c.form {
		t := tensor.Tensor{Name: form.Name, Type: form.Type, Shape: slices.Clone(form.Shape)}
		if len(t.Shape) > 0 {
			t.Shape[0] = n
		}
		for r := range n {
			for k := at; k < at+c.width[i]; k++ {
				v := rows[r*f+k]
				switch t.Type {
				case tensor.Bytes:
					t.S = append(t.S, c.words[k][int(v)])
				case tensor.Bool:
					t.B = append(t.B, v != 0)
				case tensor.Int8, tensor.Int16, tensor.Int32, tensor.Int64:
					t.I64 = append(t.I64, int64(v))
				case tensor.Uint8, tensor.Uint16, tensor.Uint32, tensor.Uint64:
					t.U64 = append(t.U64, uint64(v))
				case tensor.FP64:
					t.F64 = append(t.F64, v)
				default:
					t.F32 = append(t.F32, float32(v))
				}
			}
		}
		at += c.width[i]
		out[i] = t
	}
	return out
}

// value is cell j of a row.
func (c *cells) value(j int, v float64) engine.Value {
	if c.texts[j] != nil {
		return engine.Value{Text: c.words[j][int(v)], Word: true, Number: math.NaN()}
	}
	return engine.Value{Number: v}
}

// typical is the lower median of each number that is not missing, and the most frequent text (of equals the first in
// order).
func (c *cells) typical(rows []float64) []engine.Value {
	f := len(c.names)
	out := make([]engine.Value, f)
	for j := range f {
		var values []float64
		for r := 0; r < len(rows); r += f {
			if v := rows[r+j]; v == v {
				values = append(values, v)
			}
		}
		slices.Sort(values)
		out[j].Number = math.NaN()
		if len(values) == 0 {
			continue
		}
		if c.texts[j] == nil {
			out[j].Number = values[(len(values)-1)/2]
			continue
		}
		most, run := 0, 0
		for i, v := range values {
			if i > 0 && v == values[i-1] {
				run++
			} else {
				run = 1
			}
			if run > most {
				most = run
				out[j] = c.value(j, v)
			}
		}
	}
	return out
}
