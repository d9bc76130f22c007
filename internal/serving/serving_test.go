package serving

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"keelson/internal/blob/blobtest"
	"keelson/internal/prediction"
	"keelson/internal/problem"
	"keelson/internal/release"
	"keelson/internal/seal"
	"keelson/internal/tensor"
)

func TestACallIsAnsweredAndOnRecord(t *testing.T) {
	h := newHouse(t)
	if _, err := h.Infer(context.Background(), call(1)); problem.KindOf(err) != problem.Unavailable {
		t.Errorf("before the first look: %v, want unavailable", err)
	}
	h.issue(h.doc(1, h.rules(1)))
	h.says()
	c := call(11)
	c.Application, c.Purpose, c.Subject, c.Segment, c.Request, c.Trace = "app", "triage", "p1", "north", "r1", "t1"
	a, err := h.Infer(context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
	if a.Model != "screening" || a.Version != 1 || a.Slot != "live" || a.Outputs[0].I64[0] != 101 {
		t.Errorf("answer %+v", a)
	}
	r, err := h.log.Get(context.Background(), a.ID)
	if err != nil {
		t.Fatal(err)
	}
	if r.Endpoint != "screening" || r.Version != 1 || r.Caller != "desk" || r.Application != "app" || r.Purpose != "triage" || r.Subject != "p1" || r.Segment != "north" ||
		r.Request != "r1" || r.Trace != "t1" || r.Environment != "prod" || r.Rows != 1 || r.Inputs[0].F64[0] != 11 || r.Outputs[0].I64[0] != 101 {
		t.Errorf("record %+v", r)
	}
	if f := r.FiredRules(); len(f) != 1 || f[0].Fired[0].Rule != "big" || f[0].Fired[0].Message != "too big" {
		t.Errorf("fired rules %+v", f)
	}
	for name, c := range map[string]*Call{"unknown endpoint": {Endpoint: "other", Workspace: "default"}, "another workspace": {Endpoint: "screening", Workspace: "lab"}, "unknown version": {Endpoint: "screening", Workspace: "default", Version: "9"}} {
		if _, err := h.Infer(context.Background(), c); problem.KindOf(err) != problem.NotFound {
			t.Errorf("%s: %v, want not-found", name, err)
		}
	}
	bad := call(1)
	bad.Inputs[0].Name = "y"
	if _, err := h.Infer(context.Background(), bad); problem.KindOf(err) != problem.Invalid {
		t.Errorf("a wrong input: %v, want invalid", err)
	}
}

func TestOnlyWhatIsSignedNewAndWholeComesIntoForce(t *testing.T) {
	h := newHouse(t)
	h.issue(h.doc(1, h.rules(1)))
	h.issue(h.doc(2, h.rules(2)))
	if v := h.version(call(1)); v != 2 {
		t.Fatalf("version %d answers, want 2", v)
	}
	stranger := seal.FromSeed([]byte(strings.Repeat("x", 32)))
	forged := func(change func(map[string]any)) Stored {
		good := h.sign(h.doc(9, h.rules(1)))
		var e map[string]any
		if err := json.Unmarshal([]byte(good.Envelope), &e); err != nil {
			t.Fatal(err)
		}
		payload, _ := base64.StdEncoding.DecodeString(e["payload"].(string))
		var doc map[string]any
		if err := json.Unmarshal(payload, &doc); err != nil {
			t.Fatal(err)
		}
		change(doc)
		payload, _ = json.Marshal(doc)
		e["payload"] = base64.StdEncoding.EncodeToString(payload)
		text, _ := json.Marshal(e)
		good.Envelope = string(text)
		return good
	}
	other, err := release.Sign(stranger, h.doc(9, h.rules(1)))
	if err != nil {
		t.Fatal(err)
	}
	elsewhere := h.doc(9, h.rules(1))
	elsewhere.Endpoint = "other"
	moved := h.sign(elsewhere)
	moved.Endpoint = "screening"
	expired := h.doc(9, h.rules(1))
	expired.IssuedAt, expired.ExpiresAt = h.now.Add(-2*time.Hour), h.now.Add(-time.Hour)
	renumbered := h.sign(h.doc(9, h.rules(1)))
	renumbered.Serial = 10
	broken := h.put(3, "cel", "model.cel.yaml", "rules: [")
	missing := h.rules(3)
	missing.Files = []release.File{{Path: "model.cel.yaml", Digest: "sha256:" + strings.Repeat("0", 64), Size: 5}}
	wrong := h.rules(3)
	wrong.Format = "panicky"
	climbing := h.rules(3)
	climbing.Files = []release.File{{Path: "../model.cel.yaml", Digest: climbing.Files[0].Digest, Size: climbing.Files[0].Size}}
	shares := h.rules(1)
	shares.Share = 90
	canary := broken
	canary.Kind, canary.Share = release.SlotCanary, 10
	cases := []struct {
		name, says string
		stored     Stored
	}{
		{"a split changed in the payload", "signature", forged(func(d map[string]any) { d["slots"].([]any)[0].(map[string]any)["share"] = 50 })},
		{"a digest changed in the payload", "signature", forged(func(d map[string]any) { d["slots"].([]any)[0].(map[string]any)["artifact_digest"] = "sha256:1" })},
		{"another key", "signature", Stored{"default", "screening", 9, other}},
		{"no envelope", "no envelope", Stored{"default", "screening", 9, "{}x"}},
		{"a release of another endpoint", "number 9 of other", moved},
		{"a row with another number", "on record as number 10", renumbered},
		{"an expired release", "expired", h.sign(expired)},
		{"a file that is no model", "cannot be used", h.sign(h.doc(9, broken))},
		{"a file that is not there", "model.cel.yaml are gone", h.sign(h.doc(9, missing))},
		{"another format than the files have", "declared as", h.sign(h.doc(9, wrong))},
		{"a path out of the folder", "none within a folder", h.sign(h.doc(9, climbing))},
		{"a canary that does not load", "cannot be used", h.sign(h.doc(9, shares, canary))},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			h.t = t
			before := h.keeper.list
			h.keeper.list = append([]Stored{c.stored}, before...)
			h.look()
			h.says("screening: ", c.says)
			if v := h.version(call(1)); v != 2 {
				t.Errorf("version %d answers, want 2 to go on", v)
			}
			h.look()
			h.says() // told once
			h.keeper.list = before
			clear(h.told)
		})
	}
	h.t = t
	t.Run("rows removed from the record", func(t *testing.T) {
		before := h.keeper.list
		for _, list := range [][]Stored{before[:1], nil} {
			h.keeper.list = list
			h.look()
			h.says("Release 2 is in force")
			if v := h.version(call(1)); v != 2 {
				t.Errorf("version %d answers, want 2 to go on", v)
			}
			again := h.again() // not even a new start goes back
			again.look()
			if v := again.version(call(1)); v != 2 {
				t.Errorf("after a start version %d answers, want 2", v)
			}
			h.bad.take()
			clear(h.told)
		}
		h.keeper.list = before
	})
}

