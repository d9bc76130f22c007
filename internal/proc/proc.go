// Package proc looks at the processes of this machine and starts ones that do not outlive their starter. Elsewhere than
// on Linux it sees nothing.
package proc

import (
	"io/fs"
	"path/filepath"
	"time"
)

// Usage is what a process and everything below it hold and have used.
type Usage struct {
	Memory    int64         // resident bytes
	CPU       time.Duration // of the process itself and of those below it that still live
	Processes int           // with the process itself
}

// FolderSize adds up the regular files below the folders, in bytes, and stops counting beyond limit.
func FolderSize(limit int64, folders ...string) (total int64) {
	for _, f := range folders {
		if f == "" {
			continue
		}
		_ = filepath.WalkDir(f, func(_ string, d fs.DirEntry, err error) error {
			if err != nil {
				return nil // removed while we looked
			}
			if d.Type().IsRegular() {
				if info, err := d.Info(); err == nil {
					total += info.Size()
				}
			}
			if total > limit {
				return fs.SkipAll
			}
			return nil
		})
	}
	return total
}
