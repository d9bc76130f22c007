package app_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"mime/multipart"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"keelson/internal/app"
	"keelson/internal/caller"
	"keelson/internal/db"
	"keelson/internal/identity"
)

// attacked is a running program, with a file outside of its data folder that nobody may read and a folder that nobody may
// write, and the people who attack it.
type attacked struct {
	*app.App
	outside, secret, marker string
	tokens                  map[string]string
	run, victim             string
	before                  string
}

const canary = "CANARY-3f9c2b"

func newTarget(t *testing.T) *attacked {
	t.Helper()
	x := &attacked{outside: t.TempDir(), tokens: map[string]string{}}
	x.secret, x.marker = filepath.Join(x.outside, "secret.txt"), filepath.Join(x.outside, "marker")
	if err := os.WriteFile(x.secret, []byte(canary), 0o600); err != nil {
		t.Fatal(err)
	}
	x.App = start(t, nil)
	ctx := caller.System(context.Background(), "test")
	for name, role := range map[string]string{"ada": "data-scientist", "victor": "data-scientist", "otto": "auditor", "adam": "administrator"} {
		if _, err := x.Identity.CreateUser(ctx, identity.User{Name: name, Kind: caller.Person, Roles: []string{role}}, ""); err != nil {
			t.Fatal(err)
		}
		tok, err := x.Identity.Issue(ctx, name, "test", 0)
		if err != nil {
			t.Fatal(err)
		}
		x.tokens[name] = tok.Token
	}
	for _, r := range []struct {
		run *string
		who string
	}{{&x.run, "ada"}, {&x.victim, "victor"}} {
		_, body := x.send(t, r.who, "POST", mlflow+"runs/create", `{"experiment_id":"0"}`)
		var out struct {
			Run struct{ Info struct{ Run_id string } }
		}
		if err := json.Unmarshal([]byte(body), &out); err != nil || out.Run.Info.Run_id == "" {
			t.Fatal(body, err)
		}
		*r.run = out.Run.Info.Run_id
		if code, body := x.send(t, r.who, "PUT", proxy+"0/"+*r.run+"/artifacts/model/MLmodel", "flavors: {}\n"); code != 200 {
			t.Fatal(code, body)
		}
	}
	if code, body := x.send(t, "ada", "POST", mlflow+"registered-models/create", `{"name":"m"}`); code != 200 {
		t.Fatal(code, body)
	}
	if code, body := x.send(t, "ada", "POST", mlflow+"model-versions/create", `{"name":"m","source":"runs:/`+x.run+`/model"}`); code != 200 {
		t.Fatal(code, body)
	}
	x.before = x.look(t)
	return x
}

const proxy = "/api/2.0/mlflow-artifacts/artifacts/"

