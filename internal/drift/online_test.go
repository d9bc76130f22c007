package drift

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

func TestDetectorsFireWhereTheReferenceLibraryDoes(t *testing.T) {
	b, err := os.ReadFile(filepath.Join(golden(), "stream_expected.json"))
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Streams map[string]map[string]struct {
			Detections []int `json:"detections_zero_based"`
			Count      int
		}
		ChangeAt map[string]any `json:"change_at"`
	}
	if err := json.Unmarshal(b, &doc); err != nil {
		t.Fatal(err)
	}
	columns := readCSV(t, "stream.csv")
	compared := map[string]int{}
	for stream, detectors := range doc.Streams {
		var values []float64
		for _, v := range numbers(t, columns[stream]) {
			if v == v {
				values = append(values, v)
			}
		}
		for name, want := range detectors {
			kind, rest, _ := strings.Cut(name, "_")
			if want.Count != len(want.Detections) {
				t.Errorf("%s on %s is said to fire %d times, at %v", name, stream, want.Count, want.Detections)
			}
			var d Detector
			switch kind {
			case "adwin":
				delta := 0.002
				if text, ok := strings.CutPrefix(rest, "delta_"); ok {
					if delta, err = strconv.ParseFloat(text, 64); err != nil {
						t.Fatal(err)
					}
				}
				d = NewADWIN(delta)
			case "page":
				d = NewPageHinkley(0.005, 50)
			case "ddm":
				d = NewDDM()
			case "eddm":
				d = NewEDDM()
			case "kswin":
				d = NewKSWIN(0.005, 1)
			default:
				t.Errorf("nothing here is %s", name)
				continue
			}
			got := []int{}
			for i, v := range values {
				if d.Update(v) == Changed {
					got = append(got, i)
				}
			}
			compared[kind]++
			if kind == "kswin" { // it draws at random: some of nine draws sees the change about as soon, and alarms are mostly about as rare
				at, ok := doc.ChangeAt[stream].(float64)
				after := func(list []int) float64 { // the change
					k := slices.IndexFunc(list, func(i int) bool { return float64(i) >= at })
					if k < 0 {
						return math.Inf(1)
					}
					return float64(list[k]) - at
				}
				var delays, counts []float64
				for seed := range uint64(9) {
					d, fired := NewKSWIN(0.005, seed), []int{}
					for i, v := range values {
						if d.Update(v) == Changed {
							fired = append(fired, i)
						}
					}
					delays, counts = append(delays, after(fired)), append(counts, float64(len(fired)))
				}
				slices.Sort(delays)
				slices.Sort(counts)
				n := float64(len(want.Detections))
				if ok && delays[0] > 2*after(want.Detections)+100 || counts[4] > 3*n+3 || n > 3*counts[4]+3 {
					t.Errorf("%s on %s fires %v values after the change and %v times, the library at %v", name, stream, delays, counts, want.Detections)
				}
				continue
			}
			if !slices.Equal(got, want.Detections) {
				t.Errorf("%s on %s fired at %v, the library at %v", name, stream, got, want.Detections)
			}
		}
	}
	if compared["adwin"] == 0 || compared["page"] == 0 {
		t.Errorf("only %v were compared", compared)
	}
}

func TestTheWindowOfADWINHoldsTheCurrentMean(t *testing.T) {
	r, a := rand.New(rand.NewPCG(3, 4)), NewADWIN(0.002)
	if n, mean := a.Window(); n != 0 || mean != 0 {
		t.Errorf("an empty window: %d %g", n, mean)
	}
	for i := range 100_000 {
		x := r.NormFloat64()
		if i >= 60_000 {
			x += 3
		}
		a.Update(x)
	}
	n, mean := a.Window()
	if n < 30_000 || n > 45_000 || mean < 2.9 || mean > 3.1 {
		t.Errorf("after a jump from 0 to 3 the window has %d values of mean %g", n, mean)
	}
	buckets := 0
	for _, l := range a.levels {
		buckets += len(l)
	}
	if buckets > 100 {
		t.Errorf("%d buckets for %d values", buckets, n)
	}
}

func BenchmarkADWIN(b *testing.B) {
	r, a := rand.New(rand.NewPCG(3, 4)), NewADWIN(0.002)
	values := make([]float64, 4096)
	for i := range values {
		values[i] = r.Float64()
	}
	b.ReportAllocs()
	for i := range b.N {
		a.Update(values[i%len(values)])
	}
}
