// Package markup reads YAML that others wrote without taking more memory for it than it is worth.
//
// The YAML library takes about 240 bytes for each value before the first one can be looked at, and up to 270 more to decode
// it or to tell that it is of a wrong type: a megabyte of "1," is 120 of them. So the places where values can begin are
// counted first, in one pass that allocates nothing, and what aliases stand for is counted before it is followed. Reading a
// document allocates at most 16 bytes for each of its own and Allowance.
package markup

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Allowance is what any document may take in addition to 16 bytes for each of its own.
const Allowance = 24 << 20

const (
	perByte  = 16
	perValue = 520 // bytes that one value takes at most while it is read and decoded
	maxDepth = 100
	maxKeys  = 5000 // of one map: the YAML library compares each with each

	maxErrors = 10 // that are told
)

// Decode reads the only document of data into a value. With strict, fields that the value lacks and a second document are
// refused. Maps with equal keys or more than maxKeys of them are refused always. The error of an empty document is io.EOF.
func Decode(data []byte, strict bool, into any) error {
	if bytes.HasPrefix(data, []byte("\xfe\xff")) || bytes.HasPrefix(data, []byte("\xff\xfe")) {
		return errors.New("not UTF-8")
	}
	room := (perByte*len(data) + Allowance) / perValue
	values := places(data)
	if values > room {
		return fmt.Errorf("more than %d values", room)
	}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	dec.KnownFields(strict)
	err := dec.Decode(&counted{into: into, room: room - values})
	var wrong *yaml.TypeError
	if errors.As(err, &wrong) { // it has a line for each value
		list := wrong.Errors[:min(len(wrong.Errors), maxErrors)]
		if more := len(wrong.Errors) - len(list); more > 0 {
			list = append(list[:maxErrors:maxErrors], fmt.Sprintf("and %d more", more))
		}
		return errors.New(strings.Join(list, "; "))
	}
	if err != nil || !strict {
		return err
	}
	if err := dec.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return errors.New("more than one document")
	}
	return nil
}

// counted is a value whose document is counted once it is parsed, before it is decoded.
type counted struct {
	into any
	room int // for values behind aliases
}

// UnmarshalYAML has the form in which the decoder keeps asking for known fields; decode can be called twice.
func (v *counted) UnmarshalYAML(decode func(any) error) error {
	var t tree
	if err := decode(&t); err != nil {
		return err
	}
	c := counter{room: v.room, seen: map[*yaml.Node]int{}, keys: map[key]int{}}
	if _, err := c.count(t.root, 0); err != nil {
		return err
	}
	return decode(v.into)
}

// tree is a document as it was parsed.
type tree struct{ root *yaml.Node }

func (t *tree) UnmarshalYAML(n *yaml.Node) error {
	t.root = n
	return nil
}

// counter counts what a document holds once its aliases are followed; room bounds what they add.
type counter struct {
	room int
	seen map[*yaml.Node]int // size of what an anchor stands for
	on   []*yaml.Node       // anchors being counted: one that holds itself never ends
	keys map[key]int        // lines of the keys of one map
}

// key is what makes two keys equal for the YAML library.
type key struct {
	kind  yaml.Kind
	value string
}

func (c *counter) count(n *yaml.Node, depth int) (int, error) {
	if depth > maxDepth {
		return 0, fmt.Errorf("nested deeper than %d", maxDepth)
	}
	if n.Kind == yaml.AliasNode {
		if slices.Contains(c.on, n.Alias) {
			return 0, fmt.Errorf("the anchor %q holds itself", n.Value)
		}
		size, ok := c.seen[n.Alias]
		if !ok {
			c.on = append(c.on, n.Alias)
			var err error
			if size, err = c.count(n.Alias, depth+1); err != nil {
				return 0, err
			}
			c.on = c.on[:len(c.on)-1]
			c.seen[n.Alias] = size
		}
		if c.room -= size; c.room < 0 {
			return 0, errors.New("too many values behind its aliases")
		}
		return size, nil
	}
	if n.Kind == yaml.MappingNode {
		if err := c.distinct(n); err != nil {
			return 0, err
		}
	}
	total := 1
	for _, child := range n.Content {
		size, err := c.count(child, depth+1)
		if err != nil {
			return 0, err
		}
		total += size
	}
	return total, nil
}

// distinct refuses a map with too many keys or equal ones. The library compares every key with every other one and writes a
// text about each pair that is equal.
func (c *counter) distinct(n *yaml.Node) error {
	count := len(n.Content) / 2
	if count > maxKeys {
		return fmt.Errorf("the map on line %d has more than %d keys; make several maps of it, or a list", n.Line, maxKeys)
	}
	twice := func(first int, k *yaml.Node) error {
		name := []rune(k.Value)
		return fmt.Errorf("the key %q stands on line %d and again on line %d; leave one of them out", string(name[:min(len(name), 64)]), first, k.Line)
	}
	if count <= 16 {
		for i := 2; i < len(n.Content); i += 2 {
			for j := 0; j < i; j += 2 {
				if a, b := n.Content[j], n.Content[i]; a.Kind == b.Kind && a.Value == b.Value {
					return twice(a.Line, b)
				}
			}
		}
		return nil
	}
	clear(c.keys)
	for i := 0; i < len(n.Content); i += 2 {
		k := n.Content[i]
		if first, ok := c.keys[key{k.Kind, k.Value}]; ok {
			return twice(first, k)
		}
		c.keys[key{k.Kind, k.Value}] = k.Line
	}
	return nil
}

