package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"keelson/client"
)

// total is the number of bytes of a file or of all files of a folder; 0 when it cannot be told.
func total(name string) (n int64) {
	_ = filepath.WalkDir(name, func(_ string, d fs.DirEntry, err error) error { // for the progress only
		if err == nil && d.Type().IsRegular() {
			if info, err := d.Info(); err == nil {
				n += info.Size()
			}
		}
		return nil
	})
	return n
}

// fetch downloads one file of a version and checks its bytes before it gets its name. A file that is there with the same
// bytes is not fetched again, so a download that was cut off goes on.
func (c *cli) fetch(ctx context.Context, cl *client.Client, from, to, digest string, bar *meter) error {
	if have, n, err := digestOf(to); err == nil && have == digest {
		bar.add(n)
		return nil
	}
	f, err := os.CreateTemp(filepath.Dir(to), ".keelson-*")
	if err != nil {
		return usage("%s cannot be written: %v", to, err)
	}
	h := sha256.New()
	_, err = cl.Download(ctx, from, io.MultiWriter(f, h, bar))
	if err == nil {
		if got := "sha256:" + hex.EncodeToString(h.Sum(nil)); got != digest {
			err = fmt.Errorf("%s arrived with the digest %s instead of %s", to, got, digest)
		}
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), to)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

func digestOf(name string) (string, int64, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", 0, err
	}
	defer f.Close()
	h := sha256.New()
	n, err := io.Copy(h, f)
	return "sha256:" + hex.EncodeToString(h.Sum(nil)), n, err
}

// change is one line of a difference, whatever its part.
type change struct {
	Part   string          `json:"part"`
	Kind   string          `json:"kind"`
	Path   string          `json:"path"`
	Name   string          `json:"name"`
	Change string          `json:"change"`
	Before json.RawMessage `json:"before"`
	After  json.RawMessage `json:"after"`
	Delta  json.RawMessage `json:"delta"`
}

