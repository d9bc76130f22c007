package main

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestAnExplanationIsAWaterfallInText(t *testing.T) {
	var e explained
	text := `{"prediction_id":"p1","endpoint":"scores","model":"scores","version":4,"replay":{"identical":true,"detail":"Asked again, the version gave the identical answer."},
		"explanation":{"method":"exact","unit":"the answer","rows":[{"row":0,"base":1,"total":-4,"rest":1,"features":[
		{"name":"b\u001b[31m","contribution":-6,"words":"b of 2 lowered the answer by 6"}]},{"row":1,"base":2,"total":2,"rest":0,"features":[{"name":"a","contribution":0,"words":"a of 1 did not move the answer"}]}]}}`
	if err := json.Unmarshal([]byte(text), &e); err != nil {
		t.Fatal(err)
	}
	got := e.text(0)
	for _, want := range []string{"scores version 4 at scores, prediction p1", "row 0, the answer", strings.Repeat("-", barWidth) + "\n", "all other features                 +1  ++++\n",
		"total                              -4\n", "b of 2 lowered the answer by 6", "method: exact", "replay: Asked again", "a of 1 did not move"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is missing in\n%s", want, got)
		}
	}
	alone := explained{Unexplained: "too few rows", Replay: struct{ Detail string }{"Asked again"}}
	if text := alone.text(0); !strings.Contains(text, "too few rows") || !strings.Contains(text, "replay: Asked again") || strings.Contains(text, "method") {
		t.Errorf("without reasons:\n%s", text)
	}
	if strings.Contains(got, "\x1b") || strings.Contains(got, "NaN") {
		t.Errorf("%q", got)
	}
}
