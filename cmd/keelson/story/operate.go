package story

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"keelson/client"
)

// propose opens a change request and gives it as the author sees it; it must wait for votes.
func (s *Story) propose(ctx context.Context, who, target, environment, reason string, more ...string) (client.Approval, error) {
	a, err := s.run(ctx, who, append([]string{"deploy", "create", target, "--to", environment, "--reason", reason, "--json"}, more...)...)
	if err != nil {
		return client.Approval{}, err
	}
	return s.opened(ctx, a, "deploy", target, environment)
}

// opened reads the open request that a command line has answered with; where it was sent twice, the one of the first time
// is looked for.
func (s *Story) opened(ctx context.Context, a answer, kind, target, environment string) (open client.Approval, err error) {
	if a.code == client.ExitConflict && json.Unmarshal([]byte(a.out), &open) == nil && open.State == "open" {
		return open, nil
	}
	if a.again {
		list, err := client.All[client.Approval](ctx, s.as("dana"), "/api/v1/approvals?state=open", nil, 0)
		if err != nil {
			return open, err
		}
		for _, o := range list {
			if o.Kind == kind && fmt.Sprintf("%s/%d", o.Model, o.Version) == target && o.Environment == environment {
				return o, nil
			}
		}
	}
	return open, a.err("exit code 6 and an open request: an approval is needed")
}

// vote grants as an account.
func (s *Story) vote(ctx context.Context, who string, number int, reason string) (a client.Approval, err error) {
	err = s.do(ctx, &a, who, "approval", "approve", strconv.Itoa(number), "--reason", reason, "--json")
	if errors.Is(err, errDone) {
		return s.as(who).Approval(ctx, strconv.Itoa(number))
	}
	return a, err
}

// executed waits until an approved request has been carried out.
func (s *Story) executed(ctx context.Context, id string) (client.Approval, error) {
	return until(ctx, 30*time.Second, "the approved request to be executed", func(ctx context.Context) (client.Approval, bool, error) {
		a, err := s.as("dana").Approval(ctx, id)
		return a, a.State == "executed", err
	})
}

// serves waits until an endpoint has exactly these versions with these shares.
func (s *Story) serves(ctx context.Context, endpoint string, shares map[int]int) (client.Deployment, error) {
	return until(ctx, 30*time.Second, fmt.Sprintf("%s to have the versions and shares %v", endpoint, shares), func(ctx context.Context) (client.Deployment, bool, error) {
		d, err := s.as("mira").Deployment(ctx, endpoint)
		if client.IsKind(err, "not-found") {
			return d, false, nil
		}
		got := map[int]int{}
		for _, sl := range d.Slots {
			got[sl.Version] += sl.Share
		}
		same := len(got) == len(shares)
		for v, n := range shares {
			same = same && got[v] == n
		}
		return d, same, err
	})
}

// answers waits until an endpoint's version is ready to be called.
func (s *Story) answers(ctx context.Context, endpoint string, version int) error {
	_, err := until(ctx, 35*time.Second, fmt.Sprintf("%s/%d to be ready", endpoint, version), func(ctx context.Context) (bool, bool, error) {
		err := s.as(desk).Get(ctx, fmt.Sprintf("/v2/models/%s/versions/%d/ready", endpoint, version), nil)
		return err == nil, err == nil, nil
	})
	return err
}

