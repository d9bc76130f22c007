package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strings"

	"github.com/spf13/cobra"

	"keelson/client"
)

var (
	deployColumns   = columns("endpoint", "environment", "model", "state", "slots", "previous=previous.version", "url", "updated_at")
	approvalColumns = columns("number", "id", "kind", "model", "version", "environment", "state", "author", "missing", "expires_at")
)

// deployList lists what runs, each with how it was called in the last hour.
func (c *cli) deployList() *cobra.Command {
	cols := columns("endpoint", "state", "split=slots", "calls 1h=traffic.hour.calls", "traffic.hour.p50_us", "traffic.hour.p95_us", "errors=traffic.hour.errors", "nodes=traffic.nodes", "changed=change.at", "by=change.by", "environment", "model")
	model := ""
	cmd := verb("list", "List deployments: split, and calls, latency and errors of the last hour", "keelson deploy list\nkeelson deploy list --model churn -o wide\nkeelson deploy list --json=endpoint,traffic", c.args(0, 0, ""), func(cmd *cobra.Command, _ []string) error {
		cl, err := c.dial()
		if err != nil {
			return err
		}
		q := url.Values{}
		if model != "" {
			q.Set("model", model)
		}
		items, err := client.All[map[string]json.RawMessage](cmd.Context(), cl, "/api/v1/deployments", q, c.limit)
		if err != nil {
			return err
		}
		var called []map[string]json.RawMessage
		if c.output != "name" {
			if called, err = client.All[map[string]json.RawMessage](cmd.Context(), cl, "/api/v1/traffic", nil, 0); err != nil && client.ExitCode(err) != client.ExitForbidden {
				if c.machine() || cmd.Context().Err() != nil {
					return err
				}
				c.say("the calls could not be asked for: %s", err) // what runs is known all the same
			}
		}
		of := map[string]map[string]json.RawMessage{}
		for _, t := range called {
			of[string(t["endpoint"])] = t
		}
		var raw []json.RawMessage
		for _, d := range items {
			var text []byte
			if text, err = json.Marshal(of[string(d["endpoint"])]); err != nil {
				return err
			}
			d["traffic"] = text
			if text, err = json.Marshal(d); err != nil {
				return err
			}
			raw = append(raw, text)
		}
		if err := c.list(raw, cols, "endpoint"); err != nil {
			return err
		}
		c.showing(len(items))
		return nil
	})
	cmd.Flags().StringVar(&model, "model", "", "only those of this model")
	cmd.Flags().IntVar(&c.limit, "limit", 50, "how many at most, 0 for all")
	return cmd
}

