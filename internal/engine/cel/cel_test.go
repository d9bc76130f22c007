package cel

import (
	"context"
	"fmt"
	"math"
	"os"
	"runtime"
	"strings"
	"testing"
	"testing/fstest"

	"keelson/internal/engine"
	"keelson/internal/engine/enginetest"
	"keelson/internal/problem"
	"keelson/internal/tensor"
)

var ctx = context.Background()

func load(t testing.TB, text string) (engine.Model, error) {
	t.Helper()
	return Engine{}.Load(ctx, fstest.MapFS{"model.cel.yaml": {Data: []byte(text)}}, "model.cel.yaml", engine.Limits{})
}

func referral(t testing.TB) engine.Model {
	t.Helper()
	b, err := os.ReadFile("testdata/referral/model.cel.yaml")
	if err != nil {
		t.Fatal(err)
	}
	m, err := load(t, string(b))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

var patients = []tensor.Tensor{
	{Name: "score", Type: tensor.FP32, Shape: []int{4, 1}, F32: []float32{0.95, 0.4, 0.5, 0.1}},
	tensor.FP64s("radius", []int{4}, []float64{10, 20.5, math.NaN(), 30}),
	{Name: "age", Type: tensor.Uint8, Shape: []int{4}, U64: []uint64{30, 30, 41, 80}},
	tensor.Strings("ward", []int{4}, []string{"x", "x", "oncology", ""}),
}

func TestContract(t *testing.T) {
	enginetest.Run(t, enginetest.Case{Engine: Engine{}, FS: os.DirFS("testdata/referral"), Format: Format, Inputs: patients})
}

func TestTheRulesThatFireAreNamed(t *testing.T) {
	m := referral(t)
	if err := m.(engine.SelfTester).SelfTest(ctx); err != nil {
		t.Errorf("self-test: %v", err)
	}
	out, trace, err := m.(engine.Tracer).PredictTrace(ctx, patients)
	if err != nil {
		t.Fatal(err)
	}
	wantDays := []int64{2, 7, 14, 365}
	wantFired := []string{"certain", "large-tumour", "history", ""}
	days := tensor.Find(out, "days")
	for i := range wantDays {
		if days.I64[i] != wantDays[i] {
			t.Errorf("row %d: %d days, want %d", i, days.I64[i], wantDays[i])
		}
		got := ""
		for _, f := range trace[i].Fired {
			got += f.Rule
		}
		if got != wantFired[i] {
			t.Errorf("row %d: %q fired, want %q", i, got, wantFired[i])
		}
	}
	if r := tensor.Find(out, "risk").F64[1]; math.Abs(r-0.6) > 1e-7 {
		t.Errorf("risk of row 1 is %v, want 0.6", r)
	}
	if trace[0].Fired[0].Message == "" {
		t.Error("the message of the rule is missing")
	}
}

func TestHitAllAppliesEveryRuleInOrder(t *testing.T) {
	m, err := load(t, `
hit: all
inputs: [{name: x, type: int}]
outputs: [{name: y, type: double, default: 1}, {name: label, type: string, default: none}]
rules:
  - {id: a, when: x > 0, then: {y: 2, label: "==literal"}}
  - {id: b, when: x > 10, then: {y: "=x + 1"}}
  - {id: c, when: "false", then: {label: never}}
`)
	if err != nil {
		t.Fatal(err)
	}
	out, trace, err := m.(engine.Tracer).PredictTrace(ctx, []tensor.Tensor{tensor.Int64s("x", []int{3}, []int64{0, 5, 20})})
	if err != nil {
		t.Fatal(err)
	}
	if got := string(tensor.AppendList(nil, out)); got != `[{"name":"y","shape":[3],"datatype":"FP64","data":[1,2,21]},{"name":"label","shape":[3],"datatype":"BYTES","data":["none","=literal","=literal"]}]` {
		t.Error(got)
	}
	if len(trace[0].Fired) != 0 || len(trace[1].Fired) != 1 || len(trace[2].Fired) != 2 {
		t.Errorf("fired %+v", trace)
	}
}

func TestBrokenModelsAreRefusedByName(t *testing.T) {
	const good = "inputs: [{name: x, type: double}]\noutputs: [{name: y, type: int, default: 0}]\nrules: [{id: r1, when: x > 1.0, then: {y: 1}}]\n"
	if _, err := load(t, good); err != nil {
		t.Fatal(err)
	}
	cases := []struct{ name, text, says, at string }{
		{"an unknown variable", strings.Replace(good, "x > 1.0", "z > 1.0", 1), `rule "r1" is wrong: column 1: undeclared reference to 'z'`, "rules[0].when"},
		{"a condition that is a number", strings.Replace(good, "x > 1.0", "x", 1), "it gives double, but bool", "rules[0].when"},
		{"a syntax error", strings.Replace(good, "x > 1.0", "x >", 1), `rule "r1" is wrong`, "rules[0].when"},
		{"a value of another type", strings.Replace(good, "{y: 1}", "{y: one}", 1), `sets y to one, which is no int`, "rules[0].then.y"},
		{"an expression of another type", strings.Replace(good, "{y: 1}", "{y: =x}", 1), "it gives double, but int", "rules[0].then.y"},
		{"an output that does not exist", strings.Replace(good, "{y: 1}", "{z: 1}", 1), `"z", which is not among the outputs`, "rules[0].then"},
		{"an output without default", strings.Replace(good, ", default: 0", "", 1), "has no default", "outputs[0].default"},
		{"an unknown type", strings.Replace(good, "type: double", "type: date", 1), `the type "date"`, "inputs[0].type"},
		{"a word CEL keeps", strings.NewReplacer("name: x", "name: in", "x > 1.0", "true").Replace(good), "", ""},
		{"an unknown field", good + "extra: 1\n", "extra", ""},
		{"an unknown hit policy", good + "hit: some\n", `hit is "some"`, "hit"},
		{"two rules of one id", strings.Replace(good, "rules: [", "rules: [{id: r1, when: \"true\"}, ", 1), "an id of its own", "rules[1].id"},
		{"no rules", strings.Replace(good, "rules: [{id: r1, when: x > 1.0, then: {y: 1}}]", "rules: []", 1), "0 rules", "rules"},
		{"an example of an unknown input", good + "examples: [{given: {q: 1}}]\n", `no input "q"`, "examples[0].given"},
		{"an example that expects another type", good + "examples: [{given: {x: 1}, expect: {y: yes}}]\n", "no output of that type", "examples[0].expect"},
		{"nothing", "", "empty", ""},
		{"two documents", good + "---\na: 1\n", "more than one document", ""},
		{"an endless expression", strings.Replace(good, "x > 1.0", "\"'"+strings.Repeat("a", 20000)+"' == ''\"", 1), "r1", "rules[0].when"},
		{"deep brackets", strings.Replace(good, "x > 1.0", strings.Repeat("(", 3000)+"true"+strings.Repeat(")", 3000), 1), "r1", "rules[0].when"},
		{"a flood of aliases", "inputs: &a [1,2,3,4,5,6,7,8,9]\noutputs: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nrules: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\nexamples: [*c,*c,*c,*c,*c,*c,*c,*c,*c]\n", "YAML", ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			_, err := load(t, c.text)
			if c.says == "" {
				if err != nil && problem.KindOf(err) != problem.Invalid {
					t.Errorf("got %v, want it accepted or invalid", err)
				}
				return
			}
			if problem.KindOf(err) != problem.Invalid || !strings.Contains(err.Error(), c.says) {
				t.Fatalf("got %v, want an invalid problem that says %q", err, c.says)
			}
			if p := err.(*problem.Error); p.Field != c.at {
				t.Errorf("names the field %q, want %q", p.Field, c.at)
			}
		})
	}
}

