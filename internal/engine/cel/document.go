package cel

import (
	"errors"
	"fmt"
	"io"
	"math"
	"path"
	"regexp"

	"keelson/internal/markup"
	"keelson/internal/problem"
)

// Bounds of one document; beyond them it is refused.
const (
	maxFields   = 1000
	maxRules    = 5000
	maxText     = 16 << 10  // bytes of one expression
	maxTexts    = 256 << 10 // bytes of all expressions
	maxPairs    = 1 << 20   // parts of an expression times its parts of open type, over all expressions
	maxRegex    = 20_000    // steps of the programs of all patterns, with the ranges of letters in them
	costLimit   = 100_000   // of one expression on one row, in CEL's units
	nestingDeep = 60
	checkEvery  = 100 // loop steps between looks at the context
)

// document is the file. See the package comment for an example.
type document struct {
	Name        string    `yaml:"name"`
	Description string    `yaml:"description"`
	Hit         string    `yaml:"hit"`
	Inputs      []field   `yaml:"inputs"`
	Outputs     []field   `yaml:"outputs"`
	Rules       []rule    `yaml:"rules"`
	Examples    []example `yaml:"examples"`
}

type field struct {
	Name     string `yaml:"name"`
	Type     string `yaml:"type"`
	Doc      string `yaml:"doc"`
	Optional bool   `yaml:"optional"`
	Default  any    `yaml:"default"`
	value    any    // Default as int64, float64, bool or string
}

type rule struct {
	ID      string         `yaml:"id"`
	When    string         `yaml:"when"`
	Then    map[string]any `yaml:"then"`
	Message string         `yaml:"message"`
}

type example struct {
	Given  map[string]any `yaml:"given"`
	Expect map[string]any `yaml:"expect"`
	Fired  []string       `yaml:"fired"`
}

var (
	nameForm = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,127}$`)
	idForm   = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_. -]{0,127}$`)
)

func invalid(format string, a ...any) *problem.Error {
	return problem.New(problem.Invalid, "The rule model cannot be used: "+format+".", a...)
}

// parse reads the file strictly and applies the rules that need no CEL.
func parse(name string, data []byte) (*document, error) {
	var d document
	if err := markup.Decode(data, true, &d); err != nil {
		if errors.Is(err, io.EOF) {
			return nil, invalid("%s is empty", path.Base(name))
		}
		return nil, invalid("%s is not the YAML of a rule model (%s)", path.Base(name), clip(err.Error()))
	}
	if d.Hit == "" {
		d.Hit = "first"
	}
	switch {
	case d.Hit != "first" && d.Hit != "all":
		return nil, invalid("hit is %q; it is first (the first rule that holds decides) or all (later rules overwrite)", clip(d.Hit)).At("hit")
	case len(d.Inputs) == 0 || len(d.Inputs) > maxFields:
		return nil, invalid("it has %d inputs, not 1 to %d", len(d.Inputs), maxFields).At("inputs")
	case len(d.Outputs) == 0 || len(d.Outputs) > maxFields:
		return nil, invalid("it has %d outputs, not 1 to %d", len(d.Outputs), maxFields).At("outputs")
	case len(d.Rules) == 0 || len(d.Rules) > maxRules:
		return nil, invalid("it has %d rules, not 1 to %d", len(d.Rules), maxRules).At("rules")
	}
	if err := fields("inputs", d.Inputs, false); err != nil {
		return nil, err
	}
	if err := fields("outputs", d.Outputs, true); err != nil {
		return nil, err
	}
	seen := map[string]bool{}
	for i, r := range d.Rules {
		at := fmt.Sprintf("rules[%d]", i)
		switch {
		case !idForm.MatchString(r.ID) || seen[r.ID]:
			return nil, invalid("rule %d needs an id of its own, %q is none", i+1, clip(r.ID)).At(at + ".id")
		case r.When == "":
			return nil, invalid("rule %q has no condition; write `when: \"true\"` for a rule that always holds", r.ID).At(at + ".when")
		}
		seen[r.ID] = true
	}
	return &d, nil
}

func fields(side string, list []field, needDefault bool) error {
	seen := map[string]bool{}
	for i := range list {
		f := &list[i]
		at := fmt.Sprintf("%s[%d]", side, i)
		switch {
		case !nameForm.MatchString(f.Name) || seen[f.Name]:
			return invalid("entry %d of %s needs a name of its own made of letters, digits and _, %q is none", i+1, side, clip(f.Name)).At(at + ".name")
		case kinds[f.Type].datatype == "":
			return invalid("%s has the type %q; types are double, int, bool and string", f.Name, clip(f.Type)).At(at + ".type")
		}
		seen[f.Name] = true
		switch {
		case f.Default != nil:
			v, ok := convert(f.Type, f.Default)
			if !ok {
				return invalid("the default of %s is %v, which is no %s", f.Name, clip(fmt.Sprint(f.Default)), f.Type).At(at + ".default")
			}
			f.value = v
		case needDefault:
			return invalid("output %s has no default, which is its value when no rule sets it", f.Name).At(at + ".default")
		case f.Optional && f.Type == "double":
			f.value = math.NaN()
		case f.Optional:
			return invalid("input %s is optional and a %s, so it needs a default", f.Name, f.Type).At(at + ".default")
		}
	}
	return nil
}

// convert takes a YAML value as the Go value of a type: a double may be written as a whole number, nothing else bends.
func convert(typ string, v any) (any, bool) {
	switch typ {
	case "double":
		switch x := v.(type) {
		case float64:
			return x, true
		case int:
			return float64(x), true
		}
	case "int":
		if x, ok := v.(int); ok {
			return int64(x), true
		}
	case "bool":
		x, ok := v.(bool)
		return x, ok
	case "string":
		x, ok := v.(string)
		return x, ok
	}
	return nil, false
}

// clip shortens what others wrote for a message.
func clip(s string) string { return problem.Clip(s, 200) }
