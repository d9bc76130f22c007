package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"keelson/client"
	"keelson/internal/inventory"
)

// deploySplit shows the split of an endpoint, or asks for another one.
func (c *cli) deploySplit() *cobra.Command {
	var reason string
	cmd := verb("split ENDPOINT [VERSION=PERCENT]", "Show which version answers how many calls, or ask for another split", "keelson deploy split screening\nkeelson deploy split screening 4=10 --reason \"begin with a tenth\"\nkeelson deploy split screening 4=100 --reason \"seen enough\"",
		c.args(1, 2, "ENDPOINT and at most one VERSION=PERCENT"), func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			version, share := 0, 0
			if len(args) == 2 {
				v, p, ok := strings.Cut(args[1], "=")
				var bad [2]error
				version, bad[0] = strconv.Atoi(strings.TrimPrefix(v, "v"))
				share, bad[1] = strconv.Atoi(strings.TrimSuffix(p, "%"))
				if !ok || errors.Join(bad[:]...) != nil || version < 1 || share < 1 || share > 100 {
					return usage("%q is not like 4=10: a version and its percent of the calls, 1 to 100.", args[1])
				}
			}
			cl, err := c.dial()
			if err != nil {
				return err
			}
			var raw json.RawMessage
			if err := cl.Get(ctx, "/api/v1/deployments/"+escape(args[0]), &raw); err != nil {
				return err
			}
			var d struct {
				client.Deployment
				Rollout *struct {
					Version, Step int
					Plan          client.Rollout
				}
			}
			if err := json.Unmarshal(raw, &d); err != nil {
				return fmt.Errorf("read answer: %w", err)
			}
			if len(args) == 1 {
				var items []json.RawMessage
				for _, s := range d.Slots {
					b, err := json.Marshal(s)
					if err != nil {
						return err
					}
					items = append(items, b)
				}
				return c.list(items, columns("version", "kind", "share"), "version")
			}
			for _, s := range d.Slots {
				if s.Version == version && s.Share == share && s.Kind != "shadow" {
					c.say("%s already there: version %d answers %d %% of the calls of %s", c.sign("✓", "ok"), version, share, args[0])
					return c.show(raw, deployColumns, "endpoint")
				}
			}
			if reason == "" {
				return usage("Say why: --reason TEXT. The approvers read it.")
			}
			if r := d.Rollout; r != nil && r.Version == version { // what was approved goes on; it needs no new request
				next := 100
				if r.Step+1 < len(r.Plan.Steps) {
					next = r.Plan.Steps[r.Step+1].Share
				}
				if next == share {
					return c.act(ctx, "POST", "/api/v1/deployments/"+escape(args[0])+"/advance", map[string]string{"reason": reason}, deployColumns, "endpoint")
				}
				return &failure{code: client.ExitConflict, text: fmt.Sprintf("Version %d is on its way in at %s, and the next approved step is %d %%.", version, args[0], next),
					hint: fmt.Sprintf("take it with: keelson deploy advance %s --reason …   or end it with: keelson deploy rollback %s --reason …", args[0], args[0])}
			}
			plan := &client.Rollout{Mode: "all"}
			if share < 100 {
				plan = &client.Rollout{Mode: "canary", Steps: []client.Increment{{Share: share}}}
			}
			return c.propose(ctx, "deploy", fmt.Sprintf("%s/%d", d.Model, version), d.Environment, reason, plan, true)
		})
	cmd.Flags().StringVar(&reason, "reason", "", "why; the approvers read it")
	cmd.ValidArgsFunction = c.complete("deploy", "endpoint")
	return cmd
}

// logLine is one line of an endpoint's log.
type logLine struct {
	ID, Level, Message, Node string
	At                       time.Time
	Fields                   map[string]any
}

func (l logLine) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %-5s %s", l.At.Local().Format("2006-01-02 15:04:05"), strings.ToUpper(l.Level), printable(l.Message))
	for _, k := range sortedKeys(l.Fields) {
		fmt.Fprintf(&b, " %s=%s", printable(k), printable(cell(l.Fields[k])))
	}
	return b.String()
}

