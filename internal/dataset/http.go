package dataset

import (
	"context"
	"net/http"
	"strconv"

	"keelson/internal/db"
	"keelson/internal/problem"
	"keelson/internal/rest"
)

// Routes mounts the data sets.
func (s *Service) Routes(a *rest.API) {
	const base = "/api/v1/datasets"
	rest.Get(a, base, "data.read", "List data sets", s.getList)
	rest.Get(a, base+"/{name}", "data.read", "Show a data set", s.getOne)
	rest.Put(a, base+"/{name}", "data.write", "Create a data set or change its description and rules", s.putOne)
	rest.Get(a, base+"/{name}/versions", "data.read", "List the versions of a data set, newest first, without profiles", s.getVersions)
	rest.Get(a, base+"/{name}/versions/{version}", "data.read", "Show a version with schema and profile", s.getVersion)
	a.Handle("POST", base+"/{name}/versions", "data.write", rest.REST, upload(a, s.postVersion))
	a.Handle("POST", base+"/{name}/check", "data.read", rest.REST, upload(a, s.postCheck))
	a.Handle("GET", base+"/{name}/versions/{version}/content", "data.read", rest.REST, upload(a, s.getContent))
}

type nameInput struct {
	Name string `path:"name" doc:"data set"`
}

type versionInput struct {
	Name    string `path:"name" doc:"data set"`
	Version string `path:"version" doc:"number, or latest"`
}

func (s *Service) getList(ctx context.Context, in *rest.Paging) (rest.Page[Dataset], error) {
	var all []Dataset
	err := s.DB.Read(ctx, func(tx db.Scope) (err error) {
		all, err = list(tx, in.Cursor, in.Limit+1)
		return err
	})
	return rest.Paged(all, in.Limit, func(d Dataset) string { return d.Name }), err
}

func (s *Service) getOne(ctx context.Context, in *nameInput) (Dataset, error) {
	return s.Get(ctx, in.Name)
}

type putInput struct {
	Name string `path:"name" doc:"data set"`
	Body struct {
		Name        string   `json:"name,omitempty" doc:"the name in the path, or nothing"`
		Description string   `json:"description,omitempty" maxLength:"10000"`
		Owner       string   `json:"owner,omitempty" maxLength:"200" doc:"empty: you, or who it was"`
		Sensitivity string   `json:"sensitivity,omitempty" enum:"public,internal,confidential,restricted,"`
		Source      string   `json:"source,omitempty" maxLength:"1000"`
		Target      string   `json:"target,omitempty" maxLength:"1000"`
		Rules       []Rule   `json:"rules,omitempty" maxItems:"10000"`
		Personal    []string `json:"personal,omitempty" maxItems:"10000" doc:"columns about people; left out: those on record stay"`
	}
}

func (s *Service) putOne(ctx context.Context, in *putInput) (Dataset, error) {
	b := in.Body
	if b.Name != "" && b.Name != in.Name {
		return Dataset{}, problem.New(problem.Invalid, "The body names %q and the path %q; a data set keeps its name.", b.Name, in.Name).At("name")
	}
	return s.Put(ctx, Dataset{Name: in.Name, Description: b.Description, Owner: b.Owner, Sensitivity: b.Sensitivity, Source: b.Source, Target: b.Target, Rules: b.Rules, Personal: b.Personal})
}

type versionsInput struct {
	Name string `path:"name" doc:"data set"`
	rest.Paging
}

func (s *Service) getVersions(ctx context.Context, in *versionsInput) (rest.Page[Version], error) {
	below := 0
	if in.Cursor != "" {
		var err error
		if below, err = strconv.Atoi(in.Cursor); err != nil || below < 1 {
			return rest.Page[Version]{}, problem.New(problem.Invalid, "%q is no cursor of this list.", in.Cursor).At("cursor")
		}
	}
	var all []Version
	err := s.DB.Read(ctx, func(tx db.Scope) (err error) {
		if _, err = get(tx, in.Name); err == nil {
			all, err = versions(tx, in.Name, below, in.Limit+1)
		}
		return err
	})
	return rest.Paged(all, in.Limit, func(v Version) string { return strconv.Itoa(v.Version) }), err
}

// versionNumber reads a version in a path.
func versionNumber(text string) (int, error) {
	if text == "latest" {
		return 0, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		return 0, problem.New(problem.Invalid, "%q is no version; use a number or latest.", text).At("version")
	}
	return n, nil
}

func (s *Service) getVersion(ctx context.Context, in *versionInput) (Version, error) {
	n, err := versionNumber(in.Version)
	if err != nil {
		return Version{}, err
	}
	return s.Version(ctx, in.Name, n)
}

// upload turns a function into a handler that answers its error as a problem document.
func upload(a *rest.API, f func(http.ResponseWriter, *http.Request) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := f(w, r); err != nil {
			a.Fail(w, r, err)
		}
	})
}

// postVersion takes the file as the body; format and note are in the query, parents as parent=name/3.
func (s *Service) postVersion(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	in := ImportRequest{Dataset: r.PathValue("name"), Format: q.Get("format"), Note: q.Get("note"), Run: q.Get("run"), Body: r.Body}
	for _, p := range q["parent"] {
		ref, err := ParseRef(p)
		if err != nil {
			return err
		}
		in.Parents = append(in.Parents, ref)
	}
	v, err := s.Import(r.Context(), in)
	if err != nil {
		return err
	}
	status := http.StatusCreated
	if v.Existing {
		status = http.StatusOK
	}
	rest.JSON(w, status, v)
	return nil
}

// CheckResult says whether a file would be taken.
type CheckResult struct {
	OK       bool            `json:"ok"`
	Rows     int64           `json:"rows"`
	Schema   []Field         `json:"schema"`
	Findings []problem.Field `json:"findings"`
}

func (s *Service) postCheck(w http.ResponseWriter, r *http.Request) error {
	seen, err := s.Check(r.Context(), r.PathValue("name"), r.URL.Query().Get("format"), r.Body, nil)
	if err != nil {
		return err
	}
	out := CheckResult{OK: len(seen.Findings) == 0, Rows: seen.Rows, Schema: seen.Schema, Findings: seen.Findings}
	if out.Findings == nil {
		out.Findings = []problem.Field{}
	}
	rest.JSON(w, http.StatusOK, out)
	return nil
}

// getContent sends the bytes of a version; ranges are honoured.
func (s *Service) getContent(w http.ResponseWriter, r *http.Request) error {
	n, err := versionNumber(r.PathValue("version"))
	if err != nil {
		return err
	}
	f, v, err := s.Content(r.Context(), r.PathValue("name"), n)
	if err != nil {
		return err
	}
	defer f.Close()
	kind := "text/csv; charset=utf-8"
	if v.Format == "parquet" {
		kind = "application/vnd.apache.parquet"
	}
	w.Header().Set("Content-Type", kind)
	w.Header().Set("ETag", `"`+v.Digest+`"`)
	w.Header().Set("Content-Disposition", `attachment; filename="`+v.Dataset+"-"+strconv.Itoa(v.Version)+"."+v.Format+`"`)
	rest.ServeContent(w, r, v.CreatedAt, f, rest.WriteProblem)
	return nil
}
