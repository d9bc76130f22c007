package dataset

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/parquet-go/parquet-go"

	"keelson/internal/drift"
	"keelson/internal/problem"
)

var usualEffects = Effects{PSI: 0.25, KS: 0.25, PSIWarn: 0.1, KSWarn: 0.15, Missing: 0.1}

type patient struct {
	Age    float64  `parquet:"age"`
	Income *float64 `parquet:"income,optional"`
	Visits int64    `parquet:"visits"`
	Region string   `parquet:"region,dict"`
	Code   string   `parquet:"code"`
}

func patients(seed uint64, n int, change func(p *patient, r *rand.Rand)) []patient {
	r := rand.New(rand.NewPCG(seed, 1))
	out := make([]patient, n)
	for i := range out {
		v := r.ExpFloat64() * 1000
		out[i] = patient{Age: 20 + 60*r.Float64(), Income: &v, Visits: int64(r.IntN(6)), Region: []string{"north", "south", "east"}[r.IntN(3)], Code: fmt.Sprint(r.IntN(40))}
		if r.IntN(20) == 0 {
			out[i].Income = nil
		}
		if change != nil {
			change(&out[i], r)
		}
	}
	return out
}

func asParquet(t *testing.T, rows []patient) File {
	t.Helper()
	var b bytes.Buffer
	w := parquet.NewGenericWriter[patient](&b, parquet.MaxRowsPerRowGroup(3000))
	if _, err := w.Write(rows); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return File{At: bytes.NewReader(b.Bytes()), Size: int64(b.Len())}
}

func asCSV(rows []patient) File {
	var b strings.Builder
	b.WriteString("region,age,visits,income,code\n")
	for _, p := range rows {
		income := ""
		if p.Income != nil {
			income = fmt.Sprint(*p.Income)
		}
		fmt.Fprintf(&b, "%s,%v,%d,%s,%s\n", p.Region, p.Age, p.Visits, income, p.Code)
	}
	return csvOf(b.String())
}

func csvOf(s string) File { return File{At: strings.NewReader(s), Size: int64(len(s))} }

func compared(t *testing.T, a, b File) (*Comparison, map[string]Change) {
	t.Helper()
	got, err := Compare(context.Background(), a, b, usualEffects, Limits{})
	if err != nil {
		t.Fatal(err)
	}
	by := map[string]Change{}
	for _, c := range got.Columns {
		by[c.Name] = c
	}
	return got, by
}

func TestWhatMovedBetweenTwoFilesComesFirstAndWhatStayedDidNotMove(t *testing.T) {
	before, same := patients(1, 8000, nil), patients(2, 5000, nil)
	after := patients(3, 5000, func(p *patient, r *rand.Rand) {
		p.Age += 25
		if r.IntN(2) == 0 {
			p.Income = nil
		}
		if r.IntN(3) > 0 {
			p.Region = "west"
		}
	})
	for _, files := range []struct {
		name                  string
		before, same, altered File
	}{
		{"parquet", asParquet(t, before), asParquet(t, same), asParquet(t, after)},
		{"csv", asCSV(before), asCSV(same), asCSV(after)},
		{"parquet and csv", asParquet(t, before), asCSV(same), asCSV(after)},
	} {
		quiet, by := compared(t, files.before, files.same)
		if quiet.Moved != 0 || quiet.ReferenceRows != 8000 || quiet.CurrentRows != 5000 || len(quiet.Columns) != 5 || (by["code"].Type == String) != (files.name != "csv") {
			t.Errorf("%s, alike: %+v", files.name, quiet)
		}
		got, moved := compared(t, files.before, files.altered)
		order := ""
		for _, c := range got.Columns {
			if c.Shift == "moved" {
				order += c.Name + " "
			}
		}
		if got.Moved != 3 || !strings.HasPrefix(order, "region ") || len(strings.Fields(order)) != 3 || moved["age"].KS == nil || moved["income"].Metric != "missing" || math.Abs(moved["income"].Missing-0.52) > 0.05 || moved["visits"].Shift != "none" {
			t.Errorf("%s: %s %+v", files.name, order, got.Columns)
		}
		// The numbers are those of the packages that measure.
		var a, b []float64
		for _, p := range before {
			a = append(a, p.Age)
		}
		for _, p := range same {
			b = append(b, p.Age)
		}
		sa, _, _ := drift.Split(a)
		sb, _, _ := drift.Split(b)
		edges := drift.Edges(sa, 10)
		psi, err := drift.PSI(drift.Count(edges, a), drift.Count(edges, b))
		ks, err2 := drift.KS(sa, sb)
		if err != nil || err2 != nil || math.Abs(*by["age"].PSI-psi) > 1e-12 || math.Abs(*by["age"].KS-ks) > 1e-12 || by["age"].Error != 0 {
			t.Errorf("%s: PSI %g and KS %g of age, want %g and %g", files.name, *by["age"].PSI, *by["age"].KS, psi, ks)
		}
		if c := by["region"]; c.CramersV == nil || c.ChiSquare == nil || c.KS != nil {
			t.Errorf("%s: %+v", files.name, c)
		}
	}
}

