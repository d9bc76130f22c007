package tracking

import (
	"context"

	"keelson/internal/db"
)

// Tagged gives the ids of the runs that carry value under key and one of among under second, in the order of among and
// then of the ids.
func (s *Service) Tagged(ctx context.Context, key, value, second string, among []string) (ids []string, err error) {
	err = s.DB.Read(ctx, func(tx db.Scope) error {
		for _, v := range among {
			if err := tx.Each(`SELECT a.run FROM run_tag a JOIN run_tag b ON b.workspace = a.workspace AND b.run = a.run
				WHERE a.workspace = $1 AND a.key = $2 AND a.value = $3 AND b.key = $4 AND b.value = $5 ORDER BY a.run`,
				[]any{tx.Workspace, key, value, second, v}, func(scan func(...any) error) error {
					var id string
					err := scan(&id)
					ids = append(ids, id)
					return err
				}); err != nil {
				return err
			}
		}
		return nil
	})
	return ids, err
}