func TestAFileChangedOnDisk(t *testing.T) {
	ctx := context.Background()
	t.Run("under a running version is reported and the version goes on", func(t *testing.T) {
		h := newHouse(t)
		s := h.rules(1)
		h.issue(h.doc(1, s))
		blobtest.Tamper(t, h.folder, s.Files[0].Digest, []byte(rules(7)))
		h.VerifyLoaded(ctx)
		h.says("screening: Version 1 goes on serving", "changed outside")
		if v := h.version(call(1)); v != 1 {
			t.Errorf("version %d answers", v)
		}
	})
	t.Run("of a new release is refused and the old version goes on", func(t *testing.T) {
		h := newHouse(t)
		h.issue(h.doc(1, h.rules(1)))
		s := h.rules(2)
		blobtest.Tamper(t, h.folder, s.Files[0].Digest, []byte(rules(7)))
		h.issue(h.doc(2, s))
		h.says("Release 2: ", "changed outside")
		if v := h.version(call(1)); v != 1 {
			t.Errorf("version %d answers, want 1", v)
		}
	})
	t.Run("before the start lets the previous version stand in until it is mended", func(t *testing.T) {
		h := newHouse(t)
		prev := h.rules(1)
		s := h.rules(2)
		blobtest.Tamper(t, h.folder, s.Files[0].Digest, []byte(rules(7)))
		d := h.doc(2, s)
		d.Previous = &prev
		h.issue(d)
		h.says("Release 2: ", "changed outside")
		if v := h.version(call(1)); v != 1 {
			t.Errorf("version %d answers, want 1", v)
		}
		if st := h.Status(ctx); len(st) != 1 || !st[0].Substitute {
			t.Errorf("status %+v, want a substitute", st)
		}
		blobtest.Tamper(t, h.folder, s.Files[0].Digest, []byte(rules(2)))
		h.look()
		if v := h.version(call(1)); v != 2 {
			t.Errorf("version %d answers after mending, want 2", v)
		}
	})
	t.Run("before the start without a previous version answers 503", func(t *testing.T) {
		h := newHouse(t)
		s := h.rules(1)
		blobtest.Tamper(t, h.folder, s.Files[0].Digest, []byte(rules(7)))
		h.issue(h.doc(1, s))
		h.says("Release 1: ", "changed outside")
		if _, err := h.Infer(ctx, call(1)); problem.KindOf(err) != problem.Unavailable || !strings.Contains(err.Error(), "incident") {
			t.Errorf("%v, want unavailable with the way out", err)
		}
		if _, err := h.Describe("default", "screening", ""); problem.KindOf(err) != problem.Unavailable {
			t.Errorf("describe: %v, want unavailable", err)
		}
	})
}

