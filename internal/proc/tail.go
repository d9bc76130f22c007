package proc

import (
	"io"
	"strings"
	"sync"
)

// Tail keeps the last words of a program, as its standard output and error. It may be used by several goroutines at once;
// its zero value keeps 8 KiB.
type Tail struct {
	To   io.Writer // what is written is passed on to; nil: nowhere
	Most int       // bytes kept; 0: 8 KiB

	mu   sync.Mutex
	kept []byte // up to twice Most, so that not every write moves it
}

func (t *Tail) most() int {
	if t.Most <= 0 {
		return 8 << 10
	}
	return t.Most
}

// Write keeps the end of b. It fails as To fails.
func (t *Tail) Write(b []byte) (int, error) {
	most := t.most()
	t.mu.Lock()
	t.kept = append(t.kept, b[max(len(b)-most, 0):]...)
	if over := len(t.kept) - most; over > most {
		t.kept = append(t.kept[:0], t.kept[over:]...)
	}
	t.mu.Unlock()
	if t.To != nil {
		return t.To.Write(b)
	}
	return len(b), nil
}

// String is what is kept, at most Most bytes, as valid UTF-8.
func (t *Tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.ToValidUTF8(string(t.kept[max(len(t.kept)-t.most(), 0):]), "?")
}

// Lines are the last so many lines between " | ", at most so many bytes of them.
func (t *Tail) Lines(lines, bytes int) string {
	list := strings.Split(strings.TrimSpace(t.String()), "\n")
	list = list[max(len(list)-lines, 0):]
	for i := range list {
		list[i] = strings.TrimSpace(list[i])
	}
	s := strings.Join(list, " | ")
	return strings.ToValidUTF8(s[max(len(s)-bytes, 0):], "")
}
