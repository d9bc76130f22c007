// Package wasmtest makes WebAssembly modules for tests: real ones from Go source, and small ones byte by byte.
package wasmtest

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Build compiles the Go program in a folder for wasip1, as its users would.
func Build(t testing.TB, folder string) []byte {
	t.Helper()
	file := filepath.Join(t.TempDir(), "module.wasm")
	cmd := exec.Command("go", "build", "-buildmode=c-shared", "-o", file, ".")
	cmd.Dir = folder
	cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", folder, err, out)
	}
	code, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return code
}

// Parts are the parts of a small module. Its memory has Pages pages, its alloc gives place 4096.
type Parts struct {
	Pages  uint32
	Table  uint32 // entries; 0: no table
	Body   []byte // of metric(i32, i32) i64, without locals and end; nil: gives Answer
	Answer string // stands at place 16
	Import string // a function of module env, if not empty
	Hide   string // an export that is left out
}

// Make assembles a module.
func Make(p Parts) []byte {
	out := []byte("\x00asm\x01\x00\x00\x00")
	section := func(id byte, items ...[]byte) {
		body := uleb(nil, uint64(len(items)))
		for _, item := range items {
			body = append(body, item...)
		}
		out = append(out, id)
		out = uleb(out, uint64(len(body)))
		out = append(out, body...)
	}
	name := func(s string) []byte { return append(uleb(nil, uint64(len(s))), s...) }
	const i32, i64 = 0x7f, 0x7e
	section(1, []byte{0x60, 1, i32, 1, i32}, []byte{0x60, 2, i32, i32, 1, i64}, []byte{0x60, 0, 0})
	first := byte(0)
	if p.Import != "" {
		section(2, append(append(name("env"), name(p.Import)...), 0, 2))
		first = 1
	}
	section(3, []byte{0}, []byte{1})
	if p.Table > 0 {
		section(4, append([]byte{0x70, 0}, uleb(nil, uint64(p.Table))...))
	}
	section(5, append([]byte{0}, uleb(nil, uint64(max(p.Pages, 1)))...))
	var exports [][]byte
	for _, e := range []struct {
		name  string
		kind  byte
		index byte
	}{{"memory", 2, 0}, {"alloc", 0, first}, {"metric", 0, first + 1}} {
		if e.name != p.Hide {
			exports = append(exports, append(name(e.name), e.kind, e.index))
		}
	}
	section(7, exports...)
	body := p.Body
	if body == nil {
		body = sleb([]byte{0x42}, 16<<32|int64(len(p.Answer)))
	}
	function := func(code []byte) []byte {
		code = append(append([]byte{0}, code...), 0x0b)
		return append(uleb(nil, uint64(len(code))), code...)
	}
	section(10, function(sleb([]byte{0x41}, 4096)), function(body))
	section(11, append([]byte{0, 0x41, 16, 0x0b}, name(p.Answer)...))
	return out
}

// Forever is a body that never ends.
func Forever() []byte { return []byte{0x03, 0x40, 0x0c, 0, 0x0b, 0x42, 0} }

// Greedy is a body that asks for memory until it gets no more, and then traps.
func Greedy() []byte {
	return []byte{0x03, 0x40, 0x41, 0x80, 2, 0x40, 0, 0x41, 0x7f, 0x47, 0x0d, 0, 0x0b, 0x00, 0x42, 0} // loop memory.grow(256) != -1 br_if; unreachable
}

// Far is a body that gives an answer outside of its memory.
func Far() []byte { return sleb([]byte{0x42}, 0x7fff0000<<32|100) }

// Deep is a body that calls itself without end; it is the second function of a module without imports.
func Deep() []byte { return []byte{0x20, 0, 0x20, 1, 0x10, 1} }

func uleb(b []byte, v uint64) []byte {
	for v >= 0x80 {
		b = append(b, byte(v)|0x80)
		v >>= 7
	}
	return append(b, byte(v))
}

func sleb(b []byte, v int64) []byte {
	for {
		low := byte(v & 0x7f)
		v >>= 7
		if v == 0 && low&0x40 == 0 || v == -1 && low&0x40 != 0 {
			return append(b, low)
		}
		b = append(b, low|0x80)
	}
}
