package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"keelson/client"
)

const alertsPath, routesPath, alertPolicyPath = "/api/v1/alerts", "/api/v1/alert-routes", "/api/v1/alert-policy"

func (c *cli) alertCmd() *cobra.Command {
	cols := columns("id", "kind", "severity", "endpoint", "feature", "metric", "value", "limit", "state", "owner", "opened_at", "incident")
	var reason, until, to string
	act := func(name, args, short, example string, body func(args []string) (map[string]string, error)) *cobra.Command {
		n := len(strings.Fields(args))
		cmd := verb(name+" "+args, short, example, c.args(n, n, args), func(cmd *cobra.Command, args []string) error {
			in, err := body(args)
			if err != nil {
				return err
			}
			return c.act(cmd.Context(), http.MethodPost, alertsPath+"/"+escape(args[0])+"/"+name, in, cols, "id")
		})
		cmd.Flags().StringVar(&reason, "reason", "", "why")
		return cmd
	}
	why := func([]string) (map[string]string, error) { return map[string]string{"reason": reason}, nil }
	ack := act("ack", "ID", "Say that you look after an alert", "keelson alert ack 06gz --reason \"new scanner in use\"\nkeelson alert ack 06gz --reason looking --json\nkeelson alert ack 06gz --reason looking -q", why)
	release := act("release", "ID", "Take back an acknowledgement or a silence", "keelson alert release 06gz --reason \"was the wrong one\"\nkeelson alert release 06gz --json\nkeelson alert release 06gz -q", why)
	silence := act("silence", "ID", "Keep an alert quiet for a while", "keelson alert silence 06gz --reason maintenance --until 2h\nkeelson alert silence 06gz --reason known --until 2026-12-01T00:00:00Z --json\nkeelson alert silence 06gz --reason known --until 2026-12-01T00:00:00Z -q",
		func([]string) (map[string]string, error) {
			at, err := ahead("--until", until)
			return map[string]string{"reason": reason, "until": at}, err
		})
	silence.Flags().StringVar(&until, "until", "", aheadHelp)
	assign := act("assign", "ID", "Hand an alert to somebody", "keelson alert assign 06gz --to mira\nkeelson alert assign 06gz --to mira --reason \"knows the scanner\"\nkeelson alert assign 06gz --to mira --json",
		func([]string) (map[string]string, error) {
			return map[string]string{"owner": to, "reason": reason}, nil
		})
	assign.Flags().StringVar(&to, "to", "", "the person")
	return c.noun("alert", "What monitors found", []string{"alerts"},
		c.listCommand("alert", "List alerts", alertsPath, cols, "id", "state=open, acknowledged, silenced, recovered, pending or active", "model=only of this model", "kind=data, prediction, result, quality, operation or crash", "severity=warning or critical"),
		c.getCommand("alert", "Show an alert with its columns and what was done", "ID", "06gz", func(id string) (string, error) { return alertsPath + "/" + escape(id), nil }, nil, "id"),
		ack, silence, release, assign, c.alertPolicyCmd(), c.routeCmd())
}

func (c *cli) alertPolicyCmd() *cobra.Command {
	cols := columns("model", "version", "windows", "good", "min_rows", "escalate", "actions", "note", "created_by")
	of := func(model string) string { return alertPolicyPath + "?" + url.Values{"model": {model}}.Encode() }
	var model, file, note string
	var windows, good int
	get := verb("get", "Show when alerts open, to whom they go and what follows", "keelson alert policy get\nkeelson alert policy get --model screening\nkeelson alert policy get --model screening --json", c.args(0, 0, ""), func(cmd *cobra.Command, _ []string) error {
		cl, err := c.dial()
		if err != nil {
			return err
		}
		var v json.RawMessage
		if err := cl.Get(cmd.Context(), of(model), &v); err != nil {
			return err
		}
		return c.show(v, cols, "model")
	})
	get.Flags().StringVar(&model, "model", "", "of this model; empty: of the workspace")
	set := verb("set", "Change when alerts open, to whom they go and what follows", "keelson alert policy set --windows 1\nkeelson alert policy set --model screening -f policy.yaml --note \"retrain at once\"\nkeelson alert policy set --model screening --good 3 --json", c.args(0, 0, ""), func(cmd *cobra.Command, _ []string) error {
		body := map[string]any{}
		if file != "" {
			if err := c.readYAML(file, &body); err != nil {
				return err
			}
		}
		if cmd.Flags().Changed("windows") {
			body["windows"] = windows
		}
		if cmd.Flags().Changed("good") {
			body["good"] = good
		}
		if note != "" {
			body["note"] = note
		}
		for _, shown := range []string{"model", "version", "created_by", "created_at"} { // what get printed may be set again
			delete(body, shown)
		}
		return c.act(cmd.Context(), http.MethodPut, of(model), body, cols, "model")
	})
	f := set.Flags()
	f.StringVar(&model, "model", "", "of this model; empty: of the workspace")
	f.StringVarP(&file, "file", "f", "", "YAML or JSON with windows, good, min_rows, min_importance, error_rate, p95_ms, escalate, actions; - for standard input")
	f.IntVar(&windows, "windows", 2, "windows over the limit in a row that open an alert")
	f.IntVar(&good, "good", 2, "good windows in a row that end it")
	f.StringVar(&note, "note", "", "why")
	var why string
	drop := verb("delete", "Take a policy back: a model has the workspace's again, the workspace what comes with the program", "keelson alert policy delete --model screening\nkeelson alert policy delete --model screening --reason \"one for all\" --yes\nkeelson alert policy delete --json --yes", c.args(0, 0, ""), func(cmd *cobra.Command, _ []string) error {
		whose := "the workspace"
		if model != "" {
			whose = model
		}
		if err := c.confirm("Take back the policy of " + whose + "?"); err != nil {
			return err
		}
		return c.act(cmd.Context(), http.MethodDelete, of(model)+"&"+url.Values{"reason": {why}}.Encode(), nil, cols, "model")
	})
	drop.Flags().StringVar(&model, "model", "", "of this model; empty: of the workspace")
	drop.Flags().StringVar(&why, "reason", "", "why")
	return c.noun("policy", "When alerts open, to whom they go and what follows", nil, get, set, drop)
}

