package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/spf13/cobra"

	"keelson/internal/app"
)

// The test binary is the program: for the scripts, for the watchers of pipeline steps and for the processes of models that
// its servers start.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && strings.HasPrefix(os.Args[1], "internal-") {
		os.Exit(program(os.Args[1:]))
	}
	testscript.Main(m, map[string]func(){"keelson": func() { os.Exit(program(os.Args[1:])) }})
}

// serve starts a real server and gives its address; auth is on or off.
func serve(t testing.TB, auth string) (a *app.App) {
	t.Helper()
	cfg := app.Default()
	cfg.Listen, cfg.Data, cfg.Auth, cfg.StopTimeout = "127.0.0.1:0", t.TempDir(), auth, 5*time.Second
	ctx, cancel := context.WithCancel(context.Background())
	a, err := app.New(ctx, cfg, io.Discard)
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	up, done := make(chan struct{}), make(chan error, 1)
	go func() { done <- a.Run(ctx, func() { close(up) }) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("server: %v", err)
		}
		if err := a.Close(); err != nil {
			t.Errorf("close server: %v", err)
		}
	})
	select {
	case <-up:
	case err := <-done:
		done <- err
		t.Fatalf("the server did not start: %v", err)
	}
	return a
}

// call runs one command line in this process.
func call(t testing.TB, env map[string]string, stdin string, args ...string) (code int, out, errs string) {
	t.Helper()
	var o, e bytes.Buffer
	code = run(t.Context(), args, strings.NewReader(stdin), &o, &e, func(k string) string { return env[k] })
	return code, o.String(), e.String()
}

// leaves are all commands that do something.
func leaves(t *testing.T) (all []*cobra.Command) {
	t.Helper()
	c := newCLI(strings.NewReader(""), io.Discard, io.Discard, func(string) string { return "" })
	walk(c.root(), func(cmd *cobra.Command) {
		if !cmd.HasSubCommands() {
			all = append(all, cmd)
		}
	})
	if len(all) < 60 {
		t.Fatalf("the tree has only %d commands", len(all))
	}
	return all
}

func words(cmd *cobra.Command) []string { return strings.Fields(cmd.CommandPath())[1:] }

func TestEveryCommandHasHelpWithExamples(t *testing.T) {
	c := newCLI(strings.NewReader(""), io.Discard, io.Discard, func(string) string { return "" })
	walk(c.root(), func(cmd *cobra.Command) {
		if cmd.Hidden && cmd.Name() != "internal-generate" {
			return
		}
		args := append(words(cmd), "--help")
		code, out, errs := call(t, nil, "", args...)
		if code != 0 || errs != "" || !strings.Contains(out, "Examples:") || !strings.Contains(out, "keelson") {
			t.Errorf("%v: exit %d, stderr %q, help:\n%s", args, code, errs, out)
		}
		if !cmd.HasSubCommands() && !strings.HasPrefix(cmd.CommandPath(), "keelson completion") && !cmd.Hidden && cmd.Name() != "exit-codes" {
			if n := strings.Count(strings.TrimSpace(cmd.Example), "\n") + 1; n < 3 {
				t.Errorf("%s has %d examples, want at least 3", cmd.CommandPath(), n)
			}
		}
	})
}

func TestAnUnknownFlagEndsWithTwoEverywhere(t *testing.T) {
	for _, cmd := range leaves(t) {
		code, out, errs := call(t, nil, "", append(words(cmd), "--no-such-flag-at-all")...)
		if code != 2 || out != "" || !strings.Contains(errs, "no-such-flag-at-all") {
			t.Errorf("%s: exit %d, stdout %q, stderr %q; want 2 and the flag's name", cmd.CommandPath(), code, out, errs)
		}
	}
}

