package onnxruntime

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"time"

	"keelson/internal/engine"
	"keelson/internal/problem"
	"keelson/internal/proc"
	"keelson/internal/tensor"
)

const (
	grace = 20 * time.Second // for a run to stop that nobody waits for, and for a process to take a message
	shut  = time.Second      // for a process to end when its calls are closed
)

// host keeps one model's process running.
type host struct {
	e       Engine
	ctx     context.Context // of the load, until close: starts outlive the calls that want them
	end     context.CancelFunc
	library string
	file    *os.File // the model's bytes, in a file without a name
	size    int64
	about   about
	slots   chan struct{} // one per run that may be in the process, from its call to its answer

	mu     sync.Mutex
	p      *process // nil before the start and after the end
	start  *start   // under way; nil: none
	closed bool
	falls  engine.Restarts
	last   string // why the last process ended
	fault  error  // while the version rests
	now    func() time.Time
	done   sync.WaitGroup // starts and reports under way
}

// start is a start that is under way; all calls that want a process wait for the same one.
type start struct {
	done chan struct{} // closed when p or err is set
	p    *process
	err  error
}

// newHost starts the first process; data is copied, so that what is started again later are the bytes inspected now.
func newHost(ctx context.Context, e Engine, library string, data []byte) (*host, error) {
	if len(e.Self) == 0 || !supported {
		return nil, problem.New(problem.Unsupported, "this build has no onnxruntime engine; it needs one for Linux or macOS on amd64 or arm64, made without the build tag static.")
	}
	f, err := os.CreateTemp("", "keelson-model-*")
	if err != nil {
		return nil, fmt.Errorf("keep the model: %w", err)
	}
	_, err = f.Write(data)
	if err = errors.Join(err, os.Remove(f.Name())); err != nil {
		return nil, errors.Join(fmt.Errorf("keep the model: %w", err), f.Close())
	}
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	h := &host{e: e, ctx: life, end: end, library: library, file: f, size: int64(len(data)), slots: make(chan struct{}, 2*runtime.NumCPU()), now: time.Now}
	if h.e.Log == nil {
		h.e.Log = slog.New(slog.DiscardHandler)
	}
	if h.e.Memory == 0 {
		h.e.Memory = 4<<30 + 8*h.size
	}
	h.p, h.about, err = h.begin(ctx)
	if err != nil {
		end()
		return nil, errors.Join(err, f.Close())
	}
	h.watch(h.p)
	return h, nil
}

// run computes one call in the process. in has the types and shapes of the inputs in their order.
func (h *host) run(ctx context.Context, in []tensor.Tensor) ([]tensor.Tensor, error) {
	select {
	case h.slots <- struct{}{}:
	case <-ctx.Done():
		return nil, fmt.Errorf("run the model: %w", ctx.Err())
	}
	release := func() { <-h.slots }
	p, err := h.process(ctx)
	if err != nil {
		release()
		return nil, err
	}
	m, err := p.call(ctx, msgRun, asFrame(in), release)
	if err != nil {
		return nil, err
	}
	out, rest, err := tensor.ReadFrame(m.body)
	if err != nil || len(rest) != 0 || len(out) != len(h.about.Outputs) {
		return nil, fmt.Errorf("the model's process gave no frame: %w", errors.Join(err, tensor.ErrFrame))
	}
	for i := range out {
		if out[i].Check() != nil || out[i].Name != h.about.Outputs[i].Name {
			return nil, fmt.Errorf("the model's process gave no output %q", h.about.Outputs[i].Name)
		}
	}
	return out, nil
}

// process gives the running process. When it has ended, another is started, which takes the time that it takes and serves
// all who wait; a caller that goes leaves it to the others.
func (h *host) process(ctx context.Context) (*process, error) {
	h.mu.Lock()
	if p := h.p; p != nil && !h.closed {
		select {
		case <-p.gone: // its watcher takes note of it a moment later
			h.lose(p)
		default:
			h.mu.Unlock()
			return p, nil
		}
	}
	switch away := h.falls.Next.Sub(h.now()); {
	case h.closed:
		h.mu.Unlock()
		return nil, errClosed()
	case h.start != nil:
	case away > 0 && h.fault != nil:
		defer h.mu.Unlock()
		return nil, h.fault
	case away > 0:
		defer h.mu.Unlock()
		return nil, problem.New(problem.Unavailable, "The process of this model ended (%s) and is started again in %s.", h.last, away.Round(100*time.Millisecond))
	default:
		h.start = &start{done: make(chan struct{})}
		h.done.Go(h.restart)
	}
	s := h.start
	h.mu.Unlock()
	select {
	case <-s.done:
		return s.p, s.err
	case <-ctx.Done():
		return nil, fmt.Errorf("start the model's process: %w", ctx.Err())
	}
}

func errClosed() error {
	return problem.New(problem.Unavailable, "The model has been unloaded; send the request again.")
}

