package journal

import (
	"cmp"
	"math"
	"slices"
	"time"
)

// Traffic is how an endpoint was called over time, with the same places in every list: place i is the stretch of Step
// seconds that begins Step·i seconds after Since. Rates are per second; latencies in µs, null where nothing was answered.
type Traffic struct {
	Endpoint string             `json:"endpoint"`
	Since    time.Time          `json:"since"`
	Until    time.Time          `json:"until" doc:"the end of the last stretch, which may not be over yet"`
	Step     int                `json:"step" doc:"seconds"`
	Series   []Series           `json:"series" doc:"one per version and slot, the newest version first"`
	Missed   map[string][]int64 `json:"missed" doc:"calls without an answer by cause, shadows left aside: invalid, queue, quota, deadline, cancelled, model, log, unavailable; causes that did not occur are left out"`
	Waiting  []int64            `json:"waiting" doc:"most calls that waited at one moment"`
	Total    Figures            `json:"total" doc:"of the whole span, shadows left aside"`
	Nodes    []Node             `json:"nodes" doc:"processes that answer, or should"`
}

// Series is one version in one slot.
type Series struct {
	Version int        `json:"version"`
	Slot    string     `json:"slot" enum:"live,canary,shadow"`
	Calls   []int64    `json:"calls" doc:"answered"`
	Errors  []int64    `json:"errors" doc:"calls without an answer, refusals and callers that left aside"`
	P50     []*float64 `json:"p50_us"`
	P95     []*float64 `json:"p95_us"`
	P99     []*float64 `json:"p99_us"`
	Batch   []*float64 `json:"batch_rows" doc:"rows that the engine computed at once, on average"`
	Total   Figures    `json:"total"`
}

// Figures are sums and quantiles of a span.
type Figures struct {
	Calls   int64    `json:"calls" doc:"answered"`
	Rows    int64    `json:"rows"`
	Errors  int64    `json:"errors" doc:"calls without an answer, refusals and callers that left aside"`
	Refused int64    `json:"refused" doc:"turned away with 429"`
	Dropped int64    `json:"dropped" doc:"shadow copies thrown away"`
	P50     *float64 `json:"p50_us"`
	P95     *float64 `json:"p95_us"`
	P99     *float64 `json:"p99_us"`
}

// Node is a process that serves the endpoint.
type Node struct {
	Name     string    `json:"name"`
	SeenAt   time.Time `json:"seen_at"`
	Standing           // what it has in force there
}

const shadow = "shadow"

func figures(c *Count) Figures {
	return Figures{Calls: int64(c.Calls), Rows: int64(c.Rows), Errors: int64(c.Errors()), Refused: int64(c.Refused()), Dropped: int64(c.Dropped),
		P50: quantile(&c.Latencies, 0.5), P95: quantile(&c.Latencies, 0.95), P99: quantile(&c.Latencies, 0.99)}
}

func quantile(h *Histogram, q float64) *float64 {
	v, ok := h.Quantile(q)
	if !ok {
		return nil
	}
	v = math.Round(v*10) / 10
	return &v
}

// resolution gives the step for a span that ends now or earlier: the finer of the two that is kept so long, times a whole
// number, so that there are at most places of them.
func resolution(since, until, now time.Time, places int) (base, step time.Duration) {
	base = Coarse
	if now.Sub(since) <= keepFine {
		base = Fine
	}
	n := int64(math.Ceil(float64(until.Sub(since)) / float64(base) / float64(places)))
	return base, base * time.Duration(max(n, 1))
}