func TestColumnsOfOneFileOnlyAndOfAnotherTypeAreSaid(t *testing.T) {
	got, by := compared(t, csvOf("a,b,c,d\n1,x,2,\n2,y,3,\n"), csvOf("a,b,e,d\n1,1,2020-01-01,5\nn/a,2,2020-01-02,6\n"))
	for name, shift := range map[string]string{"a": "retyped", "b": "retyped", "c": "gone", "e": "new"} {
		if by[name].Shift != shift || by[name].Why == "" {
			t.Errorf("%s: %+v", name, by[name])
		}
	}
	if d := by["d"]; d.Shift != "none" || d.PSI != nil || d.Why == "" || d.MissingWas != 1 { // no value was there before; of two rows that says nothing
		t.Errorf("d: %+v", d)
	}
	if got.Moved < 4 || got.ReferenceRows != 2 {
		t.Errorf("%+v", got)
	}
}

func TestManyColumnsAreReadInPartsWithTheSameNumbers(t *testing.T) {
	var a, b strings.Builder
	r := rand.New(rand.NewPCG(9, 9))
	for k := range 300 {
		fmt.Fprintf(&a, "c%d,", k)
	}
	a.WriteString("z\n")
	b.WriteString(a.String())
	for range 500 {
		for k := range 300 {
			fmt.Fprintf(&a, "%.3f,", r.NormFloat64())
			shift := 0.0
			if k == 250 {
				shift = 3
			}
			fmt.Fprintf(&b, "%.3f,", r.NormFloat64()+shift)
		}
		a.WriteString("1\n")
		b.WriteString("1\n")
	}
	got, by := compared(t, csvOf(a.String()), csvOf(b.String()))
	if got.Moved != 1 || got.Columns[0].Name != "c250" || len(got.Columns) != 301 || by["z"].Shift != "none" {
		t.Errorf("%d moved, first %+v", got.Moved, got.Columns[:2])
	}
	// In forty parts of eight columns, 500 numbers each: the same. With half of the memory, by sketches: within what they state.
	for memory, exact := range map[int64]bool{8 * 8 * 500: true, 8 * 8 * 250: false} {
		parts, err := Compare(context.Background(), csvOf(a.String()), csvOf(b.String()), usualEffects, Limits{Memory: memory})
		if err != nil || len(parts.Columns) != 301 {
			t.Fatalf("%+v %v", parts, err)
		}
		for _, c := range parts.Columns {
			want := by[c.Name]
			if exact && c.Error > 0 || math.Abs(*c.KS-*want.KS) > c.Error+1e-12 || exact && *c.PSI != *want.PSI {
				t.Fatalf("memory %d: %+v, want %+v", memory, c, want)
			}
		}
	}
}

func TestAFileThatCannotBeReadIsNamed(t *testing.T) {
	good := csvOf("a\n1\n")
	for name, c := range map[string]struct {
		a, b File
		want string
	}{
		"empty":         {good, csvOf(""), "The current file cannot be compared: The file is empty"},
		"a header only": {csvOf("a\n"), good, "The reference file cannot be compared: The file has a header and no row."},
		"torn parquet":  {good, csvOf("PAR1 and nothing else"), "The current file cannot be compared: "},
		"uneven rows":   {csvOf("a,b\n1,2\n3\n"), good, "Line 3"},
	} {
		_, err := Compare(context.Background(), c.a, c.b, usualEffects, Limits{})
		if p, ok := problem.As(err); !ok || !strings.Contains(p.Detail, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
