package main

import (
	"bytes"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"
)

// roomy is the least width of a column of words; where less is left beside a name, the words go below it.
const roomy = 24

// beside is a line of two columns: what comes before its words.
var beside = regexp.MustCompile(`^ *\S+(?: \S+)* {2,}`)

// wrap breaks lines between words so that none is wider than a terminal; 0 is as wide as they are. What stands beside a
// name goes on in its own column, anything else as far from the edge as it began. A word that is too long stays whole, for
// it may be an address.
func wrap(text string, width int) string {
	if width <= 0 {
		return text
	}
	lines := strings.SplitAfter(text, "\n")
	var b strings.Builder
	for _, line := range lines {
		body := strings.TrimSuffix(line, "\n")
		if utf8.RuneCountInString(body) <= width {
			b.WriteString(line)
			continue
		}
		head := beside.FindString(body)
		hang := utf8.RuneCountInString(head)
		if hang > width { // two blanks within a sentence
			head = ""
		}
		switch {
		case head == "":
			hang = len(body) - len(strings.TrimLeft(body, " "))
			head = body[:hang]
		case hang > width-roomy:
			b.WriteString(strings.TrimRight(head, " ") + "\n")
			hang = min(8, width/4)
			body = strings.Repeat(" ", hang) + body[len(head):]
			head = body[:hang]
		}
		b.WriteString(head)
		folded(&b, strings.Fields(body[len(head):]), width-hang, "\n"+strings.Repeat(" ", hang))
		b.WriteString(line[len(strings.TrimSuffix(line, "\n")):])
	}
	return b.String()
}

// folded writes words in lines of a width, with what joins two lines.
func folded(b *strings.Builder, words []string, width int, join string) {
	at := 0
	for i, w := range words {
		n := utf8.RuneCountInString(w)
		switch {
		case i == 0:
		case at+1+n > width:
			b.WriteString(join)
			at = 0
		default:
			b.WriteByte(' ')
			at++
		}
		b.WriteString(w)
		at += n
	}
}

// continued breaks the lines of commands, as a shell takes them: a backslash at the end of all but the last.
func continued(text string, width int) string {
	if width <= 0 {
		return text
	}
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		if utf8.RuneCountInString(line) <= width || beside.MatchString(line) {
			continue
		}
		var b strings.Builder
		b.WriteString("  ")
		folded(&b, quoted(line), width-len(`      \ `), " \\\n      ")
		lines[i] = b.String()
	}
	return strings.Join(lines, "\n")
}

// quoted parts a command at its blanks, but not within quotes, nor between a flag and its value.
func quoted(line string) (words []string) {
	var b strings.Builder
	within := rune(0)
	for _, r := range strings.TrimSpace(line) + " " {
		switch {
		case r == ' ' && within == 0:
			if w := b.String(); w != "" && w[0] != '-' && len(words) > 0 && words[len(words)-1][0] == '-' && !strings.Contains(words[len(words)-1], " ") {
				words[len(words)-1] += " " + w
			} else if w != "" {
				words = append(words, w)
			}
			b.Reset()
			continue
		case r == within:
			within = 0
		case within == 0 && (r == '\'' || r == '"'):
			within = r
		}
		b.WriteRune(r)
	}
	if w := strings.TrimSpace(b.String()); w != "" { // a quote that nobody closes
		words = append(words, w)
	}
	return words
}

// fitHelp makes the help of all commands as wide as the terminal.
func (c *cli) fitHelp(root *cobra.Command) {
	if c.width == 0 {
		return
	}
	help := root.HelpFunc()
	root.SetHelpFunc(func(cmd *cobra.Command, args []string) {
		was := cmd.Example
		cmd.Example = continued(was, c.width)
		var b bytes.Buffer
		root.SetOut(&b)
		help(cmd, args)
		root.SetOut(c.out)
		cmd.Example = was
		c.print(b.String())
	})
}
