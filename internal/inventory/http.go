package inventory

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"mime"
	"mime/multipart"
	"net/http"
	"strconv"
	"strings"
	"time"

	"keelson/internal/blob"
	"keelson/internal/caller"
	"keelson/internal/engine"
	"keelson/internal/problem"
	"keelson/internal/rest"
	"keelson/internal/tracking"
	"keelson/internal/usage"
)

// Routes mounts models and versions.
func (s *Service) Routes(a *rest.API) {
	rest.Get(a, "/api/v1/models", "model.read", "List models", s.listModels)
	rest.Post(a, "/api/v1/models", "model.write", "Create a model", s.postModel, rest.Status(http.StatusCreated))
	rest.Get(a, "/api/v1/models/{name}", "model.read", "Read a model", s.readModel)
	rest.Patch(a, "/api/v1/models/{name}", "model.write", "Change a model", s.patchModel)
	rest.Delete(a, "/api/v1/models/{name}", "model.write", "Delete a model that is not in use", s.deleteModel)
	rest.Get(a, "/api/v1/models/{name}/usage", "model.read", "Sum up what a model used: calls and seconds of computing, and what they cost at a price", s.readUsage)
	rest.Get(a, "/api/v1/models/{name}/versions", "version.read", "List the versions of a model, the newest first", s.readVersions)
	rest.Get(a, "/api/v1/models/{name}/versions/{version}", "version.read", "Read a version", s.readVersion)
	rest.Patch(a, "/api/v1/models/{name}/versions/{version}", "version.write", "Change a version's description or tags", s.patchVersion)
	rest.Delete(a, "/api/v1/models/{name}/versions/{version}", "version.write", "Delete a version that is not in use", s.deleteVersion)
	rest.Get(a, "/api/v1/models/{name}/versions/{version}/diff", "version.read", "Compare a version with another one", s.readDiff)
	rest.Post(a, "/api/v1/models/{name}/versions/{version}/check", "version.write", "Test a version again that no engine could run", s.postCheck)
	rest.Get(a, "/api/v1/impact", "version.read", "List what uses a data set, a model or a library", s.readImpact)
	rest.Put(a, "/api/v1/models/{name}/aliases/{alias}", "version.write", "Point an alias to a version", s.putAlias)
	rest.Delete(a, "/api/v1/models/{name}/aliases/{alias}", "version.write", "Take an alias away", s.deleteAlias)
	a.Handle("POST", "/api/v1/models/{name}/versions", "version.write", rest.REST, s.upload(a))
	a.Handle("GET", "/api/v1/models/{name}/versions/{version}/files/{path...}", "version.read", rest.REST, s.download(a))
}

// ModelPath names a model in a URL.
type ModelPath struct {
	Name string `path:"name"`
}

// VersionPath names a version in a URL.
type VersionPath struct {
	Name    string `path:"name"`
	Version int    `path:"version" minimum:"1"`
}

func (s *Service) readUsage(ctx context.Context, in *struct {
	ModelPath
	Since time.Time `query:"since" doc:"inclusive; 30 days before until if left out"`
	Until time.Time `query:"until" doc:"exclusive; now if left out"`
	Price string    `query:"price" maxLength:"30" doc:"of an hour of computing, in any money: 0.12; without it there is no cost"`
}) (usage.Report, error) {
	if in.Until.IsZero() {
		in.Until = s.Now().UTC()
	}
	if in.Since.IsZero() {
		in.Since = in.Until.AddDate(0, 0, -30)
	}
	var price *float64
	if in.Price != "" {
		p, err := strconv.ParseFloat(in.Price, 64)
		if err != nil {
			return usage.Report{}, problem.New(problem.Invalid, "The price of an hour of computing is a number such as 0.12, not %q.", in.Price).At("price")
		}
		price = &p
	}
	return s.Usage(ctx, in.Name, in.Since, in.Until, price)
}

func (s *Service) postCheck(ctx context.Context, in *VersionPath) (Version, error) {
	return s.TestAgain(ctx, in.Name, in.Version)
}

