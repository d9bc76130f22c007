package app

import (
	"context"
	"crypto/sha256"
	"slices"
	"time"

	"keelson/internal/audit"
	"keelson/internal/bin"
	"keelson/internal/blob"
	"keelson/internal/caller"
	"keelson/internal/db"
	"keelson/internal/incident"
	"keelson/internal/prediction"
	"keelson/internal/problem"
	"keelson/internal/release"
)

// holders is everybody who refers to content in the blob store: bytes that none of them holds are deleted. A new column
// with digests of stored bytes is added here, or to the list in the test that walks the schema of columns that hold other
// digests.
func (a *App) holders() []blob.Holder {
	return []blob.Holder{
		blob.Column{Table: "artifact", Name: "digest"},
		blob.Column{Table: "model_file", Name: "digest"},
		blob.Column{Table: "dataset_version", Name: "digest"},
		blob.Column{Table: "pipeline_version", Name: "archive"},
		blob.Column{Table: "pipeline_step", Name: "log_digest"},
		blob.Column{Table: "bin_file", Name: "digest"},
		blob.Column{Table: "monitor_module", Name: "digest"},
		released{a},
	}
}

// released holds the files that serving may load: those of the newest release of every endpoint.
type released struct{ a *App }

// Holding implements blob.Holder.
func (r released) Holding(tx db.Scope, _ []string) (out []string, err error) {
	list, err := r.a.Deployments.Newest(tx)
	if err != nil {
		return nil, err
	}
	for _, e := range list {
		doc, err := release.Open(r.a.release.Public(), []byte(e.Text))
		if err != nil || doc.State == release.Retired {
			continue // serving loads nothing of it either
		}
		for _, s := range doc.Slots {
			for _, f := range s.Files {
				out = append(out, f.Digest)
			}
		}
	}
	return out, nil
}

// keep builds the keeper of the blob store.
func (a *App) keep() {
	a.Keeper = &blob.Keeper{DB: a.DB, Store: a.Blobs, Log: a.Log, Now: time.Now, Holders: a.holders(), Altered: a.altered}
	a.Keeper.Watch()
	a.run = append(a.run, a.Keeper.Run)
	a.Jobs.Every("blob.collect", 10*time.Minute, func(ctx context.Context) error { _, err := a.Keeper.Collect(ctx); return err })
	a.Jobs.Every("blob.sweep", 24*time.Hour, func(ctx context.Context) error {
		f, err := a.Keeper.Sweep(ctx)
		if f.Files > 0 {
			a.Log.InfoContext(ctx, "unreferenced bytes deleted", "files", f.Files, "bytes", f.Bytes)
		}
		return err
	})
	a.Jobs.Every("blob.scrub", 7*24*time.Hour, func(ctx context.Context) error { _, _, err := a.Keeper.Scrub(ctx); return err })
}

// throwAway builds the bin over everything that can be deleted and come back.
func (a *App) throwAway() {
	a.Bin = &bin.Service{DB: a.DB, Keeper: a.Keeper, Kinds: slices.Concat(a.Tracking.Bins(), a.Inventory.Bins()), Retention: a.Config.BinRetention, Log: a.Log, Now: time.Now}
	a.Bin.Routes(a.API)
	a.Bin.Jobs(a.Jobs)
}

// altered opens an incident about bytes that were changed outside of the program, and audits it.
func (a *App) altered(ctx context.Context, digest string) error {
	return a.DB.Write(context.WithoutCancel(ctx), func(tx db.Scope) error {
		if _, err := a.Incidents.OpenIn(tx, incident.New{Kind: incident.RecordTampered, Title: "Stored bytes were altered", Severity: incident.High, Key: "altered:" + digest,
			Detail: "The content " + digest + " no longer has its digest: it was changed outside of the program. It is not handed out. Restore it from a backup, or upload it again."}); err != nil {
			return err
		}
		return audit.Record(tx, "blob.altered", "blob/"+digest, map[string]any{"digest": digest})
	})
}

// linkKey is what links to artifacts are signed with; it follows from the release key, so that all processes have it.
func (a *App) linkKey() []byte {
	sum := sha256.Sum256([]byte(a.release.Sign("keelson/artifact-links/v1", []byte("key"))))
	return sum[:]
}

// hashKey is what redacted values in the prediction log are hashed with; it follows from the release key, so that all
// processes have it and who holds the log alone cannot try values.
func (a *App) hashKey() []byte {
	sum := sha256.Sum256([]byte(a.release.Sign("keelson/prediction-hashes/v1", []byte("key"))))
	return sum[:]
}

// personal lists the columns about people of the data sets that a version was made of.
func (a *App) personal(ctx context.Context, model string, version int) (columns []string, err error) {
	v, err := a.Inventory.Version(ctx, model, version)
	if err != nil {
		return nil, err
	}
	for _, d := range v.Dependencies {
		if d.Kind != "data" {
			continue
		}
		set, err := a.Data.Get(ctx, d.Name)
		if problem.Is(err, problem.NotFound) {
			continue // a run may name data that is kept elsewhere
		}
		if err != nil {
			return nil, err
		}
		columns = append(columns, set.Personal...)
	}
	slices.Sort(columns)
	return slices.Compact(columns), nil
}

// redaction is what predictions of a version that runs elsewhere leave out when they are handed in: the columns about
// people in the data it was made of. A version that is not registered has none.
func (a *App) redaction(ctx context.Context, model string, version int) (*prediction.Redaction, error) {
	v, err := a.Inventory.Version(ctx, model, version)
	if problem.Is(err, problem.NotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	columns, err := a.personal(ctx, model, version)
	return prediction.NewRedaction(columns, v.Signature, prediction.HashKey(a.hashKey(), caller.Workspace(ctx))), err
}
