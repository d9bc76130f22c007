package tensor

import (
	"math"
	"strconv"
	"unicode/utf8"

	"keelson/internal/problem"
)

// ReadList reads a JSON array of protocol tensors: [{"name","shape","datatype","data"}, …], data nested or flat.
// Unknown members are passed over. See ReadTensor for the values.
func ReadList(s *Scanner, limits Limits) ([]Tensor, error) {
	var list []Tensor
	err := s.Array(func(i int) error {
		if i >= limits.Tensors {
			return problem.New(problem.TooLarge, "The list has more than %d tensors, the limit of one request.", limits.Tensors)
		}
		var t Tensor
		if err := ReadTensor(s, &t, limits, nil); err != nil {
			return err
		}
		limits.Elements -= t.Len()
		list = append(list, t)
		return nil
	})
	return list, err
}

// ReadTensor reads one protocol tensor object into t. Members may come in any order. Keys it does not know go to other,
// which must consume the value (nil: they are passed over). A tensor without "data" is left without values and is not
// checked: its values may follow as binary data.
//
// FP32 and FP64 take null, NaN, "NaN" (all NaN), ±Infinity and "±Infinity"; FP32 values are read as doubles and then
// rounded, as a client that computes in doubles would. INT and UINT take whole numbers in range. BOOL takes true, false,
// 0 and 1. BYTES takes strings.
func ReadTensor(s *Scanner, t *Tensor, limits Limits, other func(key string) error) error {
	dataAt, dataEnd, read := -1, 0, false
	typed, shaped := false, false
	err := s.Object(func(key string) (err error) {
		switch key {
		case "name":
			t.Name, err = s.String()
		case "datatype":
			var raw string
			if raw, err = s.rawString(); err == nil {
				t.Type, err = ParseType(raw)
			}
			typed = true
		case "shape":
			t.Shape, err = readShape(s, limits)
			shaped = true
		case "data":
			if dataAt >= 0 {
				return problem.New(problem.Invalid, "Tensor %q has its data twice.", clip(t.Name))
			}
			s.Peek()
			dataAt = s.Pos
			if typed && shaped {
				read = true
				return readData(s, t, limits)
			}
			err = s.Skip()
			dataEnd = s.Pos
		default:
			if other != nil {
				return other(key)
			}
			err = s.Skip()
		}
		return err
	})
	if err != nil {
		return err
	}
	switch {
	case t.Name == "":
		return problem.New(problem.Invalid, "A tensor has no name.")
	case !typed:
		return problem.New(problem.Invalid, "Tensor %q has no datatype.", clip(t.Name))
	case !shaped:
		return problem.New(problem.Invalid, "Tensor %q has no shape.", clip(t.Name))
	}
	if dataAt >= 0 && !read {
		sub := Scanner{Data: s.Data[:dataEnd], Pos: dataAt, depth: s.depth}
		return readData(&sub, t, limits)
	}
	return nil
}

func readShape(s *Scanner, limits Limits) ([]int, error) {
	shape := make([]int, 0, 4)
	err := s.Array(func(i int) error {
		if i >= limits.Rank {
			return problem.New(problem.Invalid, "A shape has more than %d dimensions.", limits.Rank)
		}
		d, err := s.Int()
		if err != nil {
			return err
		}
		if d < 0 || d > math.MaxInt32 {
			return problem.New(problem.Invalid, "A shape has the dimension %d; dimensions lie between 0 and 2147483647.", d)
		}
		shape = append(shape, int(d))
		return nil
	})
	return shape, err
}

// readData reads the values of a tensor whose type and shape are known.
func readData(s *Scanner, t *Tensor, limits Limits) error {
	if t.Type == FP16 || t.Type == BF16 {
		return problem.New(problem.Invalid, "Tensor %q is %s, which travels as binary data only.", clip(t.Name), t.Type)
	}
	want, err := Count(t.Shape, limits.Elements)
	if err != nil {
		return err
	}
	// Each value takes at least two bytes of JSON, so what is left of the text bounds the allocation.
	room := min(want, (len(s.Data)-s.Pos)/2+1)
	switch t.Type {
	case FP32:
		t.F32 = make([]float32, 0, room)
	case FP64:
		t.F64 = make([]float64, 0, room)
	case Int8, Int16, Int32, Int64:
		t.I64 = make([]int64, 0, room)
	case Uint8, Uint16, Uint32, Uint64:
		t.U64 = make([]uint64, 0, room)
	case Bool:
		t.B = make([]bool, 0, room)
	case Bytes:
		t.S = make([]string, 0, room)
	}
	if s.Peek() != '[' {
		if len(t.Shape) == 0 {
			return readValue(s, t)
		}
		return s.fail("the data of tensor " + strconv.Quote(clip(t.Name)) + " is not an array")
	}
	if err := readNested(s, t, want, 0); err != nil {
		return err
	}
	if t.Len() != want {
		return miscount(t, want)
	}
	return nil
}

