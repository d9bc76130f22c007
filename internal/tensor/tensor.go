// Package tensor holds the values that go into and come out of a model: named, typed, shaped, row-major arrays.
//
// Types carry the names of the Open Inference Protocol v2 (FP32, INT64, BYTES, …). The package also holds the
// protocol's two codecs for one tensor, JSON (json.go) and raw little-endian bytes (binary.go), the compact form in
// which the prediction log keeps whole lists of tensors (frame.go), and the JSON scanner under them (scan.go).
//
// It does no I/O and knows no model. No length read from the input sizes an allocation: what is allocated is bounded
// by the bytes that were really there.
package tensor

import (
	"fmt"
	"math"
	"slices"

	"keelson/internal/problem"
)

// Type is the element type of a tensor. The zero Type is not valid.
type Type uint8

// The element types, in the order of the protocol's table; BF16 came later and their numbers are in stored logs. FP16 and
// BF16 exist on the wire only; their values are kept as FP32.
const (
	Bool Type = iota + 1
	Uint8
	Uint16
	Uint32
	Uint64
	Int8
	Int16
	Int32
	Int64
	FP16
	FP32
	FP64
	Bytes
	BF16
)

var typeNames = [...]string{"", "BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64", "FP16", "FP32", "FP64", "BYTES", "BF16"}
var typeSizes = [...]int{0, 1, 1, 2, 4, 8, 1, 2, 4, 8, 2, 4, 8, 0, 2}

// String gives the protocol's name, such as "FP32".
func (t Type) String() string {
	if int(t) < len(typeNames) && t != 0 {
		return typeNames[t]
	}
	return fmt.Sprintf("Type(%d)", uint8(t))
}

// Size gives the bytes of one element on the wire; 0 for BYTES, whose elements vary.
func (t Type) Size() int {
	if int(t) < len(typeSizes) {
		return typeSizes[t]
	}
	return 0
}

// Numeric tells whether the elements are numbers (neither BOOL nor BYTES).
func (t Type) Numeric() bool { return t > Bool && t != Bytes }

// ParseType reads a protocol name. It fails with problem.Invalid on any other word.
func ParseType(name string) (Type, error) {
	for i := 1; i < len(typeNames); i++ {
		if typeNames[i] == name {
			return Type(i), nil
		}
	}
	return 0, problem.New(problem.Invalid, "The datatype %q is not known; use one of BOOL, UINT8 to UINT64, INT8 to INT64, FP16, BF16, FP32, FP64, BYTES.", clip(name))
}

// Tensor is one named array in row-major order. Exactly one of the value slices is used, chosen by Type, and its
// length is the product of Shape: F32 for FP16, BF16 and FP32, F64 for FP64, I64 for INT8 to INT64, U64 for UINT8 to UINT64,
// B for BOOL, S for BYTES (any bytes, not only text). The first dimension counts rows where rows make sense.
type Tensor struct {
	Name  string
	Type  Type
	Shape []int
	F32   []float32
	F64   []float64
	I64   []int64
	U64   []uint64
	B     []bool
	S     []string
}

// Limits bound what one decoding may accept.
type Limits struct {
	Tensors  int // tensors in one list
	Rank     int // dimensions of one tensor
	Elements int // elements over all tensors of one list
}

// DefaultLimits suit a request that already fits a body limit of some tens of megabytes.
var DefaultLimits = Limits{Tensors: 4096, Rank: 8, Elements: 1 << 24}

// FP32s makes an FP32 tensor around v, which is kept, not copied; so do FP64s, Int64s, Strings and Bools.
func FP32s(name string, shape []int, v []float32) Tensor {
	return Tensor{Name: name, Type: FP32, Shape: shape, F32: v}
}

// FP64s makes an FP64 tensor around v.
func FP64s(name string, shape []int, v []float64) Tensor {
	return Tensor{Name: name, Type: FP64, Shape: shape, F64: v}
}

// Int64s makes an INT64 tensor around v.
func Int64s(name string, shape []int, v []int64) Tensor {
	return Tensor{Name: name, Type: Int64, Shape: shape, I64: v}
}

// Strings makes a BYTES tensor around v.
func Strings(name string, shape []int, v []string) Tensor {
	return Tensor{Name: name, Type: Bytes, Shape: shape, S: v}
}

// Bools makes a BOOL tensor around v.
func Bools(name string, shape []int, v []bool) Tensor {
	return Tensor{Name: name, Type: Bool, Shape: shape, B: v}
}

// Len is the number of values held.
func (t *Tensor) Len() int {
	switch t.Type {
	case FP16, BF16, FP32:
		return len(t.F32)
	case FP64:
		return len(t.F64)
	case Int8, Int16, Int32, Int64:
		return len(t.I64)
	case Uint8, Uint16, Uint32, Uint64:
		return len(t.U64)
	case Bool:
		return len(t.B)
	case Bytes:
		return len(t.S)
	}
	return 0
}

// Rows is the first dimension; 1 for a scalar (rank 0).
func (t *Tensor) Rows() int {
	if len(t.Shape) == 0 {
		return 1
	}
	return t.Shape[0]
}

// Width is the number of values per row; 0 when there are no rows.
func (t *Tensor) Width() int {
	if r := t.Rows(); r > 0 {
		return t.Len() / r
	}
	return 0
}

