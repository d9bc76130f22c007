package app

import (
	"cmp"
	"context"
	"os"
	"path/filepath"
	"time"

	"keelson/internal/alert"
	"keelson/internal/approval"
	"keelson/internal/caller"
	"keelson/internal/convert"
	"keelson/internal/dataset"
	"keelson/internal/deployment"
	"keelson/internal/engine"
	"keelson/internal/engine/cel"
	"keelson/internal/engine/lightgbm"
	"keelson/internal/engine/linear"
	"keelson/internal/engine/onnx"
	"keelson/internal/engine/onnxruntime"
	"keelson/internal/engine/python"
	"keelson/internal/engine/remote"
	"keelson/internal/engine/xgboost"
	"keelson/internal/evalset"
	"keelson/internal/evaluation"
	"keelson/internal/feedback"
	"keelson/internal/incident"
	"keelson/internal/inventory"
	"keelson/internal/journal"
	"keelson/internal/mlflowapi"
	"keelson/internal/monitor"
	"keelson/internal/notify"
	"keelson/internal/oip"
	"keelson/internal/outbound"
	"keelson/internal/pipeline"
	"keelson/internal/policy"
	"keelson/internal/prediction"
	"keelson/internal/prompt"
	runtimes "keelson/internal/runtime"
	"keelson/internal/scorer"
	"keelson/internal/serving"
	"keelson/internal/study"
	"keelson/internal/trace"
	"keelson/internal/tracking"
	"keelson/internal/usecase"
	"keelson/internal/venv"
	"keelson/internal/wasm"
	"keelson/internal/webhook"
)

// nouns are the services of the domain, built by wire.
type nouns struct {
	Data      *dataset.Service
	Tracking  *tracking.Service
	Traces    *trace.Service
	UseCases  *usecase.Service
	Inventory *inventory.Service
	Policies  *policy.Service
	Approvals *approval.Service
	Incidents *incident.Service
	Pipelines *pipeline.Service

	Deployments *deployment.Service
	Predictions *prediction.Service
	Monitors    *monitor.Service
	Alerts      *alert.Service
	Evaluations *evaluation.Service
	Conversions *convert.Service
	Studies     *study.Service
	Webhooks    *webhook.Service
	Notices     *notify.Service
	Feedback    *feedback.Service
	Prompts     *prompt.Service
	Evalsets    *evalset.Service
	Scorers     *scorer.Service
	Serving     *serving.Service // nil unless this process serves

	recorder *journal.Recorder

	predictionLog *prediction.Log // nil in a process that only works in the background

	start   func(context.Context) error // what must be up before requests are answered
	settle  func(context.Context) error // waits a while for what takes its time, before the server says ready
	closers []func() error
}

// engines is every engine of this build; two that read one format stop the start.
func engines(calls remote.Caller, native onnxruntime.Engine, py *python.Engine) (*engine.Set, error) {
	return engine.NewSet(xgboost.Engine{}, lightgbm.Engine{}, onnx.Engine{}, native, linear.Engine{}, cel.Engine{}, remote.Engine{Calls: calls}, py)
}

