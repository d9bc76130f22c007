// Package study explains a version as a whole: what its answers hang on, over the decisions that it logged.
//
// A study says how much each feature moved the answers (mean absolute contribution) and which way, shows the contributions
// one by one, how the answer goes with a feature (partial dependence and local effects, beside how often its values occur),
// and how sensitive the answer is over the features' ranges (Morris, Sobol). It names its sample, methods and limits. Shift
// compares two times; Counter looks for the least that would have had to be different for another answer.
//
// Contributions come from reason.Explain, all other mathematics from internal/explain.
package study

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"keelson/internal/engine"
	"keelson/internal/engine/reason"
	"keelson/internal/explain"
	"keelson/internal/problem"
	"keelson/internal/score"
	"keelson/internal/tensor"
)

// Sizes of a study.
const (
	maxCalls     = 300 // newest calls that are looked at
	maxRows      = 500 // rows of them
	ownRows      = 256 // rows whose contributions are asked of a model that explains itself,
	sampledRows  = 32  // or of any other
	curves       = 8   // features whose curves are drawn
	curveRows    = 200 // rows that a curve asks for
	curvePoints  = 21
	bars         = 20
	trajectories = 20
	blocks       = 128
	sensitive    = 30 // features at most for variances
)

// Study is what was found of a version.
type Study struct {
	Model     string    `json:"model"`
	Version   int       `json:"version"`
	MadeAt    time.Time `json:"made_at"`
	Rows      int       `json:"rows" doc:"rows of logged calls that the curves were drawn from"`
	Explained int       `json:"explained" doc:"rows whose contributions were computed"`
	From      time.Time `json:"from" doc:"the oldest call"`
	Until     time.Time `json:"until" doc:"the newest call"`
	Output    string    `json:"output" doc:"the output that is explained"`
	Unit      string    `json:"unit" doc:"unit of the contributions"`
	Method    string    `json:"method" doc:"how the contributions came about"`
	Limits    []string  `json:"limits" doc:"what the numbers cannot tell"`
	Features  []Feature `json:"features" doc:"the most important first"`
	Nightly   bool      `json:"nightly" doc:"made by the nightly job; else somebody asked for it"`
	Digest    string    `json:"digest" doc:"of the artifact and the calls; the same gives the same study"`
}

// Feature is what was found of one feature.
type Feature struct {
	Name       string   `json:"name"`
	Importance float64  `json:"importance" doc:"mean absolute contribution, in the unit"`
	Share      float64  `json:"share" doc:"of the sum of all importances, 0 to 1"`
	Direction  *float64 `json:"direction,omitempty" doc:"correlation of value and contribution, -1 to 1"`
	Words      string   `json:"words"`
	Points     []Point  `json:"points" doc:"one per explained row, for a beeswarm"`
	Curve      *Curve   `json:"curve,omitempty"`
	Density    []Bar    `json:"density,omitempty" doc:"how often the values occur in the sample"`
	Morris     *Effect  `json:"morris,omitempty"`
	First      *float64 `json:"sobol_first,omitempty" doc:"share of the answer's variance by the feature alone"`
	Total      *float64 `json:"sobol_total,omitempty" doc:"the same with its interactions"`
}

// Effect is a Morris screening: change of the answer per full range of the feature.
type Effect struct {
	Size *float64 `json:"mu_star,omitempty" doc:"mean of the absolute changes"`
	Mean *float64 `json:"mu,omitempty" doc:"mean of the changes, with sign"`
	SD   *float64 `json:"sigma,omitempty" doc:"how far the change depends on where one stands"`
}

// Point is one row: the feature's value, its place within the values of the sample (0 lowest, 1 highest; none for texts
// and missing values) and the contribution.
type Point struct {
	Value        any      `json:"value"`
	Place        *float64 `json:"place,omitempty"`
	Contribution float64  `json:"contribution"`
}

// Curve is how the answer goes with a feature.
type Curve struct {
	Values []any     `json:"values"`
	Mean   []float64 `json:"mean" doc:"mean answer when every row has the value (partial dependence)"`
	Low    []float64 `json:"low" doc:"a tenth of the rows answer below"`
	High   []float64 `json:"high" doc:"a tenth of the rows answer above"`
	Local  *Local    `json:"local,omitempty"`
}

