package app_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/parquet-go/parquet-go"

	"keelson/internal/app"
)

// handIn stores n predictions made elsewhere and gives their ids.
func handIn(t *testing.T, a *app.App, token string, n int) []string {
	t.Helper()
	var items []string
	for i := range n {
		items = append(items, fmt.Sprintf(`{"model":"credit","version":1,"inputs":[{"name":"x","shape":[1],"datatype":"FP64","data":[%d]}],"outputs":[{"name":"p","shape":[1],"datatype":"FP64","data":[0.5]}]}`, i))
	}
	status, body := request(t, "POST", a.URL+"/api/v1/predictions", token, strings.NewReader(`{"endpoint":"credit","items":[`+strings.Join(items, ",")+`]}`))
	var out struct {
		IDs []string `json:"ids"`
	}
	if err := json.Unmarshal([]byte(body), &out); err != nil || status >= 300 || len(out.IDs) != n {
		t.Fatalf("%d %s %v", status, body, err)
	}
	return out.IDs
}

func TestOutcomesByFileAndByStream(t *testing.T) {
	a := start(t, func(c *app.Config) { c.Auth = "off" })
	ids := handIn(t, a, "", 12)
	send := func(media string, body io.Reader) (int, string) {
		t.Helper()
		req, err := http.NewRequest("POST", a.URL+"/api/v1/outcomes/file", body)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", media)
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		b, _ := io.ReadAll(res.Body)
		return res.StatusCode, string(b)
	}
	type row struct {
		Prediction string  `parquet:"prediction_id"`
		Row        int64   `parquet:"row"`
		Value      float64 `parquet:"value"`
	}
	var file bytes.Buffer
	w := parquet.NewGenericWriter[row](&file)
	if _, err := w.Write([]row{{ids[4], 0, 1}, {ids[5], 0, 0}}); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, media string
		body        io.Reader
		status      int
		want        string
	}{
		{"CSV", "text/csv", strings.NewReader("prediction_id,row,value\n" + ids[0] + ",0,1\n" + ids[1] + ",0,0\n"), 200, `"accepted":2,"duplicates":0`},
		{"the same CSV again", "text/csv", strings.NewReader("prediction_id,row,value\n" + ids[0] + ",0,1\n" + ids[1] + ",0,0\n"), 200, `"accepted":0,"duplicates":2`},
		{"lines of JSON", "application/x-ndjson", strings.NewReader(`{"prediction_id":"` + ids[2] + `","value":1}` + "\n\n" + `{"prediction_id":"` + ids[3] + `","value":0,"at":"2026-01-01T00:00:00Z"}`), 200, `"accepted":2`},
		{"Parquet", "application/vnd.apache.parquet", &file, 200, `"accepted":2`},
		{"a row that is refused keeps no other back", "text/csv", strings.NewReader("prediction_id,row,value\n" + ids[6] + ",0,1\nnobody,0,1\n" + ids[7] + ",3,1\n" + ids[0] + ",0,0\n"), 422, `"field":"row 2"`},
		{"it names the row with another value", "text/csv", strings.NewReader("prediction_id,row,value\n" + ids[0] + ",0,0\n"), 422, `has the outcome 1 on record`},
		{"a line that is no JSON", "application/x-ndjson", strings.NewReader("{\n"), 422, `row 1`},
		{"a value that is an object", "application/x-ndjson", strings.NewReader(`{"prediction_id":"` + ids[8] + `","value":{"a":1}}`), 422, `no number, text or truth value`},
		{"a line that is too long", "application/x-ndjson", strings.NewReader(`{"prediction_id":"` + strings.Repeat("x", 100_000) + `"}`), 422, `longer than 65536 bytes`},
		{"a column that lacks", "text/csv", strings.NewReader("prediction_id,truth\n" + ids[6] + ",1\n"), 422, `no column value`},
		{"a missing value", "text/csv", strings.NewReader("prediction_id,value\n" + ids[8] + ",\n" + ids[9] + ",1\n"), 422, `row 1`},
		{"an empty file", "text/csv", strings.NewReader(""), 422, `empty`},
	} {
		if status, body := send(c.media, c.body); status != c.status || !strings.Contains(body, c.want) {
			t.Errorf("%s: %d %s, want %d with %s", c.name, status, body, c.status, c.want)
		}
	}
	if _, body := request(t, "GET", a.URL+"/api/v1/predictions/"+ids[6], "", nil); !strings.Contains(body, `"outcomes":[{"row":0,"value":1`) {
		t.Errorf("the good row beside refused ones: %s", body)
	}

	// A stream is answered line by line while the request is still open.
	pr, pw := io.Pipe()
	req, err := http.NewRequest("POST", a.URL+"/api/v1/outcomes/stream", pr)
	if err != nil {
		t.Fatal(err)
	}
	answers := make(chan *http.Response, 1)
	go func() {
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Error(err)
			close(answers)
			return
		}
		answers <- res
	}()
	tell := func(s string) {
		if _, err := io.WriteString(pw, s); err != nil {
			t.Fatal(err)
		}
	}
	tell(`{"prediction_id":"` + ids[10] + `","value":true}` + "\n")
	var res *http.Response
	select {
	case res = <-answers:
	case <-time.After(20 * time.Second):
		t.Fatal("no answer while the request is open")
	}
	if res == nil {
		return
	}
	defer res.Body.Close()
	in := bufio.NewReader(res.Body)
	next := func(want string) {
		t.Helper()
		if got, err := in.ReadString('\n'); err != nil || !strings.Contains(got, want) {
			t.Fatalf("%q %v, want %s", got, err, want)
		}
	}
	next(`{"line":1,"state":"accepted"}`)
	tell(`{"prediction_id":"nobody","value":1}` + "\n" + `{"prediction_id":"` + ids[10] + `","value":true}` + "\nnonsense\n" + `{"prediction_id":"` + ids[11] + `","value":"good"}` + "\n")
	next(`{"line":2,"state":"refused"`)
	next(`{"line":3,"state":"duplicate"}`)
	next(`{"line":4,"state":"refused"`)
	next(`{"line":5,"state":"accepted"}`)
	pw.Close()
	next(`{"lines":5,"accepted":2,"duplicates":1,"refused":2,"done":true}`)
}