func miscount(t *Tensor, want int) error {
	return problem.New(problem.Invalid, "Tensor %q has shape %v, which is %d values, but its data has %s.", clip(t.Name), t.Shape, want, atLeast(t.Len(), want))
}

func atLeast(n, want int) string {
	if n > want {
		return "more"
	}
	return strconv.Itoa(n)
}

// readNested reads the array at the given depth. Only depth 0 may be flat while the shape has more dimensions.
func readNested(s *Scanner, t *Tensor, want, depth int) error {
	s.Pos++ // '['
	if s.Peek() == ']' {
		s.Pos++
		return nil
	}
	if s.Peek() == '[' {
		if depth+1 >= len(t.Shape) {
			return problem.New(problem.Invalid, "The data of tensor %q is nested deeper than its shape %v.", clip(t.Name), t.Shape)
		}
		width := want / max(t.Shape[depth], 1)
		for n := 0; ; n++ {
			if s.Peek() != '[' {
				return s.fail("expected '[' in nested data")
			}
			if n >= t.Shape[depth] {
				return ragged(t)
			}
			before := t.Len()
			if err := readNested(s, t, width, depth+1); err != nil {
				return err
			}
			if t.Len()-before != width {
				return ragged(t)
			}
			if more, err := s.next(); err != nil || !more {
				return err
			}
		}
	}
	if depth != 0 && depth != len(t.Shape)-1 {
		return ragged(t)
	}
	start := t.Len()
	for {
		if t.Len()-start >= want {
			return miscountOver(t, want, depth)
		}
		if err := readValue(s, t); err != nil {
			return err
		}
		if s.Pos < len(s.Data) && s.Data[s.Pos] == ',' {
			s.Pos++
			continue
		}
		if more, err := s.next(); err != nil || !more {
			return err
		}
	}
}

func miscountOver(t *Tensor, want, depth int) error {
	if depth > 0 {
		return ragged(t)
	}
	return problem.New(problem.Invalid, "Tensor %q has shape %v, which is %d values, but its data has more.", clip(t.Name), t.Shape, want)
}

func ragged(t *Tensor) error {
	return problem.New(problem.Invalid, "The nesting of the data of tensor %q does not follow its shape %v.", clip(t.Name), t.Shape)
}

func readValue(s *Scanner, t *Tensor) error {
	switch t.Type {
	case FP32:
		v, err := readFloat(s, t)
		if err != nil {
			return err
		}
		f := float32(v)
		if math.IsInf(float64(f), 0) && !math.IsInf(v, 0) {
			return t.outOfRange(t.Len(), strconv.FormatFloat(v, 'g', -1, 64))
		}
		t.F32 = append(t.F32, f)
	case FP64:
		v, err := readFloat(s, t)
		if err != nil {
			return err
		}
		t.F64 = append(t.F64, v)
	case Int8, Int16, Int32, Int64:
		v, err := s.Int()
		if err != nil {
			return t.at(err)
		}
		if !t.Type.holdsInt(v) {
			return t.outOfRange(t.Len(), strconv.FormatInt(v, 10))
		}
		t.I64 = append(t.I64, v)
	case Uint8, Uint16, Uint32, Uint64:
		v, err := s.Uint()
		if err != nil {
			return t.at(err)
		}
		if !t.Type.holdsUint(v) {
			return t.outOfRange(t.Len(), strconv.FormatUint(v, 10))
		}
		t.U64 = append(t.U64, v)
	case Bool:
		if c := s.Peek(); c == '0' || c == '1' {
			v, err := s.Uint()
			if err != nil || v > 1 {
				return t.wrong("BOOL takes true, false, 0 or 1")
			}
			t.B = append(t.B, v == 1)
			return nil
		}
		v, err := s.Bool()
		if err != nil {
			return t.wrong("BOOL takes true, false, 0 or 1")
		}
		t.B = append(t.B, v)
	case Bytes:
		if s.Peek() != '"' {
			return t.wrong("BYTES takes strings")
		}
		v, err := s.String()
		if err != nil {
			return err
		}
		t.S = append(t.S, v)
	}
	return nil
}

func (t *Tensor) wrong(why string) error {
	return problem.New(problem.Invalid, "Value %d of tensor %q is not of its datatype: %s.", t.Len(), clip(t.Name), why)
}

func (t *Tensor) at(err error) error {
	return problem.New(problem.Invalid, "Value %d of tensor %q is not a whole number that %s can hold.", t.Len(), clip(t.Name), t.Type).Because(err)
}

func readFloat(s *Scanner, t *Tensor) (float64, error) {
	switch s.Peek() {
	case 'n':
		if s.Null() {
			return math.NaN(), nil
		}
	case '"':
		text, err := s.rawString()
		if err != nil {
			return 0, err
		}
		switch text {
		case "NaN":
			return math.NaN(), nil
		case "Infinity":
			return math.Inf(1), nil
		case "-Infinity":
			return math.Inf(-1), nil
		}
		return 0, t.wrong(t.Type.String() + " takes numbers, null, \"NaN\" and \"±Infinity\"")
	case 't', 'f', '{', '[', ']':
		return 0, t.wrong(t.Type.String() + " takes numbers, null, \"NaN\" and \"±Infinity\"")
	}
	return s.Float()
}

