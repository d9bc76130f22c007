package boost

import (
	"encoding/json"
	"fmt"
	"math"
)

// document is a model as it is stored.
type document struct {
	Cuts      []cutDocument `json:"cuts"`
	Trees     [][][]float64 `json:"trees"` // by node: value, or value, gain, column, low, high and the four words of left in halves
	Base      float64       `json:"base"`
	Scale     float64       `json:"scale"`
	Objective Objective     `json:"objective"`
	Gain      []float64     `json:"gain"`
}

type cutDocument struct {
	Edges []float64        `json:"edges,omitempty"`
	Words map[string]uint8 `json:"words,omitempty"`
	Count int              `json:"count"`
}

// MarshalJSON writes a model so that UnmarshalJSON gives one with the same predictions.
func (m *Model) MarshalJSON() ([]byte, error) {
	d := document{Base: m.base, Scale: m.scale, Objective: m.objective, Gain: m.gain, Trees: make([][][]float64, len(m.trees))}
	for _, c := range m.cuts {
		d.Cuts = append(d.Cuts, cutDocument{c.edges, c.words, c.count})
	}
	for t, tree := range m.trees {
		for i := range tree {
			n := &tree[i]
			if n.low == 0 {
				d.Trees[t] = append(d.Trees[t], []float64{n.value})
				continue
			}
			row := []float64{n.value, n.gain, float64(n.column), float64(n.low), float64(n.high)}
			for _, w := range n.left {
				row = append(row, float64(uint32(w)), float64(w>>32))
			}
			d.Trees[t] = append(d.Trees[t], row)
		}
	}
	return json.Marshal(d)
}

// UnmarshalJSON reads what MarshalJSON wrote and refuses what it did not write.
func (m *Model) UnmarshalJSON(text []byte) error {
	var d document
	if err := json.Unmarshal(text, &d); err != nil {
		return err
	}
	out := Model{base: d.Base, scale: d.Scale, objective: d.Objective, gain: d.Gain}
	for _, c := range d.Cuts {
		if c.Count < 1 || c.Count > 255 || c.Words == nil && len(c.Edges) != c.Count-1 {
			return fmt.Errorf("a column has %d bins and %d edges", c.Count, len(c.Edges))
		}
		for _, bin := range c.Words {
			if int(bin) >= c.Count {
				return fmt.Errorf("a word lies in bin %d of %d", bin, c.Count)
			}
		}
		out.cuts = append(out.cuts, cut{c.Edges, c.Words, c.Count})
	}
	for t, rows := range d.Trees {
		tree := make([]node, len(rows))
		for i, r := range rows {
			switch len(r) {
			case 1:
				tree[i] = node{value: r[0]}
				continue
			case 13:
			default:
				return fmt.Errorf("node %d of tree %d has %d numbers", i, t, len(r))
			}
			for _, v := range r[2:] {
				if !(v >= 0 && v <= math.MaxUint32 && v == math.Trunc(v)) {
					return fmt.Errorf("node %d of tree %d holds %v where a whole number belongs", i, t, v)
				}
			}
			n := node{value: r[0], gain: r[1], column: int(r[2]), low: int(r[3]), high: int(r[4])}
			if n.column >= len(out.cuts) || n.low <= i || n.high <= i || n.low >= len(rows) || n.high >= len(rows) { // children stand behind: no circles
				return fmt.Errorf("node %d of tree %d leads nowhere", i, t)
			}
			for k := range n.left {
				n.left[k] = uint64(r[5+2*k]) | uint64(r[6+2*k])<<32
			}
			tree[i] = n
		}
		if len(tree) == 0 {
			return fmt.Errorf("tree %d is empty", t)
		}
		out.trees = append(out.trees, tree)
	}
	*m = out
	return nil
}
