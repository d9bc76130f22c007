package mlflowapi

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"keelson/internal/blob"
	"keelson/internal/blob/blobtest"
	"keelson/internal/caller"
	"keelson/internal/db"
	"keelson/internal/db/dbtest"
)

// send makes a request without a token and gives the answer.
func (s *server) send(t testing.TB, method, address, body string, header ...string) (*http.Response, string) {
	t.Helper()
	if strings.HasPrefix(address, "/") {
		address = s.URL + address
	}
	req, err := http.NewRequest(method, address, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, string(b)
}

func TestAFileComesBackWholeAndInRanges(t *testing.T) {
	s := serve(t, dbtest.SQLite(t))
	file := "/api/2.0/mlflow-artifacts/artifacts/0/" + s.run(t) + "/artifacts/digits.txt"
	if res, body := s.send(t, "PUT", file, "0123456789"); res.StatusCode != 200 {
		t.Fatal(body)
	}
	_, _ = s.send(t, "GET", file, "")
	res, _ := s.send(t, "GET", file, "")
	etag := res.Header.Get("ETag")
	for _, c := range []struct {
		name         string
		header       []string
		status       int
		body, ranges string
	}{
		{"without a range the whole file", nil, 200, "0123456789", ""},
		{"a range from the middle", []string{"Range", "bytes=3-5"}, 206, "345", "bytes 3-5/10"},
		{"a range to the end", []string{"Range", "bytes=8-"}, 206, "89", "bytes 8-9/10"},
		{"the last bytes", []string{"Range", "bytes=-2"}, 206, "89", "bytes 8-9/10"},
		{"a range that ends beyond the file", []string{"Range", "bytes=8-99"}, 206, "89", "bytes 8-9/10"},
		{"a range beyond the file", []string{"Range", "bytes=10-"}, 416, `"error_code":"INVALID_PARAMETER_VALUE"`, "bytes */10"},
		{"a range that is none", []string{"Range", "bytes=x-y"}, 416, `"error_code":"INVALID_PARAMETER_VALUE"`, ""},
		{"a range turned round", []string{"Range", "bytes=5-3"}, 416, `"error_code":"INVALID_PARAMETER_VALUE"`, ""},
		{"a range of the same file as before", []string{"Range", "bytes=0-0", "If-Range", etag}, 206, "0", "bytes 0-0/10"},
		{"a range of another file than before", []string{"Range", "bytes=0-0", "If-Range", `"sha256:other"`}, 200, "0123456789", ""},
		{"a file the client has", []string{"If-None-Match", etag}, 304, "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			res, body := s.send(t, "GET", file, "", c.header...)
			exact := body == c.body || res.StatusCode == 416 && strings.Contains(body, c.body) && res.Header.Get("Content-Type") == "application/json"
			if res.StatusCode != c.status || !exact || res.Header.Get("Content-Range") != c.ranges {
				t.Errorf("%d %q %q, want %d %q %q", res.StatusCode, body, res.Header.Get("Content-Range"), c.status, c.body, c.ranges)
			}
		})
	}
}

func TestNamesComeBackUnchanged(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s := serve(t, d)
		id := s.run(t)
		base := "/api/2.0/mlflow-artifacts/artifacts/0/" + id + "/artifacts/"
		names := []string{"%41", "%2541", "a b", "a+b", "ü∂.txt", `q"uo'te`, "semi;colon", "a#b", "a?b", "a&b=c", "日本語/ファイル", "dot.", ".hidden", "x{y}", "100%"}
		for _, n := range names {
			if res, body := s.send(t, "PUT", base+strings.ReplaceAll(url.PathEscape(n), "%2F", "/"), n); res.StatusCode != 200 {
				t.Errorf("%q: %d %s", n, res.StatusCode, body)
			}
		}
		listed := func(address string) map[string]bool {
			t.Helper()
			_, body := s.send(t, "GET", address, "")
			var out struct {
				Files []struct {
					Path string `json:"path"`
				} `json:"files"`
			}
			if err := json.Unmarshal([]byte(body), &out); err != nil {
				t.Fatal(err)
			}
			got := map[string]bool{}
			for _, f := range out.Files {
				got[f.Path] = true
			}
			return got
		}
		for _, list := range []string{"/api/2.0/mlflow-artifacts/artifacts?path=" + url.QueryEscape("0/"+id+"/artifacts"), "/api/2.0/mlflow/artifacts/list?run_id=" + id} {
			got := listed(list)
			for _, n := range names {
				if n, _, _ := strings.Cut(n, "/"); !got[n] {
					t.Errorf("%s does not list %q: %v", list, n, got)
				}
			}
		}
		for _, n := range names {
			for what, address := range map[string]string{"proxy": base + strings.ReplaceAll(url.PathEscape(n), "%2F", "/"), "get-artifact": "/get-artifact?run_uuid=" + id + "&path=" + url.QueryEscape(n)} {
				if res, body := s.send(t, "GET", address, ""); res.StatusCode != 200 || body != n {
					t.Errorf("%s: %q comes back as %d %q", what, n, res.StatusCode, body)
				}
			}
		}
	})
}

