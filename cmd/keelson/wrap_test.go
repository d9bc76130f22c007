package main

import (
	"bytes"
	"encoding/json"
	"io"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/spf13/cobra"
)

// terminal is a program on a terminal of so many columns.
func terminal(columns int) (*cli, *bytes.Buffer) {
	var out bytes.Buffer
	c := newCLI(strings.NewReader(""), &out, io.Discard, func(string) string { return "" })
	c.tty, c.width = true, columns
	return c, &out
}

func tooWide(text string, columns int) (lines []string) {
	for _, l := range strings.Split(text, "\n") {
		if utf8.RuneCountInString(l) > columns {
			lines = append(lines, l)
		}
	}
	return lines
}

func TestTheHelpOfEveryCommandIsAsWideAsTheTerminal(t *testing.T) {
	var paths [][]string
	all, _ := terminal(80)
	walk(all.root(), func(cmd *cobra.Command) {
		if !strings.HasPrefix(cmd.CommandPath(), "keelson completion ") { // the program library's own texts
			paths = append(paths, words(cmd))
		}
	})
	paths = append(paths, nil)
	for _, path := range paths {
		c, out := terminal(80)
		root := c.root()
		root.SetArgs(append(path, "--help"))
		if err := root.ExecuteContext(t.Context()); err != nil {
			t.Fatal(err)
		}
		if wide := tooWide(out.String(), 80); len(wide) > 0 {
			t.Errorf("keelson %s --help is wider than 80 columns:\n%s", strings.Join(path, " "), strings.Join(wide, "\n"))
		}
		// The same words as where there is no terminal, in the same order.
		c, plain := terminal(0)
		root = c.root()
		root.SetArgs(append(path, "--help"))
		if err := root.ExecuteContext(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got, want := strings.Fields(strings.ReplaceAll(out.String(), " \\\n", "\n")), strings.Fields(plain.String()); strings.Join(got, " ") != strings.Join(want, " ") {
			t.Errorf("keelson %s --help says other things on a terminal:\n%s", strings.Join(path, " "), out)
		}
	}
}

func TestLinesBreakBetweenWords(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{
		{"a short line stays", "a  b\n", "a  b\n"},
		{"a sentence", "one two three four five six seven eight nine\n", "one two three four five six seven eight\nnine\n"},
		{"words stay away from the edge", "  one two three four five six seven eight nine", "  one two three four five six seven\n  eight nine"},
		{"words beside a name", "  --flag name  one two three four five six seven\n", "  --flag name  one two three four five\n               six seven\n"},
		{"words beside a long name go below", "  --a-very-long-flag-name  one two three four five six seven\n", "  --a-very-long-flag-name\n        one two three four five six\n        seven\n"},
		{"two blanks within a sentence", "one two three four five six seven eight nine ten.  Eleven twelve", "one two three four five six seven eight\nnine ten. Eleven twelve"},
		{"an address stays whole", "see http://127.0.0.1:5000/api/v1/deployments/screening.prod\n", "see\nhttp://127.0.0.1:5000/api/v1/deployments/screening.prod\n"},
		{"letters are counted, not bytes", "äöüäöüäöüäöüäöüäöü äöüäöüäöüäöüäöüäöüäöü\n", "äöüäöüäöüäöüäöüäöü äöüäöüäöüäöüäöüäöüäöü\n"},
	} {
		if got := wrap(c.in, 40); got != c.want {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
	if got, want := continued("  keelson alert ack 06gz --reason \"one two three\" -q\n  keelson help", 40), "  keelson alert ack 06gz \\\n      --reason \"one two three\" -q\n  keelson help"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestAQuoteThatNobodyClosesIsKept(t *testing.T) {
	if got, want := continued("keelson model list --jq '.a | .b' and one don't stop", 40), "don't stop"; !strings.HasSuffix(got, want) {
		t.Errorf("got %q", got)
	}
}

func TestWhatExplainsIsAsWideAsTheTerminal(t *testing.T) {
	feature := map[string]any{"name": strings.Repeat("worst_concave_points_", 4), "contribution": -6, "words": strings.Repeat("the mean radius of 2 lowered the answer by 6, ", 5)}
	for name, e := range map[string]interface{ text(int) string }{"reasons": &explained{}, "another answer": &otherAnswer{}, "other values": &whatIf{}} {
		raw, err := json.Marshal(map[string]any{"model": "scores", "replay": map[string]any{"detail": strings.Repeat("Asked again, the version gave the same. ", 6)}, "method": strings.Repeat("exact contributions ", 9),
			"explanation": map[string]any{"method": strings.Repeat("exact contributions ", 9), "rows": []any{map[string]any{"total": 3, "features": []any{feature}}}},
			"nearest":     map[string]any{"changes": []any{feature}}, "changes": []any{feature}, "reasons": []any{feature}})
		if err != nil {
			t.Fatal(err)
		}
		c, out := terminal(80)
		if err := c.explained(raw, e); err != nil {
			t.Fatal(err)
		}
		if wide := tooWide(out.String(), 80); len(wide) > 0 || !strings.Contains(out.String(), "lowered the answer") {
			t.Errorf("%s, wider than 80 columns:\n%s", name, out)
		}
	}
}

func TestADeploymentIsShownWithTheSplitOfEachRelease(t *testing.T) {
	slots := func(canary int) []any {
		return []any{map[string]any{"version": 2, "kind": "live", "share": 100 - canary}, map[string]any{"version": 3, "kind": "canary", "share": canary}}
	}
	var releases []any
	for i := range 5 {
		releases = append(releases, map[string]any{"serial": 9 - i, "state": "live", "slots": slots(5 * (5 - i)), "request": "06h04pn745vahad4phrmgjeyf4", "issued_at": "2026-11-02T10:00:00Z", "expires_at": "2026-11-03T10:00:00Z", "signed": true})
	}
	c, out := terminal(80)
	err := c.show(map[string]any{"endpoint": "screening.prod", "slots": slots(25), "words": strings.Repeat("version 3 answers a quarter of the calls ", 4), "releases": releases}, append(deployColumns, columns("words", "releases")...), "endpoint")
	if err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		canary := 5 * (5 - i)
		if want := "v2 " + strconv.Itoa(100-canary) + " %,v3 " + strconv.Itoa(canary) + " % canary"; !strings.Contains(out.String(), want) {
			t.Errorf("%q is missing", want)
		}
	}
	if wide := tooWide(out.String(), 80); len(wide) > 0 || t.Failed() {
		t.Errorf("got\n%s", out)
	}
}
