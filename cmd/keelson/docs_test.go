package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

// Every command line that a page prints is held against the command tree, without being run: the verbs and flags exist, the
// values have the right type and the number of arguments is one that the command takes.
func TestEveryCommandOfTheDocumentsParses(t *testing.T) {
	root := filepath.Join("..", "..")
	pages := []string{"README.md", "CONTRIBUTING.md"}
	for _, folder := range []string{"docs", "examples"} {
		err := filepath.WalkDir(filepath.Join(root, folder), func(path string, d fs.DirEntry, err error) error {
			if err == nil && strings.HasSuffix(path, ".md") && filepath.Base(path) != "cli.md" { // cli.md is written from the tree
				path, err = filepath.Rel(root, path)
				pages = append(pages, path)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	checked := 0
	for _, page := range pages {
		text, err := os.ReadFile(filepath.Join(root, page))
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range printed(string(text)) {
			for _, words := range commands(p.text) {
				checked++
				if err := parses(words, p.whole); err != nil {
					t.Errorf("%s:%d: %s: %v", page, p.line, p.text, err)
				}
			}
		}
	}
	if checked < 150 {
		t.Errorf("only %d command lines were found in %d pages; the test no longer sees them", checked, len(pages))
	}
}

func TestEveryExampleOfTheHelpParses(t *testing.T) {
	for _, cmd := range leaves(t) {
		for _, line := range strings.Split(cmd.Example, "\n") {
			found := commands(line)
			if len(found) == 0 && line != "" {
				t.Errorf("%s: the example %q has no command", cmd.CommandPath(), line)
			}
			for _, words := range found {
				if err := parses(words, true); err != nil {
					t.Errorf("%s: %s: %v", cmd.CommandPath(), line, err)
				}
			}
		}
	}
}

func TestWhatDoesNotParseIsFoundInAPage(t *testing.T) {
	for _, c := range []struct{ name, page, want string }{
		{"a verb that does not exist", "```\nkeelson model crate x\n```", "no command"},
		{"a flag that does not exist", "    keelson model list --colour red\n", "unknown flag"},
		{"a flag's value of another type", "```\na | keelson model list --limit many\n```", "invalid argument"},
		{"too few arguments in a block", "```\ndana$ keelson hold set version --reason x # why\n```", "needs"},
		{"a line that goes on", "```\nkeelson serve --listen 0.0.0.0:1 \\\n  --no-such 3\n```", "unknown flag"},
		{"a verb in a sentence", "Say `keelson model crate` first.", "no command"},
		{"a verb in a sentence without its arguments is well", "Say `keelson model delete` first.", ""},
		{"a flag in a sentence without its value is well", "Say `keelson run list --filter` first.", ""},
		{"a redirection and a pipe are no arguments", "```\nkeelson audit verify > a 2>&1 | tail -n 3\n```", ""},
	} {
		var got error
		for _, p := range printed(c.page) {
			for _, words := range commands(p.text) {
				if err := parses(words, p.whole); err != nil {
					got = err
				}
			}
		}
		if (got == nil) != (c.want == "") || got != nil && !strings.Contains(got.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, got, c.want)
		}
	}
}

// print is one line of code of a page. whole lines are meant to be typed as they stand; the others are words in a sentence,
// which may leave arguments out.
type print struct {
	line  int
	text  string
	whole bool
}

var inline = regexp.MustCompile("`(keelson [^`]+)`")

// printed finds the code of a page of Markdown: fenced and indented blocks, and words between backticks.
func printed(page string) (all []print) {
	fenced, open := false, false
	for i, line := range strings.Split(page, "\n") {
		if strings.HasPrefix(strings.TrimSpace(line), "```") {
			fenced, open = !fenced, false
			continue
		}
		if !fenced && !strings.HasPrefix(line, "    ") {
			for _, m := range inline.FindAllStringSubmatch(line, -1) {
				all = append(all, print{i + 1, m[1], false})
			}
			continue
		}
		line, more := strings.CutSuffix(line, "\\")
		if open {
			all[len(all)-1].text += line
		} else {
			all = append(all, print{i + 1, strings.TrimSpace(line), true})
		}
		open = more
	}
	return all
}

// commands splits a line as a shell would and gives the arguments of each keelson in it: the words up to the next pipe,
// redirection, semicolon or comment.
func commands(line string) (all [][]string) {
	inside := false
	for _, w := range shellWords(line) {
		switch {
		case w.bare && strings.HasPrefix(w.text, "#"):
			return all
		case w.bare && (strings.ContainsAny(w.text[:1], "|;>&<") || strings.HasPrefix(w.text, "2>")):
			inside = false
		case inside:
			all[len(all)-1] = append(all[len(all)-1], w.text)
		case w.bare && (w.text == "keelson" || w.text == "bin/keelson"):
			all, inside = append(all, nil), true
		}
	}
	return all
}

type word struct {
	text string
	bare bool // no part of it was quoted
}

func shellWords(line string) (all []word) {
	var b strings.Builder
	quote, bare, some := rune(0), true, false
	end := func() {
		if some {
			all = append(all, word{b.String(), bare})
		}
		b.Reset()
		bare, some = true, false
	}
	for _, r := range line {
		switch {
		case quote != 0 && r == quote:
			quote = 0
		case quote == 0 && (r == '\'' || r == '"'):
			quote, bare, some = r, false, true
		case quote == 0 && (r == ' ' || r == '\t'):
			end()
		default:
			b.WriteRune(r)
			some = true
		}
	}
	end()
	return all
}

// parses says whether the command tree takes these words. Without whole, arguments and required flags may be missing, as where a
// sentence names a command.
func parses(words []string, whole bool) error {
	var args []string
	for _, w := range words {
		if w == "…" {
			whole = false
			continue
		}
		args = append(args, strings.Trim(w, "[]"))
	}
	root := newCLI(strings.NewReader(""), io.Discard, io.Discard, func(string) string { return "" }).root()
	cmd, rest, err := root.Find(args)
	if err != nil {
		return err
	}
	err = cmd.ParseFlags(rest)
	var short *pflag.ValueRequiredError
	if errors.Is(err, pflag.ErrHelp) || !whole && errors.As(err, &short) {
		return nil
	}
	if err != nil {
		return err
	}
	rest = cmd.Flags().Args()
	if cmd.HasSubCommands() {
		if len(rest) > 0 {
			return unknown(cmd, rest[0])
		}
		return nil
	}
	if !whole && len(rest) == 0 {
		return nil
	}
	if err := cmd.ValidateArgs(rest); err != nil {
		return err
	}
	if whole {
		if err := cmd.ValidateRequiredFlags(); err != nil {
			return fmt.Errorf("it needs more: %w", err)
		}
	}
	return nil
}
