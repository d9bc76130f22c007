package filter

import (
	"strings"
	"unicode/utf8"
)

type kind int

const (
	ident kind = iota
	str
	number
	symbol
)

// word is one word of a filter; text has no quotes. An identifier whose key is quoted (metrics.`a b`) is one word.
type word struct {
	kind    kind
	text    string
	quote   byte // of a str, or of an identifier's key: ' " or `
	open    bool // the quote is not closed; only when reading leniently
	at, end int
}

func (w word) keyword(k string) bool {
	return w.kind == ident && w.quote == 0 && strings.EqualFold(w.text, k)
}

func identByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '.' || c == '-' || c == '/' || c == ':' || c >= utf8.RuneSelf
}

func digit(c byte) bool { return c >= '0' && c <= '9' }

// lex parts a filter into words. A mistake is told with its place; with lenient set, what cannot be read is left out and
// a quote that is not closed ends with the text.
func lex(s string, lenient bool) (out []word, at int, why string) {
	for i := 0; i < len(s); {
		c := s[i]
		w := word{at: i}
		switch {
		case c == ' ' || c == '\t' || c == '\n' || c == '\r':
			i++
			continue
		case c == '(' || c == ')' || c == ',':
			w.kind, w.text, w.end = symbol, s[i:i+1], i+1
		case c == '=' || c == '<' || c == '>' || c == '!':
			n := 1
			if i+1 < len(s) && (s[i+1] == '=' || c == '<' && s[i+1] == '>') {
				n = 2
			}
			w.kind, w.text, w.end = symbol, s[i:i+n], i+n
		case c == '\'' || c == '"' || c == '`':
			w.kind, w.quote = str, c
			w.text, w.end, w.open = unquote(s, i)
		case digit(c) || (c == '-' || c == '+' || c == '.') && i+1 < len(s) && (digit(s[i+1]) || s[i+1] == '.'):
			j := i + 1
			for j < len(s) && (digit(s[j]) || s[j] == '.' || s[j] == 'e' || s[j] == 'E' || (s[j] == '-' || s[j] == '+') && (s[j-1] == 'e' || s[j-1] == 'E')) {
				j++
			}
			if j < len(s) && identByte(s[j]) {
				for j < len(s) && identByte(s[j]) {
					j++
				}
				if !lenient {
					return nil, i, "Invalid number '" + clip(s[i:j]) + "'"
				}
			}
			w.kind, w.text, w.end = number, s[i:j], j
		case identByte(c):
			j := i
			for j < len(s) && identByte(s[j]) {
				j++
			}
			w.kind, w.text, w.end = ident, s[i:j], j
			if s[j-1] == '.' && j < len(s) && (s[j] == '`' || s[j] == '"') {
				w.quote = s[j]
				var v string
				v, w.end, w.open = unquote(s, j)
				w.text += v
			}
		default:
			if !lenient {
				_, n := utf8.DecodeRuneInString(s[i:])
				return nil, i, "Invalid clause(s) in filter string: '" + strings.ToValidUTF8(s[i:i+n], "?") + "'"
			}
			i++
			continue
		}
		if w.open && !lenient {
			return nil, i, "Invalid clause(s) in filter string: a quote is opened and not closed"
		}
		out = append(out, w)
		i = w.end
	}
	return out, 0, ""
}

// unquote reads the quoted text that starts at s[i]; a doubled quote stands for one.
func unquote(s string, i int) (text string, end int, open bool) {
	q := s[i]
	var b strings.Builder
	for j := i + 1; j < len(s); j++ {
		if s[j] == q {
			if j+1 < len(s) && s[j+1] == q {
				b.WriteByte(q)
				j++
				continue
			}
			return b.String(), j + 1, false
		}
		b.WriteByte(s[j])
	}
	return b.String(), len(s), true
}

// Quote writes a text value: 'v', a quote in it doubled.
func Quote(v string) string { return "'" + strings.ReplaceAll(v, "'", "''") + "'" }

// Name writes entity.key so that it can be read back; the entity may be empty.
func Name(entity, key string) string {
	plain := key != ""
	for i := range len(key) {
		plain = plain && identByte(key[i])
	}
	if entity == "" {
		if w, _, _ := lex(key, true); plain && !strings.Contains(key, ".") && len(w) == 1 && w[0].kind == ident {
			return key
		}
		return "`" + strings.ReplaceAll(key, "`", "``") + "`"
	}
	if plain {
		return entity + "." + key
	}
	return entity + ".`" + strings.ReplaceAll(key, "`", "``") + "`"
}