// Local are accumulated local effects: they ask for no combination far from the rows.
type Local struct {
	Edges  []float64 `json:"edges"`
	Effect []float64 `json:"effect"`
}

// Bar counts values: from From (exclusive but for the first) to To, or one text.
type Bar struct {
	From  *float64 `json:"from,omitempty"`
	To    *float64 `json:"to,omitempty"`
	Text  string   `json:"text,omitempty"`
	Count int      `json:"count"`
}

// contributions are those of some rows, per feature by name.
type contributions struct {
	names  []string
	values map[string][]float64
	rows   int
	unit   string
	method string
	output string
}

// contribute asks for the contributions of the first rows of a surface. Rows are asked in batches; a model that explains
// itself is asked for more.
func contribute(ctx context.Context, m engine.Model, sig engine.Signature, s *reason.Surface, calls [][]tensor.Tensor) (c contributions, err error) {
	c.values = map[string][]float64{}
	f := len(s.Features)
	batch, most := reason.MaxRows, ownRows
	for at := 0; at < min(most, len(s.Calls)); at += batch {
		rows := s.Rows[at*f : min(at+batch, most, len(s.Calls))*f]
		e, err := reason.Explain(ctx, m, sig, s.Tensors(rows), 0, func(context.Context) ([][]tensor.Tensor, error) { return calls, nil })
		if problem.Is(err, problem.TooLarge) && batch > reason.MaxSampledRows { // it cannot explain itself
			batch, most = reason.MaxSampledRows, sampledRows
			at -= batch
			continue
		}
		if err != nil {
			return c, err
		}
		c.unit, c.method = e.Unit, e.Method
		for _, r := range e.Rows {
			c.output = r.Name
			for _, x := range r.Features {
				if c.values[x.Name] == nil {
					c.names = append(c.names, x.Name)
				}
				c.values[x.Name] = append(c.values[x.Name], x.Contribution)
			}
		}
		c.rows += len(e.Rows)
	}
	return c, nil
}

// importance is the mean absolute contribution of each feature, and their sum.
func (c *contributions) importance() (each map[string]float64, all float64) {
	each = map[string]float64{}
	for name, list := range c.values {
		for _, v := range list {
			each[name] += math.Abs(v) / float64(len(list))
		}
		all += each[name]
	}
	return each, all
}

// examine makes the study of a loaded version over the inputs of calls, the newest first.
func examine(ctx context.Context, m engine.Model, sig engine.Signature, calls [][]tensor.Tensor) (out Study, err error) {
	s, err := reason.NewSurface(ctx, m, sig, calls, maxRows)
	if err != nil {
		return out, err
	}
	c, err := contribute(ctx, m, sig, s, calls)
	if err != nil {
		return out, err
	}
	each, all := c.importance()
	f := len(s.Features)
	out = Study{Rows: len(s.Calls), Explained: c.rows, Unit: c.unit, Method: c.method, Output: c.output, Limits: []string{
		"Contributions describe the model, not the world: a feature may carry what belongs to another one that goes with it.",
		"Curves set one feature and leave the others as they are, so that some rows they ask for cannot exist; look at how often the values occur.",
		"Sensitivities take the features as independent and even over the middle nine tenths of their values; texts stay at the most frequent one.",
	}}
	if c.rows < len(s.Calls) {
		out.Limits = append(out.Limits, fmt.Sprintf("Contributions are those of the newest %d of %d rows.", c.rows, len(s.Calls)))
	}
	for _, name := range c.names {
		x := Feature{Name: name, Importance: each[name]}
		if all > 0 {
			x.Share = each[name] / all
		}
		if j := slices.Index(s.Features, name); j >= 0 {
			x.Points, x.Direction = points(s, j, c.values[name])
			x.Density = density(s, j)
		} else {
			for _, v := range c.values[name] {
				x.Points = append(x.Points, Point{Contribution: v})
			}
		}
		x.Words = words(x)
		out.Features = append(out.Features, x)
	}
	slices.SortStableFunc(out.Features, func(a, b Feature) int {
		if a.Importance != b.Importance {
			if a.Importance > b.Importance {
				return -1
			}
			return 1
		}
		return 0
	})
	few := s.Rows[:min(curveRows, len(s.Calls))*f]
	for i := range out.Features[:min(curves, len(out.Features))] {
		if j := slices.Index(s.Features, out.Features[i].Name); j >= 0 {
			if out.Features[i].Curve, err = curve(s, few, j); err != nil {
				return out, err
			}
		}
	}
	return out, sensitivity(s, &out)
}

