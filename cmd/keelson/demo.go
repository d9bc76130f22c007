package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"keelson/cmd/keelson/story"
	"keelson/examples"
	"keelson/internal/app"
	"keelson/internal/venv"
)

func (c *cli) demoCmd() *cobra.Command {
	var once bool
	cmd := verb("demo", "Tell the whole story on this machine, with real data", "keelson demo\nkeelson demo --once\nkeelson demo --data ./demo --listen 127.0.0.1:8080 --python .venv/bin/python", c.args(0, 0, ""), func(cmd *cobra.Command, _ []string) error {
		set := serverSettings(cmd.Flags())
		folder := set["data"]
		if folder == "" {
			var err error
			if folder, err = os.MkdirTemp("", "keelson-demo-"); err != nil {
				return err
			}
			defer os.RemoveAll(folder)
		} else if left, err := os.ReadDir(folder); err == nil && len(left) > 0 {
			return usage("The folder %s is not empty; the story begins with an empty one.", folder)
		}
		folder, err := filepath.Abs(folder)
		if err != nil {
			return err
		}
		set["data"] = filepath.Join(folder, "server")
		if set["listen"] == "" {
			set["listen"] = freeOr("127.0.0.1:5000")
		}
		cfg, err := app.Load("", os.Environ(), set)
		if err != nil {
			return usage("%s", err.Error())
		}
		return c.demo(cmd.Context(), cfg, folder, once)
	})
	cmd.Flags().BoolVar(&once, "once", false, "end after the story instead of serving on")
	addServerFlags(cmd.Flags(), "auth", "parts", "hosts", "keys")
	return cmd
}

// freeOr gives address if nobody listens there, else a free port of the same host.
func freeOr(address string) string {
	l, err := net.Listen("tcp", address)
	if err != nil {
		host, _, _ := net.SplitHostPort(address)
		return net.JoinHostPort(host, "0")
	}
	_ = l.Close() // it was only asked
	return address
}

// demo starts a server, tells the story on it, and serves on until it is interrupted, or ends when once is set.
func (c *cli) demo(ctx context.Context, cfg app.Config, folder string, once bool) (err error) {
	began := time.Now()
	if cfg.Python == "" {
		if cfg.Python, err = c.demoPython(ctx); err != nil {
			return err
		}
	}
	if cfg.Python, err = filepath.Abs(cfg.Python); err != nil {
		return err
	}
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return err
	}
	log, err := os.OpenFile(filepath.Join(folder, "server.log"), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	a, err := app.New(ctx, cfg, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, a.Close()) }()
	link, token, _, err := a.Identity.First(ctx)
	if err != nil {
		return err
	}
	serving, stop := context.WithCancel(ctx)
	up, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- a.Run(serving, func() { close(up) }) }()
	defer func() {
		stop()
		if e := <-ended; err == nil {
			err = e
		}
	}()
	select {
	case <-up:
	case err := <-ended:
		ended <- nil
		return err
	}
	fmt.Fprintf(c.out, "ready on %s\n", a.URL)
	self, err := os.Executable()
	if err != nil {
		return err
	}
	projects := filepath.Join(folder, "projects")
	if err := os.MkdirAll(projects, 0o700); err != nil {
		return err
	}
	s := &story.Story{Self: []string{self}, URL: a.URL, Admin: token, Python: cfg.Python, Folder: projects, Database: cmp.Or(cfg.Database, filepath.Join(cfg.Data, "keelson.db")),
		Blobs: cmp.Or(cfg.Blobs, filepath.Join(cfg.Data, "blobs")), Out: c.out}
	if err := s.Tell(ctx); err != nil {
		if ctx.Err() != nil {
			return &failure{code: 130, text: "Interrupted.", hint: "nothing is left running; begin again with: keelson demo"}
		}
		return &failure{code: 1, text: err.Error(), hint: "the server's log is " + log.Name()}
	}
	fmt.Fprintf(c.out, "\nThe story is told (%s). Look at it:\n\n  %s/models/screening            the model, its versions and time line\n  %s/approvals                   who asked for what and who agreed\n  %s/monitors/screening          reference and current patients side by side\n  %s/audit                       every act, verifiable\n\n"+
		"  as administrator   %s/?link=%s   (works once)\n  as %s   with the password %s\n", time.Since(began).Round(time.Second), a.URL, a.URL, a.URL, a.URL, a.URL, link, story.Accounts(), story.Password)
	if once {
		return nil
	}
	fmt.Fprintf(c.out, "\nserving until Ctrl-C …\n")
	select {
	case <-ctx.Done():
		return nil
	case err := <-ended:
		ended <- nil
		return err
	}
}

// demoPython makes the Python environment of the examples, once per user and lock file.
func (c *cli) demoPython(ctx context.Context) (string, error) {
	lock, err := examples.Files.ReadFile("screening/requirements.txt")
	if err != nil {
		return "", err
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = os.TempDir()
	}
	c.say("the Python environment of the examples is made once, in about a minute …")
	envs := &venv.Environments{Root: filepath.Join(cache, "keelson", "environments")}
	bin, err := envs.Ensure(ctx, lock, c.errs)
	return filepath.Join(bin, "python"), err
}
