package monitor

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"keelson/internal/audit"
	"keelson/internal/blob"
	"keelson/internal/caller"
	"keelson/internal/db"
	"keelson/internal/problem"
	"keelson/internal/wasm"
)

// scripts computes a metric by a Python file, in a process of its own; without input the file is only tried. The engine of
// models in Python has it.
type scripts interface {
	Compute(ctx context.Context, source, input []byte) ([]byte, error)
}

// mostScript bounds a Python file, in bytes.
const mostScript = 1 << 20

// isScript reports whether a module is a Python file; all others are WebAssembly, which begins with four bytes of its own.
func isScript(code []byte) bool {
	return !bytes.HasPrefix(code, []byte("\x00asm")) && utf8.Valid(code) && !bytes.ContainsRune(code, 0)
}

// Module is one version of a module that custom metrics are computed by: WebAssembly, see package wasm for its interface, or
// a Python file that defines metric(table).
type Module struct {
	Name      string    `json:"name"`
	Number    int       `json:"number" doc:"from 1 up; a version never changes"`
	Digest    string    `json:"digest"`
	Size      int64     `json:"size" doc:"bytes"`
	CreatedBy string    `json:"created_by"`
	CreatedAt time.Time `json:"created_at"`
}

// Ref names the version: NAME@NUMBER.
func (m Module) Ref() string { return m.Name + "@" + strconv.Itoa(m.Number) }

// moduleFunction is what a module of metrics exports.
const moduleFunction = "metric"

