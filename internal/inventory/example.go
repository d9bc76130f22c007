package inventory

import (
	"context"

	"keelson/internal/tensor"
)

// Examples gives a version's golden rows: the inputs, the answers recorded for them (nil when none were), and the largest
// error that counts as equal. All are nil for a version without golden rows, or whose example does not fit its signature.
func (s *Service) Examples(ctx context.Context, v Version) (inputs, answers []tensor.Tensor, limit float64, err error) {
	fsys := Folder(ctx, s.Blobs, v.Files)
	d, err := describe(fsys, v.Files)
	if err != nil {
		return nil, nil, 0, err
	}
	ex, err := golden(v.examples, fsys, d.ml)
	if err != nil || ex == nil {
		return nil, nil, 0, err
	}
	if ex.frame == nil {
		return ex.tensors, ex.answers, ex.limit, nil
	}
	if inputs, err = Feed(v.Signature, *ex.frame, 0, ex.frame.Rows); err != nil {
		return nil, nil, 0, nil // an example that does not fit shows nothing
	}
	return inputs, ex.answers, ex.limit, nil
}
