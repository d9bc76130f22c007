package story

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"keelson/internal/db"
)

// What somebody with access to the database or the store could try. Each function does its damage and gives the
// function that repairs it.

// sql opens the server's database as an intruder would: beside the server, with plain SQL.
func (s *Story) sql(ctx context.Context, do func(*sql.DB) error) error {
	d, err := db.Open(ctx, s.Database)
	if err != nil {
		return fmt.Errorf("open the database beside the server: %w", err)
	}
	return errors.Join(do(d.Writer()), d.Close())
}

func changed(res sql.Result, err error) error {
	if err != nil {
		return err
	}
	if n, err := res.RowsAffected(); err != nil || n == 0 {
		return errors.Join(err, errors.New("the row to tamper with is not there"))
	}
	return nil
}

// editRelease replaces a version by another one in the newest release of an endpoint, keeping its signature.
func (s *Story) editRelease(ctx context.Context, endpoint string, from, to int) (restore func() error, err error) {
	var serial int64
	var before string
	err = s.sql(ctx, func(d *sql.DB) error {
		if err := d.QueryRowContext(ctx, "SELECT serial, envelope FROM release WHERE workspace = 'default' AND endpoint = $1 ORDER BY serial DESC LIMIT 1", endpoint).Scan(&serial, &before); err != nil {
			return err
		}
		var envelope map[string]any
		if err := json.Unmarshal([]byte(before), &envelope); err != nil {
			return err
		}
		text, _ := envelope["payload"].(string)
		payload, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			return err
		}
		forged := bytes.ReplaceAll(payload, fmt.Appendf(nil, `"version":%d,`, from), fmt.Appendf(nil, `"version":%d,`, to))
		if bytes.Equal(forged, payload) {
			return fmt.Errorf("the release does not name version %d: %s", from, payload)
		}
		envelope["payload"] = base64.StdEncoding.EncodeToString(forged)
		after, err := json.Marshal(envelope)
		if err != nil {
			return err
		}
		return changed(d.ExecContext(ctx, "UPDATE release SET envelope = $1 WHERE workspace = 'default' AND endpoint = $2 AND serial = $3", string(after), endpoint, serial))
	})
	return func() error {
		return s.sql(ctx, func(d *sql.DB) error {
			return changed(d.ExecContext(ctx, "UPDATE release SET envelope = $1 WHERE workspace = 'default' AND endpoint = $2 AND serial = $3", before, endpoint, serial))
		})
	}, err
}

// insertVotes writes two votes nobody gave.
func (s *Story) insertVotes(ctx context.Context, request string) (restore func() error, err error) {
	err = s.sql(ctx, func(d *sql.DB) error {
		for i, who := range []struct{ name, role string }{{"rita", "risk-compliance"}, {"bo", "business-owner"}} {
			doc := fmt.Sprintf(`{"by":%q,"role":%q,"roles":[%q],"grant":true,"reason":"forged","at":"2026-01-01T00:00:00Z"}`, who.name, who.role, who.role)
			if err := changed(d.ExecContext(ctx, "INSERT INTO approval_act (workspace, request, seq, kind, actor, doc, seal) VALUES ('default', $1, $2, 'vote', $3, $4, 'forged')", request, 900+i, who.name, doc)); err != nil {
				return err
			}
		}
		return nil
	})
	return func() error {
		return s.sql(ctx, func(d *sql.DB) error {
			return changed(d.ExecContext(ctx, "DELETE FROM approval_act WHERE workspace = 'default' AND request = $1 AND seq >= 900", request))
		})
	}, err
}

// editEntry changes one byte of what an audit entry says.
func (s *Story) editEntry(ctx context.Context, id string) (restore func() error, err error) {
	var before string
	err = s.sql(ctx, func(d *sql.DB) error {
		if err := d.QueryRowContext(ctx, "SELECT detail FROM audit_entry WHERE id = $1", id).Scan(&before); err != nil {
			return err
		}
		after := strings.Replace(before, "true", "tRue", 1)
		if after == before {
			b := []byte(before)
			b[len(b)/2] ^= 1
			after = string(b)
		}
		return changed(d.ExecContext(ctx, "UPDATE audit_entry SET detail = $1 WHERE id = $2", after, id))
	})
	return func() error {
		return s.sql(ctx, func(d *sql.DB) error {
			return changed(d.ExecContext(ctx, "UPDATE audit_entry SET detail = $1 WHERE id = $2", before, id))
		})
	}, err
}

// changeBlob flips one bit in the middle of stored bytes.
func (s *Story) changeBlob(ctx context.Context, digest string) (restore func() error, err error) {
	name := strings.TrimPrefix(digest, "sha256:")
	name = "content/" + name[:2] + "/" + name
	if strings.HasPrefix(s.Blobs, "s3://") {
		return s.changeObject(ctx, name)
	}
	file := filepath.Join(s.Blobs, filepath.FromSlash(name))
	before, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	return func() error { return overwrite(file, before) }, overwrite(file, flipped(before))
}

func flipped(b []byte) []byte {
	out := bytes.Clone(b)
	out[len(out)/2] ^= 1
	return out
}

// overwrite writes into a file that may be read-only, as root or its owner can.
func overwrite(file string, b []byte) error {
	st, err := os.Stat(file)
	if err != nil {
		return err
	}
	if err := os.Chmod(file, st.Mode()|0o200); err != nil {
		return err
	}
	return errors.Join(os.WriteFile(file, b, st.Mode()), os.Chmod(file, st.Mode()))
}

func (s *Story) changeObject(ctx context.Context, name string) (restore func() error, err error) {
	u, err := url.Parse(s.Blobs)
	if err != nil {
		return nil, err
	}
	secret, _ := u.User.Password()
	region := u.Query().Get("region")
	if region == "" {
		region = "us-east-1"
	}
	c, err := minio.New(u.Host, &minio.Options{Creds: credentials.NewStaticV4(u.User.Username(), secret, ""), Secure: u.Query().Get("tls") != "off", Region: region, BucketLookup: minio.BucketLookupPath})
	if err != nil {
		return nil, err
	}
	bucket, prefix, _ := strings.Cut(strings.Trim(u.Path, "/"), "/")
	if prefix != "" {
		name = prefix + "/" + name
	}
	put := func(b []byte) error {
		_, err := c.PutObject(ctx, bucket, name, bytes.NewReader(b), int64(len(b)), minio.PutObjectOptions{})
		return err
	}
	o, err := c.GetObject(ctx, bucket, name, minio.GetObjectOptions{})
	if err != nil {
		return nil, err
	}
	defer o.Close()
	before, err := io.ReadAll(o)
	if err != nil {
		return nil, err
	}
	return func() error { return put(before) }, put(flipped(before))
}