func (c *cli) versionDiff() *cobra.Command {
	var all, exit bool
	cmd := verb("diff NAME/VERSION NAME/VERSION", "Compare two versions: files, signature, dependencies, parameters, metrics, tags",
		"keelson version diff screening/1 2\nkeelson version diff screening@champion screening@challenger --all\nkeelson version diff screening/1 screening/2 --json --exit-code",
		c.args(2, 2, "two versions"), func(cmd *cobra.Command, args []string) error {
			cl, before, from, err := c.oneVersion(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if !strings.ContainsAny(args[1], "/@") {
				args[1] = before + "/" + args[1]
			}
			after, to, err := oneVersion(cmd.Context(), cl, args[1])
			if err != nil {
				return err
			}
			q := url.Values{"with": {fmt.Sprint(from)}}
			if before != after {
				q.Set("model", before)
			}
			var raw json.RawMessage
			if err := cl.Get(cmd.Context(), fmt.Sprintf("/api/v1/models/%s/versions/%d/diff?%s", escape(after), to, q.Encode()), &raw); err != nil {
				return err
			}
			var same struct {
				Same bool `json:"same"`
			}
			if err := json.Unmarshal(raw, &same); err != nil {
				return err
			}
			if c.machine() || c.output != "" {
				err = c.show(raw, nil, "version")
			} else {
				err = c.printDiff(raw, fmt.Sprintf("%s/%d → %s/%d", before, from, after, to), all)
			}
			if err == nil && exit && !same.Same {
				return answered(client.ExitCheck)
			}
			return err
		})
	cmd.Flags().BoolVar(&all, "all", false, "also what is the same")
	cmd.Flags().BoolVar(&exit, "exit-code", false, "end with 5 when a file differs")
	return cmd
}

// printDiff prints a difference for people, part by part.
func (c *cli) printDiff(raw json.RawMessage, title string, all bool) error {
	var parts map[string]json.RawMessage
	if err := json.Unmarshal(raw, &parts); err != nil {
		return err
	}
	fmt.Fprintln(c.out, title)
	shown := 0
	for _, part := range []string{"record", "files", "signature", "dependencies", "params", "metrics", "tags"} {
		var list []change
		if err := json.Unmarshal(parts[part], &list); err != nil {
			return fmt.Errorf("read %s: %w", part, err)
		}
		head := false
		for _, d := range list {
			if d.Change == "same" && !all {
				continue
			}
			if !head {
				fmt.Fprintf(c.out, "\n%s\n", part)
				head = true
			}
			shown++
			name := strings.TrimSpace(strings.Join([]string{d.Part, d.Kind, d.Path, d.Name}, " "))
			before, after := plain(d.Before), plain(d.After)
			line := before + " → " + after
			switch d.Change {
			case "added":
				line = after
			case "removed", "same":
				line = before
			}
			if delta := plain(d.Delta); delta != "" && d.Change == "changed" {
				line += "  (" + delta + ")"
			}
			fmt.Fprintf(c.out, "%s %s  %s\n", map[string]string{"added": "+", "removed": "-", "changed": "~", "same": " "}[d.Change], strings.Join(strings.Fields(name), " "), line)
		}
	}
	if shown == 0 {
		fmt.Fprintln(c.out, "no difference")
	}
	return nil
}

// plain is a value of a difference as text; of a file its size and the start of its digest.
func plain(raw json.RawMessage) string {
	var file struct {
		Digest string `json:"digest"`
		Size   int64  `json:"size"`
	}
	var text string
	switch {
	case len(raw) == 0 || string(raw) == "null":
		return ""
	case json.Unmarshal(raw, &text) == nil:
		return text
	case raw[0] == '{' && json.Unmarshal(raw, &file) == nil:
		return fmt.Sprintf("%s %s", size(file.Size), strings.TrimPrefix(file.Digest, "sha256:")[:min(12, len(strings.TrimPrefix(file.Digest, "sha256:")))])
	}
	return string(raw)
}

func (c *cli) deleteVersion() *cobra.Command {
	return verb("delete NAME/VERSION", "Delete a version that does not run anywhere", "keelson version delete churn/3\nkeelson version delete churn/3 --yes\nkeelson version delete churn@old --yes -q", c.args(1, 1, "NAME/VERSION"), func(cmd *cobra.Command, args []string) error {
		cl, err := c.dial()
		if err != nil {
			return err
		}
		model, version, err := resolve(cmd.Context(), cl, args[0])
		if err != nil {
			return err
		}
		if version == 0 {
			return usage("Say which version: %s/NUMBER.", model)
		}
		if err := c.confirm(fmt.Sprintf("Delete version %s/%d?", model, version)); err != nil {
			return err
		}
		if err := cl.Call(cmd.Context(), http.MethodDelete, fmt.Sprintf("/api/v1/models/%s/versions/%d", escape(model), version), nil, nil); err != nil {
			return err
		}
		c.say("%s %s/%d deleted", c.sign("✓", "ok"), model, version)
		return nil
	})
}

func (c *cli) deleteModel() *cobra.Command {
	return verb("delete NAME", "Delete a model with all its versions, if none of them runs", "keelson model delete churn-test\nkeelson model delete churn-test --yes\nkeelson model delete churn-test --yes -q", c.args(1, 1, "NAME"), func(cmd *cobra.Command, args []string) error {
		cl, err := c.dial()
		if err != nil {
			return err
		}
		if err := c.confirm("Delete model " + args[0] + " with all its versions?"); err != nil {
			return err
		}
		if err := cl.Call(cmd.Context(), http.MethodDelete, "/api/v1/models/"+escape(args[0]), nil, nil); err != nil {
			return err
		}
		c.say("%s %s deleted", c.sign("✓", "ok"), args[0])
		return nil
	})
}

func (c *cli) impact() *cobra.Command {
	var kind string
	cmd := verb("impact NAME[@VERSION]", "List the versions and deployments that use a model, a data set or a library", "keelson model impact screening\nkeelson model impact older@2 --kind data\nkeelson model impact numpy --kind library --json", c.args(1, 1, "NAME"), func(cmd *cobra.Command, args []string) error {
		if kind != "model" && kind != "data" && kind != "library" {
			return usage("--kind %q is none of model, data, library.", kind)
		}
		cl, err := c.dial()
		if err != nil {
			return err
		}
		name := args[0]
		if kind == "model" {
			name = strings.Replace(name, "@", "/", 1)
		}
		var raw json.RawMessage
		if err := cl.Get(cmd.Context(), "/api/v1/impact?"+url.Values{kind: {name}}.Encode(), &raw); err != nil {
			return err
		}
		if c.machine() || c.output != "" {
			return c.show(raw, nil, "name")
		}
		var found struct {
			Versions []json.RawMessage `json:"versions"`
		}
		if err := json.Unmarshal(raw, &found); err != nil {
			return err
		}
		return c.list(found.Versions, columns("model", "version", "state", "tier", "owner", "why", "deployed"), "model")
	})
	cmd.Flags().StringVar(&kind, "kind", "model", "model, data or library")
	return cmd
}