func TestAFileComesInPartsAsMLflowsClientSendsThem(t *testing.T) {
	for _, store := range []string{"dir", "s3"} {
		t.Run(store, func(t *testing.T) {
			s := serve(t, dbtest.SQLite(t))
			if store == "s3" {
				b, err := blob.Open(context.Background(), blobtest.S3(t))
				if err != nil {
					t.Fatal(err)
				}
				s.m.Tracking.Blobs, s.m.Inventory.Blobs = b, b
			}
			id := s.run(t)
			at := "0/" + id + "/artifacts/deep"
			post := func(act, body string) (int, map[string]any) {
				return s.call(t, "POST", "/api/2.0/mlflow-artifacts/mpu/"+act+"/"+at, body)
			}
			code, out := post("create", `{"path":"/home/ada/models/big file.bin","num_parts":3}`)
			if code != 200 {
				t.Fatal(code, out)
			}
			upload := out["upload_id"].(string)
			parts := [][]byte{bytes.Repeat([]byte("a"), 5<<20), bytes.Repeat([]byte("b"), 5<<20), []byte("end")}
			var done []map[string]any
			put := func(c any, body []byte) {
				t.Helper()
				cred := c.(map[string]any)
				res, text := s.send(t, "PUT", cred["url"].(string), string(body))
				if res.StatusCode != 200 || res.Header.Get("ETag") == "" {
					t.Fatalf("part: %d %s", res.StatusCode, text)
				}
				done = append(done, map[string]any{"part_number": cred["part_number"], "etag": res.Header.Get("ETag"), "url": cred["url"]})
			}
			creds := out["credentials"].([]any)
			put(creds[0], parts[0])
			put(creds[2], parts[2])
			// The client broke off; it asks what is there and gets an address for the rest.
			code, state := s.call(t, "GET", "/api/2.0/mlflow-artifacts/mpu/parts/"+at+"/big%20file.bin?upload_id="+upload, "")
			if code != 200 || len(state["parts"].([]any)) != 2 || len(state["credentials"].([]any)) != 1 {
				t.Fatal(code, state)
			}
			put(state["credentials"].([]any)[0], parts[1])
			done[1], done[2] = done[2], done[1]
			body, _ := json.Marshal(map[string]any{"path": "big file.bin", "upload_id": upload, "parts": done})
			if code, out := post("complete", strings.Replace(string(body), "big file.bin", "other.bin", 1)); code != 404 {
				t.Errorf("completing another file: %d %v", code, out)
			}
			if code, out := post("complete", string(body)); code != 200 || len(out) != 0 {
				t.Fatal(code, out)
			}
			file := "/api/2.0/mlflow-artifacts/artifacts/" + at + "/big%20file.bin"
			if res, got := s.send(t, "GET", file, ""); res.StatusCode != 200 || got != string(bytes.Join(parts, nil)) {
				t.Errorf("%d, %d bytes", res.StatusCode, len(got))
			}
			// And in one piece by link, without a token.
			code, link := s.call(t, "GET", "/api/2.0/mlflow-artifacts/presigned/"+at+"/big%20file.bin", "")
			if code != 200 || link["file_size"].(float64) != 10<<20+3 {
				t.Fatal(code, link)
			}
			if res, got := s.send(t, "GET", link["url"].(string), "", "Authorization", "Bearer nobody", "Range", "bytes=10485760-"); res.StatusCode != 206 || got != "end" {
				t.Errorf("by link: %d %q", res.StatusCode, got)
			}
			// What is aborted is gone.
			_, out = post("create", `{"path":"x.bin"}`)
			abort := fmt.Sprintf(`{"path":"x.bin","upload_id":%q}`, out["upload_id"])
			if code, out := post("abort", abort); code != 200 {
				t.Error(code, out)
			}
			if code, _ := post("abort", abort); code != 404 {
				t.Errorf("aborting twice gives %d", code)
			}
			for bad, want := range map[string]int{`{"num_parts":1}`: 400, `{"path":"x","num_parts":0.5}`: 400, `{"path":"x","num_parts":-1}`: 400, `{"path":"x","num_parts":10001}`: 400, `{"path":"/"}`: 400} {
				if code, out := post("create", bad); code != want {
					t.Errorf("create %s gives %d %v", bad, code, out)
				}
			}
		})
	}
}

