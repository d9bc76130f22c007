package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"keelson/client"
	"keelson/internal/audit"
)

var auditColumns = columns("index", "at", "actor", "via", "action", "object", "id")

func dirOf(name string) string { return filepath.Dir(name) }

func (c *cli) auditCmd() *cobra.Command {
	var offline, key string
	verify := verb("verify", "Check every audit entry against the signed tree; exit 5 if one was changed", "keelson audit verify\nkeelson audit verify --offline audit.zip --key \"keelson+1a2b…\"\nkeelson audit verify --json", c.args(0, 0, ""), func(cmd *cobra.Command, _ []string) error {
		var v client.Verification
		if offline != "" {
			r, err := verifyOffline(offline, key)
			if err != nil {
				return err
			}
			if err := convert(r, &v); err != nil {
				return err
			}
		} else {
			cl, err := c.dial()
			if err != nil {
				return err
			}
			if v, err = cl.VerifyAudit(cmd.Context()); err != nil {
				return err
			}
		}
		if c.machine() || c.output != "" {
			if err := c.show(v, columns("ok", "size", "checked", "pending", "broken"), "ok"); err != nil {
				return err
			}
		} else if v.OK {
			fmt.Fprintf(c.out, "%s the log is whole: %d entries checked\n", c.sign("✓", "ok"), v.Checked)
		} else {
			fmt.Fprintf(c.out, "%s the log was changed: %d of %d entries do not fit\n", c.sign("✗", "x"), len(v.Broken), v.Size)
			for _, b := range v.Broken {
				fmt.Fprintf(c.out, "  entry %d %s: %s\n", b.Index, b.ID, b.Why)
			}
		}
		if !v.OK {
			return answered(client.ExitCheck)
		}
		return nil
	})
	verify.Flags().StringVar(&offline, "offline", "", "exported bundle to check without a server")
	verify.Flags().StringVar(&key, "key", "", "verifier key to trust, for --offline (default: the one in the bundle, which proves less)")
	var to string
	export := verb("export", "Write the audit bundle, which can be checked without the server", "keelson audit export --to audit.zip\nkeelson audit export > audit.zip\nkeelson audit export --to /backup/audit.zip -q", c.args(0, 0, ""), func(cmd *cobra.Command, _ []string) error {
		return c.download(cmd, "/api/v1/audit/export", to)
	})
	export.Flags().StringVar(&to, "to", "", "file to write (default: standard output)")
	checkpoint := verb("checkpoint", "Show the newest signed checkpoint and the key to check it with", "keelson audit checkpoint\nkeelson audit checkpoint --json\nkeelson audit checkpoint -o yaml", c.args(0, 0, ""), func(cmd *cobra.Command, _ []string) error {
		return c.printOne(cmd.Context(), "/api/v1/audit/checkpoint", nil, "size")
	})
	return c.noun("audit", "Who did what, provably", nil,
		c.listCommand("audit", "List audit entries, newest first", "/api/v1/audit", auditColumns, "id", "model=only about this model", "actor=only by this account", "action=only this action, or the beginning of it", "object=only about this object", "since=from this day or time on, or so long ago: 90m", "until=before this day or time"),
		verify, export, checkpoint)
}

func convert(from, to any) error {
	b, err := json.Marshal(from)
	if err != nil {
		return err
	}
	return json.Unmarshal(b, to)
}

