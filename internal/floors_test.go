package internal_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// floors lists the packages from the cellar up. A package may import its own floor's packages to the left and every
// floor below; the words in a floor are folders under internal/, and a folder's subfolders stand with it.
var floors = []string{
	"problem filter markup outbound caller db seal blob audit event job usage access rest bin identity obs proc sandbox venv runtime wasm", // kits
	"tensor score drift tree fairness boost anomaly estimate shift explain profile subgroup",                                               // mathematics, no I/O
	"engine", // engines
	"dataset tracking trace usecase inventory prompt evalset scorer evaluation convert",                                           // nouns: what is built
	"release policy approval incident journal deployment prediction study serving monitor alert pipeline webhook notify feedback", // and what is operated
	"mlflowapi oip", // other people's protocols
	"app",           // knows everybody
}

func TestPackagesImportOnlyWhatStandsBelowThem(t *testing.T) {
	place := map[string]int{}
	n := 0
	for _, floor := range floors {
		for _, p := range strings.Fields(floor) {
			place[p] = n
			n++
		}
	}
	seen := map[string]bool{}
	err := filepath.WalkDir(".", func(file string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || !strings.HasSuffix(file, ".go") || strings.HasSuffix(file, "_test.go") || !strings.Contains(file, "/") {
			return err
		}
		mine, _, _ := strings.Cut(filepath.ToSlash(file), "/")
		seen[mine] = true
		at, ok := place[mine]
		if !ok {
			t.Errorf("internal/%s stands on no floor: give it a place in this test and in docs/concepts/layout.md", mine)
			return nil
		}
		src, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		f, err := parser.ParseFile(token.NewFileSet(), file, src, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, imp := range f.Imports {
			p, _ := strconv.Unquote(imp.Path.Value)
			rest, ok := strings.CutPrefix(p, "keelson/internal/")
			if !ok {
				if strings.HasPrefix(p, "keelson/") && mine != "app" {
					t.Errorf("%s imports %s: only app reaches out of internal", file, p)
				}
				continue
			}
			other, _, _ := strings.Cut(rest, "/")
			if strings.HasSuffix(path.Dir(file), "test") { // dbtest, blobtest, enginetest are for tests
				continue
			}
			if other != mine && place[other] >= at {
				t.Errorf("%s imports %s, which stands above it", file, p)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for p := range place {
		if !seen[p] {
			t.Errorf("there is no package internal/%s", p)
		}
	}
}

func TestTheClientKnowsNothingOfTheServer(t *testing.T) {
	err := filepath.WalkDir("../client", func(file string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || !strings.HasSuffix(file, ".go") || strings.HasSuffix(file, "_test.go") {
			return err
		}
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, imp := range f.Imports {
			if strings.Contains(imp.Path.Value, "keelson/internal") {
				t.Errorf("%s imports %s", file, imp.Path.Value)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
