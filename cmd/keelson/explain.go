package main

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
)

// explained is the part of an explanation that the terminal shows.
type explained struct {
	Prediction string `json:"prediction_id"`
	Endpoint   string
	Model      string
	Version    int
	Replay     struct{ Detail string }
	Explained  struct {
		Method, Unit string
		Rows         []explainedRow
	} `json:"explanation"`
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
	cmd := verb("explain PREDICTION_ID", "Say why a logged decision came out as it did", "keelson explain 0197c2b4-5d1e-7c3a-9a56-1f2e3d4c5b6a\nkeelson explain 0197c2b4-5d1e-7c3a-9a56-1f2e3d4c5b6a --top 3\nkeelson explain 0197c2b4-5d1e-7c3a-9a56-1f2e3d4c5b6a --json",
		c.args(1, 1, "PREDICTION_ID"), func(cmd *cobra.Command, args []string) error {
			if top < 0 {
				return usage("--top is the number of features to list, 0 for all.")
			}
			cl, err := c.dial()
			if err != nil {
				return err
			}
			var raw json.RawMessage
			if err := cl.Get(cmd.Context(), "/api/v1/predictions/"+escape(args[0])+"/explanation?top="+strconv.Itoa(top), &raw); err != nil {
				return err
			}
			if c.machine() || c.output != "" && c.output != "table" && c.output != "wide" {
				return c.show(raw, nil, "prediction_id")
			}
			var e explained
			if err := json.Unmarshal(raw, &e); err != nil {
				return fmt.Errorf("read answer: %w", err)
			}
			fmt.Fprint(c.out, e.text())
			return nil
		})
	cmd.Flags().IntVar(&top, "top", 10, "features per row; 0 lists all")
	return cmd
}

// barWidth is the length of the longest bar.
const barWidth = 24

// text is the waterfall of every row, the words below it, then method and replay.
func (e *explained) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s version %d at %s, prediction %s\n", printable(e.Model), e.Version, printable(e.Endpoint), e.Prediction)
	for _, row := range e.Explained.Rows {
		fmt.Fprintf(&b, "\nrow %d, %s\n", row.Row, printable(e.Explained.Unit))
		longest, widest := math.Abs(row.Rest), len("before anything is known")
		for _, f := range row.Features {
			longest, widest = max(longest, math.Abs(f.Contribution)), max(widest, len([]rune(printable(f.Name))))
		}
		line := func(name string, v float64, bar bool) {
			fmt.Fprintf(&b, "  %-*s %+12.5g", widest, name, v)
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
	fmt.Fprintf(&b, "\nmethod: %s\nreplay: %s\n", printable(e.Explained.Method), printable(e.Replay.Detail))
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
