package main

import (
	"encoding/json"
	"strings"
	"testing"

	"keelson/client"
)

func TestWhatMovedInASegmentIsSaidInOneWayEverywhere(t *testing.T) {
	var w monitorWindow
	text := `{"found_drift":[{"segment":"age up to 30","feature":"income","direction":"down","metric":"psi","value":0.3123,"limit":0.25,"slice":{"rows":80}}],
		"segment_drift":[{"name":"north","rows":200,"features":[{"name":"age","shift":"none"},{"name":"sex","shift":"moved","metric":"js","value":0.2,"limit":0.1}]}]}`
	if err := json.Unmarshal([]byte(text), &w); err != nil {
		t.Fatal(err)
	}
	lines := w.segmentLines()
	if len(lines) != 2 || lines[0].Moved != "income down (psi 0.312, limit 0.25)" || lines[0].Rows != 80 || lines[1].Moved != "sex (js 0.2, limit 0.1)" {
		t.Errorf("%+v", lines)
	}
	if report := monitorReport("churn", "churn", client.Health{}, w); strings.Count(report, "sex (js 0.2, limit 0.1)") != 2 {
		t.Errorf("the segment's lines differ:\n%s", report)
	}
}
