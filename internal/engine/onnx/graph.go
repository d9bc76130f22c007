package onnx

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"keelson/internal/problem"
	"keelson/internal/tensor"
)

// kernel computes the outputs of one node. in holds nil for an optional input that is left out; the tensors of out are
// empty. It reads what in holds and may let an output share its values, but never writes to it. What it allocates comes
// from c and lives as long as the call. It ends the call with c.fail when the values do not fit.
type kernel func(c *call, in []*tensor.Tensor, out []tensor.Tensor)

// operator is how a node of one kind becomes a kernel. min and max count inputs; a negative max is any number.
type operator struct {
	min, max int
	outputs  int
	build    func(n *node) (kernel, error)
}

// graph is a checked model: steps in an order in which every value is made before it is used. It is immutable.
type graph struct {
	steps   []step
	slots   int
	width   int // the most inputs of one step
	consts  []tensor.Tensor
	constAt []int32
	inputs  []int32 // slots
	outputs []int32
}

// step is one node. Slots are positions among the values of a call; −1 is an input left out.
type step struct {
	op, name string
	run      kernel
	in       []int32
	out      int32 // the first of outs slots that follow one another
	outs     int32
}

// node is what an operator sees of its node while it is built.
type node struct {
	*nodeProto
	opset  int64
	consts func(i int) *tensor.Tensor // the constant at input i, or nil
	fixed  func(i int) bool           // whether the value at input i is the same in every call
	labels *[]string                  // the classes of a ZipMap
	body   func(name string) (*graph, []valueInfo)
	err    error
}

// attr finds an attribute; its zero value stands for one that is not given.
func (n *node) attr(name string) (value, bool) {
	for _, a := range n.attrs {
		if a.name == name {
			v, err := a.read()
			if err != nil && n.err == nil {
				n.err = err
			}
			return v, true
		}
	}
	return value{}, false
}

func (n *node) has(name string) bool {
	return slices.ContainsFunc(n.attrs, func(a attribute) bool { return a.name == name })
}

func (n *node) int(name string, otherwise int64) int64 {
	if v, ok := n.attr(name); ok {
		return v.i
	}
	return otherwise
}

func (n *node) float(name string, otherwise float32) float32 {
	if v, ok := n.attr(name); ok {
		return v.f
	}
	return otherwise
}

func (n *node) text(name, otherwise string) string {
	if v, ok := n.attr(name); ok {
		return v.s
	}
	return otherwise
}

func (n *node) ints(name string) []int64 {
	v, _ := n.attr(name)
	return v.ints
}

func (n *node) floats(name string) []float32 {
	v, _ := n.attr(name)
	return v.floats
}

func (n *node) texts(name string) []string {
	v, _ := n.attr(name)
	return v.texts
}

// sizes gives a list of small non-negative numbers, such as strides, of the wanted length.
func (n *node) sizes(name string, length int, otherwise int) []int {
	v := n.ints(name)
	out := make([]int, length)
	for i := range out {
		out[i] = otherwise
		if i < len(v) {
			if out[i] = int(v[i]); v[i] < 0 || v[i] > 4096 {
				n.wrong("%s is %d", name, v[i])
			}
		}
	}
	return out
}

// wrong remembers what is wrong with the node; the first finding counts.
func (n *node) wrong(format string, a ...any) {
	if n.err == nil {
		n.err = broken("the operator %s cannot be used: "+format, append([]any{n.title()}, a...)...)
	}
}

// lacks remembers what this engine cannot do.
func (n *node) lacks(format string, a ...any) {
	if n.err == nil {
		n.err = unsupported("the operator %s has "+format, append([]any{n.title()}, a...)...)
	}
}

func (n *node) title() string {
	op := n.op
	if n.domain != "" {
		op = n.domain + "." + op
	}
	return clip(op)
}

