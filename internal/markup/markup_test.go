package markup

import (
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// spent is what a reading allocates.
func spent(read func()) int {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	read()
	runtime.ReadMemStats(&after)
	return int(after.TotalAlloc - before.TotalAlloc)
}

func TestNoDocumentTakesMoreThanItIsWorth(t *testing.T) {
	many := func(s string, bytes int) string { return strings.Repeat(s, bytes/len(s)) }
	unique := func(form string, n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, form, i)
		}
		return b.String()
	}
	bomb := "a0: &a0 [1,1,1,1,1,1,1,1,1,1]\n"
	for i := 1; i < 9; i++ {
		bomb += fmt.Sprintf("a%d: &a%d [%s]\n", i, i, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d,", i-1), 10), ","))
	}
	documents := map[string]string{
		"numbers in a list":            "a: [" + many("1,", 1<<20) + "1]",
		"numbers in a short list":      "a: [" + many("1,", 80_000) + "1]",
		"empty lists":                  "a: [" + many("[],", 1<<20) + "1]",
		"empty maps":                   "a: [" + many("{},", 100_000) + "1]",
		"small maps":                   "a: [" + many("{a: 1},", 100_000) + "1]",
		"pairs of nothing":             "a: [" + many(":,", 60_000) + "1]",
		"questions":                    "a: [" + many("?,", 60_000) + "1]",
		"pairs in a list":              "a: [" + many("a: 1, ", 1<<20) + "1]",
		"items of nothing":             "a:\n" + many("- \n", 1<<20),
		"items side by side":           "a:\n" + many("- ", 1<<16) + "1",
		"keys":                         many("k: v\n", 1<<20),
		"equal keys":                   many("k: v\n", 20_000),
		"equal keys in braces":         "a: {" + many("k,", 20_000) + "k}",
		"different keys":               unique("k%d: v\n", 52_000),
		"fewer different keys":         unique("k%d: v\n", 22_000),
		"bare keys in braces":          "a: {" + unique("%d,", 52_000) + "1}",
		"bare keys behind deep lists":  "a: {" + strings.Repeat("[", 70) + strings.Repeat("]", 70) + ": 1, " + unique("%d,", 52_000) + "1}",
		"lists in lists":               strings.Repeat("[", 9000) + strings.Repeat("]", 9000),
		"behind a text that goes on":   "t: x\n  \"\na: [" + many("1,", 1<<20) + "1]",
		"behind a block text":          "t: |\n  \"\na: [" + many("1,", 1<<20) + "1]",
		"behind a text at the edge":    "--- |\n\"\n--- [" + many("1,", 1<<20) + "1]",
		"behind an odd end of a line":  "# \u2028a: [" + many("1,", 1<<20) + "1]",
		"behind a return":              "# \ra: [" + many("1,", 1<<20) + "1]",
		"in two bytes for each letter": "\xff\xfe" + many("[\x00", 1<<20),
		"aliases of aliases":           bomb,
		"aliases":                      "a: &a [" + many("1,", 20_000) + "1]\nb: [" + many("*a,", 60_000) + "1]",
		"itself":                       "a: &a [*a]",
		"a long text":                  "a: '" + many("[1,1: ", 1<<20) + "'",
		"comments":                     many("#\n", 1<<20),
	}
	for name, text := range documents {
		for _, strict := range []bool{false, true} {
			var into map[string]any
			var err error
			if n := spent(func() { err = Decode([]byte(text), strict, &into) }); n > perByte*len(text)+Allowance {
				t.Errorf("%s, strict %v: %d bytes took %d (%v)", name, strict, len(text), n, err)
			}
			if refused := name != "numbers in a short list" && name != "empty maps" && name != "pairs of nothing" && name != "questions" && name != "a long text" && name != "comments" && name != "small maps"; refused && err == nil {
				t.Errorf("%s, strict %v: it was read", name, strict)
			}
		}
	}
}

func TestWhatPeopleWriteIsRead(t *testing.T) {
	signature := strings.Repeat(`{"type": "double", "name": "a feature, of many", "required": true}, `, 10_000)
	var v struct {
		A, B string
		C    []int
	}
	text := "a: '[" + strings.ReplaceAll(signature, "required\": true}, ", "required\": true},\n    ") + "]'\nb: &x \"it's \\\" [1,\"\nc: [1, 2]\n"
	if err := Decode([]byte(text), true, &v); err != nil || len(v.C) != 2 || v.B != `it's " [1,` || len(v.A) < len(signature) {
		t.Errorf("%v, %d bytes, %q, %v", err, len(v.A), v.B, v.C)
	}
	var rules struct{ Rules []map[string]any }
	lines := "rules:\n" + strings.Repeat("  - {id: r1, when: 'n > 1.0 && (x == \"a\" || [1, 2].exists(e, e > n))', then: {y: 1}, message: \"so, then\"}\n", 5000)
	if err := Decode([]byte(lines), true, &rules); err != nil || len(rules.Rules) != 5000 {
		t.Errorf("%v, %d rules", err, len(rules.Rules))
	}
	lines = "rules:\n" + strings.Repeat("  - id: r1\n    when: \"age > 20 && country in ['DE', 'FR', 'IT']\"\n    then: {score: 3, reason: old}\n    message: One of these, and over 20.\n", 5000)
	if err := Decode([]byte(lines), true, &rules); err != nil || len(rules.Rules) != 5000 {
		t.Errorf("%v, %d rules in block form", err, len(rules.Rules))
	}
	if err := Decode([]byte("people:\n- name: x\n  role: y\n"+text), false, &v); err != nil || len(v.A) < len(signature) {
		t.Errorf("behind a list of maps: %v, %d bytes", err, len(v.A))
	}
	if err := Decode(nil, false, &v); !errors.Is(err, io.EOF) {
		t.Errorf("nothing: %v", err)
	}
	if err := Decode([]byte("a: x\n---\na: y\n"), true, &v); err == nil {
		t.Error("a second document was read")
	}
	if err := Decode([]byte("d: x\n"), true, &v); err == nil {
		t.Error("an unknown field was read")
	}
	if err := Decode([]byte("a: &k x\nb: *k\nd: 1\n"), false, &v); err != nil || v.B != "x" {
		t.Errorf("%v, %q", err, v.B)
	}
}

