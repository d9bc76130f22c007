package approval

import (
	"fmt"

	"keelson/internal/db"
)

// Waiting says in one phrase which request about a version (0: any of the model) is approved and has not been carried out
// yet, or "". What it was given for must not vanish meanwhile.
func (s *Service) Waiting(tx db.Scope, model string, version int) (string, error) {
	for before := ""; ; {
		rows, err := s.store().query(tx, "model = $2", before, 100, model)
		if err != nil || len(rows) == 0 {
			return "", err
		}
		for _, r := range rows {
			before = r.ID
			if (version == 0 || r.Version == version) && r.State(s.now()) == Approved {
				return fmt.Sprintf("version %d is approved for %s by request %d, which has not been carried out", r.Version, r.Environment, r.Number), nil
			}
		}
	}
}
