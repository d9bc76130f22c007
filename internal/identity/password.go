package identity

import (
	"context"
	"errors"

	"keelson/internal/audit"
	"keelson/internal/caller"
	"keelson/internal/db"
	"keelson/internal/problem"
	"keelson/internal/rest"
)

// SetPassword changes the caller's own password. Who has one must give it; who came by a link has none yet. It ends the
// caller's sessions but for the one of the cookie session, and makes links useless: who got in otherwise is out.
func (s *Service) SetPassword(ctx context.Context, current, password, session string) error {
	if !s.Auth {
		return problem.New(problem.Conflict, "Sign-in is off: there are no passwords. Start the server with --auth on.")
	}
	if err := checkPassword(password); err != nil {
		return err
	}
	me := caller.From(ctx)
	if me.Kind != caller.Person {
		return problem.New(problem.Forbidden, "%s is a service account and signs in with tokens only.", me.Name)
	}
	if s.throttled(me.Name) {
		return problem.New(problem.Exhausted, "Too many wrong passwords for %s. Try again in %s.", me.Name, flushEvery)
	}
	var a account
	if err := s.DB.Read(ctx, func(tx db.Scope) (err error) { a, err = getAccount(tx, me.Name); return err }); err != nil {
		return err
	}
	if a.password != "" && !checkHash(a.password, current) {
		s.failedSignIn(me.Name, true)
		return problem.New(problem.Forbidden, "The current password is wrong; type it again.").At("current")
	}
	hash := hashPassword(password)
	return s.DB.Write(ctx, func(tx db.Scope) error {
		_, err := tx.Exec("UPDATE account SET password = $2 WHERE name = $1 AND password = $3", me.Name, hash, a.password)
		return errors.Join(err, endSessions(tx, me.Name, storedToken(session)), dropLinks(tx, me.Name), audit.Record(tx, "account.changed", "account/"+me.Name, map[string]any{"password": "changed"}))
	})
}

type passwordInput struct {
	Session string `cookie:"keelson_session" hidden:"true"`
	Body    struct {
		Current  string `json:"current,omitempty" doc:"the password so far; left out by who has none yet"`
		Password string `json:"password" doc:"at least 10 characters"`
	}
}

func (s *Service) postPassword(ctx context.Context, in *passwordInput) (rest.Nothing, error) {
	return rest.Nothing{}, s.SetPassword(ctx, in.Body.Current, in.Body.Password, in.Session)
}