// lookup finds the operator of a node.
func lookup(domain, op string) (operator, bool) {
	switch domain {
	case "":
		o, ok := operators[op]
		return o, ok
	case "ai.onnx.ml":
		o, ok := mlOperators[op]
		return o, ok
	}
	return operator{}, false
}

// The sets of operators that this engine was held against.
const (
	oldestOpset   = 7
	newestOpset   = 28
	newestMLOpset = 5
	maxDepth      = 4 // of graphs within graphs
)

// compile turns the nodes of a model into steps. It fails with problem.Unsupported on an operator it does not know,
// naming it, and with problem.Invalid when a value is used before it is made or made twice.
func compile(ctx context.Context, m *modelProto, depth int) (*graph, map[string][]string, error) {
	g := &graph{}
	p := m.graph
	if m.functions {
		return nil, nil, unsupported("it brings operators of its own (functions)")
	}
	if v := m.opset["ai.onnx.ml"]; v > newestMLOpset {
		return nil, nil, unsupported("it needs version %d of the ai.onnx.ml operators; up to %d are known", v, newestMLOpset)
	}
	slot := make(map[string]int32, len(p.initializers)+len(p.inputs)+len(p.nodes))
	add := func(name string) error {
		if _, ok := slot[name]; ok {
			return broken("the value %q is made twice", clip(name))
		}
		slot[name] = int32(g.slots)
		g.slots++
		return nil
	}
	constant := make(map[string]*tensor.Tensor, len(p.initializers))
	g.consts, g.constAt = p.initializers, make([]int32, 0, len(p.initializers))
	for i := range p.initializers {
		t := &p.initializers[i]
		if err := add(t.Name); err != nil {
			return nil, nil, err
		}
		constant[t.Name] = t
		g.constAt = append(g.constAt, slot[t.Name])
	}
	for _, in := range p.inputs {
		if constant[in.name] != nil {
			continue // old files list their weights among the inputs
		}
		if err := add(in.name); err != nil {
			return nil, nil, err
		}
		g.inputs = append(g.inputs, slot[in.name])
	}
	fixed := map[string]bool{} // made of constants alone
	widened := map[string]bool{}
	maps := map[string][]string{} // outputs of ZipMap and their classes
	g.steps = make([]step, 0, len(p.nodes))
	for i := range p.nodes {
		if err := ctx.Err(); err != nil {
			return nil, nil, fmt.Errorf("compile node %d: %w", i, err)
		}
		proto := &p.nodes[i]
		n := &node{nodeProto: proto, opset: m.opset[proto.domain]}
		n.consts = func(i int) *tensor.Tensor {
			if i < len(proto.in) {
				return constant[proto.in[i]]
			}
			return nil
		}
		n.fixed = func(i int) bool {
			return i < len(proto.in) && (constant[proto.in[i]] != nil || fixed[proto.in[i]])
		}
		if t := widen(n); t != nil && len(proto.out) == 1 {
			widened[proto.in[0]] = true
			if err := add(proto.out[0]); err != nil {
				return nil, nil, err
			}
			g.consts = append(g.consts, *t)
			g.constAt = append(g.constAt, slot[proto.out[0]])
			constant[proto.out[0]] = t
			continue
		}
		o, ok := lookup(proto.domain, proto.op)
		switch {
		case !ok:
			return nil, nil, unsupported("it uses the operator %s, which is not known", n.title())
		case n.opset == 0:
			return nil, nil, broken("the operator %s belongs to a set that the file does not import", n.title())
		case proto.domain == "" && (n.opset < oldestOpset || n.opset > newestOpset):
			return nil, nil, unsupported("it needs version %d of the ai.onnx operators; %d to %d are known", n.opset, oldestOpset, newestOpset)
		case len(proto.in) < o.min || o.max >= 0 && len(proto.in) > o.max:
			return nil, nil, broken("the operator %s has %d inputs", n.title(), len(proto.in))
		case len(proto.out) == 0 || len(proto.out) > o.outputs:
			return nil, nil, unsupported("the operator %s has %d outputs, of which at most %d are known", n.title(), len(proto.out), o.outputs)
		}
		made := len(proto.in) > 0 && proto.op != "Scan"
		for i, name := range proto.in {
			made = made && (name == "" || n.fixed(i))
		}
		for _, name := range proto.out {
			if made {
				fixed[name] = true
			}
		}
		s := step{op: proto.op, name: proto.name, in: make([]int32, len(proto.in)), out: int32(g.slots), outs: int32(len(proto.out))}
		for k, name := range proto.in {
			if s.in[k] = -1; name == "" {
				if k < o.min {
					return nil, nil, broken("the operator %s lacks an input", n.title())
				}
				continue
			}
			at, ok := slot[name]
			if t := constant[name]; t != nil && t.Type == tensor.FP16 {
				return nil, nil, halfWidth(name)
			}
			if !ok {
				return nil, nil, broken("the operator %s takes the value %q, which nothing before it makes", n.title(), clip(name))
			}
			if maps[name] != nil && proto.op != "Identity" {
				return nil, nil, unsupported("the operator %s takes the map %q", n.title(), clip(name))
			}
			s.in[k] = at
		}
		if proto.domain == "" && proto.op == "Constant" { // its value is there before any call
			t, err := constantOf(n)
			if err == nil {
				err = add(proto.out[0])
			}
			if err != nil {
				return nil, nil, err
			}
			g.consts = append(g.consts, *t)
			g.constAt = append(g.constAt, slot[proto.out[0]])
			constant[proto.out[0]] = t
			continue
		}
		var labels []string
		n.labels = &labels
		n.body = func(name string) (*graph, []valueInfo) {
			v, _ := n.attr(name)
			if v.graph == nil || depth >= maxDepth {
				n.wrong("its %s is missing or lies too deep", name)
				return nil, nil
			}
			p, err := readGraph(v.graph)
			if err != nil {
				n.err = err
				return nil, nil
			}
			g, maps, err := compile(ctx, &modelProto{opset: m.opset, graph: p}, depth+1)
			if err == nil && len(maps) > 0 {
				n.lacks("a ZipMap in its %s", name)
			}
			if err != nil && n.err == nil {
				n.err = err
			}
			return g, p.outputs
		}
		run, err := o.build(n)
		if n.err != nil {
			err = n.err
		}
		if err != nil {
			return nil, nil, err
		}
		s.run = run
		for _, name := range proto.out {
			if name == "" {
				g.slots++
				continue
			}
			if err := add(name); err != nil {
				return nil, nil, err
			}
		}
		if proto.op == "ZipMap" {
			maps[proto.out[0]] = labels
		}
		if proto.op == "Identity" && maps[proto.in[0]] != nil {
			maps[proto.out[0]] = maps[proto.in[0]]
		}
		g.width = max(g.width, len(s.in))
		g.steps = append(g.steps, s)
	}
	for i := range p.initializers {
		if t := &p.initializers[i]; t.Type == tensor.FP16 && !widened[t.Name] {
			return nil, nil, halfWidth(t.Name)
		}
	}
	for _, out := range p.outputs {
		at, ok := slot[out.name]
		if !ok {
			return nil, nil, broken("nothing makes the output %q", clip(out.name))
		}
		g.outputs = append(g.outputs, at)
	}
	return g, maps, nil
}

