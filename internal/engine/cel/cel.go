// Package cel runs rule models: decisions that people write down as rules in the Common Expression Language
// (github.com/google/cel-spec), one YAML file per model, named model.cel.yaml, rules.yaml or *.cel.yaml. Format "cel".
//
//	name: referral
//	hit: first                     # first: the first rule that holds decides; all: every rule that holds applies, in order
//	inputs:                        # types: double, int, bool, string
//	  - {name: score, type: double}
//	  - {name: ward, type: string, optional: true, default: unknown}
//	outputs:                       # the default is the value when no rule sets it
//	  - {name: decision, type: string, default: no referral}
//	  - {name: risk, type: double, default: 0}
//	rules:
//	  - id: certain
//	    when: score >= 0.9 && ward != 'hospice'
//	    then: {decision: refer, risk: =score * 1.1}   # a text that begins with = is an expression, == stands for one =
//	    message: The screening model is nearly certain.
//	examples:                      # held against the rules when a version is registered
//	  - {given: {score: 0.95}, expect: {decision: refer}, fired: [certain]}
//
// A call brings one tensor of shape [n] or [n, 1] per input: any number type for double, INT or UINT for int, BOOL for
// bool, BYTES for string. Optional inputs may be left out; an optional double without default is then NaN. Answers are
// FP64, INT64, BOOL and BYTES tensors of shape [n]. PredictTrace lists the rules that fired for each row.
//
// Expressions know the inputs, CEL's standard library, its string and math extensions, and nothing else. They are typed
// when the model is loaded, bounded in size and nesting, and each evaluation has a cost limit.
package cel

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"path"
	"regexp/syntax"
	"strings"
	"sync/atomic"
	"unicode/utf8"

	celgo "cel.dev/cel-go/cel"
	celast "cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/ext"

	"keelson/internal/engine"
	"keelson/internal/problem"
	"keelson/internal/tensor"
)

// Format is the one format.
const Format = "cel"

// Engine reads rule models.
type Engine struct{}

// Name is "cel".
func (Engine) Name() string { return "cel" }

// Formats is "cel".
func (Engine) Formats() []string { return []string{Format} }

// Detect goes by the name of the file, and for rules.yaml by the word "rules:" in it.
func (Engine) Detect(fsys fs.FS) ([]engine.Found, error) {
	var found []engine.Found
	err := engine.Walk(fsys, func(p string, _ fs.DirEntry) error {
		base := path.Base(p)
		if !strings.HasSuffix(base, ".cel.yaml") && !strings.HasSuffix(base, ".cel.yml") && base != "rules.yaml" && base != "rules.yml" {
			return nil
		}
		head, err := engine.Head(fsys, p, 64<<10)
		if err != nil {
			return err
		}
		if text := "\n" + string(head); strings.Contains(text, "\nrules:") || strings.Contains(text, "\ninputs:") || strings.HasPrefix(text, "\n{") {
			found = append(found, engine.Found{Engine: "cel", Format: Format, Path: p})
		}
		return nil
	})
	return found, err
}

// kinds maps the types of the file to CEL's and the protocol's.
var kinds = map[string]struct {
	cel      *celgo.Type
	datatype string
}{
	"double": {celgo.DoubleType, "FP64"},
	"int":    {celgo.IntType, "INT64"},
	"bool":   {celgo.BoolType, "BOOL"},
	"string": {celgo.StringType, "BYTES"},
}

// set is one output that a rule sets: to a fixed value, or to what an expression gives.
type set struct {
	output int
	value  any
	prog   celgo.Program
}

type compiled struct {
	id, message string
	when        celgo.Program
	then        []set
}

type model struct {
	doc       *document
	rules     []compiled
	all       bool
	input     map[string]int
	signature engine.Signature
	closed    atomic.Bool
}

// Load compiles and types every expression of the file.
func (Engine) Load(ctx context.Context, fsys fs.FS, name string, limits engine.Limits) (engine.Model, error) {
	data, err := engine.ReadFile(ctx, fsys, name, min(limits.WithDefaults().FileBytes, 16<<20))
	if err != nil {
		return nil, err
	}
	doc, err := parse(name, data)
	if err != nil {
		return nil, err
	}
	return compile(ctx, doc)
}

