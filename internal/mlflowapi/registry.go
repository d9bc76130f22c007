package mlflowapi

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"keelson/internal/inventory"
	"keelson/internal/problem"
	"keelson/internal/rest"
	"keelson/internal/tracking"
)

func (m *API) registryRoutes(a *rest.API) {
	const p = "/2.0/mlflow/registered-models/"
	on(a, m, "POST", p+"create", "model.write", m.createEither, "name")
	on(a, m, "POST", p+"rename", "model.write", m.either(m.renameModel, m.renamePrompt), "name", "new_name")
	on(a, m, "PATCH", p+"update", "model.write", m.either(m.updateModel, m.updatePrompt), "name")
	on(a, m, "DELETE", p+"delete", "model.write", m.either(m.deleteModel, m.deletePrompt), "name")
	on(a, m, "GET", p+"get", "model.read", m.either(m.getModel, m.getPrompt), "name")
	on(a, m, "GET", p+"search", "model.read", m.searchEither)
	on(a, m, "POST", p+"get-latest-versions", "version.read", m.either(m.latestVersions, m.latestPrompt), "name")
	on(a, m, "GET", p+"get-latest-versions", "version.read", m.either(m.latestVersions, m.latestPrompt), "name")
	on(a, m, "POST", p+"set-tag", "model.write", m.either(m.setModelTagOnly, m.setPromptTag), "name", "key")
	on(a, m, "DELETE", p+"delete-tag", "model.write", m.either(m.deleteModelTag, m.deletePromptTag), "name", "key")
	on(a, m, "POST", p+"alias", "version.write", m.either(m.setAlias, m.setPromptAlias), "name", "alias", "version")
	on(a, m, "DELETE", p+"alias", "version.write", m.either(m.deleteAlias, m.deletePromptAlias), "name", "alias")
	on(a, m, "GET", p+"alias", "version.read", m.either(m.getAlias, m.getPromptAlias), "name", "alias")
	const v = "/2.0/mlflow/model-versions/"
	on(a, m, "POST", v+"create", "version.write", m.either(m.createVersionOfModel, m.createPromptVersion), "name", "source")
	on(a, m, "PATCH", v+"update", "version.write", m.either(m.updateVersion, m.updatePromptVersion), "name", "version")
	on(a, m, "POST", v+"transition-stage", "version.write", m.either(m.transition, m.noFiles), "name", "version", "stage")
	on(a, m, "DELETE", v+"delete", "version.write", m.either(m.deleteVersion, m.deletePromptVersion), "name", "version")
	on(a, m, "GET", v+"get", "version.read", m.either(m.getVersion, m.getPromptVersion), "name", "version")
	on(a, m, "GET", v+"search", "version.read", m.searchEitherVersions)
	on(a, m, "GET", v+"get-download-uri", "version.read", m.either(m.downloadURI, m.noFiles), "name", "version")
	on(a, m, "POST", v+"set-tag", "version.write", m.either(m.setVersionTag, m.setPromptVersionTag), "name", "version", "key")
	on(a, m, "DELETE", v+"delete-tag", "version.write", m.either(m.deleteVersionTag, m.deletePromptVersionTag), "name", "version", "key")
}

type modelRequest struct {
	Name        string   `json:"name"`
	New         string   `json:"new_name"`
	Description *string  `json:"description"`
	Tags        []pair   `json:"tags"`
	Key         string   `json:"key"`
	Value       string   `json:"value"`
	Alias       string   `json:"alias"`
	Version     word     `json:"version"`
	Stage       string   `json:"stage"`
	Stages      []string `json:"stages"`
	Archive     bool     `json:"archive_existing_versions"`
	Source      string   `json:"source"`
	Run         string   `json:"run_id"`
	Model       string   `json:"model_id"`
}

// word is text that comes as a string or as a number.
type word string

func (t *word) UnmarshalJSON(b []byte) error {
	if s := string(b); s != "null" {
		*t = word(strings.Trim(s, `"`))
	}
	return nil
}

