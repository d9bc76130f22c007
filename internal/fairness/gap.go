package fairness

import (
	"math"

	"keelson/internal/score"
)

// FourFifths is the share of the highest selection rate below which the four-fifths rule sees adverse impact.
//
// Source: US Equal Employment Opportunity Commission, Uniform Guidelines on Employee Selection Procedures, 29 CFR
// §1607.4 D, 1978.
const FourFifths = 0.8

// Gap is the distance between the groups' rates.
type Gap struct {
	Difference score.Value `json:"difference"`        // highest − lowest, 0..1; 0 is even
	Ratio      score.Value `json:"ratio"`             // lowest / highest, 0..1; 1 is even
	Highest    string      `json:"highest,omitempty"` // the group with the highest rate, the first of equals
	Lowest     string      `json:"lowest,omitempty"`
	LeftOut    []LeftOut   `json:"left_out,omitempty"`
}

// LeftOut is a ranked group that has no value for a rate.
type LeftOut struct {
	Group string `json:"group"`
	Rate  string `json:"rate"` // "selection_rate", "tpr" …
	Why   string `json:"why"`
}

// gap compares one rate over the ranked groups. With fill, undefined rates count as 0 instead of being left out.
func (t *Table) gap(name string, rate func(Group) score.Value, fill bool) Gap {
	var g Gap
	lo, hi, n := math.Inf(1), math.Inf(-1), 0
	for _, group := range t.Groups {
		v := rate(group)
		if !v.OK() && !(fill && t.Known) {
			g.LeftOut = append(g.LeftOut, LeftOut{group.Name(), name, v.Why})
			continue
		}
		n++
		if v.V < lo {
			lo, g.Lowest = v.V, group.Name()
		}
		if v.V > hi {
			hi, g.Highest = v.V, group.Name()
		}
	}
	if n < 2 {
		why := "fewer than two groups have the value and enough rows"
		if !t.Known && len(g.LeftOut) > 0 {
			why = unknown
		}
		return Gap{Difference: score.Undefined(why), Ratio: score.Undefined(why), LeftOut: g.LeftOut}
	}
	g.Difference = score.Of(hi - lo)
	g.Ratio = score.Undefined("the rate is 0 in every group")
	if hi > 0 {
		g.Ratio = score.Of(lo / hi)
	}
	return g
}

// DemographicParity compares the selection rates: does everyone have the same chance to be chosen, whatever the truth?
//
// Source: Dwork et al., Fairness through awareness, 2012 (statistical parity).
func (t *Table) DemographicParity() Gap { return t.gap("selection_rate", Group.SelectionRate, false) }

// EqualOpportunity compares the true positive rates: are those who deserve it chosen equally often?
//
// Source: Hardt, Price, Srebro, Equality of opportunity in supervised learning, 2016.
func (t *Table) EqualOpportunity() Gap { return t.gap("tpr", Group.TPR, false) }

// FalseAlarmParity compares the false positive rates, the other half of equalised odds (predictive equality).
func (t *Table) FalseAlarmParity() Gap { return t.gap("fpr", Group.FPR, false) }

// EqualisedOdds is the worse of EqualOpportunity and FalseAlarmParity:
//
//	difference = max(ΔTPR, ΔFPR)    ratio = min(TPR ratio, FPR ratio)
//
// Highest and Lowest are those of the rate whose difference is larger. When only one of the two is defined it is that
// one, with the groups left out of the other named.
//
// Source: Hardt, Price, Srebro, 2016.
func (t *Table) EqualisedOdds() Gap { return worse(t.EqualOpportunity(), t.FalseAlarmParity()) }

// PredictiveParity compares the precisions: does being chosen mean the same in every group?
//
// Source: Chouldechova, Fair prediction with disparate impact, 2017.
func (t *Table) PredictiveParity() Gap { return t.gap("precision", Group.Precision, false) }

// AccuracyParity compares the shares of right decisions.
func (t *Table) AccuracyParity() Gap { return t.gap("accuracy", Group.Accuracy, false) }

func worse(a, b Gap) Gap {
	out := a
	if !a.Difference.OK() || b.Difference.OK() && b.Difference.V > a.Difference.V {
		out = b
	}
	if !out.Ratio.OK() || a.Ratio.OK() && a.Ratio.V < out.Ratio.V {
		out.Ratio = a.Ratio
	}
	if !out.Ratio.OK() || b.Ratio.OK() && b.Ratio.V < out.Ratio.V {
		out.Ratio = b.Ratio
	}
	out.LeftOut = append(append([]LeftOut(nil), a.LeftOut...), b.LeftOut...)
	return out
}

// Gaps returns every gap of the table by its name in reports and in stored results.
func (t *Table) Gaps() map[string]Gap {
	return map[string]Gap{
		"demographic_parity": t.DemographicParity(), "equal_opportunity": t.EqualOpportunity(),
		"false_alarm_parity": t.FalseAlarmParity(), "equalised_odds": t.EqualisedOdds(),
		"predictive_parity": t.PredictiveParity(), "accuracy_parity": t.AccuracyParity(),
	}
}

// Fairlearn returns demographic parity and equalised odds as the Python library fairlearn computes them, for those who
// compare: a rate that is not defined counts as 0, so that one group without a positive row makes the gap as wide as it
// can be. Elsewhere we show DemographicParity and EqualisedOdds, which leave such groups out and name them.
func (t *Table) Fairlearn() (demographicParity, equalisedOdds Gap) {
	return t.gap("selection_rate", Group.SelectionRate, true),
		worse(t.gap("tpr", Group.TPR, true), t.gap("fpr", Group.FPR, true))
}

// Impact is one group under the four-fifths rule.
type Impact struct {
	Group string      `json:"group"`
	Ratio score.Value `json:"ratio"` // selection rate / highest selection rate, 0..1
	Below bool        `json:"below"` // the ratio is less than 4/5
}

// FourFifths compares every ranked group's selection rate with the highest one (disparate impact). The comparison with
// 4/5 is made on the counts, without rounding, so that exactly four fifths is not below (up to 10⁹ rows). With fewer than
// two ranked groups, or nobody selected, the ratios are undefined and no group is below.
func (t *Table) FourFifths() []Impact {
	var best Group
	for _, g := range t.Groups {
		if best.N == 0 || int64(g.Selected)*int64(best.N) > int64(best.Selected)*int64(g.N) {
			best = g
		}
	}
	out := make([]Impact, len(t.Groups))
	for i, g := range t.Groups {
		out[i] = Impact{Group: g.Name()}
		switch {
		case len(t.Groups) < 2:
			out[i].Ratio = score.Undefined("fewer than two groups have enough rows")
		case best.Selected == 0:
			out[i].Ratio = score.Undefined("nobody was selected in any group")
		default:
			out[i].Ratio = score.Of(g.SelectionRate().V / best.SelectionRate().V)
			out[i].Below = 5*int64(g.Selected)*int64(best.N) < 4*int64(best.Selected)*int64(g.N)
		}
	}
	return out
}
