package story

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"keelson/client"
)

func (s *Story) file(name string) string { return filepath.Join(s.Folder, "screening", name) }

// data: files become versions, a file that breaks a rule does not.
func (s *Story) data(ctx context.Context) error {
	if _, err := s.python(ctx, "eddie", "make_data.py", "data"); err != nil {
		return err
	}
	var v client.DataVersion
	if err := s.do(ctx, &v, "eddie", "data", "add", "screening-patients", "data/older.csv", "--note", "the first 300 patients", "--json"); err != nil {
		return err
	}
	text, err := os.ReadFile(s.file("data/older.csv"))
	if err != nil {
		return err
	}
	sum := sha256.Sum256(text)
	var set client.Dataset
	if err := all(
		want(v.Version == 1 && v.Rows == 300 && v.Format == "csv" && len(v.Schema) == 33, "version 1 has 300 rows, 33 columns and is CSV, not %d, %d, %d, %s", v.Version, v.Rows, len(v.Schema), v.Format),
		want(v.Digest == "sha256:"+hex.EncodeToString(sum[:]), "the digest is that of the file, not %s", v.Digest),
		want(strings.Contains(string(v.Profile), `"mean_radius"`), "the profile tells of mean_radius"),
		s.as("eddie").Get(ctx, "/api/v1/datasets/screening-patients", &set),
	); err != nil {
		return err
	}
	if err := want(set.Owner == "eddie" && len(set.Rules) >= 9 && set.Target == "malignant", "eddie owns the data set and the project's rules hold, not %s, %d rules", set.Owner, len(set.Rules)); err != nil {
		return err
	}
	s.fact("version 1: 300 patients, 33 columns profiled, addressed by %s…", v.Digest[:19])
	if err := s.refused(ctx, 5, []string{"mean_radius", "rows 7", "malignant", "rows 42", "not stored"}, "eddie", "data", "add", "screening-patients", "data/broken.csv"); err != nil {
		return err
	}
	versions, err := client.All[client.DataVersion](ctx, s.as("eddie"), "/api/v1/datasets/screening-patients/versions", nil, 0)
	if err != nil {
		return err
	}
	if err := want(len(versions) == 1, "the broken file was not stored, but there are %d versions", len(versions)); err != nil {
		return err
	}
	s.fact("a file with a negative radius in row 7 and a diagnosis of 7 in row 42 is refused; nothing of it is stored")
	return s.do(ctx, nil, "eddie", "data", "add", "screening-holdout", "data/holdout.csv", "--json")
}

