package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/mattn/go-isatty"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"keelson/client"
	"keelson/internal/app"
)

// cli is one call of the program.
type cli struct {
	in        io.Reader
	out, errs io.Writer
	env       func(string) string

	server, profile, workspace, output, json, jq, template string
	quiet, verbose, noColor, noInput, yes                  bool
	limit                                                  int
	timeout                                                time.Duration
	tty                                                    bool
	width                                                  int // columns of the terminal; 0 is as many as it takes
}

func newCLI(in io.Reader, out, errs io.Writer, env func(string) string) *cli {
	c := &cli{in: in, out: out, errs: errs, env: env}
	if f, ok := out.(*os.File); ok {
		if c.tty = isatty.IsTerminal(f.Fd()); c.tty {
			if c.width, _, _ = term.GetSize(int(f.Fd())); c.width < 20 { // not known, or no place for a table anyway
				c.width = 0
			}
		}
	}
	return c
}

// Names of settings that other programs know.
const (
	envURL       = "KEELSON_URL"
	envToken     = "KEELSON_TOKEN"
	envWorkspace = "KEELSON_WORKSPACE"
	envConfig    = "KEELSON_CONFIG"
	envMLflow    = "MLFLOW_TRACKING_URI"
	envMLToken   = "MLFLOW_TRACKING_TOKEN"
	defaultURL   = "http://127.0.0.1:5000"
)

// profiles is the user file: where the servers are and what to sign in with.
type profiles struct {
	Current  string             `yaml:"current"`
	Profiles map[string]account `yaml:"profiles"`
}

type account struct {
	Server    string `yaml:"server"`
	Token     string `yaml:"token,omitempty"`
	Workspace string `yaml:"workspace,omitempty"`
}

// userFile is where profiles are kept: KEELSON_CONFIG, or keelson/config.yaml in the user's configuration folder.
func (c *cli) userFile() (string, error) {
	if f := c.env(envConfig); f != "" {
		return f, nil
	}
	dir := c.env("XDG_CONFIG_HOME")
	if dir == "" {
		home := c.env("HOME")
		if home == "" {
			return "", usage("There is no home folder to keep the profile in; set KEELSON_CONFIG to a file.")
		}
		dir = filepath.Join(home, ".config")
	}
	return filepath.Join(dir, "keelson", "config.yaml"), nil
}

func (c *cli) loadProfiles() (p profiles, err error) {
	file, err := c.userFile()
	if err != nil {
		return p, nil // no home, no profiles: the environment may still say everything
	}
	b, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		return p, nil
	}
	if err != nil {
		return p, err
	}
	if err := yaml.UnmarshalWithOptions(b, &p, yaml.Strict()); err != nil {
		return p, usage("%s cannot be read: %s", file, yaml.FormatError(err, false, true))
	}
	return p, nil
}

func (c *cli) saveProfiles(p profiles) error {
	file, err := c.userFile()
	if err != nil {
		return err
	}
	b, err := yaml.Marshal(p)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(file+".new", b, 0o600); err != nil {
		return err
	}
	return os.Rename(file+".new", file)
}

// where says which server to ask and what to sign in with: flags, then environment, then profile, then MLflow's
// variables, then the default address.
func (c *cli) where() (account, error) {
	p, err := c.loadProfiles()
	if err != nil {
		return account{}, err
	}
	name := c.profile
	if name == "" {
		name = c.env("KEELSON_PROFILE")
	}
	if name != "" {
		if _, ok := p.Profiles[name]; !ok {
			return account{}, usage("There is no profile %q; make it with: keelson login --profile %s --server URL", name, name)
		}
	} else {
		name = p.Current
	}
	saved := p.Profiles[name]
	a := saved
	if a.Server == "" {
		a.Server = c.env(envMLflow)
		a.Token = c.env(envMLToken)
	}
	if v := c.env("KEELSON_SERVER"); v != "" {
		a.Server = v
	}
	if v := c.env(envURL); v != "" {
		a.Server = v
	}
	if c.server != "" {
		a.Server = c.server
	}
	if a.Server == "" {
		a.Server = defaultURL
	}
	if a.Server != saved.Server { // a token is for the server it was made at
		a.Token = ""
		if a.Server == c.env(envMLflow) {
			a.Token = c.env(envMLToken)
		}
		for _, other := range p.Profiles {
			if other.Server == a.Server {
				a.Token = other.Token
			}
		}
	}
	if v := c.env(envToken); v != "" {
		a.Token = v
	}
	if v := c.env(envWorkspace); v != "" {
		a.Workspace = v
	}
	if c.workspace != "" {
		a.Workspace = c.workspace
	}
	return a, nil
}

// dial makes the client for the server that where names.
func (c *cli) dial() (*client.Client, error) {
	a, err := c.where()
	if err != nil {
		return nil, err
	}
	return c.dialAccount(a)
}

