package approval

import (
	"context"
	"net/http"

	"keelson/internal/caller"
	"keelson/internal/db"
	"keelson/internal/problem"
	"keelson/internal/rest"
)

// Routes mounts change requests.
func (s *Service) Routes(a *rest.API) {
	rest.Get(a, "/api/v1/approvals", "approval.read", "List change requests, newest first", s.getList)
	rest.Post(a, "/api/v1/approvals", "approval.open", "Open a change request; policy answers with reasons", s.postOpen, rest.Status(http.StatusCreated))
	rest.Get(a, "/api/v1/approvals/{id}", "approval.read", "Read a change request, by id or number", s.getOne)
	rest.Get(a, "/api/v1/approvals/{id}/changes", "approval.read", "Compare what is live with what is proposed", s.getChanges)
	rest.Post(a, "/api/v1/approvals/{id}/votes", "approval.vote", "Grant or refuse a change request", s.postVote)
	rest.Post(a, "/api/v1/approvals/{id}/withdraw", "approval.open", "Take back one's own change request", s.postWithdraw)
	rest.Get(a, "/api/v1/approvals/{id}/comments", "approval.read", "Read the comments", s.getComments)
	rest.Post(a, "/api/v1/approvals/{id}/comments", "approval.comment", "Add a comment", s.postComment, rest.Status(http.StatusCreated))
}

type listInput struct {
	rest.Paging
	State string `query:"state" enum:"open,approved,refused,withdrawn,executed,expired,void" doc:"only those in this state"`
	Model string `query:"model" doc:"only those of this model"`
	Mine  bool   `query:"mine" doc:"only those I opened or may vote on"`
}

// scanned is how many requests one page looks at when it filters by state.
const scanned = 1000

// List gives a page of requests, newest first. State is computed, so it is filtered here and not in SQL; a page that
// looked at many requests and found few has a Next all the same.
func (s *Service) List(ctx context.Context, state, model string, mine bool, limit int, cursor string) (rest.Page[View], error) {
	page := rest.Page[View]{Items: []View{}}
	who, now := caller.From(ctx), s.now()
	for seen := 0; seen < scanned; {
		var rows []row
		err := s.DB.Read(ctx, func(tx db.Scope) (err error) {
			rows, err = s.store().query(tx, "model = $2 OR $2 = ''", cursor, 100, model)
			return err
		})
		if err != nil {
			return page, err
		}
		for _, r := range rows {
			cursor = r.ID
			seen++
			if state != "" && r.State(now) != state || mine && r.Author != who.Name && r.MayVote(who, now) != nil {
				continue
			}
			v, err := s.View(ctx, r.Request)
			if err != nil {
				return page, err
			}
			page.Items = append(page.Items, v)
			if len(page.Items) == limit {
				page.Next = cursor
				return page, nil
			}
		}
		if len(rows) < 100 {
			return page, nil
		}
	}
	page.Next = cursor
	return page, nil
}

func (s *Service) getList(ctx context.Context, in *listInput) (rest.Page[View], error) {
	return s.List(ctx, in.State, in.Model, in.Mine, in.Limit, in.Cursor)
}

type openInput struct{ Body Proposal }

func (s *Service) postOpen(ctx context.Context, in *openInput) (View, error) {
	r, err := s.Open(ctx, in.Body)
	return s.shown(ctx, r, err)
}

// RefInput names a change request in a path.
type RefInput struct {
	ID string `path:"id" maxLength:"40" doc:"id or number of the change request"`
}

func (s *Service) getOne(ctx context.Context, in *RefInput) (View, error) {
	r, err := s.Get(ctx, in.ID)
	return s.shown(ctx, r, err)
}

func (s *Service) getChanges(ctx context.Context, in *RefInput) (Changes, error) {
	return s.Changes(ctx, in.ID)
}

type voteInput struct {
	RefInput
	Body struct {
		Grant  bool   `json:"grant"`
		Reason string `json:"reason" minLength:"1" maxLength:"2000" doc:"why; the author reads it"`
	}
}

func (s *Service) postVote(ctx context.Context, in *voteInput) (View, error) {
	r, err := s.Vote(ctx, in.ID, in.Body.Grant, in.Body.Reason)
	return s.shown(ctx, r, err)
}

type reasonInput struct {
	RefInput
	Body struct {
		Reason string `json:"reason" maxLength:"2000"`
	}
}

func (s *Service) postWithdraw(ctx context.Context, in *reasonInput) (View, error) {
	r, err := s.Withdraw(ctx, in.ID, in.Body.Reason)
	return s.shown(ctx, r, err)
}

func (s *Service) shown(ctx context.Context, r Request, err error) (View, error) {
	if err != nil {
		return View{}, err
	}
	return s.View(ctx, r)
}

func (s *Service) getComments(ctx context.Context, in *RefInput) (rest.Page[Comment], error) {
	var page rest.Page[Comment]
	err := s.DB.Read(ctx, func(tx db.Scope) error {
		r, _, err := s.store().get(tx, in.ID)
		if err != nil {
			return err
		}
		page.Items, err = s.store().comments(tx, r.ID)
		return err
	})
	return page, err
}

type commentInput struct {
	RefInput
	Body struct {
		Text string `json:"text" minLength:"1" maxLength:"4000"`
	}
}

func (s *Service) postComment(ctx context.Context, in *commentInput) (Comment, error) {
	c := Comment{ID: db.NewID(), By: caller.From(ctx).Name, At: s.now(), Text: in.Body.Text}
	if c.By == "" {
		return c, problem.New(problem.Unauthenticated, "Sign in to comment.")
	}
	err := s.DB.Write(ctx, func(tx db.Scope) error {
		r, _, err := s.store().get(tx, in.ID)
		if err != nil {
			return err
		}
		return s.store().addComment(tx, r.ID, c)
	})
	return c, err
}
