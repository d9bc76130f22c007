package incident

import (
	"testing"
	"time"
)

func TestSuspectsThatReadAlikeAreToldOnce(t *testing.T) {
	at := time.Date(2026, 3, 3, 0, 0, 0, 0, time.UTC)
	x := func(action, text string, score float64, hours int) Suspect {
		return Suspect{At: at.Add(time.Duration(hours) * time.Hour), By: "mira", Action: action, Object: "monitor/churn", Text: text, Score: score}
	}
	got := together([]Suspect{x("monitor.changed", "churn got other limits.", 0.5, 1), x("deployment.executed", "Version 2 answers.", 0.8, 2), x("monitor.changed", "churn got other limits.", 0.6, 3)})
	if len(got) != 2 || got[0].Text != "churn got other limits, 2 times." || got[0].Score != 0.6 || !got[0].At.Equal(at.Add(3*time.Hour)) || got[1].Text != "Version 2 answers." {
		t.Errorf("%+v", got)
	}
	if got := together(nil); got == nil || len(got) != 0 {
		t.Errorf("of none: %#v", got)
	}
}
