package main

import (
	"context"
	"encoding/csv"
	"errors"
	"io"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/spf13/cobra"

	"keelson/client"
)

// readYAML reads a YAML or JSON file, or standard input for "-".
func (c *cli) readYAML(name string, v any) error {
	r, err := c.openData(name)
	if err != nil {
		return err
	}
	defer r.Close()
	b, err := io.ReadAll(io.LimitReader(r, 4<<20))
	if err != nil {
		return err
	}
	if err := yaml.Unmarshal(b, v); err != nil {
		return usage("%s cannot be read: %s", name, yaml.FormatError(err, false, true))
	}
	return nil
}

var predictionColumns = columns("id", "at", "endpoint", "version", "caller", "application", "rows", "latency_us", "error")

func (c *cli) predictionCmd() *cobra.Command {
	return c.noun("prediction", "The log of every answer", []string{"predictions"},
		c.listCommand("prediction", "List predictions, newest first", "/api/v1/predictions", predictionColumns, "id", "endpoint=only of this endpoint", "model=only of this model", "version=only of this version", "caller=only of this caller",
			"since=from this day or time on, or so long ago: 90m", "until=before this day or time", "slot=live, canary, shadow or external",
			"filter=values of inputs and outputs: input.age > 60 AND output.score < 0.2"),
		c.getCommand("prediction", "Show a prediction with inputs, outputs, fired rules and outcomes", "ID", "06gzw2", func(id string) (string, error) { return "/api/v1/predictions/" + escape(id), nil }, nil, "id"),
		c.exportPredictions(), c.erasePredictions())
}

func (c *cli) outcomeCmd() *cobra.Command {
	add := verb("add FILE", "Report what turned out to be true, from CSV, Parquet or lines of JSON with prediction_id, row and value", "keelson outcome add calls.csv\nkeelson outcome add - < calls.csv\nkeelson outcome add calls.csv --json", c.args(1, 1, "FILE"), func(cmd *cobra.Command, args []string) error {
		if outcomeFormats[strings.ToLower(filepath.Ext(args[0]))] != "" {
			return c.uploadOutcomes(cmd, args[0])
		}
		r, err := c.openData(args[0])
		if err != nil {
			return err
		}
		defer r.Close()
		cl, err := c.dial()
		if err != nil {
			return err
		}
		accepted, duplicates, err := sendOutcomes(cmd.Context(), cl, r)
		if err != nil {
			return err
		}
		return c.show(map[string]any{"accepted": accepted, "duplicates": duplicates}, columns("accepted", "duplicates"), "accepted")
	})
	return c.noun("outcome", "What turned out to be true", []string{"outcomes"}, add, c.outcomeStreamCmd())
}

// sendOutcomes reads CSV with the columns prediction_id, row and value (others are skipped) and sends it in batches.
func sendOutcomes(ctx context.Context, cl *client.Client, r io.Reader) (accepted, duplicates int, err error) {
	in := csv.NewReader(r)
	head, err := in.Read()
	if err != nil {
		return 0, 0, usage("The file is no CSV with a heading: %v", err)
	}
	place := map[string]int{}
	for i, h := range head {
		place[h] = i
	}
	for _, h := range []string{"prediction_id", "row", "value"} {
		if _, ok := place[h]; !ok {
			return 0, 0, usage("The file has no column %q; it needs prediction_id, row and value.", h)
		}
	}
	var batch []client.Outcome
	send := func() error {
		if len(batch) == 0 {
			return nil
		}
		a, d, err := cl.AddOutcomes(ctx, batch)
		accepted, duplicates, batch = accepted+a, duplicates+d, batch[:0]
		return err
	}
	for {
		rec, err := in.Read()
		if errors.Is(err, io.EOF) {
			return accepted, duplicates, send()
		}
		if err != nil {
			return accepted, duplicates, usage("%v", err)
		}
		row, err := strconv.Atoi(rec[place["row"]])
		if err != nil {
			line, col := in.FieldPos(place["row"])
			return accepted, duplicates, usage("line %d, column %d: %q is not a row number", line, col, rec[place["row"]])
		}
		batch = append(batch, client.Outcome{PredictionID: rec[place["prediction_id"]], Row: row, Value: scalar(rec[place["value"]])})
		if len(batch) == 1000 {
			if err := send(); err != nil {
				return accepted, duplicates, err
			}
		}
	}
}

