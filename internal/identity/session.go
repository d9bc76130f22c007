package identity

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/alexedwards/scs/v2"

	"keelson/internal/audit"
	"keelson/internal/caller"
	"keelson/internal/db"
	"keelson/internal/problem"
)

// sessionStore keeps sessions of scs in our database.
type sessionStore struct{ db *db.DB }

func (s sessionStore) FindCtx(ctx context.Context, token string) (b []byte, found bool, err error) {
	err = s.db.Read(ctx, func(tx db.Scope) error {
		var data string
		var expires int64
		err := tx.QueryRow("SELECT data, expires FROM session WHERE token = $1", token).Scan(&data, &expires)
		if errors.Is(err, db.ErrNoRows) || err == nil && expires < db.Micros(time.Now()) {
			return nil
		}
		if err != nil {
			return err
		}
		found = true
		b, err = base64.StdEncoding.DecodeString(data)
		return err
	})
	return b, found, err
}

func (s sessionStore) CommitCtx(ctx context.Context, token string, b []byte, expiry time.Time) error {
	_, values, err := scs.GobCodec{}.Decode(b)
	if err != nil {
		return fmt.Errorf("read the session to be stored: %w", err)
	}
	account, _ := values["account"].(string)
	return s.db.Write(ctx, func(tx db.Scope) error {
		_, err := tx.Exec(`INSERT INTO session (token, account, data, expires) VALUES ($1, $2, $3, $4)
			ON CONFLICT (token) DO UPDATE SET account = excluded.account, data = excluded.data, expires = excluded.expires`, token, account, base64.StdEncoding.EncodeToString(b), db.Micros(expiry))
		return err
	})
}

func (s sessionStore) DeleteCtx(ctx context.Context, token string) error {
	return s.db.Write(ctx, func(tx db.Scope) error {
		_, err := tx.Exec("DELETE FROM session WHERE token = $1", token)
		return err
	})
}

// storedToken is what the database has of the token in a session's cookie.
func storedToken(token string) string {
	sum := sha256.Sum256([]byte(token))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// The three methods without a context are part of scs's older interface and are not called when the others exist.

func (s sessionStore) Find(token string) ([]byte, bool, error) {
	return s.FindCtx(context.Background(), token)
}
func (s sessionStore) Commit(token string, b []byte, expiry time.Time) error {
	return s.CommitCtx(context.Background(), token, b, expiry)
}
func (s sessionStore) Delete(token string) error { return s.DeleteCtx(context.Background(), token) }

// signIn checks a name and a password, or a one-time link, which works once.
func (s *Service) signIn(ctx context.Context, name, password, link string) (a account, err error) {
	if link != "" {
		err = s.DB.Write(ctx, func(tx db.Scope) (err error) {
			var t tokenRow
			t, a, err = findToken(tx, hashToken(link), "link", s.Now())
			if errors.Is(err, db.ErrNoRows) {
				return problem.New(problem.Unauthenticated, "The link was used already or is too old. Make a new one with: keelson user link NAME.")
			}
			if err != nil {
				return err
			}
			if _, err := tx.Exec("DELETE FROM token WHERE id = $1", t.ID); err != nil {
				return err
			}
			tx.Ctx = caller.With(tx.Ctx, caller.Caller{Name: a.Name, Kind: a.Kind, Via: "ui"})
			if len(a.Roles) == 0 { // the request names any workspace it likes
				tx.Workspace = caller.DefaultWorkspace
			}
			return audit.Record(tx, "account.signed-in", "account/"+a.Name, map[string]any{"by": "link"})
		})
		return a, err
	}
	wrong := problem.New(problem.Unauthenticated, "The name or the password is wrong.")
	if s.throttled(name) {
		return a, problem.New(problem.Exhausted, "Too many attempts to sign in as %s. Try again in %s.", name, flushEvery)
	}
	// Each check takes 19 MiB; two at a time bound what a flood of attempts can take.
	select {
	case s.hashing <- struct{}{}:
		defer func() { <-s.hashing }()
	case <-ctx.Done():
		return a, ctx.Err()
	}
	if err := s.DB.Read(ctx, func(tx db.Scope) (err error) { a, err = getAccount(tx, name); return err }); err != nil && !problem.Is(err, problem.NotFound) {
		return a, err
	}
	if !checkHash(a.password, password) || a.Disabled {
		s.failedSignIn(name, a.Name != "")
		return account{}, wrong
	}
	ctx = caller.With(ctx, caller.Caller{Name: a.Name, Kind: a.Kind, Via: "ui"})
	err = s.DB.Write(ctx, func(tx db.Scope) error {
		if len(a.Roles) == 0 {
			tx.Workspace = caller.DefaultWorkspace
		}
		return audit.Record(tx, "account.signed-in", "account/"+a.Name, map[string]any{"by": "password"})
	})
	return a, err
}

// maxFailures is how many wrong passwords for one name are looked at between two flushes.
const maxFailures = 10

func (s *Service) throttled(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.refusals["sign-in\x00"+name]
	return r != nil && r.n >= maxFailures
}

// failedSignIn counts a failed attempt with the refusals; known says whether there is an account of that name.
func (s *Service) failedSignIn(name string, known bool) {
	if namePattern.MatchString(name) {
		s.mu.Lock()
		defer s.mu.Unlock()
		key := "sign-in\x00" + name
		if s.refusals[key] == nil && !known && len(s.refusals) >= maxStrangers {
			key = "sign-in\x00" // no name is empty, so these share a count and nobody is slowed down by it
		}
		r := s.refusals[key]
		if r == nil {
			r = &refusal{workspace: caller.DefaultWorkspace, who: caller.Caller{Name: name, Via: "ui"}, stranger: !known}
			r.route.Permission, r.route.Method, r.route.Pattern = "sign-in", http.MethodPost, "/api/v1/session"
			s.refusals[key] = r
		}
		r.n++
	}
}

// start opens a session for an account and sets the cookie.
func (s *Service) start(w http.ResponseWriter, r *http.Request, name string) error {
	ctx, err := s.sessions.Load(r.Context(), "")
	if err != nil {
		return err
	}
	s.sessions.Put(ctx, "account", name)
	token, expiry, err := s.sessions.Commit(ctx)
	if err != nil {
		return err
	}
	http.SetCookie(w, &http.Cookie{Name: sessionCookie, Value: token, Path: "/", Expires: expiry, HttpOnly: true, SameSite: http.SameSiteLaxMode, Secure: r.TLS != nil})
	return nil
}

// end closes the session of r and clears the cookie.
func (s *Service) end(w http.ResponseWriter, r *http.Request) error {
	http.SetCookie(w, &http.Cookie{Name: sessionCookie, Path: "/", MaxAge: -1, HttpOnly: true, SameSite: http.SameSiteLaxMode})
	c, err := r.Cookie(sessionCookie)
	if err != nil {
		return nil
	}
	ctx, err := s.sessions.Load(r.Context(), c.Value)
	if err != nil {
		return err
	}
	return s.sessions.Destroy(ctx)
}
