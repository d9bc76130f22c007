package score

import (
	"fmt"
	"math"
	"slices"
)

// Gain is what a relevant row is worth in NDCG.
type Gain int

// The gains: the relevance itself (as in scikit-learn), or 2^relevance − 1 (as in LightGBM and XGBoost), which favours
// the most relevant rows. For relevances of 0 and 1 both are the same.
const (
	Linear Gain = iota
	Exponential
)

// Ranking holds lists of rows in the order of their scores, one list per query. Make it with NewRanking.
//
// Every measure is the mean over the queries that have a relevant row; the others, for which no order is better than
// another, are counted by Unanswerable. A row is relevant when its relevance is above 0. k ≤ 0 stands for the whole list.
type Ranking struct {
	lists []list
	empty int
}

// list is one query: the relevances by score descending, and by relevance descending.
type list struct {
	shown, best []float64
	relevant    int
}

// NewRanking groups rows by their query, in any order, and ranks each group by score descending, ties in row order. It
// fails when the lengths differ, a relevance is negative or a number is NaN or infinite, naming the row, counted from 1.
func NewRanking(queries []string, relevance, scores []float64) (*Ranking, error) {
	if len(queries) != len(scores) {
		return nil, fmt.Errorf("%d queries and %d scores do not belong together", len(queries), len(scores))
	}
	if err := lengths(len(relevance), len(scores)); err != nil {
		return nil, err
	}
	rows := map[string][]int{}
	var names []string
	for i, q := range queries {
		if !(relevance[i] >= 0) || math.IsInf(relevance[i], 0) {
			return nil, fmt.Errorf("the relevance of row %d is %v, not a number from 0 up", i+1, relevance[i])
		}
		if math.IsNaN(scores[i]) || math.IsInf(scores[i], 0) {
			return nil, fmt.Errorf("the score of row %d is %v, not a number", i+1, scores[i])
		}
		if rows[q] == nil {
			names = append(names, q)
		}
		rows[q] = append(rows[q], i)
	}
	r := &Ranking{}
	for _, q := range names {
		order := rows[q]
		slices.SortStableFunc(order, func(a, b int) int {
			switch {
			case scores[a] > scores[b]:
				return -1
			case scores[a] < scores[b]:
				return 1
			}
			return 0
		})
		l := list{shown: Pick(relevance, order)}
		l.best = slices.Clone(l.shown)
		slices.Sort(l.best)
		slices.Reverse(l.best)
		for _, v := range l.best {
			if v > 0 {
				l.relevant++
			}
		}
		if l.relevant == 0 {
			r.empty++
			continue
		}
		r.lists = append(r.lists, l)
	}
	return r, nil
}

// Queries returns the number of queries that count.
func (r *Ranking) Queries() int { return len(r.lists) }

// Unanswerable returns the number of queries without a relevant row.
func (r *Ranking) Unanswerable() int { return r.empty }

// mean averages f over the queries; top is the list's first k rows.
func (r *Ranking) mean(k int, f func(l list, top []float64) float64) Value {
	sum := 0.0
	for _, l := range r.lists {
		sum += f(l, head(l.shown, k))
	}
	return ratio(sum, float64(len(r.lists)), "no query has a relevant row")
}

func head(v []float64, k int) []float64 {
	if k > 0 && k < len(v) {
		return v[:k]
	}
	return v
}

// discounted is Σ gain(rel_i) / log₂(i+1) over positions i from 1.
func (g Gain) discounted(v []float64) float64 {
	sum := 0.0
	for i, rel := range v {
		if g == Exponential {
			rel = math.Exp2(rel) - 1
		}
		sum += rel / math.Log2(float64(i)+2)
	}
	return sum
}

// NDCG is the discounted cumulative gain of the first k rows over that of the best order, 0..1:
//
//	Σ gain(rel_i)/log₂(i+1), i = 1..k, divided by the same sum over the relevances in descending order.
//
// Source: Järvelin & Kekäläinen, ACM TOIS 20 (2002).
func (r *Ranking) NDCG(k int, g Gain) Value {
	return r.mean(k, func(l list, top []float64) float64 {
		return g.discounted(top) / g.discounted(head(l.best, k))
	})
}

// MAP is the mean average precision of the first k rows, 0..1: per query Σ precision@i over the relevant positions i ≤ k,
// divided by min(k, relevant rows).
func (r *Ranking) MAP(k int) Value {
	return r.mean(k, func(l list, top []float64) float64 {
		hits, sum := 0.0, 0.0
		for i, rel := range top {
			if rel > 0 {
				hits++
				sum += hits / float64(i+1)
			}
		}
		return sum / float64(min(len(top), l.relevant))
	})
}

// MRR is the mean of 1/position of the first relevant row among the first k, 0 when there is none there; 0..1.
func (r *Ranking) MRR(k int) Value {
	return r.mean(k, func(_ list, top []float64) float64 {
		for i, rel := range top {
			if rel > 0 {
				return 1 / float64(i+1)
			}
		}
		return 0
	})
}

// Precision is the share of relevant rows among the first k, 0..1. A list shorter than k is divided by k all the same.
func (r *Ranking) Precision(k int) Value {
	return r.mean(k, func(_ list, top []float64) float64 { return hits(top) / float64(max(k, len(top))) })
}

// Recall is the share of the relevant rows that stand among the first k, 0..1.
func (r *Ranking) Recall(k int) Value {
	return r.mean(k, func(l list, top []float64) float64 { return hits(top) / float64(l.relevant) })
}

// HitRate is the share of queries with a relevant row among the first k, 0..1.
func (r *Ranking) HitRate(k int) Value {
	return r.mean(k, func(_ list, top []float64) float64 { return math.Min(1, hits(top)) })
}

func hits(top []float64) float64 {
	n := 0.0
	for _, rel := range top {
		if rel > 0 {
			n++
		}
	}
	return n
}

// Metrics returns the measures of the first k rows under their names: ndcg, map, mrr, precision, recall, hit_rate.
func (r *Ranking) Metrics(k int) map[string]Value {
	return map[string]Value{
		"ndcg": r.NDCG(k, Linear), "map": r.MAP(k), "mrr": r.MRR(k), "precision": r.Precision(k), "recall": r.Recall(k),
		"hit_rate": r.HitRate(k),
	}
}
