package explain

import (
	"math"
	"slices"

	"keelson/internal/problem"
)

// Limits says what a counterfactual may do with one feature.
type Limits struct {
	Min, Max  float64 // the value lies within, in the feature's unit; finite, Min ≤ Max
	Immutable bool    // the value stays as it is, bit for bit
	Step      float64 // the change is a whole multiple of it; 0 for any change
	Scale     float64 // a change of Scale counts 1 in the distance; 0 is 1
}

// Wanted is the answer that a counterfactual has to give.
type Wanted struct {
	Threshold float64 // in the answer's unit
	Above     bool    // answer ≥ Threshold; else answer < Threshold
	// Holds refuses combinations of values that cannot be; nil allows all within the limits.
	Holds func(row []float64) bool
}

func (w Wanted) met(answer float64) bool {
	if w.Above {
		return answer >= w.Threshold
	}
	return answer < w.Threshold
}

// Counterfactual is the nearest row found that gets another answer.
type Counterfactual struct {
	Found    bool
	Row      []float64 // with Found
	Changed  []int     // features that differ
	Answer   float64   // of Row
	Distance float64   // L2, each change divided by its Scale
	Asked    int       // predictions that the search took
	Why      string    // without Found: that none was found, and where it was looked for
}

// MaxAsked bounds the predictions of one search.
const MaxAsked = 50_000

// Counter looks for the smallest change of row, in scaled L2 distance, that gets the wanted answer within limits. It goes
// along the steepest ways (differences of several widths), along each feature alone and into the corners of the box,
// finds the first crossing by bisection, then shortens: it projects on the boundary again from the point found, and takes
// back every change that is not needed. For models whose answer rises with a weighted sum the result is the nearest
// point to rounding; for others it is the nearest that the search found, which need not be the nearest there is. The
// search draws nothing at random: the same question has the same answer.
//
// It fails with problem.Invalid when lengths do not fit, a limit is not finite or turned round, a value that may change is
// not a finite number within its limits, or row has the wanted answer already; and with what predict fails with.
//
// Source: Wachter, Mittelstadt, Russell, Counterfactual explanations without opening the black box, 2017 (distance and
// aim); the projection is the Karush-Kuhn-Tucker point of a linear constraint in a box.
func Counter(predict Predict, row []float64, limits []Limits, want Wanted) (Counterfactual, error) {
	if len(row) == 0 || len(limits) != len(row) {
		return Counterfactual{}, problem.New(problem.Invalid, "There are limits for %d of %d features.", len(limits), len(row))
	}
	s := search{predict: predict, start: slices.Clone(row), limits: slices.Clone(limits), want: want, nearest: math.Inf(1)}
	for j := range s.limits {
		l := &s.limits[j]
		if l.Scale == 0 {
			l.Scale = 1
		}
		if l.Immutable {
			continue
		}
		switch {
		case !(l.Min <= l.Max) || math.IsInf(l.Min, 0) || math.IsInf(l.Max, 0) || !(l.Scale > 0) || math.IsInf(l.Scale, 0) || !(l.Step >= 0) || math.IsInf(l.Step, 0):
			return Counterfactual{}, problem.New(problem.Invalid, "The limits of feature %d (from %g to %g, step %g, scale %g) are not finite, or turned round.", j, l.Min, l.Max, l.Step, l.Scale)
		case !(row[j] >= l.Min && row[j] <= l.Max):
			return Counterfactual{}, problem.New(problem.Invalid, "Feature %d is %g, which lies outside its limits from %g to %g; widen them or hold it.", j, row[j], l.Min, l.Max)
		case l.Max > l.Min:
			s.free = append(s.free, j)
		}
	}
	answer, err := s.ask(s.start)
	if err != nil {
		return Counterfactual{}, err
	}
	if want.met(answer[0]) {
		return Counterfactual{}, problem.New(problem.Invalid, "The row has the wanted answer already (%g).", answer[0])
	}
	if err := s.run(); err != nil {
		return Counterfactual{}, err
	}
	out := Counterfactual{Asked: s.asked}
	if s.best == nil {
		out.Why = "No row within the limits was found that gets the wanted answer: neither along any single feature, nor along the steepest ways, nor in the corners of the limits that these lead to."
		return out, nil
	}
	out.Found, out.Row, out.Answer, out.Distance = true, s.best, s.answer, s.nearest
	for j, v := range s.best {
		if v != s.start[j] {
			out.Changed = append(out.Changed, j)
		}
	}
	return out, nil
}

