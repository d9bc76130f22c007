package prompt

import (
	"context"

	"keelson/internal/rest"
)

// Routes mounts the prompts. What data scientists do with them goes by MLflow's calls as well.
func (s *Service) Routes(a *rest.API) {
	const base = "/api/v1/prompts"
	rest.Get(a, base, "model.read", "List prompts by name", s.getList)
	rest.Post(a, base, "model.write", "Add a prompt", s.postOne, rest.Status(201))
	rest.Get(a, base+"/{name}", "model.read", "Show a prompt", s.getOne)
	rest.Delete(a, base+"/{name}", "model.write", "Delete a prompt and its versions", s.deleteOne)
	rest.Get(a, base+"/{name}/versions", "version.read", "List the versions of a prompt, newest first", s.getVersions)
	rest.Post(a, base+"/{name}/versions", "version.write", "Add a version to a prompt", s.postVersion, rest.Status(201))
	rest.Get(a, base+"/{name}/versions/{version}", "version.read", "Show a version of a prompt", s.getVersion)
	rest.Delete(a, base+"/{name}/versions/{version}", "version.write", "Delete a version of a prompt", s.deleteVersion)
	rest.Put(a, base+"/{name}/aliases/{alias}", "version.write", "Point an alias to a version of a prompt", s.putAlias)
	rest.Delete(a, base+"/{name}/aliases/{alias}", "version.write", "Take an alias of a prompt away", s.deleteAlias)
}

func (s *Service) getList(ctx context.Context, in *struct{ rest.Paging }) (rest.Page[Prompt], error) {
	all, err := s.List(ctx, in.Cursor, in.Limit+1)
	return rest.Paged(all, in.Limit, func(p Prompt) string { return p.Name }), err
}

func (s *Service) postOne(ctx context.Context, in *struct {
	Body struct {
		Name        string            `json:"name"`
		Description string            `json:"description,omitempty"`
		Tags        map[string]string `json:"tags,omitempty"`
	}
}) (Prompt, error) {
	return s.Create(ctx, Prompt{Name: in.Body.Name, Description: in.Body.Description, Tags: in.Body.Tags})
}

type nameInput struct {
	Name string `path:"name" doc:"prompt"`
}

func (s *Service) getOne(ctx context.Context, in *nameInput) (Prompt, error) {
	return s.Get(ctx, in.Name)
}

func (s *Service) deleteOne(ctx context.Context, in *nameInput) (rest.Nothing, error) {
	return rest.Nothing{}, s.Delete(ctx, in.Name)
}

func (s *Service) getVersions(ctx context.Context, in *nameInput) (rest.Page[Version], error) {
	all, err := s.Versions(ctx, in.Name)
	return rest.Paged(all, len(all), func(Version) string { return "" }), err
}

func (s *Service) postVersion(ctx context.Context, in *struct {
	Name string `path:"name" doc:"prompt"`
	Body struct {
		Template    string            `json:"template"`
		Description string            `json:"description,omitempty" doc:"what changed and why"`
		Tags        map[string]string `json:"tags,omitempty"`
	}
}) (Version, error) {
	return s.AddVersion(ctx, Version{Prompt: in.Name, Template: in.Body.Template, Description: in.Body.Description, Tags: in.Body.Tags})
}

type versionInput struct {
	Name    string `path:"name" doc:"prompt"`
	Version int    `path:"version"`
}

func (s *Service) getVersion(ctx context.Context, in *versionInput) (Version, error) {
	return s.Version(ctx, in.Name, in.Version)
}

func (s *Service) deleteVersion(ctx context.Context, in *versionInput) (rest.Nothing, error) {
	return rest.Nothing{}, s.DeleteVersion(ctx, in.Name, in.Version)
}

func (s *Service) putAlias(ctx context.Context, in *struct {
	Name  string `path:"name" doc:"prompt"`
	Alias string `path:"alias"`
	Body  struct {
		Version int `json:"version"`
	}
}) (Version, error) {
	if err := s.SetAlias(ctx, in.Name, in.Alias, in.Body.Version); err != nil {
		return Version{}, err
	}
	return s.Version(ctx, in.Name, in.Body.Version)
}

func (s *Service) deleteAlias(ctx context.Context, in *struct {
	Name  string `path:"name" doc:"prompt"`
	Alias string `path:"alias"`
}) (rest.Nothing, error) {
	return rest.Nothing{}, s.DropAlias(ctx, in.Name, in.Alias)
}
