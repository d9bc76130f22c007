package mlflow

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
)

// What is counted and compared, in the order of the report.
const (
	Experiments = "experiments"
	Runs        = "runs"
	Points      = "metric points"
	Files       = "files"
	Logged      = "logged models"
	Registered  = "registered models"
	Versions    = "versions"
	Aliases     = "aliases"
)

// Kinds are all kinds of a report.
var Kinds = []string{Experiments, Runs, Points, Files, Logged, Registered, Versions, Aliases}

// Row is what became of one kind of thing. Source = Copied + There + what was refused. The digests are over the
// sorted list of everything of that kind that was compared, as each side gave it when it was read again.
type Row struct {
	Kind         string `json:"kind"`
	Source       int64  `json:"source"`
	Copied       int64  `json:"copied"`
	There        int64  `json:"already_there"`
	Differs      int64  `json:"differs"`
	SourceDigest string `json:"source_digest,omitempty"`
	TargetDigest string `json:"target_digest,omitempty"`
}

// made counts one thing: copied now, or there already.
func (r *Row) made(made bool) {
	if made {
		r.Copied++
	} else {
		r.There++
	}
}

// Difference is one thing that is not the same on both sides.
type Difference struct {
	Kind string `json:"kind"`
	ID   string `json:"id"`
	Why  string `json:"why"`
}

// maxDifferences bounds those that are told one by one.
const maxDifferences = 1000

// Report is the result of a copy.
type Report struct {
	Source      string       `json:"source"`
	Target      string       `json:"target"`
	Verified    bool         `json:"verified"`
	Rows        []Row        `json:"rows"`
	Renamed     []string     `json:"renamed,omitempty"`
	Differences []Difference `json:"differences,omitempty"`

	rows map[string]*Row
}

func (r *Report) note(kind, id, why string) {
	if len(r.Differences) < maxDifferences {
		r.Differences = append(r.Differences, Difference{kind, id, why})
	}
}

// Finish fills Rows.
func (r *Report) Finish() {
	r.Rows = nil
	for _, k := range Kinds {
		r.Rows = append(r.Rows, *r.rows[k])
	}
	slices.SortFunc(r.Differences, func(a, b Difference) int {
		return strings.Compare(a.Kind+"\n"+a.ID+"\n"+a.Why, b.Kind+"\n"+b.ID+"\n"+b.Why)
	})
}

// OK reports that nothing differs.
func (r *Report) OK() bool {
	for _, row := range r.rows {
		if row.Differs > 0 || row.SourceDigest != row.TargetDigest {
			return false
		}
	}
	return true
}

// sides collects what both sides have of one kind: id → digest.
type sides map[string]map[string][2]string

func (s sides) add(kind, id, there, here string) {
	if s[kind] == nil {
		s[kind] = map[string][2]string{}
	}
	s[kind][id] = [2]string{there, here}
}

