package story

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"keelson/client"
)

// monitorView is what chapters read of a monitor.
type monitorView struct {
	Verdict client.Health  `json:"verdict"`
	Windows []windowResult `json:"windows"`
}

type windowResult struct {
	ID          string `json:"id"`
	Rows        int    `json:"rows"`
	Breached    bool   `json:"breached"`
	Performance *struct {
		Accuracy *float64 `json:"accuracy"`
		N        int      `json:"n"`
	} `json:"performance"`
	Features []struct {
		Name string   `json:"name"`
		PSI  *float64 `json:"psi"`
	} `json:"features"`
}

func (s *Story) monitor(ctx context.Context) (m monitorView, err error) {
	return m, s.as("dana").Get(ctx, "/api/v1/monitors/screening", &m)
}

// watch: a quiet window, outcomes, then a real shift.
func (s *Story) watch(ctx context.Context) error {
	if err := s.do(ctx, nil, "dana", "monitor", "set", "screening", "--reference", "screening-patients/1", "--retrain", "screening", "--json"); err != nil {
		return err
	}
	if _, err := s.traffic(ctx, "data/traffic.csv", "calls-more.csv"); err != nil { // the first window may have begun with other calls
		return err
	}
	m, err := until(ctx, 60*time.Second, "a judged window", func(ctx context.Context) (monitorView, bool, error) {
		m, err := s.monitor(ctx)
		return m, len(m.Windows) > 0, err
	})
	if err != nil {
		return err
	}
	quiet := m.Windows[len(m.Windows)-1]
	if err := want(!quiet.Breached && quiet.Rows >= 200, "a quiet day does not alarm: %+v", quiet); err != nil {
		return err
	}
	s.fact("a window of %d rows of a quiet day: no alarm", quiet.Rows)
	var sent struct{ Accepted, Duplicates int }
	if err := s.do(ctx, &sent, "dana", "outcome", "add", s.made.calls, "--json"); err != nil {
		return err
	}
	if err := want(sent.Accepted == 400 || s.Patient && sent.Accepted+sent.Duplicates == 400, "400 outcomes are accepted, not %+v", sent); err != nil {
		return err
	}
	if err := s.do(ctx, &sent, "dana", "outcome", "add", s.made.calls, "--json"); err != nil {
		return err
	}
	if err := want(sent.Accepted == 0 && sent.Duplicates == 400, "sending them again changes nothing: %+v", sent); err != nil {
		return err
	}
	m, err = until(ctx, 60*time.Second, "the accuracy of the quiet window", func(ctx context.Context) (monitorView, bool, error) {
		m, err := s.monitor(ctx)
		return m, slices.ContainsFunc(m.Windows, func(w windowResult) bool { return w.Performance != nil && w.Performance.Accuracy != nil }), err
	})
	if err != nil {
		return err
	}
	for _, w := range m.Windows {
		if w.Performance != nil && w.Performance.Accuracy != nil {
			s.fact("outcomes arrived: accuracy %.3f on %d rows", *w.Performance.Accuracy, w.Performance.N)
			if err := want(*w.Performance.Accuracy > 0.9, "the model is right more than nine times in ten, not %v", *w.Performance.Accuracy); err != nil {
				return err
			}
			break
		}
	}
	// The newer patients arrive before the shift is noticed: the retraining will use them.
	if err := s.do(ctx, nil, "eddie", "data", "add", "screening-patients", "data/newer.parquet", "--note", "155 more patients", "--json"); err != nil {
		return err
	}
	s.made.shifted = "calls-shifted.csv"
	if _, err := s.traffic(ctx, "data/traffic_shifted.csv", s.made.shifted); err != nil {
		return err
	}
	if _, err := s.traffic(ctx, "data/traffic_shifted.csv", "calls-shifted-2.csv"); err != nil { // fills the window that the quiet day began
		return err
	}
	large := func(a client.Alert) bool {
		return a.Endpoint == "screening" && a.Metric == "psi" && a.Feature == "mean_radius"
	}
	alerts, err := until(ctx, 60*time.Second, "an alert about the radius", func(ctx context.Context) ([]client.Alert, bool, error) {
		as, err := client.All[client.Alert](ctx, s.as("dana"), "/api/v1/alerts", nil, 0)
		return as, slices.ContainsFunc(as, large), err
	})
	if err != nil {
		return err
	}
	a := alerts[slices.IndexFunc(alerts, large)]
	if err := want(a.Feature != "" && a.Value > a.Limit && a.Limit > 0 && a.Link != "", "the alert names feature, value, limit and the rows: %+v", a); err != nil {
		return err
	}
	rows, err := client.All[client.Prediction](ctx, s.as("dana"), a.Link, nil, 5)
	if err != nil || len(rows) == 0 {
		return fmt.Errorf("the alert's link %s leads to %d rows: %w", a.Link, len(rows), err)
	}
	s.fact("alert: %s %s %.3f, limit %.3f, and a link to the rows behind it (%d features in all)", a.Feature, a.Metric, a.Value, a.Limit, len(alerts))
	var verdict client.Health
	if err := s.do(ctx, &verdict, "bo", "monitor", "status", "screening", "--json"); err != nil {
		return err
	}
	if err := want(verdict.Verdict == "watch" && len(verdict.Reasons) > 0, "the business owner reads that it is to be watched, and why: %+v", verdict); err != nil {
		return err
	}
	s.fact("may it be trusted? %s: %s", verdict.Verdict, verdict.Reasons[0])
	return nil
}

