package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"keelson/internal/access"
	"keelson/internal/alert"
	"keelson/internal/approval"
	"keelson/internal/audit"
	"keelson/internal/caller"
	"keelson/internal/dataset"
	"keelson/internal/db"
	"keelson/internal/deployment"
	"keelson/internal/event"
	"keelson/internal/inventory"
	"keelson/internal/job"
	"keelson/internal/pipeline"
	"keelson/internal/policy"
	"keelson/internal/prediction"
	"keelson/internal/problem"
	"keelson/internal/release"
	"keelson/internal/rest"
	runtimes "keelson/internal/runtime"
	"keelson/internal/serving"
	"keelson/internal/tracking"
)

type (
	restAPI   = rest.API
	jobRunner = job.Runner
)

// versions tells the gate what inventory, evaluation and tracking know of a version.
type versions struct{ a *App }

func (v versions) Version(ctx context.Context, model string, number int) (approval.Version, error) {
	m, err := v.a.Inventory.Recorded(ctx, model)
	if err != nil {
		return approval.Version{}, err
	}
	ver, err := v.a.Inventory.Version(ctx, model, number)
	if err != nil {
		return approval.Version{}, err
	}
	sig, err := json.Marshal(ver.Signature)
	if err != nil {
		return approval.Version{}, err
	}
	if ver.State == inventory.Ready && !ver.Deployable { // ready to be read, not to be run
		ver.State, ver.Reason = inventory.Failed, "("+strings.TrimSuffix(ver.NotDeployable, ".")+")"
		if ver.Fault == inventory.FaultPreparing {
			ver.State = inventory.Pending
		}
	}
	out := approval.Version{
		Model: policy.Model{Name: m.Name, Kind: m.Kind, Tier: int64(m.Tier), Owner: m.Owner, UseCase: m.UseCase, Accountable: m.Responsibilities.Accountable,
			Responsible: m.Responsibilities.Responsible, IntendedUse: m.IntendedUse, ForbiddenUse: m.ForbiddenUse},
		Number: ver.Number, State: ver.State, Reason: ver.Reason, ArtifactDigest: ver.ArtifactDigest, Format: ver.Format, Engine: ver.Engine, Size: ver.Size,
		Signature: sig, Authors: ver.Authors, CreatedBy: ver.CreatedBy, CreatedAt: ver.CreatedAt,
		Golden: policy.Golden{Rows: int64(ver.Golden.Rows), Limit: ver.Golden.Limit}, Commit: ver.Source.Commit, Dirty: ver.Source.Dirty,
	}
	if out.Authors, err = v.authors(ctx, ver); err != nil {
		return out, err
	}
	if ver.Golden.MaxError != nil {
		out.Golden.MaxError = *ver.Golden.MaxError
	}
	for _, f := range ver.Files {
		out.Files = append(out.Files, release.File{Path: f.Path, Digest: f.Digest, Size: f.Size})
	}
	for _, s := range ver.Signature.Inputs {
		out.Inputs = append(out.Inputs, approval.Field{Name: s.Name, Type: fmt.Sprint(s.Datatype, s.Shape), Columns: s.Columns})
	}
	for _, s := range ver.Signature.Outputs {
		out.Outputs = append(out.Outputs, approval.Field{Name: s.Name, Type: fmt.Sprint(s.Datatype, s.Shape), Columns: s.Columns})
	}
	for _, d := range ver.Dependencies {
		out.Dependencies = append(out.Dependencies, approval.Dependency{Kind: d.Kind, Name: d.Name, Version: d.Version, Digest: d.Digest})
	}
	if ver.Run != "" {
		run, err := v.a.Tracking.Run(ctx, ver.Run)
		if err != nil && !problem.Is(err, problem.NotFound) {
			return out, err
		}
		out.Metrics = map[string]float64{}
		for _, p := range run.Metrics {
			out.Metrics[p.Key] = p.Value
		}
	}
	suites, err := v.a.Evaluations.Suites(ctx, model, number)
	if err != nil || len(suites) == 0 {
		out.Evaluation.State = "none"
		return out, err
	}
	for _, e := range suites {
		of := approval.Evaluation{State: e.State, ID: e.ID, Suite: e.Suite, Suited: e.Definition(), Dataset: e.Dataset, On: e.DatasetDigest}
		for _, t := range e.Tests {
			of.Tests = append(of.Tests, approval.Test{Name: t.Name, Kind: t.Kind, State: t.State, Value: number64(t.Value), Limit: number64(t.Limit), Detail: t.Detail})
		}
		out.Evaluations = append(out.Evaluations, of)
	}
	out.Evaluation = out.Evaluations[0]
	return out, nil
}

