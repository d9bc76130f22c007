package monitor

import (
	"strconv"

	"keelson/internal/score"
)

// Ranking says that a model ranks: its first output is the score of an item, an outcome is how relevant it turned out to be.
type Ranking struct {
	Query string `json:"query,omitempty" doc:"input that names the query an item belongs to; empty: the rows of one call are one query"`
	Off   bool   `json:"off,omitempty" doc:"it no longer ranks"`
	K     int    `json:"k,omitempty" minimum:"0" maximum:"1000" doc:"how many items of a query count, 10 if empty"`
}

// rankedItems is how many items of a query count unless it is set.
const rankedItems = 10

func (r *Ranking) check() error {
	if len(r.Query) > 200 {
		return invalid("ranking.query", "The name of the input that names the query has up to 200 bytes.")
	}
	if r.K < 0 || r.K > 1000 {
		return invalid("ranking.k", "Of a query 1 to 1,000 items count, or 10 with 0.")
	}
	return nil
}

// measure gives the performance of the rows of a window whose outcomes are known; nil without any. Of a query the items with an
// outcome count.
func (r *Ranking) measure(w *rows, calls []callRows) *Performance {
	name := func(i int) string { return "" }
	if s := seriesOf(w.inputs, r.Query); s != nil && r.Query != "" {
		name = func(i int) string { _, text, _ := s.cell(i); return text }
	} else if r.Query == "" {
		of := make([]string, 0, w.n)
		for k, c := range calls {
			for range c.rows {
				of = append(of, strconv.Itoa(k))
			}
		}
		name = func(i int) string {
			if i < len(of) {
				return of[i]
			}
			return ""
		}
	}
	p := &Performance{Kind: "ranking", Metrics: map[string]score.Value{}}
	var queries []string
	var relevance, scores []float64
	given := 0
	for i := range w.n {
		if i >= len(w.outcomes) || w.outcomes[i] == nil {
			continue
		}
		given++
		q, y, s := name(i), truthNumber(w.outcomes[i]), forecast(w.answer(i))
		if q == "" || !finite(y) || y < 0 || !finite(s) {
			continue
		}
		queries, relevance, scores = append(queries, q), append(relevance, y), append(scores, s)
	}
	if given == 0 {
		return nil
	}
	p.N, p.LeftOut, p.Coverage = len(queries), given-len(queries), rate(given, w.n)
	k := r.K
	if k == 0 {
		k = rankedItems
	}
	list, err := score.NewRanking(queries, relevance, scores)
	if err != nil {
		p.Metrics["ndcg"] = score.Undefined(err.Error())
	} else {
		p.Metrics = list.Metrics(k)
		p.Metrics["queries"], p.Metrics["unanswerable"] = score.Of(float64(list.Queries())), score.Of(float64(list.Unanswerable()))
	}
	p.explain()
	return p
}

// evaluate measures the predictions of a window as the monitor's models are measured; nil without any outcome.
func (m *Monitor) evaluate(w *rows, calls []callRows) *Performance {
	if m.Ranking != nil {
		return m.Ranking.measure(w, calls)
	}
	return evaluate(w.labelled(), w.n)
}

// counted is how many independent things a result rests on: queries of a ranking, else rows.
func (p *Performance) counted() int {
	if q, ok := p.Metrics["queries"]; ok && p.Kind == "ranking" {
		return max(int(q.V), 1)
	}
	return p.N
}
