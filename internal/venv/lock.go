package venv

import (
	"bytes"
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"

	"keelson/internal/problem"
)

// requirement is one package by its name, as parsed; pip is only ever told what String and the hashes say.
type requirement struct {
	name   string   // as written
	extras string   // "[x,y]", or nothing
	spec   string   // "==1.0" or ">=1.5,<2" without blanks, or nothing
	marker string   // behind the semicolon, or nothing
	hashes []string // "sha256:00ff…"
}

// String is the requirement without its hashes.
func (r requirement) String() string {
	s := r.name + r.extras + r.spec
	if r.marker != "" {
		s += " ; " + r.marker
	}
	return s
}

const (
	mostLock         = 512 << 10 // bytes of what is told to pip, which has to fit on a command line
	mostRequirements = 4000
)

// Parts of a requirement. Nothing in them can begin an option, an address, a path, or be a variable.
const (
	word    = `[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?`
	version = `(?:[<>=!~]=|===|[<>])\s*[A-Za-z0-9][A-Za-z0-9.*+!_-]*`
	inside  = `(?:'[A-Za-z0-9 ._+*!]*'|"[A-Za-z0-9 ._+*!]*"|[a-z_]+|[<>=!~]=|===|[<>()])` // of a marker
)

var (
	whole = regexp.MustCompile(`^(` + word + `)\s*(\[\s*(?:` + word + `\s*(?:,\s*` + word + `\s*)*)?\])?\s*` +
		`(\(\s*` + version + `(?:\s*,\s*` + version + `)*\s*\)|` + version + `(?:\s*,\s*` + version + `)*,?)?\s*` +
		`(?:;\s*(` + inside + `(?:\s*` + inside + `)*))?((?:\s+--hash[= ](?:sha256|sha384|sha512):[0-9a-f]{2,128})*)$`)
	blanks  = regexp.MustCompile(`\s+`)
	archive = regexp.MustCompile(`(?i)\.(zip|whl|egg|tar|tgz|gz|bz2|tbz|tbz2|xz|txz|lz|tlz|lzma|zst)$`)
)

// parse reads a lock file. It fails with problem.Unsupported on whatever is not a package by its name.
func parse(lock []byte) ([]requirement, error) {
	var out []requirement
	text := strings.ReplaceAll(strings.TrimPrefix(string(lock), "\ufeff"), "\r\n", "\n")
	begun, told := "", 0
	take := func(line string) error {
		if i := strings.Index(" "+line, " #"); i >= 0 {
			line = line[:max(i-1, 0)]
		}
		if line = strings.TrimSpace(line); line == "" {
			return nil
		}
		m := whole.FindStringSubmatch(line)
		if m == nil || archive.MatchString(strings.TrimRight(m[1]+m[2]+m[3], " ,)")) {
			return refused(line, "is not a package by its name; only names with versions, such as numpy==2.1.0, are installed for models")
		}
		r := requirement{name: m[1], extras: blanks.ReplaceAllString(m[2], ""), spec: strings.Trim(blanks.ReplaceAllString(m[3], ""), "(),"), marker: blanks.ReplaceAllString(m[4], " ")}
		for _, f := range strings.Fields(strings.ReplaceAll(m[5], "--hash", " ")) {
			r.hashes = append(r.hashes, strings.TrimPrefix(f, "="))
		}
		if told += len(r.String()) + 1; told > mostLock || len(out) == mostRequirements {
			return problem.New(problem.TooLarge, "The requirements are too many; %d with %d bytes together are possible.", mostRequirements, mostLock).At("requirements.txt")
		}
		out = append(out, r)
		return nil
	}
	for line := range strings.SplitSeq(text, "\n") {
		line = strings.ReplaceAll(line, "\t", " ")
		if err := strange(line); err != nil {
			return nil, err
		}
		if more, ok := strings.CutSuffix(line, `\`); ok && !strings.HasPrefix(strings.TrimSpace(line), "#") {
			begun += more + " "
			continue
		}
		if err := take(begun + line); err != nil {
			return nil, err
		}
		begun = ""
	}
	return out, take(begun)
}

// strange refuses what pip and we may read differently: ends of lines of other kinds, variables, letters beyond ASCII. In a
// comment only the ends of lines matter.
func strange(line string) error {
	comment := false
	for i, r := range line {
		switch {
		case r == '#' && (i == 0 || line[i-1] == ' '):
			comment = true
		case r >= ' ' && r < 0x7f && r != '$' || comment && r >= 0xa0 && r != '\u2028' && r != '\u2029' || comment && r == '$':
		case r == utf8.RuneError && comment:
		default:
			return refused(line, fmt.Sprintf("holds the character %U, which may mean something else to pip; write it in plain ASCII, one package to a line", r))
		}
	}
	return nil
}

func refused(line, why string) error {
	if len(line) > 100 {
		line = strings.ToValidUTF8(line[:100], "") + "…"
	}
	return problem.New(problem.Unsupported, "The requirement %q %s.", line, why).At("requirements.txt")
}

// Named gives a lock in a form of its own, without comments and blank lines, a package to a line, or fails with
// problem.Unsupported on a line that is not a package's name with versions: an address, a path or an option of pip would
// let whoever wrote the lock choose what is fetched from where, and what of this machine is read or run. A lock of nothing
// is nil.
func Named(lock []byte) ([]byte, error) {
	list, err := parse(lock)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	for _, r := range list {
		out.WriteString(r.String())
		for _, h := range r.hashes {
			out.WriteString(" --hash=" + h)
		}
		out.WriteByte('\n')
	}
	return out.Bytes(), nil
}