func compile(ctx context.Context, doc *document) (*model, error) {
	opts := []celgo.EnvOption{ext.Strings(), ext.Math(), celgo.CrossTypeNumericComparisons(true),
		celgo.ParserExpressionSizeLimit(maxText), celgo.ParserRecursionLimit(nestingDeep)}
	m := &model{doc: doc, all: doc.Hit == "all", input: map[string]int{}}
	for i, f := range doc.Inputs {
		opts = append(opts, celgo.Variable(f.Name, kinds[f.Type].cel))
		m.input[f.Name] = i
		m.signature.Inputs = append(m.signature.Inputs, engine.Spec{Name: f.Name, Datatype: kinds[f.Type].datatype, Shape: []int{-1}, Optional: f.Optional || f.Default != nil, Doc: f.Doc})
	}
	output := map[string]int{}
	for i, f := range doc.Outputs {
		output[f.Name] = i
		m.signature.Outputs = append(m.signature.Outputs, engine.Spec{Name: f.Name, Datatype: kinds[f.Type].datatype, Shape: []int{-1}, Doc: f.Doc})
	}
	env, err := celgo.NewEnv(opts...)
	if err != nil {
		return nil, invalid("an input has a name that CEL keeps for itself").Because(err)
	}
	room := budget{text: maxTexts, pairs: maxPairs, regex: maxRegex}
	for i, r := range doc.Rules {
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("compile rule %s: %w", r.ID, err)
		}
		c := compiled{id: r.ID, message: r.Message}
		if c.when, err = expression(env, &room, r.When, celgo.BoolType); err != nil {
			return nil, invalid("the condition of rule %q is wrong: %s", r.ID, clip(err.Error())).At(fmt.Sprintf("rules[%d].when", i))
		}
		for out := range doc.Outputs {
			name := doc.Outputs[out].Name
			v, ok := r.Then[name]
			if !ok {
				continue
			}
			at := fmt.Sprintf("rules[%d].then.%s", i, name)
			text, isText := v.(string)
			if isText && strings.HasPrefix(text, "=") && !strings.HasPrefix(text, "==") {
				prog, err := expression(env, &room, text[1:], kinds[doc.Outputs[out].Type].cel)
				if err != nil {
					return nil, invalid("the expression for %s in rule %q is wrong: %s", name, r.ID, clip(err.Error())).At(at)
				}
				c.then = append(c.then, set{output: out, prog: prog})
				continue
			}
			if isText && strings.HasPrefix(text, "==") {
				v = text[1:]
			}
			value, ok := convert(doc.Outputs[out].Type, v)
			if !ok {
				return nil, invalid("rule %q sets %s to %s, which is no %s", r.ID, name, clip(fmt.Sprint(v)), doc.Outputs[out].Type).At(at)
			}
			c.then = append(c.then, set{output: out, value: value})
		}
		for name := range r.Then {
			if _, ok := output[name]; !ok {
				return nil, invalid("rule %q sets %q, which is not among the outputs", r.ID, clip(name)).At(fmt.Sprintf("rules[%d].then", i))
			}
		}
		m.rules = append(m.rules, c)
	}
	return m, m.checkExamples()
}

// budget is what the expressions of one document may still take. A compiled expression holds up to 130 bytes for each of its
// text, what is let go while it is compiled is up to 2,000 for each; the typing of an expression takes about 50 bytes for each
// pair of a part of it and a type in it that is left open (an empty list, a comparison of anything with anything), and a short
// pattern may stand for a very large program.
type budget struct{ text, pairs, regex int }

// expression compiles text, which must give a value of the wanted type; a whole number may stand for a double.
func expression(env *celgo.Env, room *budget, text string, want *celgo.Type) (celgo.Program, error) {
	if room.text -= len(text); room.text < 0 {
		return nil, fmt.Errorf("the expressions up to it have more than %d bytes together", maxTexts)
	}
	ast, issues := env.Parse(text)
	if err := first(issues); err != nil {
		return nil, err
	}
	parts, open := typed(ast)
	if room.pairs -= parts * open; room.pairs < 0 {
		return nil, fmt.Errorf("the expressions up to it compare too often within one expression to be typed; write an alternative of many values as `x in [...]`, or several rules")
	}
	if ast, issues = env.Check(ast); issues.Err() != nil {
		return nil, first(issues)
	}
	got := ast.OutputType()
	if want == celgo.DoubleType && got.IsExactType(celgo.IntType) {
		return expression(env, room, "double("+text+")", want)
	}
	if !got.IsExactType(want) && !got.IsExactType(celgo.DynType) {
		return nil, fmt.Errorf("it gives %s, but %s is needed", got, want)
	}
	for _, call := range celast.MatchDescendants(celast.NavigateAST(ast.NativeRep()), celast.FunctionMatcher("matches")) {
		if room.regex -= patternSize(call.AsCall().Args()); room.regex < 0 {
			return nil, fmt.Errorf("the patterns up to it stand for programs of more than %d steps together", maxRegex)
		}
	}
	return env.Program(ast, celgo.CostLimit(costLimit), celgo.InterruptCheckFrequency(checkEvery), celgo.EvalOptions(celgo.OptOptimize))
}

