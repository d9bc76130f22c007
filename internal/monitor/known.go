package monitor

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"keelson/internal/dataset"
	"keelson/internal/db"
	"keelson/internal/engine"
	"keelson/internal/problem"
)

// loggedCalls is how many calls are looked at for columns that neither a signature nor a data set has.
const loggedCalls = 100

// inputs are the columns that an endpoint's inputs are known to have.
type inputs struct {
	names    map[string]bool
	tensors  []string // of the signatures; empty while none is known
	unnamed  bool     // a signature has a matrix whose columns have no names
	sources  []string // in words: where the names are from
	segments []Segment
	logged   func() (map[string]bool, error) // of calls that were made, read when a name is in no source
}

// refuseUnknown refuses columns of a change that nothing knows: where the signature of the model is known, or the reference and
// calls that were made, a name that is in none of them is a misspelled one. Where no call was made yet and no signature is known,
// only the columns that are held against the reference must be in it. It fails with problem.Invalid at the field.
func (s *Service) refuseUnknown(ctx context.Context, endpoint string, c *Change) error {
	if c.Features == nil && c.Segments == nil && c.Embeddings == nil && c.Ranking == nil && c.Metrics == nil && c.Rules == nil && c.Fairness == nil {
		return nil
	}
	k, err := s.inputs(ctx, endpoint, c)
	if err != nil || len(k.sources) == 0 {
		return err
	}
	if c.Segments != nil {
		k.segments = *c.Segments
	}
	return c.columns(k.check)
}

