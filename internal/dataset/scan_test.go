package dataset

import (
	"context"
	"encoding/binary"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// What a scan shows is what the cells hold, also where columns of doubles are read many at a time.
func TestAScanShowsTheCells(t *testing.T) {
	files, err := filepath.Glob("testdata/parquet/*")
	if err != nil || len(files) == 0 {
		t.Fatalf("%v %v", files, err)
	}
	doubles, told := 0, 0
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
		counts := map[int]map[seen]int64{} // as columns: numbers many at a time, words with their number of cells
		add := func(column int, s seen, n int64) {
			if s.number != s.number {
				s.number = -1e300
			}
			if counts[column] == nil {
				counts[column] = map[seen]int64{}
			}
			if counts[column][s] += n; counts[column][s] == 0 {
				delete(counts[column], s)
			}
		}
		n, err = ScanColumns(context.Background(), f, st.Size(), "parquet", nil, Limits{}, func([]Field) error { return nil }, Sink{
			Cell: func(column int, number float64, word []byte) error {
				add(column, seen{number, string(word), word != nil}, 1)
				return nil
			},
			Numbers: func(column int, values []float64) error {
				for _, v := range values {
					add(column, seen{number: v}, 1)
				}
				return nil
			},
			Words: func(column int, word []byte, count int64) error {
				told += int(count)
				add(column, seen{math.NaN(), string(word), word != nil}, count)
				return nil
			},
		})
		if err != nil || n != rows {
			t.Fatalf("%s by columns: %d rows, want %d: %v", name, n, rows, err)
		}
		for k := range want {
			for _, w := range want[k] {
				add(k, w, -1)
			}
			if len(counts[k]) != 0 {
				t.Fatalf("%s, column %s: by columns these are too many or too few: %v", name, fields[k].Name, counts[k])
			}
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
	if doubles == 0 || told == 0 {
		t.Error("no file has a column of numbers, or of words in a dictionary")
	}
	_, err = ScanFile(context.Background(), strings.NewReader("a,b\n1,x\n"), 8, "csv", nil, Limits{}, func(all []Field) error { return nil }, func(int, float64, []byte) error { return nil })
	if err != nil {
		t.Error(err)
	}
}

func TestManyCodesAreReadAsOneByOne(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 9))
	for width := uint(0); width <= 32; width++ {
		var b []byte
		n := 0
		for range 20 {
			if rng.IntN(2) == 0 {
				k := rng.IntN(100)
				b = binary.AppendUvarint(b, uint64(k)<<1)
				for range (width + 7) / 8 {
					b = append(b, byte(rng.Uint32()))
				}
				if width%8 != 0 && width > 0 {
					b[len(b)-1] &= 1<<(width%8) - 1
				}
				n += k
				continue
			}
			k := rng.IntN(9)
			b = binary.AppendUvarint(b, uint64(k)<<1|1)
			for range k * int(width) {
				b = append(b, byte(rng.Uint32()))
			}
			n += 8 * k
		}
		single, many := &hybrid{b: b, width: width}, &hybrid{b: b, width: width}
		want := make([]uint32, n)
		for i := range want {
			v, err := single.next()
			if err != nil {
				t.Fatal(err)
			}
			want[i] = v
		}
		for left := want; len(left) > 0; {
			got := make([]uint32, min(len(left), 1+rng.IntN(200)))
			if err := many.fill(got); err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(got, left[:len(got)]) {
				t.Fatalf("codes of %d bits: %v, want %v", width, got, left[:len(got)])
			}
			left = left[len(got):]
		}
		if err := many.fill(make([]uint32, 1)); err == nil && width > 0 {
			t.Errorf("codes of %d bits: one is read behind the last", width)
		}
	}
}