type search struct {
	predict Predict
	start   []float64
	limits  []Limits
	want    Wanted
	free    []int // features that may change
	asked   int

	best    []float64 // nil until one is found
	answer  float64
	nearest float64
}

// ask answers rows, none when the budget is used up, and keeps the nearest that is good.
func (s *search) ask(rows []float64) ([]float64, error) {
	f := len(s.start)
	n := len(rows) / f
	if n == 0 || s.asked+n > MaxAsked {
		return nil, nil
	}
	s.asked += n
	answers, err := s.predict.call(rows, f)
	if err != nil {
		return nil, err
	}
	for i, a := range answers {
		row := rows[i*f : (i+1)*f]
		if d := s.distance(row); d < s.nearest && s.good(row, a) {
			s.best, s.answer, s.nearest = slices.Clone(row), a, d
		}
	}
	return answers, nil
}

func (s *search) good(row []float64, answer float64) bool {
	return s.want.met(answer) && (s.want.Holds == nil || s.want.Holds(row))
}

func (s *search) distance(row []float64) float64 {
	sum := 0.0
	for _, j := range s.free {
		d := (row[j] - s.start[j]) / s.limits[j].Scale
		sum += d * d
	}
	return math.Sqrt(sum)
}

// put sets feature j of row to v as the limits allow: within them, on a step, away from where it started when in doubt.
func (s *search) put(row []float64, j int, v float64) {
	l := s.limits[j]
	v = min(max(v, l.Min), l.Max)
	if l.Step > 0 {
		k := (v - s.start[j]) / l.Step
		k = math.Copysign(math.Ceil(math.Abs(k)-1e-9), k)
		for k != 0 && (s.start[j]+k*l.Step < l.Min || s.start[j]+k*l.Step > l.Max) {
			k -= math.Copysign(1, k)
		}
		v = s.start[j] + k*l.Step
	}
	row[j] = v
}

// along is the row start + t·way in scaled coordinates, cut off at the limits.
func (s *search) along(way []float64, t float64) []float64 {
	row := slices.Clone(s.start)
	for i, j := range s.free {
		if way[i] != 0 {
			s.put(row, j, s.start[j]+t*way[i]*s.limits[j].Scale)
		}
	}
	return row
}

// wayPoints is how many places on a way are asked at once.
const wayPoints = 32

// cross finds the first good row on a way: asks points on a geometric scale up to where all limits are reached, then
// halves the gap before the first good one.
func (s *search) cross(way []float64) error {
	far, near := 0.0, math.Inf(1)
	for i, j := range s.free {
		if way[i] == 0 {
			continue
		}
		l := s.limits[j]
		room := l.Max - s.start[j]
		if way[i] < 0 {
			room = s.start[j] - l.Min
		}
		if t := room / l.Scale / math.Abs(way[i]); t > 0 {
			far, near = max(far, t), min(near, t)
		}
	}
	if far == 0 {
		return nil
	}
	low, high := 0.0, 0.0
	near = min(near/1000, far/1e6)
	points := make([]float64, 0, 2*wayPoints)
	for k := range wayPoints {
		points = append(points, near*math.Pow(far/near, float64(k)/(wayPoints-1)), far*float64(k+1)/wayPoints)
	}
	slices.Sort(points)
	first, err := s.first(way, points)
	if err != nil || first < 0 {
		return err
	}
	if high = points[first]; first > 0 {
		low = points[first-1]
	}
	for range 12 { // a part in 8^12 of the gap
		for k := range 7 {
			points[k] = low + (high-low)*float64(k+1)/8
		}
		points[7] = high
		if first, err = s.first(way, points[:8]); err != nil || first < 0 {
			return err
		}
		if high = points[first]; first > 0 {
			low = points[first-1]
		}
	}
	return nil
}

// first gives the place of the first good point on a way, −1 when none is.
func (s *search) first(way, points []float64) (int, error) {
	var rows []float64
	for _, t := range points {
		rows = append(rows, s.along(way, t)...)
	}
	answers, err := s.ask(rows)
	f := len(s.start)
	for i, a := range answers {
		if s.good(rows[i*f:(i+1)*f], a) {
			return i, nil
		}
	}
	return -1, err
}