func versionNumber(s string) (int, error) {
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 {
		return 0, problem.New(problem.Invalid, "Model version must be an integer, got '%s'", problem.Clip(s, 40)).At("version")
	}
	return n, nil
}

func (m *API) registered(ctx context.Context, list []inventory.Model) ([]registeredModel, error) {
	names := make([]string, len(list))
	for i, x := range list {
		names[i] = x.Name
	}
	latest, err := m.Inventory.Latest(ctx, names)
	if err != nil {
		return nil, err
	}
	var out []registeredModel
	for _, x := range list {
		r := registeredModel{Name: x.Name, Created: ms(x.CreatedAt), Updated: ms(x.UpdatedAt), User: x.CreatedBy, Description: x.Description, Tags: fromMap(x.Tags)}
		if v, ok := latest[x.Name]; ok {
			r.Latest = []modelVersion{fromVersion(v)}
		}
		out = append(out, r)
	}
	return out, nil
}

func (m *API) model(ctx context.Context, name string) (any, error) {
	x, err := m.Inventory.Model(ctx, name)
	if err != nil {
		return nil, err
	}
	list, err := m.registered(ctx, []inventory.Model{x})
	if err != nil {
		return nil, err
	}
	aliases, err := m.Inventory.Aliases(ctx, name)
	for _, a := range sorted(aliases) {
		list[0].Aliases = append(list[0].Aliases, modelAlias{a, strconv.Itoa(aliases[a])})
	}
	return map[string]any{"registered_model": list[0]}, err
}

func (m *API) createModel(ctx context.Context, in *modelRequest) (any, error) {
	x := inventory.Model{Name: in.Name, Tags: toMap(in.Tags)}
	if in.Description != nil {
		x.Description = *in.Description
	}
	if _, err := m.Inventory.Create(ctx, x); err != nil {
		return nil, taken(err)
	}
	return m.model(ctx, in.Name)
}

func (m *API) renameModel(ctx context.Context, in *modelRequest) (any, error) {
	if _, err := m.Inventory.Rename(ctx, in.Name, in.New); err != nil {
		return nil, taken(err)
	}
	return m.model(ctx, in.New)
}

func (m *API) updateModel(ctx context.Context, in *modelRequest) (any, error) {
	if in.Description != nil {
		if _, err := m.Inventory.Change(ctx, in.Name, func(x *inventory.Model) error { x.Description = *in.Description; return nil }); err != nil {
			return nil, err
		}
	}
	return m.model(ctx, in.Name)
}

func (m *API) deleteModel(ctx context.Context, in *modelRequest) (any, error) {
	return none{}, m.Inventory.Delete(ctx, in.Name)
}

func (m *API) getModel(ctx context.Context, in *modelRequest) (any, error) {
	return m.model(ctx, in.Name)
}

type searchRequest struct {
	Filter string   `json:"filter"`
	Max    int64    `json:"max_results"`
	Order  []string `json:"order_by"`
	Token  string   `json:"page_token"`
}

func (m *API) searchModels(ctx context.Context, in *searchRequest) (any, error) {
	limit, err := limited(integer(in.Max), 100, 1000)
	if err != nil {
		return nil, err
	}
	list, next, err := m.Inventory.Search(ctx, tracking.Search{Filter: in.Filter, Order: in.Order, Limit: limit, Token: in.Token})
	if err != nil {
		return nil, err
	}
	out := struct {
		Models []registeredModel `json:"registered_models,omitempty"`
		Next   string            `json:"next_page_token,omitempty"`
	}{Next: next}
	out.Models, err = m.registered(ctx, list)
	return out, err
}

func (m *API) latestVersions(ctx context.Context, in *modelRequest) (any, error) {
	list, err := m.Inventory.Versions(ctx, in.Name, 0, 0)
	if err != nil {
		return nil, err
	}
	out := struct {
		Versions []modelVersion `json:"model_versions,omitempty"`
	}{}
	seen := map[string]bool{}
	for _, v := range list { // the newest first
		x := fromVersion(v)
		if seen[x.Stage] || len(in.Stages) > 0 && !slices.ContainsFunc(in.Stages, func(s string) bool { return strings.EqualFold(s, x.Stage) }) {
			continue
		}
		seen[x.Stage] = true
		out.Versions = append(out.Versions, x)
	}
	return out, nil
}