// authors is everybody who made a part of a version and therefore has no vote on it: who logged and registered it, who
// started the pipeline that did, who wrote that pipeline, and who brought in the data.
func (v versions) authors(ctx context.Context, ver inventory.Version) ([]string, error) {
	makers, data, err := v.a.Pipelines.Makers(ctx, ver.Model, ver.Number)
	if err != nil {
		return nil, err
	}
	if len(makers) == 0 && (ver.CreatedBy == stepAccount || strings.HasPrefix(ver.CreatedBy, stepAccount+".")) {
		// The version's own words about who made it come from the step's program.
		return nil, problem.New(problem.Conflict, "%s was registered by a step of a pipeline that no register step followed, so who made it is not known and nobody could vote on it. Give the pipeline a step of kind register, and run it again.", ver.Ref())
	}
	all := append(slices.Clone(ver.Authors), makers...)
	for _, d := range ver.Dependencies {
		if n, err := strconv.Atoi(d.Version); err == nil && d.Kind == "data" {
			data = append(data, pipeline.DataRef{Dataset: d.Name, Version: n})
		}
	}
	for _, d := range data {
		made, err := v.a.Data.Version(ctx, d.Dataset, d.Version)
		if problem.Is(err, problem.NotFound) {
			continue // data kept elsewhere
		}
		if err != nil {
			return nil, err
		}
		all = append(all, made.CreatedBy)
	}
	slices.Sort(all)
	return slices.Compact(all), nil
}

func number64(v *float64) float64 {
	if v == nil {
		return math.NaN()
	}
	return *v
}

// newRuntimes tests versions that had no engine again when an operator installs a library. No restart is needed. What is
// there at the start was recorded before, or is with the versions that it makes ready.
func (a *App) newRuntimes(installed *runtimes.Store) func(context.Context) error {
	return func(ctx context.Context) error {
		begin := time.Now()
		return installed.Watch(ctx, 2*time.Second, func(ctx context.Context, name string, is bool) {
			ctx = caller.System(ctx, "runtime")
			a.Log.InfoContext(ctx, "runtime found", "name", name, "installed", is)
			var err error
			if time.Since(begin) > 2*time.Second {
				err = a.DB.Write(ctx, func(tx db.Scope) error {
					return audit.Record(tx, "runtime.changed", "runtime/"+name, map[string]any{"name": name, "installed": is, "node": a.node})
				})
			}
			if is && a.Config.has(PartWorker) { // when it went, what is loaded goes on
				err = errors.Join(err, a.tryAgain(ctx))
			}
			if err != nil && ctx.Err() == nil {
				a.Log.ErrorContext(ctx, "a change of the runtimes could not be followed", "error", err)
			}
		})
	}
}

// releases hands serving the signed documents and nothing else.
type releases struct{ a *App }

func (r releases) Releases(ctx context.Context) ([]serving.Stored, error) {
	list, err := r.a.Deployments.Releases(ctx)
	out := make([]serving.Stored, len(list))
	for i, e := range list {
		out[i] = serving.Stored{Workspace: e.Workspace, Endpoint: e.Endpoint, Serial: e.Serial, Envelope: e.Text}
	}
	return out, err
}

// incidents hears what serving would not do.
type incidents struct{ a *App }

func (i incidents) Refused(ctx context.Context, endpoint, why string) error {
	return i.a.Incidents.Refused(ctx, endpoint, why)
}

func (i incidents) Panicked(ctx context.Context, endpoint, model, why string) error {
	return i.a.Alerts.Fell(ctx, alert.Fall{Model: model, Endpoint: endpoint, Panic: true, Why: why})
}

// runtime tells the inventory what deployment, monitor and prediction know.
type runtime struct{ a *App }

func (r runtime) Live(ctx context.Context) (map[string][]inventory.Live, error) {
	list, err := r.a.Deployments.Running(ctx)
	out := map[string][]inventory.Live{}
	for _, v := range list {
		out[v.Model] = append(out[v.Model], inventory.Live{Environment: v.Environment, Version: v.Version, Share: v.Share, Kind: v.Kind})
	}
	return out, err
}

func (r runtime) Health(ctx context.Context) (map[string]inventory.Health, error) {
	list, err := r.a.Monitors.Health(ctx)
	out := map[string]inventory.Health{}
	for m, v := range list {
		out[m] = inventory.Health(v)
	}
	return out, err
}

func (r runtime) LastUsed(ctx context.Context) (map[string]time.Time, error) {
	return r.a.Predictions.LastUsed(ctx)
}