func (c *cli) deployLogs() *cobra.Command {
	var follow bool
	var level, text, since string
	cmd := verb("logs ENDPOINT", "Print what the server wrote about an endpoint, oldest first", "keelson deploy logs screening\nkeelson deploy logs screening --follow --level warn\nkeelson deploy logs screening --since 2h --find refused --json",
		c.args(1, 1, "ENDPOINT"), func(cmd *cobra.Command, args []string) error {
			from, err := past("--since", since)
			if err != nil {
				return err
			}
			cl, err := c.dial()
			if err != nil {
				return err
			}
			q := url.Values{}
			for k, v := range map[string]string{"level": level, "text": text, "since": from} {
				if v != "" {
					q.Set(k, v)
				}
			}
			path := "/api/v1/deployments/" + escape(args[0]) + "/log"
			items, err := client.All[json.RawMessage](cmd.Context(), cl, path, q, c.limit)
			if err != nil {
				return err
			}
			slices.Reverse(items)
			if !follow && (c.json != "" || c.output != "" || c.jq != "" || c.template != "") {
				return c.list(items, columns("at", "level", "message", "fields", "node"), "id")
			}
			last := ""
			print := func(items []json.RawMessage) error {
				for _, raw := range items {
					var l logLine
					if err := json.Unmarshal(raw, &l); err != nil {
						return fmt.Errorf("read answer: %w", err)
					}
					last = l.ID
					if c.machine() {
						fmt.Fprintln(c.out, string(raw))
					} else {
						fmt.Fprintln(c.out, l.text())
					}
				}
				return nil
			}
			if err := print(items); err != nil || !follow {
				return err
			}
			for {
				if err := pause(cmd.Context(), 2*time.Second); err != nil {
					return err
				}
				if last != "" {
					q.Set("after", last)
				}
				more, err := client.All[json.RawMessage](cmd.Context(), cl, path, q, 1000)
				if err != nil {
					return err
				}
				if err := print(more); err != nil {
					return err
				}
			}
		})
	f := cmd.Flags()
	f.BoolVar(&follow, "follow", false, "go on until Ctrl-C; with --json one object per line")
	f.StringVar(&level, "level", "", "the least level: info, warn or error")
	f.StringVar(&text, "find", "", "only lines that hold these words")
	f.StringVar(&since, "since", "", sinceHelp)
	f.IntVar(&c.limit, "limit", 100, "how many of the newest lines at most, 0 for all")
	cmd.ValidArgsFunction = c.complete("deploy", "endpoint")
	return cmd
}

// pause waits, or ends with ctx.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}

// deployTest sends the golden rows of what answers and holds the answers against the recorded ones.
func (c *cli) deployTest() *cobra.Command {
	var version string
	cmd := verb("test ENDPOINT", "Ask an endpoint its golden rows and compare the answers with the recorded ones", "keelson deploy test screening\nkeelson deploy test screening --version 4\nkeelson deploy test screening.dev --json",
		c.args(1, 1, "ENDPOINT"), func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			cl, err := c.dial()
			if err != nil {
				return err
			}
			f, err := form(ctx, cl, args[0], version)
			if err != nil {
				return err
			}
			target := fmt.Sprintf("/v2/models/%s/versions/%d", escape(args[0]), f.Version)
			type check struct {
				Check  string `json:"check"`
				State  string `json:"state"`
				Detail string `json:"detail"`
			}
			var checks []check
			failed := false
			add := func(name string, ok bool, detail string) {
				state := "passed"
				if !ok {
					state, failed = "failed", true
				}
				checks = append(checks, check{name, state, detail})
			}
			err = cl.Get(ctx, target+"/ready", nil)
			add("ready", err == nil, sentence(err, fmt.Sprintf("version %d of %s answers", f.Version, f.Model)))
			inputs, what := f.Rows, "golden rows"
			if !f.Golden {
				inputs, what = f.Example, "example"
			}
			var answer struct{ Outputs []sentTensor }
			began := time.Now()
			err = cl.Post(ctx, target+"/infer", map[string]any{"inputs": inputs}, &answer)
			took := time.Since(began)
			add(what, err == nil, sentence(err, fmt.Sprintf("%d answered in %s", rowsOf(inputs), took.Round(10*time.Microsecond))))
			if err == nil && len(f.Answers) > 0 {
				worst, why := largestError(answer.Outputs, f.Answers)
				ok := why == "" && worst <= f.Limit
				if why == "" {
					why = fmt.Sprintf("largest error %.3g, limit %.3g", worst, f.Limit)
				}
				add("answers", ok, why)
			}
			var items []json.RawMessage
			for _, x := range checks {
				b, err := json.Marshal(x)
				if err != nil {
					return err
				}
				items = append(items, b)
			}
			if err := c.list(items, columns("check", "state", "detail"), "check"); err != nil {
				return err
			}
			if failed {
				return answered(client.ExitCheck)
			}
			return nil
		})
	cmd.Flags().StringVar(&version, "version", "", "test this version, whatever share it has (default: the live one)")
	cmd.ValidArgsFunction = c.complete("deploy", "endpoint")
	return cmd
}

func sentence(err error, otherwise string) string {
	if err != nil {
		return err.Error()
	}
	return otherwise
}

func rowsOf(in []sentTensor) int {
	if len(in) == 0 || len(in[0].Shape) == 0 {
		return 1
	}
	return in[0].Shape[0]
}