// wire builds the nouns from the cellar up and hands each what it needs.
func (a *App) wire() error {
	rules, err := outbound.Parse(a.Config.Outbound)
	if err != nil {
		return err
	}
	elsewhere := outbound.New(outbound.Options{Rules: rules, Time: time.Minute, Answer: 64 << 20}) // models that answer large batches
	a.closers = append(a.closers, func() error { elsewhere.Close(); return nil })
	self, err := os.Executable()
	if err != nil {
		return err
	}
	installed := &runtimes.Store{Root: filepath.Join(a.Config.Data, "runtime")}
	envs := &venv.Environments{Root: filepath.Join(a.Config.Data, "work", "environments"), Python: a.Config.Python}
	py, err := a.newPython(self, envs)
	if err != nil {
		return err
	}
	set, err := engines(elsewhere, onnxruntime.Engine{Library: func() (string, error) { return installed.Library("onnxruntime") }, Self: []string{self, onnxruntime.Word},
		Threads: int(a.Config.OnnxThreads), Log: a.Log, Fell: a.engineFell}, py)
	if err != nil {
		return err
	}
	now := time.Now

	a.Data = &dataset.Service{DB: a.DB, Blobs: a.Blobs, Log: a.Log, Now: now, TempDir: filepath.Join(a.Config.Data, "tmp"), Limits: dataset.Limits{Bytes: a.Config.MaxUpload}}
	a.keep()
	a.Tracking = &tracking.Service{DB: a.DB, Blobs: a.Blobs, Keeper: a.Keeper, Log: a.Log, Now: now}
	a.closers = append(a.closers, a.Tracking.Close)
	a.Traces = &trace.Service{DB: a.DB, Tracking: a.Tracking, Log: a.Log, Now: now, Metrics: trace.NewMetrics(a.metrics.Registry)}
	a.Tracking.Purged = append(a.Tracking.Purged, a.Traces.Purge)
	a.UseCases = &usecase.Service{DB: a.DB, Log: a.Log, Now: now}
	a.Inventory = &inventory.Service{DB: a.DB, Blobs: a.Blobs, Keeper: a.Keeper, Engines: set, Runs: a.Tracking, Log: a.Log, Now: now, MaxUpload: a.Config.MaxUpload, EngineSettings: func() string { return a.engineSettings(installed) }}
	a.Incidents = &incident.Service{DB: a.DB, Log: a.Log, Now: now}
	a.Policies = &policy.Service{DB: a.DB, Key: a.release, Log: a.Log, Now: now}
	a.Approvals = &approval.Service{DB: a.DB, Key: a.release, Log: a.Log, Now: now, Policies: a.Policies, Versions: versions{a},
		Alarms: a.Incidents, People: people{a}, History: a.Audit}
	a.Policies.Past = a.Approvals

	a.Pipelines = &pipeline.Service{DB: a.DB, Blobs: a.Blobs, Log: a.Log, Now: now, Data: pipeline.DataSets{Service: a.Data},
		Registry: registry{a}, Tokens: stepTokens{a}, URL: func() string { return a.URL },
		Executor: &pipeline.Process{Root: filepath.Join(a.Config.Data, "work", "tasks"), Self: []string{self, "internal-exec"},
			Guard: a.Config.guarded(), Read: []string{envs.Root}},
		Work: filepath.Join(a.Config.Data, "work"), Envs: envs,
		Defaults: pipeline.Limits{Memory: pipeline.Size(a.Config.StepMemory), Time: pipeline.Duration(a.Config.StepTime)}}

	if a.Config.has(PartServing) || a.Config.has(PartAPI) { // calls are logged where they are answered or handed in
		log, err := prediction.OpenLog(prediction.Options{Dir: filepath.Join(a.Config.Data, "segments"), Node: a.node, Logger: a.Log, Metrics: a.metrics.Registry, Now: now})
		if err != nil {
			return err
		}
		a.predictionLog = log
		a.closers = append(a.closers, log.Close)
	}
	a.Predictions = &prediction.Service{DB: a.DB, Blobs: a.Blobs, Log: a.predictionLog, Logger: a.Log, Now: now, KeepDays: int(a.Config.PredictionKeep / (24 * time.Hour)), HashKey: a.hashKey(), Metrics: a.metrics.Registry}
	a.Predictions.Redaction, a.Predictions.Page = a.redaction, a.page
	a.Predictions.Version = func(ctx context.Context, model string, version int) (engine.Model, error) {
		v, err := a.Inventory.Version(ctx, model, version)
		if err != nil {
			return nil, err
		}
		return a.Inventory.Load(ctx, v)
	}
	a.Predictions.Signature = func(ctx context.Context, model string, version int) (engine.Signature, error) {
		v, err := a.Inventory.Version(ctx, model, version)
		return v.Signature, err
	}
	// Others read what this process writes only once it is filed. On PostgreSQL there may be others at any time, whatever
	// parts this one has: monitors' cursors must not step over what another process has not filed yet.
	if a.DB.Postgres() || len(a.Config.Parts) < 3 {
		a.Predictions.FileAfter, a.Predictions.Settle = 5*time.Second, 15*time.Second
	}
	a.run = append(a.run, a.Predictions.Run)

	a.Deployments = &deployment.Service{DB: a.DB, Key: a.release, Log: a.Log, Now: now, Approvals: a.Approvals, Policies: a.Policies, Incidents: a.Incidents,
		Inventory: a.Inventory, Rows: calls{a}, Callers: calls{a}, History: a.Audit, Materials: materials{a}}
	a.Deployments.Personal = a.personal
	a.Approvals.Endpoints, a.Approvals.Callers = a.Deployments, calls{a}
	a.Policies.History = a.Audit
	a.Incidents.Model = a.Deployments.ModelOf
	a.Inventory.Runtime = runtime{a}
	a.Inventory.Guard = aliases{a}

	a.Evaluations = &evaluation.Service{DB: a.DB, Inventory: a.Inventory, Data: a.Data, Champions: a.Deployments, Log: a.Log, Now: now}
	a.Inventory.Evaluations = a.Evaluations
	a.Inventory.Renamed = append(a.Inventory.Renamed, a.Evaluations.Renamed)
	a.Conversions = &convert.Service{DB: a.DB, Blobs: a.Blobs, Inventory: a.Inventory, Engines: set, Calls: a.Predictions, Log: a.Log, Now: now}
	a.Inventory.Renamed = append(a.Inventory.Renamed, a.Conversions.Renamed)
	a.Studies = &study.Service{DB: a.DB, Inventory: a.Inventory, Predictions: a.Predictions, Load: a.Predictions.Version, Log: a.Log, Now: now}
	a.Studies.Ranges = materials{a}.trained
	if a.Config.Studies == "nightly" {
		a.Studies.Answering = a.Deployments.Answering
	}
	a.closers = append(a.closers, a.Studies.Close)
	a.Inventory.Renamed = append(a.Inventory.Renamed, a.Studies.Renamed)
	a.Pipelines.Evaluate = pipeline.Evaluations{Service: a.Evaluations}

	a.Monitors = &monitor.Service{DB: a.DB, Log: a.Log, Now: now, Data: a.Data, Versions: a.Inventory,
		Calls: &monitor.Predictions{Service: a.Predictions, Versions: a.Inventory}, Rehearsals: a.Evaluations, Tiers: a.Inventory, Blobs: a.Blobs, Modules: &wasm.Host{}, Pause: 5 * time.Second}
	if py.Envs != nil {
		a.Monitors.Scripts = py
	}
	a.Alerts = &alert.Service{DB: a.DB, Log: a.Log, Now: now, Windows: a.Monitors, Incidents: a.Incidents, People: a.answering, Importance: (&importances{a: a}).share,
		Hands: hands{a}, Calls: a.Predictions.Log, Metrics: alert.NewMetrics(a.metrics.Registry)}
	a.Incidents.History, a.Incidents.Data, a.Incidents.Columns = a.Audit, a.madeFrom, a.columnsChanged

	isExperiment := func(ctx context.Context, id string) error { _, err := a.Tracking.Experiment(ctx, id); return err }
	a.Evalsets = &evalset.Service{DB: a.DB, Log: a.Log, Now: now, Experiment: isExperiment}
	a.Scorers = &scorer.Service{DB: a.DB, Now: now, Experiment: isExperiment}
	a.Prompts = &prompt.Service{DB: a.DB, Log: a.Log, Now: now, ModelNamed: a.Inventory.Named}
	a.Inventory.Reserved = append(a.Inventory.Reserved, a.Prompts.Free)

	calls := outbound.New(outbound.Options{Rules: rules})
	a.closers = append(a.closers, func() error { calls.Close(); return nil })
	a.Webhooks = &webhook.Service{DB: a.DB, Key: a.secrets, Calls: calls, Formats: []webhook.Format{webhook.CloudEvents{}, mlflowapi.WebhookFormat{}}, Log: a.Log, Now: now,
		Metrics: webhook.NewMetrics(a.metrics.Registry)}
	a.Feedback = &feedback.Service{DB: a.DB, Predictions: a.Predictions, Tables: a.Data, Log: a.Log, Now: now}
	a.Predictions.Erasing = append(a.Predictions.Erasing, a.Feedback.Forget)
	a.Notices = &notify.Service{DB: a.DB, Key: a.secrets, Calls: calls, Log: a.Log, Now: now, URL: func() string { return a.page("") }, Tier: a.tier, Metrics: notify.NewMetrics(a.metrics.Registry)}

	for _, n := range []interface{ Routes(*restAPI) }{a.Data, a.Tracking, a.Traces, a.UseCases, a.Inventory, a.Policies, a.Approvals, a.Incidents, a.Pipelines,
		a.Deployments, a.Predictions, a.Monitors, a.Alerts, a.Evaluations, a.Conversions, a.Studies, a.Webhooks, a.Notices, a.Feedback, a.Prompts,
		&mlflowapi.API{Tracking: a.Tracking, Inventory: a.Inventory, Traces: a.Traces, Webhooks: a.Webhooks, Prompts: a.Prompts, Evalsets: a.Evalsets, Scorers: a.Scorers, Keeper: a.Keeper, LinkKey: a.linkKey(), Log: a.Log}} {
		n.Routes(a.API)
	}
	for _, n := range []interface{ Jobs(*jobRunner) }{a.Tracking, a.Inventory, a.Approvals, a.Pipelines, a.Deployments, a.Predictions, a.Monitors, a.Evaluations, a.Conversions, a.Studies, a.Webhooks, a.Alerts, a.Notices} {
		n.Jobs(a.Jobs)
	}
	a.engineRoutes(set, py)
	a.throwAway()
	a.react()
	host, _ := os.Hostname() // a process without a name is told apart by its identifier
	a.recorder = &journal.Recorder{DB: a.DB, Log: a.Log, Now: now, Node: a.node, Name: cmp.Or(host, a.node), Lines: a.lines}
	(&journal.Service{DB: a.DB, Now: now}).Routes(a.API)
	installed.Routes(a.API)
	a.run = append(a.run, a.newRuntimes(installed))
	if a.Config.has(PartWorker) {
		a.run = append(a.run, a.tryAgain)
	}
	if a.Config.has(PartServing) {
		a.serve(set)
	}
	a.run = append(a.run, a.recorder.Run)
	return nil
}

