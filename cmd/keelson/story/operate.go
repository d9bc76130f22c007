package story

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
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
	if err := s.refused(ctx, 4, []string{"POST /api/v1/approvals"}, "dana", "model", "alias", target, "champion"); err != nil {
		return err
	}
	s.fact("nobody makes a champion by a call: the alias follows what runs in prod")
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
	if _, err := until(ctx, time.Minute, "the alias champion on what is live", func(ctx context.Context) (client.Version, bool, error) {
		v, err := s.as("dana").Version(ctx, "screening", s.made.first)
		return v, slices.Contains(v.Aliases, "champion"), err
	}); err != nil {
		return err
	}
	s.fact("screening@champion is version %d now", s.made.first)
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
	if _, err = s.traffic(ctx, "data/traffic.csv", "calls-json.csv", "--compare", "model/model.ubj", "--json", "--limit", "8", "--batch", "1"); err != nil {
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