func (s *Service) readDiff(ctx context.Context, in *struct {
	VersionPath
	With  int    `query:"with" minimum:"1" required:"true" doc:"the version to compare with"`
	Model string `query:"model" doc:"the model of that version; default the same"`
}) (Diff, error) {
	if in.Model == "" {
		in.Model = in.Name
	}
	return s.Compare(ctx, in.Name, in.Version, in.Model, in.With)
}

func (s *Service) readImpact(ctx context.Context, in *struct {
	Data    string `query:"data" doc:"name or name@version of a data set"`
	Model   string `query:"model" doc:"name or name/version of a model"`
	Library string `query:"library" doc:"name or name@version of a library"`
}) (Impact, error) {
	given := 0
	kind, name, version := "", "", ""
	for _, q := range []struct{ kind, value, sep string }{{"data", in.Data, "@"}, {"model", in.Model, "/"}, {"library", in.Library, "@"}} {
		if q.value == "" {
			continue
		}
		given++
		kind = q.kind
		name, version, _ = strings.Cut(q.value, q.sep)
	}
	if given > 1 {
		return Impact{}, problem.New(problem.Invalid, "Ask for one thing at a time: data, model or library.")
	}
	return s.ImpactOf(ctx, kind, name, version)
}

func (s *Service) listModels(ctx context.Context, in *struct {
	rest.Paging
	Filter string `query:"filter" doc:"words that the name, owner, area, use case, kind or tags must hold"`
}) (rest.Page[Model], error) {
	list, err := s.Models(ctx, in.Filter, in.Cursor, in.Limit+1)
	return rest.Paged(list, in.Limit, func(m Model) string { return m.Name }), err
}

// ModelFields are the fields of a model that callers set; those left out keep their value.
type ModelFields struct {
	Kind             *string            `json:"kind,omitempty" enum:"ml,statistical,rules,optimisation,graph,external"`
	Description      *string            `json:"description,omitempty"`
	Area             *string            `json:"area,omitempty"`
	Owner            *string            `json:"owner,omitempty"`
	UseCase          *string            `json:"use_case,omitempty"`
	Tier             *int               `json:"tier,omitempty" minimum:"0" maximum:"4"`
	IntendedUse      *string            `json:"intended_use,omitempty"`
	ForbiddenUse     *string            `json:"forbidden_use,omitempty"`
	Responsibilities *Responsibilities  `json:"responsibilities,omitempty"`
	Tags             map[string]*string `json:"tags,omitempty" doc:"merged into the tags; null takes one away"`
}

func (b *ModelFields) apply(m *Model) {
	for _, f := range []struct{ from, to *string }{{b.Kind, &m.Kind}, {b.Description, &m.Description}, {b.Area, &m.Area}, {b.Owner, &m.Owner},
		{b.UseCase, &m.UseCase}, {b.IntendedUse, &m.IntendedUse}, {b.ForbiddenUse, &m.ForbiddenUse}} {
		if f.from != nil {
			*f.to = *f.from
		}
	}
	if b.Tier != nil {
		m.Tier = *b.Tier
	}
	if b.Responsibilities != nil {
		m.Responsibilities = *b.Responsibilities
	}
	m.Tags = merge(m.Tags, b.Tags)
}

func merge(tags map[string]string, change map[string]*string) map[string]string {
	out := maps.Clone(tags)
	if out == nil {
		out = map[string]string{}
	}
	for k, v := range change {
		if v == nil {
			delete(out, k)
		} else {
			out[k] = *v
		}
	}
	return out
}

func (s *Service) postModel(ctx context.Context, in *struct {
	Body struct {
		Name string `json:"name" minLength:"1"`
		ModelFields
	}
}) (Model, error) {
	m := Model{Name: in.Body.Name}
	in.Body.apply(&m)
	return s.Create(ctx, m)
}

func (s *Service) readModel(ctx context.Context, in *ModelPath) (Model, error) {
	return s.Model(ctx, in.Name)
}

func (s *Service) patchModel(ctx context.Context, in *struct {
	ModelPath
	Body ModelFields
}) (Model, error) {
	return s.Change(ctx, in.Name, func(m *Model) error { in.Body.apply(m); return nil })
}

func (s *Service) deleteModel(ctx context.Context, in *ModelPath) (rest.Nothing, error) {
	return rest.Nothing{}, s.Delete(ctx, in.Name)
}

