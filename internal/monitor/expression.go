package monitor

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"

	celgo "cel.dev/cel-go/cel"
	celast "cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/ext"

	"keelson/internal/score"
)

// expression is a compiled CEL expression over the rows of a window. It knows input and output, maps from column names to
// numbers and words, and outcome: a number, a word, a truth value, or null while it is not known. A missing value is null.
type expression struct {
	text     string
	program  celgo.Program
	outcomes bool     // it looks at outcome
	inputs   []string // the columns of input that it names and does not ask for with has
}

const (
	longestExpression = 2000
	expressionCost    = 100_000
)

var environment = sync.OnceValues(func() (*celgo.Env, error) {
	row := celgo.MapType(celgo.StringType, celgo.DynType)
	return celgo.NewEnv(ext.Strings(), ext.Math(), celgo.CrossTypeNumericComparisons(true), celgo.ParserExpressionSizeLimit(longestExpression), celgo.ParserRecursionLimit(50),
		celgo.Variable("input", row), celgo.Variable("output", row), celgo.Variable("outcome", celgo.DynType))
})

// compile reads an expression; a condition must give a truth value. Its error names the place.
func compile(text string, condition bool) (*expression, error) {
	if len(text) > longestExpression {
		return nil, fmt.Errorf("it is longer than %d bytes", longestExpression)
	}
	env, err := environment()
	if err != nil {
		return nil, err
	}
	ast, issues := env.Compile(text)
	if err := issues.Err(); err != nil {
		if list := issues.Errors(); len(list) > 0 {
			return nil, fmt.Errorf("column %d: %s", max(list[0].Location.Column()+1, 1), list[0].Message)
		}
		return nil, err
	}
	allowed := []*celgo.Type{celgo.BoolType, celgo.DynType}
	if !condition {
		allowed = append(allowed, celgo.DoubleType, celgo.IntType, celgo.UintType)
	}
	if got := ast.OutputType(); !slices.ContainsFunc(allowed, got.IsExactType) {
		if condition {
			return nil, fmt.Errorf("it gives %s, but true or false is needed", got)
		}
		return nil, fmt.Errorf("it gives %s, but a number or a truth value is needed", got)
	}
	p, err := env.Program(ast, celgo.CostLimit(expressionCost), celgo.EvalOptions(celgo.OptOptimize))
	if err != nil {
		return nil, err
	}
	e := &expression{text: text, program: p}
	for _, r := range ast.NativeRep().ReferenceMap() {
		e.outcomes = e.outcomes || r.Name == "outcome"
	}
	var asked []string
	celast.PreOrderVisit(ast.NativeRep().Expr(), celast.NewExprVisitor(func(x celast.Expr) {
		of, name := celast.Expr(nil), ""
		switch x.Kind() {
		case celast.SelectKind:
			of, name = x.AsSelect().Operand(), x.AsSelect().FieldName()
		case celast.CallKind:
			if args := x.AsCall().Args(); x.AsCall().FunctionName() == operators.Index && args[1].Kind() == celast.LiteralKind {
				of = args[0]
				name, _ = args[1].AsLiteral().Value().(string)
			}
		}
		switch {
		case of == nil || of.Kind() != celast.IdentKind || of.AsIdent() != "input":
		case x.Kind() == celast.SelectKind && x.AsSelect().IsTestOnly():
			asked = append(asked, name)
		case !slices.Contains(e.inputs, name):
			e.inputs = append(e.inputs, name)
		}
	}))
	e.inputs = slices.DeleteFunc(e.inputs, func(name string) bool { return slices.Contains(asked, name) })
	return e, nil
}

// rows is what a window holds, column by column and aligned.
type rows struct {
	n        int
	inputs   []series
	outputs  []series
	outcomes []any             // by row, nil where none is known; or nil
	types    map[string]string // of a data set's columns
	laid     *layout           // of the answers; made when it is asked for
}

// at is row i as expressions see it; only columns that the text names are there.
func (w *rows) at(i int, e *expression) map[string]any {
	pick := func(all []series) map[string]any {
		out := map[string]any{}
		for k := range all {
			s := &all[k]
			if !strings.Contains(e.text, s.name) {
				continue
			}
			switch {
			case s.words != nil && i < len(s.words) && s.words[i] != "":
				out[s.name] = s.words[i]
			case s.words == nil && i < len(s.numbers) && !math.IsNaN(s.numbers[i]):
				out[s.name] = s.numbers[i]
			default:
				out[s.name] = types.NullValue
			}
		}
		return out
	}
	row := map[string]any{"input": pick(w.inputs), "output": pick(w.outputs), "outcome": types.NullValue}
	if i < len(w.outcomes) && w.outcomes[i] != nil {
		row["outcome"] = w.outcomes[i]
	}
	return row
}

