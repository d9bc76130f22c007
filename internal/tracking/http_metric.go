package tracking

import (
	"context"
	"math"
	"reflect"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"keelson/internal/problem"
	"keelson/internal/rest"
)

// maxSeriesAll bounds one call that reads many series: runs × keys × points.
const maxSeriesAll = 2_000_000

func (s *Service) metricRoutes(a *rest.API) {
	rest.Get(a, "/api/v1/runs/{id}/metrics", "run.read", "List the metrics of a run", s.getMetrics)
	rest.Get(a, "/api/v1/runs/{id}/metrics/{key}", "run.read", "Read a metric of a run as a series", s.getSeries)
	rest.Post(a, "/api/v1/metrics/series", "run.read", "Read metrics of many runs as series", s.postSeries)
}

// MetricView is what there is of one metric.
type MetricView struct {
	Key    string    `json:"key"`
	Latest PointView `json:"latest" doc:"the greatest by step, time, value"`
	Min    any       `json:"min" doc:"smallest value, NaN left out; null when there is nothing else"`
	Max    any       `json:"max" doc:"largest value, NaN left out; null when there is nothing else"`
	Count  int       `json:"count" doc:"points, identical ones once"`
}

// PointView is one point.
type PointView struct {
	Step  int64     `json:"step"`
	At    time.Time `json:"at"`
	Value any       `json:"value" doc:"a number, or NaN, Infinity or -Infinity as a string"`
}

func (s *Service) getMetrics(ctx context.Context, in *struct {
	ID string `path:"id"`
}) (rest.Page[MetricView], error) {
	list, err := s.Summaries(ctx, in.ID)
	if err != nil {
		return rest.Page[MetricView]{}, err
	}
	page := rest.Page[MetricView]{Items: make([]MetricView, len(list))}
	for i, m := range list {
		page.Items[i] = MetricView{Key: m.Key, Latest: PointView{m.Latest.Step, time.UnixMilli(m.Latest.At).UTC(), jsonNumber(m.Latest.Value)}, Count: m.Count}
		if m.Low != nil {
			page.Items[i].Min, page.Items[i].Max = jsonNumber(*m.Low), jsonNumber(*m.High)
		}
	}
	return page, nil
}

// SeriesView is one metric of one run, sorted by step, time, value.
type SeriesView struct {
	Run     string      `json:"run"`
	Key     string      `json:"key"`
	Count   int         `json:"count" doc:"points in the range"`
	Sampled bool        `json:"sampled" doc:"true: of buckets of equal numbers of points the smallest and the largest value are here"`
	Steps   []int64     `json:"steps"`
	Times   []time.Time `json:"times"`
	Values  []any       `json:"values" doc:"numbers, or NaN, Infinity, -Infinity as strings"`
}

func viewSeries(v Sampled) SeriesView {
	out := SeriesView{Run: v.Run, Key: v.Key, Count: v.Count, Sampled: v.Sampled, Steps: make([]int64, len(v.Points)), Times: make([]time.Time, len(v.Points)), Values: make([]any, len(v.Points))}
	for i, p := range v.Points {
		out.Steps[i], out.Times[i], out.Values[i] = p.Step, time.UnixMilli(p.At).UTC(), jsonNumber(p.Value)
	}
	return out
}

func (s *Service) getSeries(ctx context.Context, in *struct {
	ID     string `path:"id"`
	Key    string `path:"key" doc:"name of the metric; a slash in it is written %2F"`
	From   step   `query:"from_step" doc:"only points of this step or later ones"`
	To     step   `query:"to_step" doc:"only points of this step or earlier ones"`
	Points int    `query:"points" minimum:"1" maximum:"10000" default:"1000" doc:"how many points at most; more are sampled so that peaks survive"`
}) (SeriesView, error) {
	from, to := in.From.or(math.MinInt64), in.To.or(math.MaxInt64)
	if err := checkRange(from, to); err != nil {
		return SeriesView{}, err
	}
	v, err := s.Sample(ctx, in.ID, in.Key, from, to, in.Points)
	return viewSeries(v), err
}

// step is a query parameter that may be left out, which no number stands for.
type step struct {
	Value int64
	given bool
}

func (p step) or(other int64) int64 {
	if p.given {
		return p.Value
	}
	return other
}

// Schema, Receiver and OnParamSet make it an integer for huma.
func (p step) Schema(r huma.Registry) *huma.Schema {
	return huma.SchemaFromType(r, reflect.TypeFor[int64]())
}
func (p *step) Receiver() reflect.Value      { return reflect.ValueOf(p).Elem().Field(0) }
func (p *step) OnParamSet(given bool, _ any) { p.given = given }

func checkRange(from, to int64) error {
	if from > to {
		return problem.New(problem.Invalid, "from_step is %d and to_step is %d; the first must not be greater than the last.", from, to).At("from_step")
	}
	return nil
}

type seriesInput struct {
	Body struct {
		Runs   []string `json:"runs" minItems:"1" maxItems:"200" doc:"identifiers of runs"`
		Keys   []string `json:"keys" minItems:"1" maxItems:"50" doc:"names of metrics"`
		From   *int64   `json:"from_step,omitempty" doc:"only points of this step or later ones"`
		To     *int64   `json:"to_step,omitempty" doc:"only points of this step or earlier ones"`
		Points int      `json:"points,omitempty" minimum:"1" maximum:"10000" default:"200" doc:"how many points of each series at most"`
	}
}

func (s *Service) postSeries(ctx context.Context, in *seriesInput) (rest.Page[SeriesView], error) {
	b := in.Body
	page := rest.Page[SeriesView]{Items: []SeriesView{}}
	from, to := int64(math.MinInt64), int64(math.MaxInt64)
	if b.From != nil {
		from = *b.From
	}
	if b.To != nil {
		to = *b.To
	}
	if err := checkRange(from, to); err != nil {
		return page, err
	}
	if n := len(b.Runs) * len(b.Keys) * b.Points; n > maxSeriesAll {
		return page, problem.New(problem.Invalid, "%d runs times %d metrics times %d points is more than %d; ask for fewer points or in several calls.", len(b.Runs), len(b.Keys), b.Points, maxSeriesAll).At("points")
	}
	for _, run := range b.Runs {
		for _, key := range b.Keys {
			v, err := s.Sample(ctx, run, key, from, to, b.Points)
			if err != nil {
				return page, err
			}
			if v.Count > 0 {
				page.Items = append(page.Items, viewSeries(v))
			}
		}
	}
	return page, nil
}