// first is the first issue, with its column from 1; nil when there is none.
func first(issues *celgo.Issues) error {
	if issues.Err() == nil {
		return nil
	}
	if list := issues.Errors(); len(list) > 0 {
		return fmt.Errorf("column %d: %s", max(list[0].Location.Column()+1, 1), list[0].Message)
	}
	return issues.Err()
}

// typed counts the parts of a parsed expression, and those of them whose type is left open: lists, maps and calls, of which
// some are of anything. The checker copies what it knows of open types at each part.
func typed(ast *celgo.Ast) (parts, open int) {
	celast.PostOrderVisit(ast.NativeRep().Expr(), celast.NewExprVisitor(func(e celast.Expr) {
		parts++
		switch e.Kind() {
		case celast.ListKind, celast.MapKind:
			open++
		case celast.CallKind:
			switch e.AsCall().FunctionName() {
			case operators.LogicalAnd, operators.LogicalOr, operators.LogicalNot, operators.Less, operators.LessEquals, operators.Greater, operators.GreaterEquals:
			default:
				open++
			}
		}
	}))
	return parts, open
}

// patternSize is about how many steps the program of a literal pattern has, which is compiled when the model is loaded. It
// does not grow beyond maxRegex by much. A pattern that is none is refused when it is compiled.
func patternSize(args []celast.Expr) int {
	if len(args) == 0 || args[len(args)-1].Kind() != celast.LiteralKind {
		return 0
	}
	text, ok := args[len(args)-1].AsLiteral().Value().(string)
	if !ok {
		return 0
	}
	re, err := syntax.Parse(text, syntax.Perl)
	if err != nil {
		return 0
	}
	return steps(re)
}

func steps(re *syntax.Regexp) int {
	n := 1 + len(re.Rune)
	for _, sub := range re.Sub {
		n = min(n+steps(sub), maxRegex+1)
	}
	if re.Op == syntax.OpRepeat {
		n = min(n*max(re.Min+1, re.Max, 1), maxRegex+1)
	}
	return n
}

func (m *model) Signature() engine.Signature { return m.signature }

func (m *model) Close() error {
	m.closed.Store(true)
	return nil
}

func (m *model) Predict(ctx context.Context, in []tensor.Tensor) ([]tensor.Tensor, error) {
	out, _, err := m.predict(ctx, in, false)
	return out, err
}

func (m *model) PredictTrace(ctx context.Context, in []tensor.Tensor) ([]tensor.Tensor, []engine.Trace, error) {
	return m.predict(ctx, in, true)
}

// activation gives CEL the inputs of one row.
type activation struct {
	m   *model
	in  []*tensor.Tensor // by input; nil where the default stands
	row int
}

// Parent is none.
func (a *activation) Parent() celgo.Activation { return nil }

// ResolveName finds an input.
func (a *activation) ResolveName(name string) (any, bool) {
	i, ok := a.m.input[name]
	if !ok {
		return nil, false
	}
	t := a.in[i]
	if t == nil {
		return a.m.doc.Inputs[i].value, true
	}
	switch a.m.doc.Inputs[i].Type {
	case "double":
		return t.Float64(a.row), true
	case "int":
		if len(t.I64) > 0 {
			return t.I64[a.row], true
		}
		return int64(t.U64[a.row]), true
	case "bool":
		return t.B[a.row], true
	}
	return t.S[a.row], true
}

