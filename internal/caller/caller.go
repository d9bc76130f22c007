// Package caller carries who asks, in which workspace, by which door. It decides nothing: access does.
package caller

import "context"

// Kinds of caller.
const (
	Person  = "person"
	Service = "service" // a service account or a pipeline step: may act, may not vote
	Process = "system"  // the platform itself, named by what acts: "policy:dev", "monitor"
)

// DefaultWorkspace is the organisation unit that newcomers live in and never notice.
const DefaultWorkspace = "default"

// Caller is who asks. The zero value is nobody.
type Caller struct {
	ID, Name, Kind string
	Roles          []string
	Via            string // ui, cli, api, mlflow, oip, system
	Request        string // id of the request, for logs and problem documents
	TokenID        string // the token that was used, if one was
}

// Has reports whether the caller holds a role.
func (c Caller) Has(role string) bool {
	for _, r := range c.Roles {
		if r == role {
			return true
		}
	}
	return false
}

type callerKey struct{}
type workspaceKey struct{}

// From gives the caller of ctx; nobody if there is none.
func From(ctx context.Context) Caller {
	c, _ := ctx.Value(callerKey{}).(Caller)
	return c
}

// With puts c into ctx.
func With(ctx context.Context, c Caller) context.Context {
	return context.WithValue(ctx, callerKey{}, c)
}

// System is ctx with the platform itself as the caller; name says which part acts.
func System(ctx context.Context, name string) context.Context {
	return With(ctx, Caller{ID: name, Name: name, Kind: Process, Via: "system"})
}

// Workspace gives the workspace of ctx, "default" if none was set.
func Workspace(ctx context.Context) string {
	if w, _ := ctx.Value(workspaceKey{}).(string); w != "" {
		return w
	}
	return DefaultWorkspace
}

// WithWorkspace puts a workspace into ctx.
func WithWorkspace(ctx context.Context, name string) context.Context {
	return context.WithValue(ctx, workspaceKey{}, name)
}
