package tensor

import (
	"encoding/binary"
	"math"

	"keelson/internal/problem"
)

// RawSize gives the bytes AppendRaw will add.
func (t *Tensor) RawSize() int {
	if t.Type == Bytes {
		n := 4 * len(t.S)
		for _, s := range t.S {
			n += len(s)
		}
		return n
	}
	return t.Type.Size() * t.Len()
}

// AppendRaw appends the values in the form of the protocol's binary tensor data extension: little-endian elements in
// row-major order; BOOL one byte; each BYTES element behind its length in four bytes.
func (t *Tensor) AppendRaw(dst []byte) []byte {
	le := binary.LittleEndian
	switch t.Type {
	case FP16:
		for _, v := range t.F32 {
			dst = le.AppendUint16(dst, toHalf(v))
		}
	case BF16:
		for _, v := range t.F32 {
			dst = le.AppendUint16(dst, toBrain(v))
		}
	case FP32:
		for _, v := range t.F32 {
			dst = le.AppendUint32(dst, math.Float32bits(v))
		}
	case FP64:
		for _, v := range t.F64 {
			dst = le.AppendUint64(dst, math.Float64bits(v))
		}
	case Int8, Uint8, Int16, Uint16, Int32, Uint32, Int64, Uint64:
		size := t.Type.Size()
		for _, v := range t.I64 {
			dst = appendWord(dst, uint64(v), size)
		}
		for _, v := range t.U64 {
			dst = appendWord(dst, v, size)
		}
	case Bool:
		for _, v := range t.B {
			if v {
				dst = append(dst, 1)
			} else {
				dst = append(dst, 0)
			}
		}
	case Bytes:
		for _, v := range t.S {
			dst = le.AppendUint32(dst, uint32(len(v)))
			dst = append(dst, v...)
		}
	}
	return dst
}

func appendWord(dst []byte, v uint64, size int) []byte {
	for range size {
		dst = append(dst, byte(v))
		v >>= 8
	}
	return dst
}

// SetRaw fills t, whose Type and Shape are set, from the bytes of AppendRaw. raw must hold exactly the values of the
// shape. The values are copied; raw may be reused afterwards.
func (t *Tensor) SetRaw(raw []byte, limits Limits) error {
	n, err := Count(t.Shape, limits.Elements)
	if err != nil {
		return err
	}
	size := t.Type.Size()
	if t.Type != Bytes && len(raw) != n*size || t.Type == Bytes && len(raw)/4 < n {
		return problem.New(problem.Invalid, "Tensor %q of type %s and shape %v needs %d values, which %d bytes of binary data are not.", clip(t.Name), t.Type, t.Shape, n, len(raw))
	}
	le := binary.LittleEndian
	switch t.Type {
	case FP16:
		t.F32 = make([]float32, n)
		for i := range t.F32 {
			t.F32[i] = fromHalf(le.Uint16(raw[2*i:]))
		}
	case BF16:
		t.F32 = make([]float32, n)
		for i := range t.F32 {
			t.F32[i] = math.Float32frombits(uint32(le.Uint16(raw[2*i:])) << 16)
		}
	case FP32:
		t.F32 = make([]float32, n)
		for i := range t.F32 {
			t.F32[i] = math.Float32frombits(le.Uint32(raw[4*i:]))
		}
	case FP64:
		t.F64 = make([]float64, n)
		for i := range t.F64 {
			t.F64[i] = math.Float64frombits(le.Uint64(raw[8*i:]))
		}
	case Int8, Int16, Int32, Int64:
		t.I64 = make([]int64, n)
		shift := 64 - 8*size
		for i := range t.I64 {
			t.I64[i] = int64(word(raw[i*size:], size)<<shift) >> shift
		}
	case Uint8, Uint16, Uint32, Uint64:
		t.U64 = make([]uint64, n)
		for i := range t.U64 {
			t.U64[i] = word(raw[i*size:], size)
		}
	case Bool:
		t.B = make([]bool, n)
		for i := range t.B {
			t.B[i] = raw[i] != 0
		}
	case Bytes:
		t.S = make([]string, n)
		for i := range t.S {
			if len(raw) < 4 {
				return t.shortBytes(i)
			}
			l := le.Uint32(raw)
			raw = raw[4:]
			if uint64(l) > uint64(len(raw)) {
				return t.shortBytes(i)
			}
			t.S[i] = string(raw[:l])
			raw = raw[l:]
		}
		if len(raw) > 0 {
			return problem.New(problem.Invalid, "The binary data of tensor %q has %d bytes too many.", clip(t.Name), len(raw))
		}
	default:
		return problem.New(problem.Invalid, "Tensor %q has no datatype.", clip(t.Name))
	}
	return nil
}

func (t *Tensor) shortBytes(i int) error {
	return problem.New(problem.Invalid, "The binary data of tensor %q ends within value %d.", clip(t.Name), i)
}

func word(b []byte, size int) uint64 {
	var v uint64
	for i := size - 1; i >= 0; i-- {
		v = v<<8 | uint64(b[i])
	}
	return v
}

// fromHalf widens an IEEE 754 binary16.
func fromHalf(h uint16) float32 {
	sign := uint32(h>>15) << 31
	exp, frac := uint32(h>>10)&31, uint32(h)&1023
	switch {
	case exp == 31:
		return math.Float32frombits(sign | 0xFF<<23 | frac<<13)
	case exp != 0:
		return math.Float32frombits(sign | (exp+112)<<23 | frac<<13)
	case frac == 0:
		return math.Float32frombits(sign)
	}
	v := float32(frac) / (1 << 24)
	if sign != 0 {
		return -v
	}
	return v
}

// toHalf rounds to the nearest IEEE 754 binary16, ties to even.
func toHalf(f float32) uint16 {
	b := math.Float32bits(f)
	sign := uint16(b>>16) & 0x8000
	b &= 0x7FFFFFFF
	switch {
	case b > 0x7F800000:
		return sign | 0x7E00
	case b >= 0x47800000: // ≥ 2^16, infinity included
		return sign | 0x7C00
	case b < 0x38800000: // below 2^-14: subnormal
		// f·2^24 rounded to an integer, by adding and taking away 2^23 in float32.
		v := math.Float32frombits(b) * (1 << 24)
		v += 1 << 23
		return sign | uint16(math.Float32bits(v)&0x7FF)
	}
	b += 0xFFF + b>>13&1
	return sign | uint16((b-0x38000000)>>13)
}

// toBrain rounds to the nearest bfloat16, ties to even; a NaN stays one.
func toBrain(f float32) uint16 {
	b := math.Float32bits(f)
	if b&0x7FFFFFFF > 0x7F800000 {
		return uint16(b>>16) | 0x40
	}
	return uint16((b + 0x7FFF + b>>16&1) >> 16)
}
