package db

import (
	"context"
	"errors"
	"time"
)

// Hold takes or renews the lease called name for holder, valid for ttl from now by the database's clock. ok says
// whether holder has it now; term grows by one each time the lease changes hands, so that a writer with an older term
// can be told apart.
func (d *DB) Hold(ctx context.Context, name, holder string, ttl time.Duration) (term int64, ok bool, err error) {
	err = d.Write(ctx, func(s Scope) error {
		now, err := s.Now()
		if err != nil {
			return err
		}
		var who string
		var expires int64
		err = s.QueryRow("SELECT holder, term, expires FROM lease WHERE name = $1", name).Scan(&who, &term, &expires)
		switch {
		case errors.Is(err, ErrNoRows):
			term, ok = 1, true
		case err != nil:
			return err
		case who == holder:
			ok = true
		case expires < now:
			term, ok = term+1, true
		default:
			ok = false
			return nil
		}
		_, err = s.Exec(`INSERT INTO lease (name, holder, term, expires) VALUES ($1, $2, $3, $4)
			ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, term = excluded.term, expires = excluded.expires`,
			name, holder, term, now+ttl.Microseconds())
		return err
	})
	return term, ok && err == nil, err
}

// Now is the database's clock in UTC microseconds: leases compare one clock, not one per machine.
func (s Scope) Now() (us int64, err error) {
	if !s.postgres {
		return Micros(time.Now()), nil // one machine, one clock
	}
	err = s.QueryRow("SELECT (EXTRACT(EPOCH FROM clock_timestamp()) * 1000000)::BIGINT").Scan(&us)
	return us, err
}
