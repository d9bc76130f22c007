package prediction

import (
	"slices"
	"testing"
)

func TestReadingOneEndpointFindsWhatReadingAllFinds(t *testing.T) {
	dir := t.TempDir()
	l, err := OpenLog(Options{Dir: dir, Node: "n", Logger: quiet, SegmentBytes: 16 << 10})
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for i := range 1200 {
		r := Record{Workspace: "default", Endpoint: "busy", Model: "m", Version: 1, Slot: SlotLive}
		if i%40 == 7 {
			r.Endpoint = "quiet"
		}
		if i%90 == 3 {
			r.Workspace = "other"
		}
		if i%3 == 0 {
			list := []Record{r, r}
			if err := l.AppendAll(t.Context(), list); err != nil {
				t.Fatal(err)
			}
			ids = append(ids, list[0].ID, list[1].ID)
			continue
		}
		if err := l.Append(t.Context(), &r, Group); err != nil {
			t.Fatal(err)
		}
		ids = append(ids, r.ID)
	}
	check := func(l *Log) {
		t.Helper()
		all, _ := l.segments()
		if len(all) < 3 {
			t.Fatalf("%d segments", len(all))
		}
		found := func(b []byte, endpoint, after string) (out []string) {
			for len(b) > 0 {
				payload, rest, err := nextFrame(b)
				if err != nil {
					t.Fatal(err)
				}
				b = rest
				if id, w, e := peek(payload); string(w) == "default" && string(e) == endpoint && string(id) > after {
					out = append(out, string(id))
				}
			}
			return out
		}
		for _, after := range append([]string{"", "~"}, ids[0], ids[300], ids[len(ids)-2], ids[len(ids)-1]) {
			for _, endpoint := range []string{"busy", "quiet", "none"} {
				var want, got []string
				for _, s := range all {
					whole, err := s.bytes(int64(len(segmentMagic)), s.size.Load())
					if err != nil {
						t.Fatal(err)
					}
					part, err := l.readOf(s, "default", endpoint, after)
					if err != nil {
						t.Fatal(err)
					}
					if endpoint == "quiet" && len(part) > len(whole)/8 || after == "~" && len(part) > 0 {
						t.Errorf("%d bytes of %d are read for %s after %q", len(part), len(whole), endpoint, after)
					}
					want, got = append(want, found(whole, endpoint, after)...), append(got, found(part, endpoint, after)...)
				}
				if !slices.Equal(got, want) {
					t.Errorf("%s after %q: %d records, want %d", endpoint, after, len(got), len(want))
				}
			}
		}
	}
	check(l)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := OpenLog(Options{Dir: dir, Node: "m", Logger: quiet, SegmentBytes: 16 << 10})
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	check(again)
}
