package pipeline

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"mime/multipart"
	"net/http"
	"slices"

	"keelson/internal/problem"
	"keelson/internal/rest"
)

// Routes mounts pipelines and their runs.
func (s *Service) Routes(a *rest.API) {
	a.Handle(http.MethodPut, "/api/v1/pipelines/{name}", "pipeline.run", rest.REST, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p, err := s.receive(w, r)
		if err != nil {
			a.Fail(w, r, err)
			return
		}
		rest.JSON(w, http.StatusOK, p)
	}))
	rest.Get(a, "/api/v1/pipelines", "pipeline.read", "List pipelines", s.getPipelines)
	rest.Get(a, "/api/v1/pipelines/{name}", "pipeline.read", "Show a pipeline", s.getPipeline)
	rest.Post(a, "/api/v1/pipelines/{name}/runs", "pipeline.run", "Start a run", s.postRun, rest.Status(http.StatusCreated))
	rest.Get(a, "/api/v1/pipelines/{name}/runs", "pipeline.read", "List the runs of a pipeline", s.getRuns)
	rest.Get(a, "/api/v1/pipeline-runs", "pipeline.read", "List runs", s.getAllRuns)
	rest.Get(a, "/api/v1/pipeline-runs/{id}", "pipeline.read", "Show a run", s.getRun)
	rest.Get(a, "/api/v1/pipeline-runs/{id}/steps/{step}/log", "pipeline.read", "Read a step's log", s.getLog)
	rest.Post(a, "/api/v1/pipeline-runs/{id}/cancel", "pipeline.run", "Cancel a run", s.postCancel)
	rest.Post(a, "/api/v1/pipeline-runs/{id}/retry", "pipeline.run", "Run again what did not succeed", s.postRetry)
}

type nameInput struct {
	Name string `path:"name" doc:"pipeline"`
}

type idInput struct {
	ID string `path:"id" doc:"run"`
}

func (s *Service) getPipelines(ctx context.Context, _ *struct{}) (rest.Page[Pipeline], error) {
	ps, err := s.List(ctx)
	return rest.Page[Pipeline]{Items: ps}, err
}

// PipelineView is a pipeline with its project file.
type PipelineView struct {
	Pipeline
	Definition string             `json:"definition" doc:"keelson.yaml as it was sent"`
	Deploy     map[string]Rollout `json:"deploy" doc:"how a version reaches an environment"`
}

func (s *Service) getPipeline(ctx context.Context, in *nameInput) (PipelineView, error) {
	p, err := s.Get(ctx, in.Name)
	if err != nil {
		return PipelineView{}, err
	}
	d, err := Parse("keelson.yaml", []byte(p.definition))
	return PipelineView{Pipeline: p, Definition: p.definition, Deploy: d.Deploy}, err
}

type runInput struct {
	Name string `path:"name" doc:"pipeline"`
	Body Request
}

func (s *Service) postRun(ctx context.Context, in *runInput) (Run, error) {
	return s.Start(ctx, in.Name, in.Body, Trigger{Kind: ByPerson})
}

type runsInput struct {
	Name string `path:"name" doc:"pipeline"`
	rest.Paging
}

func (s *Service) getRuns(ctx context.Context, in *runsInput) (rest.Page[Run], error) {
	rs, err := s.Runs(ctx, in.Name, in.Cursor, in.Limit+1)
	return rest.Paged(rs, in.Limit, func(r Run) string { return r.ID }), err
}

func (s *Service) getAllRuns(ctx context.Context, in *rest.Paging) (rest.Page[Run], error) {
	rs, err := s.Runs(ctx, "", in.Cursor, in.Limit+1)
	return rest.Paged(rs, in.Limit, func(r Run) string { return r.ID }), err
}

func (s *Service) getRun(ctx context.Context, in *idInput) (Run, error) { return s.Run(ctx, in.ID) }

func (s *Service) postCancel(ctx context.Context, in *idInput) (Run, error) {
	return s.Cancel(ctx, in.ID)
}

func (s *Service) postRetry(ctx context.Context, in *idInput) (Run, error) {
	return s.Retry(ctx, in.ID)
}

type logInput struct {
	ID     string `path:"id" doc:"run"`
	Step   string `path:"step" doc:"step"`
	Offset int64  `query:"offset" minimum:"0" doc:"bytes already read"`
}

func (s *Service) getLog(ctx context.Context, in *logInput) (Chunk, error) {
	return s.StepLog(ctx, in.ID, in.Step, in.Offset)
}

// receive takes multipart/form-data with the parts definition (keelson.yaml), source (tar.gz, may be missing) and commit
// (JSON of Source, may be missing).
func (s *Service) receive(w http.ResponseWriter, r *http.Request) (Pipeline, error) {
	r.Body = http.MaxBytesReader(w, r.Body, MaxArchive+MaxDefinition+1<<16)
	if err := r.ParseMultipartForm(1 << 20); err != nil {
		var tooLarge *http.MaxBytesError
		if errors.As(err, &tooLarge) {
			return Pipeline{}, problem.New(problem.TooLarge, "The project has more than %d MiB; leave data out of it with source: in keelson.yaml.", MaxArchive>>20)
		}
		return Pipeline{}, problem.New(problem.Invalid, "Send multipart/form-data with the parts definition and source.").Because(err)
	}
	defer func() { _ = r.MultipartForm.RemoveAll() }() // temporary files; the answer does not depend on them
	for part := range r.MultipartForm.File {
		if !slices.Contains([]string{"definition", "source"}, part) {
			return Pipeline{}, problem.New(problem.Invalid, "There is no part %q; the parts are definition, source and commit.", part).At(part)
		}
	}
	definition := []byte(r.FormValue("definition"))
	if f, err := part(r.MultipartForm, "definition"); err != nil {
		return Pipeline{}, err
	} else if f != nil {
		defer f.Close()
		if definition, err = io.ReadAll(io.LimitReader(f, MaxDefinition+1)); err != nil {
			return Pipeline{}, err
		}
	}
	var from Source
	if text := r.FormValue("commit"); text != "" {
		if err := json.Unmarshal([]byte(text), &from); err != nil {
			return Pipeline{}, problem.New(problem.Invalid, `Part commit is not JSON like {"commit": "…", "dirty": false}.`).At("commit")
		}
	}
	f, err := part(r.MultipartForm, "source")
	if err != nil {
		return Pipeline{}, err
	}
	if f == nil {
		return s.Save(r.Context(), r.PathValue("name"), definition, nil, from)
	}
	defer f.Close()
	return s.Save(r.Context(), r.PathValue("name"), definition, f, from)
}

// part opens a file of a form; nil if it was not sent.
func part(form *multipart.Form, name string) (multipart.File, error) {
	files := form.File[name]
	if len(files) == 0 {
		return nil, nil
	}
	return files[0].Open()
}
