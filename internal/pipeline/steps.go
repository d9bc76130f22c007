package pipeline

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"keelson/internal/db"
	"keelson/internal/problem"
	"keelson/internal/tracking"
)

// work does what the step is for. An error that is a problem fails the step; another one stops the driver.
func (a *attempt) work(ctx context.Context, resumed bool) (done, error) {
	allowed := time.Duration(a.limits().Time)
	limit, cancel := context.WithTimeout(ctx, allowed)
	defer cancel()
	var out done
	var err error
	switch a.step.Kind {
	case Check:
		out, err = a.check(limit)
	case Command:
		return a.command(ctx, resumed) // its watcher knows the time limit
	case Register:
		out, err = a.register(limit)
	case Evaluate:
		out, err = a.evaluate(limit)
	default:
		return done{}, fmt.Errorf("step %s has unknown kind %q", a.step.Name, a.step.Kind)
	}
	if err != nil && ctx.Err() == nil && limit.Err() != nil {
		return done{reason: fmt.Sprintf("It took longer than its time limit of %s.", allowed)}, nil
	}
	return out, err
}

func (a *attempt) limits() Limits { return a.def.Limits.over(a.Defaults).withDefaults() }

// note writes a line to the step's log; for steps without a child process.
func (a *attempt) note(format string, args ...any) error {
	f, err := a.logFile()
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(f, format+"\n", args...)
	return errors.Join(err, f.Close())
}

// logFile opens the log where the executor looks for it, so that every kind of step is read the same way.
func (a *attempt) logFile() (*os.File, error) {
	name := filepath.Join(a.logFolder(), logName)
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		return nil, err
	}
	return os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
}

// check runs the project's data rules on the versions of this run.
func (a *attempt) check(ctx context.Context) (done, error) {
	sets := a.def.Data
	if len(sets) == 0 {
		for _, d := range a.run.Data {
			sets = append(sets, d.Dataset)
		}
	}
	var broken []string
	for _, name := range sets {
		ref := a.data(name)
		found, err := a.Data.Check(ctx, name, ref.Version, a.driver.def.Data[name].Rules)
		if err != nil {
			return done{}, err
		}
		if err := a.note("%s/%d %s: %d rules, %d broken", name, ref.Version, ref.Digest, len(a.driver.def.Data[name].Rules), len(found)); err != nil {
			return done{}, err
		}
		for _, f := range found {
			text := fmt.Sprintf("%s/%d breaks rule %s: %s", name, ref.Version, f.Rule, f.Detail)
			broken = append(broken, text)
			if err := a.note("  %s (rows %v)", text, f.Rows); err != nil {
				return done{}, err
			}
		}
	}
	return done{reason: strings.Join(broken, " "), outputs: map[string]any{"data_sets": len(sets), "broken_rules": len(broken)}}, nil
}

func (a *attempt) data(name string) DataRef {
	i := slices.IndexFunc(a.run.Data, func(d DataRef) bool { return d.Dataset == name })
	if i < 0 {
		return DataRef{Dataset: name}
	}
	return a.run.Data[i]
}

