// Package access says what each role may do. It is one table: a permission that no role holds is denied to everybody,
// and a route without a permission does not exist.
package access

import (
	"slices"

	"keelson/internal/caller"
)

// Special permissions of routes.
const (
	Public = "public" // nobody needs to be signed in
	Self   = "self"   // everybody who is signed in
)

// Role names.
const (
	Executive     = "executive"
	BusinessOwner = "business-owner"
	DataScientist = "data-scientist"
	DataEngineer  = "data-engineer"
	MLEngineer    = "ml-engineer"
	ITOperations  = "it-operations"
	Risk          = "risk-compliance"
	Auditor       = "auditor"
	Administrator = "administrator"
	Service       = "service" // programs: pipeline steps, applications that call models
	Local         = "local"   // everybody when sign-in is off: all but votes
)

// Role is what a role is called and may do.
type Role struct {
	Name        string   `json:"role"`
	Title       string   `json:"title"`
	Permissions []string `json:"permissions"`
}

// reading is what every human role may see. Predictions and traces hold what was asked of models about people and are not
// in it.
var reading = []string{"data.read", "run.read", "pipeline.read", "usecase.read", "model.read", "version.read", "approval.read", "policy.read",
	"deployment.read", "monitor.read", "alert.read", "incident.read", "audit.read", "approval.comment", "user.names", "bin.read"}

func with(more ...string) []string {
	all := append(slices.Clone(reading), more...)
	slices.Sort(all)
	return slices.Compact(all)
}

// roles is the table. Whoever proposes may not vote by role here and by authorship in approval; administrators keep the
// platform running and neither approve nor read what was predicted.
var roles = []Role{
	{Executive, "Executive", with()},
	{BusinessOwner, "Business owner", with("feedback.write", "feedback.label", "usecase.write", "model.write", "approval.open", "approval.vote", "prediction.read", "trace.read", "trace.assess", "incident.write")},
	{DataScientist, "Data scientist", with("feedback.write", "feedback.label", "data.write", "run.write", "trace.read", "trace.write", "trace.assess", "pipeline.run", "model.write", "version.write", "evaluation.run",
		"approval.open", "predict", "prediction.export", "prediction.read", "prediction.write", "monitor.write", "monitor.module", "alert.write", "incident.write", "bin.restore")},
	{DataEngineer, "Data engineer", with("data.write", "run.write", "trace.read", "trace.write", "trace.assess", "pipeline.run", "approval.open", "predict", "monitor.write", "monitor.module", "alert.write", "incident.write", "bin.restore")},
	{MLEngineer, "ML engineer", with("feedback.write", "feedback.label", "data.write", "run.write", "trace.read", "trace.write", "trace.assess", "pipeline.run", "model.write", "version.write", "evaluation.run", "approval.open",
		"deployment.operate", "predict", "prediction.export", "prediction.read", "prediction.write", "monitor.write", "monitor.module", "alert.write", "incident.write", "webhook.read", "webhook.write", "bin.restore", "bin.purge")},
	{ITOperations, "IT operations", with("feedback.write", "webhook.read", "webhook.write", "deployment.operate", "approval.open", "predict", "prediction.read", "trace.read", "monitor.write", "alert.write", "incident.write")},
	{Risk, "Risk and compliance", with("feedback.write", "feedback.label", "approval.open", "approval.vote", "policy.write", "prediction.export", "prediction.read", "trace.read", "trace.assess", "monitor.write", "alert.write", "incident.write", "audit.export", "usecase.write", "bin.purge", "hold.write")},
	{Auditor, "Auditor", with("prediction.export", "prediction.read", "trace.read", "audit.export")},
	{Administrator, "Platform administrator", with("webhook.read", "webhook.write", "user.read", "user.write", "audit.export", "incident.write", "bin.purge")},
	{Service, "Service account", []string{"data.read", "data.write", "run.read", "run.write", "trace.read", "trace.write", "trace.assess", "pipeline.read", "pipeline.run", "model.read", "model.write", "version.read",
		"version.write", "evaluation.run", "approval.read", "approval.open", "deployment.read", "predict", "prediction.write", "feedback.write", "monitor.read", "alert.read", "incident.read", "usecase.read", "policy.read", "bin.read", "bin.restore"}},
	{Local, "Everybody on this machine", with("feedback.write", "feedback.label", "data.write", "run.write", "trace.read", "trace.write", "trace.assess", "pipeline.run", "usecase.write", "model.write", "version.write", "evaluation.run", "approval.open",
		"deployment.operate", "predict", "prediction.export", "prediction.read", "prediction.write", "monitor.write", "monitor.module", "alert.write", "incident.write", "policy.write", "audit.export", "user.read", "webhook.read", "webhook.write", "bin.restore", "bin.purge", "hold.write")},
}

// Roles gives the table.
func Roles() []Role { return slices.Clone(roles) }

// Known reports whether a role exists and may be given to users.
func Known(role string) bool {
	return role != Local && slices.ContainsFunc(roles, func(r Role) bool { return r.Name == role })
}

var allowed = func() map[string]map[string]bool {
	m := map[string]map[string]bool{}
	for _, r := range roles {
		for _, p := range r.Permissions {
			if m[p] == nil {
				m[p] = map[string]bool{}
			}
			m[p][r.Name] = true
		}
	}
	return m
}()

// Can says whether c may do what permission names. The platform itself may: its rules stand in the nouns.
func Can(c caller.Caller, permission string) bool {
	switch {
	case permission == Public:
		return true
	case c.Name == "":
		return false
	case permission == Self || c.Kind == caller.Process:
		return true
	}
	for _, r := range c.Roles {
		if allowed[permission][r] {
			return true
		}
	}
	return false
}

// Holders are the roles that hold a permission, in the order of the table.
func Holders(permission string) (names []string) {
	for _, r := range roles {
		if allowed[permission][r.Name] && r.Name != Local && r.Name != Service {
			names = append(names, r.Name)
		}
	}
	return names
}

// Permissions are all that the given roles may do together, sorted.
func Permissions(held []string) []string {
	out := []string{}
	for _, r := range roles {
		if slices.Contains(held, r.Name) {
			out = append(out, r.Permissions...)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// Exists reports whether a permission is held by any role; routes may only name such ones.
func Exists(permission string) bool {
	return permission == Public || permission == Self || len(allowed[permission]) > 0
}
