package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"keelson/client"
)

// explained is the part of an explanation that the terminal shows.
type explained struct {
	Prediction  string `json:"prediction_id"`
	Endpoint    string
	Model       string
	Version     int
	Replay      struct{ Detail string }
	Unexplained string
	Explained   struct {
		Method, Unit string
		Rows         []explainedRow
	} `json:"explanation"`
	Fired []struct {
		Row   int
		Fired []struct{ Rule, Message string }
	} `json:"trace_info"`
}

type explainedRow struct {
	Row               int
	Base, Total, Rest float64
	Features          []struct {
		Name         string
		Contribution float64
		Words        string
	}
}

func (c *cli) explainCmd() *cobra.Command {
	var top int
	var other, again, history bool
	var what map[string]string
	var q struct {
		row       int
		threshold string
		hold      []string
	}
	cmd := verb("explain PREDICTION_ID|NAME/VERSION", "Say why a logged decision came out as it did, or what a version's answers hang on",
		"keelson explain 0197c2b4-5d1e-7c3a-9a56-1f2e3d4c5b6a --top 3\nkeelson explain 0197c2b4-5d1e-7c3a-9a56-1f2e3d4c5b6a --other --hold age\nkeelson explain 0197c2b4-5d1e-7c3a-9a56-1f2e3d4c5b6a --what age=40 --what city=Bonn\nkeelson explain churn/3",
		c.args(1, 1, "PREDICTION_ID or NAME/VERSION"), func(cmd *cobra.Command, args []string) error {
			if top < 0 {
				return usage("--top is the number of features to list, 0 for all.")
			}
			cl, err := c.dial()
			if err != nil {
				return err
			}
			if strings.ContainsAny(args[0], "/@") {
				if other || len(what) > 0 {
					return usage("--other and --what ask about one decision; give a prediction's id instead of %s.", args[0])
				}
				if history {
					return c.studies(cmd.Context(), cl, args[0])
				}
				return c.study(cmd.Context(), cl, args[0], top, again)
			}
			path := "/api/v1/predictions/" + escape(args[0])
			var raw json.RawMessage
			if len(what) > 0 {
				if err := cl.Post(cmd.Context(), path+"/what-if", map[string]any{"row": q.row, "values": supposed(what)}, &raw); err != nil {
					return err
				}
				return c.explained(raw, &whatIf{})
			}
			if other {
				path += "/counterfactual?" + url.Values{"row": {strconv.Itoa(q.row)}, "threshold": {q.threshold}, "hold": {strings.Join(q.hold, ",")}}.Encode()
			} else {
				path += "/explanation?top=" + strconv.Itoa(top)
			}
			if err := cl.Get(cmd.Context(), path, &raw); err != nil {
				return err
			}
			if other {
				return c.explained(raw, &otherAnswer{})
			}
			return c.explained(raw, &explained{})
		})
	cmd.Flags().IntVar(&top, "top", 10, "features to list; 0 lists all")
	cmd.Flags().BoolVar(&other, "other", false, "what would have had to be different for another answer")
	cmd.Flags().StringToStringVar(&what, "what", nil, "what the answer would be with other values, as age=40; a number, true, false or null is one, anything else a text")
	cmd.Flags().IntVar(&q.row, "row", 0, "with --other and --what: the row of the call, counted from 0")
	cmd.Flags().StringVar(&q.threshold, "threshold", "", "with --other: parts the answers; 0.5 for answers between 0 and 1, else the median")
	cmd.Flags().StringSliceVar(&q.hold, "hold", nil, "with --other: features that must stay")
	cmd.Flags().BoolVar(&history, "history", false, "of a version: the studies that are kept, and what changed from one to the next")
	cmd.Flags().BoolVar(&again, "again", false, "of a version: study the newest calls, whatever was studied before")
	return cmd
}

// explained prints an answer, as JSON where that is asked for, else in words.
func (c *cli) explained(raw json.RawMessage, e interface{ text(width int) string }) error {
	if c.machine() || c.output != "" && c.output != "table" && c.output != "wide" {
		return c.show(raw, nil, "prediction_id")
	}
	if err := json.Unmarshal(raw, e); err != nil {
		return fmt.Errorf("read answer: %w", err)
	}
	c.print(e.text(c.width))
	return nil
}

// supposed reads values as JSON where they are a number, true, false or null; anything else is a text.
func supposed(what map[string]string) map[string]any {
	out := map[string]any{}
	for name, v := range what {
		if raw := json.RawMessage(v); json.Valid(raw) && !strings.ContainsAny(v[:1], "[{") {
			out[name] = raw
		} else {
			out[name] = v
		}
	}
	return out
}

// whatIf is the part of a what-if that the terminal shows.
type whatIf struct {
	Model       string
	Version     int
	Before      float64
	After       float64
	Changes     []struct{ Words string }
	Reasons     []struct{ Words string }
	Unexplained string
	Method      string
}

