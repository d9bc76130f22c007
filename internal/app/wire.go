package app

import (
	"context"
	"os"
	"path/filepath"
	"time"

	"keelson/internal/approval"
	"keelson/internal/dataset"
	"keelson/internal/engine"
	"keelson/internal/engine/cel"
	"keelson/internal/engine/xgboost"
	"keelson/internal/incident"
	"keelson/internal/inventory"
	"keelson/internal/pipeline"
	"keelson/internal/policy"
	"keelson/internal/tracking"
	"keelson/internal/usecase"
)

// nouns are the services of the domain, built by wire.
type nouns struct {
	Data      *dataset.Service
	Tracking  *tracking.Service
	UseCases  *usecase.Service
	Inventory *inventory.Service
	Policies  *policy.Service
	Approvals *approval.Service
	Incidents *incident.Service
	Pipelines *pipeline.Service

	start   func(context.Context) error // what must be up before the server says ready
	closers []func() error
}

// engines is every engine of this build; two that read one format stop the start.
func engines() (*engine.Set, error) {
	return engine.NewSet(xgboost.Engine{}, cel.Engine{})
}

// wire builds the nouns from the cellar up and hands each what it needs.
func (a *App) wire(ctx context.Context) error {
	set, err := engines()
	if err != nil {
		return err
	}
	now := time.Now

	a.Data = &dataset.Service{DB: a.DB, Blobs: a.Blobs, Log: a.Log, Now: now, TempDir: filepath.Join(a.Config.Data, "tmp"), Limits: dataset.Limits{Bytes: a.Config.MaxUpload}}
	a.Tracking = &tracking.Service{DB: a.DB, Blobs: a.Blobs, Log: a.Log, Now: now}
	a.UseCases = &usecase.Service{DB: a.DB, Log: a.Log, Now: now}
	a.Inventory = &inventory.Service{DB: a.DB, Blobs: a.Blobs, Engines: set, Runs: a.Tracking, Log: a.Log, Now: now, MaxUpload: a.Config.MaxUpload}
	a.Incidents = &incident.Service{DB: a.DB, Log: a.Log, Now: now}
	a.Policies = &policy.Service{DB: a.DB, Key: a.release, Log: a.Log, Now: now}
	a.Approvals = &approval.Service{DB: a.DB, Key: a.release, Log: a.Log, Now: now, Policies: a.Policies, Versions: versions{a},
		Alarms: a.Incidents, People: people{a}, History: a.Audit}
	a.Policies.Past = a.Approvals

	self, err := os.Executable()
	if err != nil {
		return err
	}
	a.Pipelines = &pipeline.Service{DB: a.DB, Blobs: a.Blobs, Log: a.Log, Now: now, Data: pipeline.DataSets{Service: a.Data},
		Registry: registry{a}, Tokens: stepTokens{a}, URL: func() string { return a.URL },
		Executor: &pipeline.Process{Root: filepath.Join(a.Config.Data, "work", "tasks"), Self: []string{self, "internal-exec"}},
		Work:     filepath.Join(a.Config.Data, "work"), Python: a.Config.Python,
		Defaults: pipeline.Limits{Memory: pipeline.Size(a.Config.StepMemory), Time: pipeline.Duration(a.Config.StepTime)}}

	for _, n := range []interface{ Routes(*restAPI) }{a.Data, a.Tracking, a.UseCases, a.Inventory, a.Policies, a.Approvals, a.Incidents, a.Pipelines} {
		n.Routes(a.API)
	}
	for _, n := range []interface{ Jobs(*jobRunner) }{a.Tracking, a.Inventory, a.Approvals, a.Pipelines} {
		n.Jobs(a.Jobs)
	}
	a.react()
	return nil
}