func halfWidth(name string) error {
	return unsupported("the tensor %q is float16, which it does not know", clip(name))
}

// call is the memory of one run. Values of steps come from its arenas and are gone when the next call begins.
type call struct {
	g      *graph
	values []*tensor.Tensor // by slot
	made   []tensor.Tensor  // what the steps make, by slot
	in     []*tensor.Tensor
	left   int64 // bytes that may still be taken
	limit  int64
	work   int64 // since ctx was asked last
	ctx    context.Context
	at     *step

	f32  arena[float32]
	f64  arena[float64]
	i64  arena[int64]
	u64  arena[uint64]
	b    arena[bool]
	s    arena[string]
	dims arena[int]
}

// arena hands out zeroed pieces of one growing block.
type arena[T any] struct {
	block []T
	used  int
}

func (a *arena[T]) take(n int) []T {
	if n > len(a.block)-a.used {
		a.block, a.used = make([]T, max(n, 2*len(a.block), 64)), 0
	}
	p := a.block[a.used : a.used+n : a.used+n]
	a.used += n
	clear(p)
	return p
}

// callBytes is what a call may take; tests lower it.
var callBytes int64 = 512 << 20

const (
	keptBytes = 4 << 20 // a call that took more is not kept for the next one
)

func newCall(g *graph, bytes int64) *call {
	c := &call{g: g, values: make([]*tensor.Tensor, g.slots), made: make([]tensor.Tensor, g.slots), in: make([]*tensor.Tensor, g.width), left: bytes, limit: bytes, ctx: context.Background()}
	for i, at := range g.constAt {
		c.values[at] = &g.consts[i]
	}
	return c
}

