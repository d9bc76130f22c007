package tracking

import (
	"math"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"keelson/internal/problem"
)

func TestCheckKey(t *testing.T) {
	for _, c := range []struct {
		name, key string
		ok        bool
	}{
		{"a plain word is a key", "accuracy", true},
		{"slashes, dots, dashes, colons and spaces may stand in a key", "val/acc-1.0: top 5", true},
		{"letters of other scripts may stand in a key", "précision", true},
		{"an empty key is refused", "", false},
		{"a key that climbs is refused", "../x", false},
		{"an absolute key is refused", "/x", false},
		{"a key with an empty part is refused", "a//b", false},
		{"a key of 250 characters is the longest", strings.Repeat("k", 250), true},
		{"a key of 251 characters is refused", strings.Repeat("k", 251), false},
		{"other punctuation is refused", "a#b", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := CheckKey("metric", c.key); (err == nil) != c.ok || err != nil && !problem.Is(err, problem.Invalid) {
				t.Errorf("CheckKey(%q) = %v, want ok %v", c.key, err, c.ok)
			}
		})
	}
}

func TestCheckPath(t *testing.T) {
	for _, c := range []struct {
		name, path string
		ok         bool
	}{
		{"a file in a folder is fine", "model/MLmodel", true},
		{"spaces and other scripts are fine", "plots/Größe 1.png", true},
		{"a percent sequence that hides nothing is part of the name", "odd/%41.txt", true},
		{"climbing is refused", "../../etc/passwd", false},
		{"climbing in the middle is refused", "a/../b", false},
		{"an absolute path is refused", "/etc/passwd", false},
		{"a backslash is refused", `a\..\b`, false},
		{"an encoded dot pair is refused", "%2e%2e/etc", false},
		{"an encoded slash that climbs is refused", "a%2f..%2fb", false},
		{"double encoding is refused", "%252e%252e%252fetc", false},
		{"an encoded backslash is refused", "a%5cb", false},
		{"a zero byte is refused", "a\x00b", false},
		{"an empty part is refused", "a//b", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := CheckPath(c.path); (err == nil) != c.ok {
				t.Errorf("CheckPath(%q) = %v, want ok %v", c.path, err, c.ok)
			}
		})
	}
}

func TestSplitRoot(t *testing.T) {
	for _, c := range []struct {
		name, path, root, rest string
		ok                     bool
	}{
		{"a run's file", "3/abc/artifacts/model/MLmodel", "3/abc/artifacts", "model/MLmodel", true},
		{"a run's root", "3/abc/artifacts", "3/abc/artifacts", "", true},
		{"a logged model's file", "0/models/m-1/artifacts/MLmodel", "0/models/m-1/artifacts", "MLmodel", true},
		{"a logged model without the last part is no root", "0/models/m-1/x", "", "", false},
		{"a run named artifacts is no root of models", "0/models/artifacts/x", "", "", false},
		{"anything else", "etc/passwd", "", "", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			root, rest, ok := SplitRoot(c.path)
			if root != c.root || rest != c.rest || ok != c.ok {
				t.Errorf("SplitRoot(%q) = %q %q %v, want %q %q %v", c.path, root, rest, ok, c.root, c.rest, c.ok)
			}
		})
	}
}

func point(t *rapid.T) Point {
	return Point{
		Key:   rapid.StringMatching(`[a-c]{1,2}`).Draw(t, "key"),
		Step:  rapid.Int64().Draw(t, "step"),
		At:    rapid.Int64().Draw(t, "at"),
		Value: rapid.OneOf(rapid.Float64(), rapid.SampledFrom([]float64{math.NaN(), math.Inf(1), math.Inf(-1), 0})).Draw(t, "value"),
	}
}

func TestPackedPointsComeBackAsTheyWere(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := rapid.SliceOf(rapid.Custom(point)).Draw(t, "points")
		at := 0
		var list []Sample
		if err := eachTail(packTail(in), func(key string, p Sample) {
			if at >= len(in) || key != in[at].Key || p.compare(Sample{in[at].Step, in[at].At, in[at].Value}, false) != 0 {
				t.Fatalf("point %d: got %s %+v", at, key, p)
			}
			at++
			list = append(list, p)
		}); err != nil {
			t.Fatal(err)
		}
		if at != len(in) {
			t.Fatalf("%d points of %d came back", at, len(in))
		}
		sorted := tidy(list, false)
		back, err := unpackChunk(packChunk(sorted), nil)
		if err != nil || len(back) != len(sorted) {
			t.Fatalf("%d points of %d came back: %v", len(back), len(sorted), err)
		}
		for i := range sorted {
			if back[i].compare(sorted[i], false) != 0 {
				t.Fatalf("chunk point %d: got %+v, want %+v", i, back[i], sorted[i])
			}
		}
	})
}

func FuzzDamagedPointsAreRefused(f *testing.F) {
	f.Add(packTail([]Point{{Key: "loss", Value: 1, Step: 2, At: 3}}))
	f.Add(packChunk([]Sample{{Value: 1, Step: 2, At: 3}}))
	f.Add([]byte{1, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f})
	f.Fuzz(func(t *testing.T, b []byte) {
		n := 0
		_ = eachTail(b, func(string, Sample) { n++ })
		list, _ := unpackChunk(b, nil)
		if n > len(b) || len(list) > len(b) {
			t.Errorf("%d bytes gave %d and %d points", len(b), n, len(list))
		}
	})
}
