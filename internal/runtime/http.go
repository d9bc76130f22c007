package runtime

import (
	"context"

	"keelson/internal/access"
	"keelson/internal/rest"
)

// Routes mounts what the server has; installing is an act on its machine (keelson runtime install).
func (s *Store) Routes(a *rest.API) {
	rest.Get(a, "/api/v1/runtimes", access.Self, "Libraries that the server may open for models it cannot run by itself", func(context.Context, *struct{}) (rest.Page[Status], error) {
		list, err := s.List()
		for i := range list {
			list[i].Path = "" // where things lie on the server is nobody's business
		}
		return rest.Paged(list, len(list), nil), err
	})
}
