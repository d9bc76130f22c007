package runtime

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	goruntime "runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"keelson/internal/problem"
)

func digest(b []byte) string {
	h := sha256.Sum256(b)
	return hex.EncodeToString(h[:])
}

// published makes a wheel and the package that describes it. extra files are put into the zip as they are named.
func published(t *testing.T, extra ...string) (p Package, w Wheel, bytesOf []byte) {
	t.Helper()
	library := bytes.Repeat([]byte("library "), 10_000)
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	put := func(name string, data []byte) {
		f, err := z.Create(name)
		if err == nil {
			_, err = f.Write(data)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	put("lib/capi/libthing.so.1", library)
	put("lib/LICENSE", []byte("do as you like"))
	for _, name := range extra {
		put(name, []byte("hostile"))
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	w = Wheel{OS: goruntime.GOOS, Arch: goruntime.GOARCH, File: "thing-1.0-py3-none-any.whl", Digest: digest(b.Bytes()), Size: int64(b.Len()),
		Library: "lib/capi/libthing.so.1", LibraryDigest: digest(library), LibrarySize: int64(len(library)), Texts: []string{"lib/LICENSE"}}
	return Package{Name: "thing", Version: "1.0", Licence: "MIT", Wheels: []Wheel{w}}, w, b.Bytes()
}

// index serves a simple index with one file.
func index(t *testing.T, p Package, w Wheel, data []byte, password string) *httptest.Server {
	s := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if _, pass, _ := r.BasicAuth(); pass != password {
			http.Error(rw, "who are you", http.StatusUnauthorized)
			return
		}
		switch r.URL.Path {
		case "/simple/" + p.Name + "/":
			fmt.Fprintf(rw, "<html><body><a href=\"../../files/thing-0.9.whl#sha256=00\">old</a>\n<a data-x='1' href=\"../../files/%s#sha256=%s&amp;x=1\">%s</a></body></html>", w.File, w.Digest, w.File)
		case "/files/" + w.File:
			rw.Write(data)
		default:
			http.NotFound(rw, r)
		}
	}))
	t.Cleanup(s.Close)
	return s
}

// left lists what is in the store's folder.
func left(t *testing.T, s *Store) (out []string) {
	t.Helper()
	err := filepath.WalkDir(s.Root, func(name string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			rel, _ := filepath.Rel(s.Root, name)
			out = append(out, filepath.ToSlash(rel))
		}
		return err
	})
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return out
}

func TestAPackageIsFetchedCheckedAndUnpacked(t *testing.T) {
	p, w, data := published(t, "../outside", "/absolute", "lib/capi/../../../outside", "lib/capi/unasked.so")
	s := &Store{Root: filepath.Join(t.TempDir(), "a", "runtime")}
	srv := index(t, p, w, data, "geheim")
	address := strings.Replace(srv.URL, "http://", "http://me:geheim@", 1) + "/simple/"
	var seen []int64
	st, err := s.install(context.Background(), p, w, Options{Index: Index{URLs: []string{srv.URL + "/nowhere", address}}, Progress: func(done, total int64) {
		if total != w.Size {
			t.Errorf("total is %d, want %d", total, w.Size)
		}
		seen = append(seen, done)
	}})
	if err != nil || st.State != Installed {
		t.Fatalf("%+v, %v", st, err)
	}
	if len(seen) == 0 || seen[len(seen)-1] != w.Size || !slices.IsSorted(seen) {
		t.Errorf("progress was %v", seen)
	}
	if got, want := left(t, s), []string{"thing-1.0/LICENSE", "thing-1.0/libthing.so.1"}; !slices.Equal(got, want) {
		t.Errorf("the folder holds %v, want %v", got, want)
	}
	if _, err := os.Stat(filepath.Join(filepath.Dir(s.Root), "outside")); err == nil {
		t.Error("a file was written outside")
	}
	// A second time nothing is fetched.
	srv.Close()
	if _, err := s.install(context.Background(), p, w, Options{Index: Index{URLs: []string{address}}}); err != nil {
		t.Error(err)
	}
}

