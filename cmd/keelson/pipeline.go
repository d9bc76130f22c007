package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"keelson/client"
)

var runColumns = columns("id", "pipeline", "version=pipeline_version", "state", "trigger=trigger.kind", "by", "started_at", "ended_at", "content_digest", "error")

func (c *cli) pipelineCmd() *cobra.Command {
	var file string
	projectFlag := func(cmd *cobra.Command) *cobra.Command {
		cmd.Flags().StringVarP(&file, "file", "f", "", "project file (default: keelson.yaml here or above)")
		return cmd
	}
	push := projectFlag(verb("push", "Send the project as the next version of its pipeline", "keelson pipeline push\nkeelson pipeline push -f examples/screening/keelson.yaml\nkeelson pipeline push --json=name,version,digest",
		c.args(0, 0, ""), func(cmd *cobra.Command, _ []string) error {
			p, err := neededProject(file)
			if err != nil {
				return err
			}
			cl, err := c.dial()
			if err != nil {
				return err
			}
			saved, err := p.push(cmd.Context(), cl)
			if err != nil {
				return err
			}
			return c.show(saved, columns("name", "version", "digest", "steps"), "name")
		}))
	graph := projectFlag(verb("graph", "Show the steps of the project and what each needs", "keelson pipeline graph\nkeelson pipeline graph -f examples/screening/keelson.yaml\nkeelson pipeline graph --json",
		c.args(0, 0, ""), func(cmd *cobra.Command, _ []string) error {
			p, err := neededProject(file)
			if err != nil {
				return err
			}
			var items []json.RawMessage
			for _, o := range p.def.Outlines() {
				b, err := json.Marshal(o)
				if err != nil {
					return err
				}
				items = append(items, b)
			}
			return c.list(items, columns("name", "kind", "needs"), "name")
		}))
	runs := verb("runs [NAME]", "List runs of a pipeline, newest first", "keelson pipeline runs\nkeelson pipeline runs screening\nkeelson pipeline runs screening --json=id,state", c.args(0, 1, "[NAME]"), func(cmd *cobra.Command, args []string) error {
		p := "/api/v1/pipeline-runs"
		if len(args) == 1 {
			p = "/api/v1/pipelines/" + escape(args[0]) + "/runs"
		}
		return c.printList(cmd.Context(), p, nil, runColumns, "id")
	})
	runs.Flags().IntVar(&c.limit, "limit", 50, "how many at most, 0 for all")
	status := verb("status RUN", "Show a run with its steps", "keelson pipeline status 06gzw2\nkeelson pipeline status 06gzw2 --json\nkeelson pipeline status 06gzw2 -o yaml", c.args(1, 1, "RUN"), func(cmd *cobra.Command, args []string) error {
		cl, err := c.dial()
		if err != nil {
			return err
		}
		var raw json.RawMessage
		if err := cl.Get(cmd.Context(), "/api/v1/pipeline-runs/"+escape(args[0]), &raw); err != nil {
			return err
		}
		if c.machine() || c.output != "" {
			return c.show(raw, nil, "id")
		}
		if err := c.show(raw, runColumns, "id"); err != nil {
			return err
		}
		var r struct{ Steps []json.RawMessage }
		if err := json.Unmarshal(raw, &r); err != nil {
			return err
		}
		fmt.Fprintln(c.out)
		return c.list(r.Steps, columns("name", "kind", "state", "attempt", "started_at", "ended_at", "exit_code", "error"), "name")
	})
	var follow bool
	logs := verb("logs RUN STEP", "Print the log of a step", "keelson pipeline logs 06gzw2 train\nkeelson pipeline logs 06gzw2 train --follow\nkeelson pipeline logs 06gzw2 check -q", c.args(2, 2, "RUN and STEP"), func(cmd *cobra.Command, args []string) error {
		cl, err := c.dial()
		if err != nil {
			return err
		}
		if follow {
			return cl.FollowStep(cmd.Context(), args[0], args[1], c.out)
		}
		for offset := int64(0); ; {
			l, err := cl.StepLog(cmd.Context(), args[0], args[1], offset)
			if err != nil {
				return err
			}
			fmt.Fprint(c.out, l.Text)
			if l.Text == "" {
				return nil
			}
			offset = l.Offset
		}
	})
	logs.Flags().BoolVar(&follow, "follow", false, "go on until the step has ended")
	act := func(name, short string) *cobra.Command {
		return verb(name+" RUN", short, fmt.Sprintf("keelson pipeline %s 06gzw2\nkeelson pipeline %s 06gzw2 --json\nkeelson pipeline %s 06gzw2 -q", name, name, name), c.args(1, 1, "RUN"), func(cmd *cobra.Command, args []string) error {
			return c.act(cmd.Context(), http.MethodPost, "/api/v1/pipeline-runs/"+escape(args[0])+"/"+name, nil, runColumns, "id")
		})
	}
	return c.noun("pipeline", "Pipelines and their runs", []string{"pipelines"},
		c.listCommand("pipeline", "List pipelines", "/api/v1/pipelines", columns("name", "version", "model", "updated_at", "digest", "description"), "name"),
		c.getCommand("pipeline", "Show a pipeline", "NAME", "screening", func(n string) (string, error) { return "/api/v1/pipelines/" + escape(n), nil }, columns("name", "version", "model", "description", "digest", "steps", "created_by", "updated_at"), "name"),
		push, projectFlag(c.pipelineRun(&file)), runs, status, logs, graph, act("cancel", "Cancel a run"), act("retry", "Run again what did not succeed in a run"))
}

