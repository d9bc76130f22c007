package tensor

import (
	"bytes"
	"math"
	"strconv"
	"unicode/utf8"
	"unsafe"

	"keelson/internal/problem"
)

// maxDepth bounds the nesting of what a Scanner reads.
const maxDepth = 64

// Scanner reads one JSON document from memory, value by value, without building a tree. It exists because
// encoding/json is the largest cost of a small inference request and of loading a large model file.
//
// Beyond RFC 8259 it takes NaN, Infinity and -Infinity as numbers, which Python's and RapidJSON's writers emit.
// All errors are problem.Invalid and name the byte where reading stopped.
type Scanner struct {
	Data  []byte
	Pos   int
	depth int
}

// NewScanner starts at the beginning of data, which it does not change or keep beyond its own life.
func NewScanner(data []byte) *Scanner { return &Scanner{Data: data} }

func (s *Scanner) fail(what string) error {
	return problem.New(problem.Invalid, "The JSON is malformed at byte %d: %s.", s.Pos, what)
}

// Peek skips white space and gives the next byte, 0 at the end.
func (s *Scanner) Peek() byte {
	for s.Pos < len(s.Data) {
		switch c := s.Data[s.Pos]; c {
		case ' ', '\n', '\t', '\r':
			s.Pos++
		default:
			return c
		}
	}
	return 0
}

func (s *Scanner) expect(c byte) error {
	if s.Peek() != c {
		return s.fail("expected '" + string(c) + "'")
	}
	s.Pos++
	return nil
}

// End fails when anything but white space follows.
func (s *Scanner) End() error {
	if s.Peek() != 0 || s.Pos < len(s.Data) {
		return s.fail("something follows the document")
	}
	return nil
}

// Object reads an object and calls field for each key; field must consume the value. Duplicate keys are passed on as
// they come. key is valid only during the call.
func (s *Scanner) Object(field func(key string) error) error {
	if err := s.expect('{'); err != nil {
		return err
	}
	if s.depth++; s.depth > maxDepth {
		return s.fail("nested too deeply")
	}
	if s.Peek() == '}' {
		s.Pos++
		s.depth--
		return nil
	}
	for {
		key, err := s.rawString()
		if err != nil {
			return err
		}
		if err := s.expect(':'); err != nil {
			return err
		}
		if err := field(key); err != nil {
			return err
		}
		switch s.Peek() {
		case ',':
			s.Pos++
		case '}':
			s.Pos++
			s.depth--
			return nil
		default:
			return s.fail("expected ',' or '}'")
		}
	}
}

// Array reads an array and calls item for each element with its index; item must consume the value.
func (s *Scanner) Array(item func(i int) error) error {
	if err := s.expect('['); err != nil {
		return err
	}
	if s.depth++; s.depth > maxDepth {
		return s.fail("nested too deeply")
	}
	if s.Peek() == ']' {
		s.Pos++
		s.depth--
		return nil
	}
	for i := 0; ; i++ {
		if err := item(i); err != nil {
			return err
		}
		more, err := s.next()
		if err != nil {
			return err
		}
		if !more {
			s.depth--
			return nil
		}
	}
}

// next passes a comma (true) or a closing bracket (false).
func (s *Scanner) next() (bool, error) {
	switch s.Peek() {
	case ',':
		s.Pos++
		return true, nil
	case ']':
		s.Pos++
		return false, nil
	}
	return false, s.fail("expected ',' or ']'")
}

// String reads a string and gives a copy.
func (s *Scanner) String() (string, error) {
	v, err := s.rawString()
	if err != nil {
		return "", err
	}
	return string([]byte(v)), nil
}

// rawString reads a string; without escapes the result shares the scanner's bytes.
func (s *Scanner) rawString() (string, error) {
	if err := s.expect('"'); err != nil {
		return "", err
	}
	start := s.Pos
	for s.Pos < len(s.Data) {
		switch c := s.Data[s.Pos]; {
		case c == '"':
			v := s.Data[start:s.Pos]
			s.Pos++
			if !utf8.Valid(v) {
				return "", s.fail("a string is not UTF-8")
			}
			return unsafe.String(unsafe.SliceData(v), len(v)), nil
		case c == '\\':
			return s.escapedString(start)
		case c < 0x20:
			return "", s.fail("a control character in a string")
		}
		s.Pos++
	}
	return "", s.fail("a string does not end")
}

