package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"keelson/client"
	"keelson/internal/app"
	"keelson/internal/problem"
)

const docsAddress = "docs/reference/cli.md"

// root builds the whole command tree; it needs no server and no file.
func (c *cli) root() *cobra.Command {
	root := &cobra.Command{
		Use:           "keelson",
		Short:         "Carry a model from its data to the audit of what it decided",
		Version:       app.Version,
		SilenceErrors: true, SilenceUsage: true,
		Example: "  keelson demo                                     the whole story on this machine\n" +
			"  keelson serve                                    start a server\n" +
			"  keelson deploy create model.ubj --name churn --to dev",
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return unknown(cmd, args[0])
			}
			return c.welcome()
		},
		PersistentPreRunE: func(cmd *cobra.Command, args []string) error { return c.checkOutput() },
	}
	root.SetIn(c.in)
	root.SetOut(c.out)
	root.SetErr(c.errs)
	root.SetVersionTemplate("keelson {{.Version}}\n")
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return flagError(cmd, err) })
	root.SuggestionsMinimumDistance = 2
	f := root.PersistentFlags()
	f.StringVar(&c.server, "server", "", "address of the server")
	f.StringVar(&c.profile, "profile", "", "saved server to use")
	f.StringVarP(&c.workspace, "workspace", "w", "", "workspace")
	f.StringVarP(&c.output, "output", "o", "", "table, wide, json, yaml, csv or name")
	f.StringVar(&c.json, "json", "", "JSON, all fields or a list of them: --json=name,owner")
	f.Lookup("json").NoOptDefVal = "*"
	f.StringVar(&c.jq, "jq", "", "filter the JSON answer")
	f.StringVar(&c.template, "template", "", "format the JSON answer with a Go template")
	f.BoolVarP(&c.quiet, "quiet", "q", false, "no progress and no hints")
	f.BoolVarP(&c.verbose, "verbose", "v", false, "say more")
	f.BoolVar(&c.noColor, "no-color", false, "no colour")
	f.BoolVar(&c.noInput, "no-input", false, "never ask")
	f.BoolVarP(&c.yes, "yes", "y", false, "answer yes to questions")
	f.DurationVar(&c.timeout, "timeout", time.Minute, "of one call to the server")
	root.SetUsageTemplate(usageTemplate)
	c.fitHelp(root)
	root.AddCommand(
		c.serveCmd(), c.demoCmd(), c.loginCmd(), c.logoutCmd(), c.statusCmd(), c.doctorCmd(), c.predictCmd(),
		c.dataCmd(), c.runCmd(), c.experimentCmd(), c.traceCmd(), c.pipelineCmd(), c.modelCmd(), c.versionCmd(), c.deployCmd(), c.environmentCmd(),
		c.approvalCmd(), c.policyCmd(), c.usecaseCmd(), c.predictionCmd(), c.explainCmd(), c.outcomeCmd(), c.feedbackCmd(), c.monitorCmd(), c.alertCmd(), c.incidentCmd(), c.webhookCmd(),
		c.auditCmd(), c.importCmd(), c.workspaceCmd(), c.userCmd(), c.roleCmd(), c.tokenCmd(), c.runtimeCmd(), c.binCmd(), c.purgeCmd(), c.holdCmd(), c.retentionCmd(), c.exitCodesTopic(), c.generateCmd(),
	)
	root.CompletionOptions.HiddenDefaultCmd = false
	root.InitDefaultCompletionCmd()
	root.InitDefaultHelpCmd()
	for _, cmd := range root.Commands() {
		c.dress(cmd)
	}
	return root
}

// dress gives cobra's own commands examples like ours.
func (c *cli) dress(cmd *cobra.Command) {
	switch cmd.Name() {
	case "help":
		cmd.Example = "  keelson help\n  keelson help model\n  keelson help exit-codes"
	case "completion":
		cmd.Example = "  keelson completion bash > /etc/bash_completion.d/keelson\n  keelson completion zsh > ~/.zfunc/_keelson\n  keelson completion fish | source"
		for _, sub := range cmd.Commands() {
			sub.Example = "  keelson completion " + sub.Name()
		}
	}
}

const usageTemplate = `Usage:
  {{if .HasAvailableSubCommands}}{{.CommandPath}} VERB [flags]{{else}}{{.UseLine}}{{end}}
{{- if .Aliases}}

Also: {{.NameAndAliases}}{{end}}
{{- if .HasExample}}

Examples:
{{.Example}}{{end}}
{{- if .HasAvailableSubCommands}}

Commands:{{range .Commands}}{{if (or .IsAvailableCommand (eq .Name "help"))}}
  {{rpad .Name .NamePadding}} {{.Short}}{{end}}{{end}}{{end}}
{{- if .HasAvailableLocalFlags}}

Flags:
{{.LocalFlags.FlagUsages | trimTrailingWhitespaces}}{{end}}
{{- if .HasAvailableInheritedFlags}}

Common flags:
{{.InheritedFlags.FlagUsages | trimTrailingWhitespaces}}{{end}}

More: ` + docsAddress + `
`