func (m *API) setModelTag(ctx context.Context, in *modelRequest) (any, error) {
	_, err := m.Inventory.Change(ctx, in.Name, func(x *inventory.Model) error { x.Tags[in.Key] = in.Value; return nil })
	return none{}, err
}

func (m *API) deleteModelTag(ctx context.Context, in *modelRequest) (any, error) {
	_, err := m.Inventory.Change(ctx, in.Name, func(x *inventory.Model) error { delete(x.Tags, in.Key); return nil })
	return none{}, err
}

func (m *API) setAlias(ctx context.Context, in *modelRequest) (any, error) {
	n, err := versionNumber(string(in.Version))
	if err != nil {
		return nil, err
	}
	return none{}, m.Inventory.SetAlias(ctx, in.Name, in.Alias, n)
}

func (m *API) deleteAlias(ctx context.Context, in *modelRequest) (any, error) {
	return none{}, m.Inventory.DropAlias(ctx, in.Name, in.Alias)
}

func (m *API) getAlias(ctx context.Context, in *modelRequest) (any, error) {
	v, err := m.Inventory.Aliased(ctx, in.Name, in.Alias)
	return answerVersion(v, wrongAlias(err))
}

// wrongAlias counts a missing alias among wrong values, as MLflow does.
func wrongAlias(err error) error {
	if p, ok := problem.As(err); ok && p.Field == "alias" {
		return problem.New(problem.Invalid, "%s", p.Detail).At("alias")
	}
	return err
}

// settle is how long the creation of a version waits for its self-test, so that most clients get the final state at once
// instead of asking again seconds later.
const settle = 2 * time.Second

func (m *API) createVersion(ctx context.Context, in *modelRequest) (any, error) {
	if err := inventory.CheckName(in.Name); err != nil {
		return nil, err
	}
	if _, err := m.Inventory.Recorded(ctx, in.Name); err != nil {
		return nil, err
	}
	reg, err := m.source(ctx, in.Source)
	if err != nil {
		return nil, err
	}
	reg.Model, reg.Tags, reg.Origin = in.Name, toMap(in.Tags), in.Source
	if in.Description != nil {
		reg.Description = *in.Description
	}
	if in.Model != "" {
		if _, err := m.Tracking.Model(ctx, in.Model); err != nil {
			return nil, err
		}
		reg.LoggedModel = in.Model
	}
	reg.Run = cmp.Or(in.Run, reg.Run)
	v, err := m.Inventory.Register(ctx, reg)
	if err != nil {
		return nil, err
	}
	if v, err = m.Inventory.Await(ctx, v.Model, v.Number, settle); err != nil {
		return nil, err
	}
	return map[string]any{"model_version": fromVersion(v)}, nil
}

func (m *API) version(ctx context.Context, in *modelRequest) (inventory.Version, error) {
	n, err := versionNumber(string(in.Version))
	if err != nil {
		return inventory.Version{}, err
	}
	return m.Inventory.Version(ctx, in.Name, n)
}

func answerVersion(v inventory.Version, err error) (any, error) {
	if err != nil {
		return nil, err
	}
	return map[string]any{"model_version": fromVersion(v)}, nil
}

func (m *API) getVersion(ctx context.Context, in *modelRequest) (any, error) {
	return answerVersion(m.version(ctx, in))
}

func (m *API) changeVersion(ctx context.Context, in *modelRequest, change func(*inventory.Version) error) (inventory.Version, error) {
	n, err := versionNumber(string(in.Version))
	if err != nil {
		return inventory.Version{}, err
	}
	return m.Inventory.ChangeVersion(ctx, in.Name, n, change)
}

