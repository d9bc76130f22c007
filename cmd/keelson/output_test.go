package main

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

func TestATableIsAsWideAsTheTerminal(t *testing.T) {
	id, words := strings.Repeat("i", 26), strings.Repeat("w", 50)
	table := [][]string{{"ID", "STATE", "REASONS", "OWNER"}, {id, "open", words, "mira"}, {id, "recovered", "no", "dana"}}
	for _, x := range []struct {
		name          string
		width, hidden int
		want          string // of the second line
	}{
		{"a width that is not known cuts nothing a reader would miss", 0, 0, id + "|open|" + words + "|mira"},
		{"a wide terminal shows all", 120, 0, id + "|open|" + words + "|mira"},
		{"the widest column gives way", 80, 0, id + "|open|" + words[:33] + "…|mira"},
		{"columns that cannot be narrowed any more are left out from the end", 56, 1, id + "|open|" + words[:16] + "…"},
		{"what names a row stays", 30, 3, id},
	} {
		t.Run(x.name, func(t *testing.T) {
			got, hidden := fit(table, x.width)
			if line := strings.Join(got[1], "|"); line != x.want || hidden != x.hidden {
				t.Errorf("%q with %d left out, want %q with %d", line, hidden, x.want, x.hidden)
			}
			for _, line := range got {
				n := -2
				for i := range line {
					w := 0
					for _, other := range got {
						w = max(w, len([]rune(other[i])))
					}
					n += w + 2
				}
				if x.width > 0 && n > x.width {
					t.Errorf("%d columns wide, the terminal has %d", n, x.width)
				}
			}
		})
	}
	long := [][]string{{"SEGMENT", "ROWS"}, {strings.Repeat("s", 60), "80"}}
	if got, hidden := fit(long, 50); hidden != 0 || len([]rune(got[1][0])) != 44 {
		t.Errorf("a first column of words does not give way: %q, %d left out", got[1], hidden)
	}
	if got, hidden := fit(nil, 50); got != nil || hidden != 0 {
		t.Errorf("%v %d", got, hidden)
	}
}

func TestValuesReadAsPeopleReadThem(t *testing.T) {
	for _, x := range []struct{ json, terminal, pipe string }{
		{`0.8532467532467533`, "0.8532", "0.8532467532467533"},
		{`5.960464477539063e-8`, "5.96e-08", "5.960464477539063e-8"},
		{`184220`, "184220", "184220"},
		{`0.25`, "0.25", "0.25"},
		{`123456.789`, "123457", "123456.789"},
		{`-12345.678`, "-12346", "-12345.678"},
		{`1.7976931348623157e308`, "1.798e+308", "1.7976931348623157e308"},
		{`[{"version":2,"kind":"live","share":90},{"version":3,"kind":"canary","share":10},{"version":4,"kind":"shadow","share":0}]`, "v2 90 %,v3 10 % canary,v4 shadow", "v2 90 %,v3 10 % canary,v4 shadow"},
		{`["The data moved.","The result held."]`, "The data moved. The result held.", "The data moved. The result held."},
		{`["v1","v2"]`, "v1,v2", "v1,v2"},
	} {
		v, err := document(json.RawMessage(x.json))
		if err != nil {
			t.Fatal(err)
		}
		if got := brief(v); got != x.terminal {
			t.Errorf("%s reads %q on a terminal, want %q", x.json, got, x.terminal)
		}
		if got := cell(v); got != x.pipe {
			t.Errorf("%s reads %q in a pipe, want %q", x.json, got, x.pipe)
		}
	}
}

func TestGoldenAnswersAreFoundByNameElseByPlace(t *testing.T) {
	one := func(name string, data ...any) sentTensor { return sentTensor{Name: name, Data: data} }
	for _, x := range []struct {
		name      string
		got, want []sentTensor
		worst     float64
		why       string
	}{
		{"by name in another order", []sentTensor{one("b", 2.0), one("a", 1.0)}, []sentTensor{one("a", 1.0), one("b", 2.0)}, 0, ""},
		{"by place where the recorded name is another", []sentTensor{one("predict", 1.0)}, []sentTensor{one("output", 1.5)}, 0.5 / 1.5, ""},
		{"not by the place of one that has its own", []sentTensor{one("a", 1.0), one("b", 2.0)}, []sentTensor{one("c", 1.0), one("a", 1.0)}, 0, "the answer has no output c, which was recorded"},
		{"a missing one is said", []sentTensor{one("a", 1.0)}, []sentTensor{one("a", 1.0), one("b", 2.0)}, 0, "2 outputs were recorded, the answer has 1"},
	} {
		if worst, why := largestError(x.got, x.want); worst != x.worst || why != x.why {
			t.Errorf("%s: %v %q, want %v %q", x.name, worst, why, x.worst, x.why)
		}
	}
}

func TestTimesAreDaysMomentsAndSpans(t *testing.T) {
	for in, want := range map[string]string{"": "", "2026-03-02": "2026-03-02T00:00:00Z", "2026-03-02T10:00:00+01:00": "2026-03-02T10:00:00+01:00"} {
		if got, err := past("--since", in); err != nil || got != want {
			t.Errorf("%q is %q %v, want %q", in, got, err, want)
		}
	}
	for in, ago := range map[string]time.Duration{"90m": 90 * time.Minute, "7d": 7 * 24 * time.Hour} {
		for _, x := range []struct {
			read func(flag, s string) (string, error)
			want time.Time
		}{{past, time.Now().Add(-ago)}, {ahead, time.Now().Add(ago)}} {
			got, err := x.read("--since", in)
			at, err2 := time.Parse(time.RFC3339, got)
			if err != nil || err2 != nil || at.Sub(x.want).Abs() > time.Minute {
				t.Errorf("%q is %q %v, want %s", in, got, err, x.want)
			}
		}
	}
	if got, err := ahead("--until", "2027-01-07"); err != nil || got != "2027-01-07T00:00:00Z" {
		t.Errorf("%q %v", got, err)
	}
	for _, in := range []string{"yesterday", "-5m", "2026-13-01", "5"} {
		if _, err := past("--until", in); err == nil || !strings.Contains(err.Error(), "--until") {
			t.Errorf("%q: %v", in, err)
		}
		if _, err := ahead("--until", in); err == nil || !strings.Contains(err.Error(), "--until") {
			t.Errorf("%q: %v", in, err)
		}
	}
}