func (s *Service) readVersions(ctx context.Context, in *struct {
	ModelPath
	rest.Paging
	Filter string `query:"filter" doc:"as in MLflow's search of versions, such as tags.stage = 'final' AND version_number > 2"`
}) (rest.Page[Version], error) {
	if in.Filter != "" {
		if _, err := s.Model(ctx, in.Name); err != nil {
			return rest.Page[Version]{}, err
		}
		list, next, err := s.SearchVersions(ctx, tracking.Search{Filter: "name = '" + in.Name + "' AND " + in.Filter, Order: []string{"version_number DESC"}, Limit: in.Limit, Token: in.Cursor})
		if list == nil {
			list = []Version{}
		}
		return rest.Page[Version]{Items: list, Next: next}, err
	}
	before := 0
	if in.Cursor != "" {
		n, err := strconv.Atoi(in.Cursor)
		if err != nil || n < 1 {
			return rest.Page[Version]{}, problem.New(problem.Invalid, "The cursor %q is not one of this list; send the next of the page before, or none.", problem.Clip(in.Cursor, 60)).At("cursor")
		}
		before = n
	}
	list, err := s.Versions(ctx, in.Name, before, in.Limit+1)
	return rest.Paged(list, in.Limit, func(v Version) string { return strconv.Itoa(v.Number) }), err
}

func (s *Service) readVersion(ctx context.Context, in *VersionPath) (Version, error) {
	return s.Version(ctx, in.Name, in.Version)
}

func (s *Service) patchVersion(ctx context.Context, in *struct {
	VersionPath
	Body struct {
		Description *string            `json:"description,omitempty"`
		Tags        map[string]*string `json:"tags,omitempty" doc:"merged into the tags; null takes one away"`
	}
}) (Version, error) {
	return s.ChangeVersion(ctx, in.Name, in.Version, func(v *Version) error {
		if in.Body.Description != nil {
			v.Description = *in.Body.Description
		}
		v.Tags = merge(v.Tags, in.Body.Tags)
		return nil
	})
}

func (s *Service) deleteVersion(ctx context.Context, in *VersionPath) (rest.Nothing, error) {
	return rest.Nothing{}, s.DeleteVersion(ctx, in.Name, in.Version)
}

func (s *Service) putAlias(ctx context.Context, in *struct {
	ModelPath
	Alias string `path:"alias"`
	Body  struct {
		Version int `json:"version" minimum:"1"`
	}
}) (Version, error) {
	if err := s.SetAlias(ctx, in.Name, in.Alias, in.Body.Version); err != nil {
		return Version{}, err
	}
	return s.Version(ctx, in.Name, in.Body.Version)
}

func (s *Service) deleteAlias(ctx context.Context, in *struct {
	ModelPath
	Alias string `path:"alias"`
}) (rest.Nothing, error) {
	return rest.Nothing{}, s.DropAlias(ctx, in.Name, in.Alias)
}

// meta is the JSON field that comes with an upload.
type meta struct {
	Kind         string            `json:"kind"`
	Format       string            `json:"format"`
	Golden       json.RawMessage   `json:"golden"`
	Description  string            `json:"description"`
	Run          string            `json:"run_id"`
	Source       tracking.Source   `json:"source"`
	Dependencies []Dependency      `json:"dependencies"`
	Signature    engine.Signature  `json:"signature"`
	Tags         map[string]string `json:"tags"`
}

const maxMeta = 16 << 20

// upload registers a version: multipart/form-data with an optional field "meta" (JSON) and one part per file, whose
// filename is its path in the version. Bytes are streamed into the blob store; what a refused upload left there is not
// referenced by anything.
func (s *Service) upload(a *rest.API) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		v, err := s.receive(w, r)
		if err != nil {
			a.Fail(w, r, err)
			return
		}
		w.Header().Set("Location", "/api/v1/models/"+v.Model+"/versions/"+strconv.Itoa(v.Number))
		rest.JSON(w, http.StatusAccepted, v)
	})
}