func (c *cli) routeCmd() *cobra.Command {
	cols := columns("id", "name", "kind", "target", "enabled", "severity", "models", "events")
	path := func(id string) string { return routesPath + "/" + escape(id) }
	var kind, address, severity, from, user, host, tls, quiet, secretFile string
	var models, kinds, mailTo, on []string
	create := verb("create NAME", "Send alerts to an address", "keelson alert route create ops --kind slack --secret-file slack-url.txt\nkeelson alert route create mail --kind email --host smtp.example.com:587 --user keelson --from keelson@example.com --to ops@example.com --secret-file password.txt\nkeelson alert route create pager --kind pagerduty --severity critical --secret-file key.txt",
		c.args(1, 1, "NAME"), func(cmd *cobra.Command, args []string) error {
			body := map[string]any{"name": args[0], "kind": kind, "url": address, "severity": severity, "models": models, "kinds": kinds, "events": on}
			if kind == "email" {
				body["mail"] = map[string]any{"host": host, "tls": tls, "user": user, "from": from, "to": mailTo}
			}
			if quiet != "" {
				begin, rest, ok := strings.Cut(quiet, "-")
				end, zone, _ := strings.Cut(rest, " ")
				if !ok {
					return usage("Write quiet hours as 22:00-07:00, with a time zone behind if it is not UTC: \"22:00-07:00 Europe/Zurich\".")
				}
				body["quiet"] = map[string]any{"from": begin, "to": end, "zone": zone}
			}
			if secretFile != "" {
				var b []byte
				var err error
				if secretFile == "-" {
					b, err = io.ReadAll(io.LimitReader(os.Stdin, 1<<16))
				} else {
					b, err = os.ReadFile(secretFile)
				}
				if err != nil {
					return usage("The secret cannot be read: %v", err)
				}
				body["secret"] = strings.TrimSpace(string(b))
			}
			return c.act(cmd.Context(), http.MethodPost, routesPath, body, append(cols[:4:4], columns("secret")...), "id")
		})
	f := create.Flags()
	f.StringVar(&kind, "kind", "webhook", "webhook, slack, email or pagerduty")
	f.StringVar(&address, "url", "", "address of a webhook, or of another PagerDuty-compatible service")
	f.StringVar(&secretFile, "secret-file", "", "file with the secret: signing secret, Slack's address, password, routing key; - for standard input")
	f.StringVar(&severity, "severity", "", "critical: warnings are left out")
	f.StringSliceVar(&models, "model", nil, "only of these models; * stands for any text")
	f.StringSliceVar(&kinds, "cause", nil, "only these kinds of causes: data, prediction, result, quality, operation, crash")
	f.StringSliceVar(&on, "on", nil, "only these turns: opened, worsened, escalated, acknowledged, recovered, acted, incident")
	f.StringVar(&host, "host", "", "mail server, as smtp.example.com:587")
	f.StringVar(&tls, "tls", "starttls", "starttls, tls or none")
	f.StringVar(&user, "user", "", "account at the mail server")
	f.StringVar(&from, "from", "", "sender")
	f.StringSliceVar(&mailTo, "to", nil, "recipients")
	f.StringVar(&quiet, "quiet", "", "hours in which only what is critical is sent, as \"22:00-07:00 Europe/Zurich\"")
	test := verb("test ID", "Send an example and say what came back; exit 5 if it did not arrive", "keelson alert route test ops\nkeelson alert route test ops --json\nkeelson alert route test ops -o name", c.args(1, 1, "ID"), func(cmd *cobra.Command, args []string) error {
		cl, err := c.dial()
		if err != nil {
			return err
		}
		var v struct {
			Success bool    `json:"success"`
			Answer  string  `json:"answer"`
			Error   string  `json:"error,omitempty"`
			TookMS  float64 `json:"took_ms"`
		}
		if err := cl.Call(cmd.Context(), http.MethodPost, path(args[0])+"/test", struct{}{}, &v); err != nil {
			return err
		}
		if err := c.show(v, columns("success", "answer", "error", "took_ms"), "success"); err != nil {
			return err
		}
		if !v.Success {
			return answered(client.ExitCheck)
		}
		return nil
	})
	remove := verb("delete ID", "Delete a route and its log", "keelson alert route delete ops\nkeelson alert route delete ops --yes\nkeelson alert route delete ops --json --yes", c.args(1, 1, "ID"), func(cmd *cobra.Command, args []string) error {
		return c.remove(cmd.Context(), "Delete route "+args[0]+"?", path(args[0]), args[0], "deleted")
	})
	deliveries := verb("deliveries ID", "What was sent, newest first", "keelson alert route deliveries ops\nkeelson alert route deliveries ops --json\nkeelson alert route deliveries ops --limit 0", c.args(1, 1, "ID"), func(cmd *cobra.Command, args []string) error {
		return c.printList(cmd.Context(), path(args[0])+"/deliveries", nil, columns("id", "event", "about", "state", "attempts", "last_at", "next_at", "error"), "id")
	})
	deliveries.Flags().IntVar(&c.limit, "limit", 50, "how many at most, 0 for all")
	turn := func(name string, enabled bool, short string) *cobra.Command {
		return verb(name+" ID", short, "keelson alert route "+name+" ops\nkeelson alert route "+name+" ops --json\nkeelson alert route "+name+" ops -q", c.args(1, 1, "ID"), func(cmd *cobra.Command, args []string) error {
			return c.act(cmd.Context(), http.MethodPatch, path(args[0]), map[string]bool{"enabled": enabled}, cols, "id")
		})
	}
	var until, why string
	mute := verb("mute ID", "Send nothing until a time; what happens meanwhile is not told later", "keelson alert route mute ops --until 2026-12-01T00:00:00Z --reason maintenance\nkeelson alert route mute ops --until 2026-12-01T00:00:00Z --reason maintenance --json\nkeelson alert route mute ops --until 2026-12-01T00:00:00Z --reason maintenance -q", c.args(1, 1, "ID"), func(cmd *cobra.Command, args []string) error {
		at, err := ahead("--until", until)
		if err != nil {
			return err
		}
		return c.act(cmd.Context(), http.MethodPost, path(args[0])+"/mute", map[string]string{"until": at, "reason": why}, cols, "id")
	})
	mute.Flags().StringVar(&until, "until", "", aheadHelp)
	mute.Flags().StringVar(&why, "reason", "", "why")
	unmute := verb("unmute ID", "Send again before a mute ends", "keelson alert route unmute ops\nkeelson alert route unmute ops --json\nkeelson alert route unmute ops -q", c.args(1, 1, "ID"), func(cmd *cobra.Command, args []string) error {
		return c.act(cmd.Context(), http.MethodPost, path(args[0])+"/unmute", struct{}{}, cols, "id")
	})
	return c.noun("route", "Where alerts are sent", []string{"routes"}, create,
		c.listCommand("alert route", "List routes", routesPath, cols, "id"),
		c.getCommand("alert route", "Show a route", "ID", "ops", func(id string) (string, error) { return path(id), nil }, nil, "id"),
		test, deliveries, turn("enable", true, "Send again"), turn("disable", false, "Send no more, but keep the route"), mute, unmute, remove)
}