func TestADecisionMarkedAsWrongIsLabelledAndCounts(t *testing.T) {
	a := start(t, func(c *app.Config) { c.Auth = "off" })
	ids := handIn(t, a, "", 4)
	do := func(method, path, body string, status int, want string) string {
		t.Helper()
		var r io.Reader
		if body != "" {
			r = strings.NewReader(body)
		}
		got, text := request(t, method, a.URL+path, "", r)
		if got != status || !strings.Contains(text, want) {
			t.Errorf("%s %s %s: %d %s, want %d with %s", method, path, body, got, text, status, want)
		}
		var out struct {
			ID string `json:"id"`
		}
		_ = json.Unmarshal([]byte(text), &out)
		return out.ID
	}
	report := func(i int, body string, status int, want string) string {
		t.Helper()
		return do("POST", "/api/v1/predictions/"+ids[i]+"/feedback", body, status, want)
	}
	wrong := report(0, `{"kind":"wrong","value":0}`, 201, `"state":"queued"`)
	if again := report(0, `{"kind":"wrong","reason":"she paid"}`, 201, `"reports":2`); again != wrong {
		t.Error("the same said twice stands in the queue twice")
	}
	contest := report(1, `{"kind":"contest","reason":"I have a job"}`, 201, `"kind":"contest"`)
	report(1, `{"kind":"contest"}`, 422, `reason`)
	report(2, `{"kind":"override","reason":"manager decided"}`, 422, `value`)
	report(2, `{"kind":"override","value":1}`, 422, `reason`)
	report(2, `{"kind":"override","value":{"a":1},"reason":"x"}`, 422, `value`)
	report(2, `{"kind":"wrong","row":7}`, 422, `row`)
	override := report(2, `{"kind":"override","value":1,"reason":"manager decided"}`, 201, `"value":1`)
	do("POST", "/api/v1/predictions/none/feedback", `{"kind":"wrong"}`, 404, `none`)

	if first := do("POST", "/api/v1/feedback/next", `{}`, 200, `"state":"claimed"`); first != contest {
		t.Errorf("the queue begins with %s, want who contests", first)
	}
	do("POST", "/api/v1/feedback/"+contest+"/release", `{}`, 200, `"state":"queued"`)
	do("POST", "/api/v1/feedback/"+contest+"/label", `{"value":1,"note":"has a job"}`, 200, `"state":"labelled"`)
	do("POST", "/api/v1/feedback/"+contest+"/label", `{"value":1}`, 409, `settled`)
	do("GET", "/api/v1/predictions/"+ids[1], "", 200, `"outcomes":[{"row":0,"value":1`)
	do("POST", "/api/v1/feedback/"+override+"/skip", `{"note":"nobody knows"}`, 200, `"state":"skipped"`)
	do("POST", "/api/v1/feedback/"+override+"/skip", `{"note":""}`, 422, `note`)
	do("POST", "/api/v1/outcomes", `{"items":[{"prediction_id":"`+ids[0]+`","row":0,"value":1}]}`, 200, `"accepted":1`)
	do("POST", "/api/v1/feedback/"+wrong+"/label", `{"value":0}`, 409, `another outcome on record`)
	do("GET", "/api/v1/feedback?state=waiting", "", 200, wrong)
	do("GET", "/api/v1/feedback/counts?model=credit", "", 200, `{"queued":0,"claimed":1,"labelled":1,"skipped":1}`)
	do("GET", "/api/v1/feedback?kind=contest&state=labelled", "", 200, `"label":1`)
	do("GET", "/api/v1/audit?action=feedback.", "", 200, `"action":"feedback.override"`)
}
