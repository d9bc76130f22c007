package prediction

import (
	"context"

	"keelson/internal/tensor"
)

// backgroundCalls is how many calls are looked at for rows to compare with.
const backgroundCalls = 100

// Background gives the inputs of the newest calls that a version answered at an endpoint, newest first, for explaining
// another one by comparison.
func (s *Service) Background(ctx context.Context, endpoint string, version int) ([][]tensor.Tensor, error) {
	list, err := s.List(ctx, Query{Endpoint: endpoint, Version: version, Limit: backgroundCalls})
	if err != nil {
		return nil, err
	}
	out := make([][]tensor.Tensor, 0, len(list))
	for _, r := range list {
		if r.Error == "" && len(r.Inputs) > 0 {
			out = append(out, r.Inputs)
		}
	}
	return out, nil
}