func (c *cli) incidentCmd() *cobra.Command {
	cols := columns("id", "kind", "severity", "state", "model", "endpoint", "title", "opened_at", "owner")
	act := func(name, short string) *cobra.Command {
		var reason string
		cmd := verb(name+" ID", short, fmt.Sprintf("keelson incident %s 06gz --reason \"file restored from backup\"\nkeelson incident %s 06gz --reason done --json\nkeelson incident %s 06gz --reason done -q", name, name, name), c.args(1, 1, "ID"), func(cmd *cobra.Command, args []string) error {
			return c.act(cmd.Context(), http.MethodPost, "/api/v1/incidents/"+escape(args[0])+"/"+name, map[string]string{"reason": reason}, cols, "id")
		})
		cmd.Flags().StringVar(&reason, "reason", "", "why")
		return cmd
	}
	return c.noun("incident", "What went wrong", []string{"incidents"},
		c.listCommand("incident", "List incidents", "/api/v1/incidents", cols, "id", "state=open, acknowledged or closed", "model=only of this model"),
		c.getCommand("incident", "Show an incident with its time line and suspects", "ID", "06gz", func(id string) (string, error) { return "/api/v1/incidents/" + escape(id), nil }, nil, "id"),
		act("ack", "Take care of an incident"), act("note", "Add a note to the time line"), act("close", "Close an incident"), act("reopen", "Take back the closing of an incident"))
}
