package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"keelson/client"
)

var (
	modelColumns   = columns("name", "kind", "latest=latest_version", "health=health.verdict", "owner", "use_case", "tier", "live", "missing")
	versionColumns = columns("model", "version", "state", "reason", "format", "engine", "size", "evaluation=evaluation.state", "golden rows=golden.rows", "golden error=golden.max_error", "artifact=artifact_digest",
		"content=content_digest", "flavors", "deployable", "undeployable", "aliases", "deployed", "run_id", "created_by", "authors", "created_at")
	versionList = columns("model", "version", "state", "format", "evaluation=evaluation.state", "aliases", "deployed", "created_by", "created_at")
)

// resolve turns name, name/3 or name@alias into a model and a version number; 0 when none was named.
func resolve(ctx context.Context, cl *client.Client, s string) (model string, version int, err error) {
	o, err := parseObject(s)
	if err != nil {
		return "", 0, err
	}
	if o.version != "" {
		_, err = fmt.Sscan(o.version, &version)
		return o.name, version, err
	}
	if o.alias == "" {
		return o.name, 0, nil
	}
	vs, err := client.All[client.Version](ctx, cl, "/api/v1/models/"+escape(o.name)+"/versions", nil, 0)
	if err != nil {
		return "", 0, err
	}
	for _, v := range vs {
		for _, a := range v.Aliases {
			if a == o.alias {
				return o.name, v.Version, nil
			}
		}
	}
	return "", 0, &failure{code: client.ExitNotFound, text: fmt.Sprintf("No version of %s has the alias %q.", o.name, o.alias), hint: "list them with: keelson version list " + o.name}
}

// oneVersion is resolve where a version is needed; a bare name means the newest one.
func oneVersion(ctx context.Context, cl *client.Client, s string) (string, int, error) {
	model, version, err := resolve(ctx, cl, s)
	if err == nil && version == 0 {
		var m client.Model
		if m, err = cl.Model(ctx, model); err == nil {
			version = m.LatestVersion
			if version == 0 {
				err = &failure{code: client.ExitNotFound, text: fmt.Sprintf("Model %s has no version.", model), hint: "make one: keelson model register " + model + " FILE"}
			}
		}
	}
	return model, version, err
}

// oneVersion dials the server and finds the version that an argument names.
func (c *cli) oneVersion(ctx context.Context, s string) (cl *client.Client, model string, version int, err error) {
	if cl, err = c.dial(); err != nil {
		return nil, "", 0, err
	}
	model, version, err = oneVersion(ctx, cl, s)
	return cl, model, version, err
}

