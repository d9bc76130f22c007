package onnxruntime

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"keelson/internal/problem"
	"keelson/internal/tensor"
)

// Messages between the server and a child: number (8 bytes), what (1 byte), length (4 bytes), body.
const (
	msgOpen    = 'o' // to the child, once: order as JSON
	msgRun     = 'r' // to the child: a frame of tensors
	msgStop    = 's' // to the child: end the run of this number
	msgReady   = 'R' // from the child: about as JSON
	msgAnswer  = 'A' // from the child: a frame of tensors
	msgProblem = 'P' // from the child: refusal as JSON
)

const headerSize = 13

// order is what a child is told when it starts.
type order struct {
	Library string `json:"library"`
	Threads int    `json:"threads"`
	Memory  int64  `json:"memory"` // bytes
	Size    int64  `json:"size"`   // of the model file
}

// about is what a child says of its model.
type about struct {
	Inputs  []port `json:"inputs"`
	Outputs []port `json:"outputs"`
	Memory  int64  `json:"memory"` // bytes that the process holds; 0: not known
}

// refusal is a problem on its way from the child.
type refusal struct {
	Kind   problem.Kind `json:"kind"`
	Detail string       `json:"detail"`
}

type message struct {
	number uint64
	what   byte
	body   []byte
}

// sender writes messages from many goroutines.
type sender struct {
	patience time.Duration // for the other side to take one message; 0: for ever

	mu sync.Mutex
	w  *os.File
	b  []byte
}

// send writes one message, whose body is made into the sender's own buffer.
func (s *sender) send(number uint64, what byte, body func([]byte) []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := append(s.b[:0], make([]byte, headerSize)...)
	if body != nil {
		b = body(b)
	}
	binary.LittleEndian.PutUint64(b, number)
	b[8] = what
	size := len(b) - headerSize
	if size > maxAnswer {
		return problem.New(problem.TooLarge, "A call of %d bytes is larger than the limit, %d.", size, maxAnswer)
	}
	binary.LittleEndian.PutUint32(b[9:], uint32(size))
	if s.patience > 0 {
		if err := s.w.SetWriteDeadline(time.Now().Add(s.patience)); err != nil {
			return err
		}
	}
	_, err := s.w.Write(b)
	if s.b = b; cap(b) > 1<<20 {
		s.b = nil
	}
	return err
}

func asJSON(v any) func([]byte) []byte {
	return func(b []byte) []byte {
		text, err := json.Marshal(v)
		if err != nil {
			panic(err) // our own types
		}
		return append(b, text...)
	}
}

func asFrame(list []tensor.Tensor) func([]byte) []byte {
	return func(b []byte) []byte { return tensor.AppendFrame(b, list) }
}

// receive reads one message. What is allocated grows with what really arrives.
func receive(r io.Reader) (m message, err error) {
	var head [headerSize]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return m, err
	}
	m.number, m.what = binary.LittleEndian.Uint64(head[:]), head[8]
	size := int(binary.LittleEndian.Uint32(head[9:]))
	if size > maxAnswer {
		return m, fmt.Errorf("a message of %d bytes", size)
	}
	m.body = make([]byte, 0, min(size, 1<<20))
	for len(m.body) < size {
		if len(m.body) == cap(m.body) {
			m.body = append(m.body, 0)[:len(m.body)]
		}
		n, err := r.Read(m.body[len(m.body):min(cap(m.body), size)])
		m.body = m.body[:len(m.body)+n]
		if err != nil && len(m.body) < size {
			return m, fmt.Errorf("read a message of %d bytes: %w", size, err)
		}
	}
	return m, nil
}
