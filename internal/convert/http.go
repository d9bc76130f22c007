package convert

import (
	"context"
	"net/http"

	"keelson/internal/inventory"
	"keelson/internal/rest"
)

// Routes mounts conversions.
func (s *Service) Routes(a *rest.API) {
	rest.Post(a, "/api/v1/models/{name}/versions/{version}/conversions", "version.write", "Propose a lighter form of a version and measure what it costs", s.post, rest.Status(http.StatusAccepted))
	rest.Get(a, "/api/v1/models/{name}/versions/{version}/conversions", "version.read", "List the conversions of a version, the newest first", s.getList)
	rest.Get(a, "/api/v1/conversions/{id}", "version.read", "Read a conversion", s.getOne)
}

func (s *Service) post(ctx context.Context, in *struct {
	inventory.VersionPath
	Body Wish
}) (Conversion, error) {
	return s.Start(ctx, in.Name, in.Version, in.Body)
}

func (s *Service) getList(ctx context.Context, in *struct{ inventory.VersionPath }) (rest.Page[Conversion], error) {
	if _, err := s.Inventory.Version(ctx, in.Name, in.Version); err != nil {
		return rest.Page[Conversion]{}, err
	}
	all, err := s.List(ctx, in.Name, in.Version)
	return rest.Paged(all, len(all), nil), err
}

func (s *Service) getOne(ctx context.Context, in *struct {
	ID string `path:"id"`
}) (Conversion, error) {
	return s.Get(ctx, in.ID)
}
