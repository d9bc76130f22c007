package serving

import (
	"context"
	"strings"
	"testing"

	"keelson/internal/problem"
)

func TestACallForAForbiddenPurposeIsRefusedAndNotAnswered(t *testing.T) {
	h := newHouse(t)
	d := h.doc(1, h.rules(1))
	d.Limits.ForbiddenPurposes = "marketing, credit scoring"
	h.issue(d)
	for purpose, forbidden := range map[string]bool{"marketing": true, " Credit Scoring ": true, "triage": false, "": false, "market": false} {
		c := call(11)
		c.Purpose = purpose
		a, err := h.Infer(context.Background(), c)
		if !forbidden {
			if err != nil || a.ID == "" {
				t.Errorf("%q: %+v %v", purpose, a, err)
			}
			continue
		}
		p, ok := problem.As(err)
		if !ok || p.Kind != problem.Forbidden || p.Field != "parameters.purpose" || p.Attack != "forbidden-purpose" || !strings.Contains(p.Detail, strings.TrimSpace(purpose)) {
			t.Errorf("%q: %v", purpose, err)
		}
	}
}
