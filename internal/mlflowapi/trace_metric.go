package mlflowapi

import (
	"context"
	"strconv"

	"keelson/internal/problem"
	"keelson/internal/trace"
)

func (m *API) correlateTraces(ctx context.Context, in *struct {
	Experiments []string `json:"experiment_ids"`
	First       string   `json:"filter_string1"`
	Second      string   `json:"filter_string2"`
	Base        string   `json:"base_filter"`
}) (any, error) {
	for _, id := range in.Experiments {
		if err := check(id); err != nil {
			return nil, err
		}
	}
	c, err := m.Traces.Correlate(ctx, in.Experiments, in.First, in.Second, in.Base)
	return struct {
		NPMI     number `json:"npmi"`
		Smoothed number `json:"npmi_smoothed"`
		First    int    `json:"filter1_count"`
		Second   int    `json:"filter2_count"`
		Joint    int    `json:"joint_count"`
		Total    int    `json:"total_count"`
	}{number(c.NPMI), number(c.Smoothed), c.First, c.Second, c.Joint, c.Total}, err
}

// Names of MLflow's enums, in the order of their numbers from 1.
var (
	metricViews  = []string{trace.OfTraces, trace.OfSpans, trace.OfAssessments}
	viewNames    = []string{"TRACES", "SPANS", "ASSESSMENTS"}
	aggregations = []string{trace.Count, trace.Sum, trace.Avg, trace.Percentile, trace.Min, trace.Max}
)

// pick finds the value of an enum that is written as one of names or as its number.
func (e constant) pick(field string, names, values []string) (string, error) {
	for i, n := range names {
		if string(e) == n || string(e) == strconv.Itoa(i+1) {
			return values[i], nil
		}
	}
	return "", invalid(field, string(e))
}

func (m *API) traceMetrics(ctx context.Context, in *struct {
	Experiments  []string `json:"experiment_ids"`
	View         constant `json:"view_type"`
	Metric       string   `json:"metric_name"`
	Aggregations []struct {
		Kind constant `json:"aggregation_type"`
		P    *number  `json:"percentile_value"`
	} `json:"aggregations"`
	Dimensions []string `json:"dimensions"`
	Filters    []string `json:"filters"`
	Every      integer  `json:"time_interval_seconds"`
	Since      *integer `json:"start_time_ms"`
	Until      *integer `json:"end_time_ms"`
	Max        integer  `json:"max_results"`
	Token      string   `json:"page_token"`
}) (any, error) {
	for _, id := range in.Experiments {
		if err := check(id); err != nil {
			return nil, err
		}
	}
	if in.Token != "" {
		return nil, problem.New(problem.Invalid, "Invalid page token: %q. An answer has all points; there is no second page.", problem.Clip(in.Token, 60)).At("page_token")
	}
	q := trace.MetricQuery{Experiments: in.Experiments, Metric: in.Metric, Dimensions: in.Dimensions, Filters: in.Filters, Every: int64(in.Every)}
	var err error
	if q.View, err = in.View.pick("view_type", viewNames, metricViews); err != nil {
		return nil, err
	}
	if q.Limit, err = limited(in.Max, trace.MaxMetricPoints, trace.MaxMetricPoints); err != nil {
		return nil, err
	}
	for _, a := range in.Aggregations {
		x := trace.Aggregation{}
		if x.Kind, err = a.Kind.pick("aggregations", aggregations, aggregations); err != nil {
			return nil, err
		}
		if x.Kind == trace.Percentile {
			if a.P == nil {
				return nil, missing("aggregations.percentile_value")
			}
			x.P = float64(*a.P)
		}
		q.Aggregations = append(q.Aggregations, x)
	}
	for _, t := range []struct {
		from *integer
		to   **int64
	}{{in.Since, &q.Since}, {in.Until, &q.Until}} {
		if t.from != nil {
			v := int64(*t.from)
			*t.to = &v
		}
	}
	points, err := m.Traces.Measure(ctx, q)
	if err != nil {
		return nil, err
	}
	type point struct {
		Metric     string            `json:"metric_name"`
		Dimensions map[string]string `json:"dimensions,omitempty"`
		Values     map[string]number `json:"values"`
	}
	var out struct {
		Points []point `json:"data_points,omitempty"`
	}
	for _, p := range points {
		values := map[string]number{}
		for k, v := range p.Values {
			values[k] = number(v)
		}
		out.Points = append(out.Points, point{in.Metric, p.Dimensions, values})
	}
	return out, nil
}
