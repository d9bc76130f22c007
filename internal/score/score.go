// Package score measures how good predictions are once the truth is known: of two classes (Binary), of
// several (Multiclass) and of numbers (Regression).
//
// A measure that has no value for its input – precision when nothing was predicted positive, ROC AUC
// with one class – is not 0 and not NaN: its Value says why. The package does no I/O and knows no
// thresholds; what is good enough is decided by evaluation and monitor.
package score

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
)

// Value is a measure's value, or the reason why there is none.
type Value struct {
	V   float64
	Why string // empty when V holds
}

// Of returns a value; one that is NaN or infinite becomes undefined, so that no such number reaches JSON.
func Of(v float64) Value {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return Undefined("the numbers are too large or too small for it")
	}
	return Value{V: v}
}

// Undefined returns a value that is not there because of why, a phrase without a full stop.
func Undefined(why string) Value { return Value{Why: why} }

// OK reports whether there is a value.
func (v Value) OK() bool { return v.Why == "" }

// Get returns the value, whether it is defined, and otherwise the reason.
func (v Value) Get() (value float64, ok bool, why string) { return v.V, v.OK(), v.Why }

// MarshalJSON writes the number, or null when there is none.
func (v Value) MarshalJSON() ([]byte, error) {
	if !v.OK() {
		return []byte("null"), nil
	}
	return json.Marshal(v.V)
}

// UnmarshalJSON reads what MarshalJSON wrote; the reason of a null is not kept.
func (v *Value) UnmarshalJSON(text []byte) error {
	if string(text) == "null" {
		*v = Undefined("not stored")
		return nil
	}
	v.Why = ""
	return json.Unmarshal(text, &v.V)
}

func (v Value) String() string {
	if !v.OK() {
		return "undefined: " + v.Why
	}
	return fmt.Sprintf("%g", v.V)
}

// ratio is a/b, undefined for why when b is 0.
func ratio(a, b float64, why string) Value {
	if b == 0 {
		return Undefined(why)
	}
	return Of(a / b)
}

// Quantiles returns the q-quantiles (0..1) of values by the nearest-rank rule: the element ⌈n·q⌉ of the
// sorted values, counted from 1. The unit is that of values (latencies: whatever they are given in). NaN
// is left out; without values every quantile is undefined. values is not changed.
func Quantiles(values []float64, qs ...float64) []Value {
	sorted := make([]float64, 0, len(values))
	for _, v := range values {
		if !math.IsNaN(v) {
			sorted = append(sorted, v)
		}
	}
	slices.Sort(sorted)
	out := make([]Value, len(qs))
	for i, q := range qs {
		if len(sorted) == 0 {
			out[i] = Undefined("there is no value")
			continue
		}
		k := int(math.Ceil(q*float64(len(sorted)))) - 1
		out[i] = Of(sorted[min(max(k, 0), len(sorted)-1)])
	}
	return out
}

// Thresholds are the bounds outside of which a measure is unusual: the mean of its values over the chunks of a reference ∓
// three standard deviations (of the values, over their number), kept within low and high, the measure's own bounds. It
// fails without values or with one that is not finite.
func Thresholds(values []float64, low, high float64) (lower, upper float64, err error) {
	if len(values) == 0 {
		return 0, 0, errors.New("there are no chunks to take thresholds from")
	}
	mean, squares, n := 0.0, 0.0, float64(len(values))
	for _, v := range values {
		mean += v / n
	}
	for _, v := range values {
		squares += (v - mean) * (v - mean)
	}
	spread := 3 * math.Sqrt(squares/n)
	if math.IsNaN(spread) || math.IsInf(spread, 0) {
		return 0, 0, errors.New("a value of a chunk is not a number or too large")
	}
	return math.Max(low, mean-spread), math.Min(high, mean+spread), nil
}

// lengths refuses slices that do not belong together.
func lengths(n, m int) error {
	if n != m {
		return fmt.Errorf("%d true values and %d predictions do not belong together", n, m)
	}
	return nil
}
