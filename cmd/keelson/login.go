package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/mattn/go-isatty"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"keelson/client"
	"keelson/internal/app"
)

func (c *cli) loginCmd() *cobra.Command {
	var file, user string
	var stdin, passwordStdin bool
	cmd := verb("login", "Sign in to a server and remember it", "keelson login --server http://127.0.0.1:5000 --token-stdin < token.txt\nkeelson login --server https://keelson.example.com --user dana\nkeelson login --profile prod --server https://keelson.example.com --token-file ~/prod.token",
		c.args(0, 0, ""), func(cmd *cobra.Command, _ []string) error {
			a, err := c.where()
			if err != nil && c.profile == "" {
				return err
			}
			if err != nil { // the profile is being made
				a = account{Server: c.server}
				if a.Server == "" {
					a.Server = defaultURL
				}
			}
			a.Workspace = c.workspace
			switch {
			case file != "":
				b, err := os.ReadFile(file)
				if err != nil {
					return usage("The token file cannot be read: %v", err)
				}
				a.Token = strings.TrimSpace(string(b))
			case stdin:
				b, err := io.ReadAll(io.LimitReader(c.in, 64<<10))
				if err != nil {
					return err
				}
				a.Token = strings.TrimSpace(string(b))
			case c.env(envToken) != "":
				a.Token = c.env(envToken)
			case passwordStdin:
				b, err := io.ReadAll(io.LimitReader(c.in, 64<<10))
				if err != nil {
					return err
				}
				if user == "" {
					return usage("--password-stdin needs --user NAME.")
				}
				if a.Token, err = c.signIn(cmd, a, user, strings.TrimRight(string(b), "\r\n")); err != nil {
					return err
				}
			default:
				if a.Token, err = c.password(cmd, a, user); err != nil {
					return err
				}
			}
			cl, err := c.dialAccount(a)
			if err != nil {
				return err
			}
			me, err := cl.Me(cmd.Context())
			if err != nil {
				return err
			}
			p, err := c.loadProfiles()
			if err != nil {
				return err
			}
			name := c.profile
			if name == "" {
				name = "default"
			}
			if p.Profiles == nil {
				p.Profiles = map[string]account{}
			}
			before := p.Current
			p.Profiles[name], p.Current = a, name
			if err := c.saveProfiles(p); err != nil {
				return err
			}
			c.say("%s signed in to %s as %s", c.sign("✓", "ok"), a.Server, me.Name)
			if before != "" && before != name {
				c.say("commands without --profile use %s from now on; %s is still there with --profile %s", name, before, before)
			}
			return c.show(me, columns("name", "roles", "workspace"), "name")
		})
	f := cmd.Flags()
	f.StringVar(&file, "token-file", "", "file that holds the token")
	f.BoolVar(&stdin, "token-stdin", false, "read the token from standard input")
	f.BoolVar(&passwordStdin, "password-stdin", false, "read the password of --user from standard input")
	f.StringVar(&user, "user", "", "account to sign in as, with a password that is asked for")
	return cmd
}

// password signs in with name and password and gives a new token for this machine.
func (c *cli) password(cmd *cobra.Command, a account, user string) (string, error) {
	in, ok := c.in.(*os.File)
	if !ok || c.noInput || !isatty.IsTerminal(in.Fd()) {
		return "", &failure{code: client.ExitUsage, text: "There is no terminal to ask for a password on.", hint: "use --token-file, --token-stdin or " + envToken}
	}
	if user == "" {
		fmt.Fprint(c.errs, "name: ")
		if _, err := fmt.Fscanln(in, &user); err != nil {
			return "", usage("No name was given.")
		}
	}
	fmt.Fprint(c.errs, "password: ")
	secret, err := term.ReadPassword(int(in.Fd()))
	fmt.Fprintln(c.errs)
	if err != nil {
		return "", err
	}
	return c.signIn(cmd, a, user, string(bytes.TrimRight(secret, "\r\n")))
}

func (c *cli) signIn(cmd *cobra.Command, a account, user, password string) (string, error) {
	host, err := os.Hostname()
	if err != nil {
		host = "somewhere"
	}
	t, err := client.SignIn(cmd.Context(), client.Config{Server: a.Server, UserAgent: "keelson-cli/" + app.Version, Timeout: c.timeout}, user, password, "keelson on "+host, 90)
	return t.Text, err
}

func (c *cli) logoutCmd() *cobra.Command {
	return verb("logout", "Forget a server's token", "keelson logout\nkeelson logout --profile prod\nkeelson logout --quiet", c.args(0, 0, ""), func(cmd *cobra.Command, _ []string) error {
		p, err := c.loadProfiles()
		if err != nil {
			return err
		}
		name := c.profile
		if name == "" {
			name = p.Current
		}
		if _, ok := p.Profiles[name]; !ok {
			c.say("not signed in")
			return nil
		}
		delete(p.Profiles, name)
		if p.Current == name {
			p.Current = ""
		}
		if err := c.saveProfiles(p); err != nil {
			return err
		}
		c.say("forgot %s; the token itself is revoked with: keelson token delete ID", name)
		return nil
	})
}

func (c *cli) statusCmd() *cobra.Command {
	return verb("status", "Show which server this is and who is signed in", "keelson status\nkeelson status --json\nkeelson status --server http://127.0.0.1:5000", c.args(0, 0, ""), func(cmd *cobra.Command, _ []string) error {
		cl, err := c.dial()
		if err != nil {
			return err
		}
		var me json.RawMessage
		if err := cl.Get(cmd.Context(), "/api/v1/me", &me); err != nil {
			return err
		}
		var v map[string]any
		if err := json.Unmarshal(me, &v); err != nil {
			return err
		}
		v["server"] = cl.Server()
		return c.show(v, columns("server", "name", "roles", "workspace", "auth"), "name")
	})
}
