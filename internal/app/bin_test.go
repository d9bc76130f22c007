package app_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"keelson/internal/app"
	"keelson/internal/blob"
	"keelson/internal/caller"
	"keelson/internal/db"
	"keelson/internal/db/dbtest"
)

// otherDigests are columns whose digests are not of content in the blob store, with what they are of.
var otherDigests = map[string]string{
	"model_version.artifact_digest":       "of a list of files",
	"model_version.content_digest":        "of a list of files",
	"prompt_version.digest":               "of a template",
	"study.digest":                        "of an artifact and the ids of calls",
	"evalset.digest":                      "of a name and a time",
	"evaluation.artifact_digest":          "of a version",
	"evaluation.dataset_digest":           "of a data version, which dataset_version holds",
	"prediction_file.digest":              "of a named object",
	"run_input.digest":                    "the client's own",
	"logged_model_metric.dataset_digest":  "the client's own",
	"pipeline_version.digest":             "of definition and archive",
	"pipeline_version.environment_digest": "of a lock file",
	"pipeline_run.environment_digest":     "of a lock file",
	"pipeline_run.content_digest":         "of a version",
	"blob_lease.digest":                   "the keeper's own",
	"blob_loose.digest":                   "the keeper's own",
	"blob_doomed.digest":                  "the keeper's own",
}

// TestEveryDigestOfStoredBytesIsHeld walks the schema: a column that may hold digests is either one that keeps bytes from
// being deleted, or known to hold others. Who adds such a column is asked here before its bytes vanish.
func TestEveryDigestOfStoredBytesIsHeld(t *testing.T) {
	a := start(t, nil)
	held := map[string]bool{}
	for _, h := range a.Keeper.Holders {
		if c, ok := h.(blob.Column); ok {
			held[c.Table+"."+c.Name] = true
		}
	}
	columns := map[string]bool{}
	if err := a.DB.Read(context.Background(), func(tx db.Scope) error {
		return tx.Each(`SELECT m.name, c.name FROM sqlite_master m, pragma_table_info(m.name) c WHERE m.type = 'table' AND m.name NOT LIKE 'river%'`, nil, func(scan func(...any) error) error {
			var table, column string
			err := scan(&table, &column)
			columns[table+"."+column] = true
			for _, word := range []string{"digest", "archive", "blob", "sha256", "content", "checksum"} {
				if strings.Contains(column, word) && !held[table+"."+column] && otherDigests[table+"."+column] == "" {
					t.Errorf("the column %s.%s may hold digests of stored bytes: add it to holders in keep.go, or say here what its digests are of", table, column)
				}
			}
			return err
		})
	}); err != nil {
		t.Fatal(err)
	}
	for c := range held {
		if !columns[c] {
			t.Errorf("%s holds bytes but is no column", c)
		}
	}
}

// world is a running program with one deleted thing of every kind.
type world struct {
	*app.App
	ctx context.Context
}

func (w world) call(t *testing.T, method, path, body string) (int, map[string]any) {
	t.Helper()
	code, text := request(t, method, w.URL+path, "", strings.NewReader(body))
	out := map[string]any{}
	if err := json.Unmarshal([]byte(text), &out); err != nil {
		t.Fatalf("%s %s: %d %s", method, path, code, text)
	}
	return code, out
}

func (w world) ok(t *testing.T, method, path, body string) map[string]any {
	t.Helper()
	code, out := w.call(t, method, path, body)
	if code >= 300 {
		t.Fatalf("%s %s %s: %d %v", method, path, body, code, out)
	}
	return out
}

