package engine_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"keelson/internal/engine"
	"keelson/internal/engine/cel"
	"keelson/internal/engine/enginetest"
	"keelson/internal/engine/lightgbm"
	"keelson/internal/engine/linear"
	"keelson/internal/engine/onnx"
	"keelson/internal/engine/xgboost"
	"keelson/internal/problem"
)

// TestLoadingTakesNoMoreThanTheFileIsWorth loads the model files of every engine's tests, whole, cut and with numbers in
// them that lie, and counts all that is allocated.
func TestLoadingTakesNoMoreThanTheFileIsWorth(t *testing.T) {
	quarter := func(int) int { return 256 << 10 }
	for _, c := range []struct {
		folder    string
		engine    engine.Engine
		allowance func(size int) int // beyond 16 bytes for each of the file
	}{
		{"xgboost", xgboost.Engine{}, quarter},
		{"lightgbm", lightgbm.Engine{}, quarter},
		{"linear", linear.Engine{}, quarter},
		{"onnx", onnx.Engine{}, func(int) int { return 256<<10 + 4<<20 }}, // two trial runs have a mebibyte each, in arenas that double
		{"cel", cel.Engine{}, enginetest.Compiling},                       // programs, most of it let go at once
	} {
		t.Run(c.folder, func(t *testing.T) {
			loaded, tried := 0, 0
			load := func(name string, b []byte) {
				t.Helper()
				tried++
				var m engine.Model
				var err error
				enginetest.Frugal(t, len(b), c.allowance(len(b)), func() {
					m, err = c.engine.Load(context.Background(), fstest.MapFS{name: {Data: b}}, name, engine.Limits{})
				})
				switch {
				case err == nil:
					loaded++
					if err := m.Close(); err != nil {
						t.Errorf("%s: %v", name, err)
					}
				case problem.KindOf(err) == problem.Internal:
					t.Errorf("%s: %v, want a refusal", name, err)
				}
			}
			r := rand.New(rand.NewPCG(5, 8))
			err := filepath.WalkDir(filepath.Join(c.folder, "testdata"), func(p string, d fs.DirEntry, err error) error {
				if err != nil || d.IsDir() || !model(c.folder, filepath.Base(p)) {
					return err
				}
				b, err := os.ReadFile(p)
				if err != nil || len(b) > 64<<10 || len(b) < 16 {
					return err
				}
				name := filepath.Base(p)
				load(name, b)
				for range 4 {
					load(name, b[:r.IntN(len(b))])
				}
				for range 12 {
					load(name, lie(r, bytes.Clone(b)))
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			if loaded == 0 || loaded == tried {
				t.Errorf("%d of %d files were loaded; the test holds nothing", loaded, tried)
			}
		})
	}
}

func model(folder, name string) bool {
	end := map[string][]string{"xgboost": {".json", ".ubj"}, "lightgbm": {".txt"}, "linear": {".linear.json"}, "onnx": {".onnx"}, "cel": {".cel.yaml"}}
	for _, e := range end[folder] {
		if strings.HasSuffix(name, e) {
			return true
		}
	}
	return false
}

// lie overwrites a place with a number that is far too large, in one of the ways in which formats write numbers.
func lie(r *rand.Rand, b []byte) []byte {
	at := r.IntN(len(b) - 8)
	digit := bytes.IndexAny(b[at:], "0123456789")
	switch r.IntN(5) {
	case 0:
		binary.LittleEndian.PutUint32(b[at:], 1<<31-1)
	case 1:
		binary.BigEndian.PutUint64(b[at:], 1<<40)
	case 2:
		copy(b[at:], "\xff\xff\xff\xff\x07") // a varint of two gibibytes
	case 3:
		if digit >= 0 {
			return append(append(bytes.Clone(b[:at+digit]), "2147483647"...), b[at+digit:]...)
		}
	default:
		if digit >= 0 {
			return append(append(bytes.Clone(b[:at+digit]), "1e9"...), b[at+digit:]...)
		}
	}
	return b
}