func TestNotEveryValueOfAWrongTypeIsTold(t *testing.T) {
	type item struct {
		Name, When string
		Then       map[string]any
	}
	var into struct{ A []item }
	for _, text := range []string{
		"a: [" + strings.Repeat("1,", 50_000) + "1]",
		"a: [" + strings.Repeat("{x: 1},", 13_000) + "{}]",
	} {
		var err error
		n := spent(func() { err = Decode([]byte(text), true, &into) })
		if n > perByte*len(text)+Allowance {
			t.Errorf("%.12s: %d bytes took %d", text, len(text), n)
		}
		if err == nil || len(err.Error()) > 1000 || !strings.HasSuffix(err.Error(), "0 more") && !strings.HasSuffix(err.Error(), "1 more") {
			t.Errorf("%.12s: %d bytes, %.1200v", text, len(fmt.Sprint(err)), err)
		}
	}
}

func TestKeysOfAMapAreDistinctAndNotTooMany(t *testing.T) {
	var many strings.Builder
	for i := range maxKeys {
		fmt.Fprintf(&many, "k%d: v\n", i)
	}
	for _, c := range []struct{ name, text, says string }{
		{"as many as there may be", many.String(), ""},
		{"one more", "a: b\n" + many.String(), "the map on line 1 has more than 5000 keys; make several maps of it, or a list"},
		{"the same twice", "a: 1\nb: 2\n'a': 3\n", `the key "a" stands on line 1 and again on line 3; leave one of them out`},
		{"the last of many", many.String() + "k7: v\n", "more than 5000 keys"},
		{"within a list", "a:\n- b: 1\n- {b: 1, b: 2}\n", `the key "b" stands on line 3 and again on line 3`},
		{"one of twenty", strings.Join(strings.SplitAfter(many.String(), "\n")[:20], "") + "k7: v\n", `the key "k7" stands on line 8 and again on line 21`},
		{"in maps of their own", "a: {b: 1}\nb: {b: 1, a: {b: 2}}\n", ""},
	} {
		for _, strict := range []bool{false, true} {
			var into map[string]any
			err := Decode([]byte(c.text), strict, &into)
			if c.says == "" && err != nil || c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says)) {
				t.Errorf("%s, strict %v: %v, want %q", c.name, strict, err, c.says)
			}
		}
	}
}

// The count of places is never below the count of values.
func FuzzPlaces(f *testing.F) {
	for _, s := range []string{"a: [1, {b: c}]\n", "- - - 1\n- ? a\n  : b\n", "&0: 1\n", "a: |\n  \"x\nb: 'y'\n", "t: x\n  - \"\na: [1,1]\n", "[a: 1, ? , : ]", "--- !t &a \"x\"\n...\n--- *a\n",
		"\"a\":\"b\"\n", "{\"a\":\"b\",c:d}", "a: b # \"\nc: d\n", "[a,#\"\nb,c]", "a: 'it''s'\n'b': \"\\\"\"\n", "%YAML 1.1\n---\n\"a\n b\"\n", "a:\r\n- b\r- c", "\ufeff\"a\": b", "!<x,[> a", "{0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0}", "{a: 1, b, [c, d]: {e, f}, g: {}}", "{a, b, c, d, !t e, f, g, h, i, j}", strings.Repeat("{", 70) + "0,1,2,3,4,5" + strings.Repeat("},a,b,c", 70) + "}", "[!!str, !!str ]", "{? a, b: c, ? d : e}"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var root yaml.Node
		if len(data) > 4096 || strings.HasPrefix(string(data), "\xff\xfe") || strings.HasPrefix(string(data), "\xfe\xff") || yaml.Unmarshal(data, &root) != nil {
			return
		}
		values, real := places(data), 0
		var walk func(n *yaml.Node)
		walk = func(n *yaml.Node) {
			if n.Kind != yaml.DocumentNode {
				real++
			}
			for _, c := range n.Content {
				walk(c)
			}
		}
		walk(&root)
		if real > values+3 {
			t.Fatalf("%d places for %d values", values, real)
		}
	})
}
