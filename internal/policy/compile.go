package policy

import (
	"context"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/ext"

	"keelson/internal/problem"
)

// Limits of one evaluation. The costs are CEL's own units: about one per visited node.
const (
	costLimit    = 50_000
	nestingLimit = 60
	checkEvery   = 100 // loop steps between looks at the context
	// evaluationTime bounds all rules of a policy together; a rule that it does not reach counts against the change.
	evaluationTime = 2 * time.Second
)

// environment is the CEL environment of all policies: the Context's variables with typed fields, the string and
// math extensions, no other functions.
var environment = sync.OnceValues(func() (*cel.Env, error) {
	v := func(name string, of any) cel.EnvOption {
		return cel.Variable(name, cel.ObjectType(strings.TrimPrefix(reflect.TypeOf(of).String(), "*")))
	}
	return cel.NewEnv(
		ext.NativeTypes(ext.ParseStructTag("json"),
			reflect.TypeFor[Request](), reflect.TypeFor[Version](), reflect.TypeFor[Evaluation](), reflect.TypeFor[Golden](),
			reflect.TypeFor[Model](), reflect.TypeFor[Env](), reflect.TypeFor[Vote](), reflect.TypeFor[Caller]()),
		v("request", Request{}), v("version", Version{}), v("model", Model{}), v("environment", Env{}), v("caller", Caller{}),
		cel.Variable("votes", cel.ListType(cel.ObjectType("policy.Vote"))),
		ext.Strings(), ext.Sets(), ext.Math(),
		cel.ParserExpressionSizeLimit(maxExpression), cel.ParserRecursionLimit(nestingLimit),
	)
})

// part is one piece of a message: fixed text or an expression.
type part struct {
	text string
	prog cel.Program
}

type compiledRule struct {
	Rule
	when, require cel.Program // when is nil for "always"
	message, pass []part
}

// Compiled is a policy ready to be evaluated; safe for concurrent use.
type Compiled struct {
	Policy
	rules     []compiledRule
	approvals cel.Program
}

// Compile checks the text of p and translates it. It fails with problem.Invalid whose Fields name every rule at fault
// with line and column inside the expression.
func Compile(p Policy) (*Compiled, error) {
	if err := p.check(); err != nil {
		return nil, err
	}
	env, err := environment()
	if err != nil {
		return nil, fmt.Errorf("make CEL environment: %w", err)
	}
	var faults []problem.Field
	fault := func(field string, err error) {
		faults = append(faults, problem.Field{Field: field, Detail: err.Error()})
	}
	c := &Compiled{Policy: p}
	for i, r := range p.Rules {
		at := fmt.Sprintf("rules[%d].", i)
		cr := compiledRule{Rule: r}
		if strings.TrimSpace(r.When) != "" {
			if cr.when, err = expression(env, r.When, cel.BoolType); err != nil {
				fault(at+"when", fmt.Errorf("Rule %s, when: %w", r.ID, err))
			}
		}
		if cr.require, err = expression(env, r.Require, cel.BoolType); err != nil {
			fault(at+"require", fmt.Errorf("Rule %s, require: %w", r.ID, err))
		}
		if cr.message, err = template(env, r.Message); err != nil {
			fault(at+"message", fmt.Errorf("Rule %s, message: %w", r.ID, err))
		}
		if cr.pass, err = template(env, r.Pass); err != nil {
			fault(at+"pass", fmt.Errorf("Rule %s, pass: %w", r.ID, err))
		}
		c.rules = append(c.rules, cr)
	}
	if c.approvals, err = expression(env, p.Approvals, nil); err != nil {
		fault("approvals", fmt.Errorf("The approvals: %w", err))
	}
	if len(faults) > 0 {
		more := ""
		if len(faults) > 1 {
			more = fmt.Sprintf(" (and %d more)", len(faults)-1)
		}
		return nil, problem.New(problem.Invalid, "%s%s", faults[0].Detail, more).At(faults[0].Field).With(faults...)
	}
	return c, nil
}

// expression compiles text; want nil takes any type.
func expression(env *cel.Env, text string, want *cel.Type) (cel.Program, error) {
	ast, issues := env.Compile(text)
	if issues.Err() != nil {
		if list := issues.Errors(); len(list) > 0 {
			e := list[0]
			return nil, fmt.Errorf("line %d, column %d: %s", max(e.Location.Line(), 1), max(e.Location.Column()+1, 1), e.Message)
		}
		return nil, issues.Err()
	}
	if want != nil && !ast.OutputType().IsExactType(want) && !ast.OutputType().IsExactType(cel.DynType) {
		return nil, fmt.Errorf("line 1, column 1: the expression gives %s, but %s is needed", ast.OutputType(), want)
	}
	return env.Program(ast, cel.CostLimit(costLimit), cel.InterruptCheckFrequency(checkEvery), cel.EvalOptions(cel.OptOptimize))
}

// template compiles text with {expressions}. Braces inside string literals of an expression and nested braces are
// respected; a lone brace is an error.
func template(env *cel.Env, text string) ([]part, error) {
	var out []part
	for text != "" {
		open := strings.IndexAny(text, "{}")
		if open < 0 {
			return append(out, part{text: text}), nil
		}
		if text[open] == '}' {
			return nil, fmt.Errorf("a closing brace has no opening one")
		}
		if open > 0 {
			out = append(out, part{text: text[:open]})
		}
		end := closing(text[open:])
		if end < 0 {
			return nil, fmt.Errorf("an opening brace has no closing one")
		}
		inner := text[open+1 : open+end]
		prog, err := expression(env, inner, nil)
		if err != nil {
			return nil, fmt.Errorf("in {%s}: %w", inner, err)
		}
		out = append(out, part{prog: prog})
		text = text[open+end+1:]
	}
	return out, nil
}

