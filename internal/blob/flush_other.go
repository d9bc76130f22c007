//go:build !linux

package blob

import "os"

func writeOut(*os.File, int64, int64) {}
