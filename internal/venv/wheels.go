package venv

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"keelson/internal/problem"
)

// quiet are options of every call of pip.
var quiet = []string{"--quiet", "--disable-pip-version-check", "--no-input"}

// wheels fills an environment so that nothing of what is installed runs, whatever it is:
//
//	fetch wheels, by arguments that are no options ──▶ look at what came ──▶ install just these files, by a copy of pip
//	that no wheel can replace ──▶ the environment's own files are what they were
//
// pip is never told a requirements file, in which a line could be an option. Wheels of strangers may hold any file, of pip
// itself and of the environment, too; all of them first run where a model runs.
func wheels(run runner, dir string, list []requirement) error {
	if len(list) == 0 {
		return nil
	}
	python, fetched := filepath.Join(dir, "bin", "python"), filepath.Join(dir, "fetched")
	args := append([]string{python, "-I", "-m", "pip", "download"}, quiet...)
	args = append(args, "--only-binary=:all:", "--dest", fetched, "--")
	for _, r := range list {
		args = append(args, r.String())
	}
	if err := run(args...); err != nil {
		return err
	}
	files, err := looked(fetched, list)
	if err != nil || len(files) == 0 {
		return err
	}
	own, err := ownFiles(dir)
	if err != nil {
		return err
	}
	installer := filepath.Join(dir, "installer")
	found, err := filepath.Glob(filepath.Join(dir, "lib", "python*", "site-packages", "pip"))
	if err != nil || len(found) != 1 {
		return errors.Join(fmt.Errorf("the environment has %d copies of pip", len(found)), err)
	}
	if err := os.CopyFS(filepath.Join(installer, "pip"), os.DirFS(found[0])); err != nil {
		return fmt.Errorf("copy pip: %w", err)
	}
	args = append([]string{python, "-I", filepath.Join(installer, "pip"), "install"}, quiet...)
	if err := run(append(append(args, "--no-index", "--no-deps", "--only-binary=:all:", "--"), files...)...); err != nil {
		return err
	}
	after, err := ownFiles(dir)
	if err != nil {
		return err
	}
	if after != own {
		return problem.New(problem.Unsupported, "A package of the requirements replaces the environment's own python or its settings, and is not installed.").At("requirements.txt")
	}
	return errors.Join(os.RemoveAll(installer), os.RemoveAll(fetched))
}

// ownFiles sums up the files that decide which Python the environment's is.
func ownFiles(dir string) (string, error) {
	sum := sha256.New()
	for _, name := range []string{"python", "python3"} {
		real, err := filepath.EvalSymlinks(filepath.Join(dir, "bin", name))
		if err != nil {
			return "", fmt.Errorf("the environment lost its %s: %w", name, err)
		}
		st, err := os.Stat(real)
		if err != nil {
			return "", err
		}
		fmt.Fprintln(sum, real, st.Size(), st.ModTime().UnixNano())
	}
	b, err := os.ReadFile(filepath.Join(dir, "pyvenv.cfg"))
	if err != nil {
		return "", fmt.Errorf("the environment lost its settings: %w", err)
	}
	_, _ = sum.Write(b)
	return hex.EncodeToString(sum.Sum(nil)), nil
}

var runs = regexp.MustCompile(`[-_.]+`)

// plain is a project's name as indexes compare it.
func plain(name string) string { return strings.ToLower(runs.ReplaceAllString(name, "-")) }

// looked lists what was fetched. It fails on what is no wheel and, when a requirement names hashes, on a wheel without one.
func looked(dir string, list []requirement) ([]string, error) {
	hashes := map[string][]string{}
	for _, r := range list {
		hashes[plain(r.name)] = append(hashes[plain(r.name)], r.hashes...)
	}
	strict := slices.ContainsFunc(list, func(r requirement) bool { return len(r.hashes) > 0 })
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) { // markers may leave nothing to fetch
		return nil, err
	}
	var files []string
	for _, e := range entries {
		file := filepath.Join(dir, e.Name())
		if !e.Type().IsRegular() || filepath.Ext(e.Name()) != ".whl" {
			return nil, problem.New(problem.Unsupported, "What pip fetched for the requirements, %s, is no wheel; only wheels are installed for models.", e.Name()).At("requirements.txt")
		}
		if project, _, _ := strings.Cut(e.Name(), "-"); strict {
			ok, err := matches(file, hashes[plain(project)])
			if err != nil {
				return nil, err
			}
			if !ok {
				return nil, problem.New(problem.Unsupported, "The file %s that pip fetched has none of the hashes in the requirements; name one for every package, with those that they depend on.", e.Name()).At("requirements.txt")
			}
		}
		files = append(files, file)
	}
	return files, nil
}

// matches tells whether a file has one of the hashes.
func matches(file string, want []string) (bool, error) {
	f, err := os.Open(file)
	if err != nil {
		return false, err
	}
	defer f.Close()
	sums := map[string]hash.Hash{"sha256": sha256.New(), "sha384": sha512.New384(), "sha512": sha512.New()}
	if _, err := io.Copy(io.MultiWriter(sums["sha256"], sums["sha384"], sums["sha512"]), f); err != nil {
		return false, err
	}
	for _, h := range want {
		kind, hexed, _ := strings.Cut(h, ":")
		if b, err := hex.DecodeString(hexed); err == nil && sums[kind] != nil && bytes.Equal(b, sums[kind].Sum(nil)) {
			return true, nil
		}
	}
	return false, nil
}
