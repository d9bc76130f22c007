package prediction

import (
	"context"
	"fmt"
	"math"
	"net/http/httptest"
	"testing"
	"testing/fstest"

	"keelson/internal/blob/blobtest"
	"keelson/internal/db/dbtest"
	"keelson/internal/engine"
	"keelson/internal/engine/linear"
	"keelson/internal/problem"
	"keelson/internal/rest"
)

func TestALoggedDecisionIsExplainedByItsVersionAndReplayed(t *testing.T) {
	l := openLog(t, t.TempDir(), nil)
	s := newService(t, dbtest.SQLite(t), l, blobtest.Dir(t))
	set, err := engine.NewSet(linear.Engine{})
	if err != nil {
		t.Fatal(err)
	}
	s.Version = func(ctx context.Context, model string, version int) (engine.Model, error) {
		if version != 4 {
			return nil, problem.New(problem.NotFound, "There is no version %d.", version)
		}
		m, _, err := set.Load(ctx, fstest.MapFS{"m.linear.json": {Data: []byte(`{"format":"keelson-linear-1","features":["a","b"],"coefficients":[2,-3],"intercept":1}`)}}, "", engine.Limits{})
		return m, err
	}
	api := rest.New("test", door{}, quiet)
	s.Routes(api)
	server := httptest.NewServer(api)
	t.Cleanup(server.Close)
	item := func(version int, answer float64) string {
		return fmt.Sprintf(`{"version":%d,"inputs":[{"name":"input","shape":[2,2],"datatype":"FP64","data":[1,2,3,0.5]}],"outputs":[{"name":"predict","shape":[2,1],"datatype":"FP64","data":[%v,5.5]}]}`, version, answer)
	}
	var handed HandedIn
	ask(t, server.URL, "POST", "/api/v1/predictions", `{"endpoint":"scores","items":[`+item(4, -3)+`,`+item(4, -3.25)+`,`+item(9, -3)+`,`+item(0, -3)+`]}`, 200, &handed)
	var same, other Explained
	ask(t, server.URL, "GET", "/api/v1/predictions/"+handed.IDs[0]+"/explanation", "", 200, &same)
	ask(t, server.URL, "GET", "/api/v1/predictions/"+handed.IDs[1]+"/explanation?top=1", "", 200, &other)
	if !same.Replay.Identical || same.Replay.Difference != 0 || same.Version != 4 || same.Prediction != handed.IDs[0] || len(same.Explanation.Rows) != 2 {
		t.Errorf("%+v", same)
	}
	row := same.Explanation.Rows[0]
	if row.Base != 1 || row.Total != -3 || row.Features[0].Name != "b" || row.Features[0].Contribution != -6 || row.Features[0].Words != "b of 2 lowered the answer by 6" {
		t.Errorf("%+v", row)
	}
	if other.Replay.Identical || math.Abs(other.Replay.Difference-0.25) > 1e-12 || len(other.Explanation.Rows[1].Features) != 1 || other.Explanation.Rows[1].Rest != -1.5 {
		t.Errorf("%+v", other)
	}
	for what, c := range map[string]struct {
		id     string
		status int
	}{"a version that is gone": {handed.IDs[2], 404}, "no version": {handed.IDs[3], 409}, "nobody": {"nobody", 404}, "a top below 0": {handed.IDs[0], 422}} {
		var doc rest.Doc
		query := ""
		if c.status == 422 {
			query = "?top=-1"
		}
		ask(t, server.URL, "GET", "/api/v1/predictions/"+c.id+"/explanation"+query, "", c.status, &doc)
		if doc.Detail == "" {
			t.Errorf("%s: %+v", what, doc)
		}
	}
}
