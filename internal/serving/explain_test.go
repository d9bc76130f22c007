package serving

import (
	"context"
	"strings"
	"testing"

	"keelson/internal/engine/reason"
	"keelson/internal/problem"
)

func TestAModelThatCannotExplainItselfIsComparedWithItsOwnLog(t *testing.T) {
	h := newHouse(t)
	h.Background = h.log.Background
	h.Page = func(path string) string { return "https://keelson.example.com" + path }
	h.issue(h.doc(1, h.put(1, "cel", "model.cel.yaml", "inputs: [{name: x, type: double}]\noutputs: [{name: level, type: double, default: 1.0}]\nrules: [{id: big, when: x > 10.0, then: {level: 3.0}, message: too big}]\n")))
	ask := func(x float64, explain int) (Answer, error) {
		c := call(x)
		c.Explain = explain
		return h.Infer(context.Background(), c)
	}
	if _, err := ask(11, -1); problem.KindOf(err) != problem.Conflict {
		t.Errorf("without earlier decisions: %v", err)
	}
	for i := range reason.MinBackground {
		if a, err := ask(float64(i), 0); err != nil || a.Explanation != nil {
			t.Fatalf("%+v, %v", a, err)
		}
	}
	a, err := ask(11, 1)
	if err != nil {
		t.Fatal(err)
	}
	row := a.Explanation.Rows[0]
	if row.Base != 1 || row.Total != 3 || row.Features[0].Words != "x of 11 raised the answer by 2; typical is 4" || !strings.Contains(a.Explanation.Method, "10 background rows") || a.ID == "" {
		t.Errorf("%+v", a.Explanation)
	}
	if row.Summary != "Above all x of 11 raised the answer." || a.Explanation.Contest != "https://keelson.example.com/predictions/"+a.ID {
		t.Errorf("summary %q, contest at %q", row.Summary, a.Explanation.Contest)
	}
	hidden := h.doc(2, h.put(1, "cel", "model.cel.yaml", "inputs: [{name: x, type: double}]\noutputs: [{name: level, type: double, default: 1.0}]\nrules: [{id: big, when: x > 10.0, then: {level: 3.0}, message: too big}]\n"))
	hidden.Redact = []string{"x"}
	h.issue(hidden)
	if _, err := ask(11, 1); problem.KindOf(err) != problem.Conflict {
		t.Errorf("with columns left out of the log: %v", err)
	}
}