func TestWhatIsNotAsPublishedIsNotUnpacked(t *testing.T) {
	p, w, data := published(t)
	changed := bytes.Clone(data)
	changed[len(changed)/2] ^= 1
	for name, serve := range map[string][]byte{"one bit changed": changed, "cut off": data[:len(data)-1], "one byte more": append(bytes.Clone(data), 0), "nothing": nil, "endless": bytes.Repeat(data, 50)} {
		t.Run(name, func(t *testing.T) {
			s := &Store{Root: t.TempDir()}
			srv := index(t, p, w, serve, "")
			_, err := s.install(context.Background(), p, w, Options{Index: Index{URLs: []string{srv.URL + "/simple"}}})
			if err == nil {
				t.Error("it was installed")
			}
			if got := left(t, s); len(got) != 0 {
				t.Errorf("%v is left", got)
			}
			file := filepath.Join(t.TempDir(), w.File)
			if err := os.WriteFile(file, serve, 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := s.install(context.Background(), p, w, Options{From: file}); problem.KindOf(err) != problem.Invalid || !strings.Contains(err.Error(), "SHA-256") {
				t.Errorf("from a file: %v", err)
			}
			if got := left(t, s); len(got) != 0 {
				t.Errorf("%v is left", got)
			}
		})
	}
}

func TestAWheelWithoutItsLibraryIsRefused(t *testing.T) {
	p, w, data := published(t)
	file := filepath.Join(t.TempDir(), w.File)
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(w *Wheel){
		"no such file":    func(w *Wheel) { w.Library = "lib/capi/other.so" },
		"another library": func(w *Wheel) { w.LibraryDigest = digest(nil) },
		"too large":       func(w *Wheel) { w.LibrarySize = 10 },
		"no licence":      func(w *Wheel) { w.Texts = []string{"LICENSE"} },
	} {
		t.Run(name, func(t *testing.T) {
			s := &Store{Root: t.TempDir()}
			w := w
			change(&w)
			if _, err := s.install(context.Background(), p, w, Options{From: file}); err == nil {
				t.Error("it was installed")
			}
			if got := left(t, s); len(got) != 0 {
				t.Errorf("%v is left", got)
			}
		})
	}
}

func TestPasswordsStayOutOfErrors(t *testing.T) {
	p, w, _ := published(t)
	s := &Store{Root: t.TempDir()}
	_, err := s.install(context.Background(), p, w, Options{Index: Index{URLs: []string{"http://me:geheim@127.0.0.1:1/simple"}}})
	if problem.KindOf(err) != problem.Unavailable || strings.Contains(err.Error(), "geheim") || !strings.Contains(err.Error(), "--from") {
		t.Errorf("got %v", err)
	}
}

func TestADamagedLibraryIsNotHandedOut(t *testing.T) {
	p, w, data := published(t)
	Packages = append(Packages, p)
	t.Cleanup(func() { Packages = Packages[:len(Packages)-1] })
	s := &Store{Root: t.TempDir()}
	if _, err := s.Library("thing"); problem.KindOf(err) != problem.Unsupported || !strings.Contains(err.Error(), "runtime install thing") {
		t.Errorf("not installed: %v", err)
	}
	if err := s.Remove("thing"); problem.KindOf(err) != problem.NotFound {
		t.Errorf("removed what is not there: %v", err)
	}
	folder := t.TempDir()
	if err := os.WriteFile(filepath.Join(folder, w.File), data, 0o600); err != nil {
		t.Fatal(err)
	}
	changes := make(chan bool)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- s.Watch(ctx, time.Millisecond, func(_ context.Context, name string, installed bool) { changes <- installed })
	}()
	if _, err := s.Install(ctx, "thing", Options{Index: Index{Folders: []string{"/nonexistent", folder}}}); err != nil {
		t.Fatal(err)
	}
	if !<-changes {
		t.Error("the watch did not see the installation")
	}
	path, err := s.Library("thing")
	if err != nil {
		t.Fatal(err)
	}
	state := func() string {
		list, err := s.List()
		if err != nil {
			t.Fatal(err)
		}
		return list[len(list)-1].State
	}
	if state() != Installed {
		t.Errorf("state is %s", state())
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[0] ^= 1
	if err := os.WriteFile(path, b, 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Library("thing"); problem.KindOf(err) != problem.Unsupported || !strings.Contains(err.Error(), "not the one that was published") {
		t.Errorf("a changed library: %v", err)
	}
	if <-changes {
		t.Error("the watch did not see the damage")
	}
	if state() != Damaged {
		t.Errorf("state is %s", state())
	}
	if _, err := s.Install(ctx, "thing", Options{From: folder}); err != nil { // a folder, and over the damaged one
		t.Fatal(err)
	}
	if !<-changes || state() != Installed {
		t.Errorf("state is %s", state())
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if err := s.Remove("thing"); err != nil || state() != Missing || len(left(t, s)) != 0 {
		t.Errorf("removed: %v, state %s, left %v", err, state(), left(t, s))
	}
}

func TestThePackagesAreWhole(t *testing.T) {
	for _, p := range Packages {
		if p.Licence == "" || p.Version == "" {
			t.Errorf("%s lacks its licence or version", p.Name)
		}
		for _, w := range p.Wheels {
			if len(w.Digest) != 64 || len(w.LibraryDigest) != 64 || w.Size == 0 || w.LibrarySize == 0 || len(w.Texts) == 0 || !strings.Contains(w.File, p.Version) || !strings.HasPrefix(w.File, p.Name) {
				t.Errorf("%s for %s/%s is not described: %+v", p.Name, w.OS, w.Arch, w)
			}
		}
	}
	if _, err := Find("onnx"); err != nil {
		t.Error(err)
	}
	if _, err := Find("tensorflow"); problem.KindOf(err) != problem.NotFound || !strings.Contains(err.Error(), "onnxruntime") {
		t.Errorf("got %v", err)
	}
}

func TestPipsConfigurationIsHonoured(t *testing.T) {
	home := t.TempDir()
	conf := filepath.Join(home, ".config", "pip", "pip.conf")
	if err := os.MkdirAll(filepath.Dir(conf), 0o700); err != nil {
		t.Fatal(err)
	}
	text := "[global]\n# here\nindex_url = https://one.example/simple\nfind-links =\n    /wheels\n    https://elsewhere.example/\n    file:///more\n[list]\nindex-url = https://wrong.example\n[install]\nextra-index-url: https://two.example/simple\n\thttps://three.example/simple\n"
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	env := map[string]string{"HOME": home}
	get := func(k string) string { return env[k] }
	x := FromPip(get)
	if want := []string{"https://one.example/simple", "https://two.example/simple", "https://three.example/simple"}; !slices.Equal(x.URLs, want) {
		t.Errorf("indexes %v, want %v", x.URLs, want)
	}
	if want := []string{"/wheels", "/more"}; !slices.Equal(x.Folders, want) {
		t.Errorf("folders %v, want %v", x.Folders, want)
	}
	env["PIP_INDEX_URL"], env["PIP_FIND_LINKS"] = "https://four.example", "/only"
	if x = FromPip(get); x.URLs[0] != "https://four.example" || !slices.Equal(x.Folders, []string{"/only"}) {
		t.Errorf("a variable does not win: %+v", x)
	}
	env["PIP_NO_INDEX"] = "1"
	if x = FromPip(get); len(x.URLs) != 0 {
		t.Errorf("no index, but %v", x.URLs)
	}
	if x = FromPip(func(k string) string { return map[string]string{"PIP_CONFIG_FILE": os.DevNull}[k] }); !slices.Equal(x.URLs, []string{DefaultIndex}) {
		t.Errorf("without a configuration: %v", x.URLs)
	}
}

// tripper answers requests without a network.
type tripper func(*http.Request) string

func (f tripper) RoundTrip(r *http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: 200, Request: r, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(f(r)))}, nil
}

func TestThePasswordOfAnIndexGoesNowhereElse(t *testing.T) {
	p, w, data := published(t)
	for _, c := range []struct {
		name, link string
		sent       bool
	}{
		{"a link of the index itself", "../../files/" + w.File, true},
		{"a link with another scheme of the same host", "http://index.example/files/" + w.File, false},
		{"a link of another host", "https://files.example/" + w.File, false},
		{"a link with another port", "https://index.example:8443/" + w.File, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			f, err := os.Create(filepath.Join(t.TempDir(), "wheel"))
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			asked := 0
			client := &http.Client{Transport: tripper(func(r *http.Request) string {
				_, password, _ := r.BasicAuth()
				if asked++; asked == 1 {
					if password != "secret" {
						t.Error("the index is asked without its password")
					}
					return `<a href="` + c.link + `">x</a>`
				}
				if (password == "secret") != c.sent {
					t.Errorf("%s was asked with the password %q", r.URL.Redacted(), password)
				}
				return string(data)
			})}
			if err := download(t.Context(), client, "https://user:secret@index.example/simple", p, w, f, nil); err != nil || asked != 2 {
				t.Errorf("%d requests, %v", asked, err)
			}
		})
	}
}
