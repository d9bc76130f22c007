package identity

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/alexedwards/scs/v2"

	"keelson/internal/access"
	"keelson/internal/audit"
	"keelson/internal/caller"
	"keelson/internal/db"
	"keelson/internal/problem"
	"keelson/internal/rest"
)

// Service authenticates. Fill DB, Log and Now, then call Open.
type Service struct {
	DB   *db.DB
	Log  *slog.Logger
	Now  func() time.Time
	Auth bool // false: everybody is local

	sessions *scs.SessionManager
	cross    *http.CrossOriginProtection
	mu       sync.Mutex
	known    map[string]cached // by workspace and token hash
	used     map[string]int64  // token id → last use, written now and then
	refusals map[string]*refusal
	hashing  chan struct{}
}

// flushEvery is how often uses of tokens and refusals are written down.
const flushEvery = 15 * time.Second

// cached is an answer of the database, good for cacheFor.
type cached struct {
	who   caller.Caller
	err   error
	until time.Time
}

// cacheFor bounds how long a revoked token still works in another process.
const cacheFor = 3 * time.Second

const sessionCookie = "keelson_session"

// Open prepares sessions.
func (s *Service) Open() {
	s.sessions = scs.New()
	s.sessions.Store = sessionStore{s.DB}
	s.sessions.Lifetime = 12 * time.Hour
	s.sessions.IdleTimeout = 0
	s.sessions.HashTokenInStore = true
	s.sessions.Cookie.Name = sessionCookie
	s.sessions.Cookie.SameSite = http.SameSiteLaxMode
	s.cross = http.NewCrossOriginProtection()
	s.hashing = make(chan struct{}, 2)
	s.known, s.used, s.refusals = map[string]cached{}, map[string]int64{}, map[string]*refusal{}
}

// Run writes last uses and refusals down and drops old sessions until ctx ends.
func (s *Service) Run(ctx context.Context) error {
	tick := time.NewTicker(flushEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return s.flush(context.WithoutCancel(ctx))
		case <-tick.C:
			if err := s.flush(ctx); err != nil {
				s.Log.WarnContext(ctx, "uses of tokens could not be written", "error", err)
			}
		}
	}
}

// foreign refuses what a browser sends here for a page of somebody else.
func foreign(cause error) error {
	return problem.New(problem.Forbidden, "This request comes from another web page and was refused; open Keelson's own page and do it there.").Suspect("foreign-origin").Because(cause)
}

// Authenticate says who sent r: by token (bearer, or basic with the token as password) or by session cookie.
func (s *Service) Authenticate(r *http.Request) (caller.Caller, error) {
	if !s.Auth {
		// No password stands between a web page of somebody else's and this server, so its requests are refused.
		if err := s.cross.Check(r); err != nil {
			return caller.Caller{}, foreign(err)
		}
		if w := caller.Workspace(r.Context()); w != caller.DefaultWorkspace {
			return caller.Caller{}, problem.New(problem.NotFound, "There is no workspace %q for you.", w)
		}
		return local, nil
	}
	if text, ok := tokenOf(r); ok {
		return s.byToken(r.Context(), text)
	}
	c, err := r.Cookie(sessionCookie)
	if err != nil || c.Value == "" {
		return caller.Caller{}, nil
	}
	if err := s.cross.Check(r); err != nil {
		return caller.Caller{}, foreign(err)
	}
	ctx, err := s.sessions.Load(r.Context(), c.Value)
	if err != nil {
		return caller.Caller{}, fmt.Errorf("load session: %w", err)
	}
	name := s.sessions.GetString(ctx, "account")
	if name == "" {
		return caller.Caller{}, nil
	}
	return s.byName(r.Context(), name)
}

func tokenOf(r *http.Request) (string, bool) {
	h := r.Header.Get("Authorization")
	if t, ok := strings.CutPrefix(h, "Bearer "); ok {
		return strings.TrimSpace(t), true
	}
	if _, p, ok := r.BasicAuth(); ok {
		return p, true
	}
	return "", h != ""
}

func (s *Service) byToken(ctx context.Context, text string) (caller.Caller, error) {
	hash := hashToken(text)
	return s.remember(caller.Workspace(ctx)+"\x00"+hash, func() (who caller.Caller, err error) {
		err = s.DB.Read(ctx, func(tx db.Scope) error {
			t, a, err := findToken(tx, hash, "token", s.Now())
			if errors.Is(err, db.ErrNoRows) {
				return problem.New(problem.Unauthenticated, "The token is unknown, revoked or expired. Make a new one with: keelson token create.")
			}
			if err != nil {
				return err
			}
			who, err = s.asCaller(tx, a)
			who.TokenID = t.ID
			return err
		})
		return who, err
	})
}