// inputs gathers what is known of the endpoint that a change is about. A matrix without names takes those of the reference; where
// there is none either, nothing is known.
func (s *Service) inputs(ctx context.Context, endpoint string, c *Change) (*inputs, error) {
	var m Monitor
	var state *versionState
	model, _, _ := strings.Cut(endpoint, ".")
	if err := s.DB.Read(ctx, func(tx db.Scope) (err error) {
		m, _, err = get(tx, endpoint)
		if problem.Is(err, problem.NotFound) {
			m = Monitor{Model: model}
			return nil
		}
		if err != nil {
			return err
		}
		known, err := states(tx, endpoint)
		state = known[m.Version]
		return err
	}); err != nil {
		return nil, err
	}
	if c.Model != nil && *c.Model != "" {
		if *c.Model != m.Model {
			m.Version = 0
		}
		m.Model = *c.Model
	}
	ref := m.Reference
	if c.Reference != nil {
		ref = *c.Reference
	}
	if ref.Dataset == "" && state != nil {
		ref = state.ref
	}
	k := &inputs{names: map[string]bool{}, segments: m.Segments}
	refs := []dataset.Ref{ref}
	if s.Versions != nil {
		trained, err := s.signatures(ctx, k, m.Model, m.Version)
		if err != nil {
			return nil, err
		}
		refs = append(refs, trained...)
	}
	named := false
	for i, r := range refs {
		if r.Dataset == "" || slices.Contains(refs[:i], r) {
			continue
		}
		v, err := s.Data.Version(ctx, r.Dataset, r.Version)
		if problem.Is(err, problem.NotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		named = true
		k.sources = append(k.sources, fmt.Sprintf("the data %s version %d", v.Dataset, v.Version))
		for _, f := range v.Schema {
			k.names[f.Name] = true
		}
	}
	if k.unnamed && !named {
		k.sources = nil
	}
	after := ""
	if state != nil {
		after = state.place
	}
	k.logged = func() (map[string]bool, error) { return s.logged(ctx, endpoint, after) }
	return k, nil
}

// signatures takes the inputs of the version that answers and of the newest one, which may go live next. It gives the data that
// they were trained on.
func (s *Service) signatures(ctx context.Context, k *inputs, model string, version int) (refs []dataset.Ref, err error) {
	newest, err := s.Versions.Latest(ctx, []string{model})
	if err != nil {
		return nil, err
	}
	latest, registered := newest[model]
	if registered && latest.Number != version {
		k.take(fmt.Sprintf("the inputs of %s version %d", model, latest.Number), latest.Signature)
		refs = append(refs, s.trainedOn(ctx, latest))
	}
	if version < 1 {
		return refs, nil
	}
	v, err := s.Versions.Version(ctx, model, version)
	if problem.Is(err, problem.NotFound) {
		return refs, nil
	}
	if err != nil {
		return nil, err
	}
	k.take(fmt.Sprintf("the inputs of %s version %d", model, version), v.Signature)
	return append(refs, s.trainedOn(ctx, v)), nil
}

// take adds the columns of a signature's inputs.
func (k *inputs) take(source string, sig engine.Signature) {
	if len(sig.Inputs) == 0 { // served elsewhere
		return
	}
	k.sources = append(k.sources, source)
	for _, spec := range sig.Inputs {
		k.tensors = append(k.tensors, spec.Name)
		if len(spec.Columns) == 0 {
			k.names[spec.Name] = true
		}
		for _, name := range spec.Columns {
			k.names[name] = true
		}
		k.unnamed = k.unnamed || len(spec.Columns) == 0 && !scalar(spec.Shape)
	}
}

// scalar tells whether a shape has one value per row.
func scalar(shape []int) bool {
	for _, n := range shape[min(len(shape), 1):] {
		if n != 1 {
			return false
		}
	}
	return true
}

// logged are the columns of the calls behind a place in the log, or, where that is empty, behind the newest window; where there
// are none, of those of the newest window, and of the oldest ones where they are gone or no window was closed.
func (s *Service) logged(ctx context.Context, endpoint, after string) (map[string]bool, error) {
	places := []string{after, ""}
	if err := s.DB.Read(ctx, func(tx db.Scope) error {
		last, err := brief(tx, endpoint, anyVersion, "", 1)
		if len(last) > 0 {
			places = []string{cmp.Or(after, last[0].until), last[0].after, ""}
		}
		return err
	}); err != nil {
		return nil, err
	}
	names := map[string]bool{}
	for _, from := range slices.Compact(places) {
		err := s.Calls.Scan(ctx, endpoint, from, loggedCalls, func(c *Call) error {
			for _, in := range c.Inputs {
				names[in.Name] = true
			}
			return nil
		})
		if err != nil || len(names) > 0 {
			return names, err
		}
	}
	return names, nil
}

// has tells whether a name, or with a * at its end a beginning, is that of a column.
func (k *inputs) has(name string) bool {
	begin, pattern := strings.CutSuffix(name, "*")
	fits := func(n string) bool { return n == name || pattern && strings.HasPrefix(n, begin) }
	if k.names[name] {
		return true
	}
	for n := range k.names {
		if fits(n) {
			return true
		}
	}
	if !k.unnamed {
		return false
	}
	for _, t := range append([]string{"f"}, k.tensors...) { // f0, f1, … or NAME_0, NAME_1, …
		prefix, _, ok := numbered(name)
		if ok && (prefix == "f" || prefix == t+"_") || pattern && (fits("f0") || fits(t+"_0")) {
			return true
		}
	}
	return false
}

// kind tells what a name in a change stands for.
type kind int

const (
	aColumn  kind = iota
	compared      // a column that is held against the reference
	aGroup        // a column or a segment
	aTensor       // an input of the signature
)

// check refuses a name that nothing knows.
func (k *inputs) check(field, name string, of kind) error {
	switch {
	case strings.TrimSpace(name) == "" || k.has(name):
		return nil
	case of == aTensor && len(k.tensors) == 0:
		return nil // a reference knows columns only
	case of == aGroup && slices.ContainsFunc(k.segments, func(s Segment) bool { return s.Name == name }):
		return nil
	}
	seen, err := k.logged()
	if err != nil {
		return err
	}
	if len(seen) == 0 && len(k.tensors) == 0 && of != compared {
		return nil // calls of a model that is served elsewhere may have more columns than it was trained on
	}
	for n := range seen {
		k.names[n] = true
	}
	if k.has(name) {
		return nil
	}
	var all []string
	for n := range k.names {
		all = append(all, n)
	}
	slices.Sort(all)
	near := problem.Nearest(strings.TrimSuffix(name, "*"), all, 3)
	for i := range near {
		near[i] = fmt.Sprintf("%q", problem.Clip(near[i], 60))
	}
	what := fmt.Sprintf("There is no column %q", problem.Clip(name, 60))
	if of == aGroup {
		what += ", nor a segment of this name,"
	}
	where := strings.Join(k.sources, " or ")
	if len(near) == 0 {
		return invalid(field, "%s in %s.", what, where)
	}
	list := near[0]
	if n := len(near); n > 1 {
		list = strings.Join(near[:n-1], ", ") + " and " + near[n-1]
	}
	return invalid(field, "%s in %s; the nearest names are %s.", what, where, list)
}

// columns calls fn with every column that a change names and the field it stands in, and ends with its first error. What is wrong
// by itself, such as an expression that cannot be read, is left to Check.
func (c *Change) columns(fn func(field, name string, of kind) error) error {
	var err error
	each := func(of kind, field string, names ...string) {
		for i, name := range names {
			if err == nil {
				err = fn(strings.ReplaceAll(field, "#", fmt.Sprint(i)), name, of)
			}
		}
	}
	within := func(field, text string, condition bool) {
		if e, wrong := compile(text, condition); text != "" && wrong == nil {
			for _, name := range e.inputs {
				each(aColumn, field, name)
			}
		}
	}
	if c.Features != nil {
		each(compared, "features[#]", *c.Features...)
	}
	if c.Segments != nil {
		for i, s := range *c.Segments {
			each(aColumn, fmt.Sprintf("segments[%d].column", i), s.Column)
			within(fmt.Sprintf("segments[%d].when", i), s.When, true)
		}
	}
	if c.Embeddings != nil {
		for i, e := range *c.Embeddings {
			each(aColumn, fmt.Sprintf("embeddings[%d].columns[#]", i), e.Columns...)
			each(aTensor, fmt.Sprintf("embeddings[%d].input", i), e.Input)
		}
	}
	if c.Ranking != nil && !c.Ranking.Off {
		each(aColumn, "ranking.query", c.Ranking.Query)
	}
	if c.Metrics != nil {
		for i, m := range *c.Metrics {
			each(aColumn, fmt.Sprintf("metrics[%d].columns[#]", i), m.Columns...)
			within(fmt.Sprintf("metrics[%d].expression", i), m.Expression, false)
			within(fmt.Sprintf("metrics[%d].when", i), m.When, true)
		}
	}
	if c.Rules != nil {
		for i, r := range *c.Rules {
			each(aColumn, fmt.Sprintf("rules[%d].column", i), r.Column)
		}
	}
	if c.Fairness != nil {
		for i, g := range *c.Fairness {
			each(aGroup, fmt.Sprintf("fairness[%d].columns[#]", i), g.Columns...)
		}
	}
	return err
}