func TestBadRowsNameTheRule(t *testing.T) {
	m, err := load(t, "inputs: [{name: x, type: int}, {name: s, type: string, optional: true, default: a}]\noutputs: [{name: y, type: int, default: 0}]\nrules: [{id: divide, when: 10 / x > 1, then: {y: 1}}, {id: grow, when: 's.size() > 3 && [1,2,3,4,5,6,7,8,9,10].all(a, [1,2,3,4,5,6,7,8,9,10].all(b, [1,2,3,4,5,6,7,8,9,10].all(c, [1,2,3,4,5,6,7,8,9,10].all(d, [1,2,3,4,5,6,7,8,9,10].all(e, a+b+c+d+e > 0)))))'}]\n")
	if err != nil {
		t.Fatal(err)
	}
	one := func(v ...int64) tensor.Tensor { return tensor.Int64s("x", []int{len(v)}, v) }
	cases := []struct {
		name, says string
		in         []tensor.Tensor
	}{
		{"division by zero", `Rule "divide" cannot be decided on row 1`, []tensor.Tensor{one(1, 0)}},
		{"a rule without end", `Rule "grow" cannot be decided on row 0: it costs more`, []tensor.Tensor{one(100), tensor.Strings("s", []int{1}, []string{"long"})}},
		{"the wrong datatype", "is FP32, but the model takes INT64 (int)", []tensor.Tensor{tensor.FP32s("x", []int{1}, []float32{1})}},
		{"a number beyond the sign", "beyond 64 bits", []tensor.Tensor{{Name: "x", Type: tensor.Uint64, Shape: []int{1}, U64: []uint64{1 << 63}}}},
		{"broken text", "not UTF-8", []tensor.Tensor{one(1), tensor.Strings("s", []int{1}, []string{"\xff"})}},
		{"rows that do not match", "2 rows where", []tensor.Tensor{one(1), tensor.Strings("s", []int{2}, []string{"", ""})}},
		{"an input left out", `"x" is missing`, []tensor.Tensor{tensor.Strings("s", []int{1}, []string{""})}},
		{"an input twice", "twice", []tensor.Tensor{one(1), one(1)}},
		{"a matrix", "[n] or [n, 1]", []tensor.Tensor{tensor.Int64s("x", []int{1, 2}, []int64{1, 2})}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			_, err := m.Predict(ctx, c.in)
			if problem.KindOf(err) != problem.Invalid || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v, want an invalid problem that says %q", err, c.says)
			}
		})
	}
}

