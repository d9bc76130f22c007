package monitor

import (
	"fmt"
	"math"
	"strconv"
)

// layout is how the answers of a window are laid out.
type layout struct {
	class bool     // beside probabilities stands the class that was answered
	last  bool     // it stands behind them
	names []string // of the classes of two probabilities; empty where it is not known
}

// answer takes the outputs of one row: the answered class, where there is one beside probabilities, comes first, and two
// probabilities go by the names of their classes, as far as these are known.
func (w *rows) answer(i int) []outputValue {
	if w.laid == nil {
		w.laid = w.layout()
	}
	out := w.plain(i)
	if n := len(out); w.laid.last && n > 1 {
		class := out[n-1]
		copy(out[1:], out[:n-1])
		out[0] = class
	}
	if w.laid.class && len(out) > 0 {
		out[0].class = true
	}
	if p := chances(out); len(p) == len(w.laid.names) {
		for k, name := range w.laid.names {
			if name != "" {
				p[k].name = name
			}
		}
	}
	return out
}

// plain takes the outputs of one row as they were logged.
func (w *rows) plain(i int) []outputValue {
	out := make([]outputValue, 0, len(w.outputs))
	for k := range w.outputs {
		s := &w.outputs[k]
		v := outputValue{name: s.name, number: nan}
		switch {
		case s.words != nil && i < len(s.words):
			v.word = s.words[i]
		case s.words == nil && i < len(s.numbers):
			v.number = s.numbers[i]
		}
		out = append(out, v)
	}
	return out
}

// layout looks at all rows: one alone may fit both ways, as 0, 1, 0 does.
func (w *rows) layout() *layout {
	l := &layout{}
	n := len(w.outputs)
	if n < 3 {
		return l
	}
	front, back, whole, some := true, true, true, false // where the class may stand; or there is none
	for i := 0; i < w.n && (front || back); i++ {
		p := w.plain(i)
		if missing(p[:n-1]) && missing(p[1:]) {
			continue
		}
		some = true
		front, back, whole = front && isDistribution(p[1:]), back && isDistribution(p[:n-1]), whole && isDistribution(p)
	}
	l.class = some && (front || back) && !whole
	l.last = l.class && !front
	if n == 3 && l.class {
		l.names = w.twoNames(l.last)
	}
	return l
}

func missing(p []outputValue) bool {
	for _, o := range p {
		if !math.IsNaN(o.number) {
			return false
		}
	}
	return true
}

// twoNames are the names of the classes of two probabilities beside a word that says the class: the outputs' own where the
// words are these, else the word that goes with the higher second probability is the second class.
func (w *rows) twoNames(last bool) []string {
	class, p := &w.outputs[0], w.outputs[1:]
	if last {
		class, p = &w.outputs[2], w.outputs[:2]
	}
	if class.words == nil {
		return nil
	}
	type mean struct {
		sum float64
		n   int
	}
	said := map[string]*mean{}
	for i, word := range class.words {
		if word == "" || i >= len(p[1].numbers) || !finite(p[1].numbers[i]) {
			continue
		}
		if said[word] == nil {
			said[word] = &mean{}
		}
		said[word].sum += p[1].numbers[i]
		said[word].n++
	}
	var words []string
	own := true
	for word := range said {
		words = append(words, word)
		own = own && (word == p[0].name || word == p[1].name)
	}
	average := func(word string) float64 { return said[word].sum / float64(said[word].n) }
	switch {
	case len(words) == 0 || len(words) > 2:
		return nil
	case own:
		return []string{p[0].name, p[1].name}
	case len(words) == 2 && average(words[0]) > average(words[1]):
		return []string{words[1], words[0]}
	case len(words) == 2:
		return words
	case average(words[0]) >= 0.5:
		return []string{"", words[0]}
	}
	return []string{words[0], ""}
}

// labelled lists the rows whose outcome is known, in their order. Where the answers are two probabilities whose classes have
// names, outcomes that are such names become whether the second class was true.
func (w *rows) labelled() (out []labelled) {
	for i, truth := range w.outcomes {
		if truth != nil {
			out = append(out, labelled{outputs: w.answer(i), truth: truth})
		}
	}
	var names [2]string
	fit, words := 0, 0
	for _, l := range out {
		p := chances(l.outputs)
		word, isWord := l.truth.(string)
		if !isWord || len(p) != 2 {
			continue
		}
		words++
		if names == [2]string{} {
			names = [2]string{p[0].name, p[1].name}
		}
		if word == names[0] || word == names[1] {
			fit++
		}
	}
	if fit == 0 || 2*fit <= words {
		return out
	}
	for i := range out {
		word, isWord := out[i].truth.(string)
		if isWord && (word == names[0] || word == names[1]) {
			out[i].truth = word == names[1]
		}
	}
	return out
}

// positive tells which of two classes was answered: what the answer says itself, else the one with at least half of the
// probability.
func positive(outputs []outputValue) bool {
	if p := chances(outputs); len(p) == 2 && len(outputs) == 3 {
		switch class := outputs[0]; {
		case class.word != "" && (class.word == p[0].name || class.word == p[1].name):
			return class.word == p[1].name
		case class.number == 0 || class.number == 1:
			return class.number == 1
		}
	}
	return scoreOf(outputs) >= 0.5
}

// cut is the probability from which the second of two classes was answered; 0.5 where the answers do not tell.
func cut(all []labelled) float64 {
	lowest, highest := math.Inf(1), math.Inf(-1) // score of the second class, and of the first
	for _, l := range all {
		s := scoreOf(l.outputs)
		if math.IsNaN(s) || math.IsInf(s, 0) {
			continue
		}
		if positive(l.outputs) {
			lowest = math.Min(lowest, s)
		} else {
			highest = math.Max(highest, s)
		}
	}
	switch {
	case lowest >= 0.5 && highest < 0.5, highest >= lowest:
		return 0.5
	case math.IsInf(lowest, 1): // the second class was never answered
		return math.Max(0.5, math.Nextafter(highest, math.Inf(1)))
	}
	return math.Min(lowest, 1)
}

// strangers says why the outcomes cannot be held against the answers: they are words, and the answers are numbers that name
// no class. It is empty when they can.
func strangers(truth, guess []string) string {
	example := ""
	for i := range truth {
		if _, err := strconv.ParseFloat(guess[i], 64); err != nil {
			return ""
		}
		if _, err := strconv.ParseFloat(truth[i], 64); err == nil {
			return ""
		}
		example = truth[i]
	}
	if example == "" {
		return ""
	}
	return fmt.Sprintf("they are words such as %q, and the answers are numbers that name no class; hand in 0 and 1, or the numbers of the classes", clip(example))
}
