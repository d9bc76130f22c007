package trace

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"keelson/internal/caller"
	"keelson/internal/db"
	"keelson/internal/problem"
	"keelson/internal/rest"
)

// Routes mounts traces as our own clients read them; they are written through MLflow's API and OTLP.
func (s *Service) Routes(a *rest.API) {
	rest.Get(a, "/api/v1/traces", "trace.read", "Search traces, the newest first", s.listTraces)
	rest.Get(a, "/api/v1/traces/metrics", "trace.read", "Count and measure traces", s.getMetrics)
	rest.Get(a, "/api/v1/traces/{id}", "trace.read", "Read a trace with its spans", s.getWhole)
	rest.Delete(a, "/api/v1/traces/{id}", "trace.write", "Delete a trace", s.deleteTrace, rest.Status(http.StatusNoContent))
	rest.Post(a, "/api/v1/traces/{id}/assessments", "trace.assess", "Say what you think of a trace", s.postAssessment, rest.Status(http.StatusCreated))
	rest.Delete(a, "/api/v1/traces/{id}/assessments/{assessment}", "trace.assess", "Delete an assessment of a trace", s.dropAssessment, rest.Status(http.StatusNoContent))
}

func (s *Service) listTraces(ctx context.Context, in *struct {
	rest.Paging
	Experiment string `query:"experiment" doc:"only traces of this experiment"`
	Run        string `query:"run" doc:"only traces that belong to this run"`
	Filter     string `query:"filter" doc:"as MLflow writes it: state = 'ERROR' AND tag.env = 'prod' AND span.name LIKE 'search%'"`
	Order      string `query:"order" doc:"such as 'execution_time_ms DESC'; several with commas"`
}) (rest.Page[View], error) {
	page := rest.Page[View]{Items: []View{}}
	v := Search{Run: in.Run, Filter: in.Filter, Order: words(in.Order), Limit: min(in.Limit, MaxSearch), Token: in.Cursor, Everywhere: in.Experiment == ""}
	if in.Experiment != "" {
		v.Experiments = []string{in.Experiment}
	}
	list, next, err := s.Find(ctx, v)
	if err != nil {
		return page, ownFields.rename(err)
	}
	for _, t := range list {
		page.Items = append(page.Items, view(t))
	}
	page.Next = next
	return page, nil
}

// fields renames the fields that problems name to those of this API.
type fields map[string]string

var ownFields = fields{"page_token": "cursor", "order_by": "order", "locations": "experiment"}

func (f fields) rename(err error) error {
	if p, ok := problem.As(err); ok {
		if to, ok := f[p.Field]; ok {
			p.Field = to
		}
	}
	return err
}

type onTrace struct {
	ID string `path:"id"`
}

func (s *Service) getWhole(ctx context.Context, in *onTrace) (Whole, error) {
	t, err := s.Get(ctx, in.ID)
	if err != nil {
		return Whole{}, err
	}
	spans, err := s.Spans(ctx, []string{in.ID})
	if err != nil {
		return Whole{}, err
	}
	w := Whole{View: view(t)}
	w.Tree, w.Truncated = tree(spans[in.ID])
	return w, nil
}

func (s *Service) deleteTrace(ctx context.Context, in *onTrace) (rest.Nothing, error) {
	return rest.Nothing{}, s.DB.Write(ctx, func(tx db.Scope) error {
		t, err := lockTrace(tx, in.ID)
		if err != nil {
			return err
		}
		_, err = s.drop(tx, t.Experiment, []string{t.ID}, nil)
		return err
	})
}