func sum(parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		fmt.Fprintf(h, "%d %s\n", len(p), p)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// Verify reads both sides again and compares: runs with parameters, tags, inputs and times; every metric's whole history;
// every file's bytes; logged models, registered models, versions with their files, aliases.
func (c *Copier) Verify(ctx context.Context) error {
	c.count(func(_ map[string]*Row, p *Progress) { *p = Progress{Phase: "comparing"} })
	found := sides{}
	add := func(kind, id, there, here string) {
		c.mu.Lock()
		defer c.mu.Unlock()
		found.add(kind, id, there, here)
	}
	ids := slices.Sorted(maps.Keys(c.runs))
	if err := c.each(ctx, len(ids), func(ctx context.Context, i int) error { return c.verifyRun(ctx, ids[i], add) }); err != nil {
		return fmt.Errorf("compare runs: %w", err)
	}
	models := slices.Sorted(maps.Keys(c.logged))
	if err := c.each(ctx, len(models), func(ctx context.Context, i int) error { return c.verifyLogged(ctx, models[i], add) }); err != nil {
		return fmt.Errorf("compare logged models: %w", err)
	}
	if err := c.verifyRegistry(ctx, add); err != nil {
		return fmt.Errorf("compare registered models: %w", err)
	}
	for _, kind := range Kinds {
		row := c.report.rows[kind]
		var there, here []string
		for _, id := range slices.Sorted(maps.Keys(found[kind])) {
			d := found[kind][id]
			there, here = append(there, id, d[0]), append(here, id, d[1])
			if d[0] != d[1] {
				row.Differs++
				c.report.note(kind, id, "differs: "+short(d[0])+" there, "+short(d[1])+" here")
			}
		}
		if len(there) > 0 {
			row.SourceDigest, row.TargetDigest = sum(there...), sum(here...)
		}
	}
	c.report.Verified = true
	return nil
}

func short(d string) string {
	if d == "" {
		return "nothing"
	}
	return d[:min(12, len(d))]
}

// ours reports whether a tag was made by the import.
func ours(key string) bool { return strings.HasPrefix(key, "keelson.import.") }

// sorted writes tags or parameters in one order, without our own.
func sortedPairs(list []pair) string {
	var out []string
	for _, p := range list {
		if !ours(p.Key) {
			out = append(out, sum(p.Key, p.Value))
		}
	}
	slices.Sort(out)
	return strings.Join(out, "\n")
}

// canon is a run as both sides must have it.
func (r run) canon() string {
	tags := slices.DeleteFunc(slices.Clone(r.Data.Tags), func(p pair) bool { return p.Key == "mlflow.runName" }) // follows the name
	var inputs, models []string
	for _, d := range r.Inputs.Datasets {
		inputs = append(inputs, sum(d.Dataset.Name, d.Dataset.Digest, d.Dataset.SourceType, d.Dataset.Source, d.Dataset.Schema, d.Dataset.Profile, sortedPairs(d.Tags)))
	}
	for _, m := range r.Inputs.Models {
		models = append(models, "in "+m.Model)
	}
	for _, m := range r.Outputs.Models {
		models = append(models, fmt.Sprintf("out %s %d", m.Model, m.Step))
	}
	slices.Sort(inputs)
	slices.Sort(models)
	name := r.Info.Name
	for _, p := range r.Data.Tags {
		if p.Key == "mlflow.runName" && name == "" {
			name = p.Value
		}
	}
	return sum(r.Info.ID, name, r.Info.Status, r.Info.User, r.Info.Stage, fmt.Sprint(r.Info.Start), fmt.Sprint(r.Info.End), sortedPairs(r.Data.Params), sortedPairs(tags), strings.Join(inputs, "\n"), strings.Join(models, "\n"))
}

// histories gives the digest of every metric's whole history.
func (s *Server) histories(ctx context.Context, r run) (map[string]string, error) {
	out := map[string]string{}
	for _, m := range r.Data.Metrics {
		list, err := s.history(ctx, r.Info.ID, m.Key)
		if err != nil {
			return nil, err
		}
		lines := make([]string, len(list))
		for i, p := range list {
			lines[i] = p.text()
		}
		slices.Sort(lines)
		out[m.Key] = sum(slices.Compact(lines)...)
	}
	return out, nil
}

func (c *Copier) verifyRun(ctx context.Context, id string, add func(kind, id, there, here string)) error {
	there, err := c.From.run(ctx, id)
	if err != nil {
		return err
	}
	here, err := c.To.run(ctx, id)
	if err != nil {
		return err
	}
	add(Runs, id, there.canon(), here.canon())
	a, err := c.From.histories(ctx, there)
	if err != nil {
		return err
	}
	b, err := c.To.histories(ctx, here)
	if err != nil {
		return err
	}
	for _, k := range keys(a, b) {
		add(Points, id+" "+k, a[k], b[k])
	}
	from, to := c.places(c.runs[id])
	if err := c.verifyFiles(ctx, "run:"+id, from, to, add); err != nil {
		return err
	}
	c.count(func(_ map[string]*Row, p *Progress) { p.Runs++ })
	return nil
}

func keys[V any](a, b map[string]V) []string {
	all := maps.Clone(a)
	maps.Copy(all, b)
	return slices.Sorted(maps.Keys(all))
}

// verifyFiles compares the bytes of all files of a place.
func (c *Copier) verifyFiles(ctx context.Context, owner string, from, to place, add func(kind, id, there, here string)) error {
	read := func(p place) (map[string]string, error) {
		out := map[string]string{}
		list, err := p.files(ctx)
		if err != nil {
			return out, err
		}
		for _, f := range list {
			d, n, err := p.digest(ctx, f.Path)
			if err != nil {
				return out, err
			}
			out[f.Path] = d
			c.count(func(_ map[string]*Row, p *Progress) {
				p.Files++
				p.Bytes += n
			})
		}
		return out, nil
	}
	a, err := read(from)
	if err != nil {
		return c.refused(Files, from.uri, err)
	}
	b, err := read(to)
	if err != nil {
		return err
	}
	for _, k := range keys(a, b) {
		add(Files, owner+"/"+k, a[k], b[k])
	}
	c.mu.Lock()
	c.sums[owner] = a
	c.mu.Unlock()
	return nil
}

func (l loggedModel) canon() string {
	var metrics []string
	for _, p := range l.Data.Metrics {
		metrics = append(metrics, p.full())
	}
	slices.Sort(metrics)
	return sum(l.Info.ID, l.Info.Name, l.Info.Kind, l.Info.Run, l.Info.Status, fmt.Sprint(l.Info.Created), sortedPairs(l.Info.Tags), sortedPairs(l.Data.Params), strings.Join(metrics, "\n\n"))
}

func (c *Copier) verifyLogged(ctx context.Context, id string, add func(kind, id, there, here string)) error {
	there, err := c.From.loggedModel(ctx, id)
	if err != nil {
		return err
	}
	here, err := c.To.loggedModel(ctx, id)
	if err != nil {
		return err
	}
	add(Logged, id, there.canon(), here.canon())
	from, to := c.loggedPlaces(c.logged[id])
	return c.verifyFiles(ctx, "model:"+id, from, to, add)
}

func (c *Copier) verifyRegistry(ctx context.Context, add func(kind, id, there, here string)) error {
	for _, original := range slices.Sorted(maps.Keys(c.names)) {
		there, err := c.From.model(ctx, original)
		if err != nil {
			return err
		}
		here, err := c.To.model(ctx, c.names[original])
		if err != nil {
			return err
		}
		canon := func(m registeredModel) string { return sum(m.Description, fmt.Sprint(m.Created), sortedPairs(m.Tags)) }
		add(Registered, original, canon(there), canon(here))
		a, b := map[string]string{}, map[string]string{}
		for _, x := range there.Aliases {
			a[x.Alias] = x.Version
		}
		for _, x := range here.Aliases {
			b[x.Alias] = x.Version
		}
		for k := range a {
			add(Aliases, original+"@"+k, a[k], b[k])
		}
	}
	for _, p := range c.parts {
		id := p.version.Name + "/" + p.version.Version
		var here struct {
			Description string            `json:"description"`
			Run         string            `json:"run_id"`
			Tags        map[string]string `json:"tags"`
			Files       []struct {
				Path   string `json:"path"`
				Digest string `json:"digest"`
			} `json:"files"`
		}
		if err := c.To.call(ctx, "GET", "/api/v1/models/"+url.PathEscape(p.name)+"/versions/"+p.version.Version, nil, nil, &here); err != nil {
			return err
		}
		want, got := map[string]string{}, map[string]string{}
		for path, digest := range c.sums[p.owner] {
			if p.folder == "" {
				want[path] = digest
			} else if rest, ok := strings.CutPrefix(path, p.folder+"/"); ok {
				want[rest] = digest
			}
		}
		for _, f := range here.Files {
			got[f.Path] = strings.TrimPrefix(f.Digest, "sha256:")
		}
		var tags []pair
		for k, v := range here.Tags {
			tags = append(tags, pair{k, v})
		}
		run := p.version.Run
		if _, ok := c.runs[run]; !ok {
			run = here.Run // its run is gone there, too
		}
		add(Versions, id, sum(p.version.Description, run, sortedPairs(p.version.Tags), document(want)), sum(here.Description, here.Run, sortedPairs(tags), document(got)))
	}
	return nil
}

// document writes a map in one order.
func document(m map[string]string) string {
	b, _ := json.Marshal(m) // strings only: it cannot fail, and keys are sorted
	return string(b)
}
