package app

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	"keelson/internal/alert"
	"keelson/internal/caller"
	"keelson/internal/engine"
	"keelson/internal/engine/python"
	"keelson/internal/rest"
	runtimes "keelson/internal/runtime"
	"keelson/internal/venv"
)

// newPython gives the engine of models in Python; where they are switched off it only recognises them.
func (a *App) newPython(self string, envs *venv.Environments) (*python.Engine, error) {
	c := a.Config
	e := &python.Engine{Log: a.Log}
	python.NewMetrics(a.metrics.Registry, e)
	if c.PythonModels == "off" {
		return e, nil
	}
	e.Self, e.Root, e.Envs = []string{self, "internal-python"}, filepath.Join(c.Data, "work", "python"), envs
	e.Children, e.Standby, e.Isolation, e.Fell = int(c.PythonChildren), int(c.PythonStandby), c.PythonIsolation, a.engineFell
	e.Limits = python.Limits{Memory: c.PythonMemory, Call: c.PythonCallTime, CPU: c.PythonCPUTime, Load: c.PythonLoadTime}
	a.closers = append(a.closers, e.Close)
	a.run = append(a.run, func(ctx context.Context) error {
		if iso, err := e.Isolated(); err != nil {
			a.Log.WarnContext(ctx, "models in Python cannot run", "why", err)
		} else {
			a.Log.InfoContext(ctx, "models in Python run isolated", "level", iso.Level, "by", iso.String())
		}
		return nil
	})
	return e, e.Open()
}

// engineSettings is what of the configuration and of the installed libraries decides whether a version can run.
func (a *App) engineSettings(installed *runtimes.Store) string {
	c := a.Config
	return strings.Join([]string{c.PythonModels, c.Python, c.PythonIsolation, fmt.Sprint(c.PythonMemory, c.PythonLoadTime), installed.Fingerprint()}, " ")
}

// tryAgain has versions tested again that no engine could run, where the engines are others than those that tried.
func (a *App) tryAgain(ctx context.Context) error {
	ctx = caller.System(ctx, "start")
	all, err := a.Identity.Workspaces(ctx)
	for _, w := range all {
		err = errors.Join(err, a.Inventory.Retry(caller.WithWorkspace(ctx, w.Name)))
	}
	if err != nil && ctx.Err() == nil {
		a.Log.ErrorContext(ctx, "versions that no engine could run were not tried again", "error", err)
	}
	return nil
}

// engineFell tells the alerts of every endpoint at which a version answers that its process ended. One that answers nowhere
// (it is tested, or judged) is told of once it rests.
func (a *App) engineFell(ctx context.Context, f engine.Fall) {
	ctx = caller.System(context.WithoutCancel(ctx), "serving")
	model, number, _ := strings.Cut(f.Ref, "/")
	version, _ := strconv.Atoi(number) // 0 where nobody named it
	fall := alert.Fall{Model: model, Version: version, Rests: f.Rests, Words: f.Words, Why: fmt.Sprintf("Version %d lost its process: %s.", version, f.Why)}
	if f.Rests {
		fall.Why += " It rests for a while, since that was once too often."
	}
	running, err := a.Deployments.Running(ctx)
	told := map[string]bool{}
	for _, r := range running {
		if r.Model == model && r.Version == version && !told[r.Endpoint] {
			told[r.Endpoint], fall.Endpoint = true, r.Endpoint
			err = errors.Join(err, a.Alerts.Fell(ctx, fall))
		}
	}
	if len(told) == 0 && f.Rests && model != "" {
		err = errors.Join(err, a.Alerts.Fell(ctx, fall))
	}
	if err != nil {
		a.Log.ErrorContext(ctx, "the end of a model's process could not be told", "version", f.Ref, "error", err)
	}
}

// Engines is what this process can run, and how.
type Engines struct {
	Formats []string    `json:"formats" doc:"what models may be stored in"`
	Python  PythonState `json:"python"`
}

// PythonState tells of models in Python.
type PythonState struct {
	On        bool              `json:"on"`
	Works     bool              `json:"works"`
	Why       string            `json:"why,omitempty" doc:"why they do not"`
	Isolation *python.Isolation `json:"isolation,omitempty"`
	Text      string            `json:"text,omitempty" doc:"the isolation in words"`
	Demanded  string            `json:"demanded,omitempty" doc:"the least isolation that the configuration takes"`
	Versions  []python.State    `json:"versions" doc:"what is loaded in this process"`
}

func (a *App) engineRoutes(set *engine.Set, e *python.Engine) {
	rest.Get(a.API, "/api/v1/engines", "version.read", "What this server can run, and what holds models in Python", func(context.Context, *struct{}) (Engines, error) {
		out := Engines{Formats: set.Formats(), Python: PythonState{On: a.Config.PythonModels != "off", Demanded: a.Config.PythonIsolation, Versions: e.State()}}
		if !out.Python.On {
			return out, nil
		}
		iso, err := e.Isolated()
		out.Python.Isolation, out.Python.Text, out.Python.Works = &iso, iso.String(), err == nil
		if err != nil {
			out.Python.Why = err.Error()
		}
		return out, nil
	})
}
