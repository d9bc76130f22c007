// Package evalset keeps the questions that language models are judged by: sets of records with inputs, what came out and
// what was expected. MLflow calls them evaluation datasets.
//
// A set has one record per input: a record that comes again replaces the outputs and adds to the expectations and tags.
// A set belongs to any number of experiments. It is no data set of ours (package dataset), which is tables that models are
// trained and tested on.
package evalset

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"keelson/internal/filter"
	"keelson/internal/problem"
	"keelson/internal/tracking"
)

// Limits.
const (
	MaxRecords = 200_000 // of one set
	maxRecord  = 1 << 20 // bytes of one part of a record
	maxTag     = 5000    // characters of a tag's value
)

// Events.
const (
	EventCreated = "evalset.created" // data: {evalset, name}
	EventChanged = "evalset.changed" // data: {evalset, what changed}
	EventDeleted = "evalset.deleted" // data: {evalset, name, records}
)

// Set is an evaluation dataset without its records.
type Set struct {
	ID          string
	Name        string
	Tags        map[string]string
	Experiments []string
	Fields      Fields
	Digest      string
	Records     int
	CreatedBy   string
	UpdatedBy   string
	CreatedAt   time.Time
	UpdatedAt   time.Time
}

// Fields are the types of what the records hold, by name: string, integer, float, boolean, array, object, null. Outputs
// that are no objects have one type.
type Fields struct {
	Inputs       map[string]string `json:"inputs"`
	Outputs      any               `json:"outputs"`
	Expectations map[string]string `json:"expectations"`
	Version      string            `json:"version"`
}

// Record is one question. Outputs, Expectations and Source are nil where there are none.
type Record struct {
	ID           string
	Set          string
	Inputs       json.RawMessage
	Outputs      json.RawMessage
	Expectations json.RawMessage
	Tags         map[string]string
	Source       json.RawMessage
	CreatedBy    string
	UpdatedBy    string
	CreatedAt    time.Time
	UpdatedAt    time.Time
}

// Grammar is what a search over sets may name.
var Grammar = &filter.Grammar{Entities: []filter.Entity{
	{Name: filter.Attribute, Aliases: []string{"attributes", "attr"}, Keys: map[string]filter.Key{
		"name":         {Stored: "name", Ops: filter.Lists, Ordered: true},
		"created_time": {Stored: "created_at", Type: filter.Number, Ops: filter.Numbers, Ordered: true}, "last_update_time": {Stored: "updated_at", Type: filter.Number, Ops: filter.Numbers, Ordered: true},
		"created_by": {Stored: "created_by", Ops: filter.Texts}, "last_updated_by": {Stored: "updated_by", Ops: filter.Texts},
	}},
	{Name: filter.Tag, Aliases: []string{"tags"}, Any: &filter.Key{Ops: filter.Nullable}},
}}

func checkName(name string) error {
	if strings.TrimSpace(name) == "" || utf8.RuneCountInString(name) > 255 {
		return problem.New(problem.Invalid, "Dataset name cannot be empty or only whitespace, and has at most 255 characters.").At("name")
	}
	return nil
}

func checkTags(tags map[string]string) error {
	for k, v := range tags {
		if err := tracking.CheckTag(tracking.Pair{Key: k, Value: v}, maxTag); err != nil {
			return err
		}
	}
	return nil
}

// Given is one record as a client gives it.
type Given struct {
	Inputs       map[string]any    `json:"inputs"`
	Outputs      json.RawMessage   `json:"outputs"`
	Expectations map[string]any    `json:"expectations"`
	Tags         map[string]string `json:"tags"`
	Source       json.RawMessage   `json:"source"`
}

// Read reads the JSON array of records that a client gives.
func Read(text []byte) ([]Given, error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var list []Given
	if err := d.Decode(&list); err != nil || d.More() {
		return nil, problem.New(problem.Invalid, "The records are not a JSON array of objects with inputs, outputs, expectations, tags and source.").At("records").Because(err)
	}
	for i := range list {
		g := &list[i]
		if len(g.Inputs) == 0 {
			return nil, problem.New(problem.Invalid, "Record %d has no inputs.", i+1).At("records")
		}
		for _, part := range []json.RawMessage{g.Outputs, g.Source, canonical(g.Inputs), canonical(g.Expectations)} {
			if len(part) > maxRecord {
				return nil, problem.New(problem.Invalid, "A part of record %d is larger than %d bytes.", i+1, maxRecord).At("records")
			}
		}
		if err := g.source(); err != nil {
			return nil, err
		}
		if err := checkTags(g.Tags); err != nil {
			return nil, err
		}
	}
	return list, nil
}

