package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"keelson/client"
	"keelson/internal/app"
	"keelson/internal/problem"
	"keelson/internal/runtime"
)

var runtimeColumns = columns("name", "version", "state", "licence", "purpose")

// runtimeCmd is what the server's machine may open besides this program. It works on the server's data folder and needs no
// running server.
func (c *cli) runtimeCmd() *cobra.Command {
	var file, data string
	store := func() (*runtime.Store, error) {
		set := map[string]string{}
		if data != "" {
			set["data"] = data
		}
		cfg, err := app.Load(file, os.Environ(), set)
		if err != nil {
			return nil, usage("%s", err.Error())
		}
		return &runtime.Store{Root: filepath.Join(cfg.Data, "runtime")}, nil
	}
	list := verb("list", "List the libraries that can be installed, and whether they are", "keelson runtime list\nkeelson runtime list --data /srv/keelson\nkeelson runtime list --json", c.args(0, 0, ""), func(cmd *cobra.Command, _ []string) error {
		s, err := store()
		if err != nil {
			return err
		}
		all, err := s.List()
		if err != nil {
			return err
		}
		var items []json.RawMessage
		for _, st := range all {
			b, err := json.Marshal(st)
			if err != nil {
				return err
			}
			items = append(items, b)
		}
		return c.list(items, runtimeColumns, "name")
	})
	var o runtime.Options
	install := verb("install NAME", "Fetch a library, check it and put it into the server's data folder",
		"keelson runtime install onnxruntime\nkeelson runtime install onnxruntime --data /srv/keelson\nkeelson runtime install onnxruntime --from onnxruntime-1.31.1-cp311-cp311-manylinux_2_28_x86_64.whl",
		c.args(1, 1, "the name of a library, as keelson runtime list shows it"), func(cmd *cobra.Command, args []string) error {
			s, err := store()
			if err != nil {
				return err
			}
			p, err := runtime.Find(args[0])
			if err != nil {
				return here(err)
			}
			bar := c.meter("fetching "+p.Name+" "+p.Version, 0)
			defer bar.Close()
			o.Index = runtime.FromPip(c.env)
			o.Progress = func(done, total int64) { bar.at(done, total) }
			st, err := s.Install(cmd.Context(), args[0], o)
			bar.Close()
			if err != nil {
				return here(err)
			}
			if !c.machine() && !c.quiet {
				c.say("%s %s is installed (licence %s); a running server finds it within seconds and tests again what had no engine", st.Name, st.Version, st.Licence)
			}
			return c.show(st, columns("name", "version", "state", "path"), "name")
		})
	install.Flags().StringVar(&o.From, "from", "", "a wheel on this machine, or a folder with it, instead of the index that pip is configured for")
	install.Flags().BoolVar(&o.Force, "force", false, "also when it is there")
	remove := verb("remove NAME", "Take a library out of the server's data folder", "keelson runtime remove onnxruntime\nkeelson runtime remove onnxruntime --yes\nkeelson runtime remove onnxruntime --data /srv/keelson --yes",
		c.args(1, 1, "the name of a library"), func(cmd *cobra.Command, args []string) error {
			s, err := store()
			if err != nil {
				return err
			}
			p, err := runtime.Find(args[0])
			if err != nil {
				return here(err)
			}
			if err := c.confirm(fmt.Sprintf("Remove %s? Versions that need it run on until they are loaded again.", p.Name)); err != nil {
				return err
			}
			if err := s.Remove(args[0]); err != nil {
				return here(err)
			}
			c.say("%s is removed", p.Name)
			return nil
		})
	cmd := c.noun("runtime", "Libraries that the server may open for models it cannot run by itself", nil, list, install, remove)
	cmd.PersistentFlags().StringVar(&data, "data", "", "the server's data folder (default keelson-data)")
	cmd.PersistentFlags().StringVar(&file, "config", "", "the server's configuration file")
	return cmd
}

// here makes a refusal on this machine one of the command line's, with the code that a server's would have.
func here(err error) error {
	p, ok := problem.As(err)
	if !ok {
		return err
	}
	code := client.ExitFailed
	switch p.Kind {
	case problem.NotFound:
		code = client.ExitNotFound
	case problem.Invalid, problem.TooLarge, problem.Unsupported:
		code = client.ExitUsage
	}
	return &failure{code: code, text: p.Detail}
}
