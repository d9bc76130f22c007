package engine

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"

	"keelson/internal/problem"
)

// Understudy is an engine that reads the files of another engine's format under a format of its own. It finds nothing by
// itself where that other engine is in the set: a version gets it only when the first engine cannot run the file, or
// answers its golden rows wrongly, and from then on by its format. Without the other engine it detects like any engine.
type Understudy interface {
	Engine
	StandsInFor() (format string)
}

// Set is the engines of a process; safe for concurrent use.
type Set struct {
	engines []Engine // those that detect
	format  map[string]Engine
	base    map[string]string   // of an understudy's format: the format whose files it reads
	others  map[string][]string // of a format: those that read the same files, in the order of the set
}

// NewSet makes a set. Two engines with one name or format are an error in our wiring and stop the start.
func NewSet(engines ...Engine) (*Set, error) {
	s := &Set{format: map[string]Engine{}, base: map[string]string{}, others: map[string][]string{}}
	for i, e := range engines {
		for _, o := range engines[:i] {
			if o.Name() == e.Name() {
				return nil, fmt.Errorf("two engines are named %q", e.Name())
			}
		}
		for _, f := range e.Formats() {
			if o, ok := s.format[f]; ok {
				return nil, fmt.Errorf("engines %q and %q both read %q", o.Name(), e.Name(), f)
			}
			s.format[f] = e
		}
	}
	for _, e := range engines {
		if u, ok := e.(Understudy); ok && s.format[u.StandsInFor()] != nil {
			for _, f := range e.Formats() {
				s.base[f] = u.StandsInFor()
				s.others[u.StandsInFor()] = append(s.others[u.StandsInFor()], f)
			}
			continue
		}
		s.engines = append(s.engines, e)
	}
	return s, nil
}

// Others lists the formats under which understudies read the files of a format.
func (s *Set) Others(format string) []string { return s.others[format] }

// Formats lists everything the set can load, sorted.
func (s *Set) Formats() []string {
	var all []string
	for f := range s.format {
		all = append(all, f)
	}
	slices.Sort(all)
	return all
}

// Detect finds the one model file in a folder. It fails with problem.Unsupported when there is none and with
// problem.Invalid when there are several, naming them.
func (s *Set) Detect(fsys fs.FS) (Found, error) {
	list, err := s.Candidates(fsys)
	if err != nil {
		return Found{}, err
	}
	return list[0], nil
}

// Candidates lists the ways to run the model of a folder, the most faithful first: at most one per rank. It fails as Detect.
func (s *Set) Candidates(fsys fs.FS) ([]Found, error) {
	var all []Found
	for _, e := range s.engines {
		found, err := e.Detect(fsys)
		if err != nil {
			return nil, err
		}
		all = append(all, found...)
	}
	slices.SortStableFunc(all, func(a, b Found) int { return int(a.Rank - b.Rank) })
	var list []Found
	for i, f := range all {
		alone := (i == 0 || all[i-1].Rank != f.Rank) && (i == len(all)-1 || all[i+1].Rank != f.Rank)
		if alone {
			list = append(list, f)
		}
		if f.Rank == Whole {
			break
		}
	}
	if len(list) > 0 {
		return list, nil
	}
	if len(all) == 0 {
		way := ""
		if pickled(fsys) {
			way = " A pickle is never opened here, because it can run any code: save the model in one of these formats, an XGBoost model with save_model(\"model.json\")."
		}
		return nil, problem.New(problem.Unsupported, "No engine recognises a model in these files (%s); the formats known here are %s.%s", names(fsys), strings.Join(s.Formats(), ", "), way)
	}
	var paths []string
	for _, f := range all {
		paths = append(paths, f.Path+" ("+f.Format+")")
	}
	return nil, problem.New(problem.Invalid, "The files hold more than one model: %s; register each as a version of its own.", strings.Join(paths, ", "))
}

// as finds the model file of a declared format: the only one of that format, whatever else other engines find.
func (s *Set) as(fsys fs.FS, format string) (Found, error) {
	if base, ok := s.base[format]; ok {
		found, err := s.as(fsys, base)
		if found.Format == base {
			found.Engine, found.Format = s.format[format].Name(), format
		}
		return found, err
	}
	list, err := s.format[format].Detect(fsys)
	if err != nil {
		return Found{}, err
	}
	list = slices.DeleteFunc(list, func(f Found) bool { return f.Format != format })
	if len(list) == 1 {
		return list[0], nil
	}
	found, err := s.Detect(fsys)
	if err == nil && found.Format != format {
		err = problem.New(problem.Invalid, "The version is declared as %q, but %s is %q.", format, found.Path, found.Format)
	}
	return found, err
}

// Find is Candidates for files whose format may be declared; an empty one is not.
func (s *Set) Find(fsys fs.FS, format string) ([]Found, error) {
	if format == "" {
		return s.Candidates(fsys)
	}
	if s.format[format] == nil {
		return nil, s.unknown(format)
	}
	found, err := s.as(fsys, format)
	if err != nil {
		return nil, err
	}
	return []Found{found}, nil
}