func (m *API) updateVersion(ctx context.Context, in *modelRequest) (any, error) {
	return answerVersion(m.changeVersion(ctx, in, func(v *inventory.Version) error {
		if in.Description != nil {
			v.Description = *in.Description
		}
		return nil
	}))
}

func (m *API) setVersionTag(ctx context.Context, in *modelRequest) (any, error) {
	_, err := m.changeVersion(ctx, in, func(v *inventory.Version) error { v.Tags[in.Key] = in.Value; return nil })
	return none{}, err
}

func (m *API) deleteVersionTag(ctx context.Context, in *modelRequest) (any, error) {
	_, err := m.changeVersion(ctx, in, func(v *inventory.Version) error { delete(v.Tags, in.Key); return nil })
	return none{}, err
}

func (m *API) deleteVersion(ctx context.Context, in *modelRequest) (any, error) {
	n, err := versionNumber(string(in.Version))
	if err != nil {
		return nil, err
	}
	return none{}, m.Inventory.DeleteVersion(ctx, in.Name, n)
}

// transition refuses to move a version: a stage is a view of where it runs, which approvals decide.
func (m *API) transition(ctx context.Context, in *modelRequest) (any, error) {
	stages := []string{stageNone, stageStaging, stageProduction, stageArchived}
	i := slices.IndexFunc(stages, func(s string) bool { return strings.EqualFold(s, in.Stage) })
	if i < 0 {
		return nil, problem.New(problem.Invalid, "Invalid Model Version stage: %s. Value must be one of %s.", problem.Clip(in.Stage, 60), strings.Join(stages, ", ")).At("stage")
	}
	v, err := m.version(ctx, in)
	if err != nil || stageOf(v) == stages[i] {
		return answerVersion(v, err)
	}
	return nil, problem.New(problem.Forbidden, "A stage is where a version runs, so it changes by an approved change and not by a call. %s", inventory.Propose(v.Model, v.Number, "prod"))
}

func (m *API) searchVersions(ctx context.Context, in *searchRequest) (any, error) {
	limit, err := limited(integer(in.Max), 10000, 200000)
	if err != nil {
		return nil, err
	}
	list, next, err := m.Inventory.SearchVersions(ctx, tracking.Search{Filter: in.Filter, Order: in.Order, Limit: limit, Token: in.Token})
	if err != nil {
		return nil, err
	}
	out := struct {
		Versions []modelVersion `json:"model_versions,omitempty"`
		Next     string         `json:"next_page_token,omitempty"`
	}{Next: next}
	for _, v := range list {
		out.Versions = append(out.Versions, fromVersion(v))
	}
	return out, nil
}

// downloadURI points to the version's own files, whatever became of the run they came from.
func (m *API) downloadURI(ctx context.Context, in *modelRequest) (any, error) {
	v, err := m.version(ctx, in)
	if err != nil {
		return nil, err
	}
	return map[string]string{"artifact_uri": fmt.Sprintf("mlflow-artifacts:/%s/%s/%d", registry, v.Model, v.Number)}, nil
}

