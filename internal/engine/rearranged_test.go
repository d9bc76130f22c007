package engine_test

import (
	"strings"
	"testing"

	"keelson/internal/engine"
)

func TestMatricesThatMeanAnotherThingAreFound(t *testing.T) {
	one := func(name string, columns ...string) engine.Signature {
		return engine.Signature{Inputs: []engine.Spec{{Name: name, Datatype: "FP32", Shape: []int{-1, max(len(columns), 1)}, Columns: columns}}}
	}
	wide := func(prefix string) engine.Signature {
		var list []string
		for _, c := range strings.Fields("a b c d e f") {
			list = append(list, prefix+c)
		}
		return one("input", list...)
	}
	for name, c := range map[string]struct {
		a, b  engine.Signature
		words string // "" for none
		same  bool
	}{
		"equal columns in their order":                  {one("input", "age", "income"), one("input", "age", "income"), "", false},
		"the order differs":                             {one("input", "age", "income"), one("input", "income", "age"), `column 1 is "income" instead of "age", column 2 is "age" instead of "income"`, true},
		"one column is another":                         {one("input", "age", "income"), one("input", "age", "debt"), `column 2 is "debt" instead of "income"`, true},
		"a column was added at the end":                 {one("input", "age"), one("input", "age", "debt"), "there are 2 columns instead of 1", false},
		"a column was taken out":                        {one("input", "age", "debt", "years"), one("input", "debt", "years"), `column 1 is "debt" instead of "age", column 2 is "years" instead of "debt", there are 2 columns instead of 3`, false},
		"many columns are counted":                      {wide(""), wide("x"), `column 1 is "xa" instead of "a", column 2 is "xb" instead of "b", column 3 is "xc" instead of "c", 3 more differ`, true},
		"columns without names cannot be compared":      {one("input"), one("input", "age", "debt"), "", false},
		"another name of the input is refused by calls": {one("input", "age", "debt"), one("X", "debt", "age"), "", false},
		"one column of one":                             {one("input", "age"), one("input", "debt"), "", false},
	} {
		t.Run(name, func(t *testing.T) {
			var words []string
			same := false
			for _, r := range c.a.Rearranged(c.b) {
				words, same = append(words, r.Words()), r.SameWidth()
			}
			if got := strings.Join(words, "; "); got != c.words || same != c.same {
				t.Errorf("got %q, same width %v; want %q, %v", got, same, c.words, c.same)
			}
		})
	}
}