// noun makes a command that only holds verbs.
func (c *cli) noun(name, short string, aliases []string, verbs ...*cobra.Command) *cobra.Command {
	var examples []string
	for _, v := range verbs {
		if first, _, _ := strings.Cut(v.Example, "\n"); len(examples) < 3 {
			examples = append(examples, first)
		}
	}
	cmd := &cobra.Command{Use: name, Short: short, Aliases: aliases, Example: strings.Join(examples, "\n"), Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return unknown(cmd, args[0])
			}
			return cmd.Help()
		}}
	cmd.AddCommand(verbs...)
	return cmd
}

// verb makes a command. use is "get NAME"; examples are one per line.
func verb(use, short, examples string, args cobra.PositionalArgs, do func(cmd *cobra.Command, args []string) error) *cobra.Command {
	lines := strings.Split(strings.TrimSpace(examples), "\n")
	for i := range lines {
		lines[i] = "  " + strings.TrimSpace(lines[i])
	}
	cmd := &cobra.Command{Use: use, Short: short, Example: strings.Join(lines, "\n"), Args: args, RunE: do}
	switch cmd.Name() {
	case "list":
		cmd.Aliases = []string{"ls"}
	case "get":
		cmd.Aliases = []string{"show"}
	case "delete":
		cmd.Aliases = []string{"rm"}
	}
	return cmd
}

// unknown is the error for a command that does not exist, with the nearest one that does.
func unknown(cmd *cobra.Command, word string) error {
	cmd.SuggestionsMinimumDistance = 2
	f := &failure{code: client.ExitUsage, text: fmt.Sprintf("There is no command %q under %s.", word, cmd.CommandPath()), hint: "see: " + cmd.CommandPath() + " --help"}
	if near := cmd.SuggestionsFor(word); len(near) > 0 {
		f.hint = "did you mean: " + cmd.CommandPath() + " " + near[0]
	}
	return f
}

// flagError is the error for a wrong flag, with the nearest one that exists.
func flagError(cmd *cobra.Command, err error) error {
	f := &failure{code: client.ExitUsage, text: strings.ToUpper(err.Error()[:1]) + err.Error()[1:] + ".", hint: "see: " + cmd.CommandPath() + " --help"}
	word, ok := strings.CutPrefix(err.Error(), "unknown flag: --")
	if !ok {
		return f
	}
	best, nearest := 3, ""
	for _, set := range []func() []string{func() []string { return flagNames(cmd, false) }, func() []string { return flagNames(cmd, true) }} {
		for _, name := range set() {
			if d := problem.Distance(word, name); d < best {
				best, nearest = d, name
			}
		}
	}
	if nearest != "" {
		f.hint = "did you mean: --" + nearest
	}
	return f
}

// listCommand makes "NOUN list" for a plain list at path.
func (c *cli) listCommand(noun, short, path string, cols []column, key string, filters ...string) *cobra.Command {
	plain := strings.ReplaceAll(noun, "keelson ", "")
	example := fmt.Sprintf("keelson %s list\nkeelson %s list --json\nkeelson %s list -o name --limit 0", plain, plain, plain)
	values := map[string]*string{}
	cmd := verb("list", short, example, c.args(0, 0, ""), func(cmd *cobra.Command, _ []string) error {
		q := url.Values{}
		for name, v := range values {
			if *v == "" {
				continue
			}
			value := *v
			if name == "since" || name == "until" {
				var err error
				if value, err = past("--"+name, value); err != nil {
					return err
				}
			}
			q.Set(strings.ReplaceAll(name, "-", "_"), value)
		}
		return c.printList(cmd.Context(), path, q, cols, key)
	})
	for _, f := range filters {
		name, text, _ := strings.Cut(f, "=")
		values[name] = cmd.Flags().String(name, "", text)
	}
	cmd.Flags().IntVar(&c.limit, "limit", 50, "how many at most, 0 for all")
	return cmd
}

// printList reads a list and prints it.
func (c *cli) printList(ctx context.Context, path string, q url.Values, cols []column, key string) error {
	cl, err := c.dial()
	if err != nil {
		return err
	}
	items, err := client.All[json.RawMessage](ctx, cl, path, q, c.limit)
	if err != nil {
		return err
	}
	if err := c.list(items, cols, key); err != nil {
		return err
	}
	c.showing(len(items))
	return nil
}

