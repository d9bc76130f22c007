//go:build wasip1

// A custom metric for a Keelson monitor, as a WebAssembly module: what wrong answers cost, where a missed case costs ten
// times the amount at stake and a false alarm costs a fixed fee.
//
//	GOOS=wasip1 GOARCH=wasm go build -buildmode=c-shared -o cost.wasm .
//	keelson monitor module put cost cost.wasm
//
// Any language that compiles to WebAssembly will do; the interface is in docs/how-to/monitors.md.
package main

import (
	"encoding/json"
	"unsafe"
)

// table is what the module is given: columns of equally many rows, null where a value is missing.
type table struct {
	Rows    int              `json:"rows"`
	Input   map[string][]any `json:"input"`
	Output  map[string][]any `json:"output"`
	Outcome []any            `json:"outcome"`
}

// result is what it answers: a number, or why there is none.
type result struct {
	Value *float64 `json:"value"`
	Rows  int      `json:"rows"`
	Left  int      `json:"left_out"`
	Why   string   `json:"why,omitempty"`
}

const fee = 25.0

var kept [][]byte // what the host writes into and reads from must not be collected

//go:wasmexport alloc
func alloc(size int32) int32 {
	b := make([]byte, max(size, 1))
	kept = append(kept, b)
	return int32(uintptr(unsafe.Pointer(&b[0])))
}

//go:wasmexport metric
func metric(place, size int32) int64 {
	var t table
	var r result
	if err := json.Unmarshal(unsafe.Slice((*byte)(unsafe.Pointer(uintptr(place))), size), &t); err != nil {
		r.Why = err.Error()
	} else {
		r = cost(t)
	}
	out, _ := json.Marshal(r) // numbers and words only
	kept = append(kept, out)
	return int64(uintptr(unsafe.Pointer(&out[0])))<<32 | int64(len(out))
}

func cost(t table) (r result) {
	total := 0.0
	for i := range t.Rows {
		score, ok1 := at(t.Output["score"], i).(float64)
		amount, ok2 := at(t.Input["amount"], i).(float64)
		truth, ok3 := at(t.Outcome, i).(float64)
		if !ok1 || !ok2 || !ok3 {
			r.Left++
			continue
		}
		r.Rows++
		switch {
		case truth == 1 && score < 0.5:
			total += 10 * amount
		case truth == 0 && score >= 0.5:
			total += fee
		}
	}
	if r.Rows == 0 {
		r.Why = "no row has a score, an amount and an outcome"
		return r
	}
	r.Value = &total
	return r
}

func at(column []any, i int) any {
	if i < len(column) {
		return column[i]
	}
	return nil
}

func main() {}
