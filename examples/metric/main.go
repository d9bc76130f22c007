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
	"fmt"
	"io"
	"os"
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

// answer reads a table and writes the result.
func answer(text []byte) []byte {
	var t table
	var r result
	if err := json.Unmarshal(text, &t); err != nil {
		r.Why = err.Error()
	} else {
		r = cost(t)
	}
	out, _ := json.Marshal(r) // numbers and words only
	return out
}

// cost adds up what wrong answers cost.
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

// main tries the metric on a table from standard input: go run . < table.json. The module is called by its exports
// instead (export_wasip1.go).
func main() {
	text, err := io.ReadAll(os.Stdin)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Printf("%s\n", answer(text))
}
