package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"keelson/client"
	"keelson/internal/pipeline"
)

// project is a folder with a project file.
type project struct {
	file string // path of keelson.yaml
	dir  string
	text []byte
	def  pipeline.Definition
}

// openProject reads a project file: the given one, or keelson.yaml in this folder or one above. found is false when none
// was named and there is none.
func openProject(file string) (p project, found bool, err error) {
	if file == "" {
		dir, err := os.Getwd()
		if err != nil {
			return p, false, err
		}
		for {
			if _, err := os.Stat(filepath.Join(dir, "keelson.yaml")); err == nil {
				file = filepath.Join(dir, "keelson.yaml")
				break
			}
			up := filepath.Dir(dir)
			if up == dir {
				return p, false, nil
			}
			dir = up
		}
	}
	if st, err := os.Stat(file); err == nil && st.IsDir() {
		file = filepath.Join(file, "keelson.yaml")
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return p, false, usage("The project file cannot be read: %v", err)
	}
	def, err := pipeline.ParseProject(file, text)
	if err != nil {
		return p, false, usage("%s", err.Error())
	}
	return project{file: file, dir: filepath.Dir(file), text: text, def: def}, true, nil
}

// neededProject is openProject where there must be one that declares a pipeline.
func neededProject(file string) (project, error) {
	p, found, err := openProject(file)
	switch {
	case err != nil:
	case !found:
		err = &failure{code: client.ExitUsage, text: "There is no keelson.yaml in this folder or above.", hint: "name one with --file"}
	default:
		err = p.runs()
	}
	return p, err
}

// runs refuses a project that declares no pipeline.
func (p project) runs() error {
	if _, err := pipeline.Parse(p.file, p.text); err != nil {
		return usage("%s", err.Error())
	}
	return nil
}

// planned is the rollout that the project file declares for a model in an environment; nil when there is none. A file that was
// named holds for any model; one that was found holds for its own, and fails when it does not say which that is.
func planned(file, model, environment string) (*client.Rollout, error) {
	p, found, err := openProject(file)
	switch {
	case err != nil || !found:
		return nil, err
	case file == "" && p.def.Model == "" && p.rollout(environment) != nil:
		return nil, &failure{code: client.ExitUsage, text: fmt.Sprintf("%s has a rollout for %s and does not say of which model.", p.file, environment),
			hint: fmt.Sprintf("add the line  model: %s  to it, or name it with --file", model)}
	case file == "" && p.def.Model != model:
		return nil, nil
	}
	return p.rollout(environment), nil
}

// pack makes the source tarball: the files that the project file's source patterns name, or all but hidden ones and
// byte code. The same files give the same bytes.
func (p project) pack() ([]byte, error) {
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	t := tar.NewWriter(z)
	total := int64(0)
	err := filepath.WalkDir(p.dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(p.dir, name)
		if err != nil || rel == "." {
			return err
		}
		rel = filepath.ToSlash(rel)
		base := path.Base(rel)
		if strings.HasPrefix(base, ".") || base == "__pycache__" || base == "node_modules" {
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		if !d.Type().IsRegular() || !p.wanted(rel) {
			return nil
		}
		b, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		if total += int64(len(b)); total > pipeline.MaxUnpacked {
			return usage("The project's files have more than %d MiB; leave data out of them with source: in keelson.yaml.", pipeline.MaxUnpacked>>20)
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		mode := int64(0o644) | int64(info.Mode().Perm()&0o100)
		if err := t.WriteHeader(&tar.Header{Name: rel, Typeflag: tar.TypeReg, Mode: mode, Size: int64(len(b)), ModTime: time.Unix(0, 0), Format: tar.FormatPAX}); err != nil {
			return err
		}
		_, err = t.Write(b)
		return err
	})
	if err = errors.Join(err, t.Close(), z.Close()); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// wanted says whether a file belongs to the source.
func (p project) wanted(rel string) bool {
	if len(p.def.Source) == 0 {
		return true
	}
	return slices.ContainsFunc(p.def.Source, func(pattern string) bool {
		ok, _ := path.Match(pattern, rel) // a malformed pattern matches nothing
		return ok || strings.HasPrefix(rel, strings.TrimSuffix(pattern, "/")+"/")
	})
}

// commit says which state of a repository the folder is in; nothing without git.
func (p project) commit(ctx context.Context) client.Source {
	git := func(args ...string) (string, bool) {
		out, err := exec.CommandContext(ctx, "git", append([]string{"-C", p.dir}, args...)...).Output()
		return strings.TrimSpace(string(out)), err == nil
	}
	var s client.Source
	head, ok := git("rev-parse", "HEAD")
	if !ok {
		return s
	}
	s.Commit = head
	s.Repository, _ = git("config", "--get", "remote.origin.url")
	if i, at := strings.Index(s.Repository, "://"), strings.LastIndex(s.Repository, "@"); i >= 0 && at > i {
		s.Repository = s.Repository[:i+3] + s.Repository[at+1:] // no credentials
	}
	changes, ok := git("status", "--porcelain", "--", ".")
	s.Dirty = !ok || changes != ""
	return s
}

// push sends the project as its pipeline's version.
func (p project) push(ctx context.Context, cl *client.Client) (client.Pipeline, error) {
	source, err := p.pack()
	if err != nil {
		return client.Pipeline{}, err
	}
	return cl.SavePipeline(ctx, p.def.Name, p.text, bytes.NewReader(source), p.commit(ctx))
}

// dataset is what the project file says of a data set; nil if nothing.
func (p project) dataset(name string) *client.Dataset {
	d, ok := p.def.Data[name]
	if !ok {
		return nil
	}
	out := &client.Dataset{Name: name, Description: d.Description, Owner: d.Owner, Sensitivity: d.Sensitivity, Source: d.Source, Target: d.Target, Rules: []client.Rule{}, Personal: d.Personal}
	for _, r := range d.Rules {
		out.Rules = append(out.Rules, client.Rule{ID: r.ID, Column: r.Column, Check: r.Check, Type: r.Type, Min: r.Min, Max: r.Max, MaxShare: r.MaxShare, Values: r.Values})
	}
	return out
}

// rollout is the project's plan for an environment; nil if it has none.
func (p project) rollout(environment string) *client.Rollout {
	r, ok := p.def.Deploy[environment]
	if !ok {
		return nil
	}
	out := &client.Rollout{Mode: r.Mode, Durability: r.Durability, Redact: r.Redact}
	if r.Limits != nil {
		l := client.Limits(*r.Limits)
		out.Limits = &l
	}
	for _, s := range r.Steps {
		out.Steps = append(out.Steps, client.Increment{Share: s.Share, HoldRows: s.HoldRows, HoldSeconds: s.HoldSeconds})
	}
	return out
}

// artifacts lists the files of a model, see client.Artifacts.
func artifacts(name string) ([]client.Artifact, error) {
	files, err := client.Artifacts(name)
	if err != nil {
		return nil, usage("The model cannot be read: %v", err)
	}
	return files, nil
}

func fileFormat(name string) string {
	switch strings.ToLower(filepath.Ext(name)) {
	case ".csv":
		return "csv"
	case ".parquet":
		return "parquet"
	}
	return ""
}
