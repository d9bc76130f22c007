package access_test

import (
	"slices"
	"testing"

	"keelson/internal/access"
	"keelson/internal/caller"
)

func TestWhoMayDoWhat(t *testing.T) {
	for _, c := range []struct {
		name, role, permission string
		want                   bool
	}{
		{"a data scientist proposes", access.DataScientist, "approval.open", true},
		{"a data scientist has no vote", access.DataScientist, "approval.vote", false},
		{"an ML engineer has no vote", access.MLEngineer, "approval.vote", false},
		{"risk votes", access.Risk, "approval.vote", true},
		{"the business owner votes", access.BusinessOwner, "approval.vote", true},
		{"an administrator has no vote", access.Administrator, "approval.vote", false},
		{"an administrator does not read predictions", access.Administrator, "prediction.read", false},
		{"an administrator manages users", access.Administrator, "user.write", true},
		{"an auditor writes nothing", access.Auditor, "model.write", false},
		{"an executive only reads", access.Executive, "deployment.operate", false},
		{"a service account has no vote", access.Service, "approval.vote", false},
		{"without sign-in nobody votes", access.Local, "approval.vote", false},
		{"operations roll back", access.ITOperations, "deployment.operate", true},
		{"risk does not alter artifacts", access.Risk, "version.write", false},
		{"an unknown permission is denied", access.Administrator, "world.rule", false},
		{"an unknown role may nothing", "king", "model.read", false},
	} {
		got := access.Can(caller.Caller{Name: "x", Kind: caller.Person, Roles: []string{c.role}}, c.permission)
		if got != c.want {
			t.Errorf("%s: got %v", c.name, got)
		}
	}
	if access.Can(caller.Caller{}, "model.read") || access.Can(caller.Caller{}, access.Self) || !access.Can(caller.Caller{}, access.Public) {
		t.Error("nobody may do other than what is public")
	}
}

func TestNobodyBothOperatesAndVotes(t *testing.T) {
	for _, r := range access.Roles() {
		if slices.Contains(r.Permissions, "approval.vote") && (slices.Contains(r.Permissions, "deployment.operate") || slices.Contains(r.Permissions, "version.write")) {
			t.Errorf("%s may change what it approves", r.Name)
		}
	}
}
