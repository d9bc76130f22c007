package dataset

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/cespare/xxhash/v2"

	"keelson/internal/problem"
)

// Rule says what every version of a data set must be like. Missing cells break null_share only.
type Rule struct {
	ID       string   `json:"id,omitempty" yaml:"id,omitempty" doc:"made from column and check when empty"`
	Column   string   `json:"column,omitempty" yaml:"column,omitempty" doc:"required by every check but rows"`
	Check    string   `json:"check" yaml:"check" enum:"type,range,null_share,allowed,unique,rows"`
	Type     Type     `json:"type,omitempty" yaml:"type,omitempty" doc:"for type: what every cell must be; also decides how a CSV column is read"`
	Min      *float64 `json:"min,omitempty" yaml:"min,omitempty" doc:"for range and rows, inclusive"`
	Max      *float64 `json:"max,omitempty" yaml:"max,omitempty" doc:"for range and rows, inclusive"`
	MaxShare *float64 `json:"max_share,omitempty" yaml:"max_share,omitempty" doc:"for null_share: the largest share of missing cells, 0..1"`
	Values   []any    `json:"values,omitempty" yaml:"values,omitempty" doc:"for allowed: words, numbers or booleans"`
}

// Name is the rule's id, or one made from its column and check.
func (r *Rule) Name() string {
	switch {
	case r.ID != "":
		return r.ID
	case r.Column == "":
		return r.Check
	}
	return r.Column + "." + r.Check
}

// CheckRules refuses rules that cannot be checked, naming the rule.
func CheckRules(rules []Rule) error {
	types := map[string]Type{}
	for i := range rules {
		r := &rules[i]
		refuse := func(format string, a ...any) error {
			return problem.New(problem.Invalid, "Rule %d (%s) "+format+".", append([]any{i + 1, r.Name()}, a...)...).At(fmt.Sprintf("rules[%d]", i))
		}
		if r.Column == "" && r.Check != "rows" {
			return refuse("names no column")
		}
		if r.Min != nil && r.Max != nil && !(*r.Min <= *r.Max) {
			return refuse("has a min above its max")
		}
		switch r.Check {
		case "type":
			switch r.Type {
			case Int, Float, String, Bool, Time:
			default:
				return refuse("asks for type %q; use int, float, string, bool or time", r.Type)
			}
			if t := types[r.Column]; t != "" && t != r.Type {
				return refuse("asks for another type than a rule before it")
			}
			types[r.Column] = r.Type
		case "range", "rows":
			if r.Min == nil && r.Max == nil {
				return refuse("needs min or max")
			}
		case "null_share":
			if r.MaxShare == nil || !(*r.MaxShare >= 0 && *r.MaxShare <= 1) {
				return refuse("needs max_share between 0 and 1")
			}
		case "allowed":
			if len(r.Values) == 0 {
				return refuse("needs values")
			}
			for _, v := range r.Values {
				if _, ok := Word(v); !ok {
					return refuse("allows %v, which is no word, number or boolean", v)
				}
			}
		case "unique":
		default:
			return refuse("has check %q; use type, range, null_share, allowed, unique or rows", r.Check)
		}
	}
	return nil
}

// Word writes an allowed value as the text it matches; false for what is no word, boolean or finite number.
func Word(v any) (string, bool) {
	switch v := v.(type) {
	case string:
		return v, true
	case bool:
		return strconv.FormatBool(v), true
	case int:
		return strconv.Itoa(v), true
	case int64:
		return strconv.FormatInt(v, 10), true
	case uint64:
		return strconv.FormatUint(v, 10), true
	case float64:
		return strconv.FormatFloat(v, 'g', -1, 64), v-v == 0
	}
	return "", false
}

// firstRows is how many rows a finding lists.
const firstRows = 20

// ruleState counts the rows that break one rule.
type ruleState struct {
	rule    Rule
	words   map[string]bool
	numbers map[float64]bool
	rows    []int64
	count   int64
	example string
}

func newRuleState(r Rule) *ruleState {
	s := &ruleState{rule: r}
	if r.Check == "allowed" {
		s.words, s.numbers = map[string]bool{}, map[float64]bool{}
		for _, v := range r.Values {
			w, _ := Word(v)
			s.words[w] = true
			if _, isWord := v.(string); isWord {
				continue // "1" allows the word, 1 allows every way to write the number
			}
			if n, _, ok := parseNumber([]byte(w)); ok {
				s.numbers[n] = true
			}
		}
	}
	return s
}

