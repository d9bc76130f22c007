package problem_test

import (
	"errors"
	"fmt"
	"testing"

	"keelson/internal/problem"
)

func TestTextOfOthersIsCutBetweenCharacters(t *testing.T) {
	for _, c := range []struct {
		name, text, want string
		n                int
	}{
		{"short text stays", "größer", "größer", 8},
		{"longer text says that there was more", "abcdef", "abc…", 3},
		{"half a character is left out", "größer", "gr…", 3},
		{"bytes that are no text stay while they are short", "\xff", "\xff", 1},
	} {
		if got := problem.Clip(c.text, c.n); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

func TestTheDetailIsForPeopleAndTheCauseForTheLog(t *testing.T) {
	p := problem.New(problem.Unavailable, "The disk is full.").Because(errors.New("write /srv: no space"))
	if got := problem.Detail(fmt.Errorf("store: %w", p)); got != "The disk is full." {
		t.Errorf("a wrapped problem says %q", got)
	}
	if got := problem.Detail(errors.New("no space")); got != "no space" {
		t.Errorf("another error says %q", got)
	}
}

func TestListsOfWholeNumbersAreWrittenWithCommas(t *testing.T) {
	if got := problem.New(problem.Invalid, "Tensor %q has shape %v, not %v; %d.", "x", []int{2, 30}, []int64{-1, 3}, []int{4, 5}).Detail; got != `Tensor "x" has shape [2, 30], not [-1, 3]; [4 5].` {
		t.Errorf("the detail is %s", got)
	}
}