// train: the pipeline runs twice on the same inputs.
func (s *Story) train(ctx context.Context) error {
	first, err := s.pipelineRun(ctx)
	if err != nil {
		return err
	}
	byName := map[string]client.PipelineStep{}
	for _, st := range first.Steps {
		byName[st.Name] = st
	}
	train, base := byName["train"], byName["train_baseline"]
	if err := all(
		want(first.State == "succeeded", "the run succeeded, not %s: %s", first.State, first.Error),
		want(train.StartedAt != nil && base.StartedAt != nil && train.StartedAt.Before(*base.EndedAt) && base.StartedAt.Before(*train.EndedAt), "the two training steps ran at the same time"),
		want(len(first.Versions) == 1, "the run registered one version, not %d", len(first.Versions)),
		want(len(first.Data) == 2 && slices.ContainsFunc(first.Data, func(d client.DataRef) bool {
			return d.Dataset == "screening-patients" && d.Version == 1 && strings.HasPrefix(d.Digest, "sha256:")
		}), "the run records its data versions: %v", first.Data),
		want(first.Environment != "" && first.Seed == 20240607 && first.Params["max_depth"] != nil && first.By == "dana", "the run records environment, seed, parameters and who: %v %v %v %v", first.Environment, first.Seed, first.Params, first.By),
	); err != nil {
		return err
	}
	s.fact("check → train beside train_baseline → register → evaluate, run %s", first.ID)
	log, err := s.as("dana").StepLog(ctx, first.ID, "train", 0)
	if err != nil {
		return err
	}
	var run struct {
		Params      map[string]string  `json:"params"`
		Metrics     map[string]float64 `json:"metrics"`
		PipelineRun string             `json:"pipeline_run"`
		Artifacts   []client.File      `json:"artifacts"`
		Inputs      []struct {
			Dataset string
			Version any
		} `json:"inputs"`
	}
	if err := s.as("dana").Get(ctx, "/api/v1/runs/"+first.Versions[0].Run, &run); err != nil {
		return err
	}
	if err := all(
		want(log.Done && strings.Contains(log.Text, "300 patients, 112 malignant") && strings.Contains(log.Text, "registered screening/"), "the log of train is kept: %q", log.Text),
		want(run.Metrics["auc"] > 0.9 && run.Params["max_depth"] == "3" && run.PipelineRun == first.ID, "the mlflow run has metrics, parameters and the pipeline run: %+v", run),
		want(slices.ContainsFunc(run.Artifacts, func(f client.File) bool { return f.Path == "importance.json" }), "the mlflow run has the artifact importance.json: %v", run.Artifacts),
		want(len(run.Inputs) > 0 && run.Inputs[0].Dataset == "screening-patients", "the mlflow run names its data: %v", run.Inputs),
	); err != nil {
		return err
	}
	s.fact("the mlflow run has its parameters, metrics, artifacts and data; test auc %.4f", run.Metrics["auc"])
	again, err := s.pipelineRun(ctx)
	if err != nil {
		return err
	}
	if err := all(
		want(again.State == "succeeded" && len(again.Versions) == 1, "the second run succeeded, not %s: %s", again.State, again.Error),
		want(again.ContentDigest == first.ContentDigest && first.ContentDigest != "", "the same inputs give the same content: %s and %s", first.ContentDigest, again.ContentDigest),
		want(again.ID != first.ID, "it is another run"),
	); err != nil {
		return err
	}
	s.fact("run again on the same inputs: the same content, %s…", first.ContentDigest[:19])
	s.made.first, s.made.again, s.made.firstRun = first.Versions[0].Version, again.Versions[0].Version, first.ID
	return nil
}

// pipelineRun starts the pipeline and waits for its end.
func (s *Story) pipelineRun(ctx context.Context) (r client.PipelineRun, err error) {
	if err := s.do(ctx, &r, "dana", "pipeline", "run", "--quiet", "--json"); err != nil {
		return r, err
	}
	states := map[string]string{}
	return until(ctx, 5*time.Minute, "the end of the run", func(ctx context.Context) (client.PipelineRun, bool, error) {
		now, err := s.as("dana").PipelineRun(ctx, r.ID)
		for _, st := range now.Steps {
			if states[st.Name] != st.State && st.State != "waiting" && st.State != "running" {
				s.print("      %-15s %s\n", st.Name, st.State)
			}
			states[st.Name] = st.State
		}
		return now, now.Ended(), err
	})
}