func (c *cli) deployCmd() *cobra.Command {
	var name, to, reason, file, mode string
	var noPlan bool
	var asked terms
	create := verb("create FILE|NAME/VERSION", "Deploy a model file or a version to an environment", "keelson deploy create model.ubj --name churn --to dev\nkeelson deploy create screening/1 --to prod --reason \"first version\"\nkeelson deploy create screening@challenger --to prod --reason \"better on medium tumours\"\nkeelson deploy create churn/2 --to prod --limit caller_rate=50 --limit timeout_ms=200 --redact postcode",
		c.args(1, 1, "FILE or NAME/VERSION"), func(cmd *cobra.Command, args []string) error {
			if to == "" {
				return usage("Say where to: --to dev or --to prod.")
			}
			cl, err := c.dial()
			if err != nil {
				return err
			}
			target, model := args[0], name
			switch {
			case isVersion(target) && name != "":
				return usage("--name is for files; %s already names a model.", target)
			case isVersion(target):
				model = modelOf(target)
			case name == "":
				return usage("Say what the model in %s is called: --name churn.", target)
			}
			var plan *client.Rollout
			if mode != "" {
				plan = &client.Rollout{Mode: mode}
			} else if !noPlan { // what is wrong with it is told before a version is made for nothing
				if plan, err = planned(file, model, to); err != nil {
					return err
				}
			}
			if !isVersion(target) {
				if err := hasEnvironment(cmd.Context(), cl, to); err != nil { // likewise
					return err
				}
				same, err := sameFiles(cmd.Context(), cl, name, target)
				if err != nil {
					return err
				}
				if same > 0 {
					c.say("%s %s/%d has these very files; no new version is made", c.sign("✓", "ok"), name, same)
					target = fmt.Sprintf("%s/%d", name, same)
				} else {
					v, err := c.register(cmd.Context(), cl, name, target, client.NewVersion{}, true)
					if err != nil {
						return err
					}
					target = fmt.Sprintf("%s/%d", v.Model, v.Version)
				}
			}
			if reason == "" {
				reason = "deployed with keelson deploy create"
			}
			var have client.Limits
			if len(asked.limits) > 0 && (plan == nil || plan.Limits == nil) {
				if have, err = inForce(cmd.Context(), cl, model, to); err != nil {
					return err
				}
			}
			plan, err = asked.over(plan, have)
			if err != nil {
				return err
			}
			if plan == nil || plan.Limits == nil && plan.Durability == "" && len(plan.Redact) == 0 && plan.Mode != "shadow" { // a plan may change more than the version
				model, version, err := oneVersion(cmd.Context(), cl, target)
				if err != nil {
					return err
				}
				if done, err := c.already(cmd.Context(), cl, model, version, to); done || err != nil {
					return err
				}
			}
			return c.propose(cmd.Context(), "deploy", target, to, reason, plan, true)
		})
	f := create.Flags()
	f.StringVar(&name, "name", "", "name of the model, for a file")
	f.StringVar(&to, "to", "", "environment")
	f.StringVar(&reason, "reason", "", "why; the approvers read it")
	f.StringVarP(&file, "file", "f", "", "project file with the rollout plan (default: keelson.yaml here or above)")
	f.StringVar(&mode, "mode", "", "rollout without a plan of the project: all or shadow")
	f.BoolVar(&noPlan, "no-plan", false, "all calls at once, whatever the project says")
	asked.flags(f)

	execute := verb("execute REQUEST", "Carry out an approved change request", "keelson deploy execute 12\nkeelson deploy execute 12 --json\nkeelson deploy execute 12 -q", c.args(1, 1, "REQUEST"), func(cmd *cobra.Command, args []string) error {
		return c.act(cmd.Context(), http.MethodPost, "/api/v1/deployments", map[string]string{"request": args[0]}, deployColumns, "endpoint")
	})
	act := func(verbName, short string) *cobra.Command {
		var why string
		cmd := verb(verbName+" ENDPOINT", short, fmt.Sprintf("keelson deploy %s screening --reason \"seen enough\"\nkeelson deploy %s screening.dev --reason test --yes\nkeelson deploy %s screening --reason \"complaints\" --json", verbName, verbName, verbName),
			c.args(1, 1, "ENDPOINT"), func(cmd *cobra.Command, args []string) error {
				if why == "" {
					return usage("Say why: --reason TEXT. The audit log keeps it.")
				}
				return c.act(cmd.Context(), http.MethodPost, "/api/v1/deployments/"+escape(args[0])+"/"+verbName, map[string]string{"reason": why}, deployColumns, "endpoint")
			})
		cmd.Flags().StringVar(&why, "reason", "", "why")
		cmd.ValidArgsFunction = c.complete("deploy", "endpoint")
		return cmd
	}
	return c.noun("deploy", "What runs where", []string{"deployment", "deployments"},
		c.deployList(),
		c.getCommand("deploy", "Show what runs at an endpoint", "ENDPOINT", "screening", func(n string) (string, error) { return "/api/v1/deployments/" + escape(n), nil },
			append(deployColumns, columns("words", "changed=change.at", "by=change.by", "act=change.act", "rollout", "releases", "durability", "redact", "sealed")...), "endpoint"),
		create, execute, act("advance", "Take the next step of a rollout"), act("rollback", "Go back to the version before"), act("suspend", "Refuse all calls from now on"), act("resume", "Answer calls again"),
		c.deploySplit(), c.deployLogs(), c.deployTest(), c.deployWatch())
}

// hasEnvironment refuses an environment that does not exist, and names those that do.
func hasEnvironment(ctx context.Context, cl *client.Client, name string) error {
	all, err := client.All[struct{ Name string }](ctx, cl, "/api/v1/environments", nil, 0)
	if err != nil {
		return err
	}
	var names []string
	for _, e := range all {
		if e.Name == name {
			return nil
		}
		names = append(names, e.Name)
	}
	return &failure{code: client.ExitUsage, text: fmt.Sprintf("There is no environment %q; there are %s.", name, strings.Join(names, ", ")), hint: "list them with: keelson environment list"}
}

// modelOf is the name in name/3 or name@alias.
func modelOf(target string) string { return target[:strings.IndexAny(target+"/", "/@")] }

