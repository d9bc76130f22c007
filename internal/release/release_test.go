package release_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"keelson/internal/problem"
	"keelson/internal/release"
	"keelson/internal/seal"
)

var (
	key   = seal.FromSeed(bytes.Repeat([]byte{7}, 32))
	other = seal.FromSeed(bytes.Repeat([]byte{8}, 32))
	at    = time.Date(2026, 11, 1, 8, 0, 0, 123_456_000, time.UTC)
)

func slot(version int, kind string, share int) release.Slot {
	return release.Slot{
		Version: version, ArtifactDigest: release.Digest([]byte{byte(version)}), Kind: kind, Share: share, Format: "cel",
		Files:     []release.File{{Path: "model.cel", Digest: release.Digest([]byte("m")), Size: 1}},
		Signature: json.RawMessage(`{"inputs":[{"name":"x<y"}]}`),
	}
}

func document() release.Document {
	prev := slot(1, release.SlotLive, 100)
	return release.Document{
		Serial: 3, Endpoint: "screening", Environment: "prod", Workspace: "default", Model: "screening", State: release.Live,
		Slots:    []release.Slot{slot(2, release.SlotLive, 90), slot(3, release.SlotCanary, 10), slot(4, release.SlotShadow, 100)},
		Previous: &prev, Durability: release.Group, Limits: release.Limits{MaxRows: 64}, Redact: []string{"name"},
		Policy: release.Policy{Name: "prod", Version: 1}, Request: "r1", PlanDigest: release.Digest(nil),
		IssuedAt: at, ExpiresAt: at.Add(time.Hour),
	}
}

func TestWhatIsSignedComesBackAsItWas(t *testing.T) {
	text, err := release.Sign(key, document())
	if err != nil {
		t.Fatal(err)
	}
	got, err := release.Open(key.Public(), []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, document()) {
		t.Fatalf("got  %+v\nwant %+v", got, document())
	}
	again, _ := release.Sign(key, got)
	if again != text {
		t.Fatal("signing the same document twice gave different envelopes")
	}
}

func TestRulesOfADocument(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*release.Document)
		field  string // empty: accepted
	}{
		"as made":                             {func(d *release.Document) {}, ""},
		"serial zero is refused":              {func(d *release.Document) { d.Serial = 0 }, "serial"},
		"shares below 100 are refused":        {func(d *release.Document) { d.Slots[0].Share = 80 }, "slots"},
		"shares above 100 are refused":        {func(d *release.Document) { d.Slots[1].Share = 20 }, "slots"},
		"a shadow's share is not of the 100":  {func(d *release.Document) { d.Slots[2].Share = 5 }, ""},
		"no live slot is refused":             {func(d *release.Document) { d.Slots = d.Slots[1:] }, "slots"},
		"two live slots are refused":          {func(d *release.Document) { d.Slots[1].Kind = release.SlotLive }, "slots"},
		"a negative share is refused":         {func(d *release.Document) { d.Slots[0].Share, d.Slots[1].Share = 101, -1 }, "slots[0].share"},
		"one version in two slots is refused": {func(d *release.Document) { d.Slots[1].Version = 2 }, "slots[1].version"},
		"an expiry before the issue":          {func(d *release.Document) { d.ExpiresAt = d.IssuedAt }, "expires_at"},
		"a digest that is none":               {func(d *release.Document) { d.Slots[0].ArtifactDigest = "sha256:xyz" }, "slots[0].artifact_digest"},
		"a file without digest":               {func(d *release.Document) { d.Slots[0].Files[0].Digest = "" }, "slots[0].files[0].digest"},
		"a slot without files":                {func(d *release.Document) { d.Slots[0].Files = nil }, "slots[0].files"},
		"a broken previous slot":              {func(d *release.Document) { d.Previous.Version = 0 }, "previous.version"},
		"an unknown durability":               {func(d *release.Document) { d.Durability = "maybe" }, "durability"},
		"an unknown state":                    {func(d *release.Document) { d.State = "open" }, "state"},
		"no request":                          {func(d *release.Document) { d.Request = "" }, "request"},
		"an endpoint with a slash":            {func(d *release.Document) { d.Endpoint = "../x" }, "endpoint"},
		"suspended keeps its slots":           {func(d *release.Document) { d.State = release.Suspended }, ""},
		"retired with slots is refused":       {func(d *release.Document) { d.State = release.Retired }, "slots"},
		"retired without slots":               {func(d *release.Document) { d.State, d.Slots, d.Previous = release.Retired, nil, nil }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			d := document()
			c.change(&d)
			_, err := release.Sign(key, d)
			if c.field == "" {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			e, ok := problem.As(err)
			if !ok || e.Kind != problem.Invalid || e.Field != c.field {
				t.Fatalf("wanted a problem at %s, got %v", c.field, err)
			}
		})
	}
}

// reseal changes the payload inside an envelope without a new signature.
func reseal(text string, change func(string) string) string {
	var e map[string]string
	json.Unmarshal([]byte(text), &e)
	p, _ := base64.StdEncoding.DecodeString(e["payload"])
	e["payload"] = base64.StdEncoding.EncodeToString([]byte(change(string(p))))
	b, _ := json.Marshal(e)
	return string(b)
}

