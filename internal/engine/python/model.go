package python

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"keelson/internal/engine"
	"keelson/internal/problem"
	"keelson/internal/tensor"
)

// When children are started again.
const (
	longWait   = 3 * time.Second // a call does not wait for a start that is further away
	waitAtMost = 20 * time.Second
)

// model is one loaded version with its children.
type model struct {
	engine *Engine
	ref    string
	ctx    context.Context // of the load, without its end
	dir    string
	copied map[string]string // digests of the copies by path
	iso    Isolation
	limits Limits
	launch launch
	first  order
	sig    engine.Signature
	python string

	idle chan *child // children that nobody speaks with

	mu      sync.Mutex
	news    chan struct{} // closed and replaced at every change below
	all     map[*child]bool
	standby []*child
	falls   engine.Restarts
	restart int64  // starts after the first ones
	fault   error  // while the version rests
	last    string // why the last child ended
	words   string // what it said last; for operators, since it may tell of inputs
	filling bool
	closed  bool
	done    sync.WaitGroup
	end     context.CancelFunc
}

// open starts the first child, then the others.
func (m *model) open(ctx context.Context) error {
	life, end := context.WithCancel(m.ctx)
	m.ctx, m.end, m.all = life, end, map[*child]bool{}
	c, err := m.start(ctx)
	if err != nil {
		return err
	}
	m.sig, m.python = c.ready.Signature, c.ready.Python
	if err := m.sig.Check(); err != nil {
		return errors.Join(problem.New(problem.Unsupported, "What the model says of its inputs and outputs cannot be used: %s", problem.Detail(err)), m.Close())
	}
	m.mu.Lock()
	m.place(c)
	m.mu.Unlock()
	for len(m.idle) < cap(m.idle) {
		c, err := m.start(ctx)
		if err != nil {
			return errors.Join(err, m.Close())
		}
		m.mu.Lock()
		m.place(c)
		m.mu.Unlock()
	}
	m.refill() // the standbys, in the background
	return nil
}

// start starts one child and watches for its end.
func (m *model) start(ctx context.Context) (*child, error) {
	if err := unchanged(filepath.Join(m.dir, "model"), m.copied); err != nil {
		return nil, err
	}
	l := m.launch
	if !l.Namespaces { // then the folders are the machine's own, and each child has another
		work, err := os.MkdirTemp(m.dir, "work-")
		if err != nil {
			return nil, err
		}
		for i, kv := range l.Env {
			for _, k := range []string{"HOME=", "TMPDIR=", "MPLCONFIGDIR="} {
				if kv == k+l.Work {
					if i == 0 || &l.Env[0] == &m.launch.Env[0] {
						l.Env = append([]string{}, l.Env...)
					}
					l.Env[i] = k + work
				}
			}
		}
		l.Work = work
	}
	began := time.Now()
	c, err := m.engine.begin(ctx, l, m.first)
	if err != nil {
		if !l.Namespaces {
			os.RemoveAll(l.Work)
		}
		return nil, err
	}
	m.engine.Log.InfoContext(ctx, "a Python process is ready", "version", m.ref, "pid", c.pid, "took", time.Since(began), "isolation", m.iso.Level)
	m.mu.Lock()
	m.all[c] = true
	closed := m.closed
	m.mu.Unlock()
	if closed {
		c.kill("the version is let go")
	}
	m.engine.Metrics.started()
	m.done.Go(func() { // ends with the child
		<-c.gone
		if !l.Namespaces {
			os.RemoveAll(l.Work)
		}
		m.lost(c)
	})
	return c, nil
}

// place makes a child that is in all answer, or stand by where enough do. mu is held.
func (m *model) place(c *child) {
	select {
	case <-c.gone:
		return // lost sees to it
	default:
	}
	if len(m.all)-1-len(m.standby) < cap(m.idle) {
		m.idle <- c
	} else {
		m.standby = append(m.standby, c)
	}
	m.tell()
}

// release gives a child back after a call.
func (m *model) release(c *child) {
	m.mu.Lock()
	defer m.mu.Unlock()
	select {
	case <-c.gone:
	default:
		m.idle <- c // there is room: no more children answer than it holds
	}
}

// tell wakes who waits for a change. mu is held.
func (m *model) tell() {
	close(m.news)
	m.news = make(chan struct{})
}

// lost takes note of a child's end and sees to another.
func (m *model) lost(c *child) {
	m.mu.Lock()
	delete(m.all, c)
	for i, s := range m.standby {
		if s == c {
			m.standby = append(m.standby[:i], m.standby[i+1:]...)
			break
		}
	}
	// One that waited for a call is taken out of the queue; the others keep their places.
	for range len(m.idle) {
		select {
		case other := <-m.idle:
			if other != c {
				m.idle <- other
			}
		default: // a call took it meanwhile
		}
	}
	if m.closed {
		m.mu.Unlock()
		return
	}
	m.last, m.words = c.why(), c.last()
	fall := m.crashed()
	if len(m.standby) > 0 && len(m.all)-len(m.standby) < cap(m.idle) {
		s := m.standby[0]
		m.standby = m.standby[1:]
		m.idle <- s
	}
	m.tell()
	m.mu.Unlock()
	m.engine.Metrics.crashed()
	m.engine.Log.Warn("a Python process ended", "version", m.ref, "pid", c.pid, "why", c.why(), "said", c.last())
	m.refill()
	m.report(fall)
}

