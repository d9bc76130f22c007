package venv_test

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"keelson/internal/problem"
	"keelson/internal/venv"
)

// wheel writes a wheel of a project with files, and gives its SHA-256.
func wheel(t *testing.T, dir, project string, files map[string]string) string {
	t.Helper()
	info := project + "-1.0.dist-info/"
	files[info+"METADATA"] = "Metadata-Version: 2.1\nName: " + project + "\nVersion: 1.0\n"
	files[info+"WHEEL"] = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
	var names, record []string
	for name := range files {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		record = append(record, name+",,")
	}
	files[info+"RECORD"] = strings.Join(append(record, info+"RECORD,,"), "\n") + "\n"
	var out bytes.Buffer
	z := zip.NewWriter(&out)
	for _, name := range append(names, info+"RECORD") {
		w, err := z.Create(name)
		if err == nil {
			_, err = w.Write([]byte(files[name]))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, project+"-1.0-py3-none-any.whl"), out.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%x", sha256.Sum256(out.Bytes()))
}

// TestNothingThatIsInstalledRuns installs packages that would run at every chance: a source distribution, a wheel that
// replaces pip's own modules and starts with Python, one that makes the environment another.
func TestNothingThatIsInstalledRuns(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("there is no python3 here, of which environments are made")
	}
	index, ran := t.TempDir(), filepath.Join(t.TempDir(), "ran")
	t.Setenv("PIP_NO_INDEX", "1")
	t.Setenv("PIP_FIND_LINKS", index)
	trap := "open(" + fmt.Sprintf("%q", ran) + ", 'a').write(__name__ + ' ')\n"

	greedy := map[string]string{"greedy.py": "answer = 42\n", "greedy.pth": "import sys; exec(" + fmt.Sprintf("%q", trap) + ")\n", "sitecustomize.py": trap}
	modules, err := exec.Command(python, "-c", "import os, ensurepip, zipfile, glob; z = zipfile.ZipFile(glob.glob(os.path.dirname(ensurepip.__file__) + '/_bundled/pip-*.whl')[0]); print('\\n'.join(n for n in z.namelist() if n.startswith('pip/') and n.endswith('.py')))").Output()
	if err != nil || !bytes.Contains(modules, []byte("pip/__main__.py")) {
		t.Fatalf("the modules of pip: %v\n%.300s", err, modules)
	}
	for _, m := range strings.Fields(string(modules)) {
		greedy[m] = trap
	}
	sum := wheel(t, index, "greedy", greedy)
	wheel(t, index, "usurper", map[string]string{"usurper-1.0.data/data/pyvenv.cfg": "home = /root/bin\n"})
	wheel(t, index, "impostor", map[string]string{"impostor-1.0.data/scripts/python": "#!/bin/sh\necho > " + ran + "\n"})
	var source bytes.Buffer
	g := gzip.NewWriter(&source)
	w := tar.NewWriter(g)
	for name, text := range map[string]string{"eager-1.0/setup.py": trap + "import setuptools\nsetuptools.setup(name='eager', version='1.0')\n", "eager-1.0/PKG-INFO": "Metadata-Version: 1.0\nName: eager\nVersion: 1.0\n"} {
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o600, Size: int64(len(text))}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := g.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(index, "eager-1.0.tar.gz"), source.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}

	e := &venv.Environments{Root: t.TempDir()}
	for _, c := range []struct{ name, lock, says string }{
		{"a wheel with its hash", "greedy==1.0 --hash=sha256:" + sum + "\n", ""},
		{"a wheel with another hash", "greedy==1.0 --hash=sha256:" + strings.Repeat("0", 64) + "\n", "none of the hashes"},
		{"settings of the environment", "usurper\n", "replaces the environment's own"},
		{"the environment's python", "impostor\n", "replaces the environment's own"},
		{"a source distribution", "eager\n", "No matching distribution found for eager"},
		{"an option behind another end of line", "eager==1.0\r--no-binary=:all:\n", "U+000D"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var log bytes.Buffer
			bin, err := e.EnsureWheels(t.Context(), []byte(c.lock), &log)
			if c.says != "" {
				if err == nil || !strings.Contains(err.Error(), c.says) {
					t.Errorf("got %v, want what says %q\n%s", err, c.says, &log)
				}
				if p, ok := problem.As(err); !ok || p.Detail == "" {
					t.Errorf("it is no problem: %v", err)
				}
			} else if err != nil {
				t.Fatalf("%v\n%s", err, &log)
			}
			if b, err := os.ReadFile(ran); err == nil {
				t.Errorf("code of the package ran: %s", b)
			}
			if _, ok := e.Ready([]byte(c.lock)); ok != (c.says == "") {
				t.Errorf("it is ready: %v", ok)
			}
			if c.says != "" {
				return
			}
			for _, left := range []string{"fetched", "installer"} {
				if _, err := os.Stat(filepath.Join(filepath.Dir(bin), left)); err == nil {
					t.Errorf("%s was left", left)
				}
			}
			// The trap works: whoever starts the environment's Python is in it.
			if out, err := exec.Command(filepath.Join(bin, "python"), "-c", "import greedy; print(greedy.answer)").CombinedOutput(); err != nil || !strings.Contains(string(out), "42") {
				t.Errorf("the package is not there: %v %s", err, out)
			}
			if err := os.Remove(ran); err != nil {
				t.Errorf("the trap does not work: %v", err)
			}
		})
	}
}
