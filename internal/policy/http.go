package policy

import (
	"context"

	"keelson/internal/rest"
)

// Routes mounts environments and policies.
func (s *Service) Routes(a *rest.API) {
	rest.Get(a, "/api/v1/environments", "policy.read", "List the environments", s.getEnvironments)
	rest.Get(a, "/api/v1/policies", "policy.read", "List the policies in force", s.getPolicies)
	rest.Get(a, "/api/v1/policies/{name}", "policy.read", "Read a policy", s.getPolicy)
	rest.Put(a, "/api/v1/policies/{name}", "policy.write", "Save a policy as its next version", s.putPolicy)
	rest.Post(a, "/api/v1/policies/{name}/try", "policy.write", "Try a policy on recorded requests; nothing is stored", s.tryPolicy)
}

// View is a policy as the API shows it.
type View struct {
	Policy
	Text string `json:"text" doc:"the policy as a person reads it"`
}

func view(p Policy) View {
	if p.Rules == nil {
		p.Rules = []Rule{}
	}
	return View{p, p.Text()}
}

func (s *Service) getEnvironments(ctx context.Context, _ *struct{}) (rest.Page[Environment], error) {
	all, err := s.Environments(ctx)
	return rest.Page[Environment]{Items: all}, err
}

func (s *Service) getPolicies(ctx context.Context, _ *struct{}) (rest.Page[View], error) {
	all, err := s.Policies(ctx)
	page := rest.Page[View]{Items: []View{}}
	for _, p := range all {
		page.Items = append(page.Items, view(p))
	}
	return page, err
}

type policyInput struct {
	Name    string `path:"name" maxLength:"64"`
	Version int    `query:"version" minimum:"0" doc:"0 is the one in force"`
}

func (s *Service) getPolicy(ctx context.Context, in *policyInput) (View, error) {
	p, err := s.Policy(ctx, in.Name, in.Version)
	return view(p), err
}

type policyBody struct {
	Name string `path:"name" maxLength:"64"`
	Body struct {
		Title     string   `json:"title" maxLength:"200"`
		Rules     []Rule   `json:"rules" maxItems:"64"`
		Approvals string   `json:"approvals" doc:"CEL giving {'count': int, 'roles': list of string}"`
		Aliases   *Aliases `json:"aliases,omitempty" doc:"left out: as in the version before"`
		Note      string   `json:"note,omitempty" maxLength:"2000" doc:"why this version is made"`
	}
}

func (in *policyBody) policy() Policy {
	return Policy{Name: in.Name, Title: in.Body.Title, Rules: in.Body.Rules, Approvals: in.Body.Approvals, Aliases: in.Body.Aliases, Note: in.Body.Note}
}

func (s *Service) putPolicy(ctx context.Context, in *policyBody) (View, error) {
	p, err := s.Put(ctx, in.policy())
	return view(p), err
}

func (s *Service) tryPolicy(ctx context.Context, in *policyBody) (Trial, error) {
	return s.Try(ctx, in.policy())
}