// abort carries the end of a call out of a kernel.
type abort struct{ err error }

// fail ends the call: the values that reached the operator do not fit it.
func (c *call) fail(format string, a ...any) {
	what := "an operator"
	if c.at != nil {
		what = "the operator " + clip(c.at.op)
		if c.at.name != "" {
			what += " (" + clip(c.at.name) + ")"
		}
	}
	e := problem.New(problem.Invalid, format, a...)
	e.Detail = "The model cannot answer these inputs: " + what + " " + e.Detail + "."
	panic(abort{e.At("inputs")})
}

// spend counts bytes against the limit of the call.
func (c *call) spend(n, size int) {
	if c.left -= int64(n)*int64(size) + 16; n < 0 || c.left < 0 {
		panic(abort{problem.New(problem.TooLarge, "The call would take more than %d MiB of memory; send fewer rows.", c.limit>>20)})
	}
}

// tick counts work and ends a call whose time is over.
func (c *call) tick(work int) {
	if c.work += int64(work); c.work > 1<<22 {
		c.work = 0
		if err := c.ctx.Err(); err != nil {
			panic(abort{fmt.Errorf("run the model: %w", err)})
		}
	}
}

// run computes the outputs for bound inputs, which stand in c.values.
func (c *call) run(ctx context.Context) (err error) {
	defer func() {
		if p := recover(); p != nil {
			a, ok := p.(abort)
			if !ok {
				panic(p)
			}
			err = a.err
		}
	}()
	c.ctx = ctx
	for i := range c.g.steps {
		s := &c.g.steps[i]
		in := c.in[:len(s.in)]
		for k, at := range s.in {
			if in[k] = nil; at >= 0 {
				in[k] = c.values[at]
			}
		}
		out := c.made[s.out : s.out+s.outs]
		for k := range out {
			out[k] = tensor.Tensor{}
			c.values[int(s.out)+k] = &out[k]
		}
		c.at = s
		s.run(c, in, out)
		c.tick(1 << 14)
	}
	return nil
}

// reset makes the call ready for the next one.
func (c *call) reset() {
	c.left, c.work, c.at, c.ctx = c.limit, 0, nil, nil
	c.f32.used, c.f64.used, c.i64.used, c.u64.used, c.b.used, c.s.used, c.dims.used = 0, 0, 0, 0, 0, 0, 0
	clear(c.s.block) // lets go of the caller's strings
	for _, at := range c.g.inputs {
		c.values[at] = nil
	}
}

// pool keeps calls of one graph.
type pool struct {
	sync.Pool
}

func (p *pool) put(c *call) {
	if c.limit-c.left > keptBytes {
		return
	}
	c.reset()
	p.Put(c)
}