// approve: the data scientist proposes, two others of different roles approve.
func (s *Story) approve(ctx context.Context) error {
	target := fmt.Sprintf("screening/%d", s.made.first)
	open, err := s.propose(ctx, "dana", target, "prod", "first version, better than the logistic yardstick", "--no-plan")
	if err != nil {
		return err
	}
	v, err := s.as("dana").Version(ctx, "screening", s.made.first)
	if err != nil {
		return err
	}
	mine, err := s.as("dana").Approval(ctx, open.ID)
	if err != nil {
		return err
	}
	if err := all(
		want(open.Verdict.Allowed && len(open.Verdict.Reasons) > 0, "the policy allows it with reasons: %+v", open.Verdict),
		want(open.ArtifactDigest == v.ArtifactDigest && open.PlanDigest != "" && open.Environment == "prod", "the request is bound to artifact, plan and environment: %+v", open),
		want(open.Need.Count == 2 && len(open.Missing) > 0, "it needs two votes: %+v %v", open.Need, open.Missing),
		want(!mine.You.MayVote && mine.You.Why != "", "dana may not vote and is told why: %+v", mine.You),
		want(slices.Contains(open.Authors, "dana"), "dana is an author of the version: %v", open.Authors),
	); err != nil {
		return err
	}
	for _, r := range open.Verdict.Reasons {
		s.fact("policy: %s", r.Message)
	}
	n := strconv.Itoa(open.Number)
	if err := s.refused(ctx, 4, []string{"approval.vote"}, "dana", "approval", "approve", n, "--reason", "I trust me"); err != nil {
		return err
	}
	s.fact("the author may not vote: %s", mine.You.Why)
	one, err := s.vote(ctx, "rita", open.Number, "evaluation, golden rows and purpose are in order")
	if err != nil {
		return err
	}
	if err := want(one.State == "open", "one vote is not enough, but it is %s", one.State); err != nil {
		return err
	}
	if err := s.refused(ctx, 6, nil, "rita", "approval", "approve", n, "--reason", "once more"); err != nil {
		return err
	}
	two, err := s.vote(ctx, "bo", open.Number, "the clinic is ready for it")
	if err != nil {
		return err
	}
	if err := want(two.State == "approved" || two.State == "executed", "two votes of different roles approve it, but it is %s", two.State); err != nil {
		return err
	}
	s.fact("rita (risk) and bo (business) approved request %s; nobody could alone", n)
	_, err = s.executed(ctx, open.ID)
	return err
}

// deploy: the release is live; three attempts to go around the gate fail and leave an incident each.
func (s *Story) deploy(ctx context.Context) error {
	d, err := s.serves(ctx, "screening", map[int]int{s.made.first: 100})
	if err != nil {
		return err
	}
	if err := all(want(d.State == "live", "screening is live, not %s", d.State), s.answers(ctx, "screening", s.made.first)); err != nil {
		return err
	}
	s.fact("screening/%d is live at %s%s", s.made.first, s.URL, d.URL)
	if err := s.do(ctx, nil, "mira", "deploy", "create", fmt.Sprintf("referral/%d", s.made.rules), "--to", "dev", "--json"); err != nil {
		return err
	}
	s.fact("the rules answer in dev at once: dev approves by itself, in the name of its policy")
	for _, cheat := range []func(context.Context) error{s.forgeRelease, s.forgeVotes, s.swapFile} {
		if err := s.calm(func() error { return cheat(ctx) }); err != nil {
			return err
		}
	}
	return nil
}

// incidents gives the number of incidents of a kind, all in all.
func (s *Story) incidents(ctx context.Context) (list []client.Incident, err error) {
	return client.All[client.Incident](ctx, s.as("mira"), "/api/v1/incidents", nil, 0)
}

// newIncident waits for an incident that was not there before.
func (s *Story) newIncident(ctx context.Context, before []client.Incident) (client.Incident, error) {
	return until(ctx, 40*time.Second, "an incident", func(ctx context.Context) (client.Incident, bool, error) {
		now, err := s.incidents(ctx)
		for _, i := range now {
			if !slices.ContainsFunc(before, func(b client.Incident) bool { return b.ID == i.ID }) {
				return i, true, err
			}
		}
		return client.Incident{}, false, err
	})
}

// close closes an incident that the story has caused, so that it does not stand open on the reader's page.
func (s *Story) close(ctx context.Context, i client.Incident, reason string) error {
	return s.as("mira").Post(ctx, "/api/v1/incidents/"+i.ID+"/close", map[string]string{"reason": reason}, nil)
}

// still asserts that screening goes on answering with the first version.
func (s *Story) still(ctx context.Context) error {
	var out struct {
		Version string `json:"model_version"`
	}
	if err := s.as(desk).Infer(ctx, "screening", oneRow(), &out); err != nil {
		return fmt.Errorf("screening does not answer any more: %w", err)
	}
	return want(out.Version == strconv.Itoa(s.made.first), "version %d goes on answering, not %s", s.made.first, out.Version)
}

