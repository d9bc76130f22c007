package dataset

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"keelson/internal/problem"
)

func sourceOf(t testing.TB, b []byte, format string) (source, error) {
	t.Helper()
	src, _, err := open(bytes.NewReader(b), int64(len(b)), format, Limits{}.filled())
	return src, err
}

func inspectBytes(b []byte, format string, rules ...Rule) (*Inspection, error) {
	src, _, err := open(bytes.NewReader(b), int64(len(b)), format, Limits{}.filled())
	if err != nil {
		return nil, err
	}
	return inspect(context.Background(), src, rules, Limits{}.filled())
}

func read(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestParquetOfEveryEncodingHoldsTheSameRowsAsTheText(t *testing.T) {
	src, err := sourceOf(t, read(t, "parquet/rows.csv"), "csv")
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob("testdata/parquet/*.parquet")
	if err != nil {
		t.Fatal(err)
	}
	compared := 0
	for _, file := range files {
		name := filepath.Base(file)
		if name == "nested.parquet" || name == "time_of_day.parquet" {
			continue
		}
		t.Run(name, func(t *testing.T) {
			b := read(t, "parquet/"+name)
			seen, err := inspectBytes(b, "")
			if err != nil {
				t.Fatal(err)
			}
			p, err := sourceOf(t, b, "")
			if err != nil {
				t.Fatal(err)
			}
			got, err := load(context.Background(), p, seen.Schema, Limits{}.filled())
			if err != nil {
				t.Fatal(err)
			}
			want, err := load(context.Background(), src, seen.Schema, Limits{}.filled())
			if err != nil {
				t.Fatal(err)
			}
			if got.Rows != 300 || len(got.Columns) != len(want.Columns) {
				t.Fatalf("%d rows, %d columns", got.Rows, len(got.Columns))
			}
			for k := range want.Columns {
				w, g := &want.Columns[k], &got.Columns[k]
				for i := range want.Rows {
					if w.Type == String {
						if w.Words[i] != g.Words[i] || w.Missing[i] != g.Missing[i] {
							t.Fatalf("%s row %d: %q, want %q", w.Name, i+1, g.Words[i], w.Words[i])
						}
						continue
					}
					a, b := w.Numbers[i], g.Numbers[i]
					if math.IsNaN(a) != math.IsNaN(b) || math.Abs(a-b) > 1e-6*math.Max(1, math.Abs(a)) && !math.IsNaN(a) {
						t.Fatalf("%s row %d: %v, want %v", w.Name, i+1, b, a)
					}
				}
			}
		})
		compared++
	}
	if compared < 9 {
		t.Errorf("only %d files were compared", compared)
	}
}

func TestParquetColumnsThatAreNotFlatAreRefusedByName(t *testing.T) {
	for file, want := range map[string]string{"nested.parquet": `"tags"`, "time_of_day.parquet": `"at"`} {
		_, err := inspectBytes(read(t, "parquet/"+file), "")
		if !problem.Is(err, problem.Invalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want a refusal that names %s", file, err, want)
		}
	}
}

func TestCSVIsReadAsRFC4180(t *testing.T) {
	for _, c := range []struct {
		name, text string
		want       [][]string
	}{
		{"LF", "a,b\n1,2\n", [][]string{{"1", "2"}}},
		{"CRLF", "a,b\r\n1,2\r\n", [][]string{{"1", "2"}}},
		{"old Mac line ends", "a,b\r1,2\r", [][]string{{"1", "2"}}},
		{"no newline at the end", "a,b\n1,2", [][]string{{"1", "2"}}},
		{"an empty last cell at the end", "a,b\n1,", [][]string{{"1", ""}}},
		{"a byte order mark", "\xef\xbb\xbfa,b\n1,2\n", [][]string{{"1", "2"}}},
		{"blank lines", "\na,b\n\n1,2\n\n\n3,4\n\n", [][]string{{"1", "2"}, {"3", "4"}}},
		{"quoted commas, quotes and newlines", "a,b\n\"x,\"\"y\"\"\nz\",2\n", [][]string{{"x,\"y\"\nz", "2"}}},
		{"an empty quoted cell in one column", "a\n\"\"\nx\n", [][]string{{""}, {"x"}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			src, err := sourceOf(t, []byte(c.text), "csv")
			if err != nil {
				t.Fatal(err)
			}
			if f := src.fields(); f[0].Name != "a" {
				t.Errorf("the first column is %q", f[0].Name)
			}
			got := make([][]string, 0)
			rows, err := src.scan(context.Background(), nil, func(column int, row int64, v *cell) error {
				if column == 0 {
					got = append(got, nil)
				}
				got[row-1] = append(got[row-1], string(v.s))
				return nil
			})
			if err != nil || int(rows) != len(c.want) {
				t.Fatalf("%d rows, %v", rows, err)
			}
			for i := range got {
				if strings.Join(got[i], "|") != strings.Join(c.want[i], "|") {
					t.Errorf("row %d is %q, want %q", i+1, got[i], c.want[i])
				}
			}
		})
	}
}

func TestHostileTextIsRefusedWithItsLine(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"an empty file", "", "empty"},
		{"blank lines only", "\n\n\r\n", "blank lines"},
		{"a header only", "a,b\n", "no row"},
		{"a short row", "a,b\n1,2\n3\n", "Line 3 (row 2) has 1 cells"},
		{"a long row", "a,b\n1,2,3\n", "Line 2 (row 1) has 3 cells"},
		{"a NUL byte", "a,b\n1,\x00\n", "Line 2, column 2 holds a NUL"},
		{"UTF-16", "\xff\xfea\x00,\x00b\x00\n\x00", "NUL"},
		{"Latin-1", "a,b\n1,caf\xe9\n", "Line 2, column 2 is not UTF-8"},
		{"two columns of one name", "a,b,a\n1,2,3\n", `Columns 1 and 3 are both named "a"`},
		{"a column without name", ",b\n1,2\n", "Column 1 has no name"},
		{"a quote never closed", "a,b\n1,\"2\n3,4\n", "never closed"},
		{"text after a quote", "a,b\n\"1\"x,2\n", "Line 2, column 1 goes on after its closing quote"},
		{"a quote in the middle", "a,b\n1\"x,2\n", "Line 2, column 1 has a quote in the middle"},
		{"a huge cell", "a\n" + strings.Repeat("x", 1<<20+1) + "\n", "longer than the limit of 1 MiB"},
		{"more columns than allowed", strings.Repeat("c,", 20_000) + "d\n", "more than 16384 columns"},
		{"Parquet called CSV", "PAR1 is not text\n", "is Parquet"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := inspectBytes([]byte(c.text), "csv")
			if p, ok := problem.As(err); !ok || p.Kind.Status() >= 500 || !strings.Contains(p.Detail, c.want) {
				t.Errorf("%v, want a refusal with %q", err, c.want)
			}
		})
	}
}