func (c *cli) dialAccount(a account) (*client.Client, error) {
	cl, err := client.New(client.Config{Server: a.Server, Token: a.Token, Workspace: a.Workspace, UserAgent: "keelson-cli/" + app.Version, Timeout: c.timeout})
	if err != nil {
		return nil, usage("%s", err.Error())
	}
	return cl, nil
}

// failure is an error with an exit code of its own and the way out.
type failure struct {
	code   int
	text   string
	hint   string
	result bool // what went wrong was already printed as the answer; say nothing more
}

func (f *failure) Error() string { return f.text }

func usage(format string, a ...any) error {
	return &failure{code: client.ExitUsage, text: fmt.Sprintf(format, a...)}
}

// answered ends with a code after the answer itself has said everything.
func answered(code int) error {
	return &failure{code: code, result: true, text: fmt.Sprintf("exit %d", code)}
}

// args checks how many arguments a command has; names is what the usage line calls them.
func (c *cli) args(min, max int, names string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if max >= 0 && len(args) > max {
			return usage("%s takes %s, got %d arguments.", cmd.CommandPath(), orNothing(names), len(args))
		}
		if len(args) < min {
			return usage("%s needs %s.", cmd.CommandPath(), names)
		}
		return nil
	}
}

func orNothing(s string) string {
	if s == "" {
		return "no arguments"
	}
	return s
}

var fieldList = regexp.MustCompile(`^[a-z_][a-z0-9_.]*(,[a-z_][a-z0-9_.]*)*$`)

// joinJSON turns "--json a,b" into "--json=a,b" when what follows is a list with a comma; a bare --json keeps meaning all
// fields, and one field is asked for with --json=a.
func joinJSON(args []string) []string {
	out := slices.Clone(args)
	for i := 0; i+1 < len(out); i++ {
		if out[i] == "--" {
			break
		}
		if out[i] == "--json" && strings.Contains(out[i+1], ",") && fieldList.MatchString(out[i+1]) {
			out[i] = "--json=" + out[i+1]
			out = slices.Delete(out, i+1, i+2)
		}
	}
	return out
}

// fail prints an error in three lines and gives the exit code.
func (c *cli) fail(ctx context.Context, cmd *cobra.Command, err error) int {
	var f *failure
	if errors.As(err, &f) && f.result {
		return f.code
	}
	code := client.ExitCode(err)
	why, hint, request := err.Error(), "", ""
	var e *client.Error
	var u *client.Unreachable
	switch {
	case ctx.Err() != nil && (errors.Is(err, context.Canceled) || errors.Is(err, context.Cause(ctx))):
		code, why = 130, "Interrupted."
		hint = "what was started on the server goes on there; look at it with the list and get commands"
	case errors.As(err, &f):
		code, hint = f.code, f.hint
	case errors.As(err, &u):
		why, hint = fmt.Sprintf("%s does not answer: %v", u.Server, u.Err), "start one with: keelson serve        or name another with --server"
	case errors.As(err, &e):
		request = e.Request
		switch e.Status {
		case 401:
			hint = "sign in with: keelson login --server " + c.serverName()
		case 403:
			hint = "see who you are with: keelson status"
		case 404:
			hint = "list what is there with: " + listFor(cmd, why)
		}
	}
	if errors.As(err, &e) { // also when a failure wraps it
		if last := e.Field[strings.LastIndex(e.Field, ".")+1:]; last != "" && !strings.Contains(why, last) {
			why += " (" + e.Field + ")"
		}
		for i, x := range e.Errors {
			if i == 20 {
				why += fmt.Sprintf("\n  … and %d more", len(e.Errors)-20)
				break
			}
			if len(x.Rows) > 0 || !strings.Contains(why, x.Detail) { // one finding is often the whole sentence already
				why += "\n  - " + finding(x)
			}
		}
	}
	if c.json != "" || c.output == "json" {
		doc := map[string]any{"error": err.Error(), "exit": code}
		if e != nil {
			doc["problem"] = e
		}
		if hint != "" {
			doc["hint"] = hint
		}
		c.printJSON(c.errs, doc)
		return code
	}
	act := "Cannot do this"
	if cmd != nil {
		act = "Cannot " + actOf(cmd)
		if args := cmd.Flags().Args(); len(args) > 0 && !cmd.HasSubCommands() {
			act += ": " + cut(cell(args[0]), 80)
		}
	}
	fmt.Fprintf(c.errs, "%s %s\n  %s\n", c.sign("✗", "x"), act, why)
	tail := fmt.Sprintf("exit %d", code)
	if request != "" {
		tail = "request " + request + " · " + tail
	}
	if hint == "" {
		hint = "see: " + strings.TrimSpace(pathOf(cmd)) + " --help"
	}
	fmt.Fprintf(c.errs, "  %s %s        %s\n", c.sign("→", ">"), hint, tail)
	return code
}

func finding(f client.Field) string {
	text := f.Detail
	if f.Field != "" {
		text = f.Field + ": " + text
	}
	if f.Rule != "" {
		text = "rule " + f.Rule + ", column " + text
	}
	if len(f.Rows) > 0 {
		text += fmt.Sprintf(" (rows %s", strings.Trim(fmt.Sprint(f.Rows), "[]"))
		if f.Count > int64(len(f.Rows)) {
			text += fmt.Sprintf(", %d in all", f.Count)
		}
		text += ")"
	}
	return text
}