// oneRow is a request with one row of the right width.
func oneRow() any {
	data := make([]float64, 30)
	for i := range data {
		data[i] = float64(i) / 10
	}
	return map[string]any{"inputs": []any{map[string]any{"name": "input", "datatype": "FP64", "shape": []int{1, 30}, "data": data}}}
}

// forgeRelease gives all calls to a version nobody approved, by editing the release in the database.
func (s *Story) forgeRelease(ctx context.Context) error {
	before, err := s.incidents(ctx)
	if err != nil {
		return err
	}
	s.print("    somebody edits the release of screening in the database: all calls to version %d\n", s.made.again)
	restore, err := s.editRelease(ctx, "screening", s.made.first, s.made.again)
	if err != nil {
		return err
	}
	i, err := s.newIncident(ctx, before)
	err = all(err, s.still(ctx))
	if rerr := restore(); err == nil {
		err = rerr
	}
	if err != nil {
		return err
	}
	s.fact("refused: %s; version %d goes on answering", i.Title, s.made.first)
	return s.close(ctx, i, "the row was restored")
}

// forgeVotes writes the two missing votes of a request into the database.
func (s *Story) forgeVotes(ctx context.Context) error {
	open, err := s.propose(ctx, "dana", fmt.Sprintf("referral/%d", s.made.rules), "prod", "rules as agreed on paper", "-f", "../referral/keelson.yaml")
	if err != nil {
		return err
	}
	before, err := s.incidents(ctx)
	if err != nil {
		return err
	}
	s.print("    somebody writes two votes into the database\n")
	restore, err := s.insertVotes(ctx, open.ID)
	if err != nil {
		return err
	}
	a, err := s.run(ctx, "mira", "deploy", "execute", strconv.Itoa(open.Number))
	if err == nil && a.code == 0 {
		err = a.err("a refusal")
	}
	var i client.Incident
	if err == nil {
		i, err = s.newIncident(ctx, before)
	}
	if rerr := restore(); err == nil {
		err = rerr
	}
	if err != nil {
		return err
	}
	s.fact("refused: %s", i.Title)
	if err := s.close(ctx, i, "the rows were removed"); err != nil {
		return err
	}
	if _, err := s.vote(ctx, "rita", open.Number, "twenty cases decided as agreed"); err != nil {
		return err
	}
	if _, err := s.vote(ctx, "bo", open.Number, "as agreed"); err != nil {
		return err
	}
	if _, err := s.executed(ctx, open.ID); err != nil {
		return err
	}
	s.fact("with two real votes the rules are live")
	return s.answers(ctx, "referral", s.made.rules)
}

// swapFile changes one byte of the model file in the store and has it deployed to dev.
func (s *Story) swapFile(ctx context.Context) error {
	v, err := s.as("dana").Version(ctx, "screening", s.made.first)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(v.Files, func(f client.File) bool { return strings.HasSuffix(f.Path, ".ubj") })
	if err := want(i >= 0, "the version has a model.ubj: %v", v.Files); err != nil {
		return err
	}
	before, err := s.incidents(ctx)
	if err != nil {
		return err
	}
	s.print("    somebody changes a byte of %s in the store\n", v.Files[i].Path)
	restore, err := s.changeBlob(ctx, v.Files[i].Digest)
	if err != nil {
		return err
	}
	err = s.as("mira").Post(ctx, "/api/v1/approvals", map[string]any{"kind": "deploy", "model": "screening", "version": s.made.first, "environment": "dev", "reason": "try it in dev", "when_approved": true}, nil)
	var in client.Incident
	if err == nil {
		in, err = s.newIncident(ctx, before)
	}
	err = all(err, s.still(ctx))
	if rerr := restore(); err == nil {
		err = rerr
	}
	if err != nil {
		return err
	}
	s.fact("refused: %s; the loaded version goes on answering", in.Title)
	return s.close(ctx, in, "the file was restored")
}

