package mlflow

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// needRun makes sure that a run is here, with its experiment; false when it cannot be.
func (c *Copier) needRun(ctx context.Context, id string) (bool, error) {
	if _, ok := c.runs[id]; ok {
		return true, nil
	}
	r, err := c.From.run(ctx, id)
	if missing(err) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if r.Info.ID == "" {
		r.Info.ID = id
	}
	if r.Info.Stage == "deleted" && !c.Deleted {
		return false, nil
	}
	if ok, err := c.needExperiment(ctx, r.Info.Experiment); err != nil || !ok {
		return false, err
	}
	if err := c.copyRun(ctx, r); err != nil {
		return false, err
	}
	_, ok := c.runs[id]
	return ok, nil
}

func (c *Copier) needLogged(ctx context.Context, id string) (bool, error) {
	if _, ok := c.logged[id]; ok {
		return true, nil
	}
	l, err := c.From.loggedModel(ctx, id)
	if missing(err) || absent(err) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if ok, err := c.needExperiment(ctx, l.Info.Experiment); err != nil || !ok {
		return false, err
	}
	if l.Info.Run != "" {
		if _, err := c.needRun(ctx, l.Info.Run); err != nil {
			return false, err
		}
	}
	if err := c.copyLogged(ctx, l); err != nil {
		return false, err
	}
	_, ok := c.logged[id]
	return ok, nil
}

// Tags of what our record has no field for.
const tagStage = "keelson.import.stage"

func (c *Copier) copyRegistry(ctx context.Context) error {
	models, err := c.From.models(ctx)
	if err != nil {
		if absent(err) {
			return nil // a server without a registry
		}
		return fmt.Errorf("list registered models: %w", err)
	}
	type todo struct {
		model registeredModel
		v     modelVersion
	}
	var versions []todo
	for _, m := range models {
		if !matches(c.Models, m.Name) {
			continue
		}
		c.report.rows[Registered].Source++
		in := map[string]any{"name": m.Name, "description": m.Description, "tags": toMap(m.Tags), "creation_timestamp": m.Created, "last_updated_timestamp": m.Updated}
		out, err := c.put(ctx, "registered-models", in)
		var f *Failure
		if errors.As(err, &f) && f.Status == http.StatusUnprocessableEntity && bearable(m.Name) != m.Name {
			in["name"], in["original_name"] = bearable(m.Name), m.Name
			c.report.Renamed = append(c.report.Renamed, m.Name+" → "+bearable(m.Name))
			out, err = c.put(ctx, "registered-models", in)
		}
		if err != nil {
			if err := c.refused(Registered, m.Name, err); err != nil {
				return err
			}
			continue
		}
		c.names[m.Name] = out.ID
		c.count(func(rows map[string]*Row, _ *Progress) { rows[Registered].made(out.Made) })
		list, err := c.From.versions(ctx, m.Name)
		if err != nil {
			return fmt.Errorf("list versions of %s: %w", m.Name, err)
		}
		slices.SortFunc(list, func(a, b modelVersion) int { return atoi(a.Version) - atoi(b.Version) })
		for _, v := range list {
			versions = append(versions, todo{m, v})
		}
	}
	// Copies of other versions come after what they were copied from.
	slices.SortStableFunc(versions, func(a, b todo) int { return rank(a.v) - rank(b.v) })
	for _, t := range versions {
		if err := c.copyVersion(ctx, t.v); err != nil {
			return fmt.Errorf("version %s of %s: %w", t.v.Version, t.v.Name, err)
		}
	}
	for _, m := range models {
		name, ok := c.names[m.Name]
		if !ok {
			continue
		}
		if err := c.copyAliases(ctx, m, name); err != nil {
			return err
		}
	}
	return nil
}

func atoi(s string) int {
	n, _ := strconv.Atoi(s) // versions are numbers; anything else comes first and is refused by the target
	return n
}

func rank(v modelVersion) int {
	if rest, ok := strings.CutPrefix(v.Source, "models:/"); ok && strings.ContainsAny(rest, "/@") {
		return 1
	}
	return 0
}

// bearable replaces what a model's name cannot hold here.
func bearable(name string) string {
	name = strings.Map(func(r rune) rune {
		if strings.ContainsRune("/:.%\\?#&;\"'`<>{}|^@", r) || r < ' ' {
			return '-'
		}
		return r
	}, strings.TrimSpace(name))
	if r := []rune(name); len(r) > 200 {
		name = strings.TrimSpace(string(r[:200]))
	}
	return name
}