// steepest gives the way on which the answer changes most per distance, by differences of width scaled units at row.
func (s *search) steepest(row []float64, width float64) ([]float64, error) {
	f := len(row)
	var rows []float64
	for _, j := range s.free {
		for _, side := range [2]float64{-1, 1} {
			at := len(rows)
			rows = append(rows, row...)
			rows[at+j] = min(max(row[j]+side*width*s.limits[j].Scale, s.limits[j].Min), s.limits[j].Max)
		}
	}
	answers, err := s.predict.call(rows, f)
	if err != nil {
		return nil, err
	}
	s.asked += len(answers)
	way := make([]float64, len(s.free))
	norm := 0.0
	for i, j := range s.free {
		low, high := rows[2*i*f+j], rows[(2*i+1)*f+j]
		if high > low {
			way[i] = (answers[2*i+1] - answers[2*i]) / (high - low) * s.limits[j].Scale
		}
		if !s.want.Above {
			way[i] = -way[i]
		}
		if way[i]-way[i] != 0 {
			way[i] = 0
		}
		norm = math.Hypot(norm, way[i])
	}
	if norm > 0 {
		for i := range way {
			way[i] /= norm
		}
	}
	return way, nil
}

// run searches.
func (s *search) run() error {
	if len(s.free) == 0 {
		return nil
	}
	for i := range s.free {
		for _, side := range [2]float64{-1, 1} {
			way := make([]float64, len(s.free))
			way[i] = side
			if err := s.cross(way); err != nil {
				return err
			}
		}
	}
	widths := []float64{1e-4, 0.1, 0.5, 1, 3}
	for _, width := range widths {
		if err := s.descend(s.start, width); err != nil {
			return err
		}
	}
	for range 3 { // from the boundary the steepest way may be another
		if s.best == nil {
			break
		}
		before := s.nearest
		for _, width := range widths {
			if err := s.descend(s.best, width); err != nil {
				return err
			}
		}
		if err := s.shorten(); err != nil {
			return err
		}
		if s.nearest >= before*(1-1e-9) {
			break
		}
	}
	return nil
}

// descend follows the steepest way at row from the start, then the same without the features it hardly needs, and as far
// as the limits let it when each feature only goes its own direction.
func (s *search) descend(row []float64, width float64) error {
	if s.asked+2*len(s.free) > MaxAsked {
		return nil
	}
	way, err := s.steepest(row, width)
	if err != nil {
		return err
	}
	if err := s.cross(way); err != nil {
		return err
	}
	for _, keep := range []int{1, 2, 3, 5} {
		if keep >= len(way) {
			break
		}
		few := make([]float64, len(way))
		for _, i := range Largest(way, keep) {
			few[i] = way[i]
		}
		if err := s.cross(few); err != nil {
			return err
		}
	}
	if s.best == nil { // all the way, feature by feature
		corner := make([]float64, len(way))
		for i, v := range way {
			if v != 0 {
				corner[i] = math.Copysign(1, v)
			}
		}
		return s.cross(corner)
	}
	return nil
}

// shorten takes back what is not needed of the best row: each change whole, by half, by its last step, and all together.
func (s *search) shorten() error {
	for range 40 {
		before := s.nearest
		for _, j := range s.free {
			if s.best[j] == s.start[j] {
				continue
			}
			for _, part := range [...]float64{0, 0.5, 0.9, 0.99} {
				row := slices.Clone(s.best)
				s.put(row, j, s.start[j]+(s.best[j]-s.start[j])*part)
				if step := s.limits[j].Step; step > 0 && row[j] == s.best[j] {
					row[j] = s.best[j] - math.Copysign(step, s.best[j]-s.start[j])
				}
				if _, err := s.ask(row); err != nil {
					return err
				}
			}
		}
		way := make([]float64, len(s.free))
		for i, j := range s.free {
			way[i] = (s.best[j] - s.start[j]) / s.limits[j].Scale
		}
		if err := s.cross(way); err != nil {
			return err
		}
		if s.nearest >= before*(1-1e-9) {
			return nil
		}
	}
	return nil
}
