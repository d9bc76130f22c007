package pipeline

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"keelson/internal/db"
)

// Makers names everybody who had a hand in a model version through pipelines: who started a run that registered it, and
// who wrote the project file and source that it ran. A version that no run registered has none. Data versions of the
// runs are given beside, because whoever made those is a maker too.
func (s *Service) Makers(ctx context.Context, model string, version int) (names []string, data []DataRef, err error) {
	part := fmt.Sprintf(`"model":%s,"version":%d,`, db.ToJSON(model), version)
	like := "%" + strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`).Replace(part) + "%"
	err = s.DB.Read(ctx, func(tx db.Scope) error {
		names, data = nil, nil
		var runs []Run
		if err := tx.Each(`SELECT `+runColumns+` FROM pipeline_run WHERE workspace = $1 AND versions LIKE $2 ESCAPE '\' ORDER BY id`, []any{tx.Workspace, like}, func(scan func(...any) error) error {
			r, err := scanRun(scan)
			runs = append(runs, r)
			return err
		}); err != nil {
			return err
		}
		for _, r := range runs {
			if !slices.ContainsFunc(r.Versions, func(m ModelRef) bool { return m.Model == model && m.Version == version }) {
				continue
			}
			p, err := s.store.pipeline(tx, r.Pipeline, r.PipelineVersion)
			if err != nil {
				return err
			}
			names, data = append(names, r.By, p.CreatedBy), append(data, r.Data...)
		}
		return nil
	})
	slices.Sort(names)
	return slices.Compact(names), data, err
}
