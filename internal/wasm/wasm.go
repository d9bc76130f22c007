// Package wasm runs WebAssembly modules that users hand in, within bounds.
//
// A module gets nothing but what it is called with: no files, no network, no environment, no arguments, no clock (time stands
// still) and no chance (random numbers are the same each time), so that equal calls give equal answers. It may import
// wasi_snapshot_preview1, which compilers for the target wasip1 need, and finds nothing behind it; any other import is
// refused. Memory, time, size of the module, of its tables and of its answer are bounded. Each call gets a fresh instance.
//
// A module speaks the following interface (version 1). It exports
//
//	memory                        its memory
//	alloc(size i32) i32           a place for size bytes; 0 says that there is none
//	NAME(place i32, size i32) i64 takes JSON and gives JSON: place<<32 | size of the answer in memory
//	_initialize()                 is called first, where there is one
package wasm

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"keelson/internal/problem"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"
	"github.com/tetratelabs/wazero/sys"
)

// Limits of every module and call.
const (
	MaxModule = 8 << 20  // bytes of a module
	MaxInput  = 32 << 20 // bytes of what a call is given
	MaxAnswer = 1 << 20  // bytes of its answer
	MaxMemory = 128 << 20
	MaxTime   = 5 * time.Second // of one call

	page      = 64 << 10
	mostKept  = 16      // compiled modules that are kept
	mostTable = 100_000 // entries of a table; it cannot grow beyond
)

// Host runs modules. It is safe for concurrent use; its zero value is ready. Close frees what it compiled.
type Host struct {
	// Time bounds one call; 0 is MaxTime.
	Time time.Duration

	mu       sync.Mutex
	runtime  wazero.Runtime
	compiled map[string]wazero.CompiledModule
	order    []string // of use, the latest last
	calls    sync.WaitGroup
}

// Fault is what a module did wrong, in words for its author.
type Fault string

func (f Fault) Error() string { return string(f) }

func fault(format string, a ...any) error { return Fault(fmt.Sprintf(format, a...)) }

