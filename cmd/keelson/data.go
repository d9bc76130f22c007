package main

import (
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"

	"github.com/spf13/cobra"

	"keelson/client"
)

var (
	dataColumns        = columns("name", "version=latest.version", "rows=latest.rows", "columns=latest.columns", "owner", "sensitivity", "digest=latest.digest")
	dataVersionColumns = columns("dataset", "version", "rows", "format", "size", "digest", "created_by", "created_at", "note", "parents")
)

func datasetPath(s string) (string, error) {
	o, err := parseObject(s)
	if err != nil || o.alias != "" {
		return "", usage("%q is not a data set; write name or name/3.", s)
	}
	p := "/api/v1/datasets/" + escape(o.name)
	if o.version != "" {
		p += "/versions/" + o.version
	}
	return p, nil
}

func (c *cli) dataCmd() *cobra.Command {
	var file, format, note string
	add := verb("add NAME FILE", "Import a data file as the next version of a data set", "keelson data add screening-patients data/older.csv\nkeelson data add screening-patients data/newer.parquet --note \"second quarter\"\nkeelson data add churn - --format csv < churn.csv",
		c.args(2, 2, "NAME and FILE"), func(cmd *cobra.Command, args []string) error {
			body, err := c.openData(args[1])
			if err != nil {
				return err
			}
			defer body.Close()
			if format == "" {
				format = fileFormat(args[1])
			}
			cl, err := c.dial()
			if err != nil {
				return err
			}
			p, found, err := openProject(file)
			if err != nil {
				return err
			}
			if d := p.dataset(args[0]); found && d != nil {
				if _, err := cl.PutDataset(cmd.Context(), *d); err != nil {
					return fmt.Errorf("set rules of %s: %w", args[0], err)
				}
				c.say("%s rules of %s from %s", c.sign("✓", "ok"), args[0], p.file)
			}
			v, err := cl.AddData(cmd.Context(), args[0], format, note, body)
			if err != nil {
				return broken(err)
			}
			if v.Existing {
				c.say("already there: these bytes are %s/%d", v.Dataset, v.Version)
			} else {
				c.next("keelson data get %s/%d", v.Dataset, v.Version)
			}
			return c.show(v, dataVersionColumns, "dataset")
		})
	add.Flags().StringVarP(&file, "file", "f", "", "project file with the rules (default: keelson.yaml here or above)")
	add.Flags().StringVar(&format, "format", "", "csv or parquet (default: what the file is)")
	add.Flags().StringVar(&note, "note", "", "why this version")

	check := verb("check NAME FILE", "Check a data file against a data set's rules and store nothing", "keelson data check screening-patients data/broken.csv\nkeelson data check churn churn.parquet --json\nkeelson data check churn - --format csv < churn.csv",
		c.args(2, 2, "NAME and FILE"), func(cmd *cobra.Command, args []string) error {
			body, err := c.openData(args[1])
			if err != nil {
				return err
			}
			defer body.Close()
			f, err := cmd.Flags().GetString("format")
			if err != nil {
				return err
			}
			if f == "" {
				f = fileFormat(args[1])
			}
			cl, err := c.dial()
			if err != nil {
				return err
			}
			v, err := cl.CheckData(cmd.Context(), args[0], f, body)
			if err != nil {
				return err
			}
			if c.machine() {
				if err := c.show(v, nil, "ok"); err != nil {
					return err
				}
			} else if v.OK {
				fmt.Fprintf(c.out, "%s %s keeps the rules of %s\n", c.sign("✓", "ok"), args[1], args[0])
			} else {
				for _, f := range v.Findings {
					fmt.Fprintf(c.out, "%s %s\n", c.sign("✗", "x"), finding(f))
				}
			}
			if !v.OK {
				return answered(client.ExitCheck)
			}
			return nil
		})
	check.Flags().String("format", "", "csv or parquet (default: what the file is)")

	versions := verb("versions NAME", "List the versions of a data set", "keelson data versions screening-patients\nkeelson data versions screening-patients --json\nkeelson data versions churn -o csv",
		c.args(1, 1, "NAME"), func(cmd *cobra.Command, args []string) error {
			return c.printList(cmd.Context(), "/api/v1/datasets/"+escape(args[0])+"/versions", url.Values{}, dataVersionColumns, "version")
		})
	pull := verb("pull NAME/VERSION", "Download a data version", "keelson data pull screening-patients/1 --to older.csv\nkeelson data pull churn/3 > churn.parquet\nkeelson data pull churn/3 -q --to /tmp/c",
		c.args(1, 1, "NAME/VERSION"), func(cmd *cobra.Command, args []string) error {
			p, err := datasetPath(args[0])
			if err != nil {
				return err
			}
			o, _ := parseObject(args[0]) // datasetPath has checked it
			if o.version == "" {
				return usage("Name the version: %s/1.", o.name)
			}
			to, err := cmd.Flags().GetString("to")
			if err != nil {
				return err
			}
			return c.download(cmd, p+"/content", to)
		})
	pull.Flags().String("to", "", "file to write (default: standard output)")
	return c.noun("data", "Data sets and their versions", []string{"dataset", "datasets"},
		c.listCommand("data", "List data sets", "/api/v1/datasets", dataColumns, "name"),
		c.getCommand("data", "Show a data set or one version with its profile", "NAME[/VERSION]", "screening-patients/1", datasetPath, nil, "name"),
		add, check, versions, pull, c.profileCmd(), c.compareDataCmd())
}

func (c *cli) openData(name string) (io.ReadCloser, error) {
	if name == "-" {
		return io.NopCloser(c.in), nil
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, usage("The file cannot be read: %v", err)
	}
	return f, nil
}

// download writes what is at a path to a file, whole or not at all, or to stdout.
func (c *cli) download(cmd *cobra.Command, path, to string) error {
	cl, err := c.dial()
	if err != nil {
		return err
	}
	if to == "" {
		_, err = cl.Download(cmd.Context(), path, c.out)
		return err
	}
	f, err := os.CreateTemp(dirOf(to), ".keelson-*")
	if err != nil {
		return usage("%s cannot be written: %v", to, err)
	}
	n, err := cl.Download(cmd.Context(), path, f)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), to)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	c.say("%s %d bytes in %s", c.sign("✓", "ok"), n, to)
	return nil
}

// broken gives the refusal of a file that breaks rules the exit code of a check.
func broken(err error) error {
	var e *client.Error
	if errors.As(err, &e) && len(e.Errors) > 0 && e.Errors[0].Rule != "" {
		return &wrapped{failure{code: client.ExitCheck, text: e.Detail, hint: "mend the file, or check it without importing: keelson data check"}, err}
	}
	return err
}

// wrapped is a failure that keeps what the server said.
type wrapped struct {
	failure
	err error
}

func (w *wrapped) Unwrap() []error { return []error{&w.failure, w.err} }
