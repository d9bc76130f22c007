package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"testing"
	"time"
)

// Every verb that takes a time takes days and spans too, and the server gets a time.
func TestEveryVerbTakesDaysAndSpansForATime(t *testing.T) {
	sent := make(chan string, 1)
	peer := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		select {
		case sent <- r.URL.Query().Encode() + " " + string(b):
		default: // the same call goes on
		}
		_, _ = io.WriteString(w, `{"items":[]}`)
	}))
	defer peer.Close()
	moment := regexp.MustCompile(`(?:since|until|before)["=:]*(\d{4}-\d\d-\d\dT[^"& ]*)`)
	env := map[string]string{"KEELSON_URL": peer.URL, "HOME": t.TempDir()}
	for _, c := range []struct {
		args  []string
		after time.Duration // of now
	}{
		{[]string{"model", "usage", "churn", "--since", "7d"}, -7 * 24 * time.Hour},
		{[]string{"model", "usage", "churn", "--until", "36h"}, -36 * time.Hour},
		{[]string{"model", "callers", "churn", "--since", "7d"}, -7 * 24 * time.Hour},
		{[]string{"prediction", "list", "--since", "2d"}, -2 * 24 * time.Hour},
		{[]string{"deploy", "logs", "churn.dev", "--since", "1d"}, -24 * time.Hour},
		{[]string{"monitor", "backfill", "churn.dev", "--since", "30d"}, -30 * 24 * time.Hour},
		{[]string{"monitor", "accept", "churn.dev", "--reason", "season", "--until", "14d"}, 14 * 24 * time.Hour},
		{[]string{"alert", "silence", "06gz", "--reason", "known", "--until", "2h"}, 2 * time.Hour},
		{[]string{"alert", "route", "mute", "ops", "--reason", "known", "--until", "1d"}, 24 * time.Hour},
		{[]string{"hold", "set", "model", "churn", "--reason", "dispute", "--until", "365d"}, 365 * 24 * time.Hour},
		{[]string{"purge", "predictions", "--dry-run", "--before", "90d"}, -90 * 24 * time.Hour},
	} {
		_, _, errs := call(t, env, "", c.args...)
		var got string
		select {
		case got = <-sent:
		default:
			t.Errorf("%v sent nothing: %s", c.args, errs)
			continue
		}
		m := moment.FindStringSubmatch(regexp.MustCompile(`%3A`).ReplaceAllString(got, ":"))
		if m == nil {
			t.Errorf("%v sent no time: %s", c.args, got)
			continue
		}
		at, err := time.Parse(time.RFC3339, m[1])
		if err != nil || time.Until(at).Round(time.Minute) != c.after {
			t.Errorf("%v sent %s (%v), want %s from now", c.args, m[1], err, c.after)
		}
		if code, _, errs := call(t, env, "", append(c.args[:len(c.args)-1:len(c.args)-1], "soon")...); code != 2 {
			t.Errorf("%v soon: exit %d, %s", c.args, code, errs)
		}
		select {
		case got := <-sent:
			t.Errorf("%v soon: sent %s", c.args, got)
		default:
		}
	}
}
