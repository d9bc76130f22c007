package main

import (
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"keelson/client"
)

// outcomeFormats are the files, beside CSV, that the server reads itself.
var outcomeFormats = map[string]string{".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet"}

// uploadOutcomes hands a file to the server as it is.
func (c *cli) uploadOutcomes(cmd *cobra.Command, name string) error {
	r, err := c.openData(name)
	if err != nil {
		return err
	}
	defer r.Close()
	cl, err := c.dial()
	if err != nil {
		return err
	}
	var sum client.OutcomeSum
	format := outcomeFormats[strings.ToLower(filepath.Ext(name))]
	if err := cl.Upload(cmd.Context(), http.MethodPost, "/api/v1/outcomes/file?format="+format, "application/octet-stream", r, &sum); err != nil {
		return err
	}
	return c.show(sum, columns("accepted", "duplicates"), "accepted")
}

func (c *cli) outcomeStreamCmd() *cobra.Command {
	return verb("stream [FILE]", "Send lines of JSON as they come and say what came of each", "keelson outcome stream < outcomes.jsonl\ntail -f outcomes.jsonl | keelson outcome stream --json\nkeelson outcome stream outcomes.jsonl -q", c.args(0, 1, "[FILE]"), func(cmd *cobra.Command, args []string) error {
		name := "-"
		if len(args) == 1 {
			name = args[0]
		}
		r, err := c.openData(name)
		if err != nil {
			return err
		}
		defer r.Close()
		cl, err := c.dial()
		if err != nil {
			return err
		}
		sum, err := cl.StreamOutcomes(cmd.Context(), r, func(a client.OutcomeAck) error {
			if a.State == "refused" {
				c.say(fmt.Sprintf("line %d was refused: %s", a.Line, a.Detail))
			}
			return nil
		})
		if err != nil {
			return err
		}
		if err := c.show(sum, columns("lines", "accepted", "duplicates", "refused"), "accepted"); err != nil {
			return err
		}
		if sum.Refused > 0 {
			return answered(client.ExitCheck)
		}
		return nil
	})
}

func (c *cli) feedbackCmd() *cobra.Command {
	const base = "/api/v1/feedback"
	cols := columns("id", "kind", "state", "model", "prediction_id", "row", "value", "reason", "by", "at", "claimed_by", "label")
	var row int
	var value, reason, note, model string
	add := verb("add PREDICTION KIND", "Mark a decision as wrong, contest it or override it", "keelson feedback add 06gz wrong --value 0\nkeelson feedback add 06gz contest --reason \"I have a job\"\nkeelson feedback add 06gz override --value 1 --reason \"agreed with the branch\" --json",
		c.args(2, 2, "PREDICTION KIND"), func(cmd *cobra.Command, args []string) error {
			body := map[string]any{"kind": args[1], "row": row, "reason": reason}
			if value != "" {
				body["value"] = scalar(value)
			}
			return c.act(cmd.Context(), http.MethodPost, "/api/v1/predictions/"+escape(args[0])+"/feedback", body, cols, "id")
		})
	add.Flags().IntVar(&row, "row", 0, "row of the prediction, from 0")
	add.Flags().StringVar(&value, "value", "", "what it should be; of an override what was decided instead")
	add.Flags().StringVar(&reason, "reason", "", "why")
	next := verb("next", "Claim what waits longest, contested decisions first", "keelson feedback next\nkeelson feedback next --model screening\nkeelson feedback next --json", c.args(0, 0, ""), func(cmd *cobra.Command, _ []string) error {
		return c.act(cmd.Context(), http.MethodPost, base+"/next?"+url.Values{"model": {model}}.Encode(), nil, cols, "id")
	})
	next.Flags().StringVar(&model, "model", "", "only of this model")
	label := verb("label ID VALUE", "Say what turned out to be true; it becomes an outcome", "keelson feedback label 06gz 1\nkeelson feedback label 06gz good --note \"seen by two doctors\"\nkeelson feedback label 06gz true --json", c.args(2, 2, "ID VALUE"), func(cmd *cobra.Command, args []string) error {
		return c.act(cmd.Context(), http.MethodPost, base+"/"+escape(args[0])+"/label", map[string]any{"value": scalar(args[1]), "note": note}, cols, "id")
	})
	label.Flags().StringVar(&note, "note", "", "how it is known")
	act := func(name, short string, body func() any) *cobra.Command {
		return verb(name+" ID", short, "keelson feedback "+name+" 06gz\nkeelson feedback "+name+" 06gz --json\nkeelson feedback "+name+" 06gz -q", c.args(1, 1, "ID"), func(cmd *cobra.Command, args []string) error {
			return c.act(cmd.Context(), http.MethodPost, base+"/"+escape(args[0])+"/"+name, body(), cols, "id")
		})
	}
	none := func() any { return nil }
	skip := act("skip", "Settle an item without a label", func() any { return map[string]string{"note": note} })
	skip.Flags().StringVar(&note, "note", "", "why nothing can be said")
	return c.noun("feedback", "What people say about decisions", nil,
		c.listCommand("feedback", "List feedback, newest first", base, cols, "id", "state=queued, claimed, labelled, skipped or waiting", "model=only of this model", "kind=wrong, contest or override", "prediction=only about this prediction"),
		c.getCommand("feedback", "Show an item of feedback", "ID", "06gz", func(id string) (string, error) { return base + "/" + escape(id), nil }, nil, "id"),
		add, next, act("claim", "Claim an item for half an hour", none), act("release", "Put a claimed item back", none), label, skip)
}
