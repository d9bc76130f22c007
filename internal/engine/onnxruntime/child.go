package onnxruntime

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"keelson/internal/problem"
	"keelson/internal/sandbox"
	"keelson/internal/tensor"
)

// The child's files: calls come in, answers go out, and the model lies in the third.
const (
	callsFile   = 3
	answersFile = 4
	modelFile   = 5
)

// Child is the life of a model's process; it gives the exit code. With the arguments of entry it gives up what it does not
// need and becomes itself without them. It ends when the server closes the calls, which the end of the server does too.
func Child(args []string) int {
	if len(args) > 0 {
		fmt.Fprintln(os.Stderr, "keelson onnxruntime:", enter(args))
		return 1
	}
	calls, answers, file := os.NewFile(callsFile, "calls"), os.NewFile(answersFile, "answers"), os.NewFile(modelFile, "model")
	if calls == nil || answers == nil || file == nil {
		fmt.Fprintln(os.Stderr, "keelson: this word is for the server's own use")
		return 2
	}
	c := &child{in: bufio.NewReaderSize(calls, 64<<10), out: &sender{w: answers}, running: map[uint64]*run{}}
	if err := c.serve(file); err != nil && !errors.Is(err, io.EOF) {
		fmt.Fprintln(os.Stderr, "keelson onnxruntime:", err)
		return 1
	}
	return 0
}

type child struct {
	in  *bufio.Reader
	out *sender

	mu      sync.Mutex
	running map[uint64]*run
}

// run is one that was asked for and not answered.
type run struct {
	stopped bool   // nobody waits for it
	stop    func() // ends it early; nil before it has begun and after its end
}

// stops ends a run early, also one that has not begun: then its beginning is its end.
func (c *child) stops(number uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if r := c.running[number]; r != nil {
		r.stopped = true
		if r.stop != nil {
			r.stop()
		}
	}
}

// hold gives up the system calls that computing does not need: other programs, and the network in every form.
func (c *child) hold() error { return sandbox.Calls{}.Apply() }

func (c *child) serve(file *os.File) error {
	if err := c.hold(); err != nil {
		return err
	}
	m, err := receive(c.in)
	if err != nil {
		return err
	}
	var o order
	if err := json.Unmarshal(m.body, &o); err != nil || m.what != msgOpen {
		return fmt.Errorf("the first message is no order (%w)", err)
	}
	s, err := c.open(o, file)
	if err != nil {
		return errors.Join(c.refuse(m.number, err), io.EOF)
	}
	if err := c.out.send(m.number, msgReady, asJSON(about{s.inputs, s.outputs, resident()})); err != nil {
		return err
	}
	// Runs are as many at once as calls came; the server bounds them.
	for {
		m, err := receive(c.in)
		if err != nil {
			return err // the server has gone or closed the model; runs end with this process
		}
		switch m.what {
		case msgRun:
			r := &run{}
			c.mu.Lock()
			c.running[m.number] = r
			c.mu.Unlock()
			go c.run(s, m, r) // ends with its answer
		case msgStop:
			c.stops(m.number)
		}
	}
}

func (c *child) open(o order, file *os.File) (*session, error) {
	model := make([]byte, o.Size)
	if _, err := io.ReadFull(io.NewSectionReader(file, 0, o.Size), model); err != nil {
		return nil, fmt.Errorf("read the model: %w", err)
	}
	if err := file.Close(); err != nil {
		return nil, err
	}
	l, err := open(o.Library)
	if err != nil {
		return nil, err
	}
	if err := bound(o.Memory); err != nil { // after the library is open, whose file it maps
		return nil, err
	}
	s, err := l.load(model, o.Threads)
	var f *failure
	if errors.As(err, &f) {
		kind := problem.Invalid
		if f.code == codeNotImplemented {
			kind = problem.Unsupported
		}
		return nil, problem.New(kind, "onnxruntime %s says: %s.", l.version, clip(f.message))
	}
	return s, err
}

func (c *child) run(s *session, m message, r *run) {
	defer func() {
		c.mu.Lock()
		delete(c.running, m.number)
		c.mu.Unlock()
	}()
	in, rest, err := tensor.ReadFrame(m.body)
	if err != nil || len(rest) != 0 || len(in) != len(s.inputs) {
		c.answer(m.number, nil, fmt.Errorf("a call of %d tensors cannot be read (%w)", len(in), err))
		return
	}
	out, err := s.run(in, func(stop func()) {
		c.mu.Lock()
		defer c.mu.Unlock()
		if r.stop = stop; stop != nil && r.stopped {
			stop()
		}
	})
	c.answer(m.number, out, err)
}

// answer sends what came of a run; when that is impossible the server has gone, and this process with it.
func (c *child) answer(number uint64, out []tensor.Tensor, err error) {
	if err == nil {
		err = c.out.send(number, msgAnswer, asFrame(out))
		if !problem.Is(err, problem.TooLarge) {
			return
		}
	}
	_ = c.refuse(number, err)
}

func (c *child) refuse(number uint64, err error) error {
	r := refusal{Kind: problem.Internal, Detail: err.Error()}
	var f *failure
	switch p, ok := problem.As(err); {
	case ok:
		r = refusal{p.Kind, p.Detail}
	case errors.As(err, &f):
		r = refusal{problem.Invalid, fmt.Sprintf("The model cannot be computed for these inputs; onnxruntime says: %s.", clip(f.message))}
	}
	return c.out.send(number, msgProblem, asJSON(r))
}