func (s *Scanner) escapedString(start int) (string, error) {
	end := s.Pos
	for end < len(s.Data) && s.Data[end] != '"' {
		if s.Data[end] == '\\' {
			end++
		} else if s.Data[end] < 0x20 {
			s.Pos = end
			return "", s.fail("a control character in a string")
		}
		end++
	}
	if end >= len(s.Data) {
		return "", s.fail("a string does not end")
	}
	out := make([]byte, 0, end-start)
	in := s.Data[start:end]
	for i := 0; i < len(in); i++ {
		c := in[i]
		if c != '\\' {
			out = append(out, c)
			continue
		}
		i++
		switch in[i] {
		case '"', '\\', '/':
			out = append(out, in[i])
		case 'b':
			out = append(out, '\b')
		case 'f':
			out = append(out, '\f')
		case 'n':
			out = append(out, '\n')
		case 'r':
			out = append(out, '\r')
		case 't':
			out = append(out, '\t')
		case 'u':
			r, ok := hex4(in[i+1:])
			if !ok {
				return "", s.fail("a broken \\u escape")
			}
			i += 4
			if r >= 0xD800 && r < 0xDC00 && i+2 < len(in) && in[i+1] == '\\' && in[i+2] == 'u' {
				if low, ok := hex4(in[i+3:]); ok && low >= 0xDC00 && low < 0xE000 {
					r = 0x10000 + (r-0xD800)<<10 + (low - 0xDC00)
					i += 6
				}
			}
			out = utf8.AppendRune(out, r) // a lone surrogate becomes U+FFFD
		default:
			return "", s.fail("an unknown escape in a string")
		}
	}
	s.Pos = end + 1
	if !utf8.Valid(out) {
		return "", s.fail("a string is not UTF-8")
	}
	return unsafe.String(unsafe.SliceData(out), len(out)), nil
}

func hex4(b []byte) (rune, bool) {
	if len(b) < 4 {
		return 0, false
	}
	var r rune
	for _, c := range b[:4] {
		switch {
		case c >= '0' && c <= '9':
			r = r<<4 | rune(c-'0')
		case c >= 'a' && c <= 'f':
			r = r<<4 | rune(c-'a'+10)
		case c >= 'A' && c <= 'F':
			r = r<<4 | rune(c-'A'+10)
		default:
			return 0, false
		}
	}
	return r, true
}

func (s *Scanner) word(w string) bool {
	if bytes.HasPrefix(s.Data[s.Pos:], []byte(w)) {
		s.Pos += len(w)
		return true
	}
	return false
}

// Bool reads true or false.
func (s *Scanner) Bool() (bool, error) {
	s.Peek()
	switch {
	case s.word("true"):
		return true, nil
	case s.word("false"):
		return false, nil
	}
	return false, s.fail("expected true or false")
}

// Null passes a null and tells whether there was one.
func (s *Scanner) Null() bool { return s.Peek() == 'n' && s.word("null") }

// number finds the end of a number and gives its text; NaN and the infinities count as numbers.
func (s *Scanner) number() (text []byte, special bool, err error) {
	s.Peek()
	start := s.Pos
	if s.Pos < len(s.Data) && s.Data[s.Pos] == '-' {
		s.Pos++
	}
	if s.word("NaN") || s.word("Infinity") {
		return s.Data[start:s.Pos], true, nil
	}
	digits := s.digits()
	if digits == 0 {
		return nil, false, s.fail("expected a number")
	}
	if first := s.Pos - digits; s.Data[first] == '0' && digits > 1 {
		return nil, false, s.fail("a number begins with 0")
	}
	if s.Pos < len(s.Data) && s.Data[s.Pos] == '.' {
		s.Pos++
		if s.digits() == 0 {
			return nil, false, s.fail("a number ends with '.'")
		}
	}
	if s.Pos < len(s.Data) && (s.Data[s.Pos]|0x20) == 'e' {
		s.Pos++
		if s.Pos < len(s.Data) && (s.Data[s.Pos] == '+' || s.Data[s.Pos] == '-') {
			s.Pos++
		}
		if s.digits() == 0 {
			return nil, false, s.fail("a number has no exponent after 'e'")
		}
	}
	return s.Data[start:s.Pos], false, nil
}

func (s *Scanner) digits() int {
	start := s.Pos
	for s.Pos < len(s.Data) && s.Data[s.Pos]-'0' <= 9 {
		s.Pos++
	}
	return s.Pos - start
}