var versionForm = regexp.MustCompile(`^[^/@]+(/[1-9][0-9]*|@[^/@]+)$`)

// isVersion tells name/3 and name@alias from files.
func isVersion(s string) bool {
	if _, err := os.Stat(s); err == nil {
		return false
	}
	return versionForm.MatchString(s)
}

// propose opens a change request and, where nobody has to vote, waits until it has been carried out.
func (c *cli) propose(ctx context.Context, kind, target, environment, reason string, plan *client.Rollout, whenApproved bool) error {
	if reason == "" {
		return usage("Say why: --reason TEXT. The approvers read it.")
	}
	cl, model, version, err := c.oneVersion(ctx, target)
	if err != nil {
		return err
	}
	a, err := cl.Propose(ctx, client.NewApproval{Kind: kind, Model: model, Version: version, Environment: environment, Plan: plan, Reason: reason, WhenApproved: whenApproved})
	if err != nil {
		var e *client.Error
		if errors.As(err, &e) && (e.Status == http.StatusUnprocessableEntity || e.Status == http.StatusConflict) && len(e.Errors) > 0 {
			return &wrapped{failure{code: client.ExitCheck, text: e.Detail, hint: fmt.Sprintf("see: keelson version evaluations %s/%d", model, version)}, err}
		}
		return err
	}
	address := fmt.Sprintf("%s/approvals/%s", cl.Server(), a.ID)
	c.say("%s request %d: %s %s/%d in %s  %s", c.sign("✓", "ok"), a.Number, kind, model, version, environment, address)
	if a.State == "open" {
		if err := c.show(a, approvalColumns, "id"); err != nil {
			return err
		}
		return &failure{code: client.ExitConflict, text: fmt.Sprintf("Request %d waits for %s. Nothing has changed yet; it will as soon as the request is approved.", a.Number, strings.Join(a.Missing, " and ")),
			hint: fmt.Sprintf("ask them:  keelson approval approve %d --reason …   %s", a.Number, address)}
	}
	if a.State == "approved" { // the platform executes it by itself; the answer may come before that
		if a, err = client.Wait(ctx, func(ctx context.Context) (client.Approval, bool, error) {
			a, err := cl.Approval(ctx, a.ID)
			return a, a.State != "approved" && a.State != "open", err
		}); err != nil {
			return err
		}
	}
	if a.State != "executed" {
		return &failure{code: client.ExitFailed, text: fmt.Sprintf("Request %d is %s.", a.Number, a.State), hint: fmt.Sprintf("see: keelson approval get %d", a.Number)}
	}
	if kind != "deploy" {
		return c.show(a, approvalColumns, "id")
	}
	return c.answering(ctx, cl, model, environment, version)
}

// answering waits until a version answers calls and prints the address.
func (c *cli) answering(ctx context.Context, cl *client.Client, model, environment string, version int) error {
	raw, err := client.Wait(ctx, func(ctx context.Context) (json.RawMessage, bool, error) {
		items, err := client.All[json.RawMessage](ctx, cl, "/api/v1/deployments?model="+escape(model), nil, 0)
		if err != nil {
			return nil, false, err
		}
		for _, raw := range items {
			var d client.Deployment
			if err := json.Unmarshal(raw, &d); err != nil {
				return nil, false, err
			}
			if d.Environment != environment || d.Model != model {
				continue
			}
			for _, s := range d.Slots {
				if s.Version == version {
					return raw, c.modelReady(ctx, cl, d.Endpoint, version), nil
				}
			}
		}
		return nil, false, nil
	})
	if err != nil {
		return err
	}
	var d client.Deployment
	if err := json.Unmarshal(raw, &d); err != nil {
		return err
	}
	c.say("%s %s answers at %s%s", c.sign("✓", "ok"), d.Endpoint, cl.Server(), d.URL)
	if err := c.show(raw, deployColumns, "endpoint"); err != nil {
		return err
	}
	c.next("%s", askIt(ctx, cl, d.Endpoint))
	return nil
}