// getCommand makes "NOUN get NAME" for one thing at pathOf(arguments).
func (c *cli) getCommand(noun, short, arg, example string, pathOf func(string) (string, error), cols []column, key string) *cobra.Command {
	text := fmt.Sprintf("keelson %s get %s\nkeelson %s get %s --json\nkeelson %s get %s -o yaml", noun, example, noun, example, noun, example)
	cmd := verb("get "+arg, short, text, c.args(1, 1, arg), func(cmd *cobra.Command, args []string) error {
		p, err := pathOf(args[0])
		if err != nil {
			return err
		}
		return c.printOne(cmd.Context(), p, cols, key)
	})
	cmd.ValidArgsFunction = c.complete(noun, key)
	return cmd
}

// printOne reads one thing and prints it.
func (c *cli) printOne(ctx context.Context, path string, cols []column, key string) error {
	cl, err := c.dial()
	if err != nil {
		return err
	}
	var v json.RawMessage
	if err := cl.Get(ctx, path, &v); err != nil {
		return err
	}
	return c.show(v, cols, key)
}

// act sends a change and prints the answer.
func (c *cli) act(ctx context.Context, method, path string, in any, cols []column, key string) error {
	cl, err := c.dial()
	if err != nil {
		return err
	}
	var v json.RawMessage
	if in == nil {
		in = struct{}{}
	}
	if err := cl.Call(ctx, method, path, in, &v); err != nil {
		return err
	}
	return c.show(v, cols, key)
}

// remove asks, deletes what is at path and says so: done is what happened to it, deleted or revoked.
func (c *cli) remove(ctx context.Context, question, path, id, done string) error {
	if err := c.confirm(question); err != nil {
		return err
	}
	cl, err := c.dial()
	if err != nil {
		return err
	}
	if err := cl.Call(ctx, http.MethodDelete, path, nil, nil); err != nil {
		return err
	}
	return c.show(map[string]any{"id": id, done: true}, columns("id", done), "id")
}

// completions says where the names of a noun are listed.
var completions = map[string]string{
	"data": "/api/v1/datasets", "model": "/api/v1/models", "version": "/api/v1/models", "pipeline": "/api/v1/pipelines", "deploy": "/api/v1/deployments",
	"usecase": "/api/v1/usecases", "policy": "/api/v1/policies", "approval": "/api/v1/approvals", "user": "/api/v1/users",
}

// complete asks the server for names, for at most half a second.
func (c *cli) complete(noun, key string) func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		path, ok := completions[noun]
		if !ok || len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), 500*time.Millisecond)
		defer cancel()
		cl, err := c.dial()
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		items, err := client.All[map[string]any](ctx, cl, path, nil, 200)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		var names []string
		for _, it := range items {
			names = append(names, cell(at(it, key)))
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	}
}

// welcome is what keelson alone says: twelve lines.
func (c *cli) welcome() error {
	a, err := c.where()
	if err != nil {
		return err
	}
	c.print(fmt.Sprintf(`keelson %s carries a model, of any kind, from its data to the audit of what it decided.

  keelson demo                              the whole story on this machine, with real data
  keelson serve                             start a server here
  keelson login --server URL                sign in to a server
  keelson deploy create FILE --name N --to dev    from a model file to an answering address
  keelson doctor                            is everything as it should be?

  server    %s
  help      keelson help, keelson NOUN --help, keelson help exit-codes
`, app.Version, a.Server))
	return nil
}

func (c *cli) exitCodesTopic() *cobra.Command {
	cmd := &cobra.Command{Use: "exit-codes", Short: "What the exit codes mean", Example: "  keelson help exit-codes", Long: `Exit codes

  0    done (a list with no rows is 0)
  1    failed on the server or while working
  2    wrong use: unknown command, bad flag, bad value
  3    not found
  4    not signed in or no right
  5    a check said no: data check and data add, audit verify, doctor, monitor status, a policy that refused, a failed run
  6    conflict, or an approval is needed (the request's address is printed)
  7    cannot reach the server, or timeout (safe to try again)
  130  interrupted; what was started and how to go on is printed`, RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() }, Args: c.args(0, 0, "")}
	cmd.SetUsageTemplate("Examples:\n{{.Example}}\n") // a topic, not something to run
	return cmd
}

// flagNames lists the flags of a command, its own or the inherited ones.
func flagNames(cmd *cobra.Command, inherited bool) (names []string) {
	set := cmd.LocalFlags()
	if inherited {
		set = cmd.InheritedFlags()
	}
	set.VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
	return names
}