func (m *model) predict(ctx context.Context, in []tensor.Tensor, traced bool) ([]tensor.Tensor, []engine.Trace, error) {
	if m.closed.Load() {
		return nil, nil, problem.New(problem.Unavailable, "The model has been unloaded; send the request again.")
	}
	act := &activation{m: m}
	n, err := m.bind(in, act)
	if err != nil {
		return nil, nil, err
	}
	out := make([]tensor.Tensor, len(m.doc.Outputs))
	for i, f := range m.doc.Outputs {
		out[i] = fill(f, n)
	}
	var trace []engine.Trace
	for act.row = 0; act.row < n; act.row++ {
		if err := ctx.Err(); err != nil {
			return nil, nil, fmt.Errorf("decide row %d: %w", act.row, err)
		}
		fired := []engine.Fired{}
		for i := range m.rules {
			r := &m.rules[i]
			v, err := m.eval(ctx, r, r.when, act)
			if err != nil {
				return nil, nil, err
			}
			if v.Value() != true {
				continue
			}
			for _, s := range r.then {
				value := s.value
				if s.prog != nil {
					v, err := m.eval(ctx, r, s.prog, act)
					if err != nil {
						return nil, nil, err
					}
					value = v.Value()
				}
				if !put(&out[s.output], act.row, value) {
					return nil, nil, problem.New(problem.Invalid, "Rule %q gave %T for %s on row %d, which is no %s.", r.id, value, out[s.output].Name, act.row, m.doc.Outputs[s.output].Type)
				}
			}
			if traced {
				fired = append(fired, engine.Fired{Rule: r.id, Message: r.message})
			}
			if !m.all {
				break
			}
		}
		if traced {
			trace = append(trace, engine.Trace{Row: act.row, Fired: fired})
		}
	}
	return out, trace, nil
}

func (m *model) eval(ctx context.Context, r *compiled, prog celgo.Program, act *activation) (ref.Val, error) {
	v, _, err := prog.ContextEval(ctx, act)
	if err == nil {
		return v, nil
	}
	if ctx.Err() != nil {
		return nil, fmt.Errorf("rule %s on row %d: %w", r.id, act.row, ctx.Err())
	}
	why := strings.TrimSuffix(clip(err.Error()), ".")
	if strings.Contains(why, "cost limit") {
		why = fmt.Sprintf("it costs more than %d steps", costLimit)
	}
	return nil, problem.New(problem.Invalid, "Rule %q cannot be decided on row %d: %s.", r.id, act.row, why).Because(err)
}

// bind checks the tensors of a call and lays them out by input; it gives the number of rows.
func (m *model) bind(in []tensor.Tensor, act *activation) (int, error) {
	act.in = make([]*tensor.Tensor, len(m.doc.Inputs))
	n := -1
	for k := range in {
		t := &in[k]
		at := fmt.Sprintf("inputs[%d]", k)
		i, ok := m.input[t.Name]
		if !ok {
			return 0, problem.New(problem.Invalid, "The model has no input %q; its inputs are %s.", clip(t.Name), m.names()).At(at + ".name")
		}
		if act.in[i] != nil {
			return 0, problem.New(problem.Invalid, "The input %q stands twice in the request.", t.Name).At(at + ".name")
		}
		if len(t.Shape) == 0 || len(t.Shape) > 2 || t.Len() != t.Shape[0] {
			return 0, problem.New(problem.Invalid, "Input %q has shape %v; it needs [n] or [n, 1].", t.Name, t.Shape).At(at + ".shape")
		}
		if n >= 0 && t.Shape[0] != n {
			return 0, problem.New(problem.Invalid, "Input %q has %d rows where the others have %d.", t.Name, t.Shape[0], n).At(at + ".shape")
		}
		n = t.Shape[0]
		if err := accepts(m.doc.Inputs[i].Type, t); err != nil {
			return 0, err.At(at)
		}
		act.in[i] = t
	}
	for i, f := range m.doc.Inputs {
		if act.in[i] == nil && f.value == nil {
			return 0, problem.New(problem.Invalid, "The input %q is missing from the request.", f.Name).At("inputs")
		}
	}
	if n < 0 {
		return 0, problem.New(problem.Invalid, "The request has no inputs, so it says not how many rows to decide.").At("inputs")
	}
	return n, nil
}

func accepts(typ string, t *tensor.Tensor) *problem.Error {
	ok := false
	switch typ {
	case "double":
		ok = t.Type.Numeric()
	case "int":
		ok = t.Type >= tensor.Uint8 && t.Type <= tensor.Int64
		for i, v := range t.U64 {
			if v > math.MaxInt64 {
				return problem.New(problem.Invalid, "Row %d of input %q is %d, beyond 64 bits with sign.", i, t.Name, v)
			}
		}
	case "bool":
		ok = t.Type == tensor.Bool
	case "string":
		ok = t.Type == tensor.Bytes
		for i, s := range t.S {
			if !utf8.ValidString(s) {
				return problem.New(problem.Invalid, "Row %d of input %q is not UTF-8 text.", i, t.Name)
			}
		}
	}
	if !ok {
		return problem.New(problem.Invalid, "Input %q is %s, but the model takes %s (%s).", t.Name, t.Type, kinds[typ].datatype, typ)
	}
	return nil
}

func (m *model) names() string {
	var list []string
	for _, f := range m.doc.Inputs {
		list = append(list, f.Name)
	}
	return clip(strings.Join(list, ", "))
}

