package internal_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// The time line says what happened as a person would; an action that it has no words for is spelled out ("blob altered").
func TestActionsOfTheAuditLogHaveWords(t *testing.T) {
	words, err := os.ReadFile("../ui/src/messages/en.ts")
	if err != nil {
		t.Fatal(err)
	}
	call := regexp.MustCompile(`audit\.Record\(\s*[\w.]+,\s*"([^"]+)",`)
	found := 0
	for _, action := range []string{"evaluation.passed", "evaluation.failed", "conversion.done", "conversion.refused", "monitor.backfill-done", "monitor.backfill-failed", "run.purged"} { // put together of two words
		if !strings.Contains(string(words), `"`+action+`": `) {
			t.Errorf("%q has no words in ui/src/messages/en.ts", action)
		}
	}
	err = filepath.WalkDir(".", func(file string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || !strings.HasSuffix(file, ".go") || strings.HasSuffix(file, "_test.go") {
			return err
		}
		src, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		for _, m := range call.FindAllSubmatch(src, -1) {
			found++
			if action := string(m[1]); !strings.Contains(string(words), `"`+action+`": `) {
				t.Errorf("%s records %q: give it words in ui/src/messages/en.ts", file, action)
			}
		}
		return nil
	})
	if err != nil || found < 50 {
		t.Fatalf("%d actions found, %v", found, err)
	}
}
