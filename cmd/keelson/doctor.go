package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"keelson/client"
	"keelson/internal/app"
	"keelson/internal/engine/python"
	"keelson/internal/runtime"
)

// diagnosis is one line of the doctor: a fact, and what to do when it is not as it should be.
type diagnosis struct {
	Check string `json:"check"`
	State string `json:"state"` // ok, warning, failed
	Fact  string `json:"fact"`
	Fix   string `json:"fix,omitempty"`
}

func (c *cli) doctorCmd() *cobra.Command {
	return verb("doctor", "Check this machine, the server and the way between them", "keelson doctor\nkeelson doctor --json\nkeelson doctor --server https://keelson.example.com", c.args(0, 0, ""), func(cmd *cobra.Command, _ []string) error {
		all, err := c.examine(cmd.Context())
		if err != nil {
			return err
		}
		failed := false
		for _, d := range all {
			failed = failed || d.State == "failed"
		}
		if c.machine() || c.output != "" {
			items := []json.RawMessage{}
			for _, d := range all {
				b, err := json.Marshal(d)
				if err != nil {
					return err
				}
				items = append(items, b)
			}
			if err := c.list(items, columns("check", "state", "fact", "fix"), "check"); err != nil {
				return err
			}
		} else {
			for _, d := range all {
				mark := map[string]string{"ok": c.sign("✓", "ok"), "warning": "!", "failed": c.sign("✗", "x")}[d.State]
				fmt.Fprintf(c.out, "%s %-10s %s\n", mark, d.Check, d.Fact)
				if d.Fix != "" {
					fmt.Fprintf(c.out, "  %s %s\n", c.sign("→", ">"), d.Fix)
				}
			}
		}
		if failed {
			return answered(client.ExitCheck)
		}
		return nil
	})
}

// examine looks at everything that can be looked at; what depends on a check that failed is left out.
func (c *cli) examine(ctx context.Context) ([]diagnosis, error) {
	all := []diagnosis{{"version", "ok", "keelson " + app.Version, ""}}
	a, err := c.where()
	if err != nil {
		return nil, err
	}
	cl, err := c.dialAccount(a)
	if err != nil {
		return nil, err
	}
	all = append(all, c.profileFile(), pythonHere(ctx))
	took, err := cl.Healthy(ctx)
	var refused *client.Error
	switch {
	case errors.As(err, &refused):
		return append(all, diagnosis{"server", "failed", fmt.Sprintf("%s is not ready: %s", a.Server, refused.Detail), "look at the server's log"}), nil
	case err != nil:
		return append(all, diagnosis{"server", "failed", fmt.Sprintf("%s does not answer: %v", a.Server, err), "start one with keelson serve, or name another with --server"}), nil
	}
	all = append(all, diagnosis{"server", "ok", fmt.Sprintf("%s is ready (%s)", a.Server, took.Round(time.Millisecond)), ""})
	if u, err := url.Parse(a.Server); err == nil && u.Scheme == "http" && u.Hostname() != "localhost" && !strings.HasPrefix(u.Hostname(), "127.") && u.Hostname() != "::1" {
		all = append(all, diagnosis{"transport", "warning", "the token travels unencrypted to " + u.Host, "put TLS in front of the server"})
	}
	all = append(all, clock(ctx, a.Server))
	me, err := cl.Me(ctx)
	if err != nil {
		return append(all, diagnosis{"login", "failed", err.Error(), "keelson login --server " + a.Server}), nil
	}
	if me.Auth == "off" {
		all = append(all, diagnosis{"login", "warning", "sign-in is off: everybody on this machine is " + me.Name + " and nobody can vote", "start the server with --auth on"})
	} else {
		all = append(all, diagnosis{"login", "ok", fmt.Sprintf("signed in as %s (%s)", me.Name, strings.Join(me.Roles, ", ")), ""})
	}
	all = append(all, diagnosis{"rights", "ok", fmt.Sprintf("%d permissions in workspace %s", len(me.Permissions), me.Workspace), ""}, c.stream(ctx, cl))
	all = append(all, runtimesThere(ctx, cl)...)
	all = append(all, pythonThere(ctx, cl))
	v, err := cl.VerifyAudit(ctx)
	switch {
	case err != nil:
		all = append(all, diagnosis{"audit", "warning", "could not be checked: " + err.Error(), ""})
	case !v.OK:
		all = append(all, diagnosis{"audit", "failed", fmt.Sprintf("%d entries do not fit the signed tree", len(v.Broken)), "keelson audit verify"})
	default:
		all = append(all, diagnosis{"audit", "ok", fmt.Sprintf("%d entries checked", v.Checked), ""})
	}
	return all, nil
}

func (c *cli) profileFile() diagnosis {
	file, err := c.userFile()
	if err != nil {
		return diagnosis{"profile", "warning", err.Error(), ""}
	}
	st, err := os.Stat(file)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return diagnosis{"profile", "ok", "none saved in " + filepath.Dir(file), ""}
	case err != nil:
		return diagnosis{"profile", "warning", err.Error(), ""}
	case st.Mode().Perm()&0o077 != 0:
		return diagnosis{"profile", "failed", file + " holds tokens and others can read it", "chmod 600 " + file}
	}
	return diagnosis{"profile", "ok", file, ""}
}

