package mlflowapi

import (
	"encoding/json"
	"strconv"

	"keelson/internal/tensor"
	"keelson/internal/tracking"
)

// A page of a thousand runs has tens of thousands of metrics, parameters and tags, for which encoding/json takes longer
// than the database. So runs are written by hand here, as encoding/json writes the type run.

// written is an answer that is JSON already.
type written []byte

// appendRuns writes the answer of a search.
func appendRuns(b []byte, list []tracking.Run, next string) []byte {
	b = append(b, '{')
	for i, r := range list {
		if i == 0 {
			b = append(b, `"runs":[`...)
		} else {
			b = append(b, ',')
		}
		b = appendRun(b, r)
	}
	if len(list) > 0 {
		b = append(b, ']')
	}
	if next != "" {
		if len(list) > 0 {
			b = append(b, ',')
		}
		b = tensor.AppendString(append(b, `"next_page_token":`...), next)
	}
	return append(b, '}')
}

func appendRun(b []byte, r tracking.Run) []byte {
	i := fromInfo(r)
	b = tensor.AppendString(append(b, `{"info":{"run_id":`...), i.ID)
	b = tensor.AppendString(append(b, `,"run_uuid":`...), i.UUID)
	b = tensor.AppendString(append(b, `,"run_name":`...), i.Name)
	b = tensor.AppendString(append(b, `,"experiment_id":`...), i.Experiment)
	b = tensor.AppendString(append(b, `,"user_id":`...), i.User)
	b = tensor.AppendString(append(b, `,"status":`...), i.Status)
	b = strconv.AppendInt(append(b, `,"start_time":`...), i.Start, 10)
	if i.End != 0 {
		b = strconv.AppendInt(append(b, `,"end_time":`...), i.End, 10)
	}
	b = tensor.AppendString(append(b, `,"artifact_uri":`...), i.Artifacts)
	b = tensor.AppendString(append(b, `,"lifecycle_stage":`...), i.Stage)
	b = append(b, `},"data":{`...)
	begin := len(b)
	for k, m := range r.Metrics {
		b = append(b, open(k, `"metrics":[`)...)
		b = tensor.AppendString(append(b, `{"key":`...), m.Key)
		b = appendNumber(append(b, `,"value":`...), m.Value)
		b = strconv.AppendInt(append(b, `,"timestamp":`...), m.At, 10)
		b = strconv.AppendInt(append(b, `,"step":`...), m.Step, 10)
		for _, f := range [...]struct{ name, value string }{{`,"model_id":`, m.Model}, {`,"dataset_name":`, m.Dataset}, {`,"dataset_digest":`, m.DatasetDigest}} {
			if f.value != "" {
				b = tensor.AppendString(append(b, f.name...), f.value)
			}
		}
		b = append(b, '}')
	}
	if len(r.Metrics) > 0 {
		b = append(b, ']')
	}
	b = appendMap(b, `"params":[`, r.Params, len(b) > begin)
	b = appendMap(b, `"tags":[`, r.Tags, len(b) > begin)
	b = append(b, '}')
	if len(r.Inputs)+len(r.ModelsIn)+len(r.ModelsOut) == 0 {
		return append(b, `,"inputs":{},"outputs":{}}`...)
	}
	// Few runs have these, and each has few.
	rest := fromRun(tracking.Run{Inputs: r.Inputs, ModelsIn: r.ModelsIn, ModelsOut: r.ModelsOut})
	inputs, _ := json.Marshal(rest.Inputs)
	outputs, _ := json.Marshal(rest.Outputs)
	b = append(append(b, `,"inputs":`...), inputs...)
	b = append(append(b, `,"outputs":`...), outputs...)
	return append(b, '}')
}

// open is what stands before the i-th member of a list.
func open(i int, first string) string {
	if i == 0 {
		return first
	}
	return ","
}

func appendMap(b []byte, name string, m map[string]string, more bool) []byte {
	if len(m) == 0 {
		return b
	}
	if more {
		b = append(b, ',')
	}
	for i, k := range sorted(m) {
		b = append(b, open(i, name)...)
		b = tensor.AppendString(append(b, `{"key":`...), k)
		b = tensor.AppendString(append(b, `,"value":`...), m[k])
		b = append(b, '}')
	}
	return append(b, ']')
}
