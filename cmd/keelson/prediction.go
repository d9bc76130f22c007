package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"github.com/spf13/cobra"
)

var (
	purgedColumns    = columns("endpoint", "files", "predictions", "outcomes", "bytes", "kept", "hold")
	retentionColumns = columns("endpoint", "days", "by", "at")
	erasedColumns    = columns("subject_hash", "predictions", "outcomes", "files", "damaged_files", "kept", "hold")
)

// exportPredictions streams the log to a file.
func (c *cli) exportPredictions() *cobra.Command {
	var to string
	values := map[string]*string{}
	cmd := verb("export", "Write predictions with their outcomes to a file, the oldest first", "keelson prediction export --endpoint screening.prod --since 2026-11-01T00:00:00Z --to november.jsonl\nkeelson prediction export --format parquet --to all.parquet\nkeelson prediction export --format csv --model churn > churn.csv",
		c.args(0, 0, ""), func(cmd *cobra.Command, _ []string) error {
			q := url.Values{}
			for name, v := range values {
				value, err := *v, error(nil)
				if name == "since" || name == "until" {
					value, err = past("--"+name, value)
				}
				if err != nil {
					return err
				}
				if value != "" {
					q.Set(name, value)
				}
			}
			return c.download(cmd, "/api/v1/predictions/export?"+q.Encode(), to)
		})
	f := cmd.Flags()
	for name, text := range map[string]string{"format": "jsonl, csv or parquet (jsonl if left out)", "endpoint": "only of this endpoint", "model": "only of this model", "version": "only of this version",
		"caller": "only of this caller", "slot": "only live, canary, shadow or external", "since": sinceHelp, "until": "before this day or time, or so long ago"} {
		values[name] = f.String(name, "", text)
	}
	f.StringVar(&to, "to", "", "file; written whole or not at all")
	return cmd
}

// erasePredictions removes what is about one person.
func (c *cli) erasePredictions() *cobra.Command {
	var reason string
	cmd := verb("erase SUBJECT", "Remove every prediction about a person for good", "keelson prediction erase p-4711 --reason \"Request 17 under Article 17\"\nkeelson prediction erase p-4711 --reason \"Request 17\" --yes\nkeelson prediction erase p-4711 --reason \"Request 17\" --yes --json",
		c.args(1, 1, "SUBJECT, the pseudonym that callers send"), func(cmd *cobra.Command, args []string) error {
			if reason == "" {
				return usage("Say why: --reason TEXT, without the person's name.")
			}
			if err := c.confirm("Remove every prediction about " + args[0] + " for good?"); err != nil {
				return err
			}
			return c.act(cmd.Context(), http.MethodPost, "/api/v1/predictions/erase", map[string]string{"subject": args[0], "reason": reason}, erasedColumns, "subject_hash")
		})
	cmd.Flags().StringVar(&reason, "reason", "", "who asked, under which right")
	return cmd
}

// purgePredictions removes old ones.
func (c *cli) purgePredictions() *cobra.Command {
	var before, endpoint string
	var dry bool
	cmd := verb("predictions", "Remove old predictions with their outcomes for good", "keelson purge predictions --before 2026-01-01 --dry-run\nkeelson purge predictions --before 2026-01-01 --yes\nkeelson purge predictions --before 2026-01-01 --endpoint screening.prod --yes --json",
		c.args(0, 0, ""), func(cmd *cobra.Command, _ []string) error {
			if before == "" {
				return usage("Say until when: --before 2026-01-01.")
			}
			before, err := past("--before", before)
			if err != nil {
				return err
			}
			if !dry {
				if err := c.confirm("Remove every prediction from before " + before + " for good?"); err != nil {
					return err
				}
			}
			cl, err := c.dial()
			if err != nil {
				return err
			}
			var raw json.RawMessage
			if err := cl.Call(cmd.Context(), http.MethodPost, "/api/v1/predictions/purge", map[string]any{"before": before, "endpoint": endpoint, "dry_run": dry}, &raw); err != nil {
				return err
			}
			if c.machine() {
				return c.show(raw, nil, "predictions")
			}
			var r struct {
				Files                        int
				Predictions, Outcomes, Bytes int64
				Before                       string
				Endpoints                    []json.RawMessage
			}
			if err := json.Unmarshal(raw, &r); err != nil {
				return err
			}
			if len(r.Endpoints) > 0 {
				if err := c.list(r.Endpoints, purgedColumns, "endpoint"); err != nil {
					return err
				}
			}
			words := fmt.Sprintf("%d predictions and %d outcomes from before %s, %d files of %d bytes", r.Predictions, r.Outcomes, r.Before, r.Files, r.Bytes)
			if dry {
				c.say("would remove %s; nothing was changed", words)
			} else {
				c.say("%s removed %s", c.sign("✓", "ok"), words)
			}
			return nil
		})
	f := cmd.Flags()
	f.StringVar(&before, "before", "", "day or time, as 2026-01-01 or 2026-01-01T12:00:00Z, or so long ago: 90d; whole hours go")
	f.StringVar(&endpoint, "endpoint", "", "only of this endpoint")
	f.BoolVar(&dry, "dry-run", false, "only say what would go")
	return cmd
}

// retentionCmd is how long predictions are kept.
func (c *cli) retentionCmd() *cobra.Command {
	const path = "/api/v1/prediction-retention"
	list := c.listCommand("retention", "List how long predictions are kept", path, retentionColumns, "endpoint")
	var endpoint string
	set := verb("set DAYS", "Say how long predictions are kept", "keelson retention set 365\nkeelson retention set 30 --endpoint screening.dev\nkeelson retention set 0 --endpoint screening.prod --json",
		c.args(1, 1, "DAYS; 0 keeps them for good"), func(cmd *cobra.Command, args []string) error {
			days, err := strconv.Atoi(args[0])
			if err != nil {
				return usage("%q is no number of days.", args[0])
			}
			return c.act(cmd.Context(), http.MethodPut, path, map[string]any{"days": days, "endpoint": endpoint}, retentionColumns, "endpoint")
		})
	set.Flags().StringVar(&endpoint, "endpoint", "", "of this endpoint; left out: of every endpoint that has none of its own")
	var of string
	drop := verb("drop", "Take back how long predictions are kept", "keelson retention drop\nkeelson retention drop --endpoint screening.dev\nkeelson retention drop --endpoint screening.dev --json",
		c.args(0, 0, ""), func(cmd *cobra.Command, _ []string) error {
			return c.act(cmd.Context(), http.MethodDelete, path+"?endpoint="+url.QueryEscape(of), nil, nil, "endpoint")
		})
	drop.Flags().StringVar(&of, "endpoint", "", "of this endpoint; left out: of the others")
	return c.noun("retention", "How long predictions are kept", nil, list, set, drop)
}