// restart starts another process, within the time of a load.
func (h *host) restart() {
	ctx, cancel := context.WithTimeout(h.ctx, h.e.limits.Time)
	defer cancel()
	p, _, err := h.begin(ctx)
	h.mu.Lock()
	s := h.start
	h.start = nil
	var fall *engine.Fall
	switch {
	case err == nil && h.closed:
		err = errClosed()
		defer p.end()
	case err == nil:
		h.p, h.fault = p, nil
		h.watch(p)
	case !h.closed:
		fall = h.fell(err.Error(), "")
		err = problem.New(problem.Unavailable, "The process of this model could not be started again.").Because(err)
	}
	s.p, s.err = p, err
	if err != nil {
		s.p = nil
	}
	close(s.done)
	h.mu.Unlock()
	if s.p != nil {
		h.e.Log.InfoContext(ctx, "a model's process was started again", "engine", "onnxruntime", "version", engine.Ref(h.ctx), "pid", p.child.Pid)
	}
	h.report(fall)
}

// watch takes note of the end of a process.
func (h *host) watch(p *process) {
	h.done.Go(func() { // ends with the process
		<-p.gone
		h.mu.Lock()
		fall := h.lose(p)
		h.mu.Unlock()
		h.report(fall)
	})
}

// lose takes leave of a process that is gone, and counts it as fallen unless it was ended. mu is held; who is told twice
// counts once.
func (h *host) lose(p *process) *engine.Fall {
	if h.p == p {
		h.p = nil
		if !h.closed {
			p.fall = h.fell(p.why, p.said.Lines(6, 600))
		}
	}
	return p.fall
}

// fell counts an end, or a start that failed. mu is held.
func (h *host) fell(why, words string) *engine.Fall {
	h.last = why
	f := &engine.Fall{Ref: engine.Ref(h.ctx), Why: why, Words: words, Rests: h.falls.Ended(h.now())}
	if f.Rests {
		name := f.Ref
		if name == "" {
			name = "of the model"
		}
		h.fault = h.falls.Fault(name, "onnxruntime", why)
	}
	return f
}

func (h *host) report(f *engine.Fall) {
	if f == nil {
		return
	}
	h.e.Log.ErrorContext(h.ctx, "a model's process ended on its own", "engine", "onnxruntime", "version", f.Ref, "why", f.Why, "said", f.Words, "rests", f.Rests)
	if h.e.Fell != nil {
		h.e.Fell(h.ctx, *f)
	}
}

func (h *host) close() error {
	h.mu.Lock()
	p := h.p
	h.p, h.closed = nil, true
	h.mu.Unlock()
	h.end()
	if p != nil {
		p.end()
	}
	h.done.Wait()
	return h.file.Close()
}

// process is one running child.
type process struct {
	child *proc.Child
	out   *sender
	calls *os.File
	gone  chan struct{} // closed when it has ended and was waited for
	why   string        // set before gone is closed
	fall  *engine.Fall  // set under the host's lock
	log   *slog.Logger
	said  proc.Tail

	mu      sync.Mutex
	next    uint64
	waiting map[uint64]pending
	killed  string // why it was ended
}

// pending is a call without an answer yet.
type pending struct {
	answer  chan message // has room for the one answer
	release func()       // gives back its slot
}

// begin runs a child up to its ready session.
func (h *host) begin(ctx context.Context) (*process, about, error) {
	var a about
	callsIn, calls, err := os.Pipe()
	if err != nil {
		return nil, a, fmt.Errorf("start the model's process: %w", err)
	}
	answers, answersOut, err := os.Pipe()
	if err != nil {
		return nil, a, errors.Join(fmt.Errorf("start the model's process: %w", err), callsIn.Close(), calls.Close())
	}
	p := &process{out: &sender{w: calls, patience: grace}, calls: calls, gone: make(chan struct{}), waiting: map[uint64]pending{}, log: h.e.Log}
	for _, apart := range []bool{true, false} { // without network and users of its own where the machine does not allow them
		cmd := exec.Command(h.e.Self[0], append(h.e.Self[1:len(h.e.Self):len(h.e.Self)], entry(h.library)...)...)
		cmd.Env, cmd.Dir = []string{"LANG=C.UTF-8", "PATH=/usr/bin:/bin", "GOMAXPROCS=2"}, "/"
		cmd.ExtraFiles = []*os.File{callsIn, answersOut, h.file}
		cmd.Stdout, cmd.Stderr = &p.said, &p.said
		isolate(cmd, apart)
		if p.child, err = proc.Start(cmd); err == nil {
			break
		}
	}
	err = errors.Join(err, callsIn.Close(), answersOut.Close())
	if err != nil {
		return nil, a, errors.Join(fmt.Errorf("start the model's process: %w", err), calls.Close(), answers.Close())
	}
	go p.listen(answers) // ends with the process, which holds the other end
	m, err := p.call(ctx, msgOpen, asJSON(order{Library: h.library, Threads: h.e.threads(), Memory: h.e.Memory, Size: h.size}), func() {})
	if err == nil {
		if err = json.Unmarshal(m.body, &a); err == nil && (m.what != msgReady || len(a.Inputs) == 0 || len(a.Outputs) == 0) {
			err = problem.New(problem.Invalid, "it has %d inputs and %d outputs.", len(a.Inputs), len(a.Outputs))
		}
	}
	if err != nil {
		p.end()
		if errors.Is(err, errLost) {
			err = problem.New(problem.Unavailable, "The process of this model ended before it was ready: %s.", p.why).Because(fmt.Errorf("%w; it said: %s", err, p.said.Lines(6, 600)))
		}
		return nil, a, err
	}
	return p, a, nil
}