// Digest names a module.
func Digest(code []byte) string {
	sum := sha256.Sum256(code)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// Check compiles a module and refuses, as a Fault, what cannot run here or has no function of that name.
func (h *Host) Check(ctx context.Context, code []byte, function string) error {
	c, done, err := h.module(ctx, code)
	if err != nil {
		return err
	}
	defer done()
	return exports(c, function)
}

func exports(c wazero.CompiledModule, function string) error {
	if _, ok := c.ExportedMemories()["memory"]; !ok {
		return fault("The module exports no memory named \"memory\".")
	}
	i32, i64 := api.ValueTypeI32, api.ValueTypeI64
	for _, want := range []struct {
		name   string
		params []api.ValueType
		result api.ValueType
	}{{"alloc", []api.ValueType{i32}, i32}, {function, []api.ValueType{i32, i32}, i64}} {
		f, ok := c.ExportedFunctions()[want.name]
		if !ok {
			return fault("The module exports no function %q.", want.name)
		}
		if !slices.Equal(f.ParamTypes(), want.params) || !slices.Equal(f.ResultTypes(), []api.ValueType{want.result}) {
			return fault("The function %q has other parameters or results than alloc(i32) i32 and %s(i32, i32) i64.", want.name, function)
		}
	}
	if f, ok := c.ExportedFunctions()["_initialize"]; ok && len(f.ParamTypes())+len(f.ResultTypes()) > 0 {
		return fault("The function \"_initialize\" takes and gives nothing.")
	}
	return nil
}

// Call gives input to a function of a module and returns its answer. What the module does wrong is a Fault, also when it takes
// too long or too much.
func (h *Host) Call(ctx context.Context, code []byte, function string, input []byte) ([]byte, error) {
	if len(input) > MaxInput {
		return nil, fault("The rows take %d bytes, a module gets up to %d.", len(input), MaxInput)
	}
	c, done, err := h.module(ctx, code)
	if err != nil {
		return nil, err
	}
	defer done()
	if err := exports(c, function); err != nil {
		return nil, err
	}
	limit := h.Time
	if limit == 0 {
		limit = MaxTime
	}
	short, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	out, err := h.run(short, c, function, input)
	if err != nil && ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if err != nil && short.Err() != nil {
		return nil, fault("The module took longer than %s.", limit)
	}
	return out, err
}

func (h *Host) run(ctx context.Context, c wazero.CompiledModule, function string, input []byte) ([]byte, error) {
	config := wazero.NewModuleConfig().WithName("").WithStartFunctions().WithStdout(io.Discard).WithStderr(io.Discard)
	m, err := h.runtime.InstantiateModule(ctx, c, config)
	if err != nil {
		return nil, fault("The module cannot be started: %s.", reason(err))
	}
	defer m.Close(context.WithoutCancel(ctx))
	call := func(name string, params ...uint64) (uint64, error) {
		r, err := m.ExportedFunction(name).Call(ctx, params...)
		if err != nil {
			return 0, fault("%s failed: %s.", name, reason(err))
		}
		if len(r) == 0 {
			return 0, nil
		}
		return r[0], nil
	}
	if m.ExportedFunction("_initialize") != nil {
		if _, err := call("_initialize"); err != nil {
			return nil, err
		}
	}
	at, err := call("alloc", uint64(len(input)))
	if err != nil {
		return nil, err
	}
	if uint32(at) == 0 || !m.Memory().Write(uint32(at), input) {
		return nil, fault("alloc has no place for %d bytes.", len(input))
	}
	r, err := call(function, uint64(uint32(at)), uint64(len(input)))
	if err != nil {
		return nil, err
	}
	place, size := uint32(r>>32), uint32(r)
	if size > MaxAnswer {
		return nil, fault("%s gave an answer of %d bytes, up to %d are taken.", function, size, MaxAnswer)
	}
	out, ok := m.Memory().Read(place, size)
	if !ok {
		return nil, fault("%s gave an answer outside of its memory.", function)
	}
	return slices.Clone(out), nil // the memory goes with the instance
}

// reason is the first line of what went wrong.
func reason(err error) string {
	var exit *sys.ExitError
	if errors.As(err, &exit) {
		return fmt.Sprintf("it ended itself with code %d", exit.ExitCode())
	}
	text, _, _ := strings.Cut(err.Error(), "\n")
	if len(text) > 300 {
		text = text[:300]
	}
	return strings.TrimSuffix(text, ".")
}

// module gives a compiled module, compiled at most once while it is kept; done says that it is no longer used.
func (h *Host) module(ctx context.Context, code []byte) (c wazero.CompiledModule, done func(), err error) {
	if len(code) > MaxModule {
		return nil, nil, fault("The module has %d bytes, up to %d are taken.", len(code), MaxModule)
	}
	digest := Digest(code)
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.runtime == nil {
		config := wazero.NewRuntimeConfig().WithMemoryLimitPages(MaxMemory / page).WithCloseOnContextDone(true).WithDebugInfoEnabled(false)
		h.runtime = wazero.NewRuntimeWithConfig(context.WithoutCancel(ctx), config)
		if _, err := wasi_snapshot_preview1.Instantiate(context.WithoutCancel(ctx), h.runtime); err != nil {
			return nil, nil, fmt.Errorf("prepare wasm: %w", err)
		}
		h.compiled = map[string]wazero.CompiledModule{}
	}
	c, ok := h.compiled[digest]
	if !ok {
		if c, err = h.compile(ctx, code); err != nil {
			return nil, nil, err
		}
		h.compiled[digest] = c
	}
	h.order = append(slices.DeleteFunc(h.order, func(d string) bool { return d == digest }), digest)
	for len(h.order) > mostKept {
		// Instances keep what they need of a closed module.
		_ = h.compiled[h.order[0]].Close(context.WithoutCancel(ctx)) // it frees memory and cannot fail
		delete(h.compiled, h.order[0])
		h.order = h.order[1:]
	}
	h.calls.Add(1)
	return c, h.calls.Done, nil
}

func (h *Host) compile(ctx context.Context, code []byte) (wazero.CompiledModule, error) {
	code, err := bounded(code)
	if err != nil {
		return nil, err
	}
	c, err := h.runtime.CompileModule(ctx, code)
	if err != nil {
		return nil, fault("The module is not valid: %s.", reason(err))
	}
	for _, f := range c.ImportedFunctions() {
		module, name, _ := f.Import()
		if module != wasi_snapshot_preview1.ModuleName {
			_ = c.Close(ctx) // it frees memory and cannot fail
			return nil, fault("The module imports %s.%s; it gets nothing but %s.", clip(module), clip(name), wasi_snapshot_preview1.ModuleName)
		}
	}
	if len(c.ImportedMemories()) > 0 {
		_ = c.Close(ctx) // it frees memory and cannot fail
		return nil, fault("The module imports its memory; it has to bring its own.")
	}
	return c, nil
}

// clip shortens what others wrote for a message.
func clip(s string) string { return strings.ToValidUTF8(problem.Clip(s, 100), "?") }

// Close waits for calls and frees everything.
func (h *Host) Close(ctx context.Context) error {
	h.calls.Wait()
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.runtime == nil {
		return nil
	}
	err := h.runtime.Close(ctx)
	h.runtime, h.compiled, h.order = nil, nil, nil
	return err
}

// bounded rewrites the tables of a module so that they hold at most mostTable entries and cannot grow beyond: what a module
// says of their size must not size an allocation here.
func bounded(code []byte) ([]byte, error) {
	if len(code) < 8 || !bytes.Equal(code[:4], []byte("\x00asm")) {
		return nil, fault("The file is no WebAssembly module.")
	}
	out := slices.Clone(code[:8])
	for rest := code[8:]; len(rest) > 0; {
		id := rest[0]
		size, n := uleb(rest[1:])
		if n == 0 || uint64(len(rest)-1-n) < size {
			return nil, fault("The module ends within a section.")
		}
		body := rest[1+n : 1+n+int(size)]
		rest = rest[1+n+int(size):]
		if id == 4 { // tables
			var err error
			if body, err = tables(body); err != nil {
				return nil, err
			}
		}
		out = append(out, id)
		out = appendUleb(out, uint64(len(body)))
		out = append(out, body...)
	}
	return out, nil
}

func tables(body []byte) ([]byte, error) {
	wrong := fault("The module has tables that cannot be read.")
	count, n := uleb(body)
	if n == 0 {
		return nil, wrong
	}
	out := appendUleb(nil, count)
	body = body[n:]
	for range count {
		if len(body) < 2 || body[0] != 0x70 && body[0] != 0x6f {
			return nil, fault("The module has a table of another kind than functions or references.")
		}
		kind, flag := body[0], body[1]
		if flag > 1 {
			return nil, wrong
		}
		least, n := uleb(body[2:])
		if n == 0 {
			return nil, wrong
		}
		body = body[2+n:]
		most := uint64(mostTable)
		if flag == 1 {
			declared, n := uleb(body)
			if n == 0 {
				return nil, wrong
			}
			body = body[n:]
			most = min(most, declared)
		}
		if least > mostTable || least > most {
			return nil, fault("The module has a table of %d entries, up to %d are taken.", least, mostTable)
		}
		out = append(out, kind, 1)
		out = appendUleb(appendUleb(out, least), most)
	}
	if len(body) > 0 {
		return nil, wrong
	}
	return out, nil
}

// uleb reads an unsigned LEB128 number of up to 32 bits; n is 0 when there is none.
func uleb(b []byte) (v uint64, n int) {
	for i, c := range b {
		if i == 5 {
			return 0, 0
		}
		v |= uint64(c&0x7f) << (7 * i)
		if c < 0x80 {
			if v > 1<<32-1 {
				return 0, 0
			}
			return v, i + 1
		}
	}
	return 0, 0
}

func appendUleb(b []byte, v uint64) []byte {
	for v >= 0x80 {
		b = append(b, byte(v)|0x80)
		v >>= 7
	}
	return append(b, byte(v))
}