func TestAFailingExampleFailsTheSelfTest(t *testing.T) {
	m, err := load(t, "inputs: [{name: x, type: double}]\noutputs: [{name: y, type: int, default: 0}]\nrules: [{id: r1, when: x > 1.0, then: {y: 1}}]\nexamples: [{given: {x: 2}, expect: {y: 1}}, {given: {x: 0.5}, expect: {y: 1}}]\n")
	if err != nil {
		t.Fatal(err)
	}
	if err := m.(engine.SelfTester).SelfTest(ctx); problem.KindOf(err) != problem.Invalid || !strings.Contains(err.Error(), "Example 2") {
		t.Errorf("got %v, want example 2 named", err)
	}
}

func TestFilesThatStandForMuchMemoryAreRefused(t *testing.T) {
	head := "inputs: [{name: x, type: string}, {name: n, type: double}]\noutputs: [{name: y, type: int, default: 0}]\nrules:\n"
	rules := func(n int, when string) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, "  - {id: r%d, when: '%s', then: {y: 1}}\n", i, when)
		}
		return head + b.String()
	}
	for name, c := range map[string]struct{ text, says string }{
		"one pattern that stands for many letters":   {rules(1, `x.matches("`+strings.Repeat(`\\pL{500}`, 40)+`")`), "steps together"},
		"patterns that are large together":           {rules(500, `x.matches("a{1000}")`), "steps together"},
		"a pattern behind others within a condition": {rules(1, `n > 1.0 && (x == "a" || ["a"].exists(e, e.matches("((\\pL{10}){10}){9}")))`), "steps together"},
		"conditions that are long together":          {rules(120, strings.Repeat("n > 1.0 || ", 900)+"true"), "bytes together"},
		"lists of nothing in a list":                 {rules(10, "1 in ["+strings.Repeat("[],", 3000)+"1]"), "compare too often"},
		"many comparisons in each condition":         {rules(100, strings.Repeat(`x == "a" || `, 300)+"true"), "compare too often"},
	} {
		t.Run(name, func(t *testing.T) {
			var err error
			enginetest.Frugal(t, len(c.text), enginetest.Compiling(len(c.text)), func() { _, err = load(t, c.text) })
			if problem.KindOf(err) != problem.Invalid || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%v, want a refusal that says %q", err, c.says)
			}
		})
	}
	if _, err := load(t, rules(10, `x.matches("^[A-Z]{2}[0-9]{2,30}$")`)); err != nil {
		t.Errorf("patterns as people write them: %v", err)
	}
}