func (s *Service) byName(ctx context.Context, name string) (caller.Caller, error) {
	return s.remember(caller.Workspace(ctx)+"\x00@"+name, func() (who caller.Caller, err error) {
		err = s.DB.Read(ctx, func(tx db.Scope) error {
			a, err := getAccount(tx, name)
			if err != nil || a.Disabled {
				return problem.New(problem.Unauthenticated, "The account %s cannot sign in any more.", name).Because(err)
			}
			who, err = s.asCaller(tx, a)
			return err
		})
		return who, err
	})
}

// asCaller refuses workspaces in which the account has no role as if they were not there.
func (s *Service) asCaller(tx db.Scope, a account) (caller.Caller, error) {
	if len(a.Roles) == 0 && tx.Workspace != caller.DefaultWorkspace {
		return caller.Caller{}, problem.New(problem.NotFound, "There is no workspace %q for you.", tx.Workspace)
	}
	return caller.Caller{ID: a.Name, Name: a.Name, Kind: a.Kind, Roles: a.Roles}, nil
}

// remember answers from memory or asks the database; this keeps SQL off the path of a prediction.
func (s *Service) remember(key string, ask func() (caller.Caller, error)) (caller.Caller, error) {
	now := s.Now()
	s.mu.Lock()
	c, ok := s.known[key]
	if ok && now.Before(c.until) {
		if c.who.TokenID != "" {
			s.used[c.who.TokenID] = db.Micros(now)
		}
		s.mu.Unlock()
		return c.who, c.err
	}
	s.mu.Unlock()
	who, err := ask()
	if err != nil && problem.Is(err, problem.Internal) {
		return who, err // a failing database is not remembered
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.known) > 10_000 { // made-up tokens must not fill the memory
		clear(s.known)
	}
	s.known[key] = cached{who, err, now.Add(cacheFor)}
	return who, err
}

// forget makes a change of accounts or tokens take force at once in this process.
func (s *Service) forget() {
	s.mu.Lock()
	clear(s.known)
	s.mu.Unlock()
}

// Refused counts a refusal; refusals of the same kind within a short time become one audit entry.
func (s *Service) Refused(ctx context.Context, route rest.Route, _ error) {
	c := caller.From(ctx)
	key := caller.Workspace(ctx) + "\x00" + c.Name + "\x00" + route.Permission
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.refusals[key]
	if r == nil {
		r = &refusal{workspace: caller.Workspace(ctx), who: c, route: route}
		s.refusals[key] = r
	}
	r.n++
}

type refusal struct {
	workspace string
	who       caller.Caller
	route     rest.Route
	n         int
	stranger  bool // a name that tried to sign in and has no account
}

// maxStrangers bounds the names without an account that are counted one by one between two flushes.
const maxStrangers = 1000

func (s *Service) flush(ctx context.Context) error {
	s.mu.Lock()
	used, refused := s.used, s.refusals
	s.used, s.refusals = map[string]int64{}, map[string]*refusal{}
	s.mu.Unlock()
	var names, tries int
	for key, r := range refused {
		if r.stranger { // anybody can make up names, so all of them are one entry
			names, tries = names+1, tries+r.n
			delete(refused, key)
		}
	}
	if names > 0 {
		ctx := caller.WithWorkspace(caller.With(ctx, caller.Caller{}), caller.DefaultWorkspace)
		if err := s.DB.Write(ctx, func(tx db.Scope) error {
			return audit.Record(tx, "access.refused", "account/unknown", map[string]any{"permission": "sign-in", "route": "POST /api/v1/session", "times": tries, "names": names})
		}); err != nil {
			return err
		}
	}
	for _, r := range refused {
		ctx := caller.WithWorkspace(caller.With(ctx, r.who), r.workspace)
		if err := s.DB.Write(ctx, func(tx db.Scope) error {
			return audit.Record(tx, "access.refused", "account/"+r.who.Name, map[string]any{
				"permission": r.route.Permission, "route": strings.TrimSpace(r.route.Method + " " + r.route.Pattern), "times": r.n})
		}); err != nil {
			return err
		}
	}
	return s.DB.WriteBulk(ctx, func(tx db.Scope) error {
		for id, at := range used {
			if _, err := tx.Exec("UPDATE token SET last_used_at = $2 WHERE id = $1 AND last_used_at < $2", id, at); err != nil {
				return err
			}
		}
		_, err := tx.Exec("DELETE FROM session WHERE expires < $1", db.Micros(s.Now()))
		if err != nil {
			return err
		}
		if _, err = tx.Exec("DELETE FROM account_handled WHERE at < $1", db.Micros(s.Now().Add(-keepHandled))); err != nil {
			return err
		}
		_, err = tx.Exec("DELETE FROM token WHERE expires_at <> 0 AND expires_at < $1", db.Micros(s.Now().Add(-24*time.Hour)))
		return err
	})
}