func TestALinkAllowsWhatItSaysAndNoMore(t *testing.T) {
	s := serve(t, dbtest.SQLite(t))
	id := s.run(t)
	code, out := s.call(t, "POST", "/api/2.0/mlflow/artifacts/presigned-upload-url", fmt.Sprintf(`{"run_id":%q,"path":"dir/a %%41.txt","expiration":60}`, id))
	if code != 200 {
		t.Fatal(code, out)
	}
	up := out["presigned_url"].(string)
	if res, body := s.send(t, "PUT", up, "by link", "Authorization", "Bearer nobody"); res.StatusCode != 200 {
		t.Fatal(res.StatusCode, body)
	}
	code, out = s.call(t, "POST", "/api/2.0/mlflow/artifacts/presigned-download-url", fmt.Sprintf(`{"run_id":%q,"path":"dir/a %%41.txt"}`, id))
	if code != 200 || out["file_size"].(float64) != 7 {
		t.Fatal(code, out)
	}
	down := out["presigned_url"].(string)
	if res, body := s.send(t, "GET", down, "", "Authorization", "Bearer nobody"); res.StatusCode != 200 || body != "by link" {
		t.Fatal(res.StatusCode, body)
	}
	late := func() time.Time { return time.Now().Add(time.Hour) }
	for _, c := range []struct {
		name, method, address string
		now                   func() time.Time
	}{
		{"another path", "GET", strings.Replace(down, "a%20", "b%20", 1), time.Now},
		{"a path that leads on", "GET", strings.Replace(down, "dir/", "dir/%2e%2e/", 1), time.Now},
		{"another method", "GET", up, time.Now},
		{"a longer life", "GET", strings.Replace(down, "expires=", "expires=9", 1), time.Now},
		{"another name", "GET", strings.Replace(down, "by=ada", "by=eve", 1), time.Now},
		{"no signature", "GET", down[:strings.Index(down, "?")], time.Now},
		{"the twin of the path", "GET", strings.Replace(down, "/api/2.0", "/ajax-api/2.0", 1), time.Now},
		{"a link that has expired", "GET", down, late},
	} {
		s.m.links.now = c.now
		if res, body := s.send(t, c.method, c.address, "", "Authorization", "Bearer nobody"); res.StatusCode != 403 && res.StatusCode != 400 {
			t.Errorf("%s: %d %s", c.name, res.StatusCode, body)
		}
	}
	for body, want := range map[string]int{`{"path":"x"}`: 400, `{"run_id":"r","model_id":"m","path":"x"}`: 400, fmt.Sprintf(`{"run_id":%q,"path":"../x"}`, id): 400,
		fmt.Sprintf(`{"run_id":%q,"path":"x","expiration":0}`, id): 400, fmt.Sprintf(`{"run_id":%q,"path":"x","expiration":604801}`, id): 400, `{"run_id":"nothing","path":"x"}`: 404} {
		if code, out := s.call(t, "POST", "/api/2.0/mlflow/artifacts/presigned-upload-url", body); code != want {
			t.Errorf("%s gives %d %v", body, code, out)
		}
	}
}