// places counts where values can begin, never too few (but for three): the separators outside of quoted texts, and the
// absent values of a map's bare keys. Where it is not certain that a quote begins a text (behind block texts, tags, directives
// and lines that may go on), all that looks like a separator counts from there on.
func places(data []byte) (values int) {
	const (
		open  = iota // behind a separator: a value may begin
		plain        // in or behind an unquoted text
		ended        // behind a quoted text or a closed list
	)
	for _, end := range []string{"\u0085", "\u2028", "\u2029"} { // lines may end so, too
		if bytes.Contains(data, []byte(end)) {
			return blind(data, 1)
		}
	}
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	state, flow, column, indent, first := open, 0, 0, 0, true
	began := 0         // where the text began that may turn out to be a key
	lists := uint64(0) // which of the open brackets are square: a pair in one is a map of its own
	pairs := uint64(0) // in which of them a colon stands behind the last comma, which counted for the key's value
	values = 1
	blank := func(i int) bool {
		return i >= len(data) || data[i] == ' ' || data[i] == '\n' || data[i] == '\r' || data[i] == '\t'
	}
	for i := 0; i < len(data); i++ {
		c := data[i]
		switch c {
		case '\n', '\r':
			values++
			column, first = 0, true
			continue
		case ' ', '\t':
			column++
			continue
		}
		if first { // of its line
			if first = false; flow == 0 {
				if state != open && column > indent || c == '%' && column == 0 {
					return blind(data[i:], values+flow)
				}
				if state = open; column == 0 && bytes.HasPrefix(data[i:], []byte("---")) && (i+3 >= len(data) || data[i+3] == '\n' || data[i+3] == '\r') {
					i += 2
					continue
				}
				if column == 0 && (bytes.HasPrefix(data[i:], []byte("---")) || bytes.HasPrefix(data[i:], []byte("..."))) {
					return blind(data[i:], values+flow)
				}
				indent = column
			}
		}
		if state == open {
			began = column
		}
		column++
		switch {
		case c == '#' && (i == 0 || blank(i-1)):
			if k := bytes.IndexAny(data[i:], "\r\n"); k >= 0 {
				i += k - 1
			} else {
				i = len(data)
			}
		case state == open && (c == '"' || c == '\''):
			i = quoted(data, i)
			state = ended
		case c == '"' || c == '\'':
			if flow > 0 { // within an unquoted text, or no YAML
				return blind(data[i:], values+flow)
			}
			state = plain
		case state == open && (c == '|' || c == '>') && flow == 0:
			return blind(data[i:], values+flow)
		case state == open && c == '-' && blank(i+1):
			values++
		case state == open && c == '?' && (flow > 0 || blank(i+1)):
			values += 2
		case state == open && c == '!': // a tag may hold any separator
			return blind(data[i:], values+flow)
		case state == open && c == '&':
			for i+1 < len(data) && (data[i+1] == '_' || data[i+1] == '-' || data[i+1]|0x20 >= 'a' && data[i+1]|0x20 <= 'z' || data[i+1] >= '0' && data[i+1] <= '9') {
				i++
			}
		case state == open && c == '*':
			state = plain
		case (state == open || flow > 0) && (c == '[' || c == '{'):
			if flow == 64 {
				return blind(data[i:], values+flow)
			}
			values++
			flow++
			pairs <<= 1
			if lists <<= 1; c == '[' {
				lists |= 1
			}
			state = open
		case flow > 0 && (c == ']' || c == '}' || c == ','):
			if (lists|pairs)&1 == 0 { // a bare key
				values++
			}
			if state = ended; c == ',' {
				values++
				pairs &^= 1
				state = open
				break
			}
			flow--
			lists, pairs = lists>>1, pairs>>1
		case c == ':' && (blank(i+1) || state == ended):
			if values++; flow > 0 && lists&1 != 0 {
				values++
			}
			pairs |= 1
			if state == plain && flow == 0 { // what its value goes on in stands deeper than the key, as in "- key: value"
				indent = max(indent, began)
			}
			state = open
		default:
			if state = plain; flow > 0 && (c == ':' || c == '?') {
				values += 2
			}
		}
	}
	return values
}

// blind counts all that may be a separator.
func blind(data []byte, values int) int {
	for i, c := range data {
		switch c {
		case '\n', '\r', '[':
			values++
		case ':', '?', ',', '{':
			values += 2
		case '-':
			if i+1 == len(data) || data[i+1] == ' ' || data[i+1] == '\n' || data[i+1] == '\t' || data[i+1] == '\r' {
				values++
			}
		}
	}
	return values
}

// quoted gives the place of the quote that ends the text that begins at i.
func quoted(data []byte, i int) int {
	q := data[i]
	for i++; i < len(data); i++ {
		switch {
		case data[i] == '\\' && q == '"':
			i++
		case data[i] == q && q == '\'' && i+1 < len(data) && data[i+1] == q:
			i++
		case data[i] == q:
			return i
		}
	}
	return i
}