// pipelineRun makes "pipeline run": it sends the project found here, if there is one, and starts it.
func (c *cli) pipelineRun(file *string) *cobra.Command {
	var params, data []string
	var seed int64
	var wait, noPush bool
	cmd := verb("run [NAME]", "Send the project and start a run of its pipeline", "keelson pipeline run --wait\nkeelson pipeline run -f examples/screening/keelson.yaml --param max_depth=4 --wait\nkeelson pipeline run screening --data screening-patients=1 --no-push",
		c.args(0, 1, "[NAME]"), func(cmd *cobra.Command, args []string) error {
			cl, err := c.dial()
			if err != nil {
				return err
			}
			in := client.RunRequest{Params: map[string]any{}, Data: map[string]int{}}
			if cmd.Flags().Changed("seed") {
				in.Seed = &seed
			}
			for _, kv := range params {
				k, v, ok := strings.Cut(kv, "=")
				if !ok {
					return usage("--param %q is not like max_depth=4.", kv)
				}
				in.Params[k] = scalar(v)
			}
			for _, kv := range data {
				k, v, _ := strings.Cut(kv, "=")
				n, err := strconv.Atoi(v)
				if err != nil || n < 1 {
					return usage("--data %q is not like screening-patients=1.", kv)
				}
				in.Data[k] = n
			}
			name := ""
			if len(args) == 1 {
				name = args[0]
			}
			if !noPush {
				p, found, err := openProject(*file)
				if err != nil {
					return err
				}
				if found && (name == "" || name == p.def.Name) {
					if err := p.runs(); err != nil {
						return err
					}
					saved, err := p.push(cmd.Context(), cl)
					if err != nil {
						return err
					}
					name = saved.Name
					c.say("%s pipeline %s version %d, %s", c.sign("✓", "ok"), saved.Name, saved.Version, saved.Digest)
				}
			}
			if name == "" {
				return &failure{code: client.ExitUsage, text: "There is no keelson.yaml in this folder or above, and no pipeline was named.", hint: "name one: keelson pipeline run NAME"}
			}
			r, err := cl.RunPipeline(cmd.Context(), name, in)
			if err != nil {
				return err
			}
			address := cl.Server() + "/pipeline-runs/" + r.ID
			c.say("run %s  %s", r.ID, address)
			if wait {
				if r, err = c.watchRun(cmd.Context(), cl, r.ID); err != nil {
					return err
				}
				c.say("run %s  %s", r.ID, address)
			} else {
				c.next("keelson pipeline status %s", r.ID)
			}
			if err := c.show(r, runColumns, "id"); err != nil {
				return err
			}
			if wait && r.State != "succeeded" {
				return answered(client.ExitCheck)
			}
			return nil
		})
	f := cmd.Flags()
	f.StringArrayVar(&params, "param", nil, "parameter as name=value; may be repeated")
	f.StringArrayVar(&data, "data", nil, "data version as name=number; may be repeated (default: the newest)")
	f.Int64Var(&seed, "seed", 0, "seed (default: the project's)")
	f.BoolVar(&wait, "wait", false, "follow the run to its end, with its logs")
	f.BoolVar(&noPush, "no-push", false, "run what the server has, whatever this folder holds")
	return cmd
}

// scalar reads a parameter's value: a boolean, a number, or else text.
func scalar(s string) any {
	if b, err := strconv.ParseBool(s); err == nil && (s == "true" || s == "false") {
		return b
	}
	if n, err := strconv.ParseInt(s, 10, 64); err == nil {
		return n
	}
	if x, err := strconv.ParseFloat(s, 64); err == nil {
		return x
	}
	return s
}

// watchRun follows a run to its end: one line per change of a step, and the logs as they come.
func (c *cli) watchRun(ctx context.Context, cl *client.Client, id string) (client.PipelineRun, error) {
	ctx, stop := context.WithCancel(ctx)
	var logs sync.WaitGroup
	defer logs.Wait()
	defer stop()
	states, following := map[string]string{}, map[string]bool{}
	var lines sync.Mutex
	return cl.WaitPipelineRun(ctx, id, func(r client.PipelineRun) {
		for _, s := range r.Steps {
			if states[s.Name] == s.State || s.State == "waiting" {
				continue
			}
			states[s.Name] = s.State
			mark := c.sign("•", "*")
			switch s.State {
			case "succeeded":
				mark = c.sign("✓", "ok")
			case "failed", "cancelled":
				mark = c.sign("✗", "x")
			}
			took := ""
			if s.StartedAt != nil && s.EndedAt != nil {
				took = s.EndedAt.Sub(*s.StartedAt).Round(10 * time.Millisecond).String()
			}
			lines.Lock()
			c.say("%s %-16s %-10s %s %s", mark, s.Name, s.State, took, s.Error)
			lines.Unlock()
			if s.Kind == "command" && !following[s.Name] && !c.quiet {
				following[s.Name] = true
				logs.Go(func() { // ends with the step's log, or with ctx
					w := &prefixed{c: c, lock: &lines, prefix: s.Name}
					_ = cl.FollowStep(ctx, id, s.Name, w) // the log can be read again with pipeline logs
					w.flush()
				})
			}
		}
	})
}

// prefixed writes whole lines with the step's name before them.
type prefixed struct {
	c      *cli
	lock   *sync.Mutex
	prefix string
	rest   string
}

func (p *prefixed) Write(b []byte) (int, error) {
	p.rest += string(b)
	for {
		line, rest, ok := strings.Cut(p.rest, "\n")
		if !ok {
			return len(b), nil
		}
		p.rest = rest
		p.lock.Lock()
		fmt.Fprintf(p.c.errs, "  %s | %s\n", p.prefix, line)
		p.lock.Unlock()
	}
}

func (p *prefixed) flush() {
	if p.rest != "" {
		_, _ = p.Write([]byte("\n")) // Write never fails
	}
}
