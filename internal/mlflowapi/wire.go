package mlflowapi

import (
	"bytes"
	"encoding/json"
	"math"
	"strconv"
	"strings"
	"time"

	"keelson/internal/inventory"
	"keelson/internal/problem"
	"keelson/internal/tracking"
)

// integer is an int64 that comes as a number or as a string of digits.
type integer int64

type badNumber struct{ text string }

func (e *badNumber) Error() string { return "not a number: " + e.text }

func (n *integer) UnmarshalJSON(b []byte) error {
	if string(b) == "null" {
		return nil
	}
	s := string(bytes.Trim(b, `"`))
	v, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		f, ferr := strconv.ParseFloat(s, 64)
		if ferr != nil || f != math.Trunc(f) || math.Abs(f) >= 1<<63 {
			return &badNumber{problem.Clip(s, 40)}
		}
		v = int64(f)
	}
	*n = integer(v)
	return nil
}

// number is a float that comes as a number or as a string, which may be "NaN", "Infinity" or "-Infinity".
type number float64

func (n *number) UnmarshalJSON(b []byte) error {
	if string(b) == "null" {
		return nil
	}
	s := string(bytes.Trim(b, `"`))
	v, err := strconv.ParseFloat(s, 64)
	if err != nil && !math.IsInf(v, 0) {
		return &badNumber{problem.Clip(s, 40)}
	}
	*n = number(v)
	return nil
}

// MarshalJSON writes NaN as a string and an infinity as the largest finite number, as MLflow does.
func (n number) MarshalJSON() ([]byte, error) {
	v := float64(n)
	switch {
	case math.IsNaN(v):
		return []byte(`"NaN"`), nil
	case math.IsInf(v, 1):
		v = math.MaxFloat64
	case math.IsInf(v, -1):
		v = -math.MaxFloat64
	}
	return json.Marshal(v)
}

type pair struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

func toPairs(list []pair) []tracking.Pair {
	out := make([]tracking.Pair, len(list))
	for i, p := range list {
		out[i] = tracking.Pair(p)
	}
	return out
}

func toMap(list []pair) map[string]string {
	out := map[string]string{}
	for _, p := range list {
		out[p.Key] = p.Value
	}
	return out
}

func fromMap(m map[string]string) []pair {
	out := make([]pair, 0, len(m))
	for _, k := range sorted(m) {
		out = append(out, pair{k, m[k]})
	}
	return out
}

type metric struct {
	Key           string  `json:"key"`
	Value         number  `json:"value"`
	Timestamp     integer `json:"timestamp"`
	Step          integer `json:"step"`
	Model         string  `json:"model_id,omitempty"`
	Dataset       string  `json:"dataset_name,omitempty"`
	DatasetDigest string  `json:"dataset_digest,omitempty"`
	Run           string  `json:"run_id,omitempty"`
}

func fromPoint(p tracking.Point, run string) metric {
	return metric{p.Key, number(p.Value), integer(p.At), integer(p.Step), p.Model, p.Dataset, p.DatasetDigest, run}
}

type experiment struct {
	ID       string `json:"experiment_id"`
	Name     string `json:"name"`
	Location string `json:"artifact_location"`
	Stage    string `json:"lifecycle_stage"`
	Updated  int64  `json:"last_update_time"`
	Created  int64  `json:"creation_time"`
	Tags     []pair `json:"tags,omitempty"`
}

func fromExperiment(e tracking.Experiment) experiment {
	return experiment{e.ID, e.Name, "mlflow-artifacts:/" + e.ID, stage(e.Deleted), ms(e.Updated), ms(e.Created), fromMap(e.Tags)}
}

func stage(deleted bool) string {
	if deleted {
		return "deleted"
	}
	return "active"
}