// askIt is a command that calls an endpoint with a row of the right form, or shows the form where the row would be long.
func askIt(ctx context.Context, cl *client.Client, endpoint string) string {
	var meta struct {
		Inputs []struct {
			Name     string `json:"name"`
			Datatype string `json:"datatype"`
			Shape    []int  `json:"shape"`
		}
	}
	look := fmt.Sprintf("curl %s/v2/models/%s        says what it takes; then keelson predict %s --data @request.json", cl.Server(), endpoint, endpoint)
	if err := cl.Get(ctx, "/v2/models/"+escape(endpoint), &meta); err != nil || len(meta.Inputs) == 0 {
		return look
	}
	var row struct {
		Inputs []map[string]any `json:"inputs"`
	}
	values := 0
	for _, in := range meta.Inputs {
		shape, n := []int{}, 1
		for i, size := range in.Shape {
			if size < 1 && i > 0 {
				return look
			}
			size = max(size, 1)
			if n *= size; n > 8 {
				return look
			}
			shape = append(shape, size)
		}
		var one any = 0
		switch in.Datatype {
		case "BOOL":
			one = false
		case "BYTES":
			one = ""
		}
		data := make([]any, n)
		for i := range data {
			data[i] = one
		}
		values += n
		row.Inputs = append(row.Inputs, map[string]any{"name": in.Name, "datatype": in.Datatype, "shape": shape, "data": data})
	}
	b, err := json.Marshal(row)
	if err != nil || values > 8 {
		return look
	}
	return fmt.Sprintf("keelson predict %s --data '%s'", endpoint, b)
}

// modelReady asks the endpoint itself. Who may not call it, as an approver, takes the deployment's word.
func (c *cli) modelReady(ctx context.Context, cl *client.Client, endpoint string, version int) bool {
	err := cl.Get(ctx, fmt.Sprintf("/v2/models/%s/versions/%d/ready", escape(endpoint), version), nil)
	return err == nil || client.ExitCode(err) == client.ExitForbidden
}

