package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"strconv"

	"github.com/spf13/cobra"

	"keelson/client"
	"keelson/internal/dataset"
	"keelson/internal/monitor"
	"keelson/internal/problem"
)

// compareDataCmd holds two files, or data versions, against each other. Of files nothing leaves the machine.
func (c *cli) compareDataCmd() *cobra.Command {
	limits := monitor.DefaultLimits()
	all := false
	cmd := verb("compare REFERENCE CURRENT", "List how far each column moved from one file or data version to another; exit 5 if one did",
		"keelson data compare training.parquet today.parquet\nkeelson data compare screening-patients/1 today.csv --psi 0.2\nkeelson data compare older.csv newer.csv --json", c.args(2, 2, "REFERENCE and CURRENT"), func(cmd *cobra.Command, args []string) error {
			var files [2]dataset.File
			for i, name := range args {
				f, done, err := c.dataFile(cmd.Context(), name)
				if err != nil {
					return err
				}
				defer done()
				files[i] = f
			}
			got, err := dataset.Compare(cmd.Context(), files[0], files[1], dataset.Effects{PSI: limits.PSI, KS: limits.KS, PSIWarn: min(limits.PSIWarn, limits.PSI), KSWarn: min(limits.KSWarn, limits.KS), Missing: limits.Missing}, dataset.Limits{})
			if p, ok := problem.As(err); ok {
				return usage("%s", p.Detail)
			}
			if err != nil {
				return err
			}
			if c.machine() || c.output == "yaml" {
				if err := c.show(got, nil, "moved"); err != nil {
					return err
				}
			} else if err := c.changes(got, all); err != nil {
				return err
			}
			if got.Moved > 0 {
				return answered(client.ExitCheck)
			}
			return nil
		})
	cmd.Flags().Float64Var(&limits.PSI, "psi", limits.PSI, "population stability index from which a column has moved")
	cmd.Flags().Float64Var(&limits.KS, "ks", limits.KS, "Kolmogorov-Smirnov statistic from which a column of numbers has moved")
	cmd.Flags().Float64Var(&limits.Missing, "missing", limits.Missing, "change of the share of missing cells from which a column has moved")
	cmd.Flags().BoolVar(&all, "measures", false, "list every measure")
	return cmd
}

// changes writes the columns as a table.
func (c *cli) changes(got *dataset.Comparison, all bool) error {
	var raw []json.RawMessage
	for _, one := range got.Columns {
		if c.output != "csv" {
			one = rounded(one)
		}
		text, err := json.Marshal(one)
		if err != nil {
			return fmt.Errorf("write column %s: %w", one.Name, err)
		}
		raw = append(raw, text)
	}
	cols := columns("name", "type", "shift", "effect", "metric", "psi", "ks", "missing", "was_missing=missing_reference", "why")
	if all || c.output == "wide" {
		cols = columns("name", "type", "shift", "effect", "metric", "psi", "ks", "js", "wasserstein", "chi_square", "cramers_v", "missing", "was_missing=missing_reference", "reference", "current", "ks_error", "why")
	}
	if err := c.list(raw, cols, "name"); err != nil {
		return err
	}
	c.say("%d of %d columns moved; %d rows against %d", got.Moved, len(got.Columns), got.CurrentRows, got.ReferenceRows)
	return nil
}

// rounded is a column with four digits a number, for people.
func rounded(one dataset.Change) dataset.Change {
	digits := func(v float64) float64 {
		out, err := strconv.ParseFloat(strconv.FormatFloat(v, 'g', 4, 64), 64)
		if err != nil || math.Abs(v) < 1e-6 {
			return 0
		}
		return out
	}
	for _, v := range []**float64{&one.PSI, &one.KS, &one.JS, &one.Wasserstein, &one.ChiSquare, &one.CramersV} {
		if *v != nil {
			short := digits(**v)
			*v = &short
		}
	}
	one.Effect, one.Missing, one.MissingWas, one.Error = digits(one.Effect), digits(one.Missing), digits(one.MissingWas), digits(one.Error)
	return one
}

// dataFile opens a file of that name, or else fetches the data version it names; done closes it.
func (c *cli) dataFile(ctx context.Context, name string) (out dataset.File, done func(), err error) {
	f, err := os.Open(name)
	if err == nil {
		st, err := f.Stat()
		if err == nil && st.IsDir() {
			err = usage("%s is a folder; name a CSV or Parquet file.", name)
		}
		if err != nil {
			return out, nil, errors.Join(err, f.Close())
		}
		return dataset.File{At: f, Size: st.Size(), Format: fileFormat(name)}, func() { _ = f.Close() }, nil // it was only read
	}
	o, bad := parseObject(name)
	if fileFormat(name) != "" || !os.IsNotExist(err) || bad != nil || o.alias != "" {
		return out, nil, usage("The file cannot be read: %v", err)
	}
	path, err := datasetPath(name)
	if err != nil {
		return out, nil, err
	}
	cl, err := c.dial()
	if err != nil {
		return out, nil, err
	}
	if o.version == "" {
		var d struct{ Latest *struct{ Version int } }
		if err := cl.Get(ctx, path, &d); err != nil {
			return out, nil, err
		}
		if d.Latest == nil {
			return out, nil, usage("The data set %s has no version yet.", name)
		}
		path = fmt.Sprintf("%s/versions/%d", path, d.Latest.Version)
	}
	if f, err = os.CreateTemp("", "keelson-compare-*"); err != nil {
		return out, nil, fmt.Errorf("keep the data version: %w", err)
	}
	done = func() {
		_ = f.Close() // it is thrown away
		_ = os.Remove(f.Name())
	}
	size, err := cl.Download(ctx, path+"/content", f)
	if err != nil {
		done()
		return out, nil, err
	}
	return dataset.File{At: f, Size: size}, done, nil
}
