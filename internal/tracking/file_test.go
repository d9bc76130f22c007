package tracking

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"keelson/internal/blob"
	"keelson/internal/blob/blobtest"
	"keelson/internal/db"
	"keelson/internal/db/dbtest"
	"keelson/internal/problem"
)

func TestFoldersAreListedByPagesWithoutReadingWhatLiesDeeper(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s := service(t, d)
		ctx := context.Background()
		r, err := s.CreateRun(ctx, NewRun{})
		if err != nil {
			t.Fatal(err)
		}
		root := ArtifactRoot(r.Experiment, r.ID)
		var want []string
		put := func(paths ...string) {
			t.Helper()
			if err := d.Write(ctx, func(tx db.Scope) error {
				for _, p := range paths {
					if err := putArtifact(tx, root, Artifact{Path: p, Digest: "sha256:" + strings.Repeat("a", 64), Size: 1}, time.Now()); err != nil {
						return err
					}
				}
				return nil
			}); err != nil {
				t.Fatal(err)
			}
		}
		var deep []string
		for i := range 2500 { // more than one batch in a folder among others
			deep = append(deep, fmt.Sprintf("top/deep/%04d/x", i))
		}
		put(deep...)
		for _, n := range []string{"top/%41", "top/a b", "top/a-b", "top/a", "top/deep-er", "top/deep0", "top/ü", `top/'q"x"`, "top/zz"} {
			put(n)
			want = append(want, n)
		}
		put("top/a2/one", "top/a2/two", "other/x", "topper")
		want = append(want, "top/deep", "top/a2")
		slices.Sort(want)
		for _, limit := range []int{0, 1, 2, 3, 100} {
			var got []string
			for after, pages := "", 0; ; pages++ {
				list, next, err := s.ListPage(ctx, root, "top", after, limit)
				if err != nil || pages > 20 || limit > 0 && len(list) > limit {
					t.Fatalf("limit %d page %d: %d of them, %v", limit, pages, len(list), err)
				}
				for _, a := range list {
					if a.Folder != (a.Path == "top/deep" || a.Path == "top/a2") {
						t.Errorf("%s is a folder: %v", a.Path, a.Folder)
					}
					got = append(got, a.Path)
				}
				if after = next; next == "" {
					break
				}
			}
			slices.Sort(got)
			if !slices.Equal(got, want) {
				t.Errorf("limit %d gives\n%q, want\n%q", limit, got, want)
			}
		}
		if list, err := s.List(ctx, root, ""); err != nil || len(list) != 3 {
			t.Errorf("the root lists %v, %v", list, err)
		}
		if list, err := s.List(ctx, root, "top/zz"); err != nil || len(list) != 0 {
			t.Errorf("a file lists %v, %v", list, err)
		}
		if _, _, err := s.ListPage(ctx, root, "top", "other/x", 1); !problem.Is(err, problem.Invalid) {
			t.Errorf("a token of another folder: %v", err)
		}
		if _, _, err := s.ListPage(ctx, root, "top", "../../etc", 1); !problem.Is(err, problem.Invalid) {
			t.Errorf("a token that leads out: %v", err)
		}
	})
}

func TestUploadsInPartsBecomeFilesOrExpire(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		blobtest.Each(t, func(t *testing.T, b blob.Store) {
			s := service(t, d)
			s.Blobs = b
			now := time.Now()
			s.Now = func() time.Time { return now }
			ctx := context.Background()
			r, err := s.CreateRun(ctx, NewRun{})
			if err != nil {
				t.Fatal(err)
			}
			root := ArtifactRoot(r.Experiment, r.ID)
			u, err := s.BeginUpload(ctx, root, "model/weights.bin", 2)
			if err != nil {
				t.Fatal(err)
			}
			big := bytes.Repeat([]byte("x"), 5<<20)
			one := blobtest.SendPart(t, b.(blob.Parted), u.ref, 1, big)
			if there, err := s.UploadedParts(ctx, u); err != nil || len(there) != 1 || there[0].ETag != one.ETag {
				t.Fatalf("after a break: %v %v", there, err)
			}
			two := blobtest.SendPart(t, b.(blob.Parted), u.ref, 2, []byte("end"))
			if _, err := s.FinishUpload(ctx, u.ID, []blob.Part{two, one}); !problem.Is(err, problem.Invalid) {
				t.Fatalf("parts in the wrong order: %v", err)
			}
			a, err := s.FinishUpload(ctx, u.ID, []blob.Part{one, two})
			if err != nil || a.Size != int64(len(big))+3 {
				t.Fatalf("%+v %v", a, err)
			}
			f, got, _, err := s.OpenFile(ctx, root, "model/weights.bin")
			if err != nil || got != a {
				t.Fatalf("%+v %v", got, err)
			}
			defer f.Close()
			if text, err := io.ReadAll(f); err != nil || len(text) != len(big)+3 || !bytes.HasSuffix(text, []byte("xend")) {
				t.Fatalf("%d bytes, %v", len(text), err)
			}
			if _, err := s.FinishUpload(ctx, u.ID, []blob.Part{one, two}); !problem.Is(err, problem.NotFound) {
				t.Fatalf("completing twice: %v", err)
			}
			late, err := s.BeginUpload(ctx, root, "late.bin", 2)
			if err != nil {
				t.Fatal(err)
			}
			blobtest.SendPart(t, b.(blob.Parted), late.ref, 1, []byte("y"))
			now = now.Add(UploadLife)
			if _, err := s.Upload(ctx, late.ID); !problem.Is(err, problem.NotFound) {
				t.Fatalf("an upload that took too long: %v", err)
			}
			if err := s.ExpireUploads(ctx); err != nil {
				t.Fatal(err)
			}
			if _, err := b.(blob.Parted).Parts(ctx, late.ref); err == nil {
				t.Fatal("the parts of an expired upload are still there")
			}
			for _, bad := range []int{0, -1, blob.MaxParts + 1} {
				if _, err := s.BeginUpload(ctx, root, "x", bad); !problem.Is(err, problem.Invalid) {
					t.Errorf("%d parts: %v", bad, err)
				}
			}
			if _, err := s.BeginUpload(ctx, "0/nobody/artifacts", "x", 1); !problem.Is(err, problem.NotFound) {
				t.Errorf("an upload to a run that is not there: %v", err)
			}
			if _, err := s.BeginUpload(ctx, root, "../x", 1); !problem.Is(err, problem.Invalid) {
				t.Errorf("an upload that leads out: %v", err)
			}
		})
	})
}