// predict: real rows, equal to xgboost; the log knows all about them; outcomes come later.
func (s *Story) predict(ctx context.Context) error {
	if err := s.do(ctx, nil, "dana", "version", "pull", fmt.Sprintf("screening/%d", s.made.first), "model", "-q"); err != nil {
		return err
	}
	s.made.calls = "calls.csv"
	out, err := s.traffic(ctx, "data/traffic.csv", s.made.calls, "--compare", "model/model.ubj")
	if err != nil {
		return err
	}
	s.fact("%s", strings.ReplaceAll(strings.TrimSpace(out), "\n", "; "))
	if out, err = s.traffic(ctx, "data/traffic.csv", "calls-json.csv", "--compare", "model/model.ubj", "--json", "--limit", "8", "--batch", "1"); err != nil {
		return err
	}
	ps, err := until(ctx, 20*time.Second, "the calls in the log", func(ctx context.Context) ([]client.Prediction, bool, error) {
		ps, err := client.All[client.Prediction](ctx, s.as("dana"), "/api/v1/predictions?endpoint=screening", nil, 0)
		rows := 0
		for _, p := range ps {
			if p.Application == "clinic-desk" {
				rows += p.Rows
			}
		}
		return ps, rows >= 408, err
	})
	if err != nil {
		return err
	}
	p := ps[0]
	if err := want(p.Caller == desk && string(p.Version) == strconv.Itoa(s.made.first) && p.LatencyUS > 0 && len(p.Inputs) > 2 && len(p.Outputs) > 2, "a prediction has caller, version, latency, inputs and outputs: %+v", p); err != nil {
		return err
	}
	s.fact("%d calls in the log with id, time, version, caller, inputs, outputs, latency", len(ps))
	var callers []client.Caller
	if err := s.do(ctx, &callers, "ada", "model", "callers", "screening", "--json"); err != nil {
		return err
	}
	if err := want(slices.ContainsFunc(callers, func(c client.Caller) bool {
		return c.Caller == desk && c.Calls > 0 && strings.Contains(string(c.Versions), strconv.Itoa(s.made.first))
	}), "the log says who called it with which version: %+v", callers); err != nil {
		return err
	}
	s.fact("who called it, when, with which version: %s, %d calls", callers[0].Caller, callers[0].Calls)
	return s.refer(ctx)
}

// traffic calls screening with the rows of a file, by the ordinary Triton client.
func (s *Story) traffic(ctx context.Context, rows, out string, more ...string) (string, error) {
	if s.Patient {
		more = append(more, "--patient")
	}
	return s.python(ctx, desk, append([]string{"traffic.py", "--url", strings.TrimPrefix(strings.TrimPrefix(s.URL, "http://"), "https://"), "--rows", rows, "--out", out}, more...)...)
}

// refer calls the rules and finds the rule that fired in the log.
func (s *Story) refer(ctx context.Context) error {
	body := `{"inputs":[{"name":"score","shape":[2],"datatype":"FP64","data":[0.97,0.45]},{"name":"age","shape":[2],"datatype":"INT64","data":[61,52]},` +
		`{"name":"radius","shape":[2],"datatype":"FP64","data":[null,19.2]},{"name":"history","shape":[2],"datatype":"BOOL","data":[false,true]},{"name":"ward","shape":[2],"datatype":"BYTES","data":["general","oncology"]}]}`
	var out struct {
		Parameters struct {
			Prediction string `json:"prediction_id"`
		}
		Outputs []struct {
			Name string
			Data []any
		}
	}
	if err := s.do(ctx, &out, desk, "predict", "referral", "--data", body, "--json"); err != nil {
		return err
	}
	if err := want(len(out.Outputs) == 2 && out.Outputs[0].Name == "decision" && fmt.Sprint(out.Outputs[0].Data) == "[refer refer]" && fmt.Sprint(out.Outputs[1].Data) == "[2 7]", "both patients are referred, in 2 and in 7 days: %+v", out.Outputs); err != nil {
		return err
	}
	p, err := until(ctx, 20*time.Second, "the call of the rules in the log", func(ctx context.Context) (p client.Prediction, ok bool, err error) {
		err = s.as("rita").Get(ctx, "/api/v1/predictions/"+out.Parameters.Prediction, &p)
		if client.IsKind(err, "not-found") {
			return p, false, nil
		}
		return p, err == nil, err
	})
	if err != nil {
		return err
	}
	if err := want(strings.Contains(string(p.TraceInfo), `"certain"`) && strings.Contains(string(p.TraceInfo), `"large-tumour"`), "the log says which rules fired: %s", p.TraceInfo); err != nil {
		return err
	}
	s.fact("referral answered by the rules certain and large-tumour; the log says so row by row")
	return nil
}

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