var moduleName = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,99}$`)

// splitModule reads NAME or NAME@NUMBER; number is 0 for the newest.
func splitModule(ref string) (name string, number int, err error) {
	name, text, versioned := strings.Cut(ref, "@")
	if versioned {
		number, err = strconv.Atoi(text)
	}
	if err != nil || versioned && number < 1 || !moduleName.MatchString(name) {
		return "", 0, fmt.Errorf("a module is named NAME or NAME@2: lower-case letters, digits, dots, dashes and underscores, up to 100 bytes; %q is not", clip(ref))
	}
	return name, number, nil
}

const moduleColumns = "name, number, digest, size, created_by, created_at"

func scanModule(scan func(...any) error) (m Module, err error) {
	var at int64
	err = scan(&m.Name, &m.Number, &m.Digest, &m.Size, &m.CreatedBy, &at)
	m.CreatedAt = db.Time(at)
	return m, err
}

// moduleOf reads one version; number 0 is the newest.
func moduleOf(tx db.Scope, name string, number int) (Module, error) {
	m, err := scanModule(tx.QueryRow("SELECT "+moduleColumns+" FROM monitor_module WHERE workspace = $1 AND name = $2 AND ($3 = 0 OR number = $3) ORDER BY number DESC LIMIT 1", tx.Workspace, name, number).Scan)
	if errors.Is(err, sql.ErrNoRows) {
		ref := name
		if number > 0 {
			ref += "@" + strconv.Itoa(number)
		}
		return m, problem.New(problem.NotFound, "There is no module %q; hand it in with: keelson monitor module put %s FILE.", ref, name)
	}
	return m, err
}

// PutModule takes a module. Equal bytes as the newest version's make no new one. What cannot run is refused as Invalid.
func (s *Service) PutModule(ctx context.Context, name string, body io.Reader) (m Module, err error) {
	if s.Modules == nil || s.Blobs == nil {
		return m, problem.New(problem.Unsupported, "This server runs no modules.")
	}
	if !moduleName.MatchString(name) {
		return m, invalid("name", "The name of a module is 1 to 100 lower-case letters, digits, dots, dashes and underscores, not %q.", clip(name))
	}
	code, err := io.ReadAll(io.LimitReader(body, wasm.MaxModule+1))
	if err != nil {
		return m, err
	}
	if len(code) > wasm.MaxModule {
		return m, problem.New(problem.TooLarge, "A module has up to %d bytes.", wasm.MaxModule).At("body")
	}
	if s.Scripts != nil && isScript(code) {
		if len(code) > mostScript {
			return m, problem.New(problem.TooLarge, "A module in Python has up to %d bytes.", mostScript).At("body")
		}
		_, err := s.Scripts.Compute(ctx, code, nil)
		if p, ok := problem.As(err); ok {
			return m, problem.New(p.Kind, "%s", p.Detail).At("body")
		}
		if err != nil {
			return m, err
		}
		return s.storeModule(ctx, name, code)
	}
	var fault wasm.Fault
	if err := s.Modules.Check(ctx, code, moduleFunction); errors.As(err, &fault) {
		return m, problem.New(problem.Invalid, "%s", string(fault)).At("body")
	} else if err != nil {
		return m, err
	}
	return s.storeModule(ctx, name, code)
}

// storeModule stores a module that can run.
func (s *Service) storeModule(ctx context.Context, name string, code []byte) (m Module, err error) {
	ctx, lease := blob.WithLease(ctx)
	digest, size, err := s.Blobs.Put(ctx, bytes.NewReader(code))
	if err != nil {
		return m, fmt.Errorf("store a module: %w", err)
	}
	err = s.DB.Write(ctx, func(tx db.Scope) error {
		last, err := moduleOf(tx, name, 0)
		if err != nil && !problem.Is(err, problem.NotFound) {
			return err
		}
		if last.Digest == digest {
			m = last
			return blob.Release(tx, lease)
		}
		m = Module{Name: name, Number: last.Number + 1, Digest: digest, Size: size, CreatedBy: caller.From(ctx).Name, CreatedAt: s.now()}
		_, err = tx.Exec("INSERT INTO monitor_module (workspace, name, number, digest, size, created_by, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7)",
			tx.Workspace, m.Name, m.Number, m.Digest, m.Size, m.CreatedBy, db.Micros(m.CreatedAt))
		return errors.Join(err, blob.Release(tx, lease), audit.Record(tx, "monitor.module-added", "monitor-module/"+m.Ref(), map[string]any{"digest": digest, "size": size}))
	})
	return m, err
}

// ModuleList lists all versions of all modules, or of one, by name, the newest first.
func (s *Service) ModuleList(ctx context.Context, name string) (out []Module, err error) {
	err = s.DB.Read(ctx, func(tx db.Scope) error {
		out = []Module{}
		return tx.Each("SELECT "+moduleColumns+" FROM monitor_module WHERE workspace = $1 AND ($2 = '' OR name = $2) ORDER BY name, number DESC", []any{tx.Workspace, name}, func(scan func(...any) error) error {
			m, err := scanModule(scan)
			out = append(out, m)
			return err
		})
	})
	return out, err
}

// DeleteModule deletes one version. One that a monitor uses stays: Conflict names the monitor.
func (s *Service) DeleteModule(ctx context.Context, name string, number int) error {
	return s.DB.Write(ctx, func(tx db.Scope) error {
		m, err := moduleOf(tx, name, number)
		if err != nil {
			return err
		}
		for after := ""; ; {
			some, err := list(tx, "", after, 500)
			if err != nil {
				return err
			}
			for i := range some {
				if slices.ContainsFunc(some[i].Metrics, func(x Metric) bool { return x.Module == m.Ref() }) {
					return problem.New(problem.Conflict, "The monitor of %q computes a metric by %s.", some[i].Endpoint, m.Ref())
				}
				after = some[i].Endpoint
			}
			if len(some) < 500 {
				break
			}
		}
		_, err = tx.Exec("DELETE FROM monitor_module WHERE workspace = $1 AND name = $2 AND number = $3", tx.Workspace, m.Name, m.Number)
		return errors.Join(err, blob.Loose(tx, m.Digest), audit.Record(tx, "monitor.module-deleted", "monitor-module/"+m.Ref(), map[string]any{"digest": m.Digest}))
	})
}

// pin gives metrics the versions of the modules they name, so that a window can be looked at again with equal results.
func (p *Plan) pin(tx db.Scope) error {
	for i := range p.Metrics {
		m := &p.Metrics[i]
		if m.Module == "" {
			continue
		}
		at := fmt.Sprintf("metrics[%d].module", i)
		name, number, err := splitModule(m.Module)
		if err != nil {
			return invalid(at, "The metric %q is computed by no module: %s.", clip(m.Name), err)
		}
		found, err := moduleOf(tx, name, number)
		if p, ok := problem.As(err); ok && p.Kind == problem.NotFound {
			return invalid(at, "%s", p.Detail)
		}
		if err != nil {
			return err
		}
		m.Module = found.Ref()
	}
	return nil
}

// runModule computes a metric by its module over the rows of a window.
func (s *Service) runModule(ctx context.Context, m *Metric, w *rows) Measured {
	out := Measured{Name: m.Name, Min: m.Min, Max: m.Max, Unit: m.Unit}
	at, why := m.chosen(w)
	if len(at) == 0 {
		out.LeftOut, out.Why = w.n, why
		return out
	}
	code, err := s.moduleCode(ctx, m.Module)
	if err == nil {
		var input, answer []byte
		if input, err = m.table(w, at); err == nil {
			if answer, err = s.callModule(ctx, code, input); err == nil {
				err = out.take(answer)
			}
		}
	}
	if err != nil {
		out.Value, out.Rows = nil, 0
		out.Why = "the module cannot be run"
		var fault wasm.Fault
		switch p, ok := problem.As(err); {
		case errors.As(err, &fault):
			out.Why = string(fault)
		case ok:
			out.Why = p.Detail
		default:
			s.Log.ErrorContext(ctx, "a metric's module cannot be run", "metric", m.Name, "module", m.Module, "error", err)
		}
	}
	return out
}

func (s *Service) callModule(ctx context.Context, code, input []byte) ([]byte, error) {
	if !isScript(code) {
		return s.Modules.Call(ctx, code, moduleFunction, input)
	}
	if s.Scripts == nil {
		return nil, wasm.Fault("This server runs no modules in Python.")
	}
	return s.Scripts.Compute(ctx, code, input)
}

// chosen are the rows that a module gets: those for which the condition holds, with an outcome where the metric needs them.
func (m *Metric) chosen(w *rows) (at []int, why string) {
	var when *expression
	why = "no row counts"
	if m.When != "" {
		var err error
		if when, err = compile(m.When, true); err != nil { // it was checked when it was stored
			return nil, err.Error()
		}
	}
	for i := range w.n {
		if when != nil && !when.holds(w, i) {
			continue
		}
		if m.Outcomes && (i >= len(w.outcomes) || w.outcomes[i] == nil) {
			why = "no outcome has arrived"
			continue
		}
		at = append(at, i)
	}
	return at, why
}

// table writes rows as a module reads them.
func (m *Metric) table(w *rows, at []int) ([]byte, error) {
	b := append([]byte(`{"rows":`), strconv.Itoa(len(at))...)
	text := func(s string) {
		quoted, _ := json.Marshal(s) // a string can always be written
		b = append(b, quoted...)
	}
	columns := func(name string, all []series, only []string) error {
		b = append(b, `,"`+name+`":{`...)
		first := true
		for k := range all {
			s := &all[k]
			if len(only) > 0 && !slices.Contains(only, s.name) {
				continue
			}
			if !first {
				b = append(b, ',')
			}
			first = false
			text(s.name)
			b = append(b, ":["...)
			for n, i := range at {
				if n > 0 {
					b = append(b, ',')
				}
				switch {
				case s.words != nil && i < len(s.words) && s.words[i] != "":
					text(s.words[i])
				case s.words == nil && i < len(s.numbers) && finite(s.numbers[i]):
					b = strconv.AppendFloat(b, s.numbers[i], 'g', -1, 64)
				default:
					b = append(b, "null"...)
				}
			}
			b = append(b, ']')
			if len(b) > wasm.MaxInput {
				return wasm.Fault(fmt.Sprintf("The rows take more than the %d bytes that a module gets; name the columns it needs.", wasm.MaxInput))
			}
		}
		b = append(b, '}')
		return nil
	}
	if err := columns("input", w.inputs, m.Columns); err != nil {
		return nil, err
	}
	if err := columns("output", w.outputs, nil); err != nil {
		return nil, err
	}
	b = append(b, `,"outcome":[`...)
	for n, i := range at {
		if n > 0 {
			b = append(b, ',')
		}
		var v any
		if i < len(w.outcomes) {
			v = w.outcomes[i]
		}
		one, err := json.Marshal(v)
		if err != nil {
			one = []byte("null")
		}
		b = append(b, one...)
	}
	return append(b, "]}"...), nil
}

// take reads the answer of a module.
func (v *Measured) take(answer []byte) error {
	var a struct {
		Value *float64 `json:"value"`
		Rows  int      `json:"rows"`
		Left  int      `json:"left_out"`
		Why   string   `json:"why"`
	}
	if err := json.Unmarshal(answer, &a); err != nil {
		return wasm.Fault("The module's answer is no JSON with value, rows, left_out and why.")
	}
	if a.Value != nil && (math.IsNaN(*a.Value) || math.IsInf(*a.Value, 0)) || a.Rows < 0 || a.Left < 0 {
		return wasm.Fault("The module's answer has a number that cannot be.")
	}
	v.Value, v.Rows, v.LeftOut, v.Why = a.Value, a.Rows, a.Left, clip(strings.ToValidUTF8(a.Why, "?"))
	if v.Value == nil && v.Why == "" {
		v.Why = "the module gave no value and no reason"
	}
	return nil
}

// mostCode is how many modules' bytes are kept in memory.
const mostCode = 8

// moduleCode reads the bytes of a module, once while they are kept.
func (s *Service) moduleCode(ctx context.Context, ref string) ([]byte, error) {
	if s.Modules == nil || s.Blobs == nil {
		return nil, wasm.Fault("This server runs no modules.")
	}
	name, number, err := splitModule(ref)
	if err != nil {
		return nil, err
	}
	var m Module
	if err := s.DB.Read(ctx, func(tx db.Scope) (err error) { m, err = moduleOf(tx, name, number); return err }); err != nil {
		return nil, err
	}
	s.mu.Lock()
	code := s.code[m.Digest]
	s.mu.Unlock()
	if code != nil {
		return code, nil
	}
	r, _, err := s.Blobs.Open(ctx, m.Digest)
	if err != nil {
		return nil, fmt.Errorf("read module %s: %w", m.Ref(), err)
	}
	defer r.Close()
	if code, err = io.ReadAll(io.LimitReader(r, wasm.MaxModule+1)); err != nil {
		return nil, fmt.Errorf("read module %s: %w", m.Ref(), err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.code == nil || len(s.code) >= mostCode {
		s.code = map[string][]byte{}
	}
	s.code[m.Digest] = code
	return code, nil
}
