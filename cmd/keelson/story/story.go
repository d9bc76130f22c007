// Package story tells how a real model goes from its data to the audit of what it decided, on a running server, and
// holds every step against what it should be. keelson demo tells it to people; the end-to-end tests tell it over every
// kind of storage.
//
// What people do is done with the command line, so that a reader can repeat it; training is done by the example's own
// code with the ordinary mlflow client, calls by the ordinary Triton client; what is checked is read with the Go client.
package story

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"keelson/client"
	"keelson/examples"
)

// Story is one telling. Done, Patient and Quiet may be left out.
type Story struct {
	Self     []string  // the program, as a command
	URL      string    // of the server
	Admin    string    // token of its administrator
	Python   string    // with the packages of examples/screening/requirements.txt
	Folder   string    // where the projects are unpacked; it exists
	Database string    // what the server's --database is: for the chapter in which somebody edits rows
	Blobs    string    // what the server's --blobs is: for the chapter in which somebody swaps a file
	Out      io.Writer // progress for a reader
	Done     func(chapter int, title string, took time.Duration)
	Patient  bool          // the server may be killed and started again while the story is told
	Quiet    func(on bool) // told before and after the moments in which the server must not be killed; may be nil

	admin  *client.Client
	tokens map[string]string // by account
	made   facts
}

// facts are what later chapters need of earlier ones.
type facts struct {
	first, again, better int    // versions of screening: the first, the same again, the retrained one
	firstRun             string // pipeline run of the first version
	calls                string // file with the ids of the quiet day
	shifted              string // file with the ids of the day of large tumours
	rules                int    // version of referral
}

// person is somebody with an account.
type person struct{ name, display, role string }

var people = []person{
	{"eddie", "Eddie, data engineer", "data-engineer"},
	{"dana", "Dana, data scientist", "data-scientist"},
	{"mira", "Mira, ML engineer", "ml-engineer"},
	{"rita", "Rita, risk officer", "risk-compliance"},
	{"bo", "Bo, business owner", "business-owner"},
	{"ada", "Ada, auditor", "auditor"},
}

// desk is the service account of the application that calls the models.
const desk = "clinic-desk"

// Password of the story's accounts; they live on a server of their own.
const Password = "keelson-demo-2026"

type chapter struct {
	title string
	tell  func(*Story, context.Context) error
}

var chapters = []chapter{
	{"Data: real patients, checked before they are stored", (*Story).data},
	{"Train: a pipeline of real code, twice, with the same result", (*Story).train},
	{"Register: digests, signature, golden rows through our own engine", (*Story).register},
	{"Evaluate: a suite that can say no", (*Story).evaluate},
	{"Approve: four eyes, and not the author's", (*Story).approve},
	{"Deploy: a signed release, and what happens to those who cheat", (*Story).deploy},
	{"Predict: real rows, every answer in the log", (*Story).predict},
	{"Watch: the world moves, and somebody notices", (*Story).watch},
	{"Retrain: a better version, a canary, and one command back", (*Story).retrain},
	{"Account: who did what, provably", (*Story).account},
}

// Tell tells all chapters in order. An error names the chapter and what was not as it should be.
func (s *Story) Tell(ctx context.Context) error {
	if err := s.open(ctx); err != nil {
		return fmt.Errorf("before the story: %w", err)
	}
	for i, c := range chapters {
		s.print("\n%2d. %s\n", i+1, c.title)
		began := time.Now()
		if err := c.tell(s, ctx); err != nil {
			return fmt.Errorf("chapter %d (%s): %w", i+1, strings.ToLower(strings.SplitN(c.title, ":", 2)[0]), err)
		}
		took := time.Since(began)
		s.print("    %s\n", took.Round(10*time.Millisecond))
		if s.Done != nil {
			s.Done(i+1, c.title, took)
		}
	}
	return nil
}

// Chapters is how many chapters there are.
func Chapters() int { return len(chapters) }