func (w *whatIf) text(int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s version %d answered %.5g; it would answer %.5g with\n", printable(w.Model), w.Version, w.Before, w.After)
	for _, x := range w.Changes {
		fmt.Fprintf(&b, "  %s\n", printable(x.Words))
	}
	fmt.Fprintln(&b, "\nthen")
	for _, x := range w.Reasons[:min(5, len(w.Reasons))] {
		fmt.Fprintf(&b, "  %s\n", printable(x.Words))
	}
	if w.Unexplained != "" {
		fmt.Fprintf(&b, "  %s\n", printable(w.Unexplained))
	}
	fmt.Fprintf(&b, "\nmethod: %s\n", printable(w.Method))
	return b.String()
}

// otherAnswer is the part of a counterfactual that the terminal shows.
type otherAnswer struct {
	Prediction string `json:"prediction_id"`
	Model      string
	Version    int
	Answer     float64
	Threshold  float64
	Above      bool
	Nearest    *changed
	Real       []changed
	Why        string
	Method     string
}

type changed struct {
	Prediction string `json:"prediction_id"`
	Answer     float64
	Distance   float64
	Changes    []struct{ Words string }
}

func (o *otherAnswer) text(int) string {
	var b strings.Builder
	side := "below"
	if o.Above {
		side = "at or above"
	}
	fmt.Fprintf(&b, "%s version %d answered %.5g; another answer is %s %.5g\n", printable(o.Model), o.Version, o.Answer, side, o.Threshold)
	list := func(c changed) {
		for _, x := range c.Changes {
			fmt.Fprintf(&b, "  %s\n", printable(x.Words))
		}
	}
	if o.Nearest != nil {
		fmt.Fprintf(&b, "\nthe answer would be %.5g with\n", o.Nearest.Answer)
		list(*o.Nearest)
	} else {
		fmt.Fprintf(&b, "\n%s\n", printable(o.Why))
	}
	for _, r := range o.Real {
		fmt.Fprintf(&b, "\nlogged call %s got %.5g (distance %.3g); there was\n", r.Prediction, r.Answer, r.Distance)
		list(r)
	}
	fmt.Fprintf(&b, "\nmethod: %s\n", printable(o.Method))
	return b.String()
}

// standing is the part of a study that the terminal shows.
type standing struct {
	State, Reason string
	Study         *struct {
		Rows, Explained int
		MadeAt          time.Time `json:"made_at"`
		Unit, Method    string
		Limits          []string
		Features        []struct {
			Name              string
			Importance, Share float64
			Words             string
			Morris            *struct {
				Size *float64 `json:"mu_star"`
			}
			Total *float64 `json:"sobol_total"`
		}
	}
}

// study shows what a version's answers hang on, and has it studied where it was not.
func (c *cli) study(ctx context.Context, cl *client.Client, ref string, top int, again bool) error {
	model, version, err := oneVersion(ctx, cl, ref)
	if err != nil {
		return err
	}
	path := fmt.Sprintf("/api/v1/models/%s/versions/%d/study", escape(model), version)
	var raw json.RawMessage
	var s standing
	read := func() error {
		s = standing{}
		if err := cl.Get(ctx, path, &raw); err != nil {
			return err
		}
		return json.Unmarshal(raw, &s)
	}
	if err := read(); err != nil {
		return err
	}
	if again || s.Study == nil {
		if err := cl.Post(ctx, path, nil, nil); err != nil {
			return err
		}
		c.say("studying the logged calls of %s/%d", model, version)
		if _, err := client.Wait(ctx, func(context.Context) (bool, bool, error) {
			err := read()
			return true, err != nil || s.State != "making", err
		}); err != nil {
			return err
		}
		if s.State == "failed" {
			return &failure{code: client.ExitConflict, text: s.Reason, hint: "ask the version first: keelson predict"}
		}
	}
	if c.machine() || c.output != "" && c.output != "table" && c.output != "wide" {
		return c.show(raw, nil, "study.digest")
	}
	if s.Study == nil {
		return errors.New("the study is not there")
	}
	c.print(fmt.Sprintf("%s version %d, over %d logged rows (contributions of %d), made %s\n\n", printable(model), version, s.Study.Rows, s.Study.Explained, s.Study.MadeAt.Format(time.DateTime)))
	list := s.Study.Features
	if top > 0 {
		list = list[:min(top, len(list))]
	}
	widest, most := 0, 0.0
	for _, f := range list {
		widest, most = max(widest, len([]rune(printable(f.Name)))), max(most, f.Importance)
	}
	if beside := len("   100.0 %  ") + barWidth; c.width > 0 && widest+beside > c.width {
		widest = max(roomy, c.width-beside)
	}
	for _, f := range list {
		bar := 0
		if most > 0 {
			bar = int(math.Round(f.Importance / most * barWidth))
		}
		part := fmt.Sprintf("  %-*s %5.1f %%  %-*s", widest, cut(printable(f.Name), widest), 100*f.Share, barWidth, strings.Repeat("+", bar))
		if words := printable(f.Words); c.width == 0 || len([]rune(part+"  "+words)) <= c.width {
			fmt.Fprintf(c.out, "%s  %s\n", part, words)
		} else { // below what they are about
			fmt.Fprintln(c.out, strings.TrimRight(part, " "))
			c.print("      " + words + "\n")
		}
	}
	c.print(fmt.Sprintf("\nmethod: %s\n", printable(s.Study.Method)))
	for _, l := range s.Study.Limits {
		c.print(fmt.Sprintf("limit: %s\n", printable(l)))
	}
	return nil
}