func TestMistypedWordsGetTheNearestOne(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"modle"}, "did you mean: keelson model"},
		{[]string{"model", "lst"}, "did you mean: keelson model list"},
		{[]string{"model", "list", "--jsn"}, "did you mean: --json"},
		{[]string{"data", "list", "--limt", "3"}, "did you mean: --limit"},
		{[]string{"frobnicate"}, "keelson --help"},
	} {
		code, out, errs := call(t, nil, "", c.args...)
		if code != 2 || out != "" || !strings.Contains(errs, c.want) {
			t.Errorf("%v: exit %d, stderr %q, want 2 and %q", c.args, code, errs, c.want)
		}
	}
}

// remote says whether a command talks to a server when it is called with the words of its usage line.
func remote(cmd *cobra.Command) bool {
	switch cmd.CommandPath() {
	case "keelson serve", "keelson demo", "keelson login", "keelson logout", "keelson doctor", "keelson exit-codes", "keelson internal-generate", "keelson help",
		"keelson pipeline graph", "keelson pipeline push", "keelson version evaluate":
		return false
	}
	return !strings.HasPrefix(cmd.CommandPath(), "keelson completion") && !strings.HasPrefix(cmd.CommandPath(), "keelson runtime")
}

// sample fills a command's arguments and the flags it cannot do without.
func sample(t *testing.T, cmd *cobra.Command) []string {
	file := filepath.Join(t.TempDir(), "file.csv")
	if err := os.WriteFile(file, []byte("prediction_id,row,value\nx,0,1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	args := words(cmd)
	if cmd.CommandPath() == "keelson pipeline run" {
		return append(args, "thing")
	}
	if cmd.CommandPath() == "keelson monitor create" {
		if err := os.WriteFile(file, []byte("monitors: {thing: {model: thing}}\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		return append(args, "thing", "--file", file)
	}
	for _, a := range strings.Fields(cmd.Use)[1:] {
		switch {
		case strings.HasPrefix(a, "FILE") && cmd.CommandPath() == "keelson policy set":
			args = append(args, "-")
		case strings.HasPrefix(a, "FILE"), strings.HasPrefix(a, "FOLDER"):
			args = append(args, file)
		case strings.Contains(a, "/VERSION"):
			args = append(args, "thing/1")
		case a == "DAYS":
			args = append(args, "30")
		case strings.HasPrefix(a, "["):
		default:
			args = append(args, "thing")
		}
	}
	need := map[string]string{"reason": "because", "to": "dev", "role": "auditor", "field": "owner=bo", "data": `{"inputs":[]}`, "name": "thing", "until": "2030-01-01T00:00:00Z", "before": "2026-01-01", "from": "http://127.0.0.1:9"}
	for _, name := range []string{"reason", "to", "from", "field", "data", "name", "until", "before", "role"} {
		if f := cmd.LocalFlags().Lookup(name); f != nil && !(name == "data" && cmd.Name() == "run") && !(name == "to" && (cmd.Name() == "pull" || cmd.Name() == "export")) {
			args = append(args, "--"+name, need[name])
		}
	}
	return append(args, "--yes")
}

func TestWithTheServerDownEveryCommandEndsWithSeven(t *testing.T) {
	const nobody = "http://127.0.0.1:1" // a port that is never given to a program that asks for a free one
	for _, cmd := range leaves(t) {
		if !remote(cmd) {
			continue
		}
		t.Run(cmd.CommandPath(), func(t *testing.T) {
			t.Parallel()
			args := sample(t, cmd)
			began := time.Now()
			code, out, errs := call(t, map[string]string{"KEELSON_URL": nobody, "HOME": t.TempDir()}, `{"rules":[]}`, args...)
			if code != 7 || out != "" || !strings.Contains(errs, nobody) || !strings.Contains(errs, "keelson serve") {
				t.Errorf("%v: exit %d, stdout %q, stderr %q; want 7, the address and the way out", args, code, out, errs)
			}
			if took := time.Since(began); took > 5*time.Second {
				t.Errorf("%v took %s", args, took)
			}
		})
	}
}

func TestListsOfAnEmptyServerAreEmptyJSON(t *testing.T) {
	a := serve(t, "off")
	env := map[string]string{"KEELSON_URL": a.URL, "HOME": t.TempDir()}
	full := map[string]bool{"keelson environment list": true, "keelson policy list": true, "keelson role list": true, "keelson audit list": true, "keelson user list": true, "keelson experiment list": true, "keelson workspace list": true, "keelson runtime list": true}
	for _, cmd := range leaves(t) {
		if cmd.Name() != "list" {
			continue
		}
		args := words(cmd)
		if strings.Contains(cmd.Use, "NAME") {
			continue
		}
		code, out, errs := call(t, env, "", append(args, "--json")...)
		var items []any
		if err := json.Unmarshal([]byte(out), &items); err != nil || code != 0 || errs != "" {
			t.Errorf("%v --json: exit %d, stdout %q, stderr %q", args, code, out, errs)
		}
		if len(items) > 0 && !full[cmd.CommandPath()] {
			t.Errorf("%v has %d items on an empty server", args, len(items))
		}
		code, out, errs = call(t, env, "", append(args, "--jq", "length")...)
		if code != 0 || strings.TrimSpace(out) == "" {
			t.Errorf("%v --jq length: exit %d, %q, %q", args, code, out, errs)
		}
		if code, out, _ = call(t, env, "", args...); code != 0 || strings.Contains(out, "\x1b") {
			t.Errorf("%v: exit %d, colour in a pipe: %q", args, code, out)
		}
	}
}

func TestWhatIsNotThereEndsWithThree(t *testing.T) {
	a := serve(t, "off")
	env := map[string]string{"KEELSON_URL": a.URL, "HOME": t.TempDir()}
	for _, cmd := range leaves(t) {
		if cmd.Name() != "get" || !strings.Contains(cmd.Use, " ") { // what takes no name is always there
			continue
		}
		args := append(words(cmd), "no-such-thing")
		if cmd.CommandPath() == "keelson version get" {
			args[len(args)-1] = "no-such-thing/1"
		}
		code, out, errs := call(t, env, "", append(args, "--json")...)
		var doc map[string]any
		if err := json.Unmarshal([]byte(errs), &doc); code != 3 || out != "" || err != nil || doc["exit"] != 3.0 {
			t.Errorf("%v --json: exit %d, stdout %q, stderr %q; want 3 and a JSON error", args, code, out, errs)
		}
		if code, _, errs = call(t, env, "", args...); code != 3 || strings.Count(strings.TrimSpace(errs), "\n") != 2 {
			t.Errorf("%v: exit %d, stderr %q; want 3 and three lines", args, code, errs)
		}
	}
}

func TestHelpIsQuick(t *testing.T) {
	began := time.Now()
	for range 20 {
		call(t, nil, "", "model", "list", "--help")
	}
	if each := time.Since(began) / 20; each > 50*time.Millisecond {
		t.Errorf("help takes %s, want at most 50 ms", each)
	}
}

func TestOutputFormats(t *testing.T) {
	for _, c := range []struct {
		name string
		args []string
		want string
	}{
		{"a pipe gets tabs and full values", nil, "a\t1\tx=1\nb\t2\t\n"},
		{"names only", []string{"-o", "name"}, "a\nb\n"},
		{"csv has a heading", []string{"-o", "csv"}, "name,age,more\na,1,x=1\nb,2,\n"},
		{"json of chosen fields", []string{"--json=name"}, `[{"name":"a"},{"name":"b"}]` + "\n"},
		{"json of two fields after a blank", []string{"--json", "name,age"}, `[{"age":1,"name":"a"},{"age":2,"name":"b"}]` + "\n"},
		{"jq", []string{"--jq", ".[].name"}, "a\nb\n"},
		{"a template", []string{"--template", "{{len .}}"}, "2"},
		{"yaml", []string{"-o", "yaml"}, "- age: 1\n  more:\n    x: 1\n  name: a\n- age: 2\n  name: b\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out bytes.Buffer
			cl := newCLI(strings.NewReader(""), &out, io.Discard, func(string) string { return "" })
			root := &cobra.Command{Use: "x", RunE: func(*cobra.Command, []string) error {
				return cl.list([]json.RawMessage{[]byte(`{"name":"a","age":1,"more":{"x":1}}`), []byte(`{"name":"b","age":2}`)}, columns("name", "age", "more"), "name")
			}}
			root.Flags().StringVarP(&cl.output, "output", "o", "", "")
			root.Flags().StringVar(&cl.json, "json", "", "")
			root.Flags().Lookup("json").NoOptDefVal = "*"
			root.Flags().StringVar(&cl.jq, "jq", "", "")
			root.Flags().StringVar(&cl.template, "template", "", "")
			root.SetArgs(joinJSON(c.args))
			if err := root.Execute(); err != nil {
				t.Fatal(err)
			}
			if out.String() != c.want {
				t.Errorf("got %q, want %q", out.String(), c.want)
			}
		})
	}
}

func TestReferencePageIsUpToDate(t *testing.T) {
	c := newCLI(strings.NewReader(""), io.Discard, io.Discard, func(string) string { return "" })
	want := c.reference(c.root())
	const file = "../../docs/reference/cli.md"
	if os.Getenv("UPDATE") != "" {
		if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := os.ReadFile(file); err != nil || string(got) != want {
		t.Errorf("%s is not what the code says; run: make generate (%v)", file, err)
	}
}

// The scripts are stories told to the program as a user tells them. Each gets a server of its own with sign-in on;
// $KEELSON_URL is its address and $ADMIN the administrator's token.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(e *testscript.Env) error {
			a := serve(e.T().(testing.TB), "on")
			_, token, _, err := a.Identity.First(context.Background())
			if err != nil {
				return err
			}
			e.Setenv("KEELSON_URL", a.URL)
			e.Setenv("ADMIN", token)
			e.Setenv("HOME", e.WorkDir)
			e.Setenv("LANG", "C.UTF-8")
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"mlflow": mlflowCall},
	})
}

