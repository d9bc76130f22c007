package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// generateCmd writes the reference page of the command line; make generate calls it.
func (c *cli) generateCmd() *cobra.Command {
	return &cobra.Command{Use: "internal-generate FOLDER", Hidden: true, Short: "Write the reference page of the command line", Example: "  keelson internal-generate docs/reference", Args: c.args(1, 1, "FOLDER"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return os.WriteFile(filepath.Join(args[0], "cli.md"), []byte(c.reference(cmd.Root())), 0o644)
		}}
}

// reference is the whole command tree as Markdown.
func (c *cli) reference(root *cobra.Command) string {
	var b strings.Builder
	b.WriteString("# Command line\n\n<!-- Generated from the code by `make generate`; do not edit. -->\n\nEvery command takes the common flags at the end of this page. Exit codes: `keelson help exit-codes`.\n")
	walk(root, func(cmd *cobra.Command) {
		if cmd == root || !cmd.IsAvailableCommand() || cmd.HasSubCommands() || strings.HasPrefix(cmd.CommandPath(), "keelson completion") || cmd.Name() == "help" {
			return
		}
		fmt.Fprintf(&b, "\n## %s\n\n%s.\n\n```\n%s\n\n", cmd.CommandPath(), strings.TrimSuffix(cmd.Short, "."), strings.TrimSpace(cmd.UseLine()))
		for _, line := range strings.Split(cmd.Example, "\n") {
			b.WriteString(strings.TrimSpace(line) + "\n")
		}
		if flags := strings.TrimRight(cmd.LocalFlags().FlagUsages(), "\n"); flags != "" {
			b.WriteString("\n" + flags + "\n")
		}
		b.WriteString("```\n")
	})
	b.WriteString("\n## Common flags\n\n```\n" + root.PersistentFlags().FlagUsages() + "```\n")
	return b.String()
}

// walk calls fn for cmd and everything below it, by name.
func walk(cmd *cobra.Command, fn func(*cobra.Command)) {
	fn(cmd)
	subs := slices.Clone(cmd.Commands())
	slices.SortFunc(subs, func(a, b *cobra.Command) int { return strings.Compare(a.Name(), b.Name()) })
	for _, s := range subs {
		walk(s, fn)
	}
}