func (r runtime) InUse(tx db.Scope, model string, version int) (string, error) {
	if why, err := r.a.Deployments.InUse(tx, model, version); err != nil || why != "" {
		return why, err
	}
	return r.a.Approvals.Waiting(tx, model, version)
}

// calls tells the gate and rollouts what the prediction log says.
type calls struct{ a *App }

func (c calls) Callers(ctx context.Context, model string, version int, since time.Time) ([]approval.Caller, error) {
	uses, err := c.a.Predictions.Callers(ctx, model, since)
	var out []approval.Caller
	for _, u := range uses {
		if slices.Contains(u.Versions, version) {
			out = append(out, approval.Caller{Name: u.Caller, Application: u.Application, Calls: u.Calls, Last: u.LastAt})
		}
	}
	return out, err
}

// errEnough ends a scan that has found what it looked for.
var errEnough = errors.New("enough")

// Rows asks for the records of all versions, so that the next look goes on behind those of the others too.
func (c calls) Rows(ctx context.Context, endpoint string, version int, since time.Time, after string, most int64) (n int64, last string, err error) {
	last = after
	err = c.a.Predictions.Scan(ctx, prediction.Query{Endpoint: endpoint, Since: since, After: after}, func(r prediction.Record) error {
		last = r.ID
		if r.Version == version && r.Error == "" && r.Slot != prediction.SlotShadow {
			n += int64(r.Rows)
		}
		if n >= most {
			return errEnough
		}
		return nil
	})
	if errors.Is(err, errEnough) {
		err = nil
	}
	return n, last, err
}

// people finds who can be asked for a vote.
type people struct{ a *App }

func (p people) WithRoles(ctx context.Context, roles []string) ([]approval.Person, error) {
	held := map[string][]string{}
	var order []string
	for _, r := range roles {
		names, err := p.a.Identity.HoldersOf(ctx, r)
		if err != nil {
			return nil, err
		}
		for _, n := range names {
			if held[n] == nil {
				order = append(order, n)
			}
			held[n] = append(held[n], r)
		}
	}
	var out []approval.Person
	for _, n := range order {
		out = append(out, approval.Person{Name: n, Roles: held[n]})
	}
	return out, nil
}

// registry tells pipelines which versions their runs registered.
type registry struct{ a *App }

func (r registry) EnsureExperiment(ctx context.Context, name string) error {
	_, err := r.a.Tracking.CreateExperiment(ctx, name, nil)
	if problem.Is(err, problem.Conflict) {
		return nil // it is there
	}
	return err
}

func (r registry) Registered(ctx context.Context, run string, attempts []string) (out []pipeline.Registered, err error) {
	runs, err := r.a.Tracking.Tagged(ctx, tracking.TagPipelineRun, run, pipeline.TagAttempt, attempts)
	if err != nil {
		return nil, err
	}
	versions, err := r.a.Inventory.OfRuns(ctx, runs)
	for _, v := range versions {
		out = append(out, pipeline.Registered{ModelRef: pipeline.ModelRef{Model: v.Model, Version: v.Number, ContentDigest: v.ContentDigest, ArtifactDigest: v.ArtifactDigest, Run: v.Run}, State: v.State, Reason: v.Reason})
	}
	return out, err
}

// stepTokens are what the children of pipelines sign in with: tokens of one service account per workspace.
type stepTokens struct{ a *App }

const stepAccount = "pipeline"

func (t stepTokens) Issue(ctx context.Context, pipeline, name string, ttl time.Duration) (id, token string, err error) {
	if !t.a.Identity.Auth {
		return "", "", nil
	}
	account := stepAccount
	if w := caller.Workspace(ctx); w != caller.DefaultWorkspace {
		account += "." + w
	}
	if err := t.a.Identity.Ensure(ctx, account, access.Service); err != nil {
		return "", "", err
	}
	tok, err := t.a.Identity.Issue(ctx, account, pipeline+" "+name, ttl)
	return tok.ID, tok.Token, err
}

func (t stepTokens) Revoke(ctx context.Context, id string) error {
	if id == "" {
		return nil
	}
	err := t.a.Identity.Revoke(caller.System(ctx, "pipeline"), id)
	if problem.Is(err, problem.NotFound) {
		return nil
	}
	return err
}

// watch makes sure that whatever was released is watched against the data it was made from.
func (a *App) watch(ctx context.Context, e event.Event) error {
	var n deployment.Notice
	if err := json.Unmarshal(e.Data, &n); err != nil {
		return err
	}
	var versions []int
	for _, s := range n.Slots {
		versions = append(versions, s.Version)
	}
	return a.Monitors.EnsureFor(ctx, n.Endpoint, n.Model, dataset.Ref{}, versions...)
}
