package filter

import (
	"maps"
	"slices"
	"strings"
)

// What can stand at a place of a filter.
const (
	WantName     = "name"     // an entity or a key of the first entity
	WantKey      = "key"      // a key of Entity
	WantOperator = "operator" // one of Ops
	WantValue    = "value"    // a value of Entity and Key
	WantAnd      = "and"
)

// Place is what fits at a place of a filter that is being typed. From and To are byte offsets of the word that the
// completion replaces (equal where none was begun), Begun is that word so far, without quotes. Entity is the canonical
// name, Written the entity as the filter spells it ("metrics").
type Place struct {
	Want     string
	From, To int
	Begun    string
	Entity   string
	Written  string
	Key      string
	Rule     Key
}

// Complete finds what fits at byte at of text, which need not be a correct filter.
func Complete(text string, at int, g *Grammar) Place {
	at = max(0, min(at, len(text)))
	if len(text) > MaxLength {
		return Place{Want: WantAnd, From: at, To: at}
	}
	words, _, _ := lex(text, true)
	// The word under the cursor is being typed; what stands before it decides what it can be.
	here := Place{From: at, To: at}
	n := 0
	for ; n < len(words) && words[n].at < at; n++ {
		if w := words[n]; w.end >= at && (w.kind != symbol || w.end > at) {
			if w.end == at && w.kind == str && !w.open {
				continue // a closed text is done
			}
			here.From, here.To = w.at, w.end
			here.Begun = begun(text, w, at)
			break
		}
	}
	words = words[:n]
	here.Want = WantName
	for len(words) > 0 {
		name := words[0]
		here.Entity, here.Key, here.Written, here.Rule = "", "", "", Key{}
		p := &parser{text: text, g: g}
		if k, e, key, err := p.subject(name); err == nil {
			here.Entity, here.Key, here.Rule = e.Name, key, k
		}
		words = words[1:]
		if len(words) == 0 {
			here.Want = WantOperator
			return here
		}
		op, took := comparator(words)
		if took == 0 { // half an operator: NOT, IS, IS NOT
			here.Want = WantOperator
			here.From, here.Begun = words[0].at, strings.TrimSpace(text[words[0].at:at])
			return here
		}
		words = words[took:]
		switch op {
		case IsNull, IsNotNull:
		case In, NotIn:
			for len(words) > 0 && words[0].text != ")" {
				words = words[1:]
			}
			if len(words) == 0 {
				here.Want = WantValue
				return here
			}
			words = words[1:]
		default:
			if len(words) == 0 {
				here.Want = WantValue
				return here
			}
			words = words[1:]
		}
		if len(words) == 0 {
			here.Want = WantAnd
			return here
		}
		if words[0].keyword("AND") {
			words = words[1:]
		}
		here.Want = WantName
	}
	here.Entity, here.Key, here.Written, here.Rule = "", "", "", Key{}
	if head, rest, ok := strings.Cut(here.Begun, "."); ok {
		if e := g.entity(head); e != nil {
			here.Want, here.Entity, here.Written, here.Begun = WantKey, e.Name, head, rest
		}
	}
	return here
}

// begun is the part of w before at, without its quotes.
func begun(text string, w word, at int) string {
	part, _, _ := lex(text[w.at:at], true)
	if len(part) == 0 {
		return ""
	}
	return part[0].text
}

// Names lists what can stand where a name is wanted: the keys of the first entity, and the other entities with a dot, in
// the plural where the grammar has it.
func (g *Grammar) Names() []string {
	var out []string
	for i, e := range g.Entities {
		if i == 0 {
			out = slices.Sorted(maps.Keys(e.Keys))
			continue
		}
		name := e.Name
		if slices.Contains(e.Aliases, short[e.Name]) {
			name = short[e.Name]
		}
		out = append(out, name+".")
	}
	return out
}

// short is how people write an entity.
var short = map[string]string{Metric: "metrics", Param: "params", Tag: "tags", Dataset: "datasets"}

// Keys lists the keys of an entity that are known by name.
func (g *Grammar) Keys(entity string) []string {
	if e := g.entity(entity); e != nil {
		return slices.Sorted(maps.Keys(e.Keys))
	}
	return nil
}