// listen hands answers to those who wait, until the process ends.
func (p *process) listen(answers *os.File) {
	r := bufio.NewReaderSize(answers, 64<<10)
	var err error
	for err == nil {
		var m message
		if m, err = receive(r); err == nil {
			if w, ok := p.settle(m.number); ok {
				w.answer <- m
			}
		}
	}
	p.child.Kill() // it has ended, or speaks nonsense
	<-p.child.Gone()
	_, _ = answers.Close(), p.calls.Close() // closed twice when the model was unloaded
	p.mu.Lock()
	if p.why = p.killed; p.why == "" {
		p.why = p.child.How()
	}
	left := p.waiting
	p.waiting = nil
	p.mu.Unlock()
	for _, w := range left {
		w.release()
	}
	close(p.gone)
}

// settle takes a call out of those that wait and gives back its slot.
func (p *process) settle(number uint64) (pending, bool) {
	p.mu.Lock()
	w, ok := p.waiting[number]
	delete(p.waiting, number)
	p.mu.Unlock()
	if ok {
		w.release()
	}
	return w, ok
}

// call sends a message and waits for its answer. release is called once the process no longer works on it, which may be
// after call has returned.
func (p *process) call(ctx context.Context, what byte, body func([]byte) []byte, release func()) (message, error) {
	answer := make(chan message, 1)
	p.mu.Lock()
	p.next++
	number := p.next
	if p.waiting == nil {
		p.mu.Unlock()
		release()
		<-p.gone
		return message{}, p.lost()
	}
	p.waiting[number] = pending{answer, release}
	p.mu.Unlock()
	if err := p.out.send(number, what, body); err != nil {
		if problem.KindOf(err) == problem.TooLarge {
			p.settle(number)
			return message{}, err
		}
		if errors.Is(err, os.ErrDeadlineExceeded) { // what was written of this message makes nonsense of the next
			p.kill(fmt.Sprintf("it did not take a call within %s", grace))
		}
		<-p.gone
		return message{}, p.lost()
	}
	select {
	case m := <-answer:
		if m.what == msgProblem {
			var r refusal
			if err := json.Unmarshal(m.body, &r); err != nil || r.Kind == "" || r.Kind == problem.Internal {
				return message{}, fmt.Errorf("the model's process: %s", clip(string(m.body)))
			}
			return message{}, problem.New(r.Kind, "%s", r.Detail)
		}
		return m, nil
	case <-p.gone:
		return message{}, p.lost()
	case <-ctx.Done():
		if what == msgRun {
			go p.abandon(number, answer) // ends with the run or the process
		}
		return message{}, fmt.Errorf("run the model: %w", ctx.Err())
	}
}

var errLost = errors.New("onnxruntime: the process ended")

func (p *process) lost() error {
	return problem.New(problem.Unavailable, "The process of this model ended during the call; it is started again, so send the request again.").Because(fmt.Errorf("%w: %s", errLost, p.why))
}

// kill ends the process; why is told unless another reason was before, or it had ended already.
func (p *process) kill(why string) {
	select {
	case <-p.child.Gone():
		return
	default:
	}
	p.mu.Lock()
	if p.killed == "" {
		p.killed = why
	}
	p.mu.Unlock()
	p.child.Kill()
}

// abandon asks a run that nobody waits for to stop and ends the process when it does not.
func (p *process) abandon(number uint64, answer <-chan message) {
	timer := time.NewTimer(grace)
	defer timer.Stop()
	_ = p.out.send(number, msgStop, nil) // a process that takes no message is ended below
	select {
	case <-answer:
	case <-p.gone:
	case <-timer.C:
		p.kill(fmt.Sprintf("a call that nobody waited for did not stop within %s", grace))
	}
}

// end closes the calls, which ends the child, and waits for it.
func (p *process) end() {
	_ = p.calls.Close() // it may have ended already
	timer := time.NewTimer(shut)
	defer timer.Stop()
	select {
	case <-p.gone:
	case <-timer.C:
		p.kill("the model was let go")
		<-p.gone
	}
}