func TestHostileParquetIsRefusedInBoundedMemory(t *testing.T) {
	good := read(t, "parquet/plain_none.parquet")
	change := func(f func(b []byte) []byte) []byte { return f(bytes.Clone(good)) }
	for name, b := range map[string][]byte{
		"magic only":              []byte("PAR1PAR1"),
		"a truncated file":        good[:len(good)/2],
		"a footer of 4 GiB":       change(func(b []byte) []byte { binary.LittleEndian.PutUint32(b[len(b)-8:], math.MaxUint32); return b }),
		"a footer of the file":    change(func(b []byte) []byte { binary.LittleEndian.PutUint32(b[len(b)-8:], uint32(len(b)-12)); return b }),
		"an encrypted file":       change(func(b []byte) []byte { copy(b[len(b)-4:], "PARE"); return b }),
		"zeros instead of pages":  change(func(b []byte) []byte { clear(b[4 : len(b)/2]); return b }),
		"a list of 2^31 elements": withFooter([]byte{0x15, 2, 0x19, 0xfc, 0xff, 0xff, 0xff, 0xff, 0x07}),
		"a string of 2^60 bytes":  withFooter([]byte{0x18, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x0f}),
		"structures without end":  withFooter(bytes.Repeat([]byte{0x1c}, 5000)),
		"100 kB of zeros":         withFooter(make([]byte, 100<<10)),
		"no schema":               withFooter([]byte{0x15, 2, 0x19, 0x0c, 0x16, 0, 0x19, 0x0c, 0}),
	} {
		t.Run(name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err := inspectBytes(b, "parquet")
			runtime.ReadMemStats(&after)
			if used := after.TotalAlloc - before.TotalAlloc; used > 32<<20 {
				t.Errorf("%d bytes were allocated for a file of %d", used, len(b))
			}
			if p, ok := problem.As(err); !ok || p.Kind.Status() >= 500 || p.Detail == "" {
				t.Errorf("%v, want a refusal", err)
			}
		})
	}
}