// retrain: the breach has started the pipeline; the new version goes in by 10 %, then all; one command goes back.
func (s *Story) retrain(ctx context.Context) error {
	run, err := until(ctx, 3*time.Minute, "the run that the breach started", func(ctx context.Context) (client.PipelineRun, bool, error) {
		rs, err := s.as("dana").PipelineRuns(ctx, "screening", 20)
		for _, r := range rs {
			if r.Trigger.Kind == "monitor" {
				return r, r.Ended(), err
			}
		}
		return client.PipelineRun{}, false, err
	})
	if err != nil {
		return err
	}
	if err := all(
		want(run.State == "succeeded" && len(run.Versions) == 1, "the run succeeded, not %s: %s", run.State, run.Error),
		want(slices.ContainsFunc(run.Data, func(d client.DataRef) bool { return d.Dataset == "screening-patients" && d.Version == 2 }), "it used the newer data: %v", run.Data),
	); err != nil {
		return err
	}
	s.made.better = run.Versions[0].Version
	s.fact("the breach started run %s on the newer data by itself; it made screening/%d", run.ID, s.made.better)
	es, err := s.as("dana").Evaluations(ctx, "screening", s.made.better)
	if err != nil {
		return err
	}
	champion := -1
	if len(es) > 0 {
		champion = slices.IndexFunc(es[0].Tests, func(t client.TestResult) bool { return t.Kind == "champion" })
	}
	if err := want(champion >= 0 && es[0].State == "passed" && es[0].Tests[champion].State == "passed", "it was compared with the champion and passed: %+v", es); err != nil {
		return err
	}
	s.fact("against the champion: %s", es[0].Tests[champion].Detail)
	if err := s.approved(ctx, s.made.better, "trained on newer patients after the shift"); err != nil {
		return err
	}
	if _, err := s.serves(ctx, "screening", map[int]int{s.made.first: 90, s.made.better: 10}); err != nil {
		return err
	}
	if err := s.answers(ctx, "screening", s.made.better); err != nil {
		return err
	}
	out, err := s.traffic(ctx, "data/traffic.csv", "calls-canary.csv", "--batch", "1")
	if err != nil {
		return err
	}
	share := canaryShare(s.file("calls-canary.csv"), s.made.better)
	if err := want(share > 0.02 && share < 0.25, "about a tenth of the calls go to the canary, not %.3f: %s", share, out); err != nil {
		return err
	}
	s.fact("10 %% canary: %.1f %% of 400 calls were answered by version %d", share*100, s.made.better)
	if err := done(s.do(ctx, nil, "mira", "deploy", "advance", "screening", "--reason", "the canary answers well", "--json")); err != nil {
		return err
	}
	if _, err := s.serves(ctx, "screening", map[int]int{s.made.better: 100}); err != nil {
		return err
	}
	s.fact("then all")
	// Twice would go back twice, so this is the one command that must not be sent again.
	if err := s.calm(func() error {
		return s.do(ctx, nil, "mira", "deploy", "rollback", "screening", "--reason", "show that it takes one command", "--json")
	}); err != nil {
		return err
	}
	if _, err := s.serves(ctx, "screening", map[int]int{s.made.first: 100}); err != nil {
		return err
	}
	if err := all(s.answers(ctx, "screening", s.made.first), s.still(ctx)); err != nil {
		return err
	}
	s.fact("one command, and version %d answers again", s.made.first)
	return nil
}

// approved proposes a version of screening for prod and has it approved by both.
func (s *Story) approved(ctx context.Context, version int, reason string, more ...string) error {
	open, err := s.propose(ctx, "dana", fmt.Sprintf("screening/%d", version), "prod", reason, more...)
	if err != nil {
		return err
	}
	if _, err := s.vote(ctx, "rita", open.Number, "no worse than the champion"); err != nil {
		return err
	}
	if _, err := s.vote(ctx, "bo", open.Number, "go on"); err != nil {
		return err
	}
	_, err = s.executed(ctx, open.ID)
	return err
}

// canaryShare is the share of the rows of a calls file that a version answered.
func canaryShare(file string, version int) float64 {
	b, err := os.ReadFile(file)
	if err != nil {
		return -1
	}
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")[1:]
	n := 0
	for _, l := range lines {
		if f := strings.Split(l, ","); len(f) == 5 && f[2] == strconv.Itoa(version) {
			n++
		}
	}
	return float64(n) / float64(max(len(lines), 1))
}