func (s *Service) receive(w http.ResponseWriter, r *http.Request) (Version, error) {
	limit := s.MaxUpload
	if limit == 0 {
		limit = 4 << 30
	}
	r.Body = http.MaxBytesReader(w, r.Body, limit)
	parts, err := r.MultipartReader()
	if err != nil {
		return Version{}, problem.New(problem.Invalid, "Send the files as multipart/form-data, one part per file with its path as filename, and a field meta with JSON.").Because(err)
	}
	ctx, _ := blob.WithLease(r.Context())
	var m meta
	reg := Registration{Model: r.PathValue("name"), MakeModel: true}
	if err := CheckName(reg.Model); err != nil {
		return Version{}, err
	}
	for {
		p, err := parts.NextPart()
		if err == io.EOF {
			break
		}
		if err != nil {
			return Version{}, s.broken(err, limit)
		}
		path := filename(p)
		switch {
		case path != "":
			if err := tracking.CheckPath(path); err != nil {
				return Version{}, err
			}
			if len(reg.Files) >= 10_000 {
				return Version{}, problem.New(problem.TooLarge, "A version has at most 10,000 files.").At("files")
			}
			body := &reading{r: p}
			digest, size, err := s.Blobs.Put(ctx, body)
			if body.err != nil {
				return Version{}, s.broken(body.err, limit)
			}
			if err != nil {
				return Version{}, err
			}
			reg.Files = append(reg.Files, File{Path: path, Digest: digest, Size: size})
		case p.FormName() == "meta":
			b, err := io.ReadAll(io.LimitReader(p, maxMeta+1))
			if err != nil {
				return Version{}, s.broken(err, limit)
			}
			if len(b) > maxMeta {
				return Version{}, problem.New(problem.TooLarge, "The field meta is larger than %d bytes.", maxMeta).At("meta")
			}
			if err := json.Unmarshal(b, &m); err != nil {
				return Version{}, problem.New(problem.Invalid, "The field meta does not fit: %s.", err).At("meta")
			}
		default:
			return Version{}, problem.New(problem.Invalid, "The part %q is neither the field meta nor a file with a filename.", problem.Clip(p.FormName(), 60))
		}
	}
	reg.Kind, reg.Format, reg.Description, reg.Run, reg.Source, reg.Dependencies, reg.Tags, reg.Signature = m.Kind, m.Format, m.Description, m.Run, m.Source, m.Dependencies, m.Tags, m.Signature
	if len(m.Golden) > 0 && string(m.Golden) != "null" {
		reg.Golden = string(m.Golden)
	}
	reg.Origin = "upload by " + caller.From(r.Context()).Name
	return s.Register(ctx, reg)
}

// reading remembers that the body, not the store, failed.
type reading struct {
	r   io.Reader
	err error
}

func (b *reading) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	if err != nil && err != io.EOF {
		b.err = err
	}
	return n, err
}

func (s *Service) broken(err error, limit int64) error {
	var large *http.MaxBytesError
	if errors.As(err, &large) {
		return problem.New(problem.TooLarge, "The upload is larger than %d bytes.", limit)
	}
	return problem.New(problem.Invalid, "The upload broke off or is not multipart/form-data; nothing was registered.").Because(err)
}

// filename is a part's filename as it was sent; the standard library would keep only what follows the last slash.
func filename(p *multipart.Part) string {
	_, params, err := mime.ParseMediaType(p.Header.Get("Content-Disposition"))
	if err != nil {
		return ""
	}
	return params["filename"]
}

// download gives one file of a version, with ranges.
func (s *Service) download(a *rest.API) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, err := strconv.Atoi(r.PathValue("version"))
		if err != nil || n < 1 {
			a.Fail(w, r, problem.New(problem.NotFound, "There is no version %q.", problem.Clip(r.PathValue("version"), 40)))
			return
		}
		f, file, sound, err := s.OpenFile(r.Context(), r.PathValue("name"), n, r.PathValue("path"))
		if err != nil {
			a.Fail(w, r, err)
			return
		}
		defer f.Close()
		if !sound {
			s.Keeper.Aside(file.Digest)
		}
		h := w.Header()
		h.Set("Content-Type", "application/octet-stream")
		h.Set("Content-Disposition", "attachment")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("ETag", `"`+file.Digest+`"`)
		rest.ServeContent(w, r, file.modified, f, a.Fail)
	})
}