func TestStatesOfARelease(t *testing.T) {
	ctx := context.Background()
	h := newHouse(t)
	h.issue(h.doc(1, h.rules(1)))
	suspended := h.doc(2, h.rules(1))
	suspended.State = release.Suspended
	h.issue(suspended)
	if _, err := h.Infer(ctx, call(1)); problem.KindOf(err) != problem.Unavailable || !strings.Contains(err.Error(), "suspended") {
		t.Errorf("suspended: %v", err)
	}
	retired := h.doc(3)
	retired.State = release.Retired
	h.issue(retired)
	if _, err := h.Infer(ctx, call(1)); problem.KindOf(err) != problem.NotFound || !strings.Contains(err.Error(), "retired") {
		t.Errorf("retired: %v", err)
	}
	if len(h.versions) != 0 {
		t.Errorf("%d versions are loaded for a retired endpoint", len(h.versions))
	}
	h.issue(h.doc(4, h.rules(2)))
	if v := h.version(call(1)); v != 2 {
		t.Errorf("version %d answers", v)
	}
	h.says()
	h.now = h.now.Add(25 * time.Hour)
	h.look()
	if _, err := h.Infer(ctx, call(1)); problem.KindOf(err) != problem.Unavailable || !strings.Contains(err.Error(), "expired") {
		t.Errorf("expired: %v", err)
	}
	h.says("Release 4 expired")
}

func TestTheSplitHoldsAndSticks(t *testing.T) {
	h := newHouse(t)
	slots := func(share int) []release.Slot {
		l, c := h.rules(1), h.rules(2)
		l.Share, c.Share, c.Kind = 100-share, share, release.SlotCanary
		return []release.Slot{l, c}
	}
	h.issue(h.doc(1, slots(10)...))
	count := func(key func(*Call, int)) (canary int, chosen map[int]bool) {
		chosen = map[int]bool{}
		for i := range 5000 {
			c := call(1)
			key(c, i)
			if h.version(c) == 2 {
				canary++
				chosen[i] = true
			}
		}
		return canary, chosen
	}
	near := func(n int, share float64) bool { // four standard deviations
		return math.Abs(float64(n)-5000*share) < 4*math.Sqrt(5000*share*(1-share))
	}
	routing := func(c *Call, i int) { c.RoutingKey = fmt.Sprintf("customer-%d", i); c.Request = "r" }
	n, first := count(routing)
	if !near(n, 0.1) {
		t.Errorf("%d of 5000 keys go to the canary, want about 500", n)
	}
	if _, second := count(routing); fmt.Sprint(first) != fmt.Sprint(second) {
		t.Error("a key changed its version")
	}
	if n, _ := count(func(c *Call, i int) { c.Request = fmt.Sprint("q", i) }); !near(n, 0.1) {
		t.Errorf("%d of 5000 requests of one caller go to the canary, want about 500", n)
	}
	if n, _ := count(func(*Call, int) {}); !near(n, 0.1) {
		t.Errorf("%d of 5000 calls without a key go to the canary, want about 500", n)
	}
	h.issue(h.doc(2, slots(50)...))
	n, wider := count(routing)
	if !near(n, 0.5) {
		t.Errorf("%d of 5000 keys go to the canary, want about 2500", n)
	}
	for i := range first {
		if !wider[i] {
			t.Fatal("a customer left the canary as its share grew")
		}
	}
	c := call(1)
	c.Version = "1"
	if v := h.version(c); v != 1 {
		t.Errorf("asked for version 1, got %d", v)
	}
}

