package e2e

import (
	"os"
	"path/filepath"
	"testing"
)

// TestMain removes the program that Binary built.
func TestMain(m *testing.M) {
	code := m.Run()
	if built.bin != "" && built.bin != os.Getenv("KEELSON_BIN") {
		os.RemoveAll(filepath.Dir(built.bin))
	}
	os.Exit(code)
}
