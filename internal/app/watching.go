package app

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"keelson/internal/alert"
	"keelson/internal/approval"
	"keelson/internal/caller"
	"keelson/internal/dataset"
	"keelson/internal/deployment"
	"keelson/internal/event"
	"keelson/internal/inventory"
	"keelson/internal/pipeline"
	"keelson/internal/prediction"
	"keelson/internal/problem"
)

// hands do what policies of alerts decide, through the same doors as a person's request.
type hands struct{ a *App }

func (h hands) Suspend(ctx context.Context, endpoint string, version int, reason string) (string, error) {
	d, err := h.a.Deployments.SuspendFor(ctx, endpoint, version, reason)
	if problem.Is(err, problem.Conflict) && d.State == deployment.Suspended {
		return "It was suspended already.", nil
	}
	return endpoint + " refuses all calls until somebody resumes it.", err
}

func (h hands) Rollback(ctx context.Context, endpoint string, version int, reason string) (string, error) {
	d, err := h.a.Deployments.RollbackFrom(ctx, endpoint, version, reason)
	if err != nil || d.Current == nil {
		return "", err
	}
	return fmt.Sprintf("%s went back to version %d, which was approved before.", endpoint, d.Current.Slot.Version), nil
}

func (h hands) Retrain(ctx context.Context, name, model, endpoint, cause string) (run, waits string, err error) {
	return h.a.Pipelines.Again(ctx, name, model, endpoint, cause)
}

// candidate proposes what a run made that an alert started, for the environment of the alert's endpoint and by the
// project's own plan. It deploys itself once the people whom the policy of that environment names have approved it.
func (a *App) candidate(ctx context.Context, e event.Event) error {
	var done struct {
		Pipeline string              `json:"pipeline"`
		State    string              `json:"state"`
		Trigger  pipeline.Trigger    `json:"trigger"`
		Versions []pipeline.ModelRef `json:"versions"`
	}
	if err := json.Unmarshal(e.Data, &done); err != nil {
		return fmt.Errorf("read event %s: %w", e.ID, err)
	}
	if done.Trigger.Kind != pipeline.ByMonitor {
		return nil
	}
	why, err := a.Alerts.Get(ctx, done.Trigger.Ref)
	if problem.Is(err, problem.NotFound) {
		return nil // a monitor's own run, from before alerts started them
	}
	if err != nil {
		return err
	}
	ctx = caller.With(ctx, caller.Caller{ID: alert.By, Name: alert.By, Kind: caller.Process, Via: "system"})
	_, run, _ := strings.Cut(e.Subject, "/")
	say := func(format string, args ...any) error {
		return a.Alerts.Tell(ctx, why.ID, "propose", fmt.Sprintf(format, args...), map[string]any{"run": run, "pipeline": done.Pipeline})
	}
	if done.State != pipeline.Succeeded || len(done.Versions) == 0 {
		return say("The retraining ended without a version: run %s %s.", run, done.State)
	}
	environment := ""
	if d, err := a.Deployments.Get(ctx, why.Endpoint); err == nil {
		environment = d.Environment
	} else if !problem.Is(err, problem.NotFound) {
		return err
	}
	var words []string
	for _, v := range done.Versions {
		if environment == "" || v.Model != why.Model {
			words = append(words, fmt.Sprintf("The retraining made %s/%d.", v.Model, v.Version))
			continue
		}
		plan, err := a.plan(ctx, done.Pipeline, environment)
		if err != nil {
			return err
		}
		r, err := a.Approvals.Open(ctx, approval.Proposal{Model: v.Model, Version: v.Version, Environment: environment, Plan: plan, WhenApproved: true,
			Reason: fmt.Sprintf("Made by retraining because of an alert: %s", problem.Clip(why.Title, 1500))})
		switch p, refused := problem.As(err); {
		case err == nil && r.Need.Count > 0:
			words = append(words, fmt.Sprintf("The retraining made %s/%d; request %d waits for %d approvals before it goes to %s.", v.Model, v.Version, r.Number, r.Need.Count, environment))
		case err == nil:
			words = append(words, fmt.Sprintf("The retraining made %s/%d; the policy of %s lets it in without votes.", v.Model, v.Version, environment))
		case refused: // also when it was asked for a moment ago, as events come at least once: then it is told already
			words = append(words, fmt.Sprintf("The retraining made %s/%d, which cannot be proposed for %s: %s", v.Model, v.Version, environment, problem.Clip(p.Detail, 500)))
		default:
			return err
		}
	}
	return say("%s", strings.Join(words, " "))
}

// plan is how a project brings its versions to an environment; all at once where it does not say.
func (a *App) plan(ctx context.Context, name, environment string) (plan approval.Plan, err error) {
	d, err := a.Pipelines.Definition(ctx, name)
	if err != nil {
		return plan, err
	}
	r, ok := d.Deploy[environment]
	if !ok {
		return approval.Plan{Mode: approval.All}, nil
	}
	text, err := json.Marshal(r)
	if err == nil {
		err = json.Unmarshal(text, &plan)
	}
	return plan, err
}