// crashed counts a crash and says when the next start is. mu is held.
func (m *model) crashed() engine.Fall {
	rests := m.falls.Ended(time.Now())
	if rests {
		m.fault = m.falls.Fault(m.name(), "Python", m.last)
	}
	return engine.Fall{Ref: m.ref, Why: m.last, Words: m.words, Rests: rests}
}

func (m *model) name() string {
	if m.ref == "" {
		return "of the model"
	}
	return m.ref
}

func (m *model) report(f engine.Fall) {
	if f.Rests {
		m.engine.Log.Error("a version in Python is at fault", "version", m.ref, "why", f.Why, "said", f.Words)
	}
	if m.engine.Fell != nil {
		m.engine.Fell(m.ctx, f)
	}
}

// refill starts children in the background until there are enough, each when its time has come.
func (m *model) refill() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.filling || m.closed || len(m.all) >= cap(m.idle)+m.engine.Standby {
		return
	}
	m.filling = true
	m.done.Go(m.fill)
}

func (m *model) fill() {
	for {
		m.mu.Lock()
		if m.closed || len(m.all) >= cap(m.idle)+m.engine.Standby {
			m.filling = false
			m.mu.Unlock()
			return
		}
		pause := time.Until(m.falls.Next)
		m.mu.Unlock()
		if pause > 0 {
			wake := time.NewTimer(pause)
			select {
			case <-m.ctx.Done():
				wake.Stop()
				continue
			case <-wake.C:
			}
		}
		c, err := m.start(m.ctx)
		if err == nil && c.ready.Signature.Differs(m.sig) != "" {
			err = problem.New(problem.Unavailable, "Loaded again, the model has another signature: %s.", m.sig.Differs(c.ready.Signature))
			c.kill("it loaded another signature than before")
			continue // its end is counted by lost
		}
		m.mu.Lock()
		var fall engine.Fall
		if err == nil {
			m.restart++
			m.fault = nil
			m.place(c)
		} else if !m.closed {
			m.last, m.words = unstarted(err)
			fall = m.crashed()
			m.tell()
		}
		m.mu.Unlock()
		if err != nil {
			m.engine.Metrics.crashed()
			m.engine.Log.Warn("a Python process could not be started", "version", m.ref, "error", err)
		}
		if fall.Why != "" {
			m.report(fall)
		}
	}
}

// unstarted says why a start failed, and what the child said.
func unstarted(err error) (why, words string) {
	var c *crash
	if errors.As(err, &c) {
		return c.why, c.said
	}
	return strings.TrimSuffix(sentence(problem.Detail(err)), "."), ""
}

// Signature implements engine.Model.
func (m *model) Signature() engine.Signature { return m.sig }

// Where implements engine.Runner.
func (m *model) Where() string {
	return fmt.Sprintf("Python %s in processes of its own: %s; at most %s of memory, %s for a call", m.python, m.iso, mebi(m.limits.most(m.launch.Namespaces)), m.limits.Call)
}

// MemoryBytes implements engine.Sizer: what the children hold.
func (m *model) MemoryBytes() (n int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for c := range m.all {
		n += c.memory.Load()
	}
	return n
}

// acquire waits for a child that nobody speaks with. It fails at once where none will come soon.
func (m *model) acquire(ctx context.Context) (*child, error) {
	select {
	case c := <-m.idle:
		return c, nil
	default:
	}
	timer := time.NewTimer(waitAtMost)
	defer timer.Stop()
	for {
		m.mu.Lock()
		news, fault, alive, away, last := m.news, m.fault, len(m.all), time.Until(m.falls.Next), m.last
		closed := m.closed
		m.mu.Unlock()
		switch {
		case closed:
			return nil, problem.New(problem.Unavailable, "The version %s is being let go.", m.name())
		case alive == 0 && fault != nil:
			return nil, fault
		case alive == 0 && away > longWait:
			return nil, problem.New(problem.Unavailable, "The Python process of %s ended (%s) and is started again in %s.", m.name(), last, away.Round(time.Second))
		}
		select {
		case c := <-m.idle:
			return c, nil
		case <-news:
			if alive > 0 {
				continue
			}
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-timer.C:
			if alive == 0 {
				return nil, problem.New(problem.Unavailable, "The Python process of %s is being started again; try again in a moment.", m.name())
			}
			timer.Reset(waitAtMost) // it is busy; the caller's time and the queue of the endpoint bound the wait
		}
	}
}

type result struct {
	out []tensor.Tensor
	err error
}

