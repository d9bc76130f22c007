package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
)

func TestATraceIsPrintedAsATreeWithDurations(t *testing.T) {
	const answer = `{"id":"tr-1","name":"answer","state":"error","experiment":"1","started_at":"2026-01-02T03:04:05Z","duration_ms":1234,"request":"where\nis it?","tokens":{"input":7,"output":3,"total":10},
		"assessments":[{"name":"good","kind":"feedback","value":false,"valid":true,"source":{"kind":"human","id":"ada"}}],
		"tree":[{"name":"answer","type":"CHAIN","status":"error","message":"no \u001b[31mquestion","duration_us":1234567,"children":[
			{"name":"retrieve","type":"RETRIEVER","status":"ok","duration_us":950,"children":[{"name":"rank","type":"UNKNOWN","status":"unset","children":[]}]},
			{"name":"ask","type":"LLM","status":"ok","duration_us":65000000,"children":[]}]}]}`
	var tr tracePrint
	if err := json.Unmarshal([]byte(answer), &tr); err != nil {
		t.Fatal(err)
	}
	var out, errs bytes.Buffer
	c := newCLI(strings.NewReader(""), &out, &errs, func(string) string { return "" })
	if err := tr.print(c); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"STATE       error\n", "TOOK        1.23s\n", "TOKENS      7 in, 3 out, 10 together\n", "REQUEST     where is it?\n", "FEEDBACK    good = false (human ada)\n",
		"\nanswer  1.23s  CHAIN  ", " no [31mquestion\n├─ retrieve  950µs  RETRIEVER\n│  └─ rank  …\n└─ ask  1m5s  LLM\n"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("want %q in\n%s", want, out.String())
		}
	}
	if strings.Contains(out.String(), "\x1b") {
		t.Error("a control character of the trace reaches the terminal")
	}
}