func (c *cli) approvalCmd() *cobra.Command {
	path := func(id string) (string, error) { return "/api/v1/approvals/" + escape(id), nil }
	vote := func(name, short string, grant bool) *cobra.Command {
		var why string
		var wait bool
		cmd := verb(name+" REQUEST", short, fmt.Sprintf("keelson approval %s 12 --reason \"evaluation and card are complete\"\nkeelson approval %s 12 --reason checked --json\nkeelson approval %s 12 --reason checked -q", name, name, name), c.args(1, 1, "REQUEST"), func(cmd *cobra.Command, args []string) error {
			if why == "" {
				return usage("Say why: --reason TEXT. The author reads it.")
			}
			vote, path := map[string]any{"grant": grant, "reason": why}, "/api/v1/approvals/"+escape(args[0])+"/votes"
			if !wait {
				return c.act(cmd.Context(), http.MethodPost, path, vote, approvalColumns, "id")
			}
			cl, err := c.dial()
			if err != nil {
				return err
			}
			var a client.Approval
			if err := cl.Post(cmd.Context(), path, vote, &a); err != nil {
				return err
			}
			c.say("%s request %d: %s", c.sign("✓", "ok"), a.Number, a.State)
			return c.untilLive(cmd.Context(), cl, a.ID)
		})
		cmd.Flags().StringVar(&why, "reason", "", "why")
		if grant {
			cmd.Flags().BoolVar(&wait, "wait", false, "follow the change until it is live; ends with 6 when it still waits for others")
		}
		return cmd
	}
	var kind, to, reason, file string
	var when bool
	create := verb("create NAME/VERSION", "Open a change request without waiting for its end", "keelson approval create screening/1 --to prod --reason \"first version\"\nkeelson approval create screening/1 --kind retire --to prod --reason replaced\nkeelson approval create screening/2 --to prod --reason better --when-approved", c.args(1, 1, "NAME/VERSION"), func(cmd *cobra.Command, args []string) error {
		if to == "" || reason == "" {
			return usage("Say where to and why: --to prod --reason TEXT.")
		}
		_, model, version, err := c.oneVersion(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		body := map[string]any{"kind": kind, "model": model, "version": version, "environment": to, "reason": reason, "when_approved": when}
		if kind == "deploy" {
			plan, err := planned(file, model, to)
			if err != nil {
				return err
			}
			if plan != nil {
				body["plan"] = plan
			}
		}
		return c.act(cmd.Context(), http.MethodPost, "/api/v1/approvals", body, approvalColumns, "id")
	})
	f := create.Flags()
	f.StringVar(&kind, "kind", "deploy", "deploy, retire, suspend or rollback")
	f.StringVar(&to, "to", "", "environment")
	f.StringVar(&reason, "reason", "", "why")
	f.StringVarP(&file, "file", "f", "", "project file with the rollout plan (default: keelson.yaml here or above)")
	f.BoolVar(&when, "when-approved", false, "carry it out as soon as it is approved")
	diff := verb("diff REQUEST", "Compare what is live with what is proposed", "keelson approval diff 12\nkeelson approval diff 12 --json\nkeelson approval diff 12 -o yaml", c.args(1, 1, "REQUEST"), func(cmd *cobra.Command, args []string) error {
		cl, err := c.dial()
		if err != nil {
			return err
		}
		var raw json.RawMessage
		if err := cl.Get(cmd.Context(), "/api/v1/approvals/"+escape(args[0])+"/changes", &raw); err != nil {
			return err
		}
		if c.machine() || c.output != "" {
			return c.show(raw, nil, "to.version")
		}
		var d struct {
			Sections []struct {
				Title string
				Rows  []json.RawMessage
			}
		}
		if err := json.Unmarshal(raw, &d); err != nil {
			return err
		}
		for _, s := range d.Sections {
			fmt.Fprintln(c.out, s.Title)
			if err := c.list(s.Rows, columns("label", "before", "after", "note"), "label"); err != nil {
				return err
			}
		}
		return nil
	})
	comment := verb("comment REQUEST TEXT", "Comment on a change request", "keelson approval comment 12 \"Please add the March figures.\"\nkeelson approval comment 12 thanks --json\nkeelson approval comment 12 done -q", c.args(2, 2, "REQUEST and TEXT"), func(cmd *cobra.Command, args []string) error {
		return c.act(cmd.Context(), http.MethodPost, "/api/v1/approvals/"+escape(args[0])+"/comments", map[string]string{"text": args[1]}, columns("id", "by", "at", "text"), "id")
	})
	var why string
	withdraw := verb("withdraw REQUEST", "Take back a change request of your own", "keelson approval withdraw 12 --reason \"wrong version\"\nkeelson approval withdraw 12 --reason x --json\nkeelson approval withdraw 12 --reason x -q", c.args(1, 1, "REQUEST"), func(cmd *cobra.Command, args []string) error {
		return c.act(cmd.Context(), http.MethodPost, "/api/v1/approvals/"+escape(args[0])+"/withdraw", map[string]string{"reason": why}, approvalColumns, "id")
	})
	withdraw.Flags().StringVar(&why, "reason", "", "why")
	return c.noun("approval", "Change requests, reviews and votes", []string{"approvals"},
		c.listCommand("approval", "List change requests", "/api/v1/approvals", approvalColumns, "id", "state=open, approved, refused, withdrawn, executed, expired or void", "model=only those of this model", "mine=true: those I opened or may vote on"),
		c.getCommand("approval", "Show a change request with votes and verdict", "REQUEST", "12", path, append(approvalColumns, columns("reason", "plan", "artifact_digest", "need", "votes", "verdict reasons=verdict.reasons", "may vote=you.may_vote", "why=you.why", "sealed")...), "id"),
		create, diff, vote("approve", "Grant a change request", true), vote("reject", "Refuse a change request", false), comment, withdraw)
}

func (c *cli) environmentCmd() *cobra.Command {
	return c.noun("environment", "Environments and the policy of each", []string{"environments"},
		c.listCommand("environment", "List environments", "/api/v1/environments", columns("name", "title", "policy", "auto_approve", "url_suffix"), "name"))
}

func (c *cli) policyCmd() *cobra.Command {
	set := verb("set NAME FILE", "Save a policy (YAML or JSON) as its next version", "keelson policy set prod policy.yaml\nkeelson policy get prod -o yaml > policy.yaml\nkeelson policy set dev - < dev.yaml", c.args(2, 2, "NAME and FILE"), func(cmd *cobra.Command, args []string) error {
		var body map[string]any
		if err := c.readYAML(args[1], &body); err != nil {
			return err
		}
		return c.act(cmd.Context(), http.MethodPut, "/api/v1/policies/"+escape(args[0]), body, columns("name", "version", "title", "created_by"), "name")
	})
	return c.noun("policy", "Rules that change requests must pass", []string{"policies"},
		c.listCommand("policy", "List policies", "/api/v1/policies", columns("name", "version", "title", "created_by", "created_at"), "name"),
		c.getCommand("policy", "Show a policy", "NAME", "prod", func(n string) (string, error) { return "/api/v1/policies/" + escape(n), nil }, nil, "name"), set)
}