func (c *cli) modelCmd() *cobra.Command {
	var meta client.NewVersion
	var wait bool
	register := verb("register NAME FILE|FOLDER", "Register a model file or folder as the next version of a model", "keelson model register churn model.ubj --wait\nkeelson model register referral examples/referral/model --kind rules --wait\nkeelson model register churn exported/ --description \"third quarter\"",
		c.args(2, 2, "NAME and FILE"), func(cmd *cobra.Command, args []string) error {
			cl, err := c.dial()
			if err != nil {
				return err
			}
			v, err := c.register(cmd.Context(), cl, args[0], args[1], meta, wait)
			if err != nil {
				return err
			}
			c.next("keelson deploy create %s/%d --to dev", v.Model, v.Version)
			return c.show(v, versionColumns, "version")
		})
	register.Flags().StringVar(&meta.Kind, "kind", "", "ml, statistical, rules, optimisation, graph or external (default: what the format is)")
	register.Flags().StringVar(&meta.Format, "format", "", "format, where the files do not tell")
	register.Flags().StringVar(&meta.Description, "description", "", "what is new")
	register.Flags().BoolVar(&wait, "wait", false, "wait until the golden rows have run")

	var set []string
	update := verb("set NAME", "Change fields of a model's record", "keelson model set churn --field owner=bo --field tier=2\nkeelson model set churn --field responsibilities.accountable=bo\nkeelson model set churn --field intended_use=\"monthly letters\"",
		c.args(1, 1, "NAME"), func(cmd *cobra.Command, args []string) error {
			body, err := fields(set)
			if err != nil {
				return err
			}
			return c.act(cmd.Context(), http.MethodPatch, "/api/v1/models/"+escape(args[0]), body, modelColumns, "name")
		})
	update.Flags().StringArrayVar(&set, "field", nil, "field as name=value, nested as a.b=value; may be repeated")

	timeline := verb("timeline NAME", "Show who changed what of a model, and when", "keelson model timeline screening\nkeelson model timeline screening --limit 0 --json\nkeelson model timeline screening -o csv", c.args(1, 1, "NAME"), func(cmd *cobra.Command, args []string) error {
		return c.printList(cmd.Context(), "/api/v1/models/"+escape(args[0])+"/timeline", nil, auditColumns, "id")
	})
	timeline.Flags().IntVar(&c.limit, "limit", 50, "how many at most, 0 for all")
	var since string
	callers := verb("callers NAME", "Show who called a model, with which version and when last", "keelson model callers screening\nkeelson model callers screening --since 7d\nkeelson model callers screening --json", c.args(1, 1, "NAME"), func(cmd *cobra.Command, args []string) error {
		cl, err := c.dial()
		if err != nil {
			return err
		}
		q := url.Values{}
		from, err := past("--since", since)
		if err != nil {
			return err
		}
		if from != "" {
			q.Set("since", from)
		}
		items, err := client.ListOf[json.RawMessage](cmd.Context(), cl, "/api/v1/models/"+escape(args[0])+"/callers", q)
		if err != nil {
			return err
		}
		return c.list(items, columns("caller", "application", "versions", "calls", "last_at"), "caller")
	})
	callers.Flags().StringVar(&since, "since", "", sinceHelp)
	var from, until, price string
	used := verb("usage NAME", "Sum up the calls and the computing that a model took, and what they cost at a price", "keelson model usage screening\nkeelson model usage screening --since 7d --price 0.12\nkeelson model usage screening --price 0.12 --jq .cost.per_thousand_calls", c.args(1, 1, "NAME"), func(cmd *cobra.Command, args []string) error {
		q := url.Values{}
		for name, value := range map[string]string{"since": from, "until": until} {
			at, err := past("--"+name, value)
			if err != nil {
				return err
			}
			if at != "" {
				q.Set(name, at)
			}
		}
		if price != "" {
			q.Set("price", price)
		}
		return c.printOne(cmd.Context(), "/api/v1/models/"+escape(args[0])+"/usage?"+q.Encode(), columns("model", "since", "until", "calls", "compute seconds=compute_seconds", "seconds per 1000 calls=seconds_per_thousand_calls", "work", "cost=cost.total", "cost per 1000 calls=cost.per_thousand_calls", "basis"), "model")
	})
	used.Flags().StringVar(&from, "since", "", sinceHelp+" (default: 30d)")
	used.Flags().StringVar(&until, "until", "", "before this day or time, or so long ago (default: now)")
	used.Flags().StringVar(&price, "price", "", "of an hour of computing, in any money")

	retire := verb("retire NAME/VERSION", "Ask for the retirement of a version", "keelson model retire screening/1 --reason \"replaced by version 2\"\nkeelson model retire screening/1 --reason old --environment prod\nkeelson model retire screening/1 --reason old --json",
		c.args(1, 1, "NAME/VERSION"), func(cmd *cobra.Command, args []string) error {
			reason, _ := cmd.Flags().GetString("reason") // it is declared below
			env, _ := cmd.Flags().GetString("environment")
			return c.propose(cmd.Context(), "retire", args[0], env, reason, nil, true)
		})
	retire.Flags().String("reason", "", "why")
	retire.Flags().String("environment", "prod", "environment whose policy decides")
	alias := verb("alias NAME/VERSION ALIAS", "Point an alias to a version", "keelson model alias churn/3 champion\nkeelson model alias churn/4 challenger\nkeelson model alias churn/4 champion --json", c.args(2, 2, "NAME/VERSION and ALIAS"), func(cmd *cobra.Command, args []string) error {
		_, model, version, err := c.oneVersion(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		return c.act(cmd.Context(), http.MethodPut, "/api/v1/models/"+escape(model)+"/aliases/"+escape(args[1]), map[string]any{"version": version}, nil, "version")
	})
	return c.noun("model", "Models of every kind", []string{"models"},
		c.listCommand("model", "List models", "/api/v1/models", modelColumns, "name", "filter=words that name, owner, area or tags hold"),
		c.getCommand("model", "Show a model", "NAME", "screening", func(n string) (string, error) { return "/api/v1/models/" + escape(n), nil },
			append(modelColumns, columns("description", "intended_use", "forbidden_use", "accountable=responsibilities.accountable", "health reasons=health.reasons", "last_used_at")...), "name"),
		register, update, alias, timeline, callers, used, retire, c.impact(), c.deleteModel())
}

// fields makes a nested object of a.b=value pairs; values that are JSON are taken as such.
func fields(set []string) (map[string]any, error) {
	if len(set) == 0 {
		return nil, usage("Nothing to change: give --field name=value.")
	}
	body := map[string]any{}
	for _, kv := range set {
		k, v, ok := strings.Cut(kv, "=")
		if !ok || k == "" {
			return nil, usage("--field %q is not like owner=bo.", kv)
		}
		var value any = v
		var parsed any
		if json.Unmarshal([]byte(v), &parsed) == nil {
			value = parsed
		}
		m := body
		parts := strings.Split(k, ".")
		for _, p := range parts[:len(parts)-1] {
			inner, ok := m[p].(map[string]any)
			if !ok {
				inner = map[string]any{}
				m[p] = inner
			}
			m = inner
		}
		m[parts[len(parts)-1]] = value
	}
	return body, nil
}

// register sends the files of a model and, if asked, waits until its golden rows have run.
func (c *cli) register(ctx context.Context, cl *client.Client, model, file string, meta client.NewVersion, wait bool) (client.Version, error) {
	files, err := artifacts(file)
	if err != nil {
		return client.Version{}, err
	}
	dir := file
	if st, err := os.Stat(file); err == nil && !st.IsDir() {
		dir = filepath.Dir(file)
	}
	if s := (project{dir: dir}).commit(ctx); s.Commit != "" {
		meta.Source = &s
	}
	bar := c.meter("upload "+model, total(file))
	for i, f := range files {
		files[i].Open = func() (io.ReadCloser, error) {
			r, err := f.Open()
			if err != nil {
				return nil, err
			}
			return struct {
				io.Reader
				io.Closer
			}{io.TeeReader(r, bar), r}, nil
		}
	}
	v, err := cl.Register(ctx, model, meta, files)
	bar.Close()
	if err != nil {
		return v, err
	}
	c.say("%s %s/%d registered, %s", c.sign("✓", "ok"), v.Model, v.Version, v.ArtifactDigest)
	if !wait {
		return v, nil
	}
	if v, err = cl.WaitVersion(ctx, v.Model, v.Version); err != nil {
		return v, err
	}
	if v.State == "ready" && !v.Deployable {
		return v, &failure{code: client.ExitCheck, text: v.Undeployable, hint: fmt.Sprintf("see: keelson version get %s/%d", v.Model, v.Version)}
	}
	if v.State != "ready" {
		return v, &failure{code: client.ExitCheck, text: fmt.Sprintf("%s/%d is %s: %s", v.Model, v.Version, v.State, v.Reason), hint: fmt.Sprintf("see: keelson version get %s/%d", v.Model, v.Version)}
	}
	c.say("%s %s/%d ready: %d golden rows%s", c.sign("✓", "ok"), v.Model, v.Version, v.Golden.Rows, goldenError(v.Golden))
	return v, nil
}

func goldenError(g client.Golden) string {
	if g.MaxError == nil {
		return ""
	}
	return fmt.Sprintf(", largest error %.3g (limit %.3g)", *g.MaxError, g.Limit)
}

func (c *cli) versionCmd() *cobra.Command {
	get := verb("get NAME[/VERSION|@ALIAS]", "Show a version", "keelson version get screening/1\nkeelson version get screening@champion --json\nkeelson version get screening -o yaml", c.args(1, 1, "NAME/VERSION"), func(cmd *cobra.Command, args []string) error {
		_, model, version, err := c.oneVersion(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		return c.printOne(cmd.Context(), fmt.Sprintf("/api/v1/models/%s/versions/%d", escape(model), version), versionColumns, "version")
	})
	get.ValidArgsFunction = c.complete("version", "name")
	var filter string
	list := verb("list NAME", "List the versions of a model", "keelson version list screening\nkeelson version list screening --filter \"version_number > 2\"\nkeelson version list screening -o name", c.args(1, 1, "NAME"), func(cmd *cobra.Command, args []string) error {
		q := url.Values{}
		if filter != "" {
			q.Set("filter", filter)
		}
		return c.printList(cmd.Context(), "/api/v1/models/"+escape(args[0])+"/versions", q, versionList, "version")
	})
	list.Flags().IntVar(&c.limit, "limit", 50, "how many at most, 0 for all")
	list.Flags().StringVar(&filter, "filter", "", "filter as in MLflow: tags.stage = 'final' AND version_number > 2")
	pull := verb("pull NAME/VERSION FOLDER", "Download the files of a version", "keelson version pull screening/1 model/\nkeelson version pull screening@champion model/\nkeelson version pull screening/1 model/ -q", c.args(2, 2, "NAME/VERSION and FOLDER"), func(cmd *cobra.Command, args []string) error {
		return c.pullVersion(cmd, args[0], args[1])
	})
	pull.Aliases = []string{"download"}
	evaluations := verb("evaluations NAME/VERSION", "List the evaluations of a version", "keelson version evaluations screening/1\nkeelson version evaluations screening/1 --json\nkeelson version evaluations screening@champion", c.args(1, 1, "NAME/VERSION"), func(cmd *cobra.Command, args []string) error {
		_, model, version, err := c.oneVersion(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		return c.printList(cmd.Context(), fmt.Sprintf("/api/v1/models/%s/versions/%d/evaluations", escape(model), version), nil, columns("id", "suite", "state", "metrics", "started_at", "ended_at", "by"), "id")
	})
	return c.noun("version", "Versions of models (the program's own: keelson --version)", []string{"versions"}, list, get, c.versionDiff(), pull, evaluations, c.evaluate(), c.versionFairness(), c.versionConvert(), c.deleteVersion())
}

func (c *cli) pullVersion(cmd *cobra.Command, object, to string) error {
	cl, model, version, err := c.oneVersion(cmd.Context(), object)
	if err != nil {
		return err
	}
	v, err := cl.Version(cmd.Context(), model, version)
	if err != nil {
		return err
	}
	bar := c.meter(fmt.Sprintf("download %s/%d", model, version), v.Size)
	defer bar.Close()
	for _, f := range v.Files {
		if !filepath.IsLocal(filepath.FromSlash(f.Path)) {
			return fmt.Errorf("file %q of %s/%d leaves the folder", f.Path, model, version)
		}
		name := filepath.Join(to, filepath.FromSlash(f.Path))
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			return err
		}
		p := fmt.Sprintf("/api/v1/models/%s/versions/%d/files/%s", escape(model), version, (&url.URL{Path: f.Path}).EscapedPath())
		if err := c.fetch(cmd.Context(), cl, p, name, f.Digest, bar); err != nil {
			return err
		}
	}
	bar.Close()
	c.say("%s %d files, %s in %s", c.sign("✓", "ok"), len(v.Files), size(v.Size), to)
	return nil
}

// evaluate makes "version evaluate": a suite of the project file, run now on a version.
func (c *cli) evaluate() *cobra.Command {
	var file, suite string
	cmd := verb("evaluate NAME/VERSION", "Run a suite of the project on a version and wait for its verdict", "keelson version evaluate screening/1\nkeelson version evaluate referral/1 -f examples/referral/keelson.yaml\nkeelson version evaluate screening/2 --suite acceptance --json", c.args(1, 1, "NAME/VERSION"), func(cmd *cobra.Command, args []string) error {
		p, err := neededProject(file)
		if err != nil {
			return err
		}
		if suite == "" && len(p.def.Evaluate) == 1 {
			for n := range p.def.Evaluate {
				suite = n
			}
		}
		s, ok := p.def.Evaluate[suite]
		if !ok {
			return usage("The project has no suite %q; name one of those under evaluate with --suite.", suite)
		}
		s.Name = suite
		cl, model, version, err := c.oneVersion(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		e, err := evaluate(cmd.Context(), cl, model, version, s, s.Data)
		if err != nil {
			return err
		}
		if c.machine() || c.output != "" {
			err = c.show(e, nil, "id")
		} else {
			for _, t := range e.Tests {
				fmt.Fprintf(c.out, "%s %-30s %-8s %s\n", c.ended(t), t.Name, t.State, t.Detail)
				if t.Fairness != nil {
					if err := groups(c.out, t.Fairness); err != nil {
						return err
					}
				}
			}
			fmt.Fprintf(c.out, "%s/%d %s\n", model, version, e.State)
		}
		if err == nil && e.State != "passed" {
			err = answered(client.ExitCheck)
		}
		return err
	})
	cmd.Flags().StringVarP(&file, "file", "f", "", "project file (default: keelson.yaml here or above)")
	cmd.Flags().StringVar(&suite, "suite", "", "suite (default: the only one)")
	return cmd
}

// evaluate runs a suite on the newest version of a data set and waits for its end.
func evaluate(ctx context.Context, cl *client.Client, model string, version int, suite any, dataset string) (client.Evaluation, error) {
	started, err := cl.Evaluate(ctx, model, version, suite, dataset, 0)
	if err != nil {
		return started, err
	}
	return client.Wait(ctx, func(ctx context.Context) (client.Evaluation, bool, error) {
		es, err := cl.Evaluations(ctx, model, version)
		for _, e := range es {
			if e.ID == started.ID {
				return e, e.State != "running", err
			}
		}
		return started, false, err
	})
}
