package pipeline

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"keelson/internal/proc"
	"keelson/internal/sandbox"
)

// The test binary is its own watcher, as the program is.
func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == "internal-exec" {
		os.Exit(Supervise(os.Args[2:]))
	}
	os.Exit(m.Run())
}

func newProcess(t *testing.T) *Process {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return &Process{Root: t.TempDir(), Self: []string{exe, "internal-exec"}}
}

func shell(t *testing.T, script string, l Limits) Task {
	dir := t.TempDir()
	out := filepath.Join(dir, "out")
	if err := os.Mkdir(out, 0o700); err != nil {
		t.Fatal(err)
	}
	return Task{ID: "run/step/1", Dir: dir, Output: out, Args: []string{"sh", "-c", script}, Env: []string{"PATH=/usr/bin:/bin", "OUT=" + out, "SECRET=hush"}, Limits: l}
}

func TestATaskCannotReachWhatTheServerKeeps(t *testing.T) {
	if sandbox.Landlock() == 0 {
		t.Skip("this kernel has no Landlock, and tasks are not kept out")
	}
	data := t.TempDir()
	for name, words := range map[string]string{"keys/release.key": "signing key", "keelson.db": "database", "work/other/source/x": "of another task", "work/environments/e/bin/tool": "tool"} {
		if err := errors.Join(os.MkdirAll(filepath.Dir(filepath.Join(data, name)), 0o700), os.WriteFile(filepath.Join(data, name), []byte(words), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	home := filepath.Join(data, "work", "own")
	for _, d := range []string{"source", "output"} {
		if err := os.MkdirAll(filepath.Join(home, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(filepath.Join(data, "keys"), filepath.Join(home, "way")); err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	for name, c := range map[string]struct {
		script string
		can    bool
	}{
		"it reads no key":                        {"cat $DATA/keys/release.key", false},
		"it lists no keys":                       {"ls $DATA/keys", false},
		"nor by a link of its own":               {"cat way/release.key || cat ../way/release.key", false},
		"nor through the server's process":       {"cat /proc/$SERVER/root$DATA/keys/release.key", false},
		"it changes no database":                 {"echo x >> $DATA/keelson.db", false},
		"it removes no database":                 {"rm -f $DATA/keelson.db", false},
		"it sees no other task":                  {"cat $DATA/work/other/source/x", false},
		"it reads nothing of the server's start": {"cat /proc/$SERVER/environ", false},
		"it ends no server":                      {"kill -0 $SERVER", false},
		"it changes no environment":              {"echo x > $DATA/work/environments/e/bin/tool", false},
		"it reads an environment":                {"cat $DATA/work/environments/e/bin/tool", true},
		"it writes its output":                   {"echo x > $OUT/x && cat $OUT/x", true},
		"it writes into its home":                {"mkdir $HOME/.cache && echo x > $HOME/.cache/x", true},
		"it has the network":                     {"bash -c 'exec 3<>/dev/tcp/127.0.0.1/'$PORT", true},
		"it has the machine's programs":          {"sort /etc/passwd > /dev/null && date", true},
	} {
		t.Run(name, func(t *testing.T) {
			if name == "it ends no server" && sandbox.Landlock() < 6 {
				t.Skip("this kernel's Landlock does not know signals")
			}
			p := newProcess(t)
			p.Guard, p.Read = []string{data, p.Root}, []string{filepath.Join(data, "work", "environments")}
			_ = os.RemoveAll(filepath.Join(home, ".cache"))
			_, port, _ := net.SplitHostPort(listener.Addr().String())
			task := Task{ID: "run/step/1", Dir: filepath.Join(home, "source"), Output: filepath.Join(home, "output"), Home: home, Args: []string{"sh", "-c", c.script},
				Env: []string{"PATH=/usr/bin:/bin", "HOME=" + home, "OUT=" + filepath.Join(home, "output"), "DATA=" + data, "PORT=" + port, fmt.Sprint("SERVER=", os.Getpid())}}
			if err := p.Submit(t.Context(), task); err != nil {
				t.Fatal(err)
			}
			r, err := p.Observe(t.Context(), task.ID)
			if err != nil {
				t.Fatal(err)
			}
			log, _ := p.Logs(t.Context(), task.ID, 0, 1000)
			if (r.ExitCode == 0) != c.can {
				t.Errorf("it ended with %d %s\n%s", r.ExitCode, r.Reason, log)
			}
		})
	}
	if b, err := os.ReadFile(filepath.Join(data, "keelson.db")); err != nil || string(b) != "database" {
		t.Errorf("the database is %q, %v", b, err)
	}
}

func TestProcess(t *testing.T) {
	for _, c := range []struct {
		name, script string
		limits       Limits
		code         int
		reason, log  string
	}{
		{"a task ends with its code and its log", "echo hello; echo oops >&2", Limits{}, 0, "", "hello\noops\n"},
		{"a failing task says its code", "exit 3", Limits{}, 3, "exit status 3", ""},
		{"a program that is missing is named", "exec no-such-program", Limits{}, 127, "exit status 127", "no-such-program"},
		{"a task beyond its time is ended", "sleep 60", Limits{Time: Duration(300 * time.Millisecond)}, -1, "time limit of 300ms", ""},
		{"a task beyond its processor time is ended", "while :; do :; done", Limits{CPU: Duration(time.Millisecond)}, -1, "processor time", ""},
		{"a file beyond the output limit is not written", "head -c 3000000 /dev/zero > $OUT/big", Limits{Output: 1 << 20}, 153, "exit status 153", ""},
		{"many files beyond the output limit end the task", "i=0; while :; do head -c 300000 /dev/zero > $OUT/f$i; i=$((i+1)); sleep 0.1; done", Limits{Output: 1 << 20}, -1, "output limit of 1 MiB", ""},
		{"memory beyond the limit is refused", "head -c 400000000 /dev/zero | tail -c 399999999 | wc -c; exit ${PIPESTATUS:-9}", Limits{Memory: 100 << 20}, 9, "", ""},
		{"the environment is the given one only", "env | grep -c KEELSON_TEST; true", Limits{}, 0, "", "0\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Setenv("KEELSON_TEST_LEAK", "1")
			p := newProcess(t)
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			task := shell(t, c.script, c.limits)
			if err := p.Submit(ctx, task); err != nil {
				t.Fatal(err)
			}
			r, err := p.Observe(ctx, task.ID)
			if err != nil {
				t.Fatal(err)
			}
			log, err := p.Logs(ctx, task.ID, 0, 1<<16)
			if err != nil {
				t.Fatal(err)
			}
			if r.ExitCode != c.code || !strings.Contains(r.Reason, c.reason) || !strings.Contains(string(log), c.log) {
				t.Errorf("got %+v with log %q, want code %d, reason %q, log %q", r, log, c.code, c.reason, c.log)
			}
			if b, err := os.ReadFile(filepath.Join(p.Folder(task.ID), taskName)); err == nil && strings.Contains(string(b), "hush") {
				t.Error("the environment, which holds the token, was written to disk")
			}
			if err := p.Submit(ctx, task); err == nil {
				t.Error("a second submit of one attempt was taken")
			}
		})
	}
}

// gone waits until the process in the file has ended.
func gone(t *testing.T, file string) {
	t.Helper()
	var pid int
	wait(t, "the process id in "+file, func() bool {
		b, err := os.ReadFile(file)
		if err != nil {
			return false
		}
		pid, err = strconv.Atoi(strings.TrimSpace(string(b)))
		return err == nil
	})
	wait(t, "the end of process "+strconv.Itoa(pid), func() bool {
		_, state, err := procStart(pid)
		return err != nil || state == 'Z'
	})
}

func wait(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline, tick := time.After(20*time.Second), time.NewTicker(20*time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-deadline:
			t.Fatalf("waited too long for %s", what)
		case <-tick.C:
		}
	}
}

const runaway = `setsid sh -c 'echo $$ > $OUT/runaway; sleep 300' & echo $$ > $OUT/main; sleep 300`

func TestCancelEndsEverythingATaskStarted(t *testing.T) {
	p := newProcess(t)
	task := shell(t, runaway, Limits{})
	if err := p.Submit(t.Context(), task); err != nil {
		t.Fatal(err)
	}
	wait(t, "the runaway", func() bool { _, err := os.Stat(filepath.Join(task.Output, "runaway")); return err == nil })
	if err := p.Cancel(t.Context(), task.ID); err != nil {
		t.Fatal(err)
	}
	gone(t, filepath.Join(task.Output, "main"))
	gone(t, filepath.Join(task.Output, "runaway"))
	r, err := p.Observe(t.Context(), task.ID)
	if err != nil || r.Reason != "It was cancelled." {
		t.Errorf("got %+v %v, want a cancelled result", r, err)
	}
}

func TestAnotherServerAdoptsARunningTask(t *testing.T) {
	first := newProcess(t)
	task := shell(t, "while ! [ -e $OUT/go ]; do sleep 0.05; done; echo finished", Limits{})
	if err := first.Submit(t.Context(), task); err != nil {
		t.Fatal(err)
	}
	wait(t, "the watcher's file", func() bool { _, ok := first.watcher(task.ID); return ok })
	second := &Process{Root: first.Root, Self: first.Self} // knows nothing but the folder
	if ok, err := second.Adopt(t.Context(), task.ID); err != nil || !ok {
		t.Fatalf("adopt: %v %v, want true", ok, err)
	}
	if err := os.WriteFile(filepath.Join(task.Output, "go"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := second.Observe(t.Context(), task.ID)
	if err != nil || r.ExitCode != 0 || r.Reason != "" {
		t.Fatalf("got %+v %v, want code 0", r, err)
	}
	if log, _ := second.Logs(t.Context(), task.ID, 0, 100); string(log) != "finished\n" {
		t.Errorf("log %q, want finished", log)
	}
}

func TestATaskThatNeverBeganIsNotAdoptedAndNeverBegins(t *testing.T) {
	p := newProcess(t)
	dir := p.Folder("run/step/1")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := writeFile(filepath.Join(dir, taskName), taskFile{Args: []string{"true"}}); err != nil {
		t.Fatal(err)
	}
	if ok, err := p.Adopt(t.Context(), "run/step/1"); ok || err != nil {
		t.Fatalf("adopt: %v %v, want false", ok, err)
	}
	if _, err := os.Stat(filepath.Join(dir, taskName)); !os.IsNotExist(err) {
		t.Error("the task is still there for a late watcher to begin")
	}
}

func TestAReusedProcessIDIsNotMistakenForTheWatcher(t *testing.T) {
	me, err := self()
	if err != nil {
		t.Fatal(err)
	}
	if !me.alive() {
		t.Error("this process does not recognise itself")
	}
	me.Start++
	if me.alive() {
		t.Error("a process with another start time was taken for the watcher")
	}
}

func TestAWatcherKilledByForceTakesItsTaskAlong(t *testing.T) {
	p := newProcess(t)
	task := shell(t, "echo $$ > $OUT/main; sleep 300", Limits{})
	if err := p.Submit(t.Context(), task); err != nil {
		t.Fatal(err)
	}
	wait(t, "the task", func() bool { _, err := os.Stat(filepath.Join(task.Output, "main")); return err == nil })
	w, ok := p.watcher(task.ID)
	if !ok || w.Child == 0 {
		b, _ := json.Marshal(w)
		t.Fatalf("watcher file %s, want one with a child", b)
	}
	proc.Kill(w.PID)
	r, err := p.Observe(t.Context(), task.ID)
	if err != nil || !r.Lost {
		t.Fatalf("got %+v %v, want a lost task", r, err)
	}
	gone(t, filepath.Join(task.Output, "main"))
}