// mlflowCall is "mlflow PATH BODY [FIELD VAR]": it posts BODY as a client of MLflow would and keeps a field of the answer,
// as run.info.run_id, in VAR.
func mlflowCall(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 2 && len(args) != 4 {
		ts.Fatalf("usage: mlflow PATH BODY [FIELD VAR]")
	}
	r, err := http.NewRequest("POST", ts.Getenv("KEELSON_URL")+"/api/2.0/mlflow/"+args[0], strings.NewReader(args[1]))
	ts.Check(err)
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Authorization", "Bearer "+ts.Getenv("ADMIN"))
	resp, err := http.DefaultClient.Do(r)
	ts.Check(err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	ts.Check(err)
	if resp.StatusCode != 200 {
		ts.Fatalf("%s: %d %s", args[0], resp.StatusCode, b)
	}
	if len(args) == 4 {
		d, err := document(b)
		ts.Check(err)
		ts.Setenv(args[3], cell(at(d, args[2])))
	}
}

func TestCompletionScriptsLoad(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		code, out, errs := call(t, nil, "", "completion", shell)
		if code != 0 || errs != "" || !strings.Contains(out, "keelson") {
			t.Errorf("completion %s: exit %d, stderr %q", shell, code, errs)
			continue
		}
		path, err := exec.LookPath(shell)
		if err != nil {
			continue // this machine has no such shell to try it in
		}
		cmd := exec.Command(path)
		cmd.Stdin = strings.NewReader(out)
		if text, err := cmd.CombinedOutput(); err != nil || len(text) > 0 {
			t.Errorf("%s does not load its completion: %v\n%s", shell, err, text)
		}
	}
}

