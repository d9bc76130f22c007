package mlflowapi

import (
	"context"
	"strings"
	"time"

	"keelson/internal/inventory"
	"keelson/internal/problem"
	"keelson/internal/rest"
	"keelson/internal/tracking"
)

// importRoutes mounts what `keelson import mlflow` needs beyond MLflow's own calls: making things under the ids, numbers and
// times they had on another server. Everything may be sent again; what is there already is filled up, not doubled.
func (m *API) importRoutes(a *rest.API) {
	const p = "/api/v1/imports/mlflow/"
	rest.Post(a, p+"experiments", "run.write", "Bring an experiment from another MLflow server", m.importExperiment)
	rest.Post(a, p+"runs", "run.write", "Bring a run from another MLflow server", m.importRun)
	rest.Post(a, p+"logged-models", "run.write", "Bring a logged model from another MLflow server", m.importLogged)
	rest.Post(a, p+"registered-models", "model.write", "Bring a registered model from another MLflow server", m.importRegistered)
	rest.Post(a, p+"model-versions", "version.write", "Bring a model version from another MLflow server", m.importVersion)
}

// Imported says what became of one thing.
type Imported struct {
	ID   string `json:"id" doc:"its id or name here"`
	Made bool   `json:"made" doc:"false: it was there already"`
}

// ImportOrigin is what every import says about where a thing came from.
type ImportOrigin struct {
	Source string `json:"source" minLength:"1" maxLength:"2000" doc:"address of the server it comes from"`
}

// tags adds where a thing came from to its own tags.
func (o ImportOrigin) tags(own map[string]string, kind, id string) map[string]string {
	out := map[string]string{}
	for k, v := range own {
		out[k] = v
	}
	out[tracking.TagImportSource] = o.Source
	out[tracking.TagImportID] = o.Source + "#" + kind + "/" + id
	return out
}

func fromMillis(n int64) time.Time { return fromMS(integer(n)) }

func (m *API) importExperiment(ctx context.Context, in *struct {
	Body struct {
		ImportOrigin
		ID      string            `json:"experiment_id" minLength:"1" maxLength:"64" doc:"its id there"`
		Name    string            `json:"name" minLength:"1"`
		Tags    map[string]string `json:"tags,omitempty"`
		Created int64             `json:"creation_time,omitempty" doc:"milliseconds since 1970"`
		Updated int64             `json:"last_update_time,omitempty" doc:"milliseconds since 1970"`
	}
}) (Imported, error) {
	b := in.Body
	e, made, err := m.Tracking.ImportExperiment(ctx, tracking.Experiment{Name: b.Name, Tags: b.tags(b.Tags, "experiment", b.ID), Created: fromMillis(b.Created), Updated: fromMillis(b.Updated)})
	return Imported{e.ID, made}, err
}

// ImportedInput is a data set that went into a run.
type ImportedInput struct {
	Name       string            `json:"name"`
	Digest     string            `json:"digest"`
	SourceType string            `json:"source_type,omitempty"`
	Source     string            `json:"source,omitempty"`
	Schema     string            `json:"schema,omitempty"`
	Profile    string            `json:"profile,omitempty"`
	Tags       map[string]string `json:"tags,omitempty"`
}

// ImportedModelRef is a logged model that went into a run or came out of it.
type ImportedModelRef struct {
	Model string `json:"model_id"`
	Step  int64  `json:"step,omitempty"`
}

func importedRefs(list []ImportedModelRef) (out []tracking.ModelRef) {
	for _, r := range list {
		out = append(out, tracking.ModelRef{Model: r.Model, Step: r.Step})
	}
	return out
}

func (m *API) importRun(ctx context.Context, in *struct {
	Body struct {
		ImportOrigin
		ID         string             `json:"run_id" minLength:"1" maxLength:"64" doc:"its id there, which it keeps"`
		Experiment string             `json:"experiment_id" minLength:"1" doc:"id of the experiment here"`
		Name       string             `json:"run_name,omitempty"`
		User       string             `json:"user_id,omitempty"`
		Status     string             `json:"status" enum:"RUNNING,SCHEDULED,FINISHED,FAILED,KILLED"`
		Started    int64              `json:"start_time,omitempty" doc:"milliseconds since 1970"`
		Ended      int64              `json:"end_time,omitempty" doc:"milliseconds since 1970"`
		Params     map[string]string  `json:"params,omitempty"`
		Tags       map[string]string  `json:"tags,omitempty"`
		Inputs     []ImportedInput    `json:"inputs,omitempty"`
		ModelsIn   []ImportedModelRef `json:"model_inputs,omitempty"`
		ModelsOut  []ImportedModelRef `json:"model_outputs,omitempty"`
	}
}) (Imported, error) {
	b := in.Body
	r := tracking.Run{ID: b.ID, Name: b.Name, Experiment: b.Experiment, Author: b.User, Status: strings.ToLower(b.Status), Started: fromMillis(b.Started), Ended: fromMillis(b.Ended),
		Params: b.Params, Tags: b.tags(b.Tags, "run", b.ID), ModelsIn: importedRefs(b.ModelsIn), ModelsOut: importedRefs(b.ModelsOut)}
	for _, d := range b.Inputs {
		r.Inputs = append(r.Inputs, tracking.Input{Name: d.Name, Digest: d.Digest, Context: d.Tags["mlflow.data.context"], SourceType: d.SourceType, Source: d.Source, Schema: d.Schema, Profile: d.Profile, Tags: d.Tags})
	}
	made, err := m.Tracking.ImportRun(ctx, r)
	return Imported{b.ID, made}, err
}