// points pairs the values of feature j with its contributions.
func points(s *reason.Surface, j int, list []float64) (out []Point, direction *float64) {
	f := len(s.Features)
	var sorted, xs, ys []float64
	for r := range len(s.Calls) {
		if v := s.Rows[r*f+j]; v-v == 0 {
			sorted = append(sorted, v)
		}
	}
	slices.Sort(sorted)
	for r, c := range list {
		v := s.Rows[r*f+j]
		p := Point{Value: s.Value(j, v), Contribution: c}
		if !s.Text(j) && v-v == 0 {
			low, _ := slices.BinarySearch(sorted, v)
			high := low
			for high < len(sorted) && sorted[high] == v {
				high++
			}
			place := 0.5
			if len(sorted) > 1 {
				place = (float64(low+high-1) / 2) / float64(len(sorted)-1)
			}
			p.Place = &place
			xs, ys = append(xs, v), append(ys, c)
		}
		out = append(out, p)
	}
	if s.Text(j) {
		return out, nil
	}
	return out, correlation(xs, ys)
}

// correlation is Pearson's, −1 to 1; nil where the value or its contribution is always the same.
func correlation(x, y []float64) *float64 {
	n := float64(len(x))
	var mx, my, xx, yy, xy float64
	for i := range x {
		mx, my = mx+x[i]/n, my+y[i]/n
	}
	for i := range x {
		xx, yy, xy = xx+(x[i]-mx)*(x[i]-mx), yy+(y[i]-my)*(y[i]-my), xy+(x[i]-mx)*(y[i]-my)
	}
	if !(xx > 0) || !(yy > 0) {
		return nil
	}
	return known(score.Of(max(-1, min(1, xy/math.Sqrt(xx)/math.Sqrt(yy)))))
}

// known is a value that there is, else nil.
func known(v score.Value) *float64 {
	if x, ok, _ := v.Get(); ok {
		return &x
	}
	return nil
}

// words say what a feature did.
func words(x Feature) string {
	if x.Importance == 0 {
		return x.Name + " did not move any answer of the sample."
	}
	share := fmt.Sprintf("%s makes %.0f %% of what moves the answers", x.Name, 100*x.Share)
	switch d := x.Direction; {
	case d == nil || math.Abs(*d) < 0.3:
		return share + "; up or down depends on the row."
	case *d > 0:
		return share + "; higher values raise the answer."
	}
	return share + "; higher values lower the answer."
}

// density counts the values of feature j in bars of equal width, or by text.
func density(s *reason.Surface, j int) (out []Bar) {
	f := len(s.Features)
	if s.Text(j) {
		counts := make([]int, len(s.Words(j)))
		for r := range len(s.Calls) {
			counts[int(s.Rows[r*f+j])]++
		}
		for k, n := range counts {
			out = append(out, Bar{Text: s.Words(j)[k], Count: n})
		}
		slices.SortStableFunc(out, func(a, b Bar) int { return b.Count - a.Count })
		return out[:min(len(out), bars)]
	}
	low, high := math.Inf(1), math.Inf(-1)
	for r := range len(s.Calls) {
		if v := s.Rows[r*f+j]; v-v == 0 {
			low, high = min(low, v), max(high, v)
		}
	}
	if !(low <= high) {
		return nil
	}
	n := bars
	if low == high {
		n = 1
	}
	for k := range n {
		from, to := low+(high-low)*float64(k)/float64(n), low+(high-low)*float64(k+1)/float64(n)
		out = append(out, Bar{From: &from, To: &to})
	}
	for r := range len(s.Calls) {
		if v := s.Rows[r*f+j]; v-v == 0 {
			k := 0
			if high > low {
				k = min(n-1, int((v-low)/(high-low)*float64(n)))
			}
			out[k].Count++
		}
	}
	return out
}

