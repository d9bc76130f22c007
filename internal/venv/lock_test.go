package venv_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"keelson/internal/problem"
	"keelson/internal/venv"
)

func TestOnlyPackagesByNameAreTakenFromOthers(t *testing.T) {
	got, err := venv.Named([]byte("\ufeff# made by a tool, für alle\r\nmlflow==3.17.2\n\nscikit-learn[x, y] >= 1.5 , <2 ; python_version  > '3.9'  # why ${HOME}\nnumpy==2.1.0 \\\n  --hash=sha256:00ff \\\n\t--hash=sha512:ff00\n# a comment does not go on \\\npandas\ntorch (>=2.1+cpu, !=2.3.*)\n"))
	want := "mlflow==3.17.2\nscikit-learn[x,y]>=1.5,<2 ; python_version > '3.9'\nnumpy==2.1.0 --hash=sha256:00ff --hash=sha512:ff00\npandas\ntorch>=2.1+cpu,!=2.3.*\n"
	if err != nil || string(got) != want {
		t.Errorf("got %q %v, want %q", got, err, want)
	}
	if got, err := venv.Named([]byte("# nothing\n \n")); got != nil || err != nil {
		t.Errorf("a lock of nothing: %q %v", got, err)
	}
	for _, line := range []string{"-r /etc/passwd", "--index-url https://example.com/simple", "git+https://example.com/x.git", "x @ https://example.com/x.whl", "./x.whl", "/tmp/x",
		"-e .", "x==1 --global-option=y", "x==1; python_version > '3' --hash=md5:xyz", "https://example.com/x.tar.gz", "x==1 @ y", "../x", "x.whl", "x==1.tar.gz", "x[y].ZIP", "x ; -r y", "x ; '-r' -r y",
		"numpy==1.0\r--no-binary=:all:", "numpy\r--index-url=https://example.com", "numpy==1.0\f-e .", "numpy\v-e .", "numpy\x1c-e .", "numpy\x1d-e .", "numpy\x1e-e .", "numpy\u0085-e .", "numpy\u2028-e .", "numpy\u2029-e .",
		"# a comment\r-e .", "# a comment\u2028-e .", "# a comment\x1c-e .", "# a comment\u0085-e .", "${PIP_INDEX_URL}", "numpy==${VERSION}", "numpy==$V", "numpy\x00", "nümpy", "numpy\u00a0==1", "\xff",
		"numpy\\\n==1.0 -e .", "numpy \\\n--no-binary=:all:", "--no-binary=:all:", "-c x", "--pre", "numpy --hash=sha256:00ff -e .", "numpy --hash=sha256:00ff--no-binary=:all:", "%s"} {
		if out, err := venv.Named([]byte("numpy\n" + line + "\n")); problem.KindOf(err) != problem.Unsupported || err == nil {
			t.Errorf("%q gave %q %v, want a refusal", line, out, err)
		}
	}
	var many strings.Builder
	for i := range 5000 {
		fmt.Fprintf(&many, "package%d\n", i)
	}
	for what, lock := range map[string]string{"too many": many.String(), "too long": strings.Repeat("x==1."+strings.Repeat("1", 1000)+"\n", 1000)} {
		if _, err := venv.Named([]byte(lock)); problem.KindOf(err) != problem.TooLarge {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// FuzzNamed: whatever is let through, in it and in what is made of it pip finds no option but hashes, no variable, no
// address and no path.
func FuzzNamed(f *testing.F) {
	for _, s := range []string{"mlflow==3.17.2\nnumpy[x,y]>=1,<2 ; python_version > '3.9' # why\n", "numpy==2.1.0 \\\n --hash=sha256:00ff\n", "numpy==1.0\r--no-binary=:all:", "numpy\r--index-url=https://example.com",
		"numpy\f-e .", "numpy\v-r x", "numpy\x1c-e .", "numpy\u0085-e .", "numpy\u2028-e .", "${PIP_INDEX_URL}", "# x \\\n-e .", "x\\\n-e .", "-r x", "x @ https://example.com/x.whl", "x.whl", "x (>=1)", "x ; a == \" -r\"", "\ufeffx", "0\\\n#000$00", "x \\\n  # $Y"} {
		f.Add([]byte(s))
	}
	ends := regexp.MustCompile("\r\n|[\n\r\v\f\x1c\x1d\x1e\u0085\u2028\u2029]") // as Python's str.splitlines
	comment := regexp.MustCompile(`(^|\s+)#.*$`)
	begins := regexp.MustCompile(`^(\s*#|\s+#)`)
	hash := regexp.MustCompile(`--hash[= ]sha(256|384|512):[0-9a-f]+( |$)`)
	// lines are what pip makes of a file before it looks for variables and options.
	lines := func(text string) (out []string) {
		begun := ""
		for _, l := range append(ends.Split(text, -1), "") {
			if strings.HasSuffix(l, `\`) && !begins.MatchString(l) {
				begun += strings.Trim(l, `\`)
				continue
			}
			if begins.MatchString(l) {
				l = " " + l // so a comment after a line that went on stays one
			}
			l, begun = begun+l, ""
			if l = strings.TrimSpace(comment.ReplaceAllString(l, "")); l != "" {
				out = append(out, l)
			}
		}
		return out
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		out, err := venv.Named(b)
		if err != nil {
			return
		}
		if again, err := venv.Named(out); err != nil || string(again) != string(out) {
			t.Fatalf("%q gives %q, that gives %q %v", b, out, again, err)
		}
		if given, taken := lines(strings.TrimPrefix(string(b), "\ufeff")), lines(string(out)); len(given) != len(taken) {
			t.Errorf("%q has %d lines, %q has %d", b, len(given), out, len(taken))
		}
		for _, text := range []string{strings.TrimPrefix(string(b), "\ufeff"), string(out)} {
			for _, l := range lines(text) {
				l = hash.ReplaceAllString(strings.ReplaceAll(l, "\t", " ")+" ", "")
				for _, w := range strings.Fields(l) {
					if strings.HasPrefix(w, "-") {
						t.Errorf("%q holds the option %q", text, w)
					}
				}
				if strings.ContainsAny(l, "$@/:\\") {
					t.Errorf("%q holds a variable, an address or a path", l)
				}
			}
		}
	})
}
