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

	"keelson/internal/problem"
	"keelson/internal/tensor"
)

// Backoff is the pause before a process that ended soon after its start is started again: so long after the first time,
// twice as long each time after that, up to a minute.
const (
	firstPause = time.Second
	maxPause   = time.Minute
	soon       = time.Minute // a process that lived longer starts again at once
	grace      = 20 * time.Second
)

// host keeps one model's process running.
type host struct {
	e       Engine
	library string
	file    *os.File // the model's bytes, in a file without a name
	size    int64
	about   about
	slots   chan struct{} // one per run that may be in the process

	mu      sync.Mutex
	p       *process
	closed  bool
	ends    int // in a row, soon after the start
	notTill time.Time
	now     func() time.Time
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
	h := &host{e: e, library: library, file: f, size: int64(len(data)), slots: make(chan struct{}, 2*runtime.NumCPU()), now: time.Now}
	if h.e.Log == nil {
		h.e.Log = slog.New(slog.DiscardHandler)
	}
	if h.e.Memory == 0 {
		h.e.Memory = 4<<30 + 8*h.size
	}
	h.p, h.about, err = h.start(ctx)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return h, nil
}

// run computes one call in the process. in has the types and shapes of the inputs in their order.
func (h *host) run(ctx context.Context, in []tensor.Tensor) ([]tensor.Tensor, error) {
	select {
	case h.slots <- struct{}{}:
		defer func() { <-h.slots }()
	case <-ctx.Done():
		return nil, fmt.Errorf("run the model: %w", ctx.Err())
	}
	p, err := h.process(ctx)
	if err != nil {
		return nil, err
	}
	m, err := p.call(ctx, msgRun, asFrame(in))
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

// process gives the running process, starting it when it has ended.
func (h *host) process(ctx context.Context) (*process, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return nil, problem.New(problem.Unavailable, "The model has been unloaded; send the request again.")
	}
	if h.p != nil {
		select {
		case <-h.p.gone:
			h.ended()
		default:
			return h.p, nil
		}
	}
	if wait := h.notTill.Sub(h.now()); wait > 0 {
		return nil, problem.New(problem.Unavailable, "The process of this model keeps ending; it is started again in %s.", wait.Round(100*time.Millisecond))
	}
	p, _, err := h.start(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return nil, fmt.Errorf("start the model's process: %w", ctx.Err())
		}
		h.pause()
		return nil, problem.New(problem.Unavailable, "The process of this model could not be started again.").Because(err)
	}
	h.e.Log.Info("a model's process was started again", "engine", "onnxruntime", "pid", p.cmd.Process.Pid)
	h.p = p
	return p, nil
}

// ended takes leave of a process that is gone.
func (h *host) ended() {
	p := h.p
	h.p = nil
	if h.now().Sub(p.began) > soon {
		h.ends = 0
	}
	h.pause()
	if h.ends == 1 {
		h.notTill = time.Time{} // once may happen
	}
}

func (h *host) pause() {
	h.ends++
	h.notTill = h.now().Add(min(maxPause, firstPause<<min(h.ends-1, 10)))
}

func (h *host) close() error {
	h.mu.Lock()
	p := h.p
	h.p, h.closed = nil, true
	h.mu.Unlock()
	if p != nil {
		p.end()
	}
	return h.file.Close()
}

// process is one running child.
type process struct {
	cmd   *exec.Cmd
	out   *sender
	calls *os.File
	began time.Time
	gone  chan struct{} // closed when it has ended and was waited for
	why   string        // set before gone is closed
	log   *slog.Logger
	said  tail

	mu      sync.Mutex
	next    uint64
	waiting map[uint64]chan message
	ending  bool
}