func pathOf(cmd *cobra.Command) string {
	if cmd == nil {
		return "keelson"
	}
	return cmd.CommandPath()
}

// lists says which command lists a kind of thing, as the server's sentences call it.
var lists = map[string]string{
	"account": "user list", "alert": "alert list", "change request": "approval list", "data set": "data list", "endpoint": "deploy list", "feedback": "feedback list",
	"incident": "incident list", "model": "model list", "module": "monitor module list", "pipeline": "pipeline list", "policy": "policy list", "prediction": "prediction list",
	"route": "alert route list", "use case": "usecase list", "workspace": "workspace list",
}

// lostVersion is how the registry says that a version is not there.
var lostVersion = regexp.MustCompile(`^Model Version \(name=([\w.-]+), version=`)

// listFor is the command that lists what a sentence says is missing (There is no data set "x".), by the longest kind that
// fits; else that which lists what cmd is about.
func listFor(cmd *cobra.Command, why string) string {
	if strings.HasPrefix(why, "Nothing is deployed at ") {
		return "keelson deploy list"
	}
	if of := lostVersion.FindStringSubmatch(why); of != nil {
		return "keelson version list " + of[1]
	}
	what, ok := strings.CutPrefix(why, "There is no ")
	best := ""
	for kind := range lists {
		if ok && len(kind) > len(best) && strings.HasPrefix(what, kind+" ") {
			best = kind
		}
	}
	if best == "" {
		return listOf(cmd)
	}
	return "keelson " + lists[best]
}

func listOf(cmd *cobra.Command) string {
	for ; cmd != nil; cmd = cmd.Parent() {
		for _, sub := range cmd.Commands() {
			if sub.Name() == "list" {
				return sub.CommandPath()
			}
		}
	}
	return "keelson model list"
}

// actOf is what a command does, from its one-line description: "List models" → "list models".
func actOf(cmd *cobra.Command) string {
	s := strings.TrimSuffix(cmd.Short, ".")
	if i := strings.IndexAny(s, ":;"); i > 0 { // what follows explains it
		s = s[:i]
	}
	if s == "" || cmd.HasSubCommands() {
		return "run this command"
	}
	return strings.ToLower(s[:1]) + s[1:]
}

func (c *cli) serverName() string {
	a, err := c.where()
	if err != nil {
		return "URL"
	}
	return a.Server
}

// sign is a character, or its stand-in where the terminal does not speak UTF-8.
func (c *cli) sign(s, plain string) string {
	for _, k := range []string{"LC_ALL", "LC_CTYPE", "LANG"} {
		if v := c.env(k); v != "" {
			if up := strings.ToUpper(v); strings.Contains(up, "UTF-8") || strings.Contains(up, "UTF8") {
				return s
			}
			return plain
		}
	}
	return s
}

// say prints progress and hints, which never stand on stdout.
func (c *cli) say(format string, a ...any) {
	if !c.quiet {
		fmt.Fprintf(c.errs, format+"\n", a...)
	}
}

// next prints the obvious next command.
func (c *cli) next(format string, a ...any) {
	if c.json == "" && c.output == "" {
		c.say("next: "+format, a...)
	}
}

// confirm asks before something that is hard to undo. Without a terminal, --yes is needed.
func (c *cli) confirm(question string) error {
	if c.yes {
		return nil
	}
	in, ok := c.in.(*os.File)
	if !ok || c.noInput || !isatty.IsTerminal(in.Fd()) {
		return &failure{code: client.ExitUsage, text: question + " was not answered, because there is no terminal to ask on.", hint: "add --yes"}
	}
	fmt.Fprintf(c.errs, "%s [y/N] ", question)
	var answer string
	if _, err := fmt.Fscanln(in, &answer); err != nil || !strings.EqualFold(answer, "y") && !strings.EqualFold(answer, "yes") {
		return &failure{code: client.ExitFailed, text: "Nothing was changed."}
	}
	return nil
}

// escape is one segment of a path.
func escape(s string) string { return url.PathEscape(s) }

// object is a model, a version of it, or an alias: name, name/3, name@champion.
type object struct {
	name    string
	version string // as text; empty if none was named
	alias   string
}

func parseObject(s string) (o object, err error) {
	if name, alias, ok := strings.Cut(s, "@"); ok {
		o = object{name: name, alias: alias}
		if name == "" || alias == "" {
			return o, usage("%q is not a model; write name, name/3 or name@alias.", s)
		}
		return o, nil
	}
	name, v, ok := strings.Cut(s, "/")
	o = object{name: name, version: v}
	if name == "" || ok && !regexp.MustCompile(`^[1-9][0-9]{0,8}$`).MatchString(v) {
		return o, usage("%q is not a model; write name, name/3 or name@alias.", s)
	}
	return o, nil
}
