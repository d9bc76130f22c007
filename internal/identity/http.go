package identity

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"keelson/internal/access"
	"keelson/internal/caller"
	"keelson/internal/db"
	"keelson/internal/problem"
	"keelson/internal/rest"
)

// Routes mounts sessions, accounts, tokens and roles.
func (s *Service) Routes(a *rest.API) {
	a.Handle("POST", "/api/v1/session", access.Public, rest.REST, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := s.postSession(w, r); err != nil {
			a.Fail(w, r, err)
		}
	}))
	a.Handle("DELETE", "/api/v1/session", access.Public, rest.REST, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := s.end(w, r); err != nil {
			a.Fail(w, r, err)
			return
		}
		rest.JSON(w, http.StatusOK, rest.Nothing{})
	}))
	rest.Get(a, "/api/v1/me", access.Self, "Who am I, and what may I do?", s.getMe)
	rest.Post(a, "/api/v1/me/password", access.Self, "Change my password", s.postPassword)
	rest.Post(a, "/api/v1/me/handled/seen", access.Self, "Say that I know of what others did to my account", s.postSeen)
	rest.Get(a, "/api/v1/roles", access.Self, "The roles and what each may do", s.getRoles)
	rest.Get(a, "/api/v1/users", "user.names", "Accounts of this workspace", s.getUsers)
	rest.Post(a, "/api/v1/users", "user.write", "Make an account", s.postUser, rest.Status(http.StatusCreated))
	rest.Patch(a, "/api/v1/users/{name}", "user.write", "Change an account or its roles", s.patchUser)
	rest.Post(a, "/api/v1/users/{name}/link", "user.write", "Make a one-time sign-in link", s.postLink)
	rest.Get(a, "/api/v1/tokens", access.Self, "My tokens", s.getTokens)
	rest.Post(a, "/api/v1/tokens", access.Self, "Make a token; its text is shown once", s.postToken, rest.Status(http.StatusCreated))
	s.workspaceRoutes(a)
	rest.Delete(a, "/api/v1/tokens/{id}", access.Self, "Revoke a token", s.deleteToken)
}

func (s *Service) postSession(w http.ResponseWriter, r *http.Request) error {
	var in struct{ Name, Password, Link string }
	if err := s.cross.Check(r); err != nil {
		return foreign(err)
	}
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 64<<10)).Decode(&in); err != nil {
		return problem.New(problem.Invalid, `Send {"name": …, "password": …} or {"link": …}.`)
	}
	if !s.Auth {
		rest.JSON(w, http.StatusOK, s.me(caller.With(r.Context(), local), nil))
		return nil
	}
	a, err := s.signIn(r.Context(), in.Name, in.Password, in.Link)
	if err != nil {
		return err
	}
	if err := s.start(w, r, a.Name); err != nil {
		return err
	}
	me, err := s.getMe(caller.With(r.Context(), caller.Caller{ID: a.Name, Name: a.Name, Kind: a.Kind, Roles: a.Roles}), nil)
	if err != nil {
		return err
	}
	rest.JSON(w, http.StatusOK, me)
	return nil
}

func (s *Service) me(ctx context.Context, workspaces []string) Me {
	c := caller.From(ctx)
	m := Me{Name: c.Name, Display: c.Name, Kind: c.Kind, Roles: c.Roles, Workspace: caller.Workspace(ctx), Workspaces: workspaces, Permissions: access.Permissions(c.Roles), Auth: "on"}
	if m.Workspaces == nil {
		m.Workspaces = []string{caller.DefaultWorkspace}
	}
	if !s.Auth {
		m.Auth = "off"
	}
	return m
}

func (s *Service) getMe(ctx context.Context, _ *struct{}) (m Me, err error) {
	if !s.Auth {
		return s.me(ctx, nil), nil
	}
	var spaces []string
	var done []Handled
	display := ""
	err = s.DB.Read(ctx, func(tx db.Scope) error {
		a, err := getAccount(tx, caller.From(ctx).Name)
		if err != nil {
			return err
		}
		display = a.Display
		if done, err = listHandled(tx, a.Name); err != nil {
			return err
		}
		return tx.Each("SELECT DISTINCT workspace FROM account_role WHERE account = $1 ORDER BY workspace", []any{a.Name}, func(scan func(...any) error) error {
			var w string
			err := scan(&w)
			spaces = append(spaces, w)
			return err
		})
	})
	m = s.me(ctx, spaces)
	m.Display, m.Handled = display, done
	return m, err
}

