package main

import (
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"keelson/internal/app"
)

// serverFlags are the settings of a server that have a flag; the others are set by file or environment.
var serverFlags = []struct{ name, usage string }{
	{"listen", "host:port to serve on (default 127.0.0.1:5000)"},
	{"data", "folder for the database, the files and the keys (default keelson-data)"},
	{"database", "postgres://… instead of SQLite in the data folder"},
	{"blobs", "s3://… instead of a folder in the data folder"},
	{"keys", "folder of the signing keys, better outside of the data folder"},
	{"parts", "what this process does: api,worker,serving (default all)"},
	{"auth", "on or off; off only on a loopback address (default on)"},
	{"hosts", "host names to answer to, beside the own address"},
	{"outbound-allow", "addresses, networks and names inside that webhooks may lead to, as 10.0.0.0/8,*.internal"},
	{"python", "Python that pipeline steps use, instead of environments made from their lock files"},
	{"log-format", "text or json"},
	{"log-level", "debug, info, warn or error"},
}

func addServerFlags(f *pflag.FlagSet, leaveOut ...string) {
flags:
	for _, s := range serverFlags {
		for _, l := range leaveOut {
			if l == s.name {
				continue flags
			}
		}
		f.String(s.name, "", s.usage)
	}
}

// serverSettings gives the flags that were set, by their names in the configuration file.
func serverSettings(f *pflag.FlagSet) map[string]string {
	set := map[string]string{}
	for _, s := range serverFlags {
		if fl := f.Lookup(s.name); fl != nil && fl.Changed {
			set[underscored(s.name)] = fl.Value.String()
		}
	}
	return set
}

func underscored(s string) string {
	b := []byte(s)
	for i := range b {
		if b[i] == '-' {
			b[i] = '_'
		}
	}
	return string(b)
}

func (c *cli) serveCmd() *cobra.Command {
	var file string
	cmd := verb("serve", "Start a server", "keelson serve\nkeelson serve --listen 127.0.0.1:8080 --data /srv/keelson\nkeelson serve --database postgres://keelson@db/keelson --blobs s3://key:secret@minio:9000/keelson",
		c.args(0, 0, ""), func(cmd *cobra.Command, _ []string) error {
			cfg, err := app.Load(file, os.Environ(), serverSettings(cmd.Flags()))
			if err != nil {
				return usage("%s", err.Error())
			}
			return app.Serve(cmd.Context(), cfg, c.out, c.errs)
		})
	cmd.Flags().StringVar(&file, "config", "", "configuration file")
	addServerFlags(cmd.Flags())
	return cmd
}