// TestWhatALoadedModelHoldsIsBounded measures models that take all that their bounds allow.
func TestWhatALoadedModelHoldsIsBounded(t *testing.T) {
	if maxTexts != enginetest.Expressions {
		t.Errorf("a file may have %d bytes of expressions, the allowance of the tests is for %d", maxTexts, enginetest.Expressions)
	}
	for name, when := range map[string]string{
		"comparisons":         strings.Repeat("n>n||", 1600) + "true",
		"conditions of words": `n >= 0.5 && x != "hospice"`,
	} {
		t.Run(name, func(t *testing.T) {
			var b strings.Builder
			b.WriteString("inputs: [{name: x, type: string}, {name: n, type: double}]\noutputs: [{name: y, type: int, default: 0}]\nrules:\n")
			for i := range min(maxTexts/len(when), maxRules) {
				fmt.Fprintf(&b, "  - {id: r%d, when: '%s', then: {y: 1}}\n", i, when)
			}
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			m, err := load(t, b.String())
			if err != nil {
				t.Fatal(err)
			}
			runtime.GC()
			runtime.ReadMemStats(&after)
			held := int64(after.HeapAlloc) - int64(before.HeapAlloc)
			t.Logf("%d bytes of rules hold %d", b.Len(), held)
			if held > 48<<20 {
				t.Errorf("%d bytes of rules hold %d bytes, 48 MiB are possible", b.Len(), held)
			}
			runtime.KeepAlive(m)
		})
	}
}

func FuzzLoad(f *testing.F) {
	b, err := os.ReadFile("testdata/referral/model.cel.yaml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte("inputs: [{name: x, type: double}]\noutputs: [{name: y, type: int, default: 0}]\nrules: [{id: r1, when: x > 1.0, then: {y: =int(x)}}]\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		var m engine.Model
		var err error
		enginetest.Frugal(t, len(b), enginetest.Compiling(len(b)), func() {
			m, err = Engine{}.Load(ctx, fstest.MapFS{"m.cel.yaml": {Data: b}}, "m.cel.yaml", engine.Limits{})
		})
		if err != nil {
			if problem.KindOf(err) == problem.Internal {
				t.Fatalf("an internal failure: %v", err)
			}
			return
		}
		_ = m.(engine.SelfTester).SelfTest(ctx)
		var in []tensor.Tensor
		for _, s := range m.Signature().Inputs {
			in = append(in, map[string]tensor.Tensor{
				"FP64": tensor.FP64s(s.Name, []int{1}, []float64{1}), "INT64": tensor.Int64s(s.Name, []int{1}, []int64{1}),
				"BOOL": tensor.Bools(s.Name, []int{1}, []bool{true}), "BYTES": tensor.Strings(s.Name, []int{1}, []string{"a"})}[s.Datatype])
		}
		if _, err := m.Predict(ctx, in); err != nil && problem.KindOf(err) != problem.Invalid {
			t.Fatalf("an internal failure: %v", err)
		}
	})
}

func BenchmarkReferralOneRow(b *testing.B) {
	m := referral(b).(engine.Tracer)
	in := []tensor.Tensor{tensor.FP64s("score", []int{1}, []float64{0.4}), tensor.Int64s("age", []int{1}, []int64{50})}
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := m.PredictTrace(ctx, in); err != nil {
			b.Fatal(err)
		}
	}
}