// CreateUser makes an account with roles in the workspace. Without a password it can only be used by token or link.
// Outside the default workspace an account needs a role: one without belongs to nobody there.
func (s *Service) CreateUser(ctx context.Context, u User, password string) (User, error) {
	if err := errors.Join(checkName(u.Name), checkRoles(u.Roles)); err != nil {
		return User{}, err
	}
	a := account{User: u}
	if password != "" {
		if err := checkPassword(password); err != nil {
			return User{}, err
		}
		a.password = hashPassword(password)
	}
	if a.Kind == "" {
		a.Kind = caller.Person
	}
	if a.Display == "" {
		a.Display = a.Name
	}
	a.CreatedAt, a.Roles = s.Now(), slices.Compact(slices.Sorted(slices.Values(u.Roles)))
	err := s.DB.Write(ctx, func(tx db.Scope) error {
		_, err := getAccount(tx, a.Name)
		if err == nil {
			return problem.New(problem.Conflict, "The account %q is already there.", a.Name).At("name")
		}
		if !problem.Is(err, problem.NotFound) {
			return err
		}
		if len(a.Roles) == 0 && tx.Workspace != caller.DefaultWorkspace {
			return problem.New(problem.Invalid, "Give %s a role; an account without one belongs to no workspace.", a.Name).At("roles")
		}
		return errors.Join(putAccount(tx, a), audit.Record(tx, "account.created", "account/"+a.Name, map[string]any{"roles": a.Roles, "kind": a.Kind}))
	})
	return a.User, err
}

// Change is what UpdateUser may set; nil leaves a field as it is.
type Change struct {
	Display  *string   `json:"display,omitempty"`
	Email    *string   `json:"email,omitempty"`
	Roles    *[]string `json:"roles,omitempty"`
	Disabled *bool     `json:"disabled,omitempty"`
	Password *string   `json:"password,omitempty"`
}

// own says whether the change is to the account itself, which all its workspaces share, and not to its roles here.
func (c Change) own() bool {
	return c.Display != nil || c.Email != nil || c.Disabled != nil || c.Password != nil
}

// UpdateUser changes an account and its roles in the workspace. The account itself is changed by those it belongs to; see
// ownHere. Roles here may be given to whoever has a role somewhere. A password that somebody else set ends the account's
// sessions and links.
func (s *Service) UpdateUser(ctx context.Context, name string, c Change) (User, error) {
	if c.Roles != nil {
		if err := checkRoles(*c.Roles); err != nil {
			return User{}, err
		}
		if caller.From(ctx).Name == name {
			return User{}, problem.New(problem.Forbidden, "Nobody changes their own roles; ask another administrator.").At("roles")
		}
	}
	if c.Password != nil {
		if err := checkPassword(*c.Password); err != nil {
			return User{}, err
		}
	}
	var a account
	err := s.DB.Write(ctx, func(tx db.Scope) (err error) {
		if a, err = getAccount(tx, name); err != nil {
			return err
		}
		mine := ownHere(tx, name)
		here, elsewhere, err := belongs(tx, name)
		if err != nil {
			return err
		}
		if mine != nil && (c.own() || here+elsewhere == 0 || !problem.Is(mine, problem.Forbidden)) {
			return mine
		}
		what := map[string]any{}
		if c.Display != nil {
			a.Display, what["display"] = *c.Display, true
		}
		if c.Email != nil {
			a.Email, what["email"] = *c.Email, true
		}
		if c.Roles != nil {
			what["roles_before"], what["roles"] = a.Roles, *c.Roles
			a.Roles = slices.Compact(slices.Sorted(slices.Values(*c.Roles)))
		}
		if c.Disabled != nil {
			a.Disabled, what["disabled"] = *c.Disabled, *c.Disabled
		}
		if c.Password != nil {
			a.password, what["password"] = hashPassword(*c.Password), "changed"
			if err := errors.Join(dropLinks(tx, name), s.handled(tx, name, "password")); err != nil {
				return err
			}
		}
		err = errors.Join(putAccount(tx, a), audit.Record(tx, "account.changed", "account/"+name, what))
		if mine != nil {
			a.Email = ""
		}
		return err
	})
	s.forget()
	return a.User, err
}