func TestShadowsAreLoggedAndNeverAnswer(t *testing.T) {
	h := newHouse(t)
	sh := h.rules(2)
	sh.Kind, sh.Share = release.SlotShadow, 100
	h.issue(h.doc(1, h.rules(1), sh))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- h.Run(ctx) }()
	ids := map[string]bool{}
	for range 20 {
		a, err := h.Infer(context.Background(), call(1))
		if err != nil || a.Version != 1 {
			t.Fatalf("%+v, %v", a, err)
		}
		ids[a.ID] = true
	}
	c := call(1)
	c.Version = "2"
	if _, err := h.Infer(context.Background(), c); problem.KindOf(err) != problem.NotFound {
		t.Errorf("the shadow answers: %v", err)
	}
	cancel()
	if err := <-done; err != nil { // waits for the copies
		t.Fatal(err)
	}
	shadows := 0
	if err := h.log.Scan(context.Background(), prediction.Query{Slot: prediction.SlotShadow}, func(r prediction.Record) error {
		if r.Version != 2 || !ids[r.Request] || r.Outputs[0].I64[0] != 2 {
			t.Errorf("shadow record %+v", r)
		}
		shadows++
		return nil
	}); err != nil || shadows != 20 {
		t.Errorf("%d shadow records (%v), want 20", shadows, err)
	}
}

func TestLimitsPanicsAndTheLog(t *testing.T) {
	ctx := context.Background()
	h := newHouse(t)
	d := h.doc(1, h.put(1, "panicky", "model.panicky", "x"))
	d.Limits = release.Limits{MaxRows: 2, MaxBytes: 1234, TimeoutMS: 20}
	d.Redact = []string{"b"}
	h.issue(d)
	with := func(v ...float64) *Call {
		c := call(1)
		c.Inputs = []tensor.Tensor{tensor.FP64s("x", []int{len(v) / 2, 2}, v)}
		return c
	}
	if _, err := h.Infer(ctx, with(1, 2, 3, 4, 5, 6)); problem.KindOf(err) != problem.TooLarge {
		t.Errorf("three rows: %v, want too-large", err)
	}
	if h.MaxBytes("default", "screening") != 1234 || h.MaxBytes("default", "x") != 0 {
		t.Error("the limit of bytes is not told")
	}
	a, err := h.Infer(ctx, with(1, 2))
	if err != nil {
		t.Fatal(err)
	}
	if r, err := h.log.Get(ctx, a.ID); err != nil || r.Inputs[0].F64[0] != 1 || !math.IsNaN(r.Inputs[0].F64[1]) {
		t.Errorf("the redacted column is on record: %+v, %v", r.Inputs, err)
	}
	if _, err := h.Infer(ctx, with(-1, 2)); problem.KindOf(err) != problem.Internal {
		t.Errorf("a panic: %v, want internal", err)
	}
	h.says("panic: Version 1 took its engine down: string, its words left out, as the release redacts columns")
	if _, err := h.Infer(ctx, with(7, 2)); problem.KindOf(err) != problem.Unavailable || !strings.Contains(err.Error(), "within the time") {
		t.Errorf("a slow model: %v, want unavailable", err)
	}
	failed := 0
	if err := h.log.Scan(ctx, prediction.Query{}, func(r prediction.Record) error {
		if r.Error != "" {
			failed++
		}
		return nil
	}); err != nil || failed != 2 {
		t.Errorf("%d failures are on record (%v), want the panic and the timeout", failed, err)
	}
	if err := h.Log.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Infer(ctx, with(1, 2)); problem.KindOf(err) != problem.Unavailable || !strings.Contains(err.Error(), "prediction log of screening") {
		t.Errorf("without a log: %v, want the answer withheld", err)
	}
}