func (s *Set) unknown(format string) error {
	return problem.New(problem.Unsupported, "No engine reads the format %q; the formats known here are %s.", format, strings.Join(s.Formats(), ", "))
}

// Slow tells whether loads of a format take so long that nobody should wait for them who has something else to do.
func (s *Set) Slow(format string) bool {
	_, ok := s.format[format].(Slow)
	return ok
}

// Preparing gives the engine that has to prepare itself before it can load the model that was found; nil when none has to.
func (s *Set) Preparing(fsys fs.FS, f Found) Preparer {
	if p, ok := s.format[f.Format].(Preparer); ok && f.Path != "" && !p.Prepared(fsys, f.Path) {
		return p
	}
	return nil
}

// pickled reports whether a file's name says that it is a Python pickle; none is ever opened.
func pickled(fsys fs.FS) bool {
	found := false
	_ = fs.WalkDir(fsys, ".", func(p string, d fs.DirEntry, err error) error { // what cannot be read only lacks the advice
		switch strings.ToLower(path.Ext(p)) {
		case ".pkl", ".pickle", ".joblib":
			found = found || err == nil && !d.IsDir()
		}
		return nil
	})
	return found
}

func names(fsys fs.FS) string {
	var list []string
	_ = Walk(fsys, func(p string, _ fs.DirEntry) error {
		if len(list) == 6 {
			list = append(list, "…")
			return fs.SkipAll
		}
		list = append(list, p)
		return nil
	})
	if len(list) == 0 {
		return "there are none"
	}
	return strings.Join(list, ", ")
}

// Load detects and loads the model of a folder. A non-empty format must be the one that is found. A panic of an engine
// becomes problem.Unsupported. ctx bounds the load beside limits.Time.
func (s *Set) Load(ctx context.Context, fsys fs.FS, format string, limits Limits) (m Model, found Found, err error) {
	if format != "" && s.format[format] == nil {
		return nil, found, s.unknown(format)
	}
	if format == "" {
		found, err = s.Detect(fsys)
	} else {
		found, err = s.as(fsys, format)
	}
	if err != nil {
		return nil, found, err
	}
	if slow, ok := s.format[found.Format].(Slow); ok && limits.Time == 0 {
		limits.Time = slow.LoadTime()
	}
	limits = limits.WithDefaults()
	ctx, cancel := context.WithTimeout(ctx, limits.Time)
	defer cancel()
	defer func() {
		if p := recover(); p != nil {
			m, err = nil, problem.New(problem.Unsupported, "The %s engine broke down over %s; the file was not loaded.", found.Engine, found.Path).Because(fmt.Errorf("panic: %v", p))
		}
	}()
	m, err = s.format[found.Format].Load(ctx, fsys, found.Path, limits)
	if err == nil {
		err = m.Signature().Check()
	}
	if err != nil {
		return nil, found, err
	}
	return m, found, nil
}

// Walk visits the regular files of a folder in lexical order, at most four folders deep and 10,000 entries.
func Walk(fsys fs.FS, visit func(path string, d fs.DirEntry) error) error {
	seen := 0
	return fs.WalkDir(fsys, ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return fmt.Errorf("list %s: %w", p, err)
		}
		if seen++; seen > 10000 {
			return problem.New(problem.TooLarge, "The folder has more than 10,000 entries.")
		}
		if d.IsDir() {
			if strings.Count(p, "/") >= 4 {
				return fs.SkipDir
			}
			return nil
		}
		if !d.Type().IsRegular() {
			return nil
		}
		return visit(p, d)
	})
}

// Head reads at most n first bytes of a file.
func Head(fsys fs.FS, name string, n int) ([]byte, error) {
	f, err := fsys.Open(name)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", name, err)
	}
	defer f.Close()
	b := make([]byte, n)
	n, err = io.ReadFull(f, b)
	if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return b[:n], nil
}

// ReadFile reads a file of at most limit bytes; a larger one is problem.TooLarge. The size a file system states only
// hints at the allocation.
func ReadFile(ctx context.Context, fsys fs.FS, name string, limit int64) ([]byte, error) {
	f, err := fsys.Open(name)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", name, err)
	}
	defer f.Close()
	var b []byte
	if info, err := f.Stat(); err == nil {
		if info.Size() > limit {
			return nil, tooLarge(name, limit)
		}
		b = make([]byte, 0, min(info.Size()+1, 64<<20))
	}
	for {
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("read %s: %w", name, err)
		}
		b = slices.Grow(b, 1)
		n, err := f.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		if int64(len(b)) > limit {
			return nil, tooLarge(name, limit)
		}
		if err == io.EOF {
			return b, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", name, err)
		}
	}
}

func tooLarge(name string, limit int64) error {
	return problem.New(problem.TooLarge, "The file %s is larger than %d bytes, the limit for a model file.", path.Base(name), limit)
}