// register waits until every version registered by this run's successful attempts is ready.
func (a *attempt) register(ctx context.Context) (done, error) {
	r, err := a.reload(ctx)
	if err != nil {
		return done{}, err
	}
	var attempts []string
	for _, st := range r.Steps {
		if st.Kind == Command && st.State == Succeeded {
			attempts = append(attempts, taskID(r.ID, st))
		}
	}
	said := map[string]string{}
	for {
		found, err := a.Registry.Registered(ctx, r.ID, attempts)
		if err != nil {
			return done{}, err
		}
		if len(found) == 0 {
			return done{reason: "No step of this run registered a model version."}, nil
		}
		out, waiting := done{outputs: map[string]any{}}, false
		for _, v := range newest(found) {
			name := fmt.Sprintf("%s/%d", v.Model, v.Version)
			if said[name] != v.State {
				said[name] = v.State
				if err := a.note("%s is %s %s", name, v.State, v.Reason); err != nil {
					return done{}, err
				}
			}
			switch v.State {
			case "ready":
				out.versions = append(out.versions, v.ModelRef)
				out.outputs[name] = v.ContentDigest
			case "pending":
				waiting = true
			default:
				return done{reason: fmt.Sprintf("%s is %s: %s", name, v.State, v.Reason)}, nil
			}
		}
		if !waiting {
			return out, nil
		}
		select {
		case <-ctx.Done():
			return done{}, ctx.Err()
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// newest leaves one version of those that one training run registered from the same files. The mlflow client sends a
// registration again when its answer is lost, for example because the server was killed; the last one is the one it was
// told of.
func newest(found []Registered) (out []Registered) {
	for _, v := range found {
		i := slices.IndexFunc(out, func(o Registered) bool {
			return o.Model == v.Model && o.Run == v.Run && o.ArtifactDigest == v.ArtifactDigest && v.ArtifactDigest != ""
		})
		switch {
		case i < 0:
			out = append(out, v)
		case v.Version > out[i].Version:
			out[i] = v
		}
	}
	return out
}

// evaluate runs the declared suite on every version of this run and fails with the names of the tests that failed.
func (a *attempt) evaluate(ctx context.Context) (done, error) {
	r, err := a.reload(ctx)
	if err != nil {
		return done{}, err
	}
	if len(r.Versions) == 0 {
		return done{reason: "There is no version to evaluate; put a register step before this one."}, nil
	}
	suite := a.driver.def.Evaluate[a.def.Suite]
	suite.Name = a.def.Suite
	out := done{outputs: map[string]any{}}
	var failed []string
	for _, v := range r.Versions {
		name := fmt.Sprintf("%s/%d", v.Model, v.Version)
		id, err := a.Evaluate.Start(ctx, v.Model, v.Version, suite, a.data(suite.Data))
		if err != nil {
			return done{}, err
		}
		if err := a.note("%s: suite %s runs as evaluation %s", name, suite.Name, id); err != nil {
			return done{}, err
		}
		verdict, err := a.verdict(ctx, id)
		if err != nil {
			return done{}, err
		}
		out.outputs[name] = map[string]any{"evaluation": id, "passed": verdict.Passed, "metrics": verdict.Metrics}
		for _, f := range verdict.Failed {
			failed = append(failed, name+": "+f)
		}
		if err := a.note("%s: passed %v %v", name, verdict.Passed, verdict.Failed); err != nil {
			return done{}, err
		}
		if !verdict.Passed && len(verdict.Failed) == 0 {
			failed = append(failed, name+": the suite did not pass")
		}
	}
	if len(failed) > 0 {
		out.reason = "Tests failed. " + strings.Join(failed, "; ")
	}
	return out, nil
}

func (a *attempt) verdict(ctx context.Context, id string) (Verdict, error) {
	for {
		v, err := a.Evaluate.Evaluation(ctx, id)
		if err != nil || !v.Running {
			return v, err
		}
		select {
		case <-ctx.Done():
			return v, ctx.Err()
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// command runs the child process of the step.
func (a *attempt) command(ctx context.Context, resumed bool) (done, error) {
	select { // as many at a time as there are processors
	case a.slots <- struct{}{}:
		defer func() { <-a.slots }()
	case <-ctx.Done():
		return done{}, ctx.Err()
	}
	if !resumed {
		task, err := a.prepare(ctx)
		if err != nil {
			return done{}, err
		}
		if err := a.Executor.Submit(ctx, task); err != nil {
			return done{}, err
		}
	}
	res, err := a.Executor.Observe(ctx, a.id)
	if err != nil {
		return done{}, err
	}
	if res.Lost {
		// Somebody killed the watcher, for example the machine out of memory.
		return done{code: &res.ExitCode, reason: res.Reason, cpu: res.CPU}, nil
	}
	out := done{code: &res.ExitCode, reason: res.Reason, cpu: res.CPU,
		outputs: map[string]any{"compute_seconds": res.CPU.Seconds(), "max_memory": res.MaxRSS}}
	if res.Reason == "" && res.ExitCode != 0 {
		out.reason = fmt.Sprintf("It ended with code %d.", res.ExitCode)
	}
	if out.reason == "" {
		if err := a.importOutputs(ctx, &out); err != nil {
			return done{}, err
		}
	}
	return out, nil
}

// work folder of the attempt: source, data files, outputs. The executor's own folder is another one.
func (a *attempt) folder() string {
	return filepath.Join(a.Work, "runs", filepath.FromSlash(a.id))
}

func (a *attempt) logFolder() string {
	if p, ok := a.Executor.(interface{ Folder(string) string }); ok {
		return p.Folder(a.id)
	}
	return a.folder()
}

func (a *attempt) removeWork() error { return os.RemoveAll(a.folder()) }

var notEnv = regexp.MustCompile(`[^A-Z0-9]`)

// envName makes KEELSON_DATA_SCREENING_PATIENTS of "KEELSON_DATA_" and screening-patients.
func envName(prefix, name string) string {
	return prefix + notEnv.ReplaceAllString(strings.ToUpper(name), "_")
}

// issue makes the child's token and writes its number down before anybody uses it, so that whoever comes after us can
// take it back.
func (a *attempt) issue(ctx context.Context, ttl time.Duration) (string, error) {
	id, token, err := a.Tokens.Issue(ctx, a.p.Name, "pipeline-run/"+a.id, ttl)
	if err != nil {
		return "", err
	}
	a.step.token = id
	return token, a.change(ctx, func(tx db.Scope, r *Run) error { return a.store.putStep(tx, r.ID, a.step) })
}

// revoke takes the child's token back.
func (a *attempt) revoke(ctx context.Context) error {
	if a.step.token == "" {
		return nil
	}
	return a.Tokens.Revoke(ctx, a.step.token)
}

// prepare fills the work folder and says how the child is started.
func (a *attempt) prepare(ctx context.Context) (t Task, err error) {
	dir, err := filepath.Abs(a.folder())
	if err != nil {
		return t, err
	}
	src, data, out, tmp := filepath.Join(dir, "source"), filepath.Join(dir, "data"), filepath.Join(dir, "output"), filepath.Join(dir, "tmp")
	if err := os.RemoveAll(dir); err != nil {
		return t, err
	}
	for _, d := range []string{src, data, out, tmp} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return t, fmt.Errorf("make work folder: %w", err)
		}
	}
	if err := a.unpackSource(ctx, src); err != nil {
		return t, err
	}
	var lock []byte
	if name := a.driver.def.Environment.Requirements; name != "" {
		if lock, err = a.requirements(ctx, a.p, name); err != nil {
			return t, err
		}
	}
	log, err := a.logFile()
	if err != nil {
		return t, err
	}
	bin, err := a.Envs.Ensure(ctx, lock, log)
	if err = errors.Join(err, log.Close()); err != nil {
		return t, err
	}
	// Two steps that start together would both try to make it.
	if err := a.Registry.EnsureExperiment(ctx, a.p.Name); err != nil {
		return t, fmt.Errorf("make experiment %s: %w", a.p.Name, err)
	}
	limits := a.limits()
	token, err := a.issue(ctx, time.Duration(limits.Time)+time.Minute)
	if err != nil {
		return t, fmt.Errorf("issue token: %w", err)
	}
	env, err := a.environment(token, bin, out, tmp, dir)
	if err != nil {
		return t, err
	}
	files, err := a.checkout(ctx, data)
	if err != nil {
		return t, err
	}
	return Task{ID: a.id, Dir: src, Output: out, Home: dir, Args: a.def.Run, Env: append(env, files...), Limits: limits}, nil
}

func (a *attempt) unpackSource(ctx context.Context, dir string) error {
	f, _, err := a.Blobs.Open(ctx, a.p.archive)
	if err != nil {
		return fmt.Errorf("open source: %w", err)
	}
	defer f.Close()
	return unpack(f, dir)
}

// environment is all that the child sees of ours; nothing of the server's own environment is passed on.
func (a *attempt) environment(token, bin, out, tmp, home string) ([]string, error) {
	params, err := json.Marshal(a.run.Params)
	if err != nil {
		return nil, err
	}
	data, err := json.Marshal(a.reads())
	if err != nil {
		return nil, err
	}
	tags := map[string]string{tracking.TagPipelineRun: a.driver.id, TagStep: a.step.Name, TagAttempt: a.id, tracking.TagEnvironment: a.run.Environment,
		tracking.TagData: string(data), "mlflow.user": a.run.By, "mlflow.source.name": fmt.Sprintf("%s/%d:%s", a.p.Name, a.p.Version, a.step.Name), "mlflow.source.type": "PROJECT"}
	if from := a.run.Source; from.Commit != "" {
		tags[tracking.TagCommit], tags[tracking.TagRepository], tags[tracking.TagDirty] = from.Commit, from.Repository, fmt.Sprint(from.Dirty)
		tags["mlflow.source.git.commit"] = from.Commit
	}
	runContext, err := json.Marshal(tags)
	if err != nil {
		return nil, err
	}
	url := a.URL()
	env := []string{
		"PATH=" + bin + ":/usr/local/bin:/usr/bin:/bin", "HOME=" + home, "TMPDIR=" + tmp, "LANG=C.UTF-8", "PYTHONUNBUFFERED=1", "PYTHONDONTWRITEBYTECODE=1",
		"KEELSON_URL=" + url, "KEELSON_TOKEN=" + token, "KEELSON_RUN=" + a.driver.id, "KEELSON_STEP=" + a.step.Name, "KEELSON_OUTPUT=" + out,
		fmt.Sprintf("KEELSON_SEED=%d", a.run.Seed), fmt.Sprintf("PYTHONHASHSEED=%d", uint32(a.run.Seed)), "KEELSON_PARAMS=" + string(params),
		"MLFLOW_TRACKING_URI=" + url, "MLFLOW_TRACKING_TOKEN=" + token, "MLFLOW_EXPERIMENT_NAME=" + a.p.Name, "MLFLOW_RUN_CONTEXT=" + string(runContext),
		"MLFLOW_DISABLE_TELEMETRY=true", "GIT_PYTHON_REFRESH=quiet",
	}
	for k, v := range a.run.Params {
		env = append(env, envName("KEELSON_PARAM_", k)+"="+fmt.Sprint(v))
	}
	return env, nil
}

// reads lists the data versions that the step works on.
func (a *attempt) reads() []DataRef {
	refs := []DataRef{}
	for _, ref := range a.run.Data {
		if len(a.def.Data) == 0 || slices.Contains(a.def.Data, ref.Dataset) {
			refs = append(refs, ref)
		}
	}
	return refs
}

// checkout writes the run's data files and gives the variables that name them.
func (a *attempt) checkout(ctx context.Context, dir string) (env []string, err error) {
	for _, ref := range a.reads() {
		name := filepath.Join(dir, ref.Dataset+"."+ref.Format)
		if err := a.checkoutOne(ctx, ref, name); err != nil {
			return nil, fmt.Errorf("check out %s/%d: %w", ref.Dataset, ref.Version, err)
		}
		key := envName("KEELSON_DATA_", ref.Dataset)
		env = append(env, key+"="+name, fmt.Sprintf("%s_VERSION=%d", key, ref.Version), key+"_DIGEST="+ref.Digest,
			fmt.Sprintf("%s_URL=%s/api/v1/datasets/%s/versions/%d/content", key, a.URL(), ref.Dataset, ref.Version))
	}
	return env, nil
}

func (a *attempt) checkoutOne(ctx context.Context, ref DataRef, name string) error {
	body, err := a.Data.Content(ctx, ref.Dataset, ref.Version)
	if err != nil {
		return err
	}
	defer body.Close()
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, body)
	return errors.Join(err, f.Close())
}

// importOutputs makes data versions of what the step promised to write.
func (a *attempt) importOutputs(ctx context.Context, out *done) error {
	if len(a.def.Outputs) == 0 {
		return nil
	}
	root, err := os.OpenRoot(filepath.Join(a.folder(), "output"))
	if err != nil {
		return err
	}
	defer root.Close()
	var sets []string
	for name := range a.def.Outputs {
		sets = append(sets, name)
	}
	slices.Sort(sets)
	for _, name := range sets {
		file := a.def.Outputs[name]
		f, err := root.Open(filepath.FromSlash(file))
		if errors.Is(err, fs.ErrNotExist) {
			return problem.New(problem.Invalid, "It did not write %s, which outputs promises as data set %s.", file, name)
		}
		if err != nil {
			return problem.New(problem.Invalid, "Output %s cannot be read; write a regular file inside the folder of the step.", file).Because(err)
		}
		format := "csv"
		if strings.HasSuffix(file, ".parquet") {
			format = "parquet"
		}
		ref, err := a.Data.Import(ctx, Import{Dataset: name, Format: format, Note: "made by " + a.id, Run: a.driver.id, Parents: a.reads(), Body: f})
		if err = errors.Join(err, f.Close()); err != nil {
			return err
		}
		out.outputs[name] = ref
	}
	return nil
}

// keepLog puts the log of the ended attempt among the blobs.
func (a *attempt) keepLog(ctx context.Context) (digest string, size int64, err error) {
	f, err := os.Open(filepath.Join(a.logFolder(), logName))
	if errors.Is(err, fs.ErrNotExist) {
		return "", 0, nil
	}
	if err != nil {
		return "", 0, err
	}
	defer f.Close()
	return a.Blobs.Put(ctx, f)
}