// from says where a version's files are here: an address for the registration, the owner in sums, and the folder below it.
func (c *Copier) from(ctx context.Context, v modelVersion) (from, owner, folder string, err error) {
	logged := v.Model
	if rest, ok := strings.CutPrefix(v.Source, "models:/"); ok {
		rest = strings.TrimPrefix(rest, "/")
		if name, _, copied := strings.Cut(rest, "/"); copied {
			if here, ok := c.names[name]; ok {
				for _, p := range c.parts {
					if p.name == here && name+"/"+p.version.Version == rest {
						return "models:/" + here + "/" + p.version.Version, p.owner, p.folder, nil
					}
				}
			}
			return "", "", "", nil
		}
		logged = rest
	}
	if rest, ok := strings.CutPrefix(v.Source, "mlflow-artifacts:/"); ok {
		if parts := strings.Split(strings.Trim(rest, "/"), "/"); len(parts) == 4 && parts[1] == "models" && parts[3] == "artifacts" {
			logged = parts[2]
		}
	}
	if logged != "" {
		if ok, err := c.needLogged(ctx, logged); err != nil || ok {
			return "models:/" + logged, "model:" + logged, "", err
		}
	}
	if v.Run == "" {
		return "", "", "", nil
	}
	ok, err := c.needRun(ctx, v.Run)
	if err != nil || !ok {
		return "", "", "", err
	}
	if rest, ok := strings.CutPrefix(v.Source, "runs:/"+v.Run+"/"); ok {
		return "runs:/" + v.Run + "/" + rest, "run:" + v.Run, rest, nil
	}
	if rest, ok := strings.CutPrefix(v.Source, strings.TrimSuffix(c.runs[v.Run].Info.Artifacts, "/")+"/"); ok {
		rest = strings.Trim(rest, "/")
		return "runs:/" + v.Run + "/" + rest, "run:" + v.Run, rest, nil
	}
	return "", "", "", nil
}

func (c *Copier) copyVersion(ctx context.Context, v modelVersion) error {
	c.report.rows[Versions].Source++
	id, name := v.Name+"/"+v.Version, c.names[v.Name]
	from, owner, folder, err := c.from(ctx, v)
	if err != nil {
		return err
	}
	if from == "" {
		c.count(func(rows map[string]*Row, _ *Progress) { rows[Versions].Differs++ })
		c.report.note(Versions, id, fmt.Sprintf("not copied: its files at %s belong to no run or logged model that is left there", v.Source))
		return nil
	}
	tags := toMap(v.Tags)
	if v.Stage != "" && v.Stage != "None" {
		tags[tagStage] = v.Stage
	}
	in := map[string]any{"name": name, "original_name": v.Name, "version": atoi(v.Version), "from": from, "origin": v.Source, "description": v.Description, "tags": tags,
		"creation_timestamp": v.Created, "last_updated_timestamp": v.Updated}
	if v.Run != "" {
		if ok, err := c.needRun(ctx, v.Run); err != nil {
			return err
		} else if ok {
			in["run_id"] = v.Run
		}
	}
	out, err := c.put(ctx, "model-versions", in)
	if err != nil {
		return c.refused(Versions, id, err)
	}
	c.parts = append(c.parts, versionPart{v, name, owner, folder})
	c.count(func(rows map[string]*Row, _ *Progress) { rows[Versions].made(out.Made) })
	return nil
}

func (c *Copier) copyAliases(ctx context.Context, m registeredModel, name string) error {
	if len(m.Aliases) == 0 {
		return nil
	}
	here, err := c.To.model(ctx, name)
	if err != nil {
		return err
	}
	for _, a := range m.Aliases {
		c.report.rows[Aliases].Source++
		there := false
		for _, b := range here.Aliases {
			there = there || a == b
		}
		if !there {
			if err := c.To.call(ctx, "POST", api+"registered-models/alias", nil, map[string]string{"name": name, "alias": a.Alias, "version": a.Version}, nil); err != nil {
				var f *Failure
				if errors.As(err, &f) && f.Status < 500 { // also one that is protected here
					c.report.rows[Aliases].Differs++
					c.report.note(Aliases, m.Name+"@"+a.Alias, "not copied: "+f.Error())
					continue
				}
				return err
			}
		}
		c.report.rows[Aliases].made(!there)
	}
	return nil
}