func (s *Service) postAssessment(ctx context.Context, in *struct {
	onTrace
	Body struct {
		Name      string            `json:"name" minLength:"1"`
		Kind      string            `json:"kind" enum:"feedback,expectation"`
		Value     any               `json:"value" doc:"any JSON"`
		Rationale string            `json:"rationale,omitempty"`
		Span      string            `json:"span,omitempty" doc:"id of the span it is about"`
		Overrides string            `json:"overrides,omitempty" doc:"id of the assessment that it replaces"`
		Metadata  map[string]string `json:"metadata,omitempty"`
	}
}) (Assessment, error) {
	b := in.Body
	value, err := json.Marshal(b.Value)
	if err != nil {
		return Assessment{}, problem.New(problem.Invalid, "The value is no JSON.").At("value")
	}
	return s.Assess(ctx, in.ID, Assessment{Name: b.Name, Kind: b.Kind, Value: value, Rationale: b.Rationale, Span: b.Span, Overrides: b.Overrides, Metadata: b.Metadata,
		Source: Source{Kind: Human, ID: caller.From(ctx).Name}})
}

func (s *Service) dropAssessment(ctx context.Context, in *struct {
	onTrace
	Assessment string `path:"assessment"`
}) (rest.Nothing, error) {
	if _, err := s.Assessment(ctx, in.ID, in.Assessment); err != nil {
		return rest.Nothing{}, err
	}
	return rest.Nothing{}, s.DeleteAssessment(ctx, in.ID, in.Assessment)
}

// Measured is the answer of a query for metrics.
type Measured struct {
	Points []PointView `json:"points"`
}

// PointView is one group's values.
type PointView struct {
	At         *time.Time         `json:"at,omitempty" doc:"when the bucket begins"`
	Dimensions map[string]string  `json:"dimensions"`
	Values     map[string]float64 `json:"values" doc:"COUNT, or AVG, MIN, MAX, P50, P95 and P99, and SUM of amounts"`
}

// usualSpan is how far back metrics go when nothing else is said.
const usualSpan = 24 * time.Hour

func (s *Service) getMetrics(ctx context.Context, in *struct {
	Experiment string    `query:"experiment" doc:"only traces of this experiment"`
	Metric     string    `query:"metric" default:"trace_count" enum:"trace_count,session_count,latency,input_tokens,output_tokens,total_tokens,cache_read_input_tokens,cache_creation_input_tokens"`
	By         string    `query:"by" enum:"name,state" doc:"one group per name or state"`
	Every      int64     `query:"every" minimum:"0" doc:"width of the time buckets in seconds; 0: all in one"`
	Since      time.Time `query:"since" doc:"a day ago if absent"`
	Until      time.Time `query:"until" doc:"now if absent"`
}) (Measured, error) {
	now := s.Now()
	if in.Until.IsZero() {
		in.Until = now
	}
	if in.Since.IsZero() {
		in.Since = in.Until.Add(-usualSpan)
	}
	since, until := in.Since.UnixMilli(), in.Until.UnixMilli()
	q := MetricQuery{View: OfTraces, Metric: in.Metric, Every: in.Every, Since: &since, Until: &until, Limit: MaxMetricPoints, Everywhere: in.Experiment == ""}
	if in.Experiment != "" {
		q.Experiments = []string{in.Experiment}
	}
	switch in.By {
	case "name":
		q.Dimensions = []string{"trace_name"}
	case "state":
		q.Dimensions = []string{"trace_status"}
	}
	for _, kind := range metricRules[OfTraces][in.Metric].aggregations {
		if kind != Percentile {
			q.Aggregations = append(q.Aggregations, Aggregation{Kind: kind})
			continue
		}
		for _, p := range []float64{50, 95, 99} {
			q.Aggregations = append(q.Aggregations, Aggregation{kind, p})
		}
	}
	points, err := s.Measure(ctx, q)
	if err != nil {
		return Measured{}, err
	}
	out := Measured{Points: []PointView{}}
	for _, p := range points {
		v := PointView{Dimensions: map[string]string{}, Values: map[string]float64{}}
		for k, x := range p.Dimensions {
			switch k {
			case "time_bucket":
				if t, err := time.Parse(time.RFC3339, x); err == nil {
					v.At = &t
				}
			case "trace_name":
				v.Dimensions["name"] = x
			case "trace_status":
				v.Dimensions["state"] = strings.ToLower(x)
			}
		}
		for k, x := range p.Values {
			v.Values[strings.TrimSuffix(k, ".0")] = x
		}
		out.Points = append(out.Points, v)
	}
	return out, nil
}