// largestError is the largest |answer − recorded| / max(1, |recorded|) of numbers, or why the answers cannot be equal.
// They are matched by name, else by place, as a version's golden rows are when it is registered.
func largestError(got, want []sentTensor) (worst float64, why string) {
	for i, w := range want {
		at := slices.IndexFunc(got, func(t sentTensor) bool { return t.Name == w.Name })
		if at < 0 && i < len(got) && !slices.ContainsFunc(want, func(t sentTensor) bool { return t.Name == got[i].Name }) {
			at = i
		}
		if at < 0 && i < len(got) {
			return 0, fmt.Sprintf("the answer has no output %s, which was recorded", w.Name)
		}
		if at < 0 {
			return 0, fmt.Sprintf("%d outputs were recorded, the answer has %d", len(want), len(got))
		}
		g := got[at]
		if len(g.Data) != len(w.Data) {
			return 0, fmt.Sprintf("%s has %d values, %d were recorded", g.Name, len(g.Data), len(w.Data))
		}
		for k := range g.Data {
			a, isA := g.Data[k].(float64)
			b, isB := w.Data[k].(float64)
			if isA && isB {
				worst = max(worst, math.Abs(a-b)/max(1, math.Abs(b)))
			} else if g.Data[k] != w.Data[k] {
				return 0, fmt.Sprintf("value %d of %s is %v, %v was recorded", k+1, g.Name, g.Data[k], w.Data[k])
			}
		}
	}
	return worst, ""
}

// watched is one look at an endpoint.
type watched struct {
	At       time.Time               `json:"at"`
	State    string                  `json:"state"`
	Slots    []client.DeploymentSlot `json:"slots"`
	Rate     float64                 `json:"rate"`
	P50      *float64                `json:"p50_us"`
	P95      *float64                `json:"p95_us"`
	Errors   int64                   `json:"errors"`
	Refused  int64                   `json:"refused"`
	Waiting  int64                   `json:"waiting"`
	Nodes    int                     `json:"nodes"`
	Troubled int                     `json:"troubled"`
}

func (c *cli) deployWatch() *cobra.Command {
	var every, span time.Duration
	var times int
	cmd := verb("watch ENDPOINT", "Follow how an endpoint is called: one line every few seconds", "keelson deploy watch screening\nkeelson deploy watch screening --every 30s --over 5m\nkeelson deploy watch screening --times 1 --json",
		c.args(1, 1, "ENDPOINT"), func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			if every < time.Second || span < 10*time.Second || times < 0 {
				return usage("--every is at least 1s, --over at least 10s, --times 0 (without end) or more.")
			}
			cl, err := c.dial()
			if err != nil {
				return err
			}
			for n := 1; ; n++ {
				w, err := look(ctx, cl, args[0], span)
				if err != nil {
					return err
				}
				if c.machine() || c.output != "" {
					b, err := json.Marshal(w)
					if err != nil {
						return err
					}
					if c.json == "*" || c.output == "json" && c.jq == "" {
						fmt.Fprintln(c.out, string(b))
					} else if err := c.show(json.RawMessage(b), columns("at", "state", "slots", "rate", "p50_us", "p95_us", "errors", "refused", "waiting", "nodes", "troubled"), "state"); err != nil {
						return err
					}
				} else {
					fmt.Fprintln(c.out, w.text())
				}
				if n == times {
					return nil
				}
				if err := pause(ctx, every); err != nil {
					return err
				}
			}
		})
	f := cmd.Flags()
	f.DurationVar(&every, "every", 5*time.Second, "between two lines")
	f.DurationVar(&span, "over", time.Minute, "the time that a line sums up")
	f.IntVar(&times, "times", 0, "lines, 0 without end")
	cmd.ValidArgsFunction = c.complete("deploy", "endpoint")
	return cmd
}

func look(ctx context.Context, cl *client.Client, endpoint string, span time.Duration) (w watched, err error) {
	d, err := cl.Deployment(ctx, endpoint)
	if err != nil {
		return w, err
	}
	var t struct {
		Total struct {
			Calls, Errors, Refused int64
			P50                    *float64 `json:"p50_us"`
			P95                    *float64 `json:"p95_us"`
		}
		Waiting []int64
		Nodes   []struct {
			Release    int64
			Problem    string
			Substitute bool
		}
	}
	now := time.Now().UTC()
	q := url.Values{"since": {now.Add(-span).Format(time.RFC3339Nano)}, "until": {now.Format(time.RFC3339Nano)}}
	if err := cl.Get(ctx, "/api/v1/deployments/"+escape(endpoint)+"/traffic?"+q.Encode(), &t); err != nil {
		return w, err
	}
	w = watched{At: now.Truncate(time.Millisecond), State: d.State, Slots: d.Slots, Rate: math.Round(float64(t.Total.Calls)/span.Seconds()*100) / 100, P50: t.Total.P50, P95: t.Total.P95, Errors: t.Total.Errors, Refused: t.Total.Refused, Nodes: len(t.Nodes)}
	newest := int64(0)
	for _, n := range t.Nodes {
		newest = max(newest, n.Release)
	}
	for _, n := range t.Nodes {
		if n.Problem != "" || n.Substitute || n.Release < newest {
			w.Troubled++
		}
	}
	for _, n := range t.Waiting {
		w.Waiting = max(w.Waiting, n)
	}
	return w, nil
}

