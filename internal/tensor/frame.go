package tensor

import (
	"encoding/binary"
	"errors"
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
func ReadFrame(b []byte) (list []Tensor, rest []byte, err error) {
	var n uint64
	if n, b, err = uvarint(b); err != nil || n > uint64(len(b)) {
		return nil, nil, ErrFrame
	}
	for range n {
		var t Tensor
		var l uint64
		if l, b, err = uvarint(b); err != nil || l >= uint64(len(b)) {
			return nil, nil, ErrFrame
		}
		t.Name, t.Type, b = string(b[:l]), Type(b[l]), b[l+1:]
		if l, b, err = uvarint(b); err != nil || l > uint64(len(b)) || l > 64 {
			return nil, nil, ErrFrame
		}
		t.Shape = make([]int, l)
		for i := range t.Shape {
			if l, b, err = uvarint(b); err != nil || l > 1<<31 {
				return nil, nil, ErrFrame
			}
			t.Shape[i] = int(l)
		}
		if l, b, err = uvarint(b); err != nil || l > uint64(len(b)) {
			return nil, nil, ErrFrame
		}
		if t.SetRaw(b[:l], Limits{Elements: int(l) + 1}) != nil {
			return nil, nil, ErrFrame
		}
		b = b[l:]
		list = append(list, t)
	}
	return list, b, nil
}

func uvarint(b []byte) (uint64, []byte, error) {
	v, n := binary.Uvarint(b)
	if n <= 0 {
		return 0, nil, ErrFrame
	}
	return v, b[n:], nil
}