// Predict implements engine.Model. A caller that goes before the answer comes leaves the child to finish it.
func (m *model) Predict(ctx context.Context, in []tensor.Tensor) ([]tensor.Tensor, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := m.check(in); err != nil {
		return nil, err
	}
	msg, err := message(order{}, in)
	if err != nil {
		return nil, err
	}
	if len(msg) > mostMessage {
		return nil, problem.New(problem.TooLarge, "The call has %d bytes; a model in Python takes %d at once.", len(msg), mostMessage).At("inputs")
	}
	c, err := m.acquire(ctx)
	if err != nil {
		return nil, err
	}
	answered := make(chan result, 1)
	go func() { // ends with the call, which has its time
		a, out, err := c.exchange(msg, m.limits.Call, fmt.Sprintf("a call took longer than %s", m.limits.Call))
		if err == nil {
			m.release(c)
			err = m.judge(a, out)
		} else {
			err = problem.New(problem.Unavailable, "The Python process of %s ended while it answered: %s. Another one is started; try again.", m.name(), c.why()).Because(err)
		}
		answered <- result{out, err}
	}()
	select {
	case r := <-answered:
		if r.err != nil {
			return nil, r.err
		}
		return r.out, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// judge holds an answer against the signature.
func (m *model) judge(a answer, out []tensor.Tensor) error {
	if a.Error != nil {
		if a.Error.Kind == "input" {
			return problem.New(problem.Invalid, "The model refuses the inputs: %s", sentence(a.Error.Text)).At("inputs")
		}
		return fmt.Errorf("the model failed: %s", sentence(a.Error.Text))
	}
	if len(out) != len(m.sig.Outputs) {
		return fmt.Errorf("the model answers with %d outputs, its signature has %d", len(out), len(m.sig.Outputs))
	}
	for i, spec := range m.sig.Outputs {
		if t := &out[i]; t.Name != spec.Name || t.Type.String() != spec.Datatype || !spec.Fits(t.Shape) {
			return fmt.Errorf("the model answers %s %s %v, its signature says %s %s %v", t.Name, t.Type, t.Shape, spec.Name, spec.Datatype, spec.Shape)
		}
	}
	return nil
}

// check holds the inputs against the signature: names, text or numbers, shapes, the same rows everywhere.
func (m *model) check(in []tensor.Tensor) error {
	if len(in) == 0 {
		return problem.New(problem.Invalid, "The request has no inputs.").At("inputs")
	}
	specs := m.sig.Inputs
	if one := specs[0]; len(specs) == 1 && len(one.Columns) > 0 && (len(in) > 1 || in[0].Name != one.Name) {
		specs = nil // a tensor per column instead
		for _, c := range one.Columns {
			specs = append(specs, engine.Spec{Name: c, Datatype: one.Datatype, Shape: []int{-1}})
		}
	}
	used := 0
	for _, spec := range specs {
		at := -1
		for i := range in {
			if in[i].Name == spec.Name {
				if at >= 0 {
					return problem.New(problem.Invalid, "The input %q is there twice.", clip(spec.Name)).At("inputs")
				}
				at = i
			}
		}
		if at < 0 {
			if spec.Optional {
				continue
			}
			return problem.New(problem.Invalid, "The input %q is missing from the request.", clip(spec.Name)).At("inputs")
		}
		used++
		t := &in[at]
		field := fmt.Sprintf("inputs[%d]", at)
		if (t.Type == tensor.Bytes) != (spec.Datatype == "BYTES") {
			return problem.New(problem.Invalid, "The input %q is %s; the model takes %s.", clip(spec.Name), t.Type, spec.Datatype).At(field + ".datatype")
		}
		column := len(spec.Shape) == 1 && len(t.Shape) == 2 && t.Shape[1] == 1 && spec.Fits(t.Shape[:1])
		if !column && !spec.Fits(t.Shape) {
			return problem.New(problem.Invalid, "The input %q has shape %v; the model takes %v.", clip(spec.Name), t.Shape, spec.Shape).At(field + ".shape")
		}
		if len(spec.Shape) > 0 && spec.Shape[0] == -1 && t.Rows() != in[0].Rows() {
			return problem.New(problem.Invalid, "The input %q has %d rows, the first one has %d.", clip(spec.Name), t.Rows(), in[0].Rows()).At(field + ".shape")
		}
	}
	if used != len(in) {
		return problem.New(problem.Invalid, "The request has an input that the model does not take.").At("inputs")
	}
	return nil
}

// clip shortens what others wrote for a message.
func clip(s string) string { return problem.Clip(s, 80) }

// Close ends the children, also in the midst of calls, and removes the copy of the model.
func (m *model) Close() error {
	m.mu.Lock()
	if m.closed {
		m.mu.Unlock()
		return nil
	}
	m.closed = true
	m.end()
	var all []*child
	for c := range m.all {
		all = append(all, c)
	}
	m.tell()
	m.mu.Unlock()
	for _, c := range all {
		c.kill("the version is let go")
	}
	m.done.Wait()
	for len(m.idle) > 0 {
		<-m.idle
	}
	m.engine.mu.Lock()
	delete(m.engine.models, m)
	m.engine.mu.Unlock()
	return m.clean()
}

// clean removes the copy of the model.
func (m *model) clean() error {
	if m.end != nil {
		m.end()
	}
	if err := os.RemoveAll(m.dir); err != nil {
		return fmt.Errorf("remove the copy of a model: %w", err)
	}
	return nil
}