// answering gives those who answer for a model, by its record.
func (a *App) answering(ctx context.Context, model string) (alert.People, error) {
	m, err := a.Inventory.Recorded(ctx, model)
	if problem.Is(err, problem.NotFound) {
		return alert.People{}, nil
	}
	return alert.People{Owner: m.Owner, Accountable: m.Responsibilities.Accountable, Responsible: m.Responsibilities.Responsible}, err
}

// tier gives how much a model's mistakes may cost, for the rules of routes.
func (a *App) tier(ctx context.Context, model string) (int, error) {
	m, err := a.Inventory.Recorded(ctx, model)
	return m.Tier, err
}

// importances remembers what was computed of versions: a version never changes.
type importances struct {
	a  *App
	mu sync.Mutex
	of map[string]map[string]float64
}

const (
	sampled       = 20              // decisions whose explanations are averaged
	importantTime = 5 * time.Second // what an alert may wait for them
	maxRemembered = 1000
)

// share gives each input's share of the answers of a version: the mean size of its contributions over the newest
// decisions of an endpoint. nil where too few of them can be explained in time.
func (i *importances) share(ctx context.Context, endpoint, model string, version int) (map[string]float64, error) {
	key := caller.Workspace(ctx) + "\x1f" + model + "\x1f" + fmt.Sprint(version)
	i.mu.Lock()
	known, ok := i.of[key]
	i.mu.Unlock()
	if ok {
		return known, nil
	}
	ctx, cancel := context.WithTimeout(ctx, importantTime)
	defer cancel()
	list, err := i.a.Predictions.List(ctx, prediction.Query{Endpoint: endpoint, Model: model, Version: version, Limit: sampled})
	if err != nil {
		return nil, err
	}
	sum, n := map[string]float64{}, 0
	for _, r := range list {
		if r.Error != "" || r.Rows > 50 {
			continue
		}
		x, err := i.a.Predictions.Explain(ctx, r.ID, 0)
		if err != nil {
			return nil, err
		}
		for _, row := range x.Explanation.Rows {
			n++
			for _, f := range row.Features {
				sum[f.Name] += math.Abs(f.Contribution)
			}
		}
	}
	total := 0.0
	for _, v := range sum {
		total += v
	}
	if n == 0 || !(total > 0) || math.IsInf(total, 0) {
		return nil, nil
	}
	for name := range sum {
		sum[name] /= total
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.of == nil || len(i.of) >= maxRemembered {
		i.of = map[string]map[string]float64{}
	}
	i.of[key] = sum
	return sum, nil
}

// madeFrom names the data sets that the versions of a model in use are made from, for the suspects of incidents.
func (a *App) madeFrom(ctx context.Context, model string) ([]string, error) {
	running, err := a.Deployments.Running(ctx)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, r := range running {
		if r.Model != model {
			continue
		}
		_, data, err := a.Pipelines.Makers(ctx, model, r.Version)
		if err != nil {
			return nil, err
		}
		for _, d := range data {
			names = append(names, d.Dataset)
		}
		v, err := a.Inventory.Version(ctx, model, r.Version)
		if err != nil && !problem.Is(err, problem.NotFound) {
			return nil, err
		}
		names = append(names, dataOf(v)...)
		if m, err := a.Monitors.Get(ctx, r.Endpoint); err == nil && m.Reference.Dataset != "" {
			names = append(names, m.Reference.Dataset)
		}
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

func dataOf(v inventory.Version) (names []string) {
	for _, d := range v.Dependencies {
		if ref, err := dataset.ParseRef(strings.TrimSpace(d.Name)); d.Kind == "data" && err == nil {
			names = append(names, ref.Dataset)
		}
	}
	return names
}

// columnsChanged says how the columns of a data version differ from those of the version before.
func (a *App) columnsChanged(ctx context.Context, name string, version int) (string, error) {
	now, err := a.Data.Version(ctx, name, version)
	if problem.Is(err, problem.NotFound) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	before, err := a.Data.Version(ctx, name, version-1)
	if problem.Is(err, problem.NotFound) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	old := map[string]dataset.Type{}
	for _, f := range before.Schema {
		old[f.Name] = f.Type
	}
	var words []string
	for _, f := range now.Schema {
		was, ok := old[f.Name]
		switch {
		case !ok:
			words = append(words, f.Name+" is new")
		case was != f.Type:
			words = append(words, fmt.Sprintf("%s was %s and is %s", f.Name, was, f.Type))
		}
		delete(old, f.Name)
	}
	for _, f := range before.Schema {
		if _, gone := old[f.Name]; gone {
			words = append(words, f.Name+" is gone")
		}
	}
	if len(words) > 5 {
		words = append(words[:5], fmt.Sprintf("%d more", len(words)-5))
	}
	return strings.Join(words, ", "), nil
}
