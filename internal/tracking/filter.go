package tracking

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"keelson/internal/problem"
)

// Entities a clause can speak of.
const (
	EntityAttribute = "attribute"
	EntityMetric    = "metric"
	EntityParam     = "param"
	EntityTag       = "tag"
	EntityDataset   = "dataset"
)

// Clause is one comparison of a filter: entity.key op value. Op is upper case (=, !=, <, <=, >, >=, LIKE, ILIKE, IN,
// NOT IN, IS NULL, IS NOT NULL). Exactly one of Text, Number and List is used, as Numeric and Op say.
type Clause struct {
	Entity, Key, Op string
	Numeric         bool
	Text            string
	Number          float64
	List            []string
	At              int // byte offset in the filter, for messages
}

// Grammar says which entities and attributes a filter over one kind of thing may name.
type Grammar struct {
	Entities map[string]bool   // beside attributes
	Text     map[string]string // text attributes: as written → as stored
	Numeric  map[string]string // numeric attributes
	Lists    []string          // text attributes that take IN
}

// The grammars of what can be searched.
var (
	RunGrammar = Grammar{
		Entities: map[string]bool{EntityMetric: true, EntityParam: true, EntityTag: true, EntityDataset: true},
		Text: map[string]string{"run_id": "id", "run_name": "name", "run name": "name", "Run name": "name", "Run Name": "name",
			"status": "status", "user_id": "author", "artifact_uri": "artifact_uri", "experiment_id": "experiment"},
		Numeric: map[string]string{"start_time": "started_at", "end_time": "ended_at", "created": "started_at", "Created": "started_at"},
		Lists:   []string{"run_id"},
	}
	ExperimentGrammar = Grammar{
		Entities: map[string]bool{EntityTag: true},
		Text:     map[string]string{"name": "name", "experiment_id": "id"},
		Numeric:  map[string]string{"creation_time": "created_at", "last_update_time": "updated_at"},
		Lists:    []string{"experiment_id"},
	}
	LoggedModelGrammar = Grammar{
		Entities: map[string]bool{EntityMetric: true, EntityParam: true, EntityTag: true},
		Text: map[string]string{"name": "name", "model_id": "id", "model_type": "kind", "status": "status",
			"source_run_id": "run", "experiment_id": "experiment"},
		Numeric: map[string]string{"creation_timestamp": "created_at", "creation_time": "created_at", "last_updated_timestamp": "updated_at"},
		Lists:   []string{"name", "model_id", "model_type", "status", "source_run_id"},
	}
)

var entityNames = map[string]string{
	"attribute": EntityAttribute, "attributes": EntityAttribute, "attr": EntityAttribute, "run": EntityAttribute,
	"metric": EntityMetric, "metrics": EntityMetric,
	"param": EntityParam, "params": EntityParam, "parameter": EntityParam, "parameters": EntityParam,
	"tag": EntityTag, "tags": EntityTag,
	"dataset": EntityDataset, "datasets": EntityDataset,
}

var (
	numberOps = []string{"=", "!=", ">", ">=", "<", "<="}
	textOps   = []string{"=", "!=", "LIKE", "ILIKE"}
)

const maxFilter = 20000

// ParseFilter reads "entity.key op value AND …". An empty filter has no clauses; a trailing AND is accepted. Errors are
// problems of kind Invalid that give the position.
func ParseFilter(text string, g Grammar) ([]Clause, error) {
	if len(text) > maxFilter {
		return nil, problem.New(problem.Invalid, "The filter is longer than %d bytes.", maxFilter).At("filter")
	}
	words, err := lex(text)
	if err != nil {
		return nil, err
	}
	var out []Clause
	for len(words) > 0 {
		c, rest, err := g.clause(words)
		if err != nil {
			return nil, err
		}
		out = append(out, c)
		if words = rest; len(words) == 0 {
			break
		}
		if !words[0].keyword("AND") {
			return nil, bad(words[0].at, "Invalid clause(s) in filter string: expected AND, found %q", words[0].text)
		}
		words = words[1:]
	}
	return out, nil
}

func bad(at int, format string, a ...any) error {
	return problem.New(problem.Invalid, "%s (at position %d of the filter).", fmt.Sprintf(format, a...), at+1).At("filter")
}

type kind int

const (
	ident kind = iota
	str
	number
	symbol
)

type word struct {
	kind   kind
	text   string
	quoted bool // the text, or what follows an identifier's dot, stood in quotes (which are taken off)
	at     int
}

func (w word) keyword(k string) bool {
	return w.kind == ident && !w.quoted && strings.EqualFold(w.text, k)
}

func identByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '.' || c == '-' || c == '/' || c == ':' || c >= utf8.RuneSelf
}

