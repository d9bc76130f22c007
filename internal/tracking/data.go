package tracking

import (
	"context"

	"keelson/internal/db"
	"keelson/internal/problem"
)

// Limits of DataIn.
const (
	MaxDataExperiments = 20
	MaxDataSummaries   = 1000
)

// DataSummary is data that went into runs of an experiment, in one context.
type DataSummary struct{ Experiment, Name, Digest, Context string }

// DataIn lists the data that went into the runs of experiments that are not deleted, each name, digest and context once.
func (s *Service) DataIn(ctx context.Context, experiments []string) (out []DataSummary, err error) {
	if len(experiments) == 0 {
		return nil, problem.New(problem.Invalid, "SearchDatasets request must specify at least one experiment_id.").At("experiment_ids")
	}
	if len(experiments) > MaxDataExperiments {
		return nil, problem.New(problem.Invalid, "SearchDatasets request cannot specify more than %d experiment_ids. Received %d experiment_ids.", MaxDataExperiments, len(experiments)).At("experiment_ids")
	}
	err = s.DB.Read(ctx, func(tx db.Scope) error {
		out = nil
		for _, e := range experiments {
			if err := tx.Each(`SELECT DISTINCT r.experiment, i.name, i.digest, i.context FROM run r JOIN run_input i ON i.workspace = r.workspace AND i.run = r.id
				WHERE r.workspace = $1 AND r.experiment = $2 AND r.deleted = 0 ORDER BY i.name, i.digest, i.context LIMIT $3`, []any{tx.Workspace, e, MaxDataSummaries - len(out)}, func(scan func(...any) error) error {
				var d DataSummary
				err := scan(&d.Experiment, &d.Name, &d.Digest, &d.Context)
				out = append(out, d)
				return err
			}); err != nil {
				return err
			}
		}
		return nil
	})
	return out, err
}
