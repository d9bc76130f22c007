package trace

import (
	"bytes"
	"encoding/json"
	"math"
	"strings"
	"time"
	"unicode/utf8"

	"keelson/internal/problem"
)

// Kinds of assessments.
const (
	Feedback    = "feedback"    // what somebody thinks of it
	Expectation = "expectation" // what should have come out
	Issue       = "issue"       // a problem it is an example of; the name is the problem's id, the value its name
)

// Kinds of sources.
const (
	Human        = "human"
	Judge        = "llm_judge"
	Code         = "code"
	SourceNotSet = "source_type_unspecified"
)

// Limits of an assessment.
const (
	maxAssessmentValue = 64 << 10 // bytes of the value's JSON
	maxAssessmentText  = 64 << 10 // bytes of the rationale, of an error's stack
	maxAssessmentDepth = 32       // of the value
)

// Assessment is what a person, a model or a program says of a trace or one of its spans.
type Assessment struct {
	ID        string            `json:"id"`
	Name      string            `json:"name"`
	Kind      string            `json:"kind" enum:"feedback,expectation,issue"`
	Value     json.RawMessage   `json:"value"`
	Rationale string            `json:"rationale,omitempty"`
	Span      string            `json:"span,omitempty" doc:"id of the span it is about, if it is about one"`
	Source    Source            `json:"source"`
	Error     *Fault            `json:"error,omitempty" doc:"why there is no value"`
	Metadata  map[string]string `json:"metadata,omitempty"`
	Overrides string            `json:"overrides,omitempty" doc:"id of the assessment that it replaces"`
	Valid     bool              `json:"valid" doc:"false once another one replaces it"`
	CreatedAt time.Time         `json:"created_at"`
	UpdatedAt time.Time         `json:"updated_at"`
}

// Source is who or what assessed.
type Source struct {
	Kind string `json:"kind" enum:"human,llm_judge,code,source_type_unspecified"`
	ID   string `json:"id,omitempty"`
}

// Fault is why a judge gave no value.
type Fault struct {
	Code    string `json:"code"`
	Message string `json:"message,omitempty"`
	Stack   string `json:"stack,omitempty"`
}

func noAssessment(trace, id string) error {
	return problem.New(problem.NotFound, "Assessment with ID '%s' not found for trace '%s'", problem.Clip(id, 80), problem.Clip(trace, 100)).At("assessment_id")
}

func tooLong(field string, n, limit int) error {
	return problem.New(problem.Invalid, "The %s of an assessment has %d bytes; it may have %d.", field, n, limit).At("assessment." + field)
}

// check refuses an assessment that breaks a limit and brings its value into compact form.
func (a *Assessment) check() error {
	if n := utf8.RuneCountInString(a.Name); a.Name == "" || n > MaxKey {
		return problem.New(problem.Invalid, "The name of an assessment has 1 to %d characters; got %d.", MaxKey, n).At("assessment.assessment_name")
	}
	switch a.Kind {
	case Feedback, Expectation, Issue:
	default:
		return problem.New(problem.Invalid, "Unknown assessment type: it is feedback, an expectation or an issue.").At("assessment")
	}
	switch a.Source.Kind {
	case Human, Judge, Code, SourceNotSet:
	default:
		return problem.New(problem.Invalid, "Invalid assessment source type: %s. Valid source types: SOURCE_TYPE_UNSPECIFIED, LLM_JUDGE, HUMAN, CODE.", problem.Clip(a.Source.Kind, 40)).At("assessment.source.source_type")
	}
	if len(a.Value) == 0 {
		a.Value = json.RawMessage("null")
	}
	if len(a.Value) > maxAssessmentValue {
		return tooLong("value", len(a.Value), maxAssessmentValue)
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, a.Value); err != nil || !utf8.Valid(a.Value) {
		return problem.New(problem.Invalid, "The value of assessment '%s' is no JSON.", problem.Clip(a.Name, 60)).At("assessment.value")
	}
	if a.Value = compact.Bytes(); depth(a.Value) > maxAssessmentDepth {
		return problem.New(problem.Invalid, "The value of assessment '%s' is nested deeper than %d levels.", problem.Clip(a.Name, 60), maxAssessmentDepth).At("assessment.value")
	}
	if a.Kind == Expectation && string(a.Value) == "null" {
		return problem.New(problem.Invalid, "The `value` field must be specified: expectation '%s' has none.", problem.Clip(a.Name, 60)).At("assessment.expectation")
	}
	if len(a.Rationale) > maxAssessmentText {
		return tooLong("rationale", len(a.Rationale), maxAssessmentText)
	}
	for _, p := range []struct {
		what, text string
	}{{"span_id", a.Span}, {"overrides", a.Overrides}, {"source.source_id", a.Source.ID}, {"assessment_id", a.ID}} {
		if len(p.text) > 4*MaxKey {
			return tooLong(p.what, len(p.text), 4*MaxKey)
		}
	}
	if e := a.Error; e != nil {
		if n := len(e.Code) + len(e.Message) + len(e.Stack); n > 2*maxAssessmentText {
			return tooLong("error", n, 2*maxAssessmentText)
		}
	}
	for _, t := range []*string{&a.Name, &a.Rationale, &a.Span, &a.Overrides, &a.Source.ID, &a.ID} {
		*t = clean(*t)
	}
	return checkMetadata(a.Metadata)
}

// Kinds of the number that stands for a value.
const (
	noNumber     = 0
	isNumber     = 1 // the value is a number
	standsNumber = 2 // a boolean, or "yes" and "no": 1 and 0 in averages, but not greater than anything
)

// number is the number that stands for the value in comparisons and averages.
func (a *Assessment) number() (float64, int) {
	var v any
	if json.Unmarshal(a.Value, &v) != nil {
		return 0, noNumber
	}
	switch v := v.(type) {
	case float64:
		if !math.IsInf(v, 0) && !math.IsNaN(v) {
			return v, isNumber
		}
	case bool:
		if v {
			return 1, standsNumber
		}
		return 0, standsNumber
	case string:
		switch strings.ToLower(strings.TrimSpace(v)) {
		case "yes":
			return 1, standsNumber
		case "no":
			return 0, standsNumber
		}
	}
	return 0, noNumber
}

// text is the value as filters compare it: a string without its quotes, anything else as JSON.
func (a *Assessment) text() string {
	var s string
	if len(a.Value) > 0 && a.Value[0] == '"' && json.Unmarshal(a.Value, &s) == nil {
		return clean(s)
	}
	return string(a.Value)
}

// AssessmentChange says what becomes of an assessment; nil leaves a part as it is. Metadata is merged.
type AssessmentChange struct {
	Name, Rationale *string
	Kind            string // of the new value, if there is one
	Value           json.RawMessage
	Error           *Fault
	Metadata        map[string]string
	Valid           *bool
}

// apply changes a; source, span and kind stay.
func (c AssessmentChange) apply(a *Assessment) error {
	if c.Kind != "" {
		if c.Kind != a.Kind {
			return problem.New(problem.Invalid, "Cannot update %s value on a %s assessment.", c.Kind, a.Kind).At("update_mask")
		}
		a.Value, a.Error = c.Value, c.Error
	}
	if c.Name != nil {
		a.Name = *c.Name
	}
	if c.Rationale != nil {
		a.Rationale = *c.Rationale
	}
	if c.Valid != nil {
		a.Valid = *c.Valid
	}
	if len(c.Metadata) > 0 {
		a.Metadata = merge(a.Metadata, c.Metadata)
	}
	return a.check()
}
