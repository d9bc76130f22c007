package main

import (
	"net/http"
	"strings"

	"github.com/spf13/cobra"
)

var webhookColumns = columns("id", "name", "url", "format", "events", "status", "reason")

func (c *cli) webhookCmd() *cobra.Command {
	const base = "/api/v1/webhooks"
	var events, format, description string
	create := verb("create NAME URL", "Tell an address what happens",
		"keelson webhook create ci https://ci.example.com/hooks/keelson --events 'inventory.version.*,approval.settled'\nkeelson webhook create bus https://bus.example.com/in\nkeelson webhook create ci https://ci.example.com/hook --format mlflow --events model_version.created --json",
		c.args(2, 2, "NAME URL"), func(cmd *cobra.Command, args []string) error {
			body := map[string]any{"name": args[0], "url": args[1], "format": format, "description": description}
			if events != "" {
				body["events"] = strings.Split(events, ",")
			}
			err := c.act(cmd.Context(), http.MethodPost, base, body, append(webhookColumns[:5:5], columns("secret")...), "id")
			if err == nil {
				c.say("the secret is shown once; keep it safe")
			}
			return err
		})
	create.Flags().StringVar(&events, "events", "", "types of events, with * for any text, between commas (default: all)")
	create.Flags().StringVar(&format, "format", "cloudevents", "cloudevents, or mlflow for MLflow's own shape and events")
	create.Flags().StringVar(&description, "description", "", "what it is for")
	test := verb("test ID", "Send an example and say what came back", "keelson webhook test 06gz\nkeelson webhook test 06gz --json\nkeelson webhook test 06gz -o name", c.args(1, 1, "ID"), func(cmd *cobra.Command, args []string) error {
		return c.act(cmd.Context(), http.MethodPost, base+"/"+escape(args[0])+"/test", nil, columns("success", "status", "answer", "error"), "success")
	})
	remove := verb("delete ID", "Delete a webhook and its log", "keelson webhook delete 06gz\nkeelson webhook delete 06gz --yes\nkeelson webhook delete 06gz --json --yes", c.args(1, 1, "ID"), func(cmd *cobra.Command, args []string) error {
		return c.remove(cmd.Context(), "Delete webhook "+args[0]+"?", base+"/"+escape(args[0]), args[0], "deleted")
	})
	deliveries := verb("deliveries ID", "What was sent, newest first", "keelson webhook deliveries 06gz\nkeelson webhook deliveries 06gz --json\nkeelson webhook deliveries 06gz --limit 0", c.args(1, 1, "ID"), func(cmd *cobra.Command, args []string) error {
		return c.printList(cmd.Context(), base+"/"+escape(args[0])+"/deliveries", nil, columns("id", "type", "state", "attempts", "status", "last_at", "next_at", "error"), "id")
	})
	deliveries.Flags().IntVar(&c.limit, "limit", 50, "how many at most, 0 for all")
	turn := func(name, status, short string) *cobra.Command {
		return verb(name+" ID", short, "keelson webhook "+name+" 06gz\nkeelson webhook "+name+" 06gz --json\nkeelson webhook "+name+" 06gz -q", c.args(1, 1, "ID"), func(cmd *cobra.Command, args []string) error {
			return c.act(cmd.Context(), http.MethodPatch, base+"/"+escape(args[0]), map[string]string{"status": status}, webhookColumns, "id")
		})
	}
	return c.noun("webhook", "Addresses that are told what happens", []string{"webhooks"},
		create, c.listCommand("webhook", "List webhooks", base, webhookColumns, "id"),
		c.getCommand("webhook", "Show a webhook", "ID", "06gz", func(id string) (string, error) { return base + "/" + escape(id), nil }, nil, "id"),
		test, deliveries, turn("enable", "active", "Send again to a webhook that was disabled"), turn("disable", "disabled", "Send no more to a webhook, but keep it"), remove)
}