// start runs a child up to its ready session.
func (h *host) start(ctx context.Context) (*process, about, error) {
	var a about
	callsIn, calls, err := os.Pipe()
	if err != nil {
		return nil, a, fmt.Errorf("start the model's process: %w", err)
	}
	answers, answersOut, err := os.Pipe()
	if err != nil {
		return nil, a, errors.Join(fmt.Errorf("start the model's process: %w", err), callsIn.Close(), calls.Close())
	}
	p := &process{out: &sender{w: calls}, calls: calls, began: h.now(), gone: make(chan struct{}), waiting: map[uint64]chan message{}, log: h.e.Log}
	for _, apart := range []bool{true, false} { // without network and users of its own where the machine does not allow them
		p.cmd = exec.Command(h.e.Self[0], h.e.Self[1:]...)
		p.cmd.Env, p.cmd.Dir = []string{"LANG=C.UTF-8", "PATH=/usr/bin:/bin", "GOMAXPROCS=2"}, "/"
		p.cmd.ExtraFiles = []*os.File{callsIn, answersOut, h.file}
		p.cmd.Stdout, p.cmd.Stderr = &p.said, &p.said
		isolate(p.cmd, apart)
		if err = p.cmd.Start(); err == nil {
			break
		}
	}
	err = errors.Join(err, callsIn.Close(), answersOut.Close())
	if err != nil {
		return nil, a, errors.Join(fmt.Errorf("start the model's process: %w", err), calls.Close(), answers.Close())
	}
	go p.listen(answers)
	m, err := p.call(ctx, msgOpen, asJSON(order{Library: h.library, Threads: h.e.threads(), Memory: h.e.Memory, Size: h.size}))
	if err == nil {
		if err = json.Unmarshal(m.body, &a); err == nil && (m.what != msgReady || len(a.Inputs) == 0 || len(a.Outputs) == 0) {
			err = problem.New(problem.Invalid, "it has %d inputs and %d outputs.", len(a.Inputs), len(a.Outputs))
		}
	}
	if err != nil {
		p.end()
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
			p.mu.Lock()
			w := p.waiting[m.number]
			delete(p.waiting, m.number)
			p.mu.Unlock()
			if w != nil {
				w <- m
			}
		}
	}
	_ = p.cmd.Process.Kill() // it has ended, or speaks nonsense
	state := p.cmd.Wait()
	_, _ = answers.Close(), p.calls.Close() // closed twice when the model was unloaded
	p.mu.Lock()
	ending := p.ending
	p.why = "ended"
	if state != nil {
		p.why = state.Error()
	}
	p.mu.Unlock()
	if !ending {
		p.log.Error("a model's process ended on its own", "engine", "onnxruntime", "pid", p.cmd.Process.Pid, "how", p.why, "said", p.said.String())
	}
	close(p.gone)
}

// call sends a message and waits for its answer.
func (p *process) call(ctx context.Context, what byte, body func([]byte) []byte) (message, error) {
	answer := make(chan message, 1)
	p.mu.Lock()
	p.next++
	number := p.next
	p.waiting[number] = answer
	p.mu.Unlock()
	if err := p.out.send(number, what, body); err != nil {
		p.mu.Lock()
		delete(p.waiting, number)
		p.mu.Unlock()
		if problem.KindOf(err) == problem.TooLarge {
			return message{}, err
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
			go p.abandon(number)
		}
		return message{}, fmt.Errorf("run the model: %w", ctx.Err())
	}
}

func (p *process) lost() error {
	return problem.New(problem.Unavailable, "The process of this model ended during the call; it is started again, so send the request again.").Because(errors.New(p.why))
}

// abandon asks a run that nobody waits for to stop and ends the process when it does not.
func (p *process) abandon(number uint64) {
	_ = p.out.send(number, msgStop, nil) // a process that takes no message is ended below
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-p.gone:
	case <-timer.C:
		p.mu.Lock()
		_, runs := p.waiting[number]
		p.mu.Unlock()
		if runs {
			p.log.Warn("a model's process is ended because a call did not stop", "engine", "onnxruntime", "pid", p.cmd.Process.Pid)
			_ = p.cmd.Process.Kill()
		}
	}
}

// end closes the calls, which ends the child, and waits for it.
func (p *process) end() {
	p.mu.Lock()
	p.ending = true
	p.mu.Unlock()
	_ = p.calls.Close() // it may have ended already
	timer := time.NewTimer(time.Second)
	defer timer.Stop()
	select {
	case <-p.gone:
	case <-timer.C:
		_ = p.cmd.Process.Kill()
		<-p.gone
	}
}

// tail keeps the last words of a process.
type tail struct {
	mu sync.Mutex
	b  []byte
}

func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.b = append(t.b, b...)
	if over := len(t.b) - 4096; over > 0 {
		t.b = append(t.b[:0], t.b[over:]...)
	}
	return len(b), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.b)
}
