package app_test

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"keelson/internal/access"
	"keelson/internal/app"
	"keelson/internal/problem"
	"keelson/internal/rest"
)

// TestReferencePagesAreUpToDate holds docs/reference against the code it is made from; UPDATE=1 writes it.
func TestReferencePagesAreUpToDate(t *testing.T) {
	a := start(t, func(c *app.Config) { c.Auth = "off" })
	for name, text := range map[string]string{
		"configuration.md": configuration(),
		"roles.md":         roles(),
		"errors.md":        errorKinds(),
		"routes.md":        routes(a),
	} {
		file := filepath.Join("../../docs/reference", name)
		if os.Getenv("UPDATE") != "" {
			if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if got, err := os.ReadFile(file); err != nil || string(got) != text {
			t.Errorf("%s is not what the code says; run: make generate (%v)", file, err)
		}
	}
}

const generated = "<!-- Generated from the code by `make generate`; do not edit. -->\n\n"

func configuration() string {
	var b strings.Builder
	b.WriteString("# Configuration\n\n" + generated + "A file (`keelson serve --config FILE`), then the environment, then flags; later ones win. Unknown settings are refused.\n\n| setting | environment | default | meaning |\n| --- | --- | --- | --- |\n")
	v := reflect.ValueOf(app.Default())
	for i := range v.NumField() {
		f := v.Type().Field(i)
		name := f.Tag.Get("yaml")
		value := fmt.Sprint(v.Field(i).Interface())
		if list, ok := v.Field(i).Interface().([]string); ok {
			value = strings.Join(list, ",")
		}
		if value != "" {
			value = "`" + value + "`"
		}
		fmt.Fprintf(&b, "| `%s` | `%s%s` | %s | %s |\n", name, app.EnvPrefix, strings.ToUpper(name), value, strings.ReplaceAll(f.Tag.Get("doc"), "|", "\\|"))
	}
	return b.String()
}

func roles() string {
	var b strings.Builder
	b.WriteString("# Roles and permissions\n\n" + generated + "A permission that no role holds is denied to everybody; a route without a permission does not exist. Roles are given per workspace.\n\n")
	all := access.Roles()
	b.WriteString("| permission |")
	for _, r := range all {
		b.WriteString(" " + r.Name + " |")
	}
	b.WriteString("\n| --- |" + strings.Repeat(" :-: |", len(all)) + "\n")
	var names []string
	for _, r := range all {
		names = append(names, r.Permissions...)
	}
	slices.Sort(names)
	for _, p := range slices.Compact(names) {
		b.WriteString("| `" + p + "` |")
		for _, r := range all {
			mark := " |"
			if slices.Contains(r.Permissions, p) {
				mark = " ● |"
			}
			b.WriteString(mark)
		}
		b.WriteString("\n")
	}
	return b.String()
}

func errorKinds() string {
	var b strings.Builder
	b.WriteString("# Errors\n\n" + generated + "Our own API answers RFC 9457 problem documents (`application/problem+json`): `type` says what you can do, `detail` is one sentence with the way out, `field` and `errors` name what is at fault, `request` is the identifier in the server's log. MLflow's API and the Open Inference Protocol answer in their own shapes.\n\n| type | status | what to do |\n| --- | --- | --- |\n")
	for _, k := range []struct {
		kind problem.Kind
		todo string
	}{
		{problem.Invalid, "fix the request and send it again"},
		{problem.NotFound, "the name is wrong, or you may not see it"},
		{problem.Forbidden, "ask somebody who may; the detail says who"},
		{problem.Conflict, "read the new state, then decide"},
		{problem.Unauthenticated, "sign in or send a token"},
		{problem.Exhausted, "slow down; Retry-After says how long"},
		{problem.TooLarge, "send less, or have the limit raised"},
		{problem.Unsupported, "this build or engine cannot do it"},
		{problem.Unavailable, "try again; nothing was changed"},
		{problem.Stored, "free space; nothing was stored"},
		{problem.Internal, "tell the operators the request's identifier"},
	} {
		fmt.Fprintf(&b, "| `/problems/%s` | %d | %s |\n", k.kind, k.kind.Status(), k.todo)
	}
	return b.String()
}

func routes(a *app.App) string {
	var b strings.Builder
	b.WriteString("# Routes\n\n" + generated + "The resources of our own API are described in full at `/api/openapi.json`.\n\n| method | path | permission | protocol |\n| --- | --- | --- | --- |\n")
	list := a.API.Routes()
	slices.SortFunc(list, func(x, y rest.Route) int {
		return cmp.Or(cmp.Compare(x.Protocol, y.Protocol), cmp.Compare(x.Pattern, y.Pattern), cmp.Compare(x.Method, y.Method))
	})
	for _, r := range list {
		fmt.Fprintf(&b, "| %s | `%s` | `%s` | %s |\n", r.Method, r.Pattern, r.Permission, r.Protocol)
	}
	return b.String()
}
