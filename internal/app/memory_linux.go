package app

import (
	"bytes"
	"os"
	"path"
	"strconv"

	"golang.org/x/sys/unix"
)

// memory is how many bytes this machine has, or the control group of this process may take; 0 is not known.
func memory() uint64 {
	var of unix.Sysinfo_t
	if unix.Sysinfo(&of) != nil {
		return 0
	}
	least := uint64(of.Totalram) * uint64(of.Unit) // the fields have other sizes on other processors
	groups, _ := os.ReadFile("/proc/self/cgroup")
	for line := range bytes.Lines(groups) {
		name, ok := bytes.CutPrefix(bytes.TrimSpace(line), []byte("0::/"))
		if !ok {
			continue
		}
		for at := path.Join("/", string(name)); ; at = path.Dir(at) {
			b, _ := os.ReadFile(path.Join("/sys/fs/cgroup", at, "memory.max"))
			if n, err := strconv.ParseUint(string(bytes.TrimSpace(b)), 10, 64); err == nil { // "max" is no limit
				least = min(least, n)
			}
			if at == "/" {
				break
			}
		}
	}
	return least
}
