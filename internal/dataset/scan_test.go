package dataset

import (
	"context"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What a scan shows is what the cells hold, also where columns of doubles are read many at a time.
func TestAScanShowsTheCells(t *testing.T) {
	files, err := filepath.Glob("testdata/parquet/*")
	if err != nil || len(files) == 0 {
		t.Fatalf("%v %v", files, err)
	}
	doubles := 0
	for _, name := range files {
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		st, _ := f.Stat()
		src, _, err := open(f, st.Size(), "parquet", Limits{}.filled())
		if err != nil {
			continue // broken on purpose
		}
		type seen struct {
			number float64
			word   string
			word2  bool
		}
		want, got := map[int][]seen{}, map[int][]seen{}
		fields := src.fields()
		rows, err := src.scan(context.Background(), nil, func(column int, _ int64, c *cell) error {
			s := seen{number: math.NaN()}
			switch {
			case c.kind == missing:
			case fields[column].Type == String || fields[column].Type == "":
				s.word, s.word2 = string(c.appendText(nil)), true
			default:
				if s.number, err = c.numberAs(fields[column].Type); err != nil {
					return err
				}
			}
			want[column] = append(want[column], s)
			return nil
		})
		if err != nil {
			continue
		}
		n, err := ScanFile(context.Background(), f, st.Size(), "parquet", nil, Limits{}, func(all []Field) error {
			for _, field := range all {
				if field.Type == Float {
					doubles++
				}
			}
			return nil
		}, func(column int, number float64, word []byte) error {
			got[column] = append(got[column], seen{number, string(word), word != nil})
			return nil
		})
		if err != nil || n != rows {
			t.Fatalf("%s: %d rows, want %d: %v", name, n, rows, err)
		}
		for k := range want {
			if len(want[k]) != len(got[k]) {
				t.Fatalf("%s, column %s: %d cells, want %d", name, fields[k].Name, len(got[k]), len(want[k]))
			}
			for i, w := range want[k] {
				g := got[k][i]
				if g.word != w.word || g.word2 != w.word2 || math.Float64bits(g.number) != math.Float64bits(w.number) && !(g.number != g.number && w.number != w.number) {
					t.Fatalf("%s, column %s, row %d: %+v, want %+v", name, fields[k].Name, i+1, g, w)
				}
			}
		}
	}
	if doubles == 0 {
		t.Error("no file has a column of numbers")
	}
	_, err = ScanFile(context.Background(), strings.NewReader("a,b\n1,x\n"), 8, "csv", nil, Limits{}, func(all []Field) error { return nil }, func(int, float64, []byte) error { return nil })
	if err != nil {
		t.Error(err)
	}
}