// withFooter makes a Parquet file with nothing but a footer.
func withFooter(footer []byte) []byte {
	b := append([]byte("PAR1"), footer...)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(footer)))
	return append(b, "PAR1"...)
}

func TestRunsThatClaimBillionsCostNothing(t *testing.T) {
	// One run of 2^40 values in seven bytes; only what is asked for is made.
	h := &hybrid{b: append(binary.AppendUvarint(nil, 1<<41), 1), width: 1}
	for range 1000 {
		if v, err := h.next(); v != 1 || err != nil {
			t.Fatal(v, err)
		}
	}
	d := &delta{b: binary.AppendUvarint(binary.AppendUvarint(binary.AppendUvarint(nil, 128), 4), 1<<60)}
	if _, err := d.finish(); !errors.Is(err, cutShort) {
		t.Errorf("2^60 deltas without data: %v", err)
	}
}

func FuzzCSV(f *testing.F) {
	for _, s := range []string{"a,b\n1,2\n", "\xef\xbb\xbfa\r\n\"x\"\"\ny\"\r\n", "a,b\n,\"\n", "a\n\x00", "a,a\n", "id,w\n01,inf\n-3e5,nan\n", "t\n2024-01-01\n2024-01-01T00:00:00Z\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) { fuzzOne(t, b, "csv") })
}

func FuzzParquet(f *testing.F) {
	files, _ := filepath.Glob("testdata/parquet/*.parquet")
	for _, file := range files {
		f.Add(read(f, "parquet/"+filepath.Base(file)))
	}
	f.Add(withFooter([]byte{0x15, 2, 0x19, 0xfc, 0xff, 0xff, 0xff, 0xff, 0x07}))
	f.Fuzz(func(t *testing.T, b []byte) { fuzzOne(t, b, "parquet") })
}

// fuzzOne reads a file twice: what is taken must be consistent, what is refused must be a problem of the
// caller's.
func fuzzOne(t *testing.T, b []byte, format string) {
	if len(b) > 1<<20 {
		return
	}
	limits := Limits{Rows: 20_000, Table: 64 << 20, Memory: 1 << 20}.filled()
	src, _, err := open(bytes.NewReader(b), int64(len(b)), format, limits)
	var seen *Inspection
	if err == nil {
		seen, err = inspect(context.Background(), src, nil, limits)
	}
	if err != nil {
		if p, ok := problem.As(err); !ok || p.Kind.Status() >= 500 {
			t.Fatalf("not a problem of the caller's: %v", err)
		}
		return
	}
	table, err := load(context.Background(), src, seen.Schema, limits)
	if problem.Is(err, problem.TooLarge) {
		return
	}
	if err != nil {
		t.Fatalf("taken at import, refused later: %v", err)
	}
	if int64(table.Rows) != seen.Rows {
		t.Fatalf("%d rows, then %d", seen.Rows, table.Rows)
	}
	cells := make([]int64, len(seen.Schema)) // as columns
	rows, err := ScanColumns(context.Background(), bytes.NewReader(b), int64(len(b)), format, seen.Schema, limits, func([]Field) error { return nil }, Sink{
		Cell:    func(column int, _ float64, _ []byte) error { cells[column]++; return nil },
		Numbers: func(column int, values []float64) error { cells[column] += int64(len(values)); return nil },
		Words:   func(column int, _ []byte, count int64) error { cells[column] += count; return nil },
	})
	if err != nil || rows != seen.Rows {
		t.Fatalf("%d rows, %d as columns: %v", seen.Rows, rows, err)
	}
	for k, n := range cells {
		if n != rows {
			t.Fatalf("column %d has %d cells of %d rows", k, n, rows)
		}
	}
	for _, p := range seen.Profile {
		if p.Count+p.Missing != seen.Rows {
			t.Fatalf("%s: %d cells and %d missing of %d rows", p.Name, p.Count, p.Missing, seen.Rows)
		}
	}
}