// closing is the index of the brace that closes s[0], or -1.
func closing(s string) int {
	depth, quote := 0, byte(0)
	for i := 0; i < len(s); i++ {
		switch ch := s[i]; {
		case quote != 0 && ch == '\\':
			i++
		case quote != 0:
			if ch == quote {
				quote = 0
			}
		case ch == '\'' || ch == '"':
			quote = ch
		case ch == '{':
			depth++
		case ch == '}':
			if depth--; depth == 0 {
				return i
			}
		}
	}
	return -1
}

// Evaluate asks every rule of c about in. It never fails: what cannot be evaluated counts against the change.
func (c *Compiled) Evaluate(ctx context.Context, in Context) Verdict {
	ctx, cancel := context.WithTimeout(ctx, evaluationTime)
	defer cancel()
	vars := map[string]any{
		"request": in.Request, "version": in.Version, "model": in.Model,
		"environment": in.Environment, "votes": in.Votes, "caller": in.Caller,
	}
	if in.Votes == nil {
		vars["votes"] = []Vote{}
	}
	v := Verdict{Allowed: true, Reasons: []Reason{}}
	for _, r := range c.rules {
		reason, applies := r.evaluate(ctx, vars)
		if !applies {
			continue
		}
		v.Reasons = append(v.Reasons, reason)
		if !reason.OK && !reason.Advice {
			v.Allowed = false
		}
	}
	need, err := c.need(ctx, vars)
	if err != nil {
		v.Allowed = false
		v.Reasons = append(v.Reasons, Reason{Rule: "approvals", Message: fmt.Sprintf("The policy %s cannot tell how many votes are needed: %v.", c.Name, err)})
	}
	v.Need = need
	return v
}

func (r compiledRule) evaluate(ctx context.Context, vars map[string]any) (Reason, bool) {
	out := Reason{Rule: r.ID, Advice: r.Advice}
	unable := func(err error) (Reason, bool) {
		out.Message = fmt.Sprintf("Rule %s could not be evaluated: %v.", r.ID, err)
		return out, true
	}
	if r.when != nil {
		applies, err := truth(ctx, r.when, vars)
		if err != nil {
			return unable(err)
		}
		if !applies {
			return out, false
		}
	}
	ok, err := truth(ctx, r.require, vars)
	if err != nil {
		return unable(err)
	}
	out.OK = ok
	words := r.message
	if ok {
		words = r.pass
		if len(words) == 0 {
			words = []part{{text: "Rule " + r.ID + " is fulfilled."}}
		}
	}
	var b strings.Builder
	for _, p := range words {
		if p.prog == nil {
			b.WriteString(p.text)
			continue
		}
		val, _, err := p.prog.ContextEval(ctx, vars)
		if err != nil {
			b.WriteString("?")
			continue
		}
		b.WriteString(say(val))
	}
	out.Message = strings.Join(strings.Fields(b.String()), " ")
	return out, true
}

func truth(ctx context.Context, p cel.Program, vars map[string]any) (bool, error) {
	val, _, err := p.ContextEval(ctx, vars)
	if err != nil {
		return false, err
	}
	b, ok := val.(types.Bool)
	if !ok {
		return false, fmt.Errorf("it gave %s, not true or false", val.Type().TypeName())
	}
	return bool(b), nil
}

// need reads {'count': int, 'roles': [string]}.
func (c *Compiled) need(ctx context.Context, vars map[string]any) (Need, error) {
	none := Need{Roles: []string{}}
	val, _, err := c.approvals.ContextEval(ctx, vars)
	if err != nil {
		return none, err
	}
	native, err := val.ConvertToNative(reflect.TypeFor[map[string]any]())
	if err != nil {
		return none, fmt.Errorf("it gave %s, not {'count': …, 'roles': …}", val.Type().TypeName())
	}
	m := native.(map[string]any)
	count, ok := m["count"].(int64)
	if !ok || count < 0 || count > maxCount {
		return none, fmt.Errorf("its count is %v, not a number from 0 to %d", m["count"], maxCount)
	}
	need := Need{Count: int(count), Roles: []string{}}
	switch roles := m["roles"].(type) {
	case nil:
	case []ref.Val:
		for _, r := range roles {
			need.Roles = append(need.Roles, fmt.Sprint(r.Value()))
		}
	case []any:
		for _, r := range roles {
			need.Roles = append(need.Roles, fmt.Sprint(r))
		}
	case []string:
		need.Roles = append(need.Roles, roles...)
	default:
		return none, fmt.Errorf("its roles are %T, not a list of names", m["roles"])
	}
	return need, nil
}

// say is a value in a message.
func say(v ref.Val) string {
	switch x := v.(type) {
	case types.String:
		return string(x)
	case types.Double:
		return strconv.FormatFloat(float64(x), 'g', 6, 64)
	}
	if list, err := v.ConvertToNative(reflect.TypeFor[[]string]()); err == nil {
		return strings.Join(list.([]string), ", ")
	}
	return fmt.Sprint(v.Value())
}
