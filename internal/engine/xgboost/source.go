package xgboost

import (
	"encoding/binary"
	"math"
	"strconv"

	"keelson/internal/problem"
	"keelson/internal/tensor"
)

// source reads one tree-shaped document value by value. XGBoost writes the same document as JSON and as UBJSON; the
// reader of the model is written once over this.
type source interface {
	// kind looks at the next value: '{' '[' '"' '0' (number) 't' (truth value) 'n' (null); 0 at the end or on anything else.
	kind() byte
	object(field func(key string) error) error
	array(item func(i int) error) error
	text() (string, error)
	float() (float64, error)
	// floats and ints read an array of numbers. What they allocate is bounded by the bytes that are there.
	floats() ([]float32, error)
	ints() ([]int32, error)
	skip() error
	end() error
}

// jsonSource is the text form.
type jsonSource struct{ s *tensor.Scanner }

func (j jsonSource) kind() byte {
	switch c := j.s.Peek(); {
	case c == '{' || c == '[' || c == '"' || c == 'n':
		return c
	case c == 't' || c == 'f':
		return 't'
	case c == '-' || c >= '0' && c <= '9' || c == 'N' || c == 'I':
		return '0'
	}
	return 0
}
func (j jsonSource) object(f func(string) error) error { return j.s.Object(f) }
func (j jsonSource) array(f func(int) error) error     { return j.s.Array(f) }
func (j jsonSource) text() (string, error)             { return j.s.String() }
func (j jsonSource) float() (float64, error)           { return j.s.Float() }
func (j jsonSource) skip() error                       { return j.s.Skip() }
func (j jsonSource) end() error                        { return j.s.End() }

func (j jsonSource) floats() (out []float32, err error) {
	err = j.s.Array(func(int) error {
		v, err := j.s.Float32()
		out = append(out, v)
		return err
	})
	return out, err
}

func (j jsonSource) ints() (out []int32, err error) {
	err = j.s.Array(func(int) error {
		if j.kind() == 't' {
			v, err := j.s.Bool()
			n := int32(0)
			if v {
				n = 1
			}
			out = append(out, n)
			return err
		}
		v, err := j.s.Int()
		if err == nil && (v > math.MaxInt32 || v < math.MinInt32) {
			return broken("the number %d does not fit 32 bits", v)
		}
		out = append(out, int32(v))
		return err
	})
	return out, err
}

// ubjSource is Universal Binary JSON (ubjson.org, draft 12) with XGBoost's habits: big-endian numbers, keys with any
// integer length, typed arrays [$t#n.
type ubjSource struct {
	b     []byte
	pos   int
	depth int
}

const ubjDepth = 64

func broken(format string, a ...any) error {
	return problem.New(problem.Invalid, "The XGBoost model file is broken: "+format+".", a...)
}

func (u *ubjSource) fail(what string) error {
	return broken("%s at byte %d", what, u.pos)
}

// peek passes no-ops and gives the next marker, 0 at the end.
func (u *ubjSource) peek() byte {
	for u.pos < len(u.b) && u.b[u.pos] == 'N' {
		u.pos++
	}
	if u.pos < len(u.b) {
		return u.b[u.pos]
	}
	return 0
}

func (u *ubjSource) kind() byte {
	switch c := u.peek(); c {
	case '{', '[':
		return c
	case 'S', 'C':
		return '"'
	case 'i', 'U', 'I', 'l', 'L', 'd', 'D':
		return '0'
	case 'T', 'F':
		return 't'
	case 'Z':
		return 'n'
	}
	return 0
}

func (u *ubjSource) take(n int) ([]byte, error) {
	if n < 0 || n > len(u.b)-u.pos {
		return nil, u.fail("it ends within a value")
	}
	b := u.b[u.pos : u.pos+n]
	u.pos += n
	return b, nil
}

func ubjSize(marker byte) int {
	switch marker {
	case 'i', 'U', 'C':
		return 1
	case 'I':
		return 2
	case 'l', 'd':
		return 4
	case 'L', 'D':
		return 8
	}
	return 0
}

func ubjInt(marker byte, b []byte) int64 {
	switch marker {
	case 'i':
		return int64(int8(b[0]))
	case 'U':
		return int64(b[0])
	case 'I':
		return int64(int16(binary.BigEndian.Uint16(b)))
	case 'l':
		return int64(int32(binary.BigEndian.Uint32(b)))
	}
	return int64(binary.BigEndian.Uint64(b))
}

func isInt(marker byte) bool {
	switch marker {
	case 'i', 'U', 'I', 'l', 'L':
		return true
	}
	return false
}

// integer reads an integer with its marker.
func (u *ubjSource) integer() (int64, error) {
	m := u.peek()
	if !isInt(m) {
		return 0, u.fail("expected a whole number")
	}
	u.pos++
	b, err := u.take(ubjSize(m))
	if err != nil {
		return 0, err
	}
	return ubjInt(m, b), nil
}

// length reads a length of things that take at least size bytes each, so it cannot exceed what is left.
func (u *ubjSource) length(size int) (int, error) {
	n, err := u.integer()
	if err != nil {
		return 0, err
	}
	if n < 0 || n > int64((len(u.b)-u.pos)/size) {
		return 0, u.fail("a length of " + strconv.FormatInt(n, 10) + " exceeds the file")
	}
	return int(n), nil
}