func lex(s string) ([]word, error) {
	var out []word
	for i := 0; i < len(s); {
		c := s[i]
		switch {
		case c == ' ' || c == '\t' || c == '\n' || c == '\r':
			i++
		case c == '(' || c == ')' || c == ',':
			out = append(out, word{symbol, s[i : i+1], false, i})
			i++
		case c == '=' || c == '<' || c == '>' || c == '!':
			n := 1
			if i+1 < len(s) && (s[i+1] == '=' || c == '<' && s[i+1] == '>') {
				n = 2
			}
			op := s[i : i+n]
			switch op {
			case "==":
				op = "="
			case "<>":
				op = "!="
			case "!":
				return nil, bad(i, "Invalid comparison operator %q", op)
			}
			out = append(out, word{symbol, op, false, i})
			i += n
		case c == '\'' || c == '"' || c == '`':
			v, end, err := quoted(s, i)
			if err != nil {
				return nil, err
			}
			out = append(out, word{str, v, true, i})
			i = end
		case (c >= '0' && c <= '9' || (c == '-' || c == '+' || c == '.') && i+1 < len(s) && (s[i+1] >= '0' && s[i+1] <= '9' || s[i+1] == '.')):
			j := i + 1
			for j < len(s) && (s[j] >= '0' && s[j] <= '9' || s[j] == '.' || s[j] == 'e' || s[j] == 'E' || (s[j] == '-' || s[j] == '+') && (s[j-1] == 'e' || s[j-1] == 'E')) {
				j++
			}
			if j < len(s) && identByte(s[j]) {
				return nil, bad(i, "Invalid number %q", clip(s[i:j+1], 40))
			}
			out = append(out, word{number, s[i:j], false, i})
			i = j
		case identByte(c):
			j := i
			for j < len(s) && identByte(s[j]) {
				j++
			}
			w := word{ident, s[i:j], false, i}
			if s[j-1] == '.' && j < len(s) && (s[j] == '`' || s[j] == '"') {
				v, end, err := quoted(s, j)
				if err != nil {
					return nil, err
				}
				w.text, w.quoted, j = w.text+v, true, end
			}
			out = append(out, w)
			i = j
		default:
			return nil, bad(i, "Invalid character %q", string(c))
		}
	}
	return out, nil
}

// quoted reads the quoted text that starts at s[i]; a doubled quote stands for one.
func quoted(s string, i int) (text string, end int, err error) {
	q := s[i]
	var b strings.Builder
	for j := i + 1; j < len(s); j++ {
		if s[j] == q {
			if j+1 < len(s) && s[j+1] == q {
				b.WriteByte(q)
				j++
				continue
			}
			return b.String(), j + 1, nil
		}
		b.WriteByte(s[j])
	}
	return "", 0, bad(i, "A quote is opened and not closed")
}

// clause reads one comparison off the front of words.
func (g Grammar) clause(words []word) (Clause, []word, error) {
	w := words[0]
	if w.kind != ident && w.kind != str {
		return Clause{}, nil, bad(w.at, "Expected an identifier such as metrics.accuracy, found %q", w.text)
	}
	c := Clause{At: w.at, Entity: EntityAttribute, Key: w.text}
	if head, tail, ok := strings.Cut(w.text, "."); ok && w.kind == ident {
		e, known := entityNames[head]
		if !known {
			return c, nil, bad(w.at, "Invalid entity type '%s'. Valid values are 'attribute', 'metric', 'param', 'tag' and 'dataset'", clip(head, 60))
		}
		c.Entity, c.Key = e, tail
	}
	numeric, lists, err := g.resolve(&c)
	if err != nil {
		return c, nil, err
	}
	op, words, err := operator(w, words[1:])
	if err != nil {
		return c, nil, err
	}
	c.Op, c.Numeric = op, numeric
	switch op {
	case "IS NULL", "IS NOT NULL":
		if c.Entity != EntityTag && c.Entity != EntityParam {
			return c, nil, bad(w.at, "IS NULL / IS NOT NULL is only supported for tags and params, not for '%s' '%s'", c.Entity, c.Key)
		}
		return c, words, nil
	case "IN", "NOT IN":
		if !lists {
			return c, nil, bad(w.at, "'%s' does not support comparison with a list", c.Key)
		}
		words, err = c.list(w, words)
		return c, words, err
	}
	allowed := textOps
	if numeric {
		allowed = numberOps
	}
	if !slices.Contains(allowed, op) {
		return c, nil, bad(w.at, "Invalid comparator '%s' for %s '%s', not one of %s", op, c.Entity, c.Key, strings.Join(allowed, " "))
	}
	if len(words) == 0 {
		return c, nil, bad(w.at, "The comparison of '%s' has no value", c.Key)
	}
	v := words[0]
	switch {
	case numeric && v.kind == number:
		if c.Number, err = strconv.ParseFloat(v.text, 64); err != nil {
			return c, nil, bad(v.at, "Invalid number %q", clip(v.text, 40))
		}
	case numeric:
		return c, nil, bad(v.at, "Expected numeric value type for %s '%s'. Found %s", c.Entity, c.Key, clip(v.text, 60))
	case v.kind == str:
		c.Text = v.text
	default:
		return c, nil, bad(v.at, "Expected a quoted string value for %s '%s' (e.g. 'my-value'). Got value %s", c.Entity, c.Key, clip(v.text, 60))
	}
	return c, words[1:], nil
}