func (c *cli) monitorCmd() *cobra.Command {
	path := func(n string) (string, error) { return "/api/v1/monitors/" + escape(n), nil }
	status := verb("status ENDPOINT", "Say whether a model can be trusted at the moment; exit 5 if not", "keelson monitor status screening\nkeelson monitor status screening --json\nkeelson monitor status screening -o name", c.args(1, 1, "ENDPOINT"), func(cmd *cobra.Command, args []string) error {
		cl, err := c.dial()
		if err != nil {
			return err
		}
		var v struct {
			Verdict client.Health `json:"verdict"`
		}
		if err := cl.Get(cmd.Context(), "/api/v1/monitors/"+escape(args[0]), &v); err != nil {
			return err
		}
		if err := c.show(v.Verdict, columns("verdict", "reasons"), "verdict"); err != nil {
			return err
		}
		if v.Verdict.Verdict == "no" {
			return answered(client.ExitCheck)
		}
		return nil
	})
	windows := verb("windows ENDPOINT", "List the windows of a monitor, newest first", "keelson monitor windows screening\nkeelson monitor windows screening --json\nkeelson monitor windows screening -o csv", c.args(1, 1, "ENDPOINT"), func(cmd *cobra.Command, args []string) error {
		return c.printList(cmd.Context(), "/api/v1/monitors/"+escape(args[0])+"/windows", nil, columns("id", "from", "to", "rows", "version", "breached", "verdict", "accuracy=performance.accuracy", "reasons"), "id")
	})
	windows.Flags().IntVar(&c.limit, "limit", 50, "how many at most, 0 for all")
	var reference, model, retrain string
	var rows, minRows int
	var features []string
	var accuracy float64
	set := verb("set ENDPOINT", "Make a monitor or change it", "keelson monitor set screening --reference screening-patients/1\nkeelson monitor set screening --rows 800 --retrain screening\nkeelson monitor set partner-model --model partner --reference partner-data/2", c.args(1, 1, "ENDPOINT"), func(cmd *cobra.Command, args []string) error {
		body := map[string]any{}
		if model != "" {
			body["model"] = model
		}
		if reference != "" {
			o, err := parseObject(reference)
			if err != nil {
				return err
			}
			n, _ := strconv.Atoi(o.version) // empty is 0, the newest; parseObject has checked the rest
			body["reference"] = map[string]any{"dataset": o.name, "version": n}
		}
		if rows > 0 || minRows > 0 {
			body["window"] = map[string]any{"rows": rows, "min_rows": minRows}
		}
		if cmd.Flags().Changed("feature") {
			body["features"] = features
		}
		if cmd.Flags().Changed("accuracy") {
			body["limits"] = map[string]any{"accuracy": accuracy}
		}
		if cmd.Flags().Changed("retrain") {
			body["on_breach"] = map[string]any{}
			if retrain != "" {
				body["on_breach"] = map[string]any{"retrain": map[string]any{"pipeline": retrain}}
			}
		}
		return c.act(cmd.Context(), http.MethodPut, "/api/v1/monitors/"+escape(args[0]), body, columns("endpoint", "model", "reference", "window", "on_breach"), "endpoint")
	})
	f := set.Flags()
	f.StringVar(&reference, "reference", "", "data version to compare with, as name/3")
	f.StringVar(&model, "model", "", "model, where the endpoint does not tell")
	f.IntVar(&rows, "rows", 0, "rows of a window")
	f.IntVar(&minRows, "min-rows", 0, "least rows of a window that is judged")
	f.StringSliceVar(&features, "feature", nil, "only these inputs")
	f.Float64Var(&accuracy, "accuracy", 0, "lowest accuracy")
	f.StringVar(&retrain, "retrain", "", "pipeline that a breach starts; empty for none")
	return c.noun("monitor", "Is the world still the one the model knows?", []string{"monitors"}, append(c.monitorVerbs(),
		c.listCommand("monitor", "List monitors with their verdicts", "/api/v1/monitors", columns("endpoint", "model", "version", "verdict=verdict.verdict", "reasons=verdict.reasons"), "endpoint", "model=only those of this model"),
		c.getCommand("monitor", "Show a monitor with its verdict and windows", "ENDPOINT", "screening", path, columns("endpoint=monitor.endpoint", "model=monitor.model", "verdict=verdict.verdict", "reasons=verdict.reasons", "reference=monitor.reference", "window=monitor.window", "limits=monitor.limits"), "monitor.endpoint"),
		status, windows, set)...)
}
