package problem

import (
	"slices"
	"strings"
	"testing"
)

func TestTheNearestNamesAreThoseWithTheFewestEdits(t *testing.T) {
	known := []string{"age", "Income", "income_2", "region", "outcome", "größe"}
	for _, c := range []struct {
		name string
		want []string
	}{
		{"incme", []string{"Income", "income_2"}},
		{"INCOME", []string{"Income", "income_2"}},
		{"icnome", []string{"Income", "income_2"}}, // neighbours swapped are one edit
		{"grösse", []string{"größe", "age"}},
		{"regoin", []string{"region", "age"}},
		{"", []string{"age", "größe"}},
	} {
		if got := Nearest(c.name, known, 2); !slices.Equal(got, c.want) {
			t.Errorf("%q is nearest to %q, want %q", c.name, got, c.want)
		}
	}
	if got := Nearest("a", []string{"b", "b", "c"}, 3); !slices.Equal(got, []string{"b", "c"}) {
		t.Errorf("a name is given twice: %q", got)
	}
	if got := Nearest("a", nil, 3); len(got) != 0 {
		t.Errorf("of no names %q are near", got)
	}
	if got := Nearest(strings.Repeat("ß", 10_000), []string{strings.Repeat("x", 10_000), "\xff\xfe"}, 1); len(got) != 1 {
		t.Errorf("%d names", len(got))
	}
}

func TestTheDistanceOfTwoNamesCountsEditsWhateverTheirCase(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{
		{"server", "server", 0}, {"Server", "server", 0}, {"sevrer", "server", 1}, {"srver", "server", 1}, {"größe", "grösse", 2}, {"", "age", 3}, {"json", "age", 4},
	} {
		if got, back := Distance(c.a, c.b), Distance(c.b, c.a); got != c.want || back != c.want {
			t.Errorf("%q and %q are %d and %d edits apart, want %d", c.a, c.b, got, back, c.want)
		}
	}
}
