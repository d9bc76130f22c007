package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"

	"github.com/spf13/cobra"
)

var (
	binColumns  = columns("kind", "id", "name", "parent", "files", "bytes", "deleted_at", "deleted_by", "purge_at", "hold")
	holdColumns = columns("kind", "name", "reason", "until", "by", "at")
)

// binCmd is the bin: what was deleted and can come back.
func (c *cli) binCmd() *cobra.Command {
	list := c.listCommand("bin", "List what was deleted and can come back, the oldest first", "/api/v1/bin", binColumns, "id", "kind=experiment, run, logged-model, model or version")
	var as string
	restore := verb("restore KIND ID", "Bring something back", "keelson bin restore run 06gzx9xxb9y0f6knre666nzckm\nkeelson bin restore experiment 7 --as \"churn of May\"\nkeelson bin restore model 06gzx9xxz5xpz7spfbtdshz8aw --json",
		c.args(2, 2, "KIND and ID, as keelson bin list shows them"), func(cmd *cobra.Command, args []string) error {
			body := map[string]string{"kind": args[0], "id": args[1]}
			if as != "" {
				body["as"] = as
			}
			return c.act(cmd.Context(), http.MethodPost, "/api/v1/bin/restore", body, binColumns, "id")
		})
	restore.Flags().StringVar(&as, "as", "", "another name, when its own is taken by now")
	var name string
	purge := verb("purge KIND ID", "Remove something for good", "keelson bin purge run 06gzx9xxb9y0f6knre666nzckm --name calm-crest-1\nkeelson bin purge model 06gzx9xxz5xpz7spfbtdshz8aw --name churn --yes\nkeelson bin purge version 06gzx9xx --name churn/3 --yes --json",
		c.args(2, 2, "KIND and ID, as keelson bin list shows them"), func(cmd *cobra.Command, args []string) error {
			if name == "" {
				return usage("Confirm with its name: --name NAME. Purging cannot be undone.")
			}
			if err := c.confirm(fmt.Sprintf("Remove %s %s for good?", args[0], name)); err != nil {
				return err
			}
			return c.purged(cmd, http.MethodDelete, "/api/v1/bin/"+escape(args[0])+"/"+escape(args[1])+"?confirm="+url.QueryEscape(name), nil)
		})
	purge.Flags().StringVar(&name, "name", "", "its name, as confirmation")
	return c.noun("bin", "What was deleted and can come back", nil, list, restore, purge)
}

// purgeCmd removes by age.
func (c *cli) purgeCmd() *cobra.Command {
	var age string
	var kinds []string
	var dry bool
	cmd := verb("purge", "Remove for good what was deleted some time ago", "keelson purge --older-than 30d --dry-run\nkeelson purge --older-than 30d --yes\nkeelson purge --older-than 0s --kind run --yes --json",
		c.args(0, 0, ""), func(cmd *cobra.Command, _ []string) error {
			if !dry {
				if err := c.confirm("Remove everything that was deleted more than " + age + " ago for good?"); err != nil {
					return err
				}
			}
			body := map[string]any{"older_than": age, "dry_run": dry}
			if len(kinds) > 0 {
				body["kinds"] = kinds
			}
			return c.purged(cmd, http.MethodPost, "/api/v1/bin/purge", body)
		})
	f := cmd.Flags()
	f.StringVar(&age, "older-than", "30d", "30d, 12h; 0s is everything in the bin")
	f.StringSliceVar(&kinds, "kind", nil, "only these: experiment, run, logged-model, model, version; may be repeated")
	f.BoolVar(&dry, "dry-run", false, "only say what would go")
	cmd.AddCommand(c.purgePredictions())
	return cmd
}

// purged sends a purge and tells what went, or would go.
func (c *cli) purged(cmd *cobra.Command, method, path string, body any) error {
	cl, err := c.dial()
	if err != nil {
		return err
	}
	var raw json.RawMessage
	if body == nil {
		body = struct{}{}
	}
	if err := cl.Call(cmd.Context(), method, path, body, &raw); err != nil {
		return err
	}
	if c.machine() {
		return c.show(raw, nil, "count")
	}
	var r struct {
		DryRun bool `json:"dry_run"`
		Count  int
		Items  []json.RawMessage
		Kept   []json.RawMessage
		Files  int64
		Bytes  int64
		Freed  struct {
			Files, Waiting int
			Bytes          int64
		}
	}
	if err := json.Unmarshal(raw, &r); err != nil {
		return err
	}
	if len(r.Items) > 0 {
		if err := c.list(r.Items, binColumns, "id"); err != nil {
			return err
		}
	}
	if r.DryRun {
		c.say("would remove %d with %d files of %d bytes; nothing was changed", r.Count, r.Files, r.Bytes)
	} else {
		c.say("%s removed %d with %d files of %d bytes; %d files and %d bytes left the store", c.sign("✓", "ok"), r.Count, r.Files, r.Bytes, r.Freed.Files, r.Freed.Bytes)
		if r.Freed.Waiting > 0 {
			c.say("%d more were stored just now and go within the hour if nothing refers to them", r.Freed.Waiting)
		}
	}
	if len(r.Kept) > 0 {
		c.say("%d are kept under a hold: keelson hold list", len(r.Kept))
	}
	return nil
}

// holdCmd is what must not be deleted.
func (c *cli) holdCmd() *cobra.Command {
	list := c.listCommand("hold", "List what must not be deleted", "/api/v1/holds", holdColumns, "name")
	var reason, until string
	set := verb("set KIND NAME", "Keep something from being deleted", "keelson hold set model churn --reason \"Inspection of 2026\"\nkeelson hold set version churn/3 --reason \"Records are kept for ten years\" --until 2036-01-01T00:00:00Z\nkeelson hold set run 06gzx9xxb9y0f6knre666nzckm --reason \"Dispute 17\"",
		c.args(2, 2, "KIND and NAME"), func(cmd *cobra.Command, args []string) error {
			if reason == "" {
				return usage("Say why: --reason TEXT.")
			}
			body := map[string]string{"kind": args[0], "name": args[1], "reason": reason}
			at, err := ahead("--until", until)
			if err != nil {
				return err
			}
			if at != "" {
				body["until"] = at
			}
			return c.act(cmd.Context(), http.MethodPut, "/api/v1/holds", body, holdColumns, "name")
		})
	set.Flags().StringVar(&reason, "reason", "", "why; whoever is refused reads it")
	set.Flags().StringVar(&until, "until", "", "when it ends by itself: "+aheadHelp)
	lift := verb("lift KIND NAME", "Let something be deleted again", "keelson hold lift model churn\nkeelson hold lift version churn/3 --json\nkeelson hold lift run 06gzx9xxb9y0f6knre666nzckm -q",
		c.args(2, 2, "KIND and NAME"), func(cmd *cobra.Command, args []string) error {
			return c.act(cmd.Context(), http.MethodDelete, "/api/v1/holds?kind="+url.QueryEscape(args[0])+"&name="+url.QueryEscape(args[1]), nil, nil, "name")
		})
	return c.noun("hold", "What must not be deleted", []string{"holds"}, list, set, lift)
}