func (u *ubjSource) key() (string, error) {
	n, err := u.length(1)
	if err != nil {
		return "", err
	}
	b, err := u.take(n)
	return string(b), err
}

func (u *ubjSource) text() (string, error) {
	switch u.peek() {
	case 'S':
		u.pos++
		return u.key()
	case 'C':
		u.pos++
		b, err := u.take(1)
		return string(b), err
	}
	return "", u.fail("expected text")
}

func (u *ubjSource) object(field func(key string) error) error {
	if u.peek() != '{' {
		return u.fail("expected an object")
	}
	u.pos++
	if c := u.peek(); c == '$' || c == '#' {
		return u.fail("a counted object, which XGBoost does not write,")
	}
	if u.depth++; u.depth > ubjDepth {
		return u.fail("it nests too deeply")
	}
	for u.peek() != '}' {
		k, err := u.key()
		if err != nil {
			return err
		}
		if err := field(k); err != nil {
			return err
		}
	}
	u.pos++
	u.depth--
	return nil
}

// open passes '[' and gives the element marker (0: each element has its own) and the count (-1: until ']').
func (u *ubjSource) open() (marker byte, n int, err error) {
	if u.peek() != '[' {
		return 0, 0, u.fail("expected an array")
	}
	u.pos++
	n = -1
	size := 1
	if u.peek() == '$' {
		u.pos++
		b, err := u.take(1)
		if err != nil {
			return 0, 0, err
		}
		marker = b[0]
		if size = ubjSize(marker); size == 0 {
			return 0, 0, u.fail("an array of a type that is no number")
		}
		if u.peek() != '#' {
			return 0, 0, u.fail("a typed array has no length")
		}
	}
	if u.peek() == '#' {
		u.pos++
		if n, err = u.length(size); err != nil {
			return 0, 0, err
		}
	}
	return marker, n, nil
}

func (u *ubjSource) array(item func(i int) error) error {
	marker, n, err := u.open()
	if err != nil {
		return err
	}
	if marker != 0 {
		return u.fail("a typed array where objects or text were expected")
	}
	if u.depth++; u.depth > ubjDepth {
		return u.fail("it nests too deeply")
	}
	for i := 0; n < 0 || i < n; i++ {
		if n < 0 && u.peek() == ']' {
			u.pos++
			break
		}
		if err := item(i); err != nil {
			return err
		}
	}
	u.depth--
	return nil
}

func (u *ubjSource) number(marker byte) (float64, error) {
	b, err := u.take(ubjSize(marker))
	switch {
	case err != nil:
		return 0, err
	case marker == 'd':
		return float64(math.Float32frombits(binary.BigEndian.Uint32(b))), nil
	case marker == 'D':
		return math.Float64frombits(binary.BigEndian.Uint64(b)), nil
	case isInt(marker):
		return float64(ubjInt(marker, b)), nil
	}
	return 0, u.fail("expected a number")
}

func (u *ubjSource) float() (float64, error) {
	m := u.peek()
	if u.kind() != '0' {
		return 0, u.fail("expected a number")
	}
	u.pos++
	return u.number(m)
}

// each reads an array of numbers or truth values in any of the array forms.
func (u *ubjSource) each(room func(n int), put func(v float64)) error {
	marker, n, err := u.open()
	if err != nil {
		return err
	}
	if n > 0 {
		room(n)
	}
	for i := 0; n < 0 || i < n; i++ {
		m := marker
		if m == 0 {
			if m = u.peek(); m == ']' && n < 0 {
				u.pos++
				return nil
			}
			u.pos = min(u.pos+1, len(u.b))
			if m == 'T' || m == 'F' {
				put(map[byte]float64{'T': 1, 'F': 0}[m])
				continue
			}
			if !isInt(m) && m != 'd' && m != 'D' {
				return u.fail("expected a number")
			}
		}
		v, err := u.number(m)
		if err != nil {
			return err
		}
		put(v)
	}
	return nil
}

func (u *ubjSource) floats() (out []float32, err error) {
	err = u.each(func(n int) { out = make([]float32, 0, n) }, func(v float64) { out = append(out, float32(v)) })
	return out, err
}

func (u *ubjSource) ints() (out []int32, err error) {
	fits := true
	err = u.each(func(n int) { out = make([]int32, 0, n) }, func(v float64) {
		fits = fits && v >= math.MinInt32 && v <= math.MaxInt32 && v == math.Trunc(v)
		out = append(out, int32(v))
	})
	if err == nil && !fits {
		err = u.fail("a number that is not whole or does not fit 32 bits")
	}
	return out, err
}

func (u *ubjSource) skip() error {
	switch c := u.peek(); c {
	case '{':
		return u.object(func(string) error { return u.skip() })
	case '[':
		at := u.pos
		marker, n, err := u.open()
		if err != nil {
			return err
		}
		if marker != 0 {
			_, err := u.take(n * ubjSize(marker))
			return err
		}
		u.pos = at
		return u.array(func(int) error { return u.skip() })
	case 'S', 'C':
		_, err := u.text()
		return err
	case 'T', 'F', 'Z':
		u.pos++
		return nil
	case 'H':
		u.pos++
		_, err := u.key()
		return err
	}
	_, err := u.float()
	return err
}

func (u *ubjSource) end() error {
	if u.peek() != 0 || u.pos < len(u.b) {
		return u.fail("something follows the model")
	}
	return nil
}