func (w world) upload(t *testing.T, run, path, text string) (digest string) {
	t.Helper()
	a, err := w.Tracking.PutFile(w.ctx, "0/"+run+"/artifacts", path, strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return a.Digest
}

func (w world) stored(t *testing.T, digest string) bool {
	t.Helper()
	r, _, err := w.Blobs.Open(w.ctx, digest)
	if errors.Is(err, blob.ErrNotFound) {
		return false
	}
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
	return true
}

func (w world) bin(t *testing.T, kind string) (out []map[string]any) {
	t.Helper()
	for _, i := range w.ok(t, "GET", "/api/v1/bin?kind="+kind, "")["items"].([]any) {
		out = append(out, i.(map[string]any))
	}
	return out
}

func (w world) audited(t *testing.T, action string) int {
	t.Helper()
	n := 0
	if err := w.DB.Read(w.ctx, func(tx db.Scope) error {
		return tx.QueryRow(`SELECT COUNT(*) FROM audit_entry WHERE workspace = $1 AND action = $2`, tx.Workspace, action).Scan(&n)
	}); err != nil {
		t.Fatal(err)
	}
	return n
}

func newWorld(t *testing.T, postgres bool) world {
	a := start(t, func(c *app.Config) {
		c.Auth = "off"
		if postgres {
			c.Database = dbtest.DSN(t)
		}
	})
	return world{a, caller.With(context.Background(), caller.Caller{Name: "local", Kind: caller.Person, Roles: []string{"local"}})}
}

func each(t *testing.T, fn func(t *testing.T, w world)) {
	t.Run("sqlite", func(t *testing.T) { fn(t, newWorld(t, false)) })
	t.Run("postgres", func(t *testing.T) {
		if !havePostgres() {
			t.Skip("KEELSON_TEST_POSTGRES is not set")
		}
		fn(t, newWorld(t, true))
	})
}

const mlflow = "/api/2.0/mlflow/"

func (w world) run(t *testing.T, experiment string) string {
	t.Helper()
	return w.ok(t, "POST", mlflow+"runs/create", `{"experiment_id":"`+experiment+`"}`)["run"].(map[string]any)["info"].(map[string]any)["run_id"].(string)
}

func TestARunGoesToTheBinAndBackOrForGoodWithItsBytes(t *testing.T) {
	each(t, func(t *testing.T, w world) {
		one, two := w.run(t, "0"), w.run(t, "0")
		own, shared := w.upload(t, one, "own", "only here"), w.upload(t, one, "shared", "in both")
		w.upload(t, two, "shared", "in both")
		w.ok(t, "POST", mlflow+"runs/log-batch", fmt.Sprintf(`{"run_id":%q,"metrics":[{"key":"m","value":1,"timestamp":1,"step":0}],"params":[{"key":"p","value":"1"}],"tags":[{"key":"t","value":"1"}]}`, one))
		w.ok(t, "POST", mlflow+"runs/delete", `{"run_id":"`+one+`"}`)
		in := w.bin(t, "run")
		if len(in) != 1 || in[0]["id"] != one || in[0]["files"].(float64) != 2 || in[0]["bytes"].(float64) != 16 || in[0]["deleted_by"] != "local" {
			t.Fatalf("the bin holds %v", in)
		}
		w.ok(t, "POST", "/api/v1/bin/restore", `{"kind":"run","id":"`+one+`"}`)
		if in := w.bin(t, "run"); len(in) != 0 {
			t.Fatalf("after restoring: %v", in)
		}
		w.upload(t, one, "more", "again writable")
		w.ok(t, "POST", mlflow+"runs/delete", `{"run_id":"`+one+`"}`)
		name := w.bin(t, "run")[0]["name"].(string)
		if code, out := w.call(t, "DELETE", "/api/v1/bin/run/"+one+"?confirm=other", ""); code != 422 || !strings.Contains(fmt.Sprint(out), name) {
			t.Errorf("purging without its name: %d %v", code, out)
		}
		dry := w.ok(t, "POST", "/api/v1/bin/purge", `{"older_than":"0s","dry_run":true}`)
		if dry["count"].(float64) != 1 || dry["files"].(float64) != 3 || !w.stored(t, own) {
			t.Errorf("a dry run says %v", dry)
		}
		rep := w.ok(t, "DELETE", "/api/v1/bin/run/"+one+"?confirm="+url.QueryEscape(name), "")
		if freed := rep["freed"].(map[string]any); freed["files"].(float64) != 2 || rep["files"].(float64) != 3 {
			t.Errorf("purging says %v", rep)
		}
		if w.stored(t, own) || !w.stored(t, shared) {
			t.Errorf("own bytes stored: %v, bytes another run has: %v", w.stored(t, own), w.stored(t, shared))
		}
		if code, _ := w.call(t, "GET", mlflow+"runs/get?run_id="+one, ""); code != 404 {
			t.Errorf("a purged run is found: %d", code)
		}
		if err := w.DB.Read(w.ctx, func(tx db.Scope) error { return leftOver(tx, t, one) }); err != nil {
			t.Fatal(err)
		}
		for action, want := range map[string]int{"run.deleted": 2, "run.restored": 1, "run.purged": 1} {
			if n := w.audited(t, action); n != want {
				t.Errorf("%d entries %s, want %d", n, action, want)
			}
		}
	})
}

// leftOver looks for rows of a purged run in every table with a column of that name.
func leftOver(tx db.Scope, t *testing.T, run string) error {
	q := `SELECT m.name FROM sqlite_master m, pragma_table_info(m.name) c WHERE m.type = 'table' AND c.name = 'run'`
	if tx.Postgres() {
		q = `SELECT table_name FROM information_schema.columns WHERE table_schema = current_schema() AND column_name = 'run'`
	}
	var tables []string
	if err := tx.Each(q, nil, func(scan func(...any) error) error {
		var n string
		err := scan(&n)
		tables = append(tables, n)
		return err
	}); err != nil {
		return err
	}
	for _, table := range tables {
		var n int
		if err := tx.QueryRow(`SELECT COUNT(*) FROM `+table+` WHERE run = $1`, run).Scan(&n); err != nil {
			return err
		}
		if n > 0 {
			t.Errorf("%d rows of the purged run are left in %s: add the table to runTables", n, table)
		}
	}
	return nil
}

func TestAnExperimentsNameIsFreeAtOnceAndItComesBackUnderAnother(t *testing.T) {
	each(t, func(t *testing.T, w world) {
		create := func() string {
			t.Helper()
			return w.ok(t, "POST", mlflow+"experiments/create", `{"name":"churn"}`)["experiment_id"].(string)
		}
		old := create()
		kept, gone := w.run(t, old), w.run(t, old)
		w.ok(t, "POST", mlflow+"runs/delete", `{"run_id":"`+gone+`"}`)
		w.ok(t, "POST", mlflow+"experiments/delete", `{"experiment_id":"`+old+`"}`)
		create()
		code, out := w.call(t, "POST", "/api/v1/bin/restore", `{"kind":"experiment","id":"`+old+`"}`)
		if code != 409 || !strings.Contains(out["detail"].(string), "--as") {
			t.Errorf("restoring a name that is taken: %d %v", code, out)
		}
		if code, out := w.call(t, "POST", "/api/v1/bin/restore", `{"kind":"run","id":"`+gone+`"}`); code != 409 || !strings.Contains(out["detail"].(string), "restore that first") {
			t.Errorf("restoring a run of a deleted experiment: %d %v", code, out)
		}
		w.ok(t, "POST", "/api/v1/bin/restore", `{"kind":"experiment","id":"`+old+`","as":"churn of May"}`)
		for id, want := range map[string]string{kept: "active", gone: "deleted"} {
			info := w.ok(t, "GET", mlflow+"runs/get?run_id="+id, "")["run"].(map[string]any)["info"].(map[string]any)
			if info["lifecycle_stage"] != want {
				t.Errorf("the run is %v, want %s", info["lifecycle_stage"], want)
			}
		}
		w.ok(t, "POST", mlflow+"experiments/delete", `{"experiment_id":"`+old+`"}`)
		digest := ""
		rep := w.ok(t, "POST", "/api/v1/bin/purge", `{"older_than":"0s","kinds":["experiment"]}`)
		if rep["count"].(float64) != 1 || digest != "" {
			t.Errorf("%v", rep)
		}
		if code, _ := w.call(t, "GET", mlflow+"experiments/get?experiment_id="+old, ""); code != 404 {
			t.Errorf("a purged experiment is found: %d", code)
		}
		if in := w.bin(t, ""); len(in) != 0 {
			t.Errorf("left in the bin: %v", in)
		}
	})
}

func TestModelsAndVersionsGoToTheBinAndBack(t *testing.T) {
	each(t, func(t *testing.T, w world) {
		run := w.run(t, "0")
		digest := w.upload(t, run, "model/model.json", `{"not":"a model"}`)
		w.ok(t, "POST", mlflow+"registered-models/create", `{"name":"screening","tags":[{"key":"k","value":"v"}]}`)
		for range 2 {
			w.ok(t, "POST", mlflow+"model-versions/create", `{"name":"screening","source":"runs:/`+run+`/model","run_id":"`+run+`"}`)
		}
		w.ok(t, "POST", mlflow+"registered-models/alias", `{"name":"screening","alias":"best","version":"1"}`)
		before := w.ok(t, "GET", "/api/v1/models/screening/versions/1", "")
		w.ok(t, "DELETE", mlflow+"model-versions/delete", `{"name":"screening","version":"1"}`)
		in := w.bin(t, "version")
		if len(in) != 1 || in[0]["name"] != "screening/1" || in[0]["files"].(float64) != 1 {
			t.Fatalf("the bin holds %v", in)
		}
		w.ok(t, "POST", "/api/v1/bin/restore", fmt.Sprintf(`{"kind":"version","id":%q}`, in[0]["id"]))
		after := w.ok(t, "GET", "/api/v1/models/screening/versions/1", "")
		if db.ToJSON(before) != db.ToJSON(after) {
			t.Errorf("the version came back as\n%v, was\n%v", after, before)
		}
		w.ok(t, "DELETE", mlflow+"model-versions/delete", `{"name":"screening","version":"2"}`)
		w.ok(t, "DELETE", mlflow+"registered-models/delete", `{"name":"screening"}`)
		w.ok(t, "POST", mlflow+"registered-models/create", `{"name":"screening"}`)
		v := w.ok(t, "POST", mlflow+"model-versions/create", `{"name":"screening","source":"runs:/`+run+`/model"}`)["model_version"].(map[string]any)
		if v["version"] != "3" {
			t.Errorf("the number %v was given before", v["version"])
		}
		model, version := w.bin(t, "model")[0], w.bin(t, "version")[0]
		if code, out := w.call(t, "POST", "/api/v1/bin/restore", fmt.Sprintf(`{"kind":"model","id":%q}`, model["id"])); code != 409 || !strings.Contains(out["detail"].(string), "--as") {
			t.Errorf("restoring a name that is taken: %d %v", code, out)
		}
		if code, out := w.call(t, "POST", "/api/v1/bin/restore", fmt.Sprintf(`{"kind":"version","id":%q}`, version["id"])); code != 409 || !strings.Contains(out["detail"].(string), "earlier model") {
			t.Errorf("restoring a version of an earlier model: %d %v", code, out)
		}
		w.ok(t, "POST", "/api/v1/bin/restore", fmt.Sprintf(`{"kind":"model","id":%q,"as":"screening-old"}`, model["id"]))
		if m := w.ok(t, "GET", mlflow+"registered-models/alias?name=screening-old&alias=best", "")["model_version"].(map[string]any); m["version"] != "1" {
			t.Errorf("the alias names %v", m["version"])
		}
		if next := w.ok(t, "POST", mlflow+"model-versions/create", `{"name":"screening-old","source":"runs:/`+run+`/model"}`)["model_version"].(map[string]any); next["version"] == "1" || next["version"] == "2" {
			t.Errorf("the number %v was given before", next["version"])
		}
		// Bytes go with the last of: the run's file, two models, the version in the bin.
		for _, m := range []string{"screening", "screening-old"} {
			w.ok(t, "DELETE", mlflow+"registered-models/delete", `{"name":"`+m+`"}`)
		}
		w.ok(t, "POST", mlflow+"runs/delete", `{"run_id":"`+run+`"}`)
		rep := w.ok(t, "POST", "/api/v1/bin/purge", `{"older_than":"0s","kinds":["run","model"]}`)
		if rep["count"].(float64) != 3 || !w.stored(t, digest) {
			t.Errorf("with a version left in the bin: %v", rep)
		}
		expire(t, w)
		rep = w.ok(t, "POST", "/api/v1/bin/purge", `{"older_than":"0s"}`)
		if rep["count"].(float64) != 1 || w.stored(t, digest) {
			t.Errorf("with nothing left: %v", rep)
		}
	})
}

// expire ends all leases, as a quarter of an hour would.
func expire(t *testing.T, w world) {
	t.Helper()
	if err := w.DB.Write(w.ctx, func(tx db.Scope) error { _, err := tx.Exec(`UPDATE blob_lease SET expires = 1`); return err }); err != nil {
		t.Fatal(err)
	}
}

func TestWhatIsHeldIsNeitherDeletedNorPurged(t *testing.T) {
	each(t, func(t *testing.T, w world) {
		run := w.run(t, "0")
		w.upload(t, run, "model/m", "x")
		w.ok(t, "POST", mlflow+"registered-models/create", `{"name":"m"}`)
		w.ok(t, "POST", mlflow+"model-versions/create", `{"name":"m","source":"runs:/`+run+`/model"}`)
		w.ok(t, "PUT", "/api/v1/holds", `{"kind":"version","name":"m/1","reason":"Inspection of 2026"}`)
		w.ok(t, "PUT", "/api/v1/holds", `{"kind":"run","name":"`+run+`","reason":"Inspection of 2026"}`)
		refused := func(method, path, body string) {
			t.Helper()
			if code, out := w.call(t, method, path, body); code != 409 || !strings.Contains(fmt.Sprint(out), "Inspection of 2026") {
				t.Errorf("%s %s: %d %v", method, path, code, out)
			}
		}
		refused("DELETE", mlflow+"model-versions/delete", `{"name":"m","version":"1"}`)
		refused("DELETE", mlflow+"registered-models/delete", `{"name":"m"}`)
		refused("POST", mlflow+"runs/delete", `{"run_id":"`+run+`"}`)
		w.ok(t, "DELETE", "/api/v1/holds?kind=run&name="+run, "")
		w.ok(t, "POST", mlflow+"runs/delete", `{"run_id":"`+run+`"}`)
		w.ok(t, "PUT", "/api/v1/holds", `{"kind":"run","name":"`+run+`","reason":"Inspection of 2026","until":"`+time.Now().Add(time.Hour).UTC().Format(time.RFC3339)+`"}`)
		refused("DELETE", "/api/v1/bin/run/"+run+"?confirm="+url.QueryEscape(w.bin(t, "run")[0]["name"].(string)), "")
		rep := w.ok(t, "POST", "/api/v1/bin/purge", `{"older_than":"0s"}`)
		if rep["count"].(float64) != 0 || len(rep["kept"].([]any)) != 1 {
			t.Errorf("purging all says %v", rep)
		}
		if code, _ := w.call(t, "DELETE", "/api/v1/holds?kind=run&name=nothing", ""); code != 404 {
			t.Errorf("lifting a hold that is not there gives %d", code)
		}
		for _, bad := range []string{`{"kind":"run","name":"x","reason":""}`, `{"kind":"planet","name":"x","reason":"y"}`, `{"kind":"run","name":"x","reason":"y","until":"2001-01-01T00:00:00Z"}`, `{"kind":"run","name":"x","reason":"y","until":"soon"}`} {
			if code, _ := w.call(t, "PUT", "/api/v1/holds", bad); code != 422 {
				t.Errorf("%s gives %d", bad, code)
			}
		}
		for _, bad := range []string{`{"older_than":"soon"}`, `{"older_than":"-1d"}`, `{"older_than":"0s","kinds":["planet"]}`} {
			if code, _ := w.call(t, "POST", "/api/v1/bin/purge", bad); code != 422 {
				t.Errorf("%s gives %d", bad, code)
			}
		}
	})
}

func TestTheBinIsListedByPages(t *testing.T) {
	w := newWorld(t, false)
	var want []string
	for range 7 {
		id := w.run(t, "0")
		w.ok(t, "POST", mlflow+"runs/delete", `{"run_id":"`+id+`"}`)
		want = append(want, id)
	}
	var got []string
	for cursor := ""; ; {
		page := w.ok(t, "GET", "/api/v1/bin?limit=3&cursor="+url.QueryEscape(cursor), "")
		for _, i := range page["items"].([]any) {
			got = append(got, i.(map[string]any)["id"].(string))
		}
		if cursor, _ = page["next"].(string); cursor == "" {
			break
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("listed %v, deleted %v", got, want)
	}
	if code, _ := w.call(t, "GET", "/api/v1/bin?cursor=x", ""); code != 422 {
		t.Errorf("a cursor that is none gives %d", code)
	}
	if code, _ := w.call(t, "GET", "/api/v1/bin?kind=planet", ""); code != 422 {
		t.Errorf("a kind that is none gives %d", code)
	}
}

func havePostgres() bool { return os.Getenv(dbtest.Postgres) != "" }