func verifyOffline(name, key string) (audit.Report, error) {
	f, err := os.Open(name)
	if err != nil {
		return audit.Report{}, usage("The bundle cannot be read: %v", err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return audit.Report{}, err
	}
	r, err := audit.VerifyBundle(f, st.Size(), key)
	if err != nil {
		return r, usage("%s", err.Error())
	}
	return r, nil
}

var userColumns = columns("name", "display", "kind", "roles", "disabled", "created_at")

func (c *cli) userCmd() *cobra.Command {
	var u client.User
	var stdin bool
	create := verb("create NAME", "Make an account", "keelson user create dana --role data-scientist --password-stdin < password.txt\nkeelson user create rita --role risk-compliance --display \"Rita R.\"\nkeelson user create robot --kind service --role service", c.args(1, 1, "NAME"), func(cmd *cobra.Command, args []string) error {
		u.Name = args[0]
		password := ""
		if stdin {
			line, err := bufio.NewReader(c.in).ReadString('\n')
			if err != nil && line == "" {
				return usage("No password came on standard input.")
			}
			password = strings.TrimRight(line, "\r\n")
		}
		cl, err := c.dial()
		if err != nil {
			return err
		}
		out, err := cl.AddUser(cmd.Context(), u, password)
		if err != nil {
			return err
		}
		c.next("keelson user link %s", out.Name)
		return c.show(out, userColumns, "name")
	})
	f := create.Flags()
	f.StringVar(&u.Display, "display", "", "name to show")
	f.StringVar(&u.Email, "email", "", "e-mail address")
	f.StringVar(&u.Kind, "kind", "", "person or service (default person)")
	f.StringSliceVar(&u.Roles, "role", nil, "role; may be repeated")
	f.BoolVar(&stdin, "password-stdin", false, "read the password from standard input")
	var roles []string
	var disable, enable bool
	update := verb("update NAME", "Change an account's roles or lock it", "keelson user update dana --role ml-engineer --role data-scientist\nkeelson user update dana --disable\nkeelson user update dana --enable", c.args(1, 1, "NAME"), func(cmd *cobra.Command, args []string) error {
		body := map[string]any{}
		if cmd.Flags().Changed("role") {
			body["roles"] = roles
		}
		if disable || enable {
			body["disabled"] = disable
		}
		if len(body) == 0 {
			return usage("Nothing to change: give --role, --disable or --enable.")
		}
		return c.act(cmd.Context(), http.MethodPatch, "/api/v1/users/"+escape(args[0]), body, userColumns, "name")
	})
	update.Flags().StringSliceVar(&roles, "role", nil, "role; may be repeated, replaces those there are")
	update.Flags().BoolVar(&disable, "disable", false, "lock the account")
	update.Flags().BoolVar(&enable, "enable", false, "unlock the account")
	link := verb("link NAME", "Make a one-time sign-in link for an account", "keelson user link dana\nkeelson user link dana --json\nkeelson user link dana -q", c.args(1, 1, "NAME"), func(cmd *cobra.Command, args []string) error {
		return c.act(cmd.Context(), http.MethodPost, "/api/v1/users/"+escape(args[0])+"/link", nil, nil, "link")
	})
	return c.noun("user", "Accounts", []string{"users"},
		c.listCommand("user", "List accounts", "/api/v1/users", userColumns, "name"), create, update, link)
}

var workspaceColumns = columns("name", "title", "created_at")

func (c *cli) workspaceCmd() *cobra.Command {
	var title string
	create := verb("create NAME", "Make a workspace and become its administrator", "keelson workspace create risk --title \"Risk management\"\nkeelson workspace create risk --json\nkeelson -w risk user update dana --role auditor", c.args(1, 1, "NAME"), func(cmd *cobra.Command, args []string) error {
		return c.act(cmd.Context(), http.MethodPost, "/api/v1/workspaces", map[string]any{"name": args[0], "title": title}, workspaceColumns, "name")
	})
	create.Flags().StringVar(&title, "title", "", "name to show")
	return c.noun("workspace", "Units of the organisation", []string{"workspaces"},
		c.listCommand("workspace", "List the workspaces you have a role in", "/api/v1/workspaces", workspaceColumns, "name"), create)
}

func (c *cli) roleCmd() *cobra.Command {
	list := verb("list", "List the roles and what each may do", "keelson role list\nkeelson role list --json\nkeelson role list -o name", c.args(0, 0, ""), func(cmd *cobra.Command, _ []string) error {
		cl, err := c.dial()
		if err != nil {
			return err
		}
		items, err := client.ListOf[json.RawMessage](cmd.Context(), cl, "/api/v1/roles", nil)
		if err != nil {
			return err
		}
		return c.list(items, columns("role", "title", "permissions"), "role")
	})
	return c.noun("role", "Roles", []string{"roles"}, list)
}

func (c *cli) tokenCmd() *cobra.Command {
	cols := columns("id", "name", "owner", "created_at", "expires_at", "last_used_at")
	var user string
	var days int
	create := verb("create NAME", "Make a token; its text is shown once", "keelson token create laptop\nkeelson token create clinic-desk --user clinic-desk --days 365\nkeelson token create ci --days 30 -o name", c.args(1, 1, "NAME"), func(cmd *cobra.Command, args []string) error {
		cl, err := c.dial()
		if err != nil {
			return err
		}
		t, err := cl.AddToken(cmd.Context(), args[0], user, days)
		if err != nil {
			return err
		}
		c.say("this is shown once; keep it safe")
		return c.show(t, append(cols[:3:3], columns("expires_at", "token")...), "token")
	})
	create.Flags().StringVar(&user, "user", "", "account that the token is for (default: you)")
	create.Flags().IntVar(&days, "days", 90, "days until it expires, 0 for never")
	remove := verb("delete ID", "Revoke a token", "keelson token delete 06gz\nkeelson token delete 06gz --yes\nkeelson token delete 06gz --json --yes", c.args(1, 1, "ID"), func(cmd *cobra.Command, args []string) error {
		return c.remove(cmd.Context(), "Revoke token "+args[0]+"?", "/api/v1/tokens/"+escape(args[0]), args[0], "revoked")
	})
	return c.noun("token", "Tokens that programs sign in with", []string{"tokens"}, c.listCommand("token", "List your tokens", "/api/v1/tokens", cols, "id"), create, remove)
}

func (c *cli) usecaseCmd() *cobra.Command {
	cols := columns("name", "title", "owner", "area", "kpi=goal.kpi", "target=goal.target", "unit=goal.unit", "due=goal.due", "models", "missing")
	path := func(n string) (string, error) { return "/api/v1/usecases/" + escape(n), nil }
	var set []string
	create := verb("create NAME", "Make a use case", "keelson usecase create screening --field title=\"Breast cancer screening\" --field owner=bo\nkeelson usecase create churn --field goal.kpi=retention --field goal.target=0.9\nkeelson usecase create churn --field title=Churn --json", c.args(1, 1, "NAME"), func(cmd *cobra.Command, args []string) error {
		body := map[string]any{}
		if len(set) > 0 {
			var err error
			if body, err = fields(set); err != nil {
				return err
			}
		}
		body["name"] = args[0]
		return c.act(cmd.Context(), http.MethodPost, "/api/v1/usecases", body, cols, "name")
	})
	update := verb("set NAME", "Change fields of a use case", "keelson usecase set screening --field owner=bo\nkeelson usecase set screening --field 'models=[\"screening\",\"referral\"]'\nkeelson usecase set screening --field goal.due=2027-06-30", c.args(1, 1, "NAME"), func(cmd *cobra.Command, args []string) error {
		body, err := fields(set)
		if err != nil {
			return err
		}
		return c.act(cmd.Context(), http.MethodPatch, "/api/v1/usecases/"+escape(args[0]), body, cols, "name")
	})
	for _, cmd := range []*cobra.Command{create, update} {
		cmd.Flags().StringArrayVar(&set, "field", nil, "field as name=value, nested as a.b=value; may be repeated")
	}
	return c.noun("usecase", "What models are for", []string{"usecases"},
		c.listCommand("usecase", "List use cases", "/api/v1/usecases", cols, "name"),
		c.getCommand("usecase", "Show a use case", "NAME", "screening", path, append(cols, columns("purpose", "responsibilities")...), "name"), create, update)
}