// pythonHere says which mlflow client this machine has, if any.
func pythonHere(ctx context.Context) diagnosis {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	python := os.Getenv("KEELSON_PYTHON")
	if python == "" {
		python = "python3"
	}
	out, err := exec.CommandContext(ctx, python, "-c", `
import importlib.metadata as m, platform
def v(n):
    try: return m.version(n)
    except m.PackageNotFoundError: return None
print(platform.python_version(), v("mlflow") or v("mlflow-skinny") or "none")`).Output()
	words := strings.Fields(string(out))
	switch {
	case err != nil || len(words) != 2:
		return diagnosis{"python", "warning", "there is no " + python + " here", "pipelines of Python projects need one where the server runs"}
	case words[1] == "none":
		return diagnosis{"python", "ok", "Python " + words[0] + ", without the mlflow client", ""}
	case !strings.HasPrefix(words[1], "3."):
		return diagnosis{"python", "warning", "Python " + words[0] + ", mlflow client " + words[1], "the server is tested with mlflow 3.17"}
	}
	return diagnosis{"python", "ok", "Python " + words[0] + ", mlflow client " + words[1], ""}
}

// runtimesThere says which libraries the server may open.
func runtimesThere(ctx context.Context, cl *client.Client) (out []diagnosis) {
	var list struct {
		Items []runtime.Status `json:"items"`
	}
	if err := cl.Get(ctx, "/api/v1/runtimes", &list); err != nil {
		return []diagnosis{{"runtime", "warning", "the server does not say which libraries it has: " + err.Error(), ""}}
	}
	for _, r := range list.Items {
		d := diagnosis{"runtime", "ok", r.Name + " " + r.Version + " is " + r.State + " on the server", ""}
		switch r.State {
		case runtime.Missing:
			d.Fact, d.Fix = r.Name+" is not installed on the server; it "+r.Purpose, "when you have such models, on the server's machine: keelson runtime install "+r.Name
		case runtime.Damaged:
			d.State, d.Fix = "failed", "on the server's machine: keelson runtime install "+r.Name
		case runtime.Unsupported:
			d.Fact = r.Name + " is not published for the server's machine"
		}
		out = append(out, d)
	}
	return out
}

// pythonThere says whether the server runs models in Python, and what holds them.
func pythonThere(ctx context.Context, cl *client.Client) diagnosis {
	var e app.Engines
	if err := cl.Get(ctx, "/api/v1/engines", &e); err != nil {
		return diagnosis{"isolation", "warning", "the server does not say how it runs models in Python: " + err.Error(), ""}
	}
	p := e.Python
	switch {
	case !p.On:
		return diagnosis{"isolation", "ok", "models in Python are switched off on the server", ""}
	case !p.Works:
		return diagnosis{"isolation", "failed", p.Why, "allow user namespaces to the server, or ask for less with python_isolation"}
	case p.Isolation != nil && p.Isolation.Level != python.LevelNamespaces:
		return diagnosis{"isolation", "warning", "models in Python run with " + p.Text, "allow user namespaces to the server (unprivileged_userns_clone, the container's seccomp profile)"}
	}
	for _, v := range p.Versions {
		if v.Fault != "" {
			return diagnosis{"isolation", "failed", v.Fault, "look at the incident of " + v.Version}
		}
	}
	return diagnosis{"isolation", "ok", "models in Python run with " + p.Text, ""}
}

// clock compares this machine's clock with the server's.
func clock(ctx context.Context, server string) diagnosis {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimRight(server, "/")+"/healthz", nil)
	if err != nil {
		return diagnosis{"clock", "warning", err.Error(), ""}
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return diagnosis{"clock", "warning", err.Error(), ""}
	}
	resp.Body.Close()
	theirs, err := http.ParseTime(resp.Header.Get("Date"))
	if err != nil {
		return diagnosis{"clock", "warning", "the server does not say what time it is", ""}
	}
	if off := time.Since(theirs).Round(time.Second); off > 5*time.Second || off < -5*time.Second {
		return diagnosis{"clock", "failed", fmt.Sprintf("this machine and the server are %s apart", off), "set both by NTP; sign-in and expiry depend on it"}
	}
	return diagnosis{"clock", "ok", "this machine and the server agree", ""}
}

// stream checks that events arrive as they happen, which proxies like to prevent.
func (c *cli) stream(ctx context.Context, cl *client.Client) diagnosis {
	ctx, cancel := context.WithTimeout(ctx, 400*time.Millisecond)
	defer cancel()
	err := cl.Events(ctx, []string{"none"}, func(client.Event) error { return nil })
	if err != nil && !errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		return diagnosis{"events", "warning", "the stream of events ended: " + err.Error(), "let the proxy pass text/event-stream unbuffered"}
	}
	return diagnosis{"events", "ok", "the stream of events stays open", ""}
}
