package serving

import (
	"context"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"keelson/internal/blob"
	"keelson/internal/db/dbtest"
	"keelson/internal/engine"
	"keelson/internal/engine/cel"
	"keelson/internal/prediction"
	"keelson/internal/release"
	"keelson/internal/seal"
	"keelson/internal/tensor"
)

var quiet = slog.New(slog.DiscardHandler)

// keeper is the releases on record, as a test writes them.
type keeper struct {
	mu   sync.Mutex
	list []Stored
}

func (k *keeper) Releases(context.Context) ([]Stored, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return append([]Stored(nil), k.list...), nil
}

// incidents remembers what was reported.
type incidents struct {
	mu  sync.Mutex
	why []string
}

func (i *incidents) Refused(_ context.Context, endpoint, why string) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.why = append(i.why, endpoint+": "+why)
	return nil
}

func (i *incidents) Panicked(ctx context.Context, endpoint, _, why string) error {
	return i.Refused(ctx, endpoint, "panic: "+why)
}

func (i *incidents) take() string {
	i.mu.Lock()
	defer i.mu.Unlock()
	all := strings.Join(i.why, "\n")
	i.why = nil
	return all
}

// panicky is an engine whose models panic on negative input; its file says how large the answer is.
type panicky struct{}

func (panicky) Name() string      { return "panicky" }
func (panicky) Formats() []string { return []string{"panicky"} }
func (panicky) Detect(fsys fs.FS) ([]engine.Found, error) {
	if _, err := fs.Stat(fsys, "model.panicky"); err != nil {
		return nil, nil
	}
	return []engine.Found{{Engine: "panicky", Format: "panicky", Path: "model.panicky"}}, nil
}
func (panicky) Load(context.Context, fs.FS, string, engine.Limits) (engine.Model, error) {
	return panickyModel{}, nil
}

type panickyModel struct{}

func (panickyModel) Signature() engine.Signature {
	return engine.Signature{Inputs: []engine.Spec{{Name: "x", Datatype: "FP64", Shape: []int{-1, 2}, Columns: []string{"a", "b"}}}, Outputs: []engine.Spec{{Name: "y", Datatype: "FP64", Shape: []int{-1}}}}
}
func (panickyModel) Predict(ctx context.Context, in []tensor.Tensor) ([]tensor.Tensor, error) {
	if in[0].F64[0] < 0 {
		panic("negative")
	}
	if in[0].F64[0] == 7 {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return []tensor.Tensor{tensor.FP64s("y", []int{1}, []float64{1})}, nil
}
func (panickyModel) Close() error { return nil }

// house is a serving process with everything around it.
type house struct {
	*Service
	t      *testing.T
	keeper *keeper
	bad    *incidents
	key    *seal.Key
	folder string
	log    *prediction.Service
	now    time.Time
}

func newHouse(t *testing.T) *house {
	t.Helper()
	set, err := engine.NewSet(cel.Engine{}, panicky{})
	if err != nil {
		t.Fatal(err)
	}
	h := &house{t: t, keeper: &keeper{}, bad: &incidents{}, key: seal.FromSeed([]byte(strings.Repeat("k", 32))), folder: t.TempDir(), now: time.Now()}
	store, err := blob.Open(context.Background(), h.folder)
	if err != nil {
		t.Fatal(err)
	}
	log, err := prediction.OpenLog(prediction.Options{Dir: t.TempDir(), Node: "n", Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { log.Close() })
	h.log = &prediction.Service{DB: dbtest.SQLite(t), Blobs: store, Log: log, Logger: quiet, Now: time.Now}
	h.Service = &Service{Releases: h.keeper, Key: h.key.Public(), Blobs: store, Engines: set, Log: log, Incidents: h.bad, Logger: quiet,
		Now: func() time.Time { return h.now }, Metrics: NewMetrics(prometheus.NewRegistry()), StateFile: filepath.Join(h.folder, "serving.json")}
	return h
}

// again is the same house after the process was started anew.
func (h *house) again() *house {
	n := *h
	n.Service = &Service{Releases: h.keeper, Key: h.Key, Blobs: h.Blobs, Engines: h.Engines, Log: h.Log, Incidents: h.bad, Logger: quiet,
		Now: h.Now, Metrics: NewMetrics(prometheus.NewRegistry()), StateFile: h.StateFile}
	return &n
}

func rules(version int) string {
	return fmt.Sprintf("inputs: [{name: x, type: double}, {name: who, type: string, optional: true, default: nobody}]\noutputs: [{name: version, type: int, default: %d}]\nrules: [{id: big, when: x > 10.0, then: {version: %d}, message: too big}]\n", version, 100+version)
}

// put stores a file and gives the slot of a version made of it.
func (h *house) put(version int, format, path, text string) release.Slot {
	h.t.Helper()
	digest, size, err := h.Blobs.Put(context.Background(), strings.NewReader(text))
	if err != nil {
		h.t.Fatal(err)
	}
	return release.Slot{Version: version, ArtifactDigest: digest, Format: format, Kind: release.SlotLive, Share: 100, Files: []release.File{{Path: path, Digest: digest, Size: size}}}
}

func (h *house) rules(version int) release.Slot {
	return h.put(version, "cel", "model.cel.yaml", rules(version))
}

func (h *house) doc(serial int64, slots ...release.Slot) release.Document {
	return release.Document{Serial: serial, Endpoint: "screening", Environment: "prod", Workspace: "default", Model: "screening", State: release.Live, Slots: slots,
		Durability: release.Group, Policy: release.Policy{Name: "prod", Version: 1}, Request: "cr", PlanDigest: "sha256:p", IssuedAt: h.now, ExpiresAt: h.now.Add(24 * time.Hour)}
}

func (h *house) sign(d release.Document) Stored {
	h.t.Helper()
	text, err := release.Sign(h.key, d)
	if err != nil {
		h.t.Fatal(err)
	}
	return Stored{d.Workspace, d.Endpoint, d.Serial, text}
}

func (h *house) issue(d release.Document) {
	h.t.Helper()
	h.keeper.mu.Lock()
	h.keeper.list = append(h.keeper.list, h.sign(d))
	h.keeper.mu.Unlock()
	h.look()
}

func (h *house) look() {
	h.t.Helper()
	if err := h.Refresh(context.Background()); err != nil {
		h.t.Fatal(err)
	}
}

func call(x float64) *Call {
	return &Call{Workspace: "default", Endpoint: "screening", Caller: "desk", Start: time.Now(), Inputs: []tensor.Tensor{tensor.FP64s("x", []int{1}, []float64{x})}}
}

// version asks and gives the number that the answering version states of itself; it fails when the answer says another.
func (h *house) version(c *Call) int {
	h.t.Helper()
	a, err := h.Infer(context.Background(), c)
	if err != nil {
		h.t.Fatalf("infer: %v", err)
	}
	if got := a.Outputs[0].I64[0]; int(got)%100 != a.Version {
		h.t.Fatalf("version %d answered as version %d", got, a.Version)
	}
	return a.Version
}

func (h *house) says(parts ...string) {
	h.t.Helper()
	got := h.bad.take()
	if len(parts) == 0 && got != "" {
		h.t.Errorf("reported without need: %s", got)
	}
	for _, p := range parts {
		if !strings.Contains(got, p) {
			h.t.Errorf("reported %q, want it to say %q", got, p)
		}
	}
}