// traffic puts points into places.
func traffic(points []point, since, until time.Time, step time.Duration) Traffic {
	since = since.Truncate(step)
	n := int(math.Ceil(float64(until.Sub(since)) / float64(step)))
	t := Traffic{Since: since, Until: since.Add(time.Duration(n) * step), Step: int(step / time.Second), Series: []Series{}, Missed: map[string][]int64{}, Waiting: make([]int64, n), Nodes: []Node{}}
	type who struct {
		version int
		slot    string
	}
	cells := map[who]map[int]*Count{}
	var all Count
	for i := range points {
		p := &points[i]
		at := int(p.at.Sub(since) / step)
		if at < 0 || at >= n {
			continue
		}
		if p.Slot != shadow {
			all.Add(&p.Count)
			for c, v := range p.Missed {
				if v > 0 {
					if t.Missed[Causes[c]] == nil {
						t.Missed[Causes[c]] = make([]int64, n)
					}
					t.Missed[Causes[c]][at] += int64(v)
				}
			}
		}
		t.Waiting[at] = max(t.Waiting[at], p.Waiting)
		if p.Version == 0 {
			continue
		}
		k := who{p.Version, p.Slot}
		if cells[k] == nil {
			cells[k] = map[int]*Count{}
		}
		if cells[k][at] == nil {
			cells[k][at] = &Count{}
		}
		cells[k][at].Add(&p.Count)
	}
	for k, at := range cells {
		s := Series{Version: k.version, Slot: k.slot, Calls: make([]int64, n), Errors: make([]int64, n), P50: make([]*float64, n), P95: make([]*float64, n), P99: make([]*float64, n), Batch: make([]*float64, n)}
		var sum Count
		for i, c := range at {
			sum.Add(c)
			s.Calls[i], s.Errors[i] = int64(c.Calls), int64(c.Errors())
			s.P50[i], s.P95[i], s.P99[i] = quantile(&c.Latencies, 0.5), quantile(&c.Latencies, 0.95), quantile(&c.Latencies, 0.99)
			if c.Calls > 0 {
				b := math.Round(float64(c.Rows)/float64(max(c.Calls, c.Joined+1)-c.Joined)*100) / 100
				s.Batch[i] = &b
			}
		}
		s.Total = figures(&sum)
		t.Series = append(t.Series, s)
	}
	slices.SortFunc(t.Series, func(a, b Series) int {
		return cmp.Or(cmp.Compare(b.Version, a.Version), cmp.Compare(a.Slot, b.Slot))
	})
	t.Total = figures(&all)
	return t
}

// Summary is the last hour of one endpoint.
type Summary struct {
	Endpoint string   `json:"endpoint"`
	Hour     Figures  `json:"hour" doc:"of the last hour, shadows left aside"`
	Rate     float64  `json:"rate" doc:"calls per second that were answered, over the last five to ten minutes"`
	Spark    []int64  `json:"spark" doc:"answered calls in stretches of five minutes, oldest first; the last is not over"`
	Nodes    int      `json:"nodes" doc:"processes that answer for it"`
	Troubled int      `json:"troubled" doc:"of these: with another release than the newest that any has in force, a stand-in, or nothing that answers"`
	Engines  []string `json:"engines" doc:"that compute its versions, the live one first"`
}

// sparks is how many stretches a Summary has.
const sparks = int(time.Hour / Coarse)

// summaries puts coarse points since an hour ago and what nodes have in force together, by endpoint.
func summaries(points []point, nodes []node, now time.Time) []Summary {
	begin := now.Truncate(Coarse).Add(-time.Duration(sparks-1) * Coarse)
	sums, out := map[string]*Count{}, map[string]*Summary{}
	get := func(e string) *Summary {
		if out[e] == nil {
			out[e] = &Summary{Endpoint: e, Spark: make([]int64, sparks), Engines: []string{}}
			sums[e] = &Count{}
		}
		return out[e]
	}
	for i := range points {
		p := &points[i]
		at := int(p.at.Sub(begin) / Coarse)
		if p.Slot == shadow || at < 0 || at >= sparks {
			continue
		}
		s := get(p.Endpoint)
		s.Spark[at] += int64(p.Calls)
		sums[p.Endpoint].Add(&p.Count)
	}
	newest := map[string]int64{}
	for _, n := range nodes {
		for _, st := range n.standings {
			newest[st.Endpoint] = max(newest[st.Endpoint], st.Release)
		}
	}
	for _, n := range nodes {
		for _, st := range n.standings {
			s := get(st.Endpoint)
			s.Nodes++
			if st.Problem != "" || st.Substitute || st.Release < newest[st.Endpoint] {
				s.Troubled++
			}
			for _, sl := range st.Slots {
				if sl.Engine != "" && !slices.Contains(s.Engines, sl.Engine) {
					s.Engines = append(s.Engines, sl.Engine)
				}
			}
		}
	}
	recent := now.Sub(begin.Add(time.Duration(sparks-2) * Coarse)).Seconds()
	list := make([]Summary, 0, len(out))
	for e, s := range out {
		s.Hour = figures(sums[e])
		s.Rate = math.Round(float64(s.Spark[sparks-1]+s.Spark[sparks-2])/recent*1000) / 1000
		list = append(list, *s)
	}
	slices.SortFunc(list, func(a, b Summary) int { return cmp.Compare(a.Endpoint, b.Endpoint) })
	return list
}
