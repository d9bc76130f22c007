package pipeline

import (
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"keelson/internal/evaluation"
	"keelson/internal/problem"
)

const small = `name: demo
steps:
  check: {kind: check}
  train: {kind: command, needs: [check], run: [sh, -c, "true"]}
`

func TestParse(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"a small project is read", small, ""},
		{"an empty file is refused", "", "it needs at least name and steps"},
		{"an unknown field is named with its line", small + "colour: red\n", `keelson.yaml:5:1: unknown field "colour"`},
		{"an unknown field of a step is named with its line", "name: d\nsteps:\n  a:\n    kind: check\n    wants: [b]\n", `keelson.yaml:5:5: unknown field "wants"`},
		{"a field twice is refused", "name: d\nname: e\nsteps:\n  a: {kind: check}\n", "keelson.yaml:2:1:"},
		{"broken YAML is located", "name: d\nsteps: [\n", "keelson.yaml:"},
		{"a need that is no step is located", "name: d\nsteps:\n  a:\n    kind: check\n    needs: [b]\n", `keelson.yaml:5:13: step a needs "b", and there is no such step`},
		{"a step that needs itself is refused", "name: d\nsteps:\n  a: {kind: check, needs: [b]}\n  b: {kind: check, needs: [a]}\n", "needs itself"},
		{"an unknown kind lists the kinds", "name: d\nsteps:\n  a: {kind: magic}\n", "the kinds are check, command, register and evaluate"},
		{"a command without a program is refused", "name: d\nsteps:\n  a: {kind: command}\n", "needs run"},
		{"a suite that is not declared is refused", "name: d\nsteps:\n  a: {kind: evaluate, suite: x}\n", `runs suite "x", which is not under evaluate`},
		{"a suite on unknown data is refused", "name: d\nsteps:\n  a: {kind: check}\nevaluate:\n  s: {data: x, tests: [{name: t, kind: metric}]}\n", `judges on data set "x"`},
		{"a size without a unit we know is refused", "name: d\nsteps:\n  a: {kind: check, limits: {memory: 4GB}}\n", `"4GB" is not a size`},
		{"a negative duration is refused", "name: d\nsteps:\n  a: {kind: check, limits: {time: -5m}}\n", `is not a duration`},
		{"an output outside of its folder is refused", "name: d\nsteps:\n  a: {kind: command, run: [x], outputs: {d: ../d.csv}}\n", "is not inside KEELSON_OUTPUT"},
		{"a name with a slash is refused", "name: a/b\nsteps:\n  a: {kind: check}\n", `name "a/b" is not a name`},
		{"nested anchors are refused", "name: d\nx: &a [1,1]\ny: &b [*a,*a]\nsteps:\n  a: {kind: check}\n", "anchors are not nested"},
		{"a parameter that is a list is refused", "name: d\nparameters: {a: [1]}\nsteps:\n  a: {kind: check}\n", "parameter a is not a string"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Parse("keelson.yaml", []byte(c.text))
			if c.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("got %v, want an error with %q", err, c.want)
			}
			if k := problem.KindOf(err); k != problem.Invalid {
				t.Errorf("kind %s, want invalid", k)
			}
		})
	}
}

