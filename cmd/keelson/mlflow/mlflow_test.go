package mlflow

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// old is a server as MLflow 2 was: no logged models, artifacts in a bucket that only it can read.
func old(t *testing.T) *Server {
	t.Helper()
	var busy atomic.Int32
	mux := http.NewServeMux()
	mux.HandleFunc("POST /api/2.0/mlflow/runs/search", func(w http.ResponseWriter, r *http.Request) {
		if busy.Add(1) < 3 {
			http.Error(w, "<html>busy</html>", http.StatusServiceUnavailable)
			return
		}
		var in struct {
			Token string `json:"page_token"`
		}
		if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
			t.Error(err)
		}
		if in.Token == "" {
			fmt.Fprint(w, `{"runs":[{"info":{"run_uuid":"a","start_time":"5"}}],"next_page_token":"n"}`)
			return
		}
		fmt.Fprint(w, `{"runs":[{"info":{"run_id":"b","run_uuid":"b"},"data":{"metrics":[{"key":"m","value":"NaN","timestamp":1,"step":"2"}]}}]}`)
	})
	mux.HandleFunc("GET /api/2.0/mlflow/artifacts/list", func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Query().Get("path") {
		case "":
			fmt.Fprint(w, `{"root_uri":"s3://b/x","files":[{"path":"model","is_dir":true},{"path":"a b.txt","is_dir":false,"file_size":"3"}]}`)
		case "model":
			fmt.Fprint(w, `{"files":[{"path":"model/MLmodel","is_dir":false,"file_size":2},{"path":"model","is_dir":true},{"path":"../../etc/passwd","is_dir":false}]}`)
		}
	})
	mux.HandleFunc("GET /get-artifact", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, r.URL.Query().Get("run_uuid")+" "+r.URL.Query().Get("path"))
	})
	mux.HandleFunc("GET /api/2.0/mlflow/runs/get", func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusNotFound)
		fmt.Fprint(w, `{"error_code":"RESOURCE_DOES_NOT_EXIST","message":"Run 'x' not found"}`)
	})
	h := httptest.NewServer(mux)
	t.Cleanup(h.Close)
	s, err := Open(h.URL + "/")
	if err != nil {
		t.Fatal(err)
	}
	s.Pause = time.Millisecond
	return s
}

func TestAnOlderServerIsReadAsFarAsItGoes(t *testing.T) {
	s, ctx := old(t), context.Background()
	var ids []string
	if err := s.runs(ctx, "1", "ALL", func(page []run) error {
		for _, r := range page {
			ids = append(ids, r.Info.ID)
		}
		return nil
	}); err != nil || strings.Join(ids, " ") != "a b" {
		t.Errorf("after two refusals for being busy, two pages hold %v, %v", ids, err)
	}
	if err := s.loggedModels(ctx, "1", func([]loggedModel) error { t.Error("a server without logged models has some"); return nil }); err != nil {
		t.Errorf("a server without logged models: %v", err)
	}
	if _, err := s.run(ctx, "x"); !missing(err) || absent(err) || err.Error() != "Run 'x' not found" {
		t.Errorf("a run that is not there: %v", err)
	}
	p := place{server: s, run: "r", uri: "s3://b/x"}
	files, err := p.files(ctx)
	if err != nil || len(files) != 2 || files[0].Path != "a b.txt" || files[0].Size != 3 || files[1].Path != "model/MLmodel" {
		t.Errorf("files are %+v, %v; want two, none of them outside its folder", files, err)
	}
	f, err := p.open(ctx, "model/MLmodel")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if b, err := io.ReadAll(f); err != nil || string(b) != "r model/MLmodel" {
		t.Errorf("the file is %q, %v", b, err)
	}
}

func TestAddressesOfServers(t *testing.T) {
	for in, want := range map[string]string{"http://h:5000/": "http://h:5000", "https://u:p@h/prefix": "https://h/prefix", "h:5000": "", "ftp://h": "", "": "", "http://": ""} {
		s, err := Open(in)
		if (err != nil) != (want == "") || err == nil && s.URL != want {
			t.Errorf("%q gives %+v, %v; want %q", in, s, err, want)
		}
	}
	if s, err := Open("https://u:p@h"); err != nil || s.User != "u" || s.Password != "p" {
		t.Errorf("the account in an address is %+v, %v", s, err)
	}
}

func TestPlacesBehindTheProxy(t *testing.T) {
	for uri, want := range map[string]string{"mlflow-artifacts:/1/r/artifacts": "1/r/artifacts", "mlflow-artifacts://host:80/1/r/artifacts": "1/r/artifacts", "mlflow-artifacts:///1/r/": "1/r", "s3://b/x": "-", "/data/mlruns": "-"} {
		got, ok := place{uri: uri}.proxied()
		if !ok {
			got = "-"
		}
		if got != want {
			t.Errorf("%s is %q behind the proxy, want %q", uri, got, want)
		}
	}
}

func TestValuesAreWrittenAlike(t *testing.T) {
	for in, want := range map[string]string{`1`: "1", `1.0`: "1", `"1.0"`: "1", `"NaN"`: "NaN", `"Infinity"`: "1.7976931348623157e+308", `1.7976931348623157e308`: "1.7976931348623157e+308", `"-Infinity"`: "-1.7976931348623157e+308", `0.1`: "0.1"} {
		if got := valueText(json.RawMessage(in)); got != want {
			t.Errorf("%s is %s, want %s", in, got, want)
		}
	}
}

func TestNamesThatCannotBeBorneGetOthers(t *testing.T) {
	for in, want := range map[string]string{"churn": "churn", "my.model": "my-model", "a/b:c": "a-b-c", " x ": "x", strings.Repeat("é", 300): strings.Repeat("é", 200)} {
		if got := bearable(in); got != want {
			t.Errorf("%q becomes %q, want %q", in, got, want)
		}
	}
}

func TestASecondAddressOfTheSameThingDiffersInItsDigestOnly(t *testing.T) {
	a, b := run{}, run{}
	a.Data.Params, b.Data.Params = []pair{{"x", "1"}, {"y", "2"}}, []pair{{"y", "2"}, {"x", "1"}}
	b.Data.Tags = []pair{{"keelson.import.id", "z"}}
	if a.canon() != b.canon() {
		t.Error("the order of parameters and our own tags count")
	}
	b.Data.Params[0].Value = "3"
	if a.canon() == b.canon() {
		t.Error("another value does not count")
	}
}

func TestPatternsChooseNames(t *testing.T) {
	for name, c := range map[string]struct {
		patterns []string
		name     string
		want     bool
	}{
		"none chooses all": {nil, "x", true}, "a name itself": {[]string{"a", "b"}, "b", true}, "a star": {[]string{"ch*"}, "churn", true}, "no other": {[]string{"ch*"}, "credit", false},
		"a name with slashes": {[]string{"*/churn"}, "/Users/ada/churn", true},
	} {
		t.Run(name, func(t *testing.T) {
			if got := matches(c.patterns, c.name); got != c.want {
				t.Errorf("got %v", got)
			}
		})
	}
}
