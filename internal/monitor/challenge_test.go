package monitor

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"keelson/internal/problem"
)

// told is a window of a version at an hour, with n outcomes of which one in every is wrong.
func told(version, hour, n, every int) Result {
	at := time.Date(2026, 3, 3, hour, 0, 0, 0, time.UTC)
	r := Result{ID: fmt.Sprintf("w%02d%d", hour, version), Version: version, From: at, To: at.Add(30 * time.Minute), Rows: 400}
	if n > 0 {
		r.Performance = evaluate(answers(n, every), 400)
	}
	return r
}

func TestVersionsOfAnEndpointAreHeldAgainstEachOtherByTheirOutcomes(t *testing.T) {
	for _, c := range []struct {
		name    string
		windows []Result
		verdict string // of version 2 against 1
		says    string
	}{
		{"a challenger that is better", []Result{told(1, 1, 400, 5), told(1, 2, 400, 5), told(2, 2, 400, 20)}, "better", "Version 2 does better than version 1: accuracy 95 % of 400 rows against 80 % of 400"},
		{"one that is worse", []Result{told(1, 1, 400, 20), told(1, 2, 400, 20), told(2, 2, 400, 5)}, "worse", "Version 2 does worse than version 1"},
		{"too close to call", []Result{told(1, 1, 400, 10), told(1, 2, 400, 10), told(2, 2, 400, 11)}, "undecided", "cannot be told apart yet"},
		{"at different times", []Result{told(1, 1, 400, 5), told(1, 2, 400, 5), told(2, 9, 400, 20)}, "better", "They answered at different times"},
		{"too few outcomes", []Result{told(1, 1, 400, 5), told(1, 2, 400, 5), told(2, 2, 40, 20)}, "", "40 outcomes of version 2 and 800 of version 1 are known; each needs 50."},
	} {
		got, err := challenge("churn", 0, c.windows)
		if err != nil || got.Champion != 1 || len(got.Versions) != 2 || got.Versions[1].Against != nil {
			t.Fatalf("%s: %+v, %v", c.name, got, err)
		}
		x := got.Versions[0]
		words, verdict := x.Undecided, ""
		if x.Against != nil {
			words, verdict = x.Against.Words, x.Against.Verdict
			if !(x.Against.Lower < x.Against.Difference && x.Against.Difference < x.Against.Upper) {
				t.Errorf("%s: %+v", c.name, x.Against)
			}
		}
		if verdict != c.verdict || !strings.Contains(words, c.says) {
			t.Errorf("%s: %q, %q", c.name, verdict, words)
		}
	}
}

func TestTheIntervalOfADifferenceIsNewcombes(t *testing.T) {
	// Newcombe 1998, table II, method 10: 56/70 - 48/80 is 0.2 with 0.0524 to 0.3339.
	m := margin(tallied{metric: "accuracy", n: 80, right: 48}, tallied{metric: "accuracy", n: 70, right: 56})
	if math.Abs(m.Difference-0.2) > 1e-12 || math.Abs(m.Lower-0.0524) > 5e-5 || math.Abs(m.Upper-0.3339) > 5e-5 || m.Verdict != "better" {
		t.Errorf("%+v", m)
	}
	if m := margin(tallied{metric: "rmse", n: 400, square: 400}, tallied{metric: "rmse", n: 400, square: 1600}); m.Verdict != "worse" || math.Abs(m.Difference-1) > 1e-12 {
		t.Errorf("a larger error: %+v", m)
	}
}

func TestAChallengeWithoutTrafficOrWithAStrangerSaysSo(t *testing.T) {
	if c, err := challenge("churn", 0, nil); err != nil || c.Champion != 0 || len(c.Versions) != 0 || c.Versions == nil {
		t.Errorf("%+v %v", c, err)
	}
	if _, err := challenge("churn", 9, []Result{told(1, 1, 0, 0)}); problem.KindOf(err) != problem.Invalid {
		t.Error(err)
	}
	c, err := challenge("churn", 2, []Result{told(1, 1, 0, 0), told(2, 1, 0, 0)})
	if err != nil || c.Champion != 2 || c.Versions[1].Value != nil || c.Versions[1].Undecided == "" {
		t.Errorf("%+v %v", c, err)
	}
}