// open makes the accounts and unpacks the projects.
func (s *Story) open(ctx context.Context) error {
	var err error
	cfg := client.Config{Server: s.URL, UserAgent: "keelson-story"}
	if s.Patient {
		cfg.HTTP = &http.Client{Transport: patient{}}
	}
	s.admin, err = client.New(cfg)
	if err != nil {
		return err
	}
	s.admin = s.admin.With(s.Admin)
	s.tokens = map[string]string{"admin": s.Admin}
	for _, p := range people {
		if _, err := s.admin.AddUser(ctx, client.User{Name: p.name, Display: p.display, Roles: []string{p.role}}, Password); err != nil && !client.IsKind(err, "conflict") {
			return fmt.Errorf("make account %s: %w", p.name, err)
		}
		t, err := client.SignIn(ctx, client.Config{Server: s.URL}, p.name, Password, "story", 30)
		if err != nil {
			return fmt.Errorf("sign in as %s: %w", p.name, err)
		}
		s.tokens[p.name] = t.Text
	}
	if _, err := s.admin.AddUser(ctx, client.User{Name: desk, Display: "Clinic desk", Kind: "service", Roles: []string{"service"}}, ""); err != nil && !client.IsKind(err, "conflict") {
		return fmt.Errorf("make account %s: %w", desk, err)
	}
	t, err := s.admin.AddToken(ctx, "story", desk, 30)
	if err != nil {
		return fmt.Errorf("make token for %s: %w", desk, err)
	}
	s.tokens[desk] = t.Text
	return s.unpack()
}

// unpack writes the example projects into the folder and makes the patients' files.
func (s *Story) unpack() error {
	err := fs.WalkDir(examples.Files, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		to := filepath.Join(s.Folder, filepath.FromSlash(name))
		if d.IsDir() {
			return os.MkdirAll(to, 0o755)
		}
		b, err := examples.Files.ReadFile(name)
		if err != nil {
			return err
		}
		return os.WriteFile(to, b, 0o644)
	})
	if err != nil {
		return fmt.Errorf("unpack the examples: %w", err)
	}
	return nil
}

func (s *Story) print(format string, a ...any) { fmt.Fprintf(s.Out, format, a...) }

// fact prints something that was checked.
func (s *Story) fact(format string, a ...any) { s.print("    ✓ "+format+"\n", a...) }

// as is the Go client of an account.
func (s *Story) as(who string) *client.Client { return s.admin.With(s.tokens[who]) }

// calm keeps the server from being killed while do runs: in a moment in which the database holds a forgery, a server that
// starts has nothing to fall back to.
func (s *Story) calm(do func() error) error {
	if s.Quiet != nil {
		s.Quiet(true)
		defer s.Quiet(false)
	}
	return do()
}

// patient waits for a server that is being started. A refused connection has carried nothing, so any call may be sent
// again; for what broke off on its way only reads may.
type patient struct{}