func (s *Service) getRoles(context.Context, *struct{}) ([]access.Role, error) {
	return access.Roles(), nil
}

func (s *Service) getUsers(ctx context.Context, _ *struct{}) (rest.Page[User], error) {
	var list []User
	c := caller.From(ctx)
	err := s.DB.Read(ctx, func(tx db.Scope) error {
		all, err := everywhere(tx, "user.read")
		if err != nil {
			return err
		}
		var shared map[string]bool
		if list, shared, err = listAccounts(tx, all && tx.Workspace == caller.DefaultWorkspace); err != nil {
			return err
		}
		for i, u := range list {
			// Names and roles are for everybody, addresses for who administers the account.
			if u.Name != c.Name && !all && (shared[u.Name] || !access.Can(c, "user.read")) {
				list[i].Email = ""
			}
		}
		return nil
	})
	return rest.Paged(list, len(list), nil), err
}

type userInput struct {
	Body struct {
		Name     string   `json:"name" doc:"lower-case name of the account"`
		Display  string   `json:"display,omitempty"`
		Email    string   `json:"email,omitempty"`
		Kind     string   `json:"kind,omitempty" enum:"person,service" default:"person"`
		Roles    []string `json:"roles,omitempty"`
		Password string   `json:"password,omitempty"`
	}
}

func (s *Service) postUser(ctx context.Context, in *userInput) (User, error) {
	b := in.Body
	return s.CreateUser(ctx, User{Name: b.Name, Display: b.Display, Email: b.Email, Kind: b.Kind, Roles: b.Roles}, b.Password)
}

func (s *Service) patchUser(ctx context.Context, in *struct {
	Name string `path:"name"`
	Body Change
}) (User, error) {
	return s.UpdateUser(ctx, in.Name, in.Body)
}

// Link is a one-time way to sign in.
type Link struct {
	Link string `json:"link" doc:"open /?link=… within a day"`
}

func (s *Service) postLink(ctx context.Context, in *struct {
	Name string `path:"name"`
}) (Link, error) {
	t, err := s.issue(ctx, in.Name, "sign-in link", "link", "ksl_", 24*time.Hour, func(tx db.Scope, a account) error {
		if err := ownHere(tx, a.Name); err != nil {
			return err
		}
		return s.handled(tx, a.Name, "link")
	})
	return Link{t.Token}, err
}

func (s *Service) getTokens(ctx context.Context, _ *struct{}) (rest.Page[Token], error) {
	var list []Token
	err := s.DB.Read(ctx, func(tx db.Scope) error {
		all, err := everywhere(tx, "user.read")
		if err == nil {
			list, err = listTokens(tx, caller.From(ctx).Name, access.Can(caller.From(ctx), "user.read"), all)
		}
		return err
	})
	return rest.Paged(list, len(list), nil), err
}

func (s *Service) postToken(ctx context.Context, in *struct {
	Body struct {
		Name          string `json:"name" minLength:"1" maxLength:"100"`
		User          string `json:"user,omitempty" doc:"whose token; yours if left out"`
		ExpiresInDays int    `json:"expires_in_days,omitempty" minimum:"0" maximum:"3650" doc:"0 never expires"`
	}
}) (Token, error) {
	c := caller.From(ctx)
	owner := in.Body.User
	if owner == "" {
		owner = c.Name
	}
	if !s.Auth {
		return Token{}, problem.New(problem.Conflict, "Sign-in is off: no token is needed. Start the server with --auth on to use tokens.")
	}
	return s.issue(ctx, owner, in.Body.Name, "token", tokenPrefix, time.Duration(in.Body.ExpiresInDays)*24*time.Hour, func(tx db.Scope, a account) error {
		if a.Name == c.Name {
			return nil
		}
		// A token lets its holder act in the owner's name, so an administrator makes them for programs, not for people.
		if !access.Can(c, "user.write") || a.Kind != caller.Service {
			return problem.New(problem.Forbidden, "Only %s makes tokens of %s; administrators make those of service accounts.", owner, owner).At("user")
		}
		return ownHere(tx, a.Name)
	})
}

func (s *Service) deleteToken(ctx context.Context, in *struct {
	ID string `path:"id"`
}) (rest.Nothing, error) {
	return rest.Nothing{}, s.Revoke(ctx, in.ID)
}
