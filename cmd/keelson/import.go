package main

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"keelson/client"
	"keelson/cmd/keelson/mlflow"
)

// Variables that hold how to sign in to the server that is copied from.
const (
	envImportToken    = "KEELSON_IMPORT_TOKEN"
	envImportPassword = "KEELSON_IMPORT_PASSWORD"
)

func (c *cli) importCmd() *cobra.Command {
	return c.noun("import", "Bring what another system keeps", nil, c.importMLflow())
}

func (c *cli) importMLflow() *cobra.Command {
	var from, tokenFile, user, theirs string
	var experiments, models []string
	var deleted, noVerify bool
	var workers int
	cmd := verb("mlflow", "Copy experiments, runs, models and versions from a running MLflow server, and compare both sides",
		"keelson import mlflow --from http://mlflow.example:5000\nkeelson import mlflow --from http://127.0.0.1:5001 --experiments 'churn*,credit' --workspace risk\nkeelson import mlflow --from https://mlflow.example --token-file token.txt --models screening --json",
		c.args(0, 0, ""), func(cmd *cobra.Command, _ []string) error {
			if from == "" {
				return usage("Say where to copy from: --from http://host:5000.")
			}
			source, err := mlflow.Open(from)
			if err != nil {
				return usage("%s.", strings.ToUpper(err.Error()[:1])+err.Error()[1:])
			}
			source.Workspace = theirs
			if err := c.importSignIn(source, tokenFile, user); err != nil {
				return err
			}
			a, err := c.where()
			if err != nil {
				return err
			}
			cl, err := c.dialAccount(a)
			if err != nil {
				return err
			}
			if _, err := cl.Me(cmd.Context()); err != nil { // says at once when the target is down or refuses
				return err
			}
			target := &mlflow.Server{URL: strings.TrimRight(a.Server, "/"), Token: a.Token, HTTP: &http.Client{}}
			if a.Workspace != "" && a.Workspace != "default" {
				target.URL += "/w/" + escape(a.Workspace)
			}
			return c.runImport(cmd, &mlflow.Copier{From: source, To: target, Source: source.URL, Experiments: experiments, Models: models, Deleted: deleted, Workers: workers}, !noVerify)
		})
	f := cmd.Flags()
	f.StringVar(&from, "from", "", "address of the MLflow server")
	f.StringVar(&tokenFile, "token-file", "", "file that holds a token for it (or "+envImportToken+")")
	f.StringVar(&user, "user", "", "account on it; the password is asked for (or "+envImportPassword+")")
	f.StringVar(&theirs, "from-workspace", "", "workspace on it, where it has them")
	f.StringSliceVar(&experiments, "experiments", nil, "names of experiments, with * and ?; default all")
	f.StringSliceVar(&models, "models", nil, "names of registered models, with * and ?; default all, or none with --experiments")
	f.BoolVar(&deleted, "deleted", false, "also what is in its bin")
	f.BoolVar(&noVerify, "no-verify", false, "do not read both sides again to compare")
	f.IntVar(&workers, "workers", 4, "runs copied at once")
	return cmd
}

// importSignIn finds out how to sign in to the source.
func (c *cli) importSignIn(s *mlflow.Server, tokenFile, user string) error {
	switch {
	case tokenFile != "":
		b, err := os.ReadFile(tokenFile)
		if err != nil {
			return usage("The token cannot be read: %v.", err)
		}
		s.Token = strings.TrimSpace(string(b))
	case user != "":
		s.User, s.Password = user, c.env(envImportPassword)
		if s.Password != "" {
			return nil
		}
		in, ok := c.in.(*os.File)
		if !ok || c.noInput || !term.IsTerminal(int(in.Fd())) {
			return &failure{code: client.ExitUsage, text: "There is no terminal to ask for the password of " + user + " on.", hint: "set " + envImportPassword}
		}
		fmt.Fprintf(c.errs, "password of %s at %s: ", user, s.URL)
		secret, err := term.ReadPassword(int(in.Fd()))
		fmt.Fprintln(c.errs)
		if err != nil {
			return err
		}
		s.Password = string(secret)
	case s.User == "":
		s.Token = c.env(envImportToken)
	}
	return nil
}

func (c *cli) runImport(cmd *cobra.Command, copier *mlflow.Copier, verify bool) error {
	bar := c.meter("import from "+copier.Source, 0)
	copier.Tell = func(p mlflow.Progress) {
		bar.Set(fmt.Sprintf("%s: %s runs, %s points, %s files (%s)", p.Phase, thousands(p.Runs), thousands(p.Points), thousands(p.Files), size(p.Bytes)))
	}
	report, err := copier.Copy(cmd.Context())
	if err == nil && verify {
		err = copier.Verify(cmd.Context())
	}
	bar.Close()
	if err != nil {
		code := client.ExitUnreachable
		var f *mlflow.Failure
		if errors.As(err, &f) {
			switch {
			case f.Status == http.StatusUnauthorized || f.Status == http.StatusForbidden:
				code = client.ExitForbidden
			case f.Status < 500:
				code = client.ExitFailed
			}
		}
		return &wrapped{failure{code: code, text: "The import stopped: " + err.Error(), hint: "run the same command again: it goes on where it stopped"}, err}
	}
	report.Finish()
	if c.machine() || c.output != "" {
		if err := c.show(report, nil, "source"); err != nil {
			return err
		}
	} else {
		c.importTable(report)
	}
	if !report.OK() {
		return answered(client.ExitCheck)
	}
	return nil
}

// importTable prints the report for people.
func (c *cli) importTable(r *mlflow.Report) {
	w := tabwriter.NewWriter(c.out, 0, 4, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "KIND\tSOURCE\tCOPIED\tALREADY THERE\tDIFFERS\tDIGEST\t")
	for _, row := range r.Rows {
		digest := "-"
		switch {
		case row.SourceDigest != row.TargetDigest:
			digest = row.SourceDigest[:12] + " / " + row.TargetDigest[:12]
		case row.SourceDigest != "":
			digest = row.SourceDigest[:12]
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t\n", row.Kind, thousands(row.Source), thousands(row.Copied), thousands(row.There), thousands(row.Differs), digest)
	}
	w.Flush()
	for _, n := range r.Renamed {
		c.say("renamed: %s", n)
	}
	for _, d := range r.Differences {
		fmt.Fprintf(c.errs, "%s %s %s: %s\n", c.sign("✗", "x"), d.Kind, d.ID, d.Why)
	}
	switch {
	case !r.OK():
		c.say("%s not everything is the same on both sides", c.sign("✗", "x"))
	case r.Verified:
		c.say("%s everything is the same on both sides", c.sign("✓", "ok"))
	default:
		c.say("%s copied, not compared", c.sign("✓", "ok"))
	}
}
