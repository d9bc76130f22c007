package engine

import (
	"fmt"
	"slices"
	"strings"
)

// Rearranged is an input of two signatures that both take as a matrix of named columns, but not of the same ones in the
// same order. A call that sends the matrix names no columns: its values are read by their place, so that an answer that
// fits one of the two is wrong for the other.
type Rearranged struct {
	Input         string
	Before, After []string
}

// Rearranged lists the inputs of o whose columns are not those of s in their order; nil when every matrix that fits one
// means the same to the other. Inputs whose columns have no names on one side are left out: there is nothing to compare.
func (s Signature) Rearranged(o Signature) (out []Rearranged) {
	for _, a := range s.Inputs {
		for _, b := range o.Inputs {
			if a.Name == b.Name && len(a.Columns) > 0 && len(b.Columns) > 0 && max(len(a.Columns), len(b.Columns)) > 1 && !slices.Equal(a.Columns, b.Columns) {
				out = append(out, Rearranged{a.Name, a.Columns, b.Columns})
			}
		}
	}
	return out
}

// SameWidth tells that a matrix for one of the two is taken by the other, so that nobody notices the mistake.
func (r Rearranged) SameWidth() bool { return len(r.Before) == len(r.After) }

// told is how many columns Words names.
const told = 3

// Words names the columns that differ: `column 1 is "income" instead of "age", column 2 is "age" instead of "income"`.
func (r Rearranged) Words() string {
	var list []string
	more := 0
	for i, was := range r.Before {
		switch {
		case i >= len(r.After) || r.After[i] == was:
			continue
		case len(list) == told:
			more++
		default:
			list = append(list, fmt.Sprintf("column %d is %q instead of %q", i+1, short(r.After[i]), short(was)))
		}
	}
	if more > 0 {
		list = append(list, fmt.Sprintf("%d more differ", more))
	}
	if !r.SameWidth() {
		list = append(list, fmt.Sprintf("there are %d columns instead of %d", len(r.After), len(r.Before)))
	}
	return strings.Join(list, ", ")
}

// short keeps a name of a file that others wrote within a sentence.
func short(name string) string {
	if r := []rune(name); len(r) > 60 {
		return string(r[:60]) + "…"
	}
	return name
}