// curve draws how the answer goes with feature j.
func curve(s *reason.Surface, rows []float64, j int) (*Curve, error) {
	f := len(s.Features)
	var values, grid []float64
	for r := 0; r < len(rows); r += f {
		values = append(values, rows[r+j])
	}
	if s.Text(j) {
		for k := range min(len(s.Words(j)), curvePoints) {
			grid = append(grid, float64(k))
		}
	} else if grid = explain.Grid(values, curvePoints); s.Whole(j) {
		for k := range grid {
			grid[k] = math.Round(grid[k])
		}
		grid = slices.Compact(grid)
	}
	if len(grid) < 2 {
		return nil, nil
	}
	d, err := explain.Depend(s.Predict, rows, f, j, grid, len(values))
	if err != nil {
		return nil, err
	}
	out := &Curve{Mean: d.Mean}
	for k, v := range d.Grid {
		column := make([]float64, len(d.Rows))
		for r := range d.Rows {
			column[r] = d.Rows[r][k]
		}
		slices.Sort(column)
		out.Values = append(out.Values, s.Value(j, v))
		out.Low, out.High = append(out.Low, column[len(column)/10]), append(out.High, column[len(column)-1-len(column)/10])
	}
	if !s.Text(j) {
		local, err := explain.Accumulate(s.Predict, rows, f, j, curvePoints/2)
		if err == nil {
			out.Local = &Local{local.Edges, local.Effect}
		} else if !problem.Is(err, problem.Invalid) { // one value only: nothing to go along
			return nil, err
		}
	}
	return out, nil
}

// sensitivity fills in Morris and Sobol for the features that are numbers and vary.
func sensitivity(s *reason.Surface, out *Study) error {
	f := len(s.Features)
	var which []int
	var ranges []explain.Range
	for j := range f {
		var values []float64
		for r := range len(s.Calls) {
			values = append(values, s.Rows[r*f+j])
		}
		if ends := explain.Grid(values, 2); !s.Text(j) && len(ends) == 2 {
			which, ranges = append(which, j), append(ranges, explain.Range{Low: ends[0], High: ends[1]})
		}
	}
	if len(which) == 0 || len(which) > sensitive {
		out.Limits = append(out.Limits, fmt.Sprintf("Sensitivities are computed for 1 to %d features that are numbers and vary; here are %d.", sensitive, len(which)))
		return nil
	}
	typical := s.Typical()
	for j, v := range typical {
		if v != v && len(s.Words(j)) > 0 {
			typical[j] = 0
		}
	}
	ask := func(rows []float64) ([]float64, error) {
		d := len(which)
		whole := make([]float64, 0, len(rows)/d*f)
		for r := 0; r < len(rows); r += d {
			row := slices.Clone(typical)
			for k, j := range which {
				row[j] = rows[r+k]
			}
			whole = append(whole, row...)
		}
		return s.Predict(whole)
	}
	rng := rand.New(rand.NewPCG(1, 2)) // the same study has the same numbers
	rows, err := explain.MorrisSample(rng, ranges, trajectories, 4)
	if err != nil {
		return err
	}
	answers, err := ask(rows)
	if err != nil {
		return err
	}
	effects, err := explain.Morris(rows, answers, ranges)
	if err != nil {
		return err
	}
	if rows, err = explain.SobolSample(rng, ranges, blocks); err != nil {
		return err
	}
	if answers, err = ask(rows); err != nil {
		return err
	}
	shares, err := explain.Sobol(answers, len(which))
	if err != nil {
		return err
	}
	for k, j := range which {
		for i := range out.Features {
			if x := &out.Features[i]; x.Name == s.Features[j] {
				x.Morris = &Effect{known(effects[k].Size), known(effects[k].Mean), known(effects[k].SD)}
				x.First, x.Total = known(shares.First[k]), known(shares.Total[k])
			}
		}
	}
	return nil
}

// windowed are the contributions of one window.
func windowed(ctx context.Context, m engine.Model, calls [][]tensor.Tensor) (contributions, error) {
	s, err := reason.NewSurface(ctx, m, m.Signature(), calls, maxRows)
	if err != nil {
		return contributions{}, err
	}
	return contribute(ctx, m, m.Signature(), s, calls)
}