// see holds one cell against the rule. buf is scratch space and is returned.
func (s *ruleState) see(row int64, c *cell, buf []byte) []byte {
	if c.kind == missing {
		if s.rule.Check == "null_share" {
			s.hit(row, "")
		}
		return buf
	}
	broken := false
	switch s.rule.Check {
	case "type":
		broken = !c.is(s.rule.Type)
	case "range":
		v, ok := c.number()
		broken = !ok || s.rule.Min != nil && v < *s.rule.Min || s.rule.Max != nil && v > *s.rule.Max
	case "allowed":
		buf = c.appendText(buf[:0])
		if !s.words[string(buf)] {
			v, ok := c.number()
			broken = !ok || !s.numbers[v]
		}
	}
	if broken {
		buf = c.appendText(buf[:0])
		s.hit(row, string(buf[:min(len(buf), 60)]))
	}
	return buf
}

func (s *ruleState) hit(row int64, example string) {
	if s.count++; s.count == 1 {
		s.example = strings.ToValidUTF8(example, "")
	}
	if len(s.rows) < firstRows {
		s.rows = append(s.rows, row)
	}
}

// finding says how the rule is broken, or returns nil.
func (s *ruleState) finding(rows int64) *problem.Field {
	r := &s.rule
	if r.Check == "null_share" && float64(s.count) <= *r.MaxShare*float64(rows) || s.count == 0 {
		return nil
	}
	detail := ""
	switch r.Check {
	case "type":
		detail = fmt.Sprintf("%q is not %s; %s", s.example, map[Type]string{Int: "a whole number", Float: "a number", String: "text", Bool: "true or false", Time: "a date or time"}[r.Type], inRows(s.count))
	case "range":
		detail = fmt.Sprintf("%q lies outside %s; %s", s.example, span(r.Min, r.Max), inRows(s.count))
	case "null_share":
		detail = fmt.Sprintf("%s of %d cells are missing (%.4g %%), %.4g %% are allowed", strconv.FormatInt(s.count, 10), rows, 100*float64(s.count)/float64(rows), 100**r.MaxShare)
	case "allowed":
		detail = fmt.Sprintf("%q is not among the allowed values; %s", s.example, inRows(s.count))
	case "unique":
		detail = fmt.Sprintf("%q was there before; repeated %s", s.example, inRows(s.count))
	}
	return &problem.Field{Field: r.Column, Detail: detail, Rule: r.Name(), Rows: s.rows, Count: s.count}
}

func inRows(n int64) string {
	if n == 1 {
		return "in 1 row"
	}
	return fmt.Sprintf("in %d rows", n)
}

func span(low, high *float64) string {
	switch {
	case low == nil:
		return fmt.Sprintf("%v and below", *high)
	case high == nil:
		return fmt.Sprintf("%v and above", *low)
	}
	return fmt.Sprintf("%v to %v", *low, *high)
}

// checkUnique reads the column again and finds the rows that repeat an earlier one. Values are compared by
// 128 bits of hash; so that memory stays bounded the column is read once for every 4 million rows, each
// time looking at a part of the hashes.
func checkUnique(ctx context.Context, src source, column int, rows int64, s *ruleState) error {
	const atOnce = 4 << 20
	parts := uint64(rows/atOnce + 1)
	want := make([]bool, len(src.fields()))
	want[column] = true
	var repeated []int64
	for part := range parts {
		seen := map[[2]uint64]struct{}{}
		var buf []byte
		_, err := src.scan(ctx, want, func(_ int, row int64, c *cell) error {
			if c.kind == missing {
				return nil
			}
			buf = c.appendText(buf[:0])
			h := xxhash.Sum64(buf)
			if h%parts != part {
				return nil
			}
			key := [2]uint64{h, sum64(buf, 0x9e3779b97f4a7c15)}
			if _, again := seen[key]; !again {
				seen[key] = struct{}{}
				return nil
			}
			if s.count++; s.count == 1 {
				s.example = strings.ToValidUTF8(string(buf[:min(len(buf), 60)]), "")
			}
			repeated = append(repeated, row)
			if len(repeated) > 2*firstRows {
				repeated = smallest(repeated)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	s.rows = smallest(repeated)
	return nil
}

// sum64 is FNV-1a over b, mixed with seed; a hash independent of xxhash.
func sum64(b []byte, seed uint64) uint64 {
	h := 14695981039346656037 ^ seed
	for _, c := range b {
		h = (h ^ uint64(c)) * 1099511628211
	}
	return h ^ h>>29
}

// checkRows finds whether the number of rows is allowed.
func checkRows(r *Rule, rows int64) *problem.Field {
	if n := float64(rows); (r.Min == nil || n >= *r.Min) && (r.Max == nil || n <= *r.Max) {
		return nil
	}
	return &problem.Field{Field: r.Column, Rule: r.Name(), Count: rows, Detail: fmt.Sprintf("the file has %d rows, allowed are %s", rows, span(r.Min, r.Max))}
}

func finite(v float64) bool { return !math.IsNaN(v) && !math.IsInf(v, 0) }