// resolve checks entity and key of c, replaces an attribute's key by its stored name, and says what it may be compared with.
func (g Grammar) resolve(c *Clause) (numeric, lists bool, err error) {
	if c.Entity != EntityAttribute {
		if !g.Entities[c.Entity] {
			return false, false, bad(c.At, "Invalid entity type '%s' for this search", c.Entity)
		}
		if c.Key == "" {
			return false, false, bad(c.At, "The %s has no name", c.Entity)
		}
		if c.Entity == EntityDataset {
			if !slices.Contains([]string{"name", "digest", "context"}, c.Key) {
				return false, false, bad(c.At, "Invalid dataset key '%s' specified. Valid keys are name, digest and context", clip(c.Key, 60))
			}
			return false, true, nil
		}
		return c.Entity == EntityMetric, false, nil
	}
	if col, ok := g.Text[c.Key]; ok {
		lists = slices.Contains(g.Lists, c.Key)
		c.Key = col
		return false, lists, nil
	}
	if col, ok := g.Numeric[c.Key]; ok {
		c.Key = col
		return true, false, nil
	}
	names := slices.Sorted(func(yield func(string) bool) {
		for k := range g.Text {
			if !yield(k) {
				return
			}
		}
		for k := range g.Numeric {
			if !yield(k) {
				return
			}
		}
	})
	return false, false, bad(c.At, "Invalid attribute key '%s' specified. Valid keys are %s", clip(c.Key, 60), strings.Join(names, ", "))
}

func operator(w word, words []word) (string, []word, error) {
	if len(words) == 0 {
		return "", nil, bad(w.at, "The comparison of '%s' has no operator", clip(w.text, 60))
	}
	o := words[0]
	next := func(i int, k string) bool { return len(words) > i && words[i].keyword(k) }
	switch {
	case o.kind == symbol && o.text != "(" && o.text != ")" && o.text != ",":
		return o.text, words[1:], nil
	case o.keyword("LIKE"), o.keyword("ILIKE"), o.keyword("IN"):
		return strings.ToUpper(o.text), words[1:], nil
	case o.keyword("NOT") && next(1, "IN"):
		return "NOT IN", words[2:], nil
	case o.keyword("IS") && next(1, "NULL"):
		return "IS NULL", words[2:], nil
	case o.keyword("IS") && next(1, "NOT") && next(2, "NULL"):
		return "IS NOT NULL", words[3:], nil
	}
	return "", nil, bad(o.at, "Expected a comparison operator, found %q", clip(o.text, 60))
}

func (c *Clause) list(w word, words []word) ([]word, error) {
	if len(words) == 0 || words[0].text != "(" || words[0].kind != symbol {
		return nil, bad(w.at, "%s wants a list such as ('a', 'b')", c.Op)
	}
	words = words[1:]
	for {
		if len(words) < 2 || words[0].kind != str {
			return nil, bad(w.at, "%s wants a list of quoted values such as ('a', 'b')", c.Op)
		}
		c.List = append(c.List, words[0].text)
		sep := words[1]
		words = words[2:]
		if sep.kind == symbol && sep.text == ")" {
			return words, nil
		}
		if sep.kind != symbol || sep.text != "," {
			return nil, bad(sep.at, "Expected ',' or ')' in the list, found %q", clip(sep.text, 60))
		}
	}
}

// Order is one term of an ordering.
type Order struct {
	Entity, Key string
	Numeric     bool
	Desc        bool
}

// ParseOrder reads terms like "metrics.accuracy DESC" or "attributes.start_time".
func ParseOrder(terms []string, g Grammar) ([]Order, error) {
	if len(terms) > 10 {
		return nil, problem.New(problem.Invalid, "An ordering has at most 10 terms; got %d.", len(terms)).At("order_by")
	}
	var out []Order
	for _, t := range terms {
		words, err := lex(t)
		if err != nil {
			return nil, badOrder(t)
		}
		desc := false
		if n := len(words); n > 1 {
			switch last := words[n-1]; {
			case last.keyword("DESC"):
				desc, words = true, words[:n-1]
			case last.keyword("ASC"):
				words = words[:n-1]
			}
		}
		var w word
		switch {
		case len(words) == 1:
			w = words[0]
		case len(words) == 2 && strings.EqualFold(words[0].text+" "+words[1].text, "run name"):
			w = word{kind: ident, text: "run name"}
		default:
			return nil, badOrder(t)
		}
		if w.kind != ident && w.kind != str {
			return nil, badOrder(t)
		}
		c := Clause{Entity: EntityAttribute, Key: w.text}
		if head, tail, ok := strings.Cut(w.text, "."); ok && w.kind == ident {
			e, known := entityNames[head]
			if !known {
				return nil, badOrder(t)
			}
			c.Entity, c.Key = e, tail
		}
		numeric, _, err := g.resolve(&c)
		if err != nil || c.Entity == EntityDataset {
			return nil, badOrder(t)
		}
		out = append(out, Order{c.Entity, c.Key, numeric, desc})
	}
	return out, nil
}

func badOrder(t string) error {
	return problem.New(problem.Invalid, "Invalid order_by clause '%s'. Write terms such as \"metrics.accuracy DESC\" or \"attributes.start_time\".", clip(t, 120)).At("order_by")
}
