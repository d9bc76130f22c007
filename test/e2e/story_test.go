package e2e

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"keelson/client"
	"keelson/cmd/keelson/story"
	"keelson/internal/blob/blobtest"
	"keelson/internal/db/dbtest"
)

// The whole story, told to the program as it is shipped, with the unmodified mlflow and Triton clients.

// python is the interpreter with the example's packages.
func python(t *testing.T) string {
	t.Helper()
	p := os.Getenv("KEELSON_PYTHON")
	if p == "" {
		t.Skip("KEELSON_PYTHON is not set: the story needs a Python with examples/screening/requirements.txt; make test sets it")
	}
	return p
}

func TestDemoTellsTheWholeStoryAndEnds(t *testing.T) {
	var out bytes.Buffer
	cmd := exec.CommandContext(t.Context(), Binary(t), "demo", "--once", "--data", filepath.Join(t.TempDir(), "demo"), "--listen", "127.0.0.1:0", "--python", python(t))
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		t.Fatalf("keelson demo --once: %v\n%s", err, &out)
	}
	if n := strings.Count(out.String(), "✓"); n < 30 || !strings.Contains(out.String(), "The story is told") {
		t.Errorf("only %d facts were checked:\n%s", n, &out)
	}
}

func TestTheStoryOverPostgreSQLAndS3(t *testing.T) {
	py := python(t)
	if os.Getenv(dbtest.Postgres) == "" {
		t.Skip(dbtest.Postgres + " is not set: there is no PostgreSQL to tell the story over; .ci/run starts one")
	}
	database, blobs := dbtest.DSN(t), blobtest.S3(t)
	s := Start(t, "--database", database, "--blobs", blobs)
	if err := tellOf(t, storyOn(t, s, py, database, blobs)); err != nil {
		t.Fatal(err)
	}
}

// Acknowledged work survives a server that is killed at any moment: the story is told while it is killed twenty times.
func TestTheStorySurvivesTwentyKills(t *testing.T) {
	py := python(t)
	s := Start(t)
	st := storyOn(t, s, py, filepath.Join(s.Data, "keelson.db"), filepath.Join(s.Data, "blobs"))
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	draw := rand.New(rand.NewPCG(seed, 1))
	var quiet sync.Mutex // held while the server must not be killed
	st.Patient = true
	st.Quiet = func(on bool) {
		if on {
			quiet.Lock()
		} else {
			quiet.Unlock()
		}
	}
	ended := make(chan struct{})
	var killer sync.WaitGroup
	n := 0
	strike := func() {
		s.Kill()
		if err := s.Run(); err != nil {
			t.Error(err)
		}
		n++
	}
	killer.Go(func() {
		for n < kills {
			select {
			case <-ended:
				return
			case <-time.After(1500*time.Millisecond + time.Duration(draw.Int64N(int64(4*time.Second)))):
			}
			quiet.Lock()
			strike()
			quiet.Unlock()
		}
	})
	err := tellOf(t, st)
	close(ended)
	killer.Wait()
	if err != nil {
		t.Fatalf("after %d kills: %v", n, err)
	}
	t.Logf("killed %d times while the story was told", n)
	for n < kills { // the story was quicker than the kills: the rest meets a server at rest
		strike()
	}
	v, err := s.Client("").VerifyAudit(t.Context())
	if err != nil || !v.OK {
		t.Errorf("after the kills the audit log gives %+v %v", v, err)
	}
	everyAcknowledgedPredictionIsThereOnce(t, s, st.Folder)
}

// everyAcknowledgedPredictionIsThereOnce holds the log against the ids that callers were given.
func everyAcknowledgedPredictionIsThereOnce(t *testing.T, s *Server, folder string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(folder, "screening", "calls*.csv"))
	if err != nil || len(files) < 4 {
		t.Fatalf("the story left %d files of calls, %v", len(files), err)
	}
	token, err := client.SignIn(t.Context(), client.Config{Server: s.URL}, "dana", story.Password, "check", 1)
	if err != nil {
		t.Fatal(err)
	}
	c, err := client.New(client.Config{Server: s.URL, Token: token.Text})
	if err != nil {
		t.Fatal(err)
	}
	all, err := client.All[client.Prediction](t.Context(), c, "/api/v1/predictions?endpoint=screening", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	count := map[string]int{}
	for _, p := range all {
		count[p.ID]++
	}
	acknowledged := 0
	for _, name := range files {
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(f)
		for lines.Scan() {
			id, _, _ := strings.Cut(lines.Text(), ",")
			if id == "prediction_id" {
				continue
			}
			acknowledged++
			if count[id] != 1 {
				t.Errorf("prediction %s of %s is %d times in the log, want once", id, filepath.Base(name), count[id])
			}
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d acknowledged rows, %d calls in the log", acknowledged, len(all))
}

// tellOf tells a story and gives what it said up to an error.
func tellOf(t *testing.T, st *story.Story) error {
	t.Helper()
	var told bytes.Buffer
	st.Out = &told
	chapters := 0
	st.Done = func(n int, title string, took time.Duration) {
		chapters++
		t.Logf("%2d %s %s", n, title, took.Round(time.Millisecond))
	}
	if err := st.Tell(t.Context()); err != nil {
		return fmt.Errorf("%w\ntold so far:\n%s", err, &told)
	}
	if chapters != story.Chapters() {
		return fmt.Errorf("%d chapters were told, want %d", chapters, story.Chapters())
	}
	return nil
}

// storyOn is the story for a server; database and blobs are where the intruder of chapters 6 and 10 finds them.
func storyOn(t *testing.T, s *Server, python, database, blobs string) *story.Story {
	t.Helper()
	return &story.Story{Self: []string{Binary(t)}, URL: s.URL, Admin: s.Token, Python: python, Folder: t.TempDir(), Database: database, Blobs: blobs, Out: io.Discard}
}