func TestWhatWasTamperedWithIsRefused(t *testing.T) {
	text, _ := release.Sign(key, document())
	forged, _ := release.Sign(other, document())
	payload, _ := document().Payload()
	wrongDomain, _ := json.Marshal(map[string]string{"payload": base64.StdEncoding.EncodeToString(payload), "signature": key.Sign("vote", payload), "key": key.Public().ID})
	unruly := document()
	unruly.Slots[0].Share = 10
	bad, _ := unruly.Payload()
	signedBad, _ := json.Marshal(map[string]string{"payload": base64.StdEncoding.EncodeToString(bad), "signature": key.Sign(release.Domain, bad), "key": key.Public().ID})
	for name, c := range map[string]struct{ text, why string }{
		"a share was changed":              {reseal(text, func(p string) string { return strings.Replace(p, `"share":90`, `"share":10`, 1) }), "signature"},
		"the expiry was moved":             {reseal(text, func(p string) string { return strings.Replace(p, "2026-11-01T09", "2036-11-01T09", 1) }), "signature"},
		"white space was added":            {reseal(text, func(p string) string { return p + " " }), "signature"},
		"another key signed it":            {forged, "signature"},
		"it was signed for another domain": {string(wrongDomain), "signature"},
		"a signed document breaks a rule":  {string(signedBad), "rule"},
		"an unknown field":                 {strings.Replace(text, `{`, `{"x":1,`, 1), "no envelope"},
		"something follows":                {text + "{}", "no envelope"},
		"nothing":                          {"", "no envelope"},
		"null":                             {"null", "signature"},
		"a payload that is not base64":     {`{"payload":"*","signature":"","key":""}`, "base64"},
		"more than the limit":              {strings.Repeat(" ", release.MaxEnvelope+1), "limit"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := release.Open(key.Public(), []byte(c.text))
			if problem.KindOf(err) != problem.Conflict || !strings.Contains(err.Error(), c.why) {
				t.Fatalf("wanted a refusal about %q, got %v", c.why, err)
			}
		})
	}
}

func TestAReaderNeverGoesBack(t *testing.T) {
	old, d := document(), document()
	if err := d.Supersedes(old); err == nil {
		t.Error("the same serial was taken again")
	}
	d.Serial++
	if err := d.Supersedes(old); err != nil {
		t.Error(err)
	}
	d.Endpoint = "screening.dev"
	if err := d.Supersedes(old); err == nil {
		t.Error("another endpoint's release was taken")
	}
	d = document()
	d.Serial, d.Workspace = 9, "lab"
	if err := d.Supersedes(old); err == nil {
		t.Error("another workspace's release was taken")
	}
	if d.Expired(d.ExpiresAt.Add(-1)) || !d.Expired(d.ExpiresAt) {
		t.Error("a release holds up to its expiry and not at it")
	}
}

func FuzzOpen(f *testing.F) {
	text, _ := release.Sign(key, document())
	f.Add([]byte(text))
	f.Add([]byte(reseal(text, func(p string) string { return strings.Replace(p, "90", "91", 1) })))
	f.Add([]byte(`{"payload":"bnVsbA==","signature":"x:y","key":"x"}`))
	f.Add([]byte(`{}`))
	f.Add([]byte(`[[[[[[`))
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := release.Open(key.Public(), b)
		if err != nil {
			if problem.KindOf(err) != problem.Conflict {
				t.Fatalf("refused with %v, not with a conflict", err)
			}
			return
		}
		if !reflect.DeepEqual(d, document()) {
			t.Fatalf("a document that was never signed was opened: %+v", d)
		}
	})
}

func TestAForbiddenPurposeIsFoundHoweverItIsWritten(t *testing.T) {
	l := release.Limits{ForbiddenPurposes: "marketing, Credit Scoring; Größe"}
	for _, c := range []struct {
		sent []string
		word string // empty: it is answered
	}{
		{nil, ""},
		{[]string{""}, ""},
		{[]string{"triage"}, ""},
		{[]string{"market"}, ""},
		{[]string{"marketing of nothing"}, ""},
		{[]string{"creditscoring"}, ""},
		{[]string{",;\u200b"}, ""},
		{[]string{"marketing"}, "marketing"},
		{[]string{" MARKETING\t"}, "MARKETING"},
		{[]string{"marketing, triage"}, "marketing"},
		{[]string{"triage;marketing;"}, "marketing"},
		{[]string{"market\u200bing\u200b"}, "marketing"},
		{[]string{"\ufeffmarke\u00adting\x00"}, "marketing"},
		{[]string{"ｍarketing"}, "marketing"},
		{[]string{"credit\u00a0\t scoring"}, "credit scoring"},
		{[]string{"gro\u0308ße"}, "größe"},
		{[]string{"triage", "marketing"}, "marketing"},
		{[]string{"triage", "care", "care; credit scoring"}, "credit scoring"},
	} {
		if word, forbidden := l.Forbids(c.sent...); word != c.word || forbidden != (c.word != "") {
			t.Errorf("%q: %q %v, want %q", c.sent, word, forbidden, c.word)
		}
		if _, forbidden := (release.Limits{}).Forbids(c.sent...); forbidden {
			t.Errorf("%q is refused where nothing is", c.sent)
		}
	}
}
