package serving

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"keelson/internal/engine"
	"keelson/internal/prediction"
	"keelson/internal/tensor"
)

// talkative is an engine whose models quote their input wherever they can.
type talkative struct{}

func (talkative) Name() string      { return "talkative" }
func (talkative) Formats() []string { return []string{"talkative"} }
func (talkative) Detect(fsys fs.FS) ([]engine.Found, error) {
	if _, err := fs.Stat(fsys, "model.talkative"); err != nil {
		return nil, nil
	}
	return []engine.Found{{Engine: "talkative", Format: "talkative", Path: "model.talkative"}}, nil
}
func (talkative) Load(context.Context, fs.FS, string, engine.Limits) (engine.Model, error) {
	return talkativeModel{}, nil
}

type talkativeModel struct{}

func (talkativeModel) Signature() engine.Signature {
	return engine.Signature{Inputs: []engine.Spec{{Name: "who", Datatype: "BYTES", Shape: []int{-1}}, {Name: "how", Datatype: "BYTES", Shape: []int{-1}}},
		Outputs: []engine.Spec{{Name: "who", Datatype: "BYTES", Shape: []int{-1}}}}
}
func (talkativeModel) Predict(_ context.Context, in []tensor.Tensor) ([]tensor.Tensor, error) {
	who := tensor.Find(in, "who").S[0]
	switch tensor.Find(in, "how").S[0] {
	case "panic":
		panic(fmt.Sprintf("cannot bear %s", who))
	case "fail":
		return nil, fmt.Errorf("cannot bear %s", who)
	}
	return []tensor.Tensor{tensor.Strings("who", []int{1}, []string{who})}, nil
}
func (talkativeModel) Close() error { return nil }

func TestARedactedValueLeavesMemoryNowhere(t *testing.T) {
	const name = "Lovelace-7731"
	h := newHouse(t)
	set, err := engine.NewSet(talkative{})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	var said bytes.Buffer
	logger := slog.New(slog.NewTextHandler(&said, &slog.HandlerOptions{Level: slog.LevelDebug}))
	l, err := prediction.OpenLog(prediction.Options{Dir: dir, Node: "n", Logger: logger})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	h.Engines, h.Log, h.Logger, h.HashKey = set, l, logger, []byte("key")
	h.log.Log, h.log.Logger = l, logger
	live, shadow := h.put(1, "talkative", "model.talkative", "x"), h.put(2, "talkative", "model.talkative", "y")
	shadow.Kind = "shadow"
	d := h.doc(1, live, shadow)
	d.Redact = []string{"hash:who"}
	h.issue(d)

	running, stop := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- h.Run(running) }()
	var words []string
	for _, how := range []string{"answer", "fail", "panic"} {
		c := call(1)
		c.Inputs = []tensor.Tensor{tensor.Strings("who", []int{1}, []string{name}), tensor.Strings("how", []int{1}, []string{how})}
		a, err := h.Infer(t.Context(), c)
		if err != nil {
			words = append(words, err.Error())
		} else if a.Outputs[0].S[0] != name {
			t.Errorf("the caller's own answer is %v", a.Outputs)
		}
	}
	stop() // shadows are waited for
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if len(words) != 2 {
		t.Fatalf("failures: %q", words)
	}
	words = append(words, said.String(), h.bad.take())
	files, err := filepath.Glob(filepath.Join(dir, "*.seg"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no segment: %v", err)
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		words = append(words, string(b))
	}
	for _, w := range words {
		if i := strings.Index(w, name); i >= 0 {
			t.Errorf("the value stands in %q", w[max(0, i-200):min(len(w), i+60)])
		}
	}
	records, err := h.log.List(t.Context(), prediction.Query{})
	if err != nil || len(records) != 4 { // three calls and one shadow, of the one that was answered
		t.Fatalf("%d records, %v", len(records), err)
	}
	tokens := map[string]bool{}
	for _, r := range records {
		tokens[r.Left().Hashes["who"][0]] = true
	}
	if len(tokens) != 1 {
		t.Errorf("one value has the hashes %v", tokens)
	}
}
