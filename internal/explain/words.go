package explain

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Fact is one feature of one decision.
type Fact struct {
	Feature      string
	Value        string  // as a reader writes it: Number, or a category
	Typical      string  // "" when it is not known
	Contribution float64 // in the unit of the answer
}

// Words says what a feature did to what: "income of 1,200 lowered the score by 0.12; typical is 2,300".
func (f Fact) Words(what string) string {
	var b strings.Builder
	b.WriteString(f.Feature)
	if f.Value == "" {
		b.WriteString(" (missing)")
	} else {
		b.WriteString(" of " + f.Value)
	}
	switch {
	case f.Contribution > 0:
		fmt.Fprintf(&b, " raised %s by %s", what, Number(f.Contribution))
	case f.Contribution < 0:
		fmt.Fprintf(&b, " lowered %s by %s", what, Number(-f.Contribution))
	default:
		fmt.Fprintf(&b, " did not move %s", what)
	}
	if f.Typical != "" {
		b.WriteString("; typical is " + f.Typical)
	}
	return b.String()
}

// Summary says in one sentence, without the unit, what spoke for and against an answer: "Above all income of 36,000 lowered the
// answer, and debt of 900; age of 23 raised it." what is "the answer", or its name. Of each side the three largest are named; it is ""
// when nothing moved the answer.
func Summary(facts []Fact, what string) string {
	var sides [2][]Fact // lowered, raised
	lead := -1
	for _, f := range facts {
		side := 1
		switch {
		case f.Contribution == 0:
			continue
		case f.Contribution < 0:
			side = 0
		}
		if lead < 0 || math.Abs(f.Contribution) > math.Abs(sides[lead][0].Contribution) {
			lead = side
		}
		sides[side] = append(sides[side], f)
	}
	if lead < 0 {
		return ""
	}
	verbs := [2]string{"lowered", "raised"}
	out := fmt.Sprintf("Above all %s %s %s", list(sides[lead]), verbs[lead], what)
	if other := sides[1-lead]; len(other) > 0 {
		out += fmt.Sprintf("; %s %s it", list(other), verbs[1-lead])
	}
	return out + "."
}

// list names the first three facts with their values.
func list(facts []Fact) string {
	var names []string
	for _, f := range facts[:min(len(facts), 3)] {
		name := f.Feature + " (missing)"
		if f.Value != "" {
			name = f.Feature + " of " + f.Value
		}
		names = append(names, name)
	}
	if n := len(names); n > 1 {
		return strings.Join(names[:n-1], ", ") + " and " + names[n-1]
	}
	return names[0]
}

// Number writes v for people: thousands apart by commas, at most three digits behind the first that counts for fractions,
// whole numbers whole. A missing value (NaN) is "".
func Number(v float64) string {
	switch {
	case math.IsNaN(v):
		return ""
	case v == 0:
		return "0"
	case math.IsInf(v, 0) || math.Abs(v) >= 1e15 || math.Abs(v) < 1e-4:
		return strconv.FormatFloat(v, 'g', 3, 64)
	}
	places := 0
	if v != math.Trunc(v) {
		places = max(0, 2-int(math.Floor(math.Log10(math.Abs(v)))))
	}
	if math.Abs(v) >= 1000 {
		places = 0
	}
	text := strconv.FormatFloat(v, 'f', places, 64)
	if strings.Contains(text, ".") {
		text = strings.TrimRight(strings.TrimRight(text, "0"), ".")
	}
	sign := ""
	if rest, ok := strings.CutPrefix(text, "-"); ok {
		sign, text = "-", rest
	}
	whole, part, fraction := strings.Cut(text, ".")
	for i := len(whole) - 3; i > 0; i -= 3 {
		whole = whole[:i] + "," + whole[i:]
	}
	if fraction {
		whole += "." + part
	}
	return sign + whole
}

// Widened gives a single-precision value as the decimal a person wrote: 0.1 and not 0.10000000149011612.
func Widened(v float32) float64 {
	out, _ := strconv.ParseFloat(strconv.FormatFloat(float64(v), 'g', -1, 32), 64) // its own form: cannot fail
	return out
}