// studies lists the studies of a version that are kept.
func (c *cli) studies(ctx context.Context, cl *client.Client, ref string) error {
	model, version, err := oneVersion(ctx, cl, ref)
	if err != nil {
		return err
	}
	var raw json.RawMessage
	if err := cl.Get(ctx, fmt.Sprintf("/api/v1/models/%s/versions/%d/study/history", escape(model), version), &raw); err != nil {
		return err
	}
	var h struct {
		Studies []struct {
			Digest    string    `json:"digest"`
			MadeAt    time.Time `json:"made_at"`
			Nightly   bool      `json:"nightly"`
			Explained int       `json:"explained"`
			Shift     *struct {
				Moved float64 `json:"moved"`
				Words string  `json:"words"`
			} `json:"shift"`
		} `json:"studies"`
	}
	if err := json.Unmarshal(raw, &h); err != nil {
		return fmt.Errorf("read answer: %w", err)
	}
	if c.machine() {
		return c.show(raw, nil, "digest")
	}
	for _, s := range h.Studies {
		who, what := "asked for", "the first that is kept"
		if s.Nightly {
			who = "nightly"
		}
		if s.Shift != nil {
			what = fmt.Sprintf("%.1f %% went elsewhere: %s", 100*s.Shift.Moved, printable(s.Shift.Words))
		}
		part := fmt.Sprintf("%s  %-9s  %3d rows", s.MadeAt.Format(time.DateTime), who, s.Explained)
		if c.width == 0 || len([]rune(part+"  "+what)) <= c.width {
			fmt.Fprintf(c.out, "%s  %s\n", part, what)
		} else {
			c.print(part + "\n      " + what + "\n")
		}
	}
	return nil
}

// barWidth is the length of the longest bar.
const barWidth = 24

// text is the waterfall of every row, the words below it, then method and replay.
//
// Names give way to the bars where the terminal is narrower than both; 0 is as wide as they are.
func (e *explained) text(width int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s version %d at %s, prediction %s\n", printable(e.Model), e.Version, printable(e.Endpoint), e.Prediction)
	if len(e.Fired) > 0 {
		b.WriteString("\nrules that fired\n")
	}
	for _, row := range e.Fired {
		for _, f := range row.Fired {
			fmt.Fprintf(&b, "  row %d  %s  %s\n", row.Row, printable(f.Rule), printable(f.Message))
		}
		if len(row.Fired) == 0 {
			fmt.Fprintf(&b, "  row %d  none; the answer is the default\n", row.Row)
		}
	}
	for _, row := range e.Explained.Rows {
		fmt.Fprintf(&b, "\nrow %d, %s\n", row.Row, printable(e.Explained.Unit))
		longest, widest := math.Abs(row.Rest), len("before anything is known")
		for _, f := range row.Features {
			longest, widest = max(longest, math.Abs(f.Contribution)), max(widest, len([]rune(printable(f.Name))))
		}
		if beside := len("   +1.2345e-100  ") + barWidth; width > 0 && widest+beside > width {
			widest = max(len("before anything is known"), width-beside)
		}
		line := func(name string, v float64, bar bool) {
			fmt.Fprintf(&b, "  %-*s %+12.5g", widest, cut(name, widest), v)
			if n := int(math.Round(math.Abs(v) / longest * barWidth)); bar && longest > 0 && n > 0 {
				sign := "+"
				if v < 0 {
					sign = "-"
				}
				b.WriteString("  " + strings.Repeat(sign, n))
			}
			b.WriteByte('\n')
		}
		line("before anything is known", row.Base, false)
		for _, f := range row.Features {
			line(printable(f.Name), f.Contribution, true)
		}
		if row.Rest != 0 {
			line("all other features", row.Rest, true)
		}
		line("total", row.Total, false)
		for _, f := range row.Features {
			fmt.Fprintf(&b, "  %s\n", printable(f.Words))
		}
	}
	if e.Unexplained != "" {
		fmt.Fprintf(&b, "\n%s\n", printable(e.Unexplained))
	} else {
		fmt.Fprintf(&b, "\nmethod: %s\n", printable(e.Explained.Method))
	}
	fmt.Fprintf(&b, "replay: %s\n", printable(e.Replay.Detail))
	return b.String()
}

// printable takes control characters, which a name may hold, out of text for a terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7F && r < 0xA0 {
			return ' '
		}
		return r
	}, s)
}