func (m *API) importLogged(ctx context.Context, in *struct {
	Body struct {
		ImportOrigin
		ID         string            `json:"model_id" minLength:"1" maxLength:"100" doc:"its id there, which it keeps"`
		Experiment string            `json:"experiment_id" minLength:"1" doc:"id of the experiment here"`
		Name       string            `json:"name"`
		Kind       string            `json:"model_type,omitempty"`
		Run        string            `json:"source_run_id,omitempty"`
		Status     string            `json:"status" enum:"LOGGED_MODEL_PENDING,LOGGED_MODEL_READY,LOGGED_MODEL_UPLOAD_FAILED"`
		Created    int64             `json:"creation_timestamp_ms,omitempty"`
		Updated    int64             `json:"last_updated_timestamp_ms,omitempty"`
		Params     map[string]string `json:"params,omitempty"`
		Tags       map[string]string `json:"tags,omitempty"`
	}
}) (Imported, error) {
	b := in.Body
	l := tracking.LoggedModel{ID: b.ID, Experiment: b.Experiment, Name: b.Name, Run: b.Run, Kind: b.Kind, Created: fromMillis(b.Created), Updated: fromMillis(b.Updated),
		Params: b.Params, Tags: b.tags(b.Tags, "logged-model", b.ID)}
	for ours, theirs := range modelStatus {
		if theirs == b.Status {
			l.Status = ours
		}
	}
	made, err := m.Tracking.ImportModel(ctx, l)
	return Imported{b.ID, made}, err
}

func (m *API) importRegistered(ctx context.Context, in *struct {
	Body struct {
		ImportOrigin
		Name        string            `json:"name" minLength:"1" doc:"its name here"`
		Original    string            `json:"original_name,omitempty" doc:"its name there, when it cannot be borne here"`
		Description string            `json:"description,omitempty"`
		Tags        map[string]string `json:"tags,omitempty"`
		Created     int64             `json:"creation_timestamp,omitempty"`
		Updated     int64             `json:"last_updated_timestamp,omitempty"`
	}
}) (Imported, error) {
	b := in.Body
	if b.Original == "" {
		b.Original = b.Name
	}
	x, made, err := m.Inventory.Import(ctx, inventory.Model{Name: b.Name, Description: b.Description, Tags: b.tags(b.Tags, "registered-model", b.Original), CreatedAt: fromMillis(b.Created), UpdatedAt: fromMillis(b.Updated)})
	return Imported{x.Name, made}, err
}

func (m *API) importVersion(ctx context.Context, in *struct {
	Body struct {
		ImportOrigin
		Name        string            `json:"name" minLength:"1" doc:"the model's name here"`
		Original    string            `json:"original_name,omitempty"`
		Version     int               `json:"version" minimum:"1" maximum:"1000000000" doc:"its number there, which it keeps"`
		From        string            `json:"from" minLength:"1" doc:"where its files are here: models:/m-… or runs:/RUN/PATH"`
		Origin      string            `json:"origin,omitempty" doc:"its source there"`
		Description string            `json:"description,omitempty"`
		Run         string            `json:"run_id,omitempty"`
		Tags        map[string]string `json:"tags,omitempty"`
		Created     int64             `json:"creation_timestamp,omitempty"`
		Updated     int64             `json:"last_updated_timestamp,omitempty"`
	}
}) (Imported, error) {
	b := in.Body
	if b.Original == "" {
		b.Original = b.Name
	}
	ref := (&inventory.Version{Model: b.Original, Number: b.Version}).Ref()
	tags := b.tags(b.Tags, "model-version", ref)
	out := Imported{ID: (&inventory.Version{Model: b.Name, Number: b.Version}).Ref()}
	have, err := m.Inventory.Version(ctx, b.Name, b.Version)
	if err == nil {
		if id := have.Tags[tracking.TagImportID]; id != tags[tracking.TagImportID] {
			return out, problem.New(problem.Conflict, "There is a version %s already, which did not come from %s.", out.ID, b.Source).At("version")
		}
		_, err = m.Inventory.ChangeVersion(ctx, b.Name, b.Version, func(v *inventory.Version) error {
			for k, value := range tags {
				if _, ok := v.Tags[k]; !ok {
					v.Tags[k] = value
				}
			}
			if v.Description == "" {
				v.Description = b.Description
			}
			return nil
		})
		return out, err
	}
	if !problem.Is(err, problem.NotFound) {
		return out, err
	}
	reg, err := m.source(ctx, b.From)
	if err != nil {
		return out, err
	}
	if reg.Run == "" || b.Run != "" {
		reg.Run = b.Run
	}
	reg.Model, reg.Number, reg.Tags, reg.Description, reg.Origin = b.Name, b.Version, tags, b.Description, b.Origin
	reg.CreatedAt, reg.UpdatedAt = fromMillis(b.Created), fromMillis(b.Updated)
	if reg.Origin == "" {
		reg.Origin = b.From
	}
	_, err = m.Inventory.Register(ctx, reg)
	out.Made = err == nil
	return out, err
}