// AppendJSON appends t as a protocol object with flat data. NaN becomes null and the infinities "Infinity" and
// "-Infinity", so that the text is strict JSON and ReadTensor gives the same tensor back. BYTES that are not UTF-8 lose
// their broken bytes to U+FFFD.
func (t *Tensor) AppendJSON(dst []byte) []byte {
	dst = append(dst, '{')
	if t.Type == FP16 || t.Type == BF16 { // JSON has neither
		wide := *t
		wide.Type = FP32
		t = &wide
	}
	dst = t.AppendHead(dst)
	dst = append(dst, `,"data":`...)
	dst = t.AppendData(dst)
	return append(dst, '}')
}

// AppendHead appends the members name, shape and datatype without braces.
func (t *Tensor) AppendHead(dst []byte) []byte {
	dst = append(dst, `"name":`...)
	dst = AppendString(dst, t.Name)
	dst = append(dst, `,"shape":[`...)
	for i, d := range t.Shape {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = strconv.AppendInt(dst, int64(d), 10)
	}
	dst = append(dst, `],"datatype":"`...)
	dst = append(dst, t.Type.String()...)
	return append(dst, '"')
}

// AppendData appends the values as a flat JSON array.
func (t *Tensor) AppendData(dst []byte) []byte {
	dst = append(dst, '[')
	switch t.Type {
	case FP16, BF16, FP32:
		for i, v := range t.F32 {
			dst = appendFloat(comma(dst, i), float64(v), 32)
		}
	case FP64:
		for i, v := range t.F64 {
			dst = appendFloat(comma(dst, i), v, 64)
		}
	case Int8, Int16, Int32, Int64:
		for i, v := range t.I64 {
			dst = strconv.AppendInt(comma(dst, i), v, 10)
		}
	case Uint8, Uint16, Uint32, Uint64:
		for i, v := range t.U64 {
			dst = strconv.AppendUint(comma(dst, i), v, 10)
		}
	case Bool:
		for i, v := range t.B {
			dst = strconv.AppendBool(comma(dst, i), v)
		}
	case Bytes:
		for i, v := range t.S {
			dst = AppendString(comma(dst, i), v)
		}
	}
	return append(dst, ']')
}

// AppendList appends a JSON array of tensors.
func AppendList(dst []byte, list []Tensor) []byte {
	dst = append(dst, '[')
	for i := range list {
		dst = list[i].AppendJSON(comma(dst, i))
	}
	return append(dst, ']')
}

func comma(dst []byte, i int) []byte {
	if i > 0 {
		return append(dst, ',')
	}
	return dst
}

func appendFloat(dst []byte, v float64, bits int) []byte {
	switch {
	case v != v:
		return append(dst, "null"...)
	case v > math.MaxFloat64:
		return append(dst, `"Infinity"`...)
	case v < -math.MaxFloat64:
		return append(dst, `"-Infinity"`...)
	}
	format := byte('f')
	if a := math.Abs(v); a != 0 && (a < 1e-6 || a >= 1e21) {
		format = 'e'
	}
	return strconv.AppendFloat(dst, v, format, -1, bits)
}

const hexDigits = "0123456789abcdef"

// AppendString appends s as a JSON string; broken UTF-8 becomes U+FFFD.
func AppendString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= 0x20 && c < utf8.RuneSelf && c != '"' && c != '\\' {
			i++
			continue
		}
		if c < utf8.RuneSelf {
			dst = append(dst, s[start:i]...)
			switch c {
			case '"', '\\':
				dst = append(dst, '\\', c)
			case '\n':
				dst = append(dst, `\n`...)
			case '\r':
				dst = append(dst, `\r`...)
			case '\t':
				dst = append(dst, `\t`...)
			default:
				dst = append(dst, `\u00`...)
				dst = append(dst, hexDigits[c>>4], hexDigits[c&15])
			}
			i++
			start = i
			continue
		}
		r, size := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && size == 1 {
			dst = append(dst, s[start:i]...)
			dst = append(dst, "\uFFFD"...)
			i++
			start = i
			continue
		}
		i += size
	}
	dst = append(dst, s[start:]...)
	return append(dst, '"')
}

// MarshalJSON writes the protocol object of AppendJSON.
func (t Tensor) MarshalJSON() ([]byte, error) { return t.AppendJSON(nil), nil }

// UnmarshalJSON reads the protocol object of ReadTensor, with its values.
func (t *Tensor) UnmarshalJSON(data []byte) error {
	*t = Tensor{}
	s := NewScanner(data)
	if err := ReadTensor(s, t, DefaultLimits, nil); err != nil {
		return err
	}
	if err := s.End(); err != nil {
		return err
	}
	return t.Check()
}
