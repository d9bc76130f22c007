package sandbox

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Except lists files and folders that together are everything but the guarded ones and what is below them, for
// Files.Rest: rules can only allow. The folders above a guarded one are not in the list themselves, so nothing new can be
// made directly in them. Links are left out; what they lead to is in the list by its own name.
func Except(guarded ...string) ([]string, error) {
	var real []string
	for _, g := range guarded {
		at, err := filepath.EvalSymlinks(g)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil {
			at, err = filepath.Abs(at)
		}
		if err != nil {
			return nil, fmt.Errorf("find %s: %w", g, err)
		}
		real = append(real, at)
	}
	var out []string
	var walk func(dir string) error
	walk = func(dir string) error {
		list, err := os.ReadDir(dir)
		if errors.Is(err, fs.ErrPermission) {
			return nil // what this process cannot read, nobody whom it starts can
		}
		if err != nil {
			return err
		}
		for _, e := range list {
			p := filepath.Join(dir, e.Name())
			switch {
			case e.Type()&fs.ModeSymlink != 0 || slices.Contains(real, p):
			case slices.ContainsFunc(real, func(g string) bool { return strings.HasPrefix(g, p+string(filepath.Separator)) }):
				if err := walk(p); err != nil {
					return err
				}
			default:
				out = append(out, p)
			}
		}
		return nil
	}
	return out, walk(string(filepath.Separator))
}