// Issue makes a token for an account; ttl 0 never expires. The text is in the answer and nowhere else. It asks nobody: what
// callers may do is checked by the routes.
func (s *Service) Issue(ctx context.Context, owner, name string, ttl time.Duration) (Token, error) {
	return s.issue(ctx, owner, name, "token", tokenPrefix, ttl, nil)
}

// issue makes a token or link; may, unless it is nil, refuses it.
func (s *Service) issue(ctx context.Context, owner, name, purpose, prefix string, ttl time.Duration, may func(db.Scope, account) error) (Token, error) {
	text, hash := newSecret(prefix)
	t := tokenRow{Token: Token{ID: db.NewID(), Name: name, Owner: owner, CreatedAt: s.Now(), Token: text}, hash: hash, purpose: purpose}
	if ttl > 0 {
		at := s.Now().Add(ttl)
		t.ExpiresAt, t.expires = &at, db.Micros(at)
	}
	err := s.DB.Write(ctx, func(tx db.Scope) error {
		a, err := getAccount(tx, owner)
		if err != nil {
			return err
		}
		if may != nil {
			if err := may(tx, a); err != nil {
				return err
			}
		}
		return errors.Join(insertToken(tx, t), audit.Record(tx, purpose+".created", purpose+"/"+t.ID, map[string]any{"owner": owner, "name": name}))
	})
	if err != nil {
		return Token{}, err
	}
	return t.Token, nil
}

// Revoke removes a token; of somebody else's only with the permission user.write and where that account belongs; see
// ownHere. What one may not revoke is as if it were not there.
func (s *Service) Revoke(ctx context.Context, id string) error {
	c := caller.From(ctx)
	err := s.DB.Write(ctx, func(tx db.Scope) error {
		var owner string
		err := tx.QueryRow("SELECT account FROM token WHERE id = $1", id).Scan(&owner)
		if errors.Is(err, db.ErrNoRows) || err == nil && owner != c.Name && !access.Can(c, "user.write") {
			return problem.New(problem.NotFound, "There is no token %q of yours.", id)
		}
		if err != nil {
			return err
		}
		if err := ownHere(tx, owner); problem.Is(err, problem.Forbidden) {
			return problem.New(problem.NotFound, "There is no token %q of yours.", id).Suspect("foreign-account").Because(err)
		} else if err != nil {
			return err
		}
		if _, err := tx.Exec("DELETE FROM token WHERE id = $1", id); err != nil {
			return err
		}
		return audit.Record(tx, "token.revoked", "token/"+id, map[string]any{"owner": owner})
	})
	s.forget()
	return err
}

// Ensure makes a service account with roles in the workspace if it is not there, for parts of the platform that act
// through the API (pipeline steps).
func (s *Service) Ensure(ctx context.Context, name string, roles ...string) error {
	_, err := s.CreateUser(ctx, User{Name: name, Kind: caller.Service, Roles: roles}, "")
	if problem.Is(err, problem.Conflict) {
		return nil
	}
	return err
}

// HoldersOf names the people who hold a role in the workspace.
func (s *Service) HoldersOf(ctx context.Context, role string) (names []string, err error) {
	err = s.DB.Read(ctx, func(tx db.Scope) error {
		return tx.Each(`SELECT r.account FROM account_role r JOIN account a ON a.name = r.account
			WHERE r.workspace = $1 AND r.role = $2 AND a.disabled = 0 AND a.kind = 'person' ORDER BY r.account`, []any{tx.Workspace, role},
			func(scan func(...any) error) error {
				var n string
				err := scan(&n)
				names = append(names, n)
				return err
			})
	})
	return names, err
}

// First makes the administrator and a one-time link for the first start. made is false when an account is already there.
func (s *Service) First(ctx context.Context) (link, token string, made bool, err error) {
	ctx = caller.System(ctx, "start")
	var n int
	if err := s.DB.Read(ctx, func(tx db.Scope) error {
		return tx.QueryRow("SELECT COUNT(*) FROM account WHERE kind = 'person'").Scan(&n)
	}); err != nil || n > 0 {
		return "", "", false, err
	}
	if _, err := s.CreateUser(ctx, User{Name: "admin", Display: "Administrator", Roles: []string{access.Administrator, access.MLEngineer}}, ""); err != nil && !problem.Is(err, problem.Conflict) {
		return "", "", false, err
	}
	l, err := s.issue(ctx, "admin", "first sign-in", "link", "ksl_", 24*time.Hour, nil)
	if err != nil {
		return "", "", false, err
	}
	t, err := s.Issue(ctx, "admin", "first token", 0)
	return l.Token, t.Token, true, err
}