func TestAlteredBytesAreRefusedAndReported(t *testing.T) {
	s := serve(t, dbtest.SQLite(t))
	var told []string
	s.m.Keeper = &blob.Keeper{DB: s.m.Tracking.DB, Store: s.m.Tracking.Blobs, Log: s.m.Log, Now: time.Now, Altered: func(_ context.Context, d string) error { told = append(told, d); return nil }}
	s.m.Tracking.Keeper = s.m.Keeper
	id := s.run(t)
	base := "/api/2.0/mlflow-artifacts/artifacts/0/" + id + "/artifacts/"
	large := bytes.Repeat([]byte("0123456789abcdef"), (blob.WholeBelow+1<<20)/16)
	for name, body := range map[string][]byte{"small": []byte("before"), "large": large} {
		a, err := s.m.Tracking.PutFile(caller.System(context.Background(), "test"), "0/"+id+"/artifacts", name, bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		if res, got := s.send(t, "GET", base+name, ""); res.StatusCode != 200 || got != string(body) {
			t.Fatalf("%s: %d, %d bytes", name, res.StatusCode, len(got))
		}
		body = bytes.Clone(body)
		body[len(body)/2]++
		blobtest.Tamper(t, s.blobs, a.Digest, body)
		told = nil
		res, err := http.Get(s.URL + base + name)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(res.Body)
		res.Body.Close()
		if name == "small" && (res.StatusCode != 409 || !strings.Contains(string(got), "RESOURCE_CONFLICT")) || name == "large" && (err == nil || len(got) >= len(body)) {
			t.Errorf("%s: altered bytes were served: %d, %d bytes, %v", name, res.StatusCode, len(got), err)
		}
		if len(told) != 1 || told[0] != a.Digest {
			t.Errorf("%s: reported %v", name, told)
		}
	}
}

func TestTenThousandFilesAreListedByPagesAndFast(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s := serve(t, d)
		id := s.run(t)
		digest := "sha256:" + strings.Repeat("a", 64)
		if err := d.Write(context.Background(), func(tx db.Scope) error {
			for from := 0; from < 10_000; from += 500 {
				q, args := `INSERT INTO artifact (workspace, root, path, digest, size, created_at) VALUES `, []any{}
				for i := range 500 {
					if i > 0 {
						q += ", "
					}
					q += fmt.Sprintf("('default', '0/%s/artifacts', $%d, '%s', 1, 0)", id, i+1, digest)
					args = append(args, fmt.Sprintf("many/file-%05d.bin", from+i))
				}
				if _, err := tx.Exec(q, args...); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		seen, token, pages := map[string]bool{}, "", 0
		for {
			code, out := s.call(t, "GET", "/api/2.0/mlflow/artifacts/list?run_id="+id+"&path=many&max_results=1000&page_token="+url.QueryEscape(token), "")
			if code != 200 {
				t.Fatal(code, out)
			}
			for _, f := range out["files"].([]any) {
				seen[f.(map[string]any)["path"].(string)] = true
			}
			pages++
			if token, _ = out["next_page_token"].(string); token == "" {
				break
			}
		}
		paged := time.Since(begin)
		begin = time.Now()
		_, out := s.call(t, "GET", "/api/2.0/mlflow-artifacts/artifacts?path=0/"+id+"/artifacts/many", "")
		whole := time.Since(begin)
		begin = time.Now()
		_, root := s.call(t, "GET", "/api/2.0/mlflow-artifacts/artifacts?path=0/"+id+"/artifacts", "")
		t.Logf("%d pages %v, all at once %v, the folder above %v", pages, paged, whole, time.Since(begin))
		if len(seen) != 10_000 || pages != 10 || len(out["files"].([]any)) != 10_000 || len(root["files"].([]any)) != 1 {
			t.Errorf("%d files by %d pages, %d at once", len(seen), pages, len(out["files"].([]any)))
		}
		if paged > 5*time.Second || whole > 2*time.Second {
			t.Errorf("10 pages took %v, all at once %v", paged, whole)
		}
	})
}