// serve adds the part that loads releases and answers calls.
func (a *App) serve(set *engine.Set) {
	a.Serving = &serving.Service{Releases: releases{a}, Key: a.release.Public(), Blobs: a.Blobs, Engines: set, Log: a.predictionLog, Incidents: incidents{a},
		Logger: a.Log, Now: time.Now, Metrics: serving.NewMetrics(a.metrics.Registry), StateFile: filepath.Join(a.Config.Data, "serving.json"),
		Background: a.Predictions.Background, HashKey: a.hashKey(), Page: a.page}
	a.recorder.Readings, a.recorder.Standings = a.Serving.Metrics.Readings, a.Serving.Standings
	// look puts new releases into force, and waits a while for versions that take their time to load.
	look := func(ctx context.Context, most time.Duration) error {
		if err := a.Serving.Refresh(ctx); err != nil {
			return err
		}
		wait, cancel := context.WithTimeout(ctx, most)
		defer cancel()
		if err := a.Serving.Settled(wait); err != nil {
			return ctx.Err() // the others go on; it is put into force when it is loaded
		}
		return a.Serving.Refresh(ctx)
	}
	a.Deployments.Applied = func(ctx context.Context) {
		if err := look(caller.System(ctx, "deployment"), 20*time.Second); err != nil && ctx.Err() == nil {
			a.Log.WarnContext(ctx, "a new release is loaded a moment later", "error", err)
		}
	}
	a.Serving.Routes(a.API)
	(&oip.Handler{Models: a.Serving, Log: a.Log, Version: Version, MaxBytes: a.Config.MaxInfer}).Routes(a.API)
	a.start = func(ctx context.Context) error {
		a.Serving.Hold(true)
		// Releases may have expired while the machine was off.
		if err := a.Deployments.Refresh(caller.System(ctx, "start")); err != nil {
			a.Log.ErrorContext(ctx, "releases could not be renewed", "error", err)
		}
		return a.Serving.Refresh(caller.System(ctx, "start"))
	}
	a.settle = func(ctx context.Context) error { // what is in force is loaded before the server says ready
		defer a.Serving.Hold(false)
		return look(caller.System(ctx, "start"), a.Config.ReadyWait)
	}
	a.run = append(a.run, a.Serving.Run, func(ctx context.Context) error {
		for e := range a.Events.Watch(ctx) { // every serving process hears of releases, not only the one that reacts
			if e.Type == deployment.Released {
				if err := a.Serving.Released(ctx, e); err != nil {
					return err
				}
			}
		}
		return nil
	})
}