// fill makes an output with the default in every row.
func fill(f field, n int) tensor.Tensor {
	t := tensor.Tensor{Name: f.Name, Shape: []int{n}}
	switch v := f.value.(type) {
	case float64:
		t.Type, t.F64 = tensor.FP64, repeat(v, n)
	case int64:
		t.Type, t.I64 = tensor.Int64, repeat(v, n)
	case bool:
		t.Type, t.B = tensor.Bool, repeat(v, n)
	case string:
		t.Type, t.S = tensor.Bytes, repeat(v, n)
	}
	return t
}

func repeat[T any](v T, n int) []T {
	s := make([]T, n)
	for i := range s {
		s[i] = v
	}
	return s
}

func put(t *tensor.Tensor, row int, v any) bool {
	switch x := v.(type) {
	case float64:
		if t.Type == tensor.FP64 {
			t.F64[row] = x
			return true
		}
	case int64:
		switch t.Type {
		case tensor.Int64:
			t.I64[row] = x
			return true
		case tensor.FP64:
			t.F64[row] = float64(x)
			return true
		}
	case bool:
		if t.Type == tensor.Bool {
			t.B[row] = x
			return true
		}
	case string:
		if t.Type == tensor.Bytes {
			t.S[row] = x
			return true
		}
	}
	return false
}

// SelfTest decides the examples of the file and fails with problem.Invalid at the first that differs. Doubles may
// differ by 1e-9, relative above 1.
func (m *model) SelfTest(ctx context.Context) error {
	for i, e := range m.doc.Examples {
		if err := m.selfTest(ctx, i, e); err != nil {
			return err
		}
	}
	return nil
}

// checkExamples finds names and types that do not exist, at load.
func (m *model) checkExamples() error {
	for i, e := range m.doc.Examples {
		if _, err := m.given(e); err != nil {
			return invalid("example %d: %s", i+1, err).At(fmt.Sprintf("examples[%d].given", i))
		}
		for name, v := range e.Expect {
			known := false
			for _, f := range m.doc.Outputs {
				if _, ok := convert(f.Type, v); f.Name == name && ok {
					known = true
				}
			}
			if !known {
				return invalid("example %d expects %s of %q, which is no output of that type", i+1, clip(fmt.Sprint(v)), clip(name)).At(fmt.Sprintf("examples[%d].expect", i))
			}
		}
	}
	return nil
}

func (m *model) given(e example) ([]tensor.Tensor, error) {
	var in []tensor.Tensor
	for name, v := range e.Given {
		i, ok := m.input[name]
		if !ok {
			return nil, fmt.Errorf("there is no input %q", clip(name))
		}
		value, ok := convert(m.doc.Inputs[i].Type, v)
		if !ok {
			return nil, fmt.Errorf("%s is no %s", clip(fmt.Sprint(v)), m.doc.Inputs[i].Type)
		}
		in = append(in, fill(field{Name: name, value: value}, 1))
	}
	if len(in) == 0 {
		return nil, errors.New("it gives no input")
	}
	return in, nil
}

func (m *model) selfTest(ctx context.Context, i int, e example) error {
	in, err := m.given(e)
	if err != nil {
		return err
	}
	out, trace, err := m.PredictTrace(ctx, in)
	if err != nil {
		return fmt.Errorf("example %d: %w", i+1, err)
	}
	for k, f := range m.doc.Outputs {
		v, ok := e.Expect[f.Name]
		if !ok {
			continue
		}
		want, _ := convert(f.Type, v)
		w := fill(field{Name: f.Name, value: want}, 1)
		if w.Equal(&out[k]) {
			continue
		}
		if f.Type == "double" && math.Abs(w.F64[0]-out[k].F64[0]) <= 1e-9*math.Max(1, math.Abs(w.F64[0])) {
			continue
		}
		return problem.New(problem.Invalid, "Example %d of the rule model expects %s = %v, but the rules give %s.", i+1, f.Name, want, out[k].AppendData(nil)).At(fmt.Sprintf("examples[%d]", i))
	}
	if e.Fired != nil {
		var got []string
		for _, f := range trace[0].Fired {
			got = append(got, f.Rule)
		}
		if strings.Join(got, "\n") != strings.Join(e.Fired, "\n") {
			return problem.New(problem.Invalid, "Example %d of the rule model expects the rules [%s] to fire, but [%s] did.", i+1, strings.Join(e.Fired, ", "), strings.Join(got, ", ")).At(fmt.Sprintf("examples[%d].fired", i))
		}
	}
	return nil
}