var errNoNumber = errors.New("the expression gives no number")

// number evaluates row i; a truth value is 1 or 0. An error or a value that is not finite means that the row has none.
func (e *expression) number(w *rows, i int) (float64, error) {
	v, _, err := e.program.Eval(w.at(i, e))
	if err != nil {
		return 0, err
	}
	x := math.NaN()
	switch v := v.Value().(type) {
	case float64:
		x = v
	case int64:
		x = float64(v)
	case uint64:
		x = float64(v)
	case bool:
		x = truthNumber(v)
	}
	if !finite(x) {
		return 0, errNoNumber
	}
	return x, nil
}

// holds evaluates a condition; a row for which it has no value does not hold.
func (e *expression) holds(w *rows, i int) bool {
	v, err := e.number(w, i)
	return err == nil && v == 1
}

// aggregates make one number of the values of a window's rows, of which there is at least one.
var aggregates = map[string]func([]float64) score.Value{
	"mean": func(v []float64) score.Value { return score.Of(sum(v) / float64(len(v))) },
	"sum":  func(v []float64) score.Value { return score.Of(sum(v)) },
	"min":  func(v []float64) score.Value { return score.Of(slices.Min(v)) },
	"max":  func(v []float64) score.Value { return score.Of(slices.Max(v)) },
	"count": func(v []float64) score.Value {
		n := 0.0
		for _, x := range v {
			if x != 0 {
				n++
			}
		}
		return score.Of(n)
	},
	"p50": func(v []float64) score.Value { return score.Quantiles(v, 0.5)[0] },
	"p90": func(v []float64) score.Value { return score.Quantiles(v, 0.9)[0] },
	"p95": func(v []float64) score.Value { return score.Quantiles(v, 0.95)[0] },
	"p99": func(v []float64) score.Value { return score.Quantiles(v, 0.99)[0] },
}

func sum(v []float64) (total float64) {
	for _, x := range v {
		total += x
	}
	return total
}

// measure gives the metric over a window.
func (m *Metric) measure(w *rows) Measured {
	out := Measured{Name: m.Name, Min: m.Min, Max: m.Max, Unit: m.Unit}
	var value, when *expression
	var err error
	if m.Expression != "" {
		value, err = compile(m.Expression, false)
	}
	if err == nil && m.When != "" {
		when, err = compile(m.When, true)
	}
	if err != nil { // it was checked when it was stored
		out.Why = err.Error()
		return out
	}
	var values []float64
	why := "no row counts"
	for i := range w.n {
		if when != nil && !when.holds(w, i) {
			continue
		}
		x := 1.0
		if value != nil {
			if value.outcomes && (i >= len(w.outcomes) || w.outcomes[i] == nil) {
				why = "no outcome has arrived"
				out.LeftOut++
				continue
			}
			if x, err = value.number(w, i); err != nil {
				why = err.Error()
				out.LeftOut++
				continue
			}
		}
		values = append(values, x)
	}
	out.Rows = len(values)
	switch {
	case len(values) > 0:
		if v, ok, reason := aggregates[m.Aggregate](values).Get(); ok {
			out.Value = &v
		} else {
			out.Why = reason
		}
	case m.Aggregate == "count" || m.Aggregate == "sum" && out.LeftOut == 0:
		zero := 0.0
		out.Value = &zero
	default:
		out.Why = why
	}
	return out
}

// cause is the metric's breach of its limits; nil while it keeps them. A metric of outcomes says something of the result.
func (m *Metric) cause(v Measured) *Cause {
	kind := "data"
	if e, err := compile(m.Expression, false); err == nil && e.outcomes || m.Outcomes {
		if kind = "result"; v.Rows < enoughLabels {
			return nil
		}
	}
	return outside(Cause{Kind: kind, Feature: m.Name, Metric: m.Aggregate, Unit: m.Unit}, v.Value, m.Min, m.Max)
}

// outside holds a value against limits.
func outside(c Cause, v, low, high *float64) *Cause {
	switch {
	case v == nil:
		return nil
	case low != nil && *v < *low:
		c.Value, c.Limit, c.Direction = *v, *low, "down"
	case high != nil && *v > *high:
		c.Value, c.Limit, c.Direction = *v, *high, "up"
	default:
		return nil
	}
	return &c
}

func finite(v float64) bool { return !math.IsNaN(v) && !math.IsInf(v, 0) }