var sourceTypes = []string{"UNSPECIFIED", "TRACE", "HUMAN", "DOCUMENT", "CODE"}

// SourceOf reads what a source says of itself: its type, and the trace or other thing it names.
func SourceOf(source json.RawMessage) (typ, id string) {
	var s struct {
		Type string `json:"source_type"`
		Data struct {
			Trace  string `json:"trace_id"`
			Source string `json:"source_id"`
		} `json:"source_data"`
	}
	if len(source) == 0 || json.Unmarshal(source, &s) != nil {
		return "", ""
	}
	if s.Type == "TRACE" {
		return s.Type, s.Data.Trace
	}
	return s.Type, s.Data.Source
}

// source brings the source into its usual form.
func (g *Given) source() error {
	if len(g.Source) == 0 || string(g.Source) == "null" {
		g.Source = nil
		return nil
	}
	var s struct {
		Type string         `json:"source_type"`
		Data map[string]any `json:"source_data"`
	}
	if err := json.Unmarshal(g.Source, &s); err != nil || !slices.Contains(sourceTypes, strings.ToUpper(s.Type)) {
		return problem.New(problem.Invalid, "Invalid dataset record source type: %s. Valid source types: %s.", problem.Clip(s.Type, 40), strings.Join(sourceTypes, ", ")).At("records")
	}
	if s.Data == nil {
		s.Data = map[string]any{}
	}
	g.Source = canonical(map[string]any{"source_type": strings.ToUpper(s.Type), "source_data": s.Data})
	return nil
}

// canonical is JSON with sorted names; nil for an empty object.
func canonical(m map[string]any) json.RawMessage {
	if len(m) == 0 {
		return nil
	}
	b, err := json.Marshal(m)
	if err != nil {
		return nil
	}
	return b
}

// input tells one record from another.
func (g *Given) input() string {
	sum := sha256.Sum256(canonical(g.Inputs))
	return hex.EncodeToString(sum[:])
}

// merge takes g into a record that has the same inputs.
func (r *Record) merge(g Given) error {
	if g.Outputs != nil {
		r.Outputs = g.Outputs
		if string(g.Outputs) == "null" {
			r.Outputs = nil
		}
	}
	if len(g.Expectations) > 0 {
		all := map[string]any{}
		if len(r.Expectations) > 0 {
			d := json.NewDecoder(bytes.NewReader(r.Expectations))
			d.UseNumber()
			if err := d.Decode(&all); err != nil {
				return err
			}
		}
		maps.Copy(all, g.Expectations)
		r.Expectations = canonical(all)
	}
	if r.Tags == nil {
		r.Tags = map[string]string{}
	}
	maps.Copy(r.Tags, g.Tags)
	return nil
}

// learn adds the types of a record's fields that were not seen before.
func (f *Fields) learn(g Given) {
	if f.Version == "" {
		*f = Fields{Inputs: map[string]string{}, Outputs: map[string]any{}, Expectations: map[string]string{}, Version: "1.0"}
	}
	for k, v := range g.Inputs {
		if f.Inputs[k] == "" {
			f.Inputs[k] = kind(v)
		}
	}
	for k, v := range g.Expectations {
		if f.Expectations[k] == "" {
			f.Expectations[k] = kind(v)
		}
	}
	if len(g.Outputs) == 0 || string(g.Outputs) == "null" {
		return
	}
	d := json.NewDecoder(bytes.NewReader(g.Outputs))
	d.UseNumber()
	var out any
	if d.Decode(&out) != nil {
		return
	}
	known, named := f.Outputs.(map[string]any)
	m, isObject := out.(map[string]any)
	switch {
	case named && isObject:
		for k, v := range m {
			if known[k] == nil {
				known[k] = kind(v)
			}
		}
	case named && len(known) == 0:
		f.Outputs = kind(out)
	}
}

func kind(v any) string {
	switch v := v.(type) {
	case nil:
		return "null"
	case bool:
		return "boolean"
	case json.Number:
		if strings.ContainsAny(v.String(), ".eE") {
			return "float"
		}
		return "integer"
	case string:
		return "string"
	case []any:
		return "array"
	}
	return "object"
}
