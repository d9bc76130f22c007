package onnx

import (
	"math"

	"keelson/internal/engine"
	"keelson/internal/problem"
	"keelson/internal/tensor"
)

// Formula takes a regression apart that is one ensemble of trees, or a linear model behind any number of scalers, over one
// FP32 matrix. It fails with problem.Unsupported, naming what is beyond that, and with problem.Invalid on a broken file.
func Formula(data []byte) (f engine.Formula, err error) {
	p, err := readModel(data)
	if err != nil {
		return f, err
	}
	g := p.graph
	constants := map[string]bool{}
	for i := range g.initializers {
		constants[g.initializers[i].Name] = true
	}
	var in []valueInfo
	for _, v := range g.inputs {
		if !constants[v.name] {
			in = append(in, v)
		}
	}
	if len(in) != 1 || len(g.outputs) != 1 || in[0].kind != 't' || elements[in[0].elem] != tensor.FP32 || len(in[0].shape) != 2 {
		return f, unsupported("it does not take one matrix of FP32 and answer with one tensor")
	}
	f = engine.Formula{Input: in[0].name, Output: g.outputs[0].name, Features: in[0].shape[1], Link: engine.LinkIdentity}
	var shift, scale []float64 // of the scalers so far: x ↦ (x − shift) · scale
	at, done := in[0].name, false
	for i := range g.nodes {
		n := &node{nodeProto: &g.nodes[i], opset: p.opset[g.nodes[i].domain]}
		if len(n.in) == 0 || n.in[0] != at || len(n.out) != 1 {
			return f, unsupported("its operator %s is not part of a chain", n.title())
		}
		at = n.out[0]
		switch {
		case n.domain == "" && n.op == "Identity":
		case n.domain == "" && n.op == "Reshape" && done && f.Groups == 1: // an exporter's way to make a column of a column
		case n.domain == "ai.onnx.ml" && n.op == "Scaler" && !done && f.Features > 0:
			o, s := n.floats("offset"), n.floats("scale")
			if len(o) != f.Features && len(o) != 1 || len(s) != f.Features && len(s) != 1 {
				return f, unsupported("its scaler does not fit its columns")
			}
			if shift == nil {
				shift, scale = make([]float64, f.Features), make([]float64, f.Features)
				for k := range scale {
					scale[k] = 1
				}
			}
			for k := range scale { // ((x − a)·b − o)·s = (x − (a + o/b))·(b·s)
				off, by := float64(o[k%len(o)]), float64(s[k%len(s)])
				if scale[k] == 0 {
					return f, unsupported("its scaler multiplies by 0")
				}
				shift[k] += off / scale[k]
				scale[k] *= by
			}
		case n.domain == "ai.onnx.ml" && n.op == "LinearRegressor" && !done:
			done = true
			f.Groups = int(min(max(n.int("targets", 1), 1), 1<<20))
			l := n.linear(f.Groups)
			if n.err != nil {
				return f, n.err
			}
			if n.scores().transform != "NONE" {
				return f, unsupported("its answers are transformed")
			}
			if f.Features < 0 {
				f.Features = l.features
			}
			if f.Features != l.features {
				return f, broken("it has weights for %d of %d columns", l.features, f.Features)
			}
			f.Base, f.Weights = make([]float64, f.Groups), make([]float64, f.Groups*f.Features)
			for t := range f.Groups {
				if t < len(l.bias) {
					f.Base[t] = float64(l.bias[t])
				}
				for k := range f.Features {
					w := float64(l.weights[t*f.Features+k])
					if shift != nil {
						w *= scale[k]
						f.Base[t] -= w * shift[k]
					}
					f.Weights[t*f.Features+k] = w
				}
			}
		case n.domain == "ai.onnx.ml" && n.op == "TreeEnsembleRegressor" && !done && shift == nil:
			done = true
			f.Groups = int(min(max(n.int("n_targets", 1), 1), 1<<20))
			x := n.forest("target", f.Groups)
			x.aggregate(n, n.text("aggregate_function", "SUM"))
			if n.err != nil {
				return f, n.err
			}
			if x.extreme != 0 || x.scores.transform != "NONE" {
				return f, unsupported("its trees are not added up, or its answers are transformed")
			}
			if f.Groups > 1 {
				_, all := x.targetsReached()
				for t := range all {
					if !all[t] && x.start(t) != 0 {
						return f, unsupported("its base values count only where a leaf weighs their target, and not every leaf weighs target %d", t)
					}
				}
			}
			if x.average {
				f.Divide = float64(len(x.roots))
			}
			f.Features = max(f.Features, x.features, 1)
			f.Base = make([]float64, f.Groups)
			for t := range f.Groups {
				f.Base[t] = x.start(t)
			}
			for i, root := range x.roots {
				t, err := x.formula(root)
				if err != nil {
					return f, unsupported("tree %d %s", i, err.Error())
				}
				f.Trees = append(f.Trees, t)
			}
		default:
			return f, unsupported("its operator %s has no place among trees or weights", n.title())
		}
		if n.err != nil {
			return f, n.err
		}
	}
	if !done || at != f.Output {
		return f, unsupported("it is no ensemble of trees and no linear model")
	}
	return f, nil
}

// formula copies one tree, its root first.
func (f *forest) formula(root int32) (engine.FormulaTree, error) {
	out := engine.FormulaTree{{}}
	queue := []int32{root}
	for i := 0; i < len(queue); i++ {
		if len(queue) > len(f.nodes) {
			return nil, problem.New(problem.Unsupported, "has nodes to which two ways lead")
		}
		n := &f.nodes[queue[i]]
		if n.ask == leaf {
			for _, w := range f.weights[n.from:n.to] {
				out[i].Values = append(out[i].Values, engine.FormulaValue{Group: w.target, Value: w.value})
			}
			continue
		}
		x := engine.FormulaNode{Feature: n.feature, Threshold: n.value, MissingYes: n.missing, Yes: int32(len(queue)), No: int32(len(queue) + 1)}
		yes, no := n.yes, n.no
		switch n.ask {
		case askLT:
		case askLEQ:
			x.OrEqual = true
		case askGT, askGTE: // x > t is not (x ≤ t), and a missing value goes the other way too
			yes, no = no, yes
			x.OrEqual, x.MissingYes = n.ask == askGT, !n.missing
		default:
			return nil, problem.New(problem.Unsupported, "asks whether a value equals another")
		}
		if math.IsNaN(x.Threshold) {
			return nil, problem.New(problem.Unsupported, "asks for a missing value")
		}
		out[i] = x
		out = append(out, engine.FormulaNode{}, engine.FormulaNode{})
		queue = append(queue, yes, no)
	}
	return out, nil
}
