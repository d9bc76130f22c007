package tensor

import (
	"encoding/binary"
	"errors"
	"math"
)

// ErrFrame says that bytes are not a list written by AppendFrame.
var ErrFrame = errors.New("tensor: not a framed list of tensors")

// AppendFrame appends a list of tensors in the compact form of the prediction log's segments:
//
//	count, then per tensor: name length, name, type (one byte), rank, dimensions, raw length, raw bytes (AppendRaw)
//
// where every number but the type is an unsigned varint.
func AppendFrame(dst []byte, list []Tensor) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(list)))
	for i := range list {
		t := &list[i]
		dst = binary.AppendUvarint(dst, uint64(len(t.Name)))
		dst = append(dst, t.Name...)
		dst = append(dst, byte(t.Type))
		dst = binary.AppendUvarint(dst, uint64(len(t.Shape)))
		for _, d := range t.Shape {
			dst = binary.AppendUvarint(dst, uint64(d))
		}
		dst = binary.AppendUvarint(dst, uint64(t.RawSize()))
		dst = t.AppendRaw(dst)
	}
	return dst
}

// ReadFrame reads a list written by AppendFrame and gives what follows it. Allocations are bounded by len(b).
func ReadFrame(b []byte) (list []Tensor, rest []byte, err error) { return ReadFrameOver(nil, b) }

// ReadFrameOver is ReadFrame in the memory of a list that it gave before and that nobody needs any more.
func ReadFrameOver(old []Tensor, b []byte) (list []Tensor, rest []byte, err error) {
	var n uint64
	if n, b, err = uvarint(b); err != nil || n > uint64(len(b)) {
		return nil, nil, ErrFrame
	}
	list = old[:0]
	for range n {
		var t Tensor
		if len(list) < cap(list) {
			t = list[:len(list)+1][len(list)]
		}
		var l uint64
		if l, b, err = uvarint(b); err != nil || l >= uint64(len(b)) {
			return nil, nil, ErrFrame
		}
		if t.Name != string(b[:l]) {
			t.Name = string(b[:l])
		}
		t.Type, b = Type(b[l]), b[l+1:]
		if l, b, err = uvarint(b); err != nil || l > uint64(len(b)) || l > 64 {
			return nil, nil, ErrFrame
		}
		if t.Shape = t.Shape[:0]; t.Shape == nil {
			t.Shape = make([]int, 0, l)
		}
		for range l {
			if l, b, err = uvarint(b); err != nil || l > 1<<31 {
				return nil, nil, ErrFrame
			}
			t.Shape = append(t.Shape, int(l))
		}
		if l, b, err = uvarint(b); err != nil || l > uint64(len(b)) {
			return nil, nil, ErrFrame
		}
		if !t.setOver(b[:l]) {
			t = Tensor{Name: t.Name, Type: t.Type, Shape: t.Shape}
			if t.SetRaw(b[:l], Limits{Elements: int(l) + 1}) != nil {
				return nil, nil, ErrFrame
			}
		}
		b = b[l:]
		list = append(list, t)
	}
	return list, b, nil
}

// setOver is SetRaw for the types of most models into values that t has already; false where it cannot.
func (t *Tensor) setOver(raw []byte) bool {
	n, err := Count(t.Shape, len(raw)+1)
	if err != nil || len(raw) != n*t.Type.Size() {
		return false
	}
	switch {
	case t.Type == FP32 && t.F32 != nil && cap(t.F32) >= n:
		v := t.F32[:n]
		for i := range v {
			v[i] = math.Float32frombits(binary.LittleEndian.Uint32(raw[4*i:]))
		}
		*t = Tensor{Name: t.Name, Type: FP32, Shape: t.Shape, F32: v}
	case t.Type == FP64 && t.F64 != nil && cap(t.F64) >= n:
		v := t.F64[:n]
		for i := range v {
			v[i] = math.Float64frombits(binary.LittleEndian.Uint64(raw[8*i:]))
		}
		*t = Tensor{Name: t.Name, Type: FP64, Shape: t.Shape, F64: v}
	default:
		return false
	}
	return true
}

func uvarint(b []byte) (uint64, []byte, error) {
	v, n := binary.Uvarint(b)
	if n <= 0 {
		return 0, nil, ErrFrame
	}
	return v, b[n:], nil
}