// Float reads a number as the nearest double. A finite text beyond the range of a double is refused.
func (s *Scanner) Float() (float64, error) {
	text, special, err := s.number()
	if err != nil {
		return 0, err
	}
	if special {
		return parseSpecial(text), nil
	}
	if v, ok := shortDecimal(text); ok {
		return v, nil
	}
	v, err := strconv.ParseFloat(unsafe.String(unsafe.SliceData(text), len(text)), 64)
	if err != nil {
		return 0, s.fail("the number " + clip(string(text)) + " does not fit a double")
	}
	return v, nil
}

// Float32 reads a number as the nearest float32 (rounded once, unlike float32(Float())).
func (s *Scanner) Float32() (float32, error) {
	text, special, err := s.number()
	if err != nil {
		return 0, err
	}
	if special {
		return float32(parseSpecial(text)), nil
	}
	v, err := strconv.ParseFloat(unsafe.String(unsafe.SliceData(text), len(text)), 32)
	if err != nil {
		return 0, s.fail("the number " + clip(string(text)) + " does not fit a 32-bit float")
	}
	return float32(v), nil
}

func parseSpecial(text []byte) float64 {
	switch {
	case bytes.HasSuffix(text, []byte("NaN")):
		return math.NaN()
	case text[0] == '-':
		return math.Inf(-1)
	}
	return math.Inf(1)
}

var tens = [...]float64{1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22}

// shortDecimal converts numbers of at most 2^53 in digits and 22 in exponent exactly: both factors are doubles without
// rounding, so one IEEE operation rounds once (Clinger, How to read floating point numbers accurately, 1990).
func shortDecimal(text []byte) (float64, bool) {
	if len(text) > 20 {
		return 0, false
	}
	i, neg := 0, false
	if text[0] == '-' {
		neg, i = true, 1
	}
	var m uint64
	exp := 0
	for ; i < len(text); i++ {
		c := text[i]
		if c == '.' {
			for i++; i < len(text) && text[i]-'0' <= 9; i++ {
				m = m*10 + uint64(text[i]-'0')
				exp--
			}
			i--
			continue
		}
		if c|0x20 == 'e' {
			i++
			sign := 1
			if text[i] == '-' {
				sign = -1
				i++
			} else if text[i] == '+' {
				i++
			}
			e := 0
			for ; i < len(text); i++ {
				if e = e*10 + int(text[i]-'0'); e > 400 {
					return 0, false
				}
			}
			exp += sign * e
			break
		}
		m = m*10 + uint64(c-'0')
	}
	if m > 1<<53 {
		return 0, false
	}
	v := float64(m)
	switch {
	case exp > 22 || exp < -22:
		return 0, false
	case exp > 0:
		v *= tens[exp]
	case exp < 0:
		v /= tens[-exp]
	}
	if neg {
		v = -v
	}
	return v, true
}

// Int reads a number without fraction or exponent that fits 64 bits.
func (s *Scanner) Int() (int64, error) {
	text, _, err := s.number()
	if err != nil {
		return 0, err
	}
	v, err := strconv.ParseInt(unsafe.String(unsafe.SliceData(text), len(text)), 10, 64)
	if err != nil {
		return 0, s.fail("expected a whole number of 64 bits, not " + clip(string(text)))
	}
	return v, nil
}

// Uint reads a number ≥ 0 without fraction or exponent that fits 64 bits.
func (s *Scanner) Uint() (uint64, error) {
	text, _, err := s.number()
	if err != nil {
		return 0, err
	}
	v, err := strconv.ParseUint(unsafe.String(unsafe.SliceData(text), len(text)), 10, 64)
	if err != nil {
		return 0, s.fail("expected a whole number ≥ 0 of 64 bits, not " + clip(string(text)))
	}
	return v, nil
}

// Skip passes one value of any kind, checking its form.
func (s *Scanner) Skip() error {
	switch c := s.Peek(); c {
	case '{':
		return s.Object(func(string) error { return s.Skip() })
	case '[':
		return s.Array(func(int) error { return s.Skip() })
	case '"':
		_, err := s.rawString()
		return err
	case 't', 'f':
		_, err := s.Bool()
		return err
	case 'n':
		if s.Null() {
			return nil
		}
		return s.fail("expected a value")
	default:
		_, _, err := s.number()
		return err
	}
}

// Raw passes one value and gives its bytes, shared with Data.
func (s *Scanner) Raw() ([]byte, error) {
	s.Peek()
	start := s.Pos
	if err := s.Skip(); err != nil {
		return nil, err
	}
	return s.Data[start:s.Pos], nil
}
