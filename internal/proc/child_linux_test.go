package proc_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"keelson/internal/proc"
)

// gone fails when the child does not end in time.
func gone(t *testing.T, c *proc.Child) {
	t.Helper()
	select {
	case <-c.Gone():
	case <-time.After(20 * time.Second):
		t.Fatal("the child did not end")
	}
}

func TestAChildEndsWithAllThatItStarted(t *testing.T) {
	for _, c := range []struct{ name, script, how string }{
		{"by itself, leaving one behind", "sleep 1000 & echo $!; exit 3", "it ended with code 3"},
		{"killed", "sleep 1000 & echo $!; wait", "it was ended by the signal killed"},
		{"killed, with an orphan in its group", "(sleep 1000 & echo $!); sleep 1000", "it was ended by the signal killed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			cmd := exec.Command("sh", "-c", c.script)
			cmd.Stdout = w
			child, err := proc.Start(cmd)
			w.Close()
			if err != nil {
				t.Fatal(err)
			}
			var other int
			if _, err := fmt.Fscan(r, &other); err != nil {
				t.Fatal(err)
			}
			if f, err := proc.Stat(child.Pid); err == nil && f[2] != fmt.Sprint(child.Pid) {
				t.Errorf("its group is %s, want %d", f[2], child.Pid)
			}
			if strings.HasPrefix(c.name, "killed") {
				if how := child.How(); how != "it runs" || child.Err() != nil {
					t.Errorf("before its end: %s, %v", how, child.Err())
				}
				child.Kill()
			}
			gone(t, child)
			child.Kill() // nothing is left that it could hit
			if child.How() != c.how || child.Err() == nil {
				t.Errorf("%s, %v; want %s", child.How(), child.Err(), c.how)
			}
			// Whoever holds the other end of the pipe has ended when reading comes to its end.
			if err := r.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadAll(r); err != nil {
				t.Errorf("the process %d that it started lives on: %v", other, err)
			}
		})
	}
}

func TestAttributesOfACommandAreKept(t *testing.T) {
	cmd := exec.Command("sh", "-c", "exit 0")
	cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: ""}
	kept := cmd.SysProcAttr
	child, err := proc.Start(cmd)
	if err != nil {
		t.Fatal(err)
	}
	gone(t, child)
	if cmd.SysProcAttr != kept || child.Err() != nil {
		t.Errorf("%v, %v", cmd.SysProcAttr, child.Err())
	}
	if _, err := proc.Start(exec.Command("/no/such/program")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a program that is not there: %v", err)
	}
}

func TestARunEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	said := &waiting{want: "up", told: cancel}
	if err := proc.Run(ctx, said, nil, "", "/bin/sh", "-c", "echo up; sleep 1000"); !errors.Is(err, context.Canceled) {
		t.Errorf("called off: %v", err)
	}
	if err := proc.Run(ctx, io.Discard, nil, "", "/bin/sh", "-c", "exit 0"); !errors.Is(err, context.Canceled) {
		t.Errorf("called off before: %v", err)
	}
	var code *exec.ExitError
	if err := proc.Run(t.Context(), io.Discard, nil, "", "/bin/sh", "-c", "exit 4"); !errors.As(err, &code) || code.ExitCode() != 4 {
		t.Errorf("code 4: %v", err)
	}
}

// waiting calls told when it was written want.
type waiting struct {
	proc.Tail
	want string
	told func()
}

func (w *waiting) Write(b []byte) (int, error) {
	n, err := w.Tail.Write(b)
	if strings.Contains(w.String(), w.want) {
		w.told()
	}
	return n, err
}

func TestATailIsBoundedWhateverIsWritten(t *testing.T) {
	var all strings.Builder
	tail := &proc.Tail{Most: 100, To: &all}
	for i := range 1000 {
		if n, err := fmt.Fprintf(tail, "line %d\n", i); err != nil || n == 0 {
			t.Fatal(n, err)
		}
	}
	if got := tail.String(); len(got) != 100 || !strings.HasSuffix(got, "line 998\nline 999\n") {
		t.Errorf("%d bytes: %q", len(got), got)
	}
	if !strings.HasPrefix(all.String(), "line 0\nline 1\n") || strings.Count(all.String(), "\n") != 1000 {
		t.Errorf("%d bytes were passed on", all.Len())
	}
	if got := tail.Lines(2, 100); got != "line 998 | line 999" {
		t.Errorf("%q", got)
	}
	if got := tail.Lines(2, 8); got != "line 999" {
		t.Errorf("%q", got)
	}
	tail.Write([]byte(strings.Repeat("x", 1<<20) + "\xffend"))
	if got := tail.String(); len(got) != 100 || !strings.HasSuffix(got, "x?end") {
		t.Errorf("%d bytes: %q", len(got), got)
	}
	if got := (&proc.Tail{}).Lines(6, 600); got != "" {
		t.Errorf("of nothing: %q", got)
	}
}