// look is what is outside, and what of content is inside.
func (x *attacked) look(t *testing.T) string {
	t.Helper()
	var out []string
	for _, folder := range []string{x.outside, filepath.Join(x.Config.Data, "blobs", "content")} {
		if err := filepath.Walk(folder, func(p string, info os.FileInfo, err error) error {
			if err == nil && info.Mode().IsRegular() {
				out = append(out, fmt.Sprintf("%s %d", p, info.Size()))
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}
	slices.Sort(out)
	return strings.Join(out, "\n")
}

// send writes a request as it is, so that no client cleans its path, and reads the whole answer.
func (x *attacked) send(t *testing.T, who, method, target, body string, header ...string) (int, string) {
	t.Helper()
	u, err := url.Parse(x.URL)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.DialTimeout("tcp", u.Host, 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nConnection: close\r\n", method, target)
	host, kind := u.Host, "application/json"
	for i := 0; i+1 < len(header); i += 2 {
		switch header[i] {
		case "Host":
			host = header[i+1]
		case "Content-Type":
			kind = header[i+1]
		default:
			fmt.Fprintf(&b, "%s: %s\r\n", header[i], header[i+1])
		}
	}
	fmt.Fprintf(&b, "Host: %s\r\n", host)
	if who != "" {
		fmt.Fprintf(&b, "Authorization: Bearer %s\r\n", x.tokens[who])
	}
	if body != "" || method != "GET" {
		fmt.Fprintf(&b, "Content-Type: %s\r\nContent-Length: %d\r\n", kind, len(body))
	}
	if _, err := io.WriteString(conn, b.String()+"\r\n"+body); err != nil {
		t.Fatal(err)
	}
	answer, _ := io.ReadAll(conn)
	var code int
	if _, err := fmt.Sscanf(string(answer), "HTTP/1.1 %d", &code); err != nil {
		t.Fatalf("%s %s answers %.200q", method, target, answer)
	}
	_, text, _ := strings.Cut(string(answer), "\r\n\r\n")
	return code, text
}

// refusals counts the audit entries about refusals of a kind ("" is those of permissions).
func (x *attacked) refusals(t *testing.T, kind string) (n int) {
	t.Helper()
	action, like := "request.refused", `%"kind":"`+kind+`"%`
	if kind == "permission" {
		action, like = "access.refused", "%"
	}
	if err := x.DB.Read(context.Background(), func(tx db.Scope) error {
		return tx.QueryRow(`SELECT COUNT(*) FROM audit_entry WHERE workspace = $1 AND action = $2 AND detail LIKE $3`, tx.Workspace, action, like).Scan(&n)
	}); err != nil {
		t.Fatal(err)
	}
	return n
}

// await polls until what is expected is there.
func await(t *testing.T, what string, there func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(40 * time.Second); !there(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

func quote(v any) string { return db.ToJSON(v) }

// step is one request of an attack. A step without statuses belongs to the way there and may answer as it likes.
type step struct {
	who, method, target, body string
	header                    []string
	want                      []int
}

var refusedAll = []int{400, 403, 404}

// TestAttacks replays what MLflow has met: each row is refused with a 4xx (or 501 for a part that is not offered), reads and
// writes nothing outside, and leaves an entry in the audit log. Rows are named by the advisory they come from.
func TestAttacks(t *testing.T) {
	x := newTarget(t)
	out := strings.Repeat("../", 12) + strings.TrimPrefix(x.secret, "/")
	encoded := strings.NewReplacer("../", "%2e%2e%2f").Replace(out)
	twice := strings.NewReplacer("../", "%252e%252e%252f").Replace(out)
	root := proxy + "0/" + x.run + "/artifacts/"
	create := func(source string, tags ...map[string]string) step {
		return step{"ada", "POST", mlflow + "model-versions/create", quote(map[string]any{"name": "m", "source": source, "tags": tags}), nil, refusedAll}
	}
	fetch := step{"ada", "GET", "/model-versions/get-artifact?name=m&version=2&path=secret.txt", "", nil, refusedAll}
	experiment := func(location string) step {
		return step{"ada", "POST", mlflow + "experiments/create", quote(map[string]any{"name": "e " + location, "artifact_location": location}), nil, refusedAll}
	}
	sources := func(list ...string) (steps []step) {
		for _, s := range list {
			steps = append(steps, create(s))
		}
		return append(steps, fetch)
	}
	all := func(methods []string, targets ...string) (steps []step) {
		for _, m := range methods {
			for _, target := range targets {
				steps = append(steps, step{"ada", m, target, "", nil, refusedAll})
			}
		}
		return steps
	}
	get, every := []string{"GET"}, []string{"GET", "PUT", "DELETE"}
	login := func(name, password string) step {
		return step{"", "POST", "/api/v1/session", quote(map[string]string{"name": name, "password": password}), nil, []int{400, 401, 403, 404, 405, 422}}
	}
	for _, row := range []struct {
		name, audit string // kind of the audit entry; "" where nothing is refused that could be told from a mistake
		steps       []step
	}{
		{"issue 7166: get-artifact leads out", "path", all(get, "/get-artifact?run_uuid="+x.run+"&path="+out, "/get-artifact?run_uuid="+x.run+"&path="+url.QueryEscape(x.secret), "/get-artifact?run_uuid="+x.run+"&path="+twice)},
		{"CVE-2023-1177: a local path as source", "source", sources("file://"+x.outside, x.outside, "file:"+x.outside, "file://localhost"+x.outside, "FILE://"+x.outside)},
		{"CVE-2023-2356: relative parts in any scheme", "source", sources("mlflow-artifacts://host/../../"+x.outside, "http:///../../"+x.outside, "s3://b/../.."+x.outside, "mlflow-artifacts:/../.."+x.outside, "models:/../../"+x.outside, "runs:/../../"+x.outside, "runs:/"+x.run+"/"+out, "gs://b/x", "ftp://h/x", "hdfs:///x")},
		{"CVE-2023-2780: backslashes", "source", sources(`file:///\..\..\etc`, `mlflow-artifacts:/0\..\..\etc`, `\\host\share`, `runs:/`+x.run+`/..\..\etc`)},
		{"CVE-2023-6018, 6975: an artifact outside the root", "path", all(every, root+out, root+encoded, root+twice, proxy+out, proxy+encoded, root+"a/../../../../x", root+`..\..\x`, root+"%5c..%5cx", root+"./x", root+"a//b", root+"%00", strings.Replace(root, "/api", "/ajax-api", 1)+encoded)},
		{"CVE-2023-6831, CVE-2024-1560: a deletion encoded twice", "path", all([]string{"DELETE"}, root+twice, proxy+"%252e%252e%252f"+x.secret, root+"%25252e%25252e%25252fx", root+"%2525252e%2525252e/x")},
		{"CVE-2023-6909, 2024-1483, 2024-1594, 2024-3848: a fragment or query in the location", "source", append([]step{experiment("http:///#/../../../.." + x.outside), experiment("http:///?/../../../.." + x.outside), experiment("mlflow-artifacts:/x#/../.." + x.outside)}, sources("http:///#/../../../.."+x.outside, "mlflow-artifacts:/0/"+x.run+"/artifacts#/../../..", "runs:/"+x.run+"/model?/../../..")...)},
		{"CVE-2023-6977: a host that hides a local path", "source", sources("//proc/self/root"+x.outside, "//"+x.outside, "file:////"+x.outside)},
		{"CVE-2024-1558, 1593: parameters behind a semicolon", "source", append([]step{experiment("mlflow-artifacts:/x;/../.." + x.outside)}, sources("mlflow-artifacts:/0/"+x.run+"/artifacts;/../../..", "http://h/;/../../x", "runs:/"+x.run+"/model;../..")...)},
		{"CVE-2024-8859: a dbfs location", "source", append([]step{experiment("dbfs:/x"), experiment("dbfs:" + x.outside)}, sources("dbfs:/../.."+x.outside)...)},
		{"CVE-2024-4263: a reader deletes artifacts", "permission", []step{{"otto", "DELETE", root + "model/MLmodel", "", nil, []int{403}}, {"otto", "PUT", root + "x", "x", nil, []int{403}}}},
		{"CVE-2025-11201: traversal while a model is made", "source", append(sources("models:/m/../../"+x.outside, "mlflow-artifacts:/registry/m/../../../x"), step{"ada", "POST", mlflow + "registered-models/create", `{"name":"../../x"}`, nil, refusedAll})},
		{"CVE-2026-2614: a prompt with a local source", "source", []step{create("file://"+x.outside, map[string]string{"key": "mlflow.prompt.is_prompt", "value": "true"}), fetch}},
		{"CVE-2026-2651: parts for the path of another's run by one who may not write", "permission", []step{{"otto", "POST", "/api/2.0/mlflow-artifacts/mpu/create/0/" + x.victim + "/artifacts/model", `{"path":"MLmodel","num_parts":1}`, nil, []int{403}},
			{"otto", "POST", "/ajax-api/2.0/mlflow-artifacts/mpu/create/0/" + x.victim + "/artifacts/model", `{"path":"MLmodel","num_parts":1}`, nil, []int{403}}}},
		{"parts for a path that leads out", "path", []step{{"ada", "POST", "/api/2.0/mlflow-artifacts/mpu/create/0/" + x.run + "/artifacts/" + encoded, `{"path":"x","num_parts":1}`, nil, refusedAll},
			{"ada", "POST", "/api/2.0/mlflow-artifacts/mpu/create/" + encoded, `{"path":"x","num_parts":1}`, nil, refusedAll}}},
		{"a link whose signature was made up", "link", []step{{"", "PUT", "/api/2.0/mlflow-artifacts/signed/0/" + x.victim + "/artifacts/x?by=victor&expires=99999999999&signature=x", "x", nil, []int{403}},
			{"", "GET", "/api/2.0/mlflow-artifacts/signed/0/" + x.victim + "/artifacts/model/MLmodel?by=victor&expires=99999999999&signature=", "", nil, []int{403}}, {"", "PUT", "/api/2.0/mlflow-artifacts/part/x/1", "x", nil, []int{403}}}},
		{"CVE-2025-0453: hundreds of queries in one", "", []step{{"ada", "POST", "/graphql", quote(map[string]string{"query": "{" + strings.Repeat("a: mlflowSearchRuns { runs { info { runId } } } ", 500) + "}"}), nil, []int{400, 404, 501}}}},
		{"CVE-2025-1473: a form of another page", "foreign-origin", []step{{"", "POST", "/api/v1/session", `{"name":"ada","password":"x"}`, []string{"Origin", "http://evil.example", "Sec-Fetch-Site", "cross-site"}, []int{403}}}},
		{"CVE-2025-1473: the page that made users", "", []step{{"", "POST", "/api/2.0/mlflow/users/create-ui", "username=eve&password=x", []string{"Content-Type", "application/x-www-form-urlencoded", "Origin", "http://evil.example"}, []int{401, 403, 404}}}},
		{"CVE-2025-1474, 11200: an empty or short password", "", []step{{"adam", "POST", "/api/v1/users", `{"name":"eve","roles":["auditor"],"password":"x"}`, nil, []int{400, 422}}, login("ada", ""), login("ada", "x")}},
		{"GHSA-4qq5: an account without being signed in", "", []step{{"", "POST", "/api/v1/users", `{"name":"eve","roles":["administrator"]}`, nil, []int{401}}, {"", "POST", "/api/v1/users", `{"name":"eve"}`, []string{"Content-Type", "text/plain"}, []int{401}}, {"", "POST", "/api/2.0/mlflow/users/create", `{"username":"eve","password":"x"}`, nil, []int{401, 404}}}},
		{"GHSA-gq3w: a password everybody knows", "", []step{login("admin", "password1234"), login("admin", "password"), login("admin", "admin"), {"", "GET", mlflow + "experiments/get?experiment_id=0", "", []string{"Authorization", "Basic YWRtaW46cGFzc3dvcmQxMjM0"}, []int{401}}}},
		{"CVE-2026-0545: jobs without credentials", "unauthenticated", []step{{"", "GET", "/ajax-api/3.0/jobs/1", "", nil, []int{401}}, {"", "POST", "/ajax-api/3.0/jobs/", `{}`, nil, []int{401}}, {"", "POST", "/ajax-api/3.0/jobs/search", `{}`, nil, []int{401}}, {"", "PATCH", "/ajax-api/3.0/jobs/cancel/1", `{}`, nil, []int{401}}}},
		{"CVE-2026-0596: shell characters in a model's name", "", []step{{"ada", "POST", mlflow + "registered-models/create", quote(map[string]string{"name": "$(touch " + x.marker + ")"}), nil, refusedAll}, {"ada", "POST", mlflow + "registered-models/create", quote(map[string]string{"name": "m; touch " + x.marker}), nil, refusedAll}, create("models:/m;touch " + x.marker)}},
		{"GHSA-wxj7, h7x2: the gateway as a proxy", "", []step{{"ada", "POST", "/ajax-api/2.0/mlflow/gateway-proxy", `{"gateway_path":"http://169.254.169.254/"}`, nil, []int{400, 404, 501}}, {"ada", "POST", "/api/3.0/mlflow/gateway/secrets/create", `{"api_base":"http://127.0.0.1/"}`, nil, []int{400, 404, 501}}}},
		{"CVE-2026-8147 and others: one who may not write logs to a run", "permission", []step{{"otto", "POST", mlflow + "runs/log-inputs", `{"run_id":"` + x.victim + `","datasets":[]}`, nil, []int{403}}, {"otto", "POST", "/ajax-api/2.0/mlflow/upload-artifact?run_uuid=" + x.victim + "&path=x", "x", nil, []int{403}}, {"otto", "POST", mlflow + "logged-models", `{"experiment_id":"0"}`, nil, []int{403}}}},
		{"CVE-2026-8147 and others: artifacts of a run without signing in", "unauthenticated", []step{{"", "GET", proxy + "0/" + x.victim + "/artifacts/model/MLmodel", "", nil, []int{401}}, {"", "GET", "/get-artifact?run_uuid=" + x.victim + "&path=model/MLmodel", "", nil, []int{401}}, {"", "GET", "/ajax-api/2.0/mlflow/logged-models/x/artifacts/files?artifact_file_path=x", "", nil, []int{401}}}},
		{"CVE-2026-64849: a webhook into the network", "foreign-address", []step{{"adam", "POST", "/api/2.0/mlflow/webhooks", `{"name":"w","url":"https://127.0.0.1:1/x","events":[{"entity":"REGISTERED_MODEL","action":"CREATED"}]}`, nil, []int{400}},
			{"adam", "POST", "/api/2.0/mlflow/webhooks", `{"name":"w","url":"https://169.254.169.254/latest","events":[{"entity":"REGISTERED_MODEL","action":"CREATED"}]}`, nil, []int{400}}, {"adam", "POST", "/api/2.0/mlflow/webhooks", `{"name":"w","url":"https://[::ffff:10.0.0.1]/x","events":[{"entity":"REGISTERED_MODEL","action":"CREATED"}]}`, nil, []int{400}}}},
		{"pull requests 21824, 19557: an archive that leaves its folder", "archive", []step{archive(t, "../../../../"+x.marker, tar.TypeReg, ""), archive(t, x.marker, tar.TypeReg, ""), archive(t, "link", tar.TypeSymlink, x.secret), archive(t, "hard", tar.TypeLink, x.secret), archive(t, `..\..\x`, tar.TypeReg, "")}},
		{"DNS rebinding: a foreign name of this host", "foreign-host", []step{{"ada", "GET", mlflow + "experiments/get?experiment_id=0", "", []string{"Host", "evil.example"}, []int{403}}, {"ada", "POST", mlflow + "runs/create", `{}`, []string{"Host", "127.0.0.1.evil.example"}, []int{403}}, {"ada", "GET", "/", "", []string{"Host", "localhost.evil.example:5000"}, []int{403}}}},
		{"the listing leads out", "path", all(get, mlflow+"artifacts/list?run_id="+x.run+"&path="+out, mlflow+"artifacts/list?run_id="+x.run+"&path="+twice, mlflow+"artifacts/list?run_id="+x.run+"&path=/etc", strings.TrimSuffix(proxy, "/")+"?path="+out, strings.TrimSuffix(proxy, "/")+"?path="+url.QueryEscape(`..\..`), "/model-versions/get-artifact?name=m&version=1&path="+out)},
	} {
		t.Run(row.name, func(t *testing.T) {
			for _, s := range row.steps {
				code, text := x.send(t, s.who, s.method, s.target, s.body, s.header...)
				if !slices.Contains(s.want, code) {
					t.Errorf("%s %s %.200s as %q answers %d %.300s, want one of %v", s.method, s.target, s.body, s.who, code, text, s.want)
				}
				if strings.Contains(text, canary) {
					t.Errorf("%s %s gives the secret away", s.method, s.target)
				}
				if code >= 400 && !json.Valid([]byte(text)) {
					t.Errorf("%s %s answers %d with no JSON: %.200q", s.method, s.target, code, text)
				}
			}
			if after := x.look(t); after != x.before {
				t.Errorf("files are now\n%s\nwere\n%s", after, x.before)
			}
			if row.audit == "" {
				return
			}
			await(t, "an audit entry of the kind "+row.audit, func() bool { return x.refusals(t, row.audit) > 0 }) // written a moment later
		})
	}
	t.Run("all of it together wrote few entries", func(t *testing.T) {
		total := 0
		for _, kind := range []string{"path", "source", "link", "foreign-host", "foreign-origin", "foreign-address", "archive", "unauthenticated"} {
			total += x.refusals(t, kind)
		}
		if total > 20 {
			t.Errorf("%d entries", total)
		}
	})
}

// archive registers a pipeline whose source has one member of the given name and kind.
func archive(t *testing.T, name string, kind byte, link string) step {
	t.Helper()
	var packed, body bytes.Buffer
	z := gzip.NewWriter(&packed)
	w := tar.NewWriter(z)
	h := &tar.Header{Name: name, Typeflag: kind, Linkname: link, Mode: 0o644}
	if kind == tar.TypeReg {
		h.Size = 5
	}
	if err := w.WriteHeader(h); err != nil {
		t.Fatal(err)
	}
	if kind == tar.TypeReg {
		if _, err := io.WriteString(w, "owned"); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	form := multipart.NewWriter(&body)
	for field, content := range map[string][]byte{"definition": []byte("name: evil\nsteps:\n  a: {kind: command, run: [\"true\"]}\n"), "source": packed.Bytes()} {
		p, err := form.CreateFormFile(field, field)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.Write(content); err != nil {
			t.Fatal(err)
		}
	}
	if err := form.Close(); err != nil {
		t.Fatal(err)
	}
	return step{"ada", "PUT", "/api/v1/pipelines/evil", body.String(), []string{"Content-Type", form.FormDataContentType()}, []int{400, 422}}
}

// TestAPickleIsNeverOpened registers a model whose pickle would write a file when it is loaded (CVE-2024-37052 to 37060):
// registering, testing, listing and fetching it does not.
func TestAPickleIsNeverOpened(t *testing.T) {
	x := newTarget(t)
	pickle := "cos\nsystem\n(S'touch " + x.marker + "'\ntR." // what pickle.dumps writes, in protocol 0, of a reducer that runs a command
	ml := "flavors:\n  python_function:\n    loader_module: mlflow.sklearn\n    python_version: 3.11.0\n  sklearn:\n    pickled_model: model.pkl\n    serialization_format: cloudpickle\n"
	base := proxy + "0/" + x.run + "/artifacts/evil/"
	for name, text := range map[string]string{"MLmodel": ml, "model.pkl": pickle, "python_model.pkl": pickle, "model.skops": pickle, "data.pickle": pickle} {
		if code, body := x.send(t, "ada", "PUT", base+name, text); code != 200 {
			t.Fatal(code, body)
		}
	}
	if code, body := x.send(t, "ada", "POST", mlflow+"model-versions/create", `{"name":"m","source":"runs:/`+x.run+`/evil"}`); code != 200 {
		t.Fatal(code, body)
	}
	await(t, "the end of the version's test", func() bool {
		_, body := x.send(t, "ada", "GET", "/api/v1/models/m/versions/2", "")
		var v struct{ State string }
		if i := strings.IndexByte(body, '{'); i >= 0 {
			_ = json.NewDecoder(strings.NewReader(body[i:])).Decode(&v)
		}
		return v.State != "" && v.State != "pending"
	})
	for _, p := range []string{"/model-versions/get-artifact?name=m&version=2&path=model.pkl", mlflow + "artifacts/list?run_id=" + x.run + "&path=evil", base + "model.pkl"} {
		if code, body := x.send(t, "ada", "GET", p, ""); code != 200 {
			t.Errorf("%s: %d %s", p, code, body)
		}
	}
	if _, err := os.Stat(x.marker); !os.IsNotExist(err) {
		t.Fatal("the pickle was opened")
	}
}

// TestALinkInTheArtifactFolderIsNotFollowed puts a symbolic link where stored bytes were (pull request 18964).
func TestALinkInTheArtifactFolderIsNotFollowed(t *testing.T) {
	x := newTarget(t)
	a, err := x.Tracking.File(context.Background(), "0/"+x.run+"/artifacts", "model/MLmodel")
	if err != nil {
		t.Fatal(err)
	}
	hexa := strings.TrimPrefix(a.Digest, "sha256:")
	stored := filepath.Join(x.Config.Data, "blobs", "content", hexa[:2], hexa)
	if err := os.Remove(stored); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(x.secret, stored); err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{proxy + "0/" + x.run + "/artifacts/model/MLmodel", "/get-artifact?run_uuid=" + x.run + "&path=model/MLmodel", "/model-versions/get-artifact?name=m&version=1&path=MLmodel", "/api/v1/models/m/versions/1/files/MLmodel"} {
		if code, body := x.send(t, "ada", "GET", p, ""); code != http.StatusConflict || strings.Contains(body, canary) {
			t.Errorf("%s: %d %s", p, code, body)
		}
	}
	var n int
	if err := x.DB.Read(context.Background(), func(tx db.Scope) error {
		return tx.QueryRow(`SELECT COUNT(*) FROM audit_entry WHERE workspace = $1 AND action = 'blob.altered'`, tx.Workspace).Scan(&n)
	}); err != nil || n == 0 {
		t.Errorf("%d audit entries, %v", n, err)
	}
}
