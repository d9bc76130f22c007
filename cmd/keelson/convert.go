package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"keelson/client"
	conversions "keelson/internal/convert"
)

// versionConvert proposes a lighter form of a version and prints both side by side.
func (c *cli) versionConvert() *cobra.Command {
	var w conversions.Wish
	cmd := verb("convert NAME/VERSION", "Propose a lighter form of a version: size, time and error side by side",
		"keelson version convert churn/3 --to onnx\nkeelson version convert image/1 --to int8 --limit 0.02 --register\nkeelson version convert churn/3 --to native --json", c.args(1, 1, "NAME/VERSION"),
		func(cmd *cobra.Command, args []string) error {
			if w.To == "" {
				return usage("Name the form: --to native, onnx, float16 or int8.")
			}
			cl, model, version, err := c.oneVersion(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			var v conversions.Conversion
			if err := cl.Call(cmd.Context(), http.MethodPost, fmt.Sprintf("/api/v1/models/%s/versions/%d/conversions", escape(model), version), w, &v); err != nil {
				return err
			}
			bar := c.meter(fmt.Sprintf("converting %s/%d", model, version), 0)
			defer bar.Close()
			bar.Set("to " + w.To)
			raw, err := awaitConversion(cmd.Context(), cl, v.ID, &v)
			bar.Close()
			if err != nil {
				return err
			}
			if c.machine() || c.output != "" {
				err = c.show(raw, nil, "id")
			} else {
				err = c.printConversion(v)
			}
			if err == nil && v.State != conversions.Done {
				err = answered(client.ExitCheck)
			}
			return err
		})
	f := cmd.Flags()
	f.StringVar(&w.To, "to", "", "native, onnx, float16 or int8")
	f.Float64Var(&w.Limit, "limit", 0, "largest error that passes, relative above 1 (default 1e-6, float16 0.01, int8 0.05)")
	f.BoolVar(&w.Register, "register", false, "make a new version of it when it passes; it is tested and approved like any other")
	return cmd
}

// awaitConversion asks until a conversion has ended.
func awaitConversion(ctx context.Context, cl *client.Client, id string, v *conversions.Conversion) (raw json.RawMessage, err error) {
	pause := time.NewTicker(200 * time.Millisecond)
	defer pause.Stop()
	for {
		if err := cl.Get(ctx, "/api/v1/conversions/"+escape(id), &raw); err != nil {
			return nil, err
		}
		if err := json.Unmarshal(raw, v); err != nil {
			return nil, err
		}
		if v.State != conversions.Running {
			return raw, nil
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-pause.C:
		}
	}
}

func (c *cli) printConversion(v conversions.Conversion) error {
	r := v.Result
	if a, b := r.Original, r.Converted; a != nil && b != nil {
		w := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)
		fmt.Fprintf(w, "\toriginal\tconverted\t\n")
		fmt.Fprintf(w, "format\t%s\t%s\t\n", a.Format, b.Format)
		fmt.Fprintf(w, "engine\t%s\t%s\t\n", a.Engine, b.Engine)
		fmt.Fprintf(w, "file\t%s\t%s\t%s\n", size(a.Bytes), size(b.Bytes), ratio(float64(a.Bytes), float64(b.Bytes)))
		if a.Memory > 0 && b.Memory > 0 {
			fmt.Fprintf(w, "memory\t%s\t%s\t%s\n", size(a.Memory), size(b.Memory), ratio(float64(a.Memory), float64(b.Memory)))
		}
		if a.P50 > 0 && b.P50 > 0 {
			fmt.Fprintf(w, "one row, median\t%.1f µs\t%.1f µs\t%s\n", a.P50, b.P50, ratio(a.P50, b.P50))
		}
		if r.Error != nil {
			fmt.Fprintf(w, "largest error\t\t%.3g\tlimit %.3g\n", *r.Error, v.Wish.Limit)
		}
		if err := w.Flush(); err != nil {
			return err
		}
		fmt.Fprintf(c.out, "compared over %d golden, %d logged and %d generated rows\n", r.Rows.Golden, r.Rows.Logged, r.Rows.Generated)
		if r.Changes != "" {
			fmt.Fprintf(c.out, "callers would see: %s\n", r.Changes)
		}
	}
	switch {
	case r.Reason != "":
		fmt.Fprintf(c.out, "%s refused: %s\n", c.sign("✗", "x"), r.Reason)
	case r.Registered > 0:
		fmt.Fprintf(c.out, "%s registered as %s/%d, converted from %s/%d; it is tested and approved like any other\n", c.sign("✓", "ok"), v.Model, r.Registered, v.Model, v.Version)
	default:
		fmt.Fprintf(c.out, "%s nothing was registered; add --register to make it a version\n", c.sign("✓", "ok"))
	}
	return nil
}

// ratio says how much smaller or larger the second is.
func ratio(a, b float64) string {
	switch {
	case a <= 0 || b <= 0:
		return ""
	case b <= a:
		return fmt.Sprintf("%.1f × less", a/b)
	}
	return fmt.Sprintf("%.1f × more", b/a)
}
