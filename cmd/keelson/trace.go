package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"
	"unicode"

	"github.com/spf13/cobra"
)

var traceColumns = columns("id", "name", "state", "started_at", "ms=duration_ms", "spans", "tokens=tokens.total", "request")

func (c *cli) traceCmd() *cobra.Command {
	const base = "/api/v1/traces"
	get := verb("get ID", "Show a trace with the tree of its spans", "keelson trace get tr-3f2a…\nkeelson trace get tr-3f2a… --json\nkeelson trace get tr-3f2a… --jq '.tree[0].inputs'", c.args(1, 1, "ID"), func(cmd *cobra.Command, args []string) error {
		cl, err := c.dial()
		if err != nil {
			return err
		}
		var raw json.RawMessage
		if err := cl.Get(cmd.Context(), base+"/"+escape(args[0]), &raw); err != nil {
			return err
		}
		if c.machine() || c.output == "name" || c.quiet {
			return c.show(raw, nil, "id")
		}
		var t tracePrint
		if err := json.Unmarshal(raw, &t); err != nil {
			return fmt.Errorf("read answer: %w", err)
		}
		return t.print(c)
	})
	get.ValidArgsFunction = c.complete("trace", "id")
	remove := verb("delete ID", "Delete a trace for good", "keelson trace delete tr-3f2a…\nkeelson trace delete tr-3f2a… --yes\nkeelson trace delete tr-3f2a… --json --yes", c.args(1, 1, "ID"), func(cmd *cobra.Command, args []string) error {
		return c.remove(cmd.Context(), "Delete trace "+args[0]+"?", base+"/"+escape(args[0]), args[0], "deleted")
	})
	return c.noun("trace", "Requests that applications told of, step by step", []string{"traces"},
		c.listCommand("trace", "Search traces, the newest first", base, traceColumns, "id", "experiment=only of this experiment", "run=only of this run",
			"filter=such as \"state = 'ERROR' AND span.name = 'search'\"", "order=such as 'execution_time_ms DESC'"),
		get, remove)
}

// tracePrint is what is shown of a trace.
type tracePrint struct {
	ID         string    `json:"id"`
	Name       string    `json:"name"`
	State      string    `json:"state"`
	Experiment string    `json:"experiment"`
	StartedAt  time.Time `json:"started_at"`
	DurationMS *int64    `json:"duration_ms"`
	Request    string    `json:"request"`
	Response   string    `json:"response"`
	Tokens     *struct {
		Input, Output, Total int64
	} `json:"tokens"`
	Assessments []struct {
		Name   string          `json:"name"`
		Kind   string          `json:"kind"`
		Value  json.RawMessage `json:"value"`
		Valid  bool            `json:"valid"`
		Source struct{ Kind, ID string }
	} `json:"assessments"`
	Tree      []spanPrint `json:"tree"`
	Truncated bool        `json:"truncated"`
}

type spanPrint struct {
	Name       string      `json:"name"`
	Type       string      `json:"type"`
	Status     string      `json:"status"`
	Message    string      `json:"message"`
	DurationUS *int64      `json:"duration_us"`
	Children   []spanPrint `json:"children"`
}

func (t *tracePrint) print(c *cli) error {
	var b strings.Builder
	line := func(title, text string) {
		if text != "" {
			fmt.Fprintf(&b, "%-12s%s\n", title, oneLine(text, 160))
		}
	}
	line("TRACE", t.ID)
	line("NAME", t.Name)
	line("STATE", t.State)
	line("EXPERIMENT", t.Experiment)
	line("STARTED", t.StartedAt.Format(time.RFC3339))
	if t.DurationMS != nil {
		line("TOOK", took(*t.DurationMS*1000))
	}
	if t.Tokens != nil {
		line("TOKENS", fmt.Sprintf("%d in, %d out, %d together", t.Tokens.Input, t.Tokens.Output, t.Tokens.Total))
	}
	line("REQUEST", t.Request)
	line("RESPONSE", t.Response)
	for _, a := range t.Assessments {
		replaced := ""
		if !a.Valid {
			replaced = ", replaced"
		}
		line(strings.ToUpper(a.Kind), fmt.Sprintf("%s = %s (%s %s%s)", a.Name, a.Value, a.Source.Kind, a.Source.ID, replaced))
	}
	if len(t.Tree) > 0 {
		b.WriteString("\n")
	}
	for i := range t.Tree {
		t.Tree[i].print(&b, "", "", c.sign("✗", "!"))
	}
	if t.Truncated {
		b.WriteString("… and more spans\n")
	}
	_, err := c.out.Write([]byte(b.String()))
	return err
}

// print writes a span and those below it: first stands before its own line, rest before the others.
func (s *spanPrint) print(b *strings.Builder, first, rest, failed string) {
	duration := "…"
	if s.DurationUS != nil {
		duration = took(*s.DurationUS)
	}
	fmt.Fprintf(b, "%s%s  %s", first, oneLine(s.Name, 80), duration)
	if s.Type != "UNKNOWN" {
		fmt.Fprintf(b, "  %s", oneLine(s.Type, 40))
	}
	if s.Status == "error" {
		fmt.Fprintf(b, "  %s %s", failed, oneLine(s.Message, 120))
	}
	b.WriteString("\n")
	for i := range s.Children {
		if i == len(s.Children)-1 {
			s.Children[i].print(b, rest+"└─ ", rest+"   ", failed)
		} else {
			s.Children[i].print(b, rest+"├─ ", rest+"│  ", failed)
		}
	}
}

// took is a duration in microseconds, in words.
func took(us int64) string {
	d := time.Duration(us) * time.Microsecond
	switch {
	case d >= time.Minute:
		return d.Round(time.Second).String()
	case d >= time.Second:
		return d.Round(10 * time.Millisecond).String()
	case d >= time.Millisecond:
		return d.Round(10 * time.Microsecond).String()
	}
	return d.String()
}

// oneLine is a text that others wrote, fit for one line of a terminal.
func oneLine(s string, n int) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
			return ' '
		case unicode.IsControl(r):
			return -1
		}
		return r
	}, s)
	return cut(s, n)
}
