package main

import "unsafe"

var kept [][]byte // what the host writes into and reads from must not be collected

//go:wasmexport alloc
func alloc(size int32) int32 {
	b := make([]byte, max(size, 1))
	kept = append(kept, b)
	return int32(uintptr(unsafe.Pointer(&b[0])))
}

//go:wasmexport metric
func metric(place, size int32) int64 {
	out := answer(unsafe.Slice((*byte)(unsafe.Pointer(uintptr(place))), size))
	kept = append(kept, out)
	return int64(uintptr(unsafe.Pointer(&out[0])))<<32 | int64(len(out))
}
