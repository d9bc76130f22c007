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
	Estimate *struct {
		Basis   string `json:"basis"`
		Metric  string `json:"metric"`
		Metrics map[string]struct {
			Value    *float64 `json:"value"`
			Realised *float64 `json:"realised"`
		} `json:"metrics"`
	} `json:"estimate"`
	Why      string `json:"estimate_why"`
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
	if quiet.Estimate == nil {
		return fmt.Errorf("the quiet window has no estimate before its outcomes: %s", quiet.Why)
	}
	guess := quiet.Estimate.Metrics[quiet.Estimate.Metric]
	if err := want(guess.Value != nil && guess.Realised == nil && quiet.Estimate.Basis == "evaluation" && quiet.Performance == nil, "before outcomes arrive there is an estimate, learnt from the evaluation, and nothing beside it: %+v", quiet.Estimate); err != nil {
		return err
	}
	s.fact("no outcome has arrived; estimated from the inputs: %s %.3f", strings.ReplaceAll(quiet.Estimate.Metric, "_", " "), *guess.Value)
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
			if w.ID == quiet.ID && w.Estimate != nil {
				truth := w.Estimate.Metrics[w.Estimate.Metric]
				if err := want(truth.Realised != nil && truth.Value != nil && *truth.Value == *guess.Value && *truth.Realised-*truth.Value < 0.05 && *truth.Value-*truth.Realised < 0.05, "the truth stands beside the estimate, near it: %+v", truth); err != nil {
					return err
				}
				s.fact("beside the estimate of %.3f stands the truth: %.3f", *truth.Value, *truth.Realised)
			}
			if err := want(*w.Performance.Accuracy > 0.9, "the model is right more than nine times in ten, not %v", *w.Performance.Accuracy); err != nil {
				return err
			}
			break
		}
	}
	// The newer patients arrive before the shift is noticed: the retraining will use them.
	if err := s.do(ctx, nil, "eddie", "data", "add", "screening-patients", "data/newer.parquet", "--note", "69 more patients", "--json"); err != nil {
		return err
	}
	s.made.shifted = "calls-shifted.csv"
	if _, err := s.traffic(ctx, "data/traffic_shifted.csv", s.made.shifted); err != nil {
		return err
	}
	for _, more := range []string{"calls-shifted-2.csv", "calls-shifted-3.csv"} { // fills the window that the quiet day began, and two in a row: one could be chance
		if _, err := s.traffic(ctx, "data/traffic_shifted.csv", more); err != nil {
			return err
		}
	}
	shifted := func(a client.Alert) bool {
		return a.Endpoint == "screening" && a.Kind == "data" && slices.ContainsFunc(a.Columns, func(c client.AlertColumn) bool { return c.Name == "mean_radius" && c.Value > c.Limit })
	}
	alerts, err := until(ctx, 60*time.Second, "an alert about the radius", func(ctx context.Context) ([]client.Alert, bool, error) {
		as, err := client.All[client.Alert](ctx, s.as("dana"), "/api/v1/alerts", nil, 0)
		return as, slices.ContainsFunc(as, shifted), err
	})
	if err != nil {
		return err
	}
	a := alerts[slices.IndexFunc(alerts, shifted)]
	if err := all(
		want(a.Value > a.Limit && a.Limit > 0 && a.Link != "" && a.Words != "" && a.Incident != "", "the alert names value, limit, the rows, its incident, and says it in words: %+v", a),
		want(len(alerts) <= 2, "one alert per cause, not %d", len(alerts)),
	); err != nil {
		return err
	}
	rows, err := client.All[client.Prediction](ctx, s.as("dana"), a.Link, nil, 5)
	if err != nil || len(rows) == 0 {
		return fmt.Errorf("the alert's link %s leads to %d rows: %w", a.Link, len(rows), err)
	}
	s.fact("alert: %s (%d inputs, one incident, and a link to the rows behind it)", a.Title, len(a.Columns))
	s.fact("in words: %s", a.Words)
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
	open, err := until(ctx, 60*time.Second, "the proposal of the new version", func(ctx context.Context) (client.Approval, bool, error) {
		list, err := client.All[client.Approval](ctx, s.as("dana"), "/api/v1/approvals?model=screening", nil, 0)
		for _, o := range list {
			if o.Version == s.made.better && o.Environment == "prod" {
				return o, true, err
			}
		}
		return client.Approval{}, false, err
	})
	if err != nil {
		return err
	}
	s.fact("nobody touched it: request %d by %s asks for it", open.Number, open.Author)
	if _, err := s.vote(ctx, "rita", open.Number, "no worse than the champion"); err != nil {
		return err
	}
	if _, err := s.vote(ctx, "bo", open.Number, "go on"); err != nil {
		return err
	}
	if _, err := s.executed(ctx, open.ID); err != nil {
		return err
	}
	if err := s.remembered(ctx, run.ID, open.Number); err != nil {
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

// remembered checks that the incident of the shift tells the story by itself.
func (s *Story) remembered(ctx context.Context, run string, request int) error {
	var a client.Alert
	alerts, err := client.All[client.Alert](ctx, s.as("bo"), "/api/v1/alerts?model=screening", nil, 0)
	if err != nil {
		return err
	}
	acted := func(a client.Alert) bool {
		return slices.ContainsFunc(a.Acts, func(x client.AlertAct) bool { return x.Do == "retrain:screening" && x.State == "done" && x.Ref == run })
	}
	for _, one := range alerts { // of the alerts of one shift one acts
		if err := s.do(ctx, &a, "bo", "alert", "get", one.ID, "--json"); err != nil {
			return err
		}
		if acted(a) {
			break
		}
	}
	if err := want(acted(a), "the alert says what was done: %+v", a.Acts); err != nil {
		return err
	}
	var i struct {
		Timeline []struct{ Text string }
		Suspects []struct{ Text string }
	}
	if err := s.do(ctx, &i, "bo", "incident", "get", a.Incident, "--json"); err != nil {
		return err
	}
	var lines []string
	for _, l := range i.Timeline {
		lines = append(lines, l.Text)
	}
	told := strings.Join(lines, "\n")
	for _, part := range []string{"The first window over the limit began", "Alert: ", "By policy: Started the pipeline screening.", fmt.Sprintf("request %d waits for 2 approvals", request)} {
		if err := want(strings.Contains(told, part), "the time line of the incident says %q:\n%s", part, told); err != nil {
			return err
		}
	}
	if len(i.Suspects) > 0 {
		s.fact("the incident tells it in %d lines and names what changed before: %s", len(lines), i.Suspects[0].Text)
	}
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