func (w watched) text() string {
	var slots []string
	for _, s := range w.Slots {
		slots = append(slots, fmt.Sprintf("v%d %s %d %%", s.Version, s.Kind, s.Share))
	}
	ms := func(us *float64) string {
		if us == nil {
			return "–"
		}
		return fmt.Sprintf("%.2f ms", *us/1000)
	}
	line := fmt.Sprintf("%s  %s  %s  %.2f/s  p50 %s  p95 %s  errors %d  refused %d  waiting %d  on %d", w.At.Local().Format("15:04:05"), w.State, strings.Join(slots, ", "), w.Rate, ms(w.P50), ms(w.P95), w.Errors, w.Refused, w.Waiting, w.Nodes)
	if w.Troubled > 0 {
		line += fmt.Sprintf("  (%d not as released)", w.Troubled)
	}
	return line
}

// sameFiles finds a ready version of a model that has exactly these files, 0 for none.
func sameFiles(ctx context.Context, cl *client.Client, model, file string) (int, error) {
	files, err := artifacts(file)
	if err != nil {
		return 0, err
	}
	var have []inventory.File
	for _, f := range files {
		r, err := f.Open()
		if err != nil {
			return 0, err
		}
		h := sha256.New()
		_, err = io.Copy(h, r)
		if err = errors.Join(err, r.Close()); err != nil {
			return 0, err
		}
		have = append(have, inventory.File{Path: f.Path, Digest: "sha256:" + hex.EncodeToString(h.Sum(nil))})
	}
	digest := inventory.ArtifactDigest(have)
	versions, err := client.All[client.Version](ctx, cl, "/api/v1/models/"+escape(model)+"/versions", nil, 200)
	if client.IsKind(err, "not-found") {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	for _, v := range versions {
		if v.State == "ready" && v.ArtifactDigest == digest {
			return v.Version, nil
		}
	}
	return 0, nil
}

// already prints the deployment where a version answers all calls of an environment, or is on its way in; false when it
// does neither.
func (c *cli) already(ctx context.Context, cl *client.Client, model string, version int, environment string) (bool, error) {
	items, err := client.All[json.RawMessage](ctx, cl, "/api/v1/deployments?model="+escape(model), nil, 0)
	if err != nil {
		return false, err
	}
	for _, raw := range items {
		var d client.Deployment
		if err := json.Unmarshal(raw, &d); err != nil {
			return false, fmt.Errorf("read answer: %w", err)
		}
		if d.Model != model || d.Environment != environment || d.State != "live" && d.State != "rolling" {
			continue
		}
		for _, s := range d.Slots {
			if s.Version != version || s.Kind == "shadow" {
				continue
			}
			c.say("%s already there: %s/%d answers %d %% of the calls of %s", c.sign("✓", "ok"), model, version, s.Share, d.Endpoint)
			return true, c.show(raw, deployColumns, "endpoint")
		}
	}
	return false, nil
}

// untilLive follows an approved change until it has been carried out and its version answers.
func (c *cli) untilLive(ctx context.Context, cl *client.Client, ref string) error {
	a, err := client.Wait(ctx, func(ctx context.Context) (client.Approval, bool, error) {
		a, err := cl.Approval(ctx, ref)
		return a, a.State != "approved" || !a.WhenApproved, err
	})
	if err != nil {
		return err
	}
	switch {
	case a.State == "open":
		return &failure{code: client.ExitConflict, text: fmt.Sprintf("Request %d still waits for %s, so nothing has changed yet.", a.Number, strings.Join(a.Missing, " and ")), hint: fmt.Sprintf("see: keelson approval get %d", a.Number)}
	case a.State == "approved":
		return &failure{code: client.ExitConflict, text: fmt.Sprintf("Request %d is approved, but it was opened to be carried out by hand.", a.Number), hint: fmt.Sprintf("carry it out with: keelson deploy execute %d", a.Number)}
	case a.State != "executed":
		return &failure{code: client.ExitFailed, text: fmt.Sprintf("Request %d is %s.", a.Number, a.State), hint: fmt.Sprintf("see: keelson approval get %d", a.Number)}
	case a.Kind == "deploy":
		return c.answering(ctx, cl, a.Model, a.Environment, a.Version)
	}
	return c.show(a, approvalColumns, "id")
}