func (patient) RoundTrip(r *http.Request) (*http.Response, error) {
	var body []byte
	if r.Body != nil {
		var err error
		if body, err = io.ReadAll(r.Body); err != nil {
			return nil, err
		}
	}
	for began := time.Now(); ; {
		try := r.Clone(r.Context())
		if body != nil {
			try.Body = io.NopCloser(bytes.NewReader(body))
		}
		resp, err := http.DefaultTransport.RoundTrip(try)
		again := errors.Is(err, syscall.ECONNREFUSED) || err != nil && r.Method == http.MethodGet || resp != nil && resp.StatusCode == http.StatusServiceUnavailable
		if !again || time.Since(began) > patience {
			return resp, err
		}
		if resp != nil {
			resp.Body.Close()
		}
		select {
		case <-r.Context().Done():
			return nil, r.Context().Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// patience is how long a killed server may take to answer again.
const patience = 20 * time.Second

// answer is what a command line said.
type answer struct {
	code        int
	again       bool // it was sent more than once, because the server went away on the first time
	out, errs   string
	commandLine string
}

func (a answer) err(want string) error {
	return fmt.Errorf("%s\n  wanted %s, got exit code %d\n  stdout: %s\n  stderr: %s", a.commandLine, want, a.code, strings.TrimSpace(a.out), strings.TrimSpace(a.errs))
}

// run calls the command line as somebody, in the folder of the examples, and shows the call to the reader.
func (s *Story) run(ctx context.Context, who string, args ...string) (answer, error) {
	shown := []string{"keelson"}
	for _, a := range args {
		if strings.ContainsAny(a, " {}\"'[]") {
			a = "'" + a + "'"
		}
		shown = append(shown, a)
	}
	line := strings.Join(shown, " ")
	s.print("    %-6s $ %s\n", who, line)
	began := time.Now()
	a, err := s.once(ctx, who, line, args)
	for s.Patient && err == nil && a.code == client.ExitUnreachable && time.Since(began) < patience {
		if _, err = until(ctx, patience, "the server to answer again", func(ctx context.Context) (bool, bool, error) {
			_, err := s.admin.Healthy(ctx)
			return err == nil, err == nil, nil
		}); err != nil {
			return a, err
		}
		a, err = s.once(ctx, who, line, args)
		a.again = true
	}
	return a, err
}

func (s *Story) once(ctx context.Context, who, line string, args []string) (answer, error) {
	cmd := exec.CommandContext(ctx, s.Self[0], append(append([]string{}, s.Self[1:]...), args...)...)
	cmd.Dir = filepath.Join(s.Folder, "screening")
	cmd.Env = append(os.Environ(), "KEELSON_URL="+s.URL, "KEELSON_TOKEN="+s.tokens[who], "KEELSON_CONFIG="+filepath.Join(s.Folder, "none.yaml"), "LANG=C.UTF-8", "LC_ALL=C.UTF-8")
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	a := answer{out: out.String(), errs: errs.String(), commandLine: line}
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		a.code = exit.ExitCode()
	case err != nil:
		return a, fmt.Errorf("run %s: %w", line, err)
	}
	return a, ctx.Err()
}

// errDone says that a command was sent twice, and had been carried out the first time.
var errDone = errors.New("it was done the first time")

// done accepts that.
func done(err error) error {
	if errors.Is(err, errDone) {
		return nil
	}
	return err
}

// do is run where success is expected; with JSON asked for, it is read into out (nil: dropped).
func (s *Story) do(ctx context.Context, out any, who string, args ...string) error {
	a, err := s.run(ctx, who, args...)
	if err != nil {
		return err
	}
	if a.again && a.code == client.ExitConflict {
		return errDone
	}
	if a.code != 0 {
		return a.err("exit code 0")
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal([]byte(a.out), out); err != nil {
		return a.err("JSON")
	}
	return nil
}

// refused is run where the command line must say no, with a code and words.
func (s *Story) refused(ctx context.Context, code int, words []string, who string, args ...string) error {
	a, err := s.run(ctx, who, args...)
	if err != nil {
		return err
	}
	for _, w := range words {
		if !strings.Contains(a.errs+a.out, w) {
			return a.err(fmt.Sprintf("exit code %d and %q", code, w))
		}
	}
	if a.code != code {
		return a.err(fmt.Sprintf("exit code %d", code))
	}
	return nil
}

// python runs a script of the screening project as somebody.
func (s *Story) python(ctx context.Context, who string, args ...string) (string, error) {
	s.print("    %-6s $ python %s\n", who, strings.Join(args, " "))
	cmd := exec.CommandContext(ctx, s.Python, args...)
	cmd.Dir = filepath.Join(s.Folder, "screening")
	cmd.Env = append(os.Environ(), "KEELSON_TOKEN="+s.tokens[who], "PYTHONDONTWRITEBYTECODE=1")
	out, err := cmd.CombinedOutput()
	if err != nil {
		return string(out), fmt.Errorf("python %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return string(out), nil
}

// until asks again and again until ok, for at most limit; what says what it waits for.
func until[T any](ctx context.Context, limit time.Duration, what string, look func(context.Context) (T, bool, error)) (T, error) {
	timed, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	v, err := client.Wait(timed, look)
	if err != nil && ctx.Err() == nil && timed.Err() != nil {
		seen, _ := json.Marshal(v)
		return v, fmt.Errorf("waited %s for %s; the last that was seen is %.2000s", limit, what, seen)
	}
	return v, err
}

// want fails with a sentence unless ok.
func want(ok bool, format string, a ...any) error {
	if ok {
		return nil
	}
	return fmt.Errorf("it should be that "+format, a...)
}

// all gives the first error.
func all(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// Accounts names the people of the story.
func Accounts() string {
	var list []string
	for _, p := range people {
		list = append(list, p.name)
	}
	return strings.Join(list, ", ")
}