// register: what a version is, and the rule model beside it.
func (s *Story) register(ctx context.Context) error {
	var v client.Version
	if err := s.do(ctx, &v, "dana", "version", "get", fmt.Sprintf("screening/%d", s.made.first), "--json"); err != nil {
		return err
	}
	again, err := s.as("dana").Version(ctx, "screening", s.made.again)
	if err != nil {
		return err
	}
	if err := all(
		want(v.State == "ready", "the version is ready, not %s: %s", v.State, v.Reason),
		want(v.Golden.Rows == 24 && v.Golden.MaxError != nil && *v.Golden.MaxError <= 1e-6, "24 golden rows come out within 1e-6: %+v", v.Golden),
		want(v.ArtifactDigest != "" && v.ContentDigest != "" && v.ArtifactDigest != v.ContentDigest, "it has two digests"),
		want(v.ContentDigest == again.ContentDigest && v.ArtifactDigest != again.ArtifactDigest, "the second run's version has the same content and another artifact: %s %s", v.ContentDigest, again.ContentDigest),
		want(strings.Contains(string(v.Signature), "mean_radius"), "the signature names the columns: %s", v.Signature),
		want(slices.ContainsFunc(v.Dependencies, func(d client.Dependency) bool { return d.Kind == "data" && d.Name == "screening-patients" }), "it depends on its data: %v", v.Dependencies),
		want(slices.ContainsFunc(v.Dependencies, func(d client.Dependency) bool { return d.Kind == "run" }), "it depends on its run: %v", v.Dependencies),
	); err != nil {
		return err
	}
	s.fact("screening/%d is ready: %d golden rows, four with missing values, largest error %.2g", v.Version, v.Golden.Rows, *v.Golden.MaxError)
	var rules client.Version
	if err := s.do(ctx, &rules, "dana", "model", "register", "referral", "../referral/model", "--kind", "rules", "--wait", "--json"); err != nil {
		return err
	}
	s.made.rules = rules.Version
	if err := want(rules.State == "ready" && rules.Format == "cel" && rules.Golden.Rows == 4, "the rule model is ready after 4 golden rows: %s %s %+v", rules.State, rules.Format, rules.Golden); err != nil {
		return err
	}
	s.fact("referral/%d, a rule model in CEL with words and truth values as inputs, went the same way", rules.Version)
	for _, m := range []string{"screening", "referral"} {
		if err := s.do(ctx, nil, "bo", "model", "set", m, "--field", "owner=bo", "--field", "responsibilities.accountable=bo", "--field", "intended_use=advice to the clinic's staff", "--field", "tier=2", "--json"); err != nil {
			return err
		}
	}
	return done(s.do(ctx, nil, "bo", "usecase", "create", "screening", "--field", "title=Breast cancer screening", "--field", "purpose=Find malignant tumours earlier.", "--field", "owner=bo",
		"--field", "goal.kpi=malignant tumours found", "--field", "goal.target=98", "--field", "goal.unit=%", "--field", "goal.due=2027-06-30", "--field", "responsibilities.accountable=bo",
		"--field", `models=["screening","referral"]`, "--json"))
}

const impossible = `name: screening
data:
  screening-holdout: {}
steps:
  check: {kind: check}
evaluate:
  impossible:
    data: screening-holdout
    tests:
      - {name: never wrong, kind: metric, metric: accuracy, min: 1.0}
`

// evaluate: the suite of the pipeline has passed; one that fails blocks the proposal.
func (s *Story) evaluate(ctx context.Context) error {
	es, err := s.as("dana").Evaluations(ctx, "screening", s.made.first)
	if err != nil {
		return err
	}
	if err := want(len(es) >= 1 && es[0].State == "passed" && len(es[0].Tests) == 6 && es[0].Metrics["roc_auc"] > 0.95, "the suite passed with six tests: %+v", es); err != nil {
		return err
	}
	for _, t := range es[0].Tests {
		s.fact("%-28s %s", t.Name, t.Detail)
	}
	if err := os.WriteFile(s.file("impossible.yaml"), []byte(impossible), 0o644); err != nil {
		return err
	}
	again := fmt.Sprintf("screening/%d", s.made.again)
	if err := s.refused(ctx, 5, []string{"never wrong", "failed"}, "dana", "version", "evaluate", again, "-f", "impossible.yaml"); err != nil {
		return err
	}
	if err := s.refused(ctx, 5, []string{"never wrong"}, "dana", "deploy", "create", again, "--to", "prod", "--reason", "good enough, I think", "--no-plan"); err != nil {
		return err
	}
	s.fact("a failed test blocks the proposal and is named: never wrong")
	if err := s.do(ctx, nil, "eddie", "data", "add", "referral-cases", "../referral/data/cases.csv", "-f", "../referral/keelson.yaml", "--json"); err != nil {
		return err
	}
	return s.do(ctx, nil, "dana", "version", "evaluate", "referral/"+strconv.Itoa(s.made.rules), "-f", "../referral/keelson.yaml")
}