// Count multiplies shape. It fails with problem.Invalid on a negative dimension and on more than limit elements, so the
// product cannot overflow.
func Count(shape []int, limit int) (int, error) {
	for _, d := range shape {
		if d < 0 {
			return 0, problem.New(problem.Invalid, "The shape %v has a negative dimension.", shape)
		}
	}
	if slices.Contains(shape, 0) {
		return 0, nil
	}
	n := 1
	for _, d := range shape {
		if n > limit/d {
			return 0, problem.New(problem.TooLarge, "The shape %v has more than %d elements, the limit of one request.", shape, limit)
		}
		n *= d
	}
	return n, nil
}

// Check fails with problem.Invalid when the values do not fill the shape, or lie outside the element type's range.
func (t *Tensor) Check() error {
	if t.Type == 0 || int(t.Type) >= len(typeNames) {
		return problem.New(problem.Invalid, "Tensor %q has no datatype.", clip(t.Name))
	}
	n, err := Count(t.Shape, math.MaxInt32)
	if err != nil {
		return err
	}
	if n != t.Len() {
		return problem.New(problem.Invalid, "Tensor %q has shape %v, which is %d values, but holds %d.", clip(t.Name), t.Shape, n, t.Len())
	}
	switch t.Type {
	case Int8, Int16, Int32:
		for i, v := range t.I64 {
			if !t.Type.holdsInt(v) {
				return t.outOfRange(i, fmt.Sprint(v))
			}
		}
	case Uint8, Uint16, Uint32:
		for i, v := range t.U64 {
			if !t.Type.holdsUint(v) {
				return t.outOfRange(i, fmt.Sprint(v))
			}
		}
	}
	return nil
}

func (t Type) holdsInt(v int64) bool {
	switch t {
	case Int8:
		return v >= math.MinInt8 && v <= math.MaxInt8
	case Int16:
		return v >= math.MinInt16 && v <= math.MaxInt16
	case Int32:
		return v >= math.MinInt32 && v <= math.MaxInt32
	}
	return true
}

func (t Type) holdsUint(v uint64) bool {
	switch t {
	case Uint8:
		return v <= math.MaxUint8
	case Uint16:
		return v <= math.MaxUint16
	case Uint32:
		return v <= math.MaxUint32
	}
	return true
}

func (t *Tensor) outOfRange(i int, v string) error {
	return problem.New(problem.Invalid, "Value %d of tensor %q is %s, which %s cannot hold.", i, clip(t.Name), clip(v), t.Type)
}

// Float64 gives value i as a number: BOOL as 0 or 1, INT64 and UINT64 rounded to the nearest double. For BYTES it is NaN.
func (t *Tensor) Float64(i int) float64 {
	switch t.Type {
	case FP16, BF16, FP32:
		return float64(t.F32[i])
	case FP64:
		return t.F64[i]
	case Int8, Int16, Int32, Int64:
		return float64(t.I64[i])
	case Uint8, Uint16, Uint32, Uint64:
		return float64(t.U64[i])
	case Bool:
		if t.B[i] {
			return 1
		}
		return 0
	}
	return math.NaN()
}

// CopyFloat32 writes t's values into dst at dst[offset], dst[offset+stride], …, converting to float32 as a C cast does.
// It reports false, writing nothing, for BYTES. dst must be long enough.
func (t *Tensor) CopyFloat32(dst []float32, offset, stride int) bool {
	if t.Type == Bytes {
		return false
	}
	if t.Type == FP32 && stride == 1 {
		copy(dst[offset:], t.F32)
		return true
	}
	p := offset
	switch t.Type {
	case FP16, BF16, FP32:
		for _, v := range t.F32 {
			dst[p] = v
			p += stride
		}
	case FP64:
		for _, v := range t.F64 {
			dst[p] = float32(v)
			p += stride
		}
	case Int8, Int16, Int32, Int64:
		for _, v := range t.I64 {
			dst[p] = float32(v)
			p += stride
		}
	case Uint8, Uint16, Uint32, Uint64:
		for _, v := range t.U64 {
			dst[p] = float32(v)
			p += stride
		}
	case Bool:
		for _, v := range t.B {
			dst[p] = 0
			if v {
				dst[p] = 1
			}
			p += stride
		}
	}
	return true
}

// Equal tells whether two tensors have the same name, type, shape and values, where NaN equals NaN.
func (t *Tensor) Equal(o *Tensor) bool {
	if t.Name != o.Name || t.Type != o.Type || len(t.Shape) != len(o.Shape) || t.Len() != o.Len() {
		return false
	}
	for i := range t.Shape {
		if t.Shape[i] != o.Shape[i] {
			return false
		}
	}
	for i := range t.F32 {
		if a, b := t.F32[i], o.F32[i]; a != b && (a == a || b == b) {
			return false
		}
	}
	for i := range t.F64 {
		if a, b := t.F64[i], o.F64[i]; a != b && (a == a || b == b) {
			return false
		}
	}
	for i := range t.I64 {
		if t.I64[i] != o.I64[i] {
			return false
		}
	}
	for i := range t.U64 {
		if t.U64[i] != o.U64[i] {
			return false
		}
	}
	for i := range t.B {
		if t.B[i] != o.B[i] {
			return false
		}
	}
	for i := range t.S {
		if t.S[i] != o.S[i] {
			return false
		}
	}
	return true
}

// Find gives the tensor of that name, or nil.
func Find(list []Tensor, name string) *Tensor {
	for i := range list {
		if list[i].Name == name {
			return &list[i]
		}
	}
	return nil
}

// clip shortens what others wrote for a message.
func clip(s string) string { return problem.Clip(s, 80) }