func TestVersionsAreUnloadedAfterTheirLastCall(t *testing.T) {
	h := newHouse(t)
	h.issue(h.doc(1, h.rules(1)))
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if _, err := h.Infer(context.Background(), call(1)); err != nil {
					t.Errorf("a call failed while releases changed: %v", err)
					return
				}
			}
		})
	}
	for serial := int64(2); serial < 40; serial++ {
		h.issue(h.doc(serial, h.rules(1+int(serial)%5)))
	}
	close(stop)
	wg.Wait()
	h.closers.Wait()
	if len(h.versions) != 1 {
		t.Errorf("%d versions are loaded, want 1", len(h.versions))
	}
	if err := h.unload(); err != nil {
		t.Error(err)
	}
}

func TestRunNoticesANewRelease(t *testing.T) {
	h := newHouse(t)
	h.Poll, h.Verify = 5*time.Millisecond, 5*time.Millisecond
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- h.Run(ctx) }()
	h.keeper.mu.Lock()
	h.keeper.list = append(h.keeper.list, h.sign(h.doc(1, h.rules(1))))
	h.keeper.mu.Unlock()
	deadline := time.Now().Add(10 * time.Second)
	for {
		if _, err := h.Infer(context.Background(), call(1)); err == nil {
			break
		} else if time.Now().After(deadline) {
			t.Fatalf("the release does not come into force: %v", err)
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	h.says()
}

func TestAnArtifactIsAProperFolder(t *testing.T) {
	h := newHouse(t)
	var files []release.File
	var names []string
	for _, p := range []string{"MLmodel", "data/a.txt", "data/deep/b.txt", "model.cel.yaml"} {
		f := h.put(1, "cel", p, "content of "+p).Files[0]
		files, names = append(files, f), append(names, p)
	}
	a, err := openArtifact(context.Background(), h.Blobs, files, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	if err := fstest.TestFS(a, names...); err != nil {
		t.Error(err)
	}
	blobtest.Tamper(t, h.folder, files[1].Digest, []byte("other"))
	if _, err := fs.ReadFile(a, "data/a.txt"); problem.KindOf(err) != problem.Conflict {
		t.Errorf("a changed file is opened: %v", err)
	}
	blobtest.Tamper(t, h.folder, files[1].Digest, []byte("content of data/a.txt and more"))
	if _, err := fs.ReadFile(a, "data/a.txt"); problem.KindOf(err) != problem.Conflict {
		t.Errorf("a file that grew is opened: %v", err)
	}
	f, err := a.Open("MLmodel")
	if err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(f); err != nil || string(b) != "content of MLmodel" {
		t.Errorf("read %q, %v", b, err)
	}
	_ = f.Close()
}

func TestAStateFileOfAnotherInstallationIsIgnored(t *testing.T) {
	h := newHouse(t)
	text, err := release.Sign(seal.FromSeed([]byte(strings.Repeat("x", 32))), h.doc(50, h.rules(3)))
	if err != nil {
		t.Fatal(err)
	}
	b, _ := json.Marshal([]Stored{{"default", "screening", 50, text}})
	for _, content := range [][]byte{b, []byte("{broken")} {
		if err := os.WriteFile(h.StateFile, content, 0o600); err != nil {
			t.Fatal(err)
		}
		n := h.again()
		n.issue(n.doc(1, n.rules(1)))
		n.says()
		if v := n.version(call(1)); v != 1 {
			t.Errorf("version %d answers", v)
		}
		h.keeper.list = nil
	}
}
