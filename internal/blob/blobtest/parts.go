package blobtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"keelson/internal/blob"
	"keelson/internal/problem"
)

// SendPart sends part n the way the store wants it: through WritePart, or by PUT to its link.
func SendPart(t testing.TB, s blob.Parted, upload string, n int, body []byte) blob.Part {
	t.Helper()
	ctx := context.Background()
	link, err := s.PartLink(ctx, upload, n, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if link == "" {
		p, err := s.WritePart(ctx, upload, n, bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	req, err := http.NewRequest("PUT", link, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if text, _ := io.ReadAll(res.Body); res.StatusCode != 200 {
		t.Fatalf("PUT of part %d answers %d %s", n, res.StatusCode, text)
	}
	return blob.Part{Number: n, ETag: strings.Trim(res.Header.Get("ETag"), `"`), Size: int64(len(body))}
}

// RunParts checks uploads in parts, links and listings of one empty store.
func RunParts(t *testing.T, store blob.Store) {
	ctx := context.Background()
	s := store.(blob.Parted)
	begin := func() string {
		t.Helper()
		id, err := s.BeginParts(ctx)
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	whole := bytes.Repeat([]byte("0123456789abcdef"), (5<<20)/16)
	text := append(append(bytes.Clone(whole), whole...), "the end"...)
	t.Run("parts that come in any order and twice become one content", func(t *testing.T) {
		id := begin()
		three := SendPart(t, s, id, 3, []byte("the end"))
		SendPart(t, s, id, 1, []byte("not this"))
		two, one := SendPart(t, s, id, 2, whole), SendPart(t, s, id, 1, whole)
		there, err := s.Parts(ctx, id)
		if err != nil || len(there) != 3 || there[0].Size != int64(len(whole)) || there[2].Size != 7 {
			t.Fatalf("parts %v, %v", there, err)
		}
		if _, _, err := s.FinishParts(ctx, id, []blob.Part{one, {Number: 2, ETag: "other"}, three}); !problem.Is(err, problem.Invalid) {
			t.Fatalf("a part with another tag: %v", err)
		}
		if _, _, err := s.FinishParts(ctx, id, []blob.Part{one, three}); !problem.Is(err, problem.Invalid) {
			t.Fatalf("a gap: %v", err)
		}
		digest, size, err := s.FinishParts(ctx, id, []blob.Part{one, two, three})
		if err != nil || size != int64(len(text)) {
			t.Fatalf("%s %d %v", digest, size, err)
		}
		want, _, err := store.Put(ctx, bytes.NewReader(text))
		if err != nil || want != digest {
			t.Fatalf("the parts have %s, the whole %s, %v", digest, want, err)
		}
		if err := store.Verify(ctx, digest); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Parts(ctx, id); !errors.Is(err, blob.ErrNotFound) {
			t.Fatalf("a finished upload is still there: %v", err)
		}
	})
	t.Run("a dropped upload is gone and nobody else's name leads anywhere", func(t *testing.T) {
		id := begin()
		SendPart(t, s, id, 1, []byte("x"))
		for range 2 {
			if err := s.DropParts(ctx, id); err != nil {
				t.Fatal(err)
			}
		}
		for _, bad := range []string{id, "", "../content", "..", "content/aa", "x.y"} {
			if _, err := s.Parts(ctx, bad); !errors.Is(err, blob.ErrNotFound) {
				t.Errorf("%q: %v", bad, err)
			}
		}
		for _, n := range []int{0, -1, blob.MaxParts + 1} {
			if _, err := s.PartLink(ctx, id, n, time.Minute); !problem.Is(err, problem.Invalid) {
				t.Errorf("part %d: %v", n, err)
			}
		}
	})
	t.Run("contents are listed in order and by pages", func(t *testing.T) {
		for i := range 7 {
			if _, _, err := store.Put(ctx, strings.NewReader(fmt.Sprint("listed ", i))); err != nil {
				t.Fatal(err)
			}
		}
		all, err := store.(blob.Listing).Contents(ctx, "", 1000)
		if err != nil || len(all) < 8 {
			t.Fatalf("%d listed, %v", len(all), err)
		}
		var got []blob.Content
		for after := ""; ; {
			page, err := store.(blob.Listing).Contents(ctx, after, 3)
			if err != nil {
				t.Fatal(err)
			}
			if len(page) == 0 {
				break
			}
			got = append(got, page...)
			after = page[len(page)-1].Digest
		}
		if len(got) != len(all) {
			t.Fatalf("%d by pages, %d at once", len(got), len(all))
		}
		for i := range got {
			if got[i].Digest != all[i].Digest || i > 0 && got[i-1].Digest >= got[i].Digest {
				t.Fatalf("place %d: %s, at once %s", i, got[i].Digest, all[i].Digest)
			}
		}
	})
	t.Run("a link gives the bytes for a while", func(t *testing.T) {
		l, ok := store.(blob.Linking)
		if !ok {
			return
		}
		digest, _, err := store.Put(ctx, strings.NewReader("linked"))
		if err != nil {
			t.Fatal(err)
		}
		link, err := l.Link(ctx, digest, "näme.txt", "text/plain", time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		res, err := http.Get(link)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		if b, _ := io.ReadAll(res.Body); string(b) != "linked" {
			t.Fatalf("%d %q", res.StatusCode, b)
		}
	})
	t.Run("what broke off is tidied away after a while", func(t *testing.T) {
		id := begin()
		SendPart(t, s, id, 1, []byte("x"))
		if err := store.(blob.Tidying).Tidy(ctx, time.Now().Add(-time.Hour)); err != nil {
			t.Fatal(err)
		}
		if parts, err := s.Parts(ctx, id); err != nil || len(parts) != 1 {
			t.Fatalf("a young upload was tidied away: %v %v", parts, err)
		}
		if err := store.(blob.Tidying).Tidy(ctx, time.Now().Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Parts(ctx, id); !errors.Is(err, blob.ErrNotFound) {
			t.Fatalf("an old upload is still there: %v", err)
		}
	})
}