func TestAProjectWithoutAPipelineIsReadByClientsOnly(t *testing.T) {
	for _, c := range []struct{ name, text, model, want string }{
		{"monitors only", "monitors: {churn: {window: {rows: 800}}}\n", "", ""},
		{"rollouts of a model", "model: churn\ndeploy: {prod: {mode: canary}}\n", "churn", ""},
		{"a name is the model's", "name: churn\ndata: {calls: {target: left}}\n", "churn", ""},
		{"steps need a name", "steps: {a: {kind: check}}\n", "", `name "" is not a name`},
		{"a model that is no name", "model: a/b\n", "", `model "a/b" is not a name`},
		{"an unknown field", "monitor: {}\n", "", `unknown field "monitor"`},
		{"a suite on unknown data", "evaluate:\n  s: {data: x, tests: [{name: t, kind: metric}]}\n", "", `judges on data set "x"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			d, err := ParseProject("keelson.yaml", []byte(c.text))
			if c.want == "" && (err != nil || d.Model != c.model) || c.want != "" && (problem.KindOf(err) != problem.Invalid || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("%+v, %v, want %q", d, err, c.want)
			}
			if _, err := Parse("keelson.yaml", []byte(c.text)); problem.KindOf(err) != problem.Invalid {
				t.Errorf("as a pipeline: %v", err)
			}
		})
	}
}

func TestAFairnessTestIsReadWithAllItsFields(t *testing.T) {
	const text = small + "data: {d: {}}\nevaluate: {s: {data: d, tests: [{name: t, kind: fairness, metric: equalised_odds, columns: [sex, age], edges: {age: [30, 50]}, min_rows: 40, max: 0.2}]}}\n"
	d, err := Parse("keelson.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	if err := d.judge(); err != nil {
		t.Fatal(err)
	}
	var got evaluation.Suite
	if err := convert(d.Evaluate["s"], &got); err != nil {
		t.Fatal(err)
	}
	if f := got.Tests[0]; !slices.Equal(f.Columns, []string{"sex", "age"}) || !slices.Equal(f.Edges["age"], []float64{30, 50}) || f.MinRows != 40 || *f.Max != 0.2 {
		t.Errorf("%+v", f)
	}
	wrong, err := Parse("keelson.yaml", []byte(strings.Replace(text, "equalised_odds", "justice", 1)))
	if err != nil {
		t.Fatal(err)
	}
	if p, ok := problem.As(wrong.judge()); !ok || p.Field != "evaluate.s.suite.tests[0].metric" {
		t.Errorf("%+v", p)
	}
}

func TestTheScreeningProjectIsReadAsItStands(t *testing.T) {
	text, err := os.ReadFile("../../examples/screening/keelson.yaml")
	if err != nil {
		t.Fatal(err)
	}
	d, err := Parse("keelson.yaml", text)
	if err != nil {
		t.Fatal(err)
	}
	var steps []string
	for _, o := range d.Outlines() {
		steps = append(steps, o.Name)
	}
	if want := []string{"check", "train", "train_baseline", "register", "evaluate"}; !slices.Equal(steps, want) {
		t.Errorf("steps %v, want %v in the order of the file", steps, want)
	}
	if l := d.Steps["train"].Limits; l.Memory != 4<<30 || time.Duration(l.Time) != 5*time.Minute {
		t.Errorf("limits of train are %+v, want 4 GiB and 5 minutes", l)
	}
	if len(d.Data["screening-holdout"].Rules) != len(d.Data["screening-patients"].Rules) {
		t.Error("the anchored rules did not arrive at the second data set")
	}
	if n := len(d.Evaluate["acceptance"].Tests); n != 6 {
		t.Errorf("%d tests, want 6", n)
	}
}

func TestReadyAndBlocked(t *testing.T) {
	steps := func(states ...string) []Step {
		return []Step{{Name: "a", State: states[0]}, {Name: "b", Needs: []string{"a"}, State: states[1]}, {Name: "c", Needs: []string{"a"}, State: states[2]},
			{Name: "d", Needs: []string{"b", "c"}, State: states[3]}}
	}
	for _, c := range []struct {
		name           string
		steps          []Step
		ready, blocked []string
		state          string
	}{
		{"only the first is ready", steps(Waiting, Waiting, Waiting, Waiting), []string{"a"}, nil, ""},
		{"two run side by side", steps(Succeeded, Waiting, Waiting, Waiting), []string{"b", "c"}, nil, ""},
		{"a join waits for both", steps(Succeeded, Succeeded, Running, Waiting), nil, nil, ""},
		{"a failure blocks what follows, not what stands beside it", steps(Succeeded, Failed, Waiting, Waiting), []string{"c"}, []string{"d"}, ""},
		{"a failure at the top blocks all", steps(Failed, Waiting, Waiting, Waiting), nil, []string{"b", "c", "d"}, ""},
		{"all succeeded", steps(Succeeded, Succeeded, Succeeded, Succeeded), nil, nil, Succeeded},
		{"one failed", steps(Succeeded, Failed, Succeeded, Skipped), nil, nil, Failed},
		{"cancelled", steps(Succeeded, Cancelled, Succeeded, Cancelled), nil, nil, Cancelled},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := ready(c.steps); !slices.Equal(got, c.ready) {
				t.Errorf("ready %v, want %v", got, c.ready)
			}
			if got := blocked(c.steps); !slices.Equal(got, c.blocked) {
				t.Errorf("blocked %v, want %v", got, c.blocked)
			}
			if c.state != "" {
				if got, _ := outcome(c.steps); got != c.state {
					t.Errorf("outcome %s, want %s", got, c.state)
				}
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	f.Add(small)
	f.Add("name: d\nx: &a [1]\nsteps: *a\n")
	f.Add("? - a\n: b\n")
	f.Fuzz(func(t *testing.T, text string) {
		_, err := Parse("f", []byte(text)) // must neither panic nor hang
		if err != nil && problem.KindOf(err) == problem.Internal {
			t.Fatalf("an unreadable file is the sender's mistake, got %v", err)
		}
		if _, lax := ParseProject("f", []byte(text)); err == nil && lax != nil {
			t.Fatalf("a pipeline is a project: %v", lax)
		}
	})
}