// source finds the files that a model's source names. It knows five shapes and opens nothing else:
//
//	models:/m-<id>                       a logged model
//	models:/<name>/<version>, @<alias>   another version
//	runs:/<run>/<path>                   files of a run
//	mlflow-artifacts:/<path>             a path of the artifact proxy
func (m *API) source(ctx context.Context, src string) (reg inventory.Registration, err error) {
	scheme, rest, ok := strings.Cut(src, ":/")
	bad := problem.New(problem.Invalid, "Invalid model version source: '%s'. Give a model logged here (models:/m-…), files of a run (runs:/RUN/PATH) or a path of this server's artifacts (mlflow-artifacts:/…); other places are never opened.", problem.Clip(src, 200)).At("source").Suspect("source")
	if !ok || rest == "" || strings.ContainsAny(rest, "#?;\\") {
		return reg, bad
	}
	switch scheme {
	case "models":
		rest = strings.TrimPrefix(rest, "/")
		if !strings.ContainsAny(rest, "/@") {
			l, err := m.Tracking.Model(ctx, rest)
			if err != nil {
				return reg, err
			}
			return m.loggedFiles(ctx, l)
		}
		model, number, err := m.Inventory.Resolve(ctx, rest)
		if err != nil {
			return reg, err
		}
		v, err := m.Inventory.Version(ctx, model, number)
		reg.Files, reg.Run, reg.LoggedModel = v.Files, v.Run, v.LoggedModel
		return reg, err
	case "runs":
		id, folder, _ := strings.Cut(strings.TrimPrefix(rest, "/"), "/")
		r, err := m.Tracking.Run(ctx, id)
		if err != nil {
			return reg, err
		}
		return m.runFiles(ctx, r, folder, bad)
	case "mlflow-artifacts":
		if strings.HasPrefix(rest, "/") { // mlflow-artifacts://host/… names another server; three slashes name none
			if rest = strings.TrimPrefix(rest, "//"); strings.HasPrefix(rest, "/") || !strings.HasPrefix(src, "mlflow-artifacts:///") {
				return reg, bad
			}
		}
		p, err := split(rest)
		if err != nil {
			return reg, bad
		}
		if p.model != "" {
			v, err := m.Inventory.Version(ctx, p.model, p.version)
			reg.Files, reg.Run, reg.LoggedModel = v.Files, v.Run, v.LoggedModel
			return reg, err
		}
		parts := strings.Split(p.root, "/")
		if parts[1] == "models" {
			l, err := m.Tracking.Model(ctx, parts[2])
			if err != nil {
				return reg, err
			}
			if p.rest != "" || l.Experiment != parts[0] {
				return reg, bad
			}
			return m.loggedFiles(ctx, l)
		}
		r, err := m.Tracking.Run(ctx, parts[1])
		if err != nil {
			return reg, err
		}
		if r.Experiment != parts[0] {
			return reg, bad
		}
		return m.runFiles(ctx, r, p.rest, bad)
	}
	return reg, bad
}

func (m *API) loggedFiles(ctx context.Context, l tracking.LoggedModel) (reg inventory.Registration, err error) {
	files, err := m.Tracking.Files(ctx, tracking.ModelRoot(l.Experiment, l.ID), "")
	if err != nil {
		return reg, err
	}
	if len(files) == 0 {
		return reg, problem.New(problem.Invalid, "The logged model %s has no files yet.", l.ID).At("source")
	}
	reg.Run, reg.LoggedModel = l.Run, l.ID
	for _, f := range files {
		reg.Files = append(reg.Files, inventory.File{Path: f.Path, Digest: f.Digest, Size: f.Size})
	}
	return reg, nil
}

// runFiles takes a folder of a run's artifacts, or the model that the run logged under that name.
func (m *API) runFiles(ctx context.Context, r tracking.Run, folder string, bad error) (reg inventory.Registration, err error) {
	folder = strings.TrimSuffix(folder, "/")
	files, err := m.Tracking.Files(ctx, tracking.ArtifactRoot(r.Experiment, r.ID), folder)
	if err != nil {
		return reg, err
	}
	for _, f := range files {
		p := strings.TrimPrefix(f.Path, folder+"/")
		if folder == "" {
			p = f.Path
		} else if f.Path == folder { // a single file
			p = f.Path[strings.LastIndex(f.Path, "/")+1:]
		}
		reg.Files = append(reg.Files, inventory.File{Path: p, Digest: f.Digest, Size: f.Size})
	}
	reg.Run = r.ID
	if len(reg.Files) > 0 {
		return reg, nil
	}
	for _, out := range r.ModelsOut {
		if l, err := m.Tracking.Model(ctx, out.Model); err == nil && l.Name == folder {
			return m.loggedFiles(ctx, l)
		}
	}
	return reg, problem.New(problem.Invalid, "The run %s has no files under '%s'.", r.ID, problem.Clip(folder, 120)).At("source").Because(bad)
}