func ms(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

func fromMS(n integer) time.Time {
	if n == 0 {
		return time.Time{}
	}
	const far = 253402300799000 // the year 9999
	return time.UnixMilli(max(-far, min(far, int64(n)))).UTC()
}

type runInfo struct {
	ID         string `json:"run_id"`
	UUID       string `json:"run_uuid"`
	Name       string `json:"run_name"`
	Experiment string `json:"experiment_id"`
	User       string `json:"user_id"`
	Status     string `json:"status"`
	Start      int64  `json:"start_time"`
	End        int64  `json:"end_time,omitempty"`
	Artifacts  string `json:"artifact_uri"`
	Stage      string `json:"lifecycle_stage"`
}

type datasetInput struct {
	Tags    []pair  `json:"tags,omitempty"`
	Dataset dataset `json:"dataset"`
}

type dataset struct {
	Name       string `json:"name"`
	Digest     string `json:"digest"`
	SourceType string `json:"source_type"`
	Source     string `json:"source"`
	Schema     string `json:"schema,omitempty"`
	Profile    string `json:"profile,omitempty"`
}

type modelRef struct {
	Model string  `json:"model_id"`
	Step  integer `json:"step"`
}

type run struct {
	Info runInfo `json:"info"`
	Data struct {
		Metrics []metric `json:"metrics,omitempty"`
		Params  []pair   `json:"params,omitempty"`
		Tags    []pair   `json:"tags,omitempty"`
	} `json:"data"`
	Inputs struct {
		Datasets []datasetInput `json:"dataset_inputs,omitempty"`
		Models   []modelRef     `json:"model_inputs,omitempty"`
	} `json:"inputs"`
	Outputs struct {
		Models []modelRef `json:"model_outputs,omitempty"`
	} `json:"outputs"`
}

func fromInfo(r tracking.Run) runInfo {
	return runInfo{r.ID, r.ID, r.Name, r.Experiment, r.Author, strings.ToUpper(r.Status), ms(r.Started), ms(r.Ended),
		"mlflow-artifacts:/" + tracking.ArtifactRoot(r.Experiment, r.ID), stage(r.Deleted)}
}

func fromRun(r tracking.Run) run {
	out := run{Info: fromInfo(r)}
	for _, m := range r.Metrics {
		out.Data.Metrics = append(out.Data.Metrics, fromPoint(m, ""))
	}
	out.Data.Params, out.Data.Tags = fromMap(r.Params), fromMap(r.Tags)
	for _, in := range r.Inputs {
		out.Inputs.Datasets = append(out.Inputs.Datasets, datasetInput{fromMap(in.Tags), dataset{in.Name, in.Digest, in.SourceType, in.Source, in.Schema, in.Profile}})
	}
	for _, m := range r.ModelsIn {
		out.Inputs.Models = append(out.Inputs.Models, modelRef{m.Model, 0})
	}
	for _, m := range r.ModelsOut {
		out.Outputs.Models = append(out.Outputs.Models, modelRef{m.Model, integer(m.Step)})
	}
	return out
}

type loggedModel struct {
	Info struct {
		ID         string `json:"model_id"`
		Experiment string `json:"experiment_id"`
		Name       string `json:"name"`
		Created    int64  `json:"creation_timestamp_ms"`
		Updated    int64  `json:"last_updated_timestamp_ms"`
		Artifacts  string `json:"artifact_uri"`
		Status     string `json:"status"`
		Kind       string `json:"model_type,omitempty"`
		Run        string `json:"source_run_id,omitempty"`
		Message    string `json:"status_message,omitempty"`
		Tags       []pair `json:"tags,omitempty"`
	} `json:"info"`
	Data struct {
		Params  []pair   `json:"params,omitempty"`
		Metrics []metric `json:"metrics,omitempty"`
	} `json:"data"`
}

var modelStatus = map[string]string{tracking.ModelPending: "LOGGED_MODEL_PENDING", tracking.ModelReady: "LOGGED_MODEL_READY", tracking.ModelFailed: "LOGGED_MODEL_UPLOAD_FAILED"}

func fromLogged(m tracking.LoggedModel) loggedModel {
	var out loggedModel
	i := &out.Info
	i.ID, i.Experiment, i.Name, i.Created, i.Updated = m.ID, m.Experiment, m.Name, ms(m.Created), ms(m.Updated)
	i.Artifacts, i.Status, i.Kind, i.Run, i.Message = "mlflow-artifacts:/"+tracking.ModelRoot(m.Experiment, m.ID), modelStatus[m.Status], m.Kind, m.Run, m.Reason
	i.Tags, out.Data.Params = fromMap(m.Tags), fromMap(m.Params)
	for _, p := range m.Metrics {
		out.Data.Metrics = append(out.Data.Metrics, fromPoint(p.Point, p.Run))
	}
	return out
}

type registeredModel struct {
	Name        string         `json:"name"`
	Created     int64          `json:"creation_timestamp"`
	Updated     int64          `json:"last_updated_timestamp"`
	User        string         `json:"user_id,omitempty"`
	Description string         `json:"description,omitempty"`
	Latest      []modelVersion `json:"latest_versions,omitempty"`
	Tags        []pair         `json:"tags,omitempty"`
	Aliases     []modelAlias   `json:"aliases,omitempty"`
}

type modelAlias struct {
	Alias   string `json:"alias"`
	Version string `json:"version"`
}

type modelVersion struct {
	Name        string   `json:"name"`
	Version     string   `json:"version"`
	Created     int64    `json:"creation_timestamp"`
	Updated     int64    `json:"last_updated_timestamp"`
	User        string   `json:"user_id,omitempty"`
	Stage       string   `json:"current_stage"`
	Description string   `json:"description,omitempty"`
	Source      string   `json:"source"`
	Run         string   `json:"run_id,omitempty"`
	Status      string   `json:"status"`
	Message     string   `json:"status_message,omitempty"`
	Tags        []pair   `json:"tags,omitempty"`
	Aliases     []string `json:"aliases,omitempty"`
	Model       string   `json:"model_id,omitempty"`
}

// Stages of MLflow, as views of our record.
const (
	stageNone       = "None"
	stageStaging    = "Staging"
	stageProduction = "Production"
	stageArchived   = "Archived"
)

// stageOf is where a version runs: in prod, elsewhere, nowhere, or never again.
func stageOf(v inventory.Version) string {
	if v.State == inventory.Retired {
		return stageArchived
	}
	out := stageNone
	for _, e := range v.Deployed {
		if e == "prod" {
			return stageProduction
		}
		out = stageStaging
	}
	return out
}

func fromVersion(v inventory.Version) modelVersion {
	out := modelVersion{Name: v.Model, Version: strconv.Itoa(v.Number), Created: ms(v.CreatedAt), Updated: ms(v.UpdatedAt), User: v.CreatedBy, Stage: stageOf(v),
		Description: v.Description, Source: v.Origin, Run: v.Run, Status: "READY", Message: v.Reason, Tags: fromMap(v.Tags), Aliases: v.Aliases, Model: v.LoggedModel}
	switch {
	case v.State == inventory.Pending:
		out.Status = "PENDING_REGISTRATION"
	case v.State == inventory.Failed && v.Fault != inventory.FaultNoEngine:
		// A version that merely no engine runs is complete in MLflow's sense: it can be read and loaded by a client.
		out.Status = "FAILED_REGISTRATION"
	}
	return out
}