func TestAnInterruptedCommandEndsWith130(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	defer s.Close()
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(100*time.Millisecond, cancel)
	var out, errs bytes.Buffer
	code := run(ctx, []string{"model", "list"}, strings.NewReader(""), &out, &errs, func(k string) string { return map[string]string{"KEELSON_URL": s.URL}[k] })
	if code != 130 || !strings.Contains(errs.String(), "Interrupted") {
		t.Errorf("exit %d, %q, want 130", code, errs.String())
	}
}

func TestASlowServerIsATimeout(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	defer s.Close()
	code, _, errs := call(t, map[string]string{"KEELSON_URL": s.URL}, "", "model", "list", "--timeout", "100ms")
	if code != 7 || !strings.Contains(errs, s.URL) {
		t.Errorf("exit %d, %q, want 7", code, errs)
	}
}

func TestWhereTheServerIsComesFromFlagEnvironmentProfileAndMLflow(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "config.yaml")
	text := "current: lab\nprofiles:\n  lab: {server: 'http://lab:1', token: kst_lab, workspace: w1}\n  prod: {server: 'http://prod:1', token: kst_prod}\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name            string
		env             map[string]string
		server, profile string
		want            account
	}{
		{"nothing set is this machine", nil, "", "", account{Server: defaultURL}},
		{"the current profile", map[string]string{envConfig: file}, "", "", account{"http://lab:1", "kst_lab", "w1"}},
		{"a named profile", map[string]string{envConfig: file}, "", "prod", account{Server: "http://prod:1", Token: "kst_prod"}},
		{"the environment beats the profile, whose token stays at home", map[string]string{envConfig: file, envURL: "http://other:1"}, "", "", account{Server: "http://other:1", Workspace: "w1"}},
		{"a flag beats the environment and finds the token of its server", map[string]string{envConfig: file, envURL: "http://other:1"}, "http://prod:1", "", account{"http://prod:1", "kst_prod", "w1"}},
		{"a token of the environment wins", map[string]string{envConfig: file, envToken: "kst_env"}, "", "", account{"http://lab:1", "kst_env", "w1"}},
		{"MLflow's variables help where ours are not set", map[string]string{envMLflow: "http://ml:1", envMLToken: "kst_ml"}, "", "", account{Server: "http://ml:1", Token: "kst_ml"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			cl := newCLI(strings.NewReader(""), io.Discard, io.Discard, func(k string) string { return c.env[k] })
			cl.server, cl.profile = c.server, c.profile
			if got, err := cl.where(); err != nil || got != c.want {
				t.Errorf("got %+v %v, want %+v", got, err, c.want)
			}
		})
	}
}

func TestTheHintNamesTheListOfWhatIsMissing(t *testing.T) {
	root := newCLI(strings.NewReader(""), io.Discard, io.Discard, func(string) string { return "" }).root()
	set, _, err := root.Find([]string{"monitor", "set"})
	if err != nil {
		t.Fatal(err)
	}
	for why, want := range map[string]string{
		`There is no data set "customers".`:        "keelson data list",
		`There is no endpoint "churn.dev".`:        "keelson deploy list",
		"There is no policy strict.":               "keelson policy list",
		"There is no use case 12.":                 "keelson usecase list",
		`There is no module "cost".`:               "keelson monitor module list",
		`The monitor of "churn" has no window "x"`: "keelson monitor list",
		"There is no version 7.":                   "keelson monitor list",
	} {
		if got := listFor(set, why); got != want {
			t.Errorf("%s: %s, want %s", why, got, want)
		}
	}
	for kind, path := range lists {
		if cmd, rest, err := root.Find(strings.Fields(path)); err != nil || len(rest) > 0 || cmd.Name() != "list" {
			t.Errorf("%s: there is no command keelson %s", kind, path)
		}
	}
}
