package blob

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"mime"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"

	"keelson/internal/db"
)

// Uploads in parts go to the object uploads/<id> with S3's own multipart calls; the client PUTs to presigned addresses.
// An upload is named "<id>.<S3's upload id>". When it is finished its bytes are read once for their digest and copied
// inside S3 to the name that the digest gives them.

func (s *S3) staged(upload string) (object, id string, err error) {
	name, id, ok := strings.Cut(upload, ".")
	if !ok || id == "" || len(name) < 8 || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789") != "" {
		return "", "", ErrNotFound
	}
	return s.prefix + "uploads/" + name, id, nil
}

// BeginParts implements Parted.
func (s *S3) BeginParts(ctx context.Context) (string, error) {
	name := db.NewID()
	id, err := minio.Core{Client: s.client}.NewMultipartUpload(ctx, s.bucket, s.prefix+"uploads/"+name, minio.PutObjectOptions{})
	return name + "." + id, s3err(err)
}

// PartLink implements Parted.
func (s *S3) PartLink(ctx context.Context, upload string, n int, valid time.Duration) (string, error) {
	object, id, err := s.staged(upload)
	if err != nil {
		return "", err
	}
	if n < 1 || n > MaxParts {
		return "", badPart(n)
	}
	u, err := s.client.Presign(ctx, "PUT", s.bucket, object, valid, url.Values{"partNumber": {strconv.Itoa(n)}, "uploadId": {id}})
	if err != nil {
		return "", s3err(err)
	}
	return u.String(), nil
}

// WritePart implements Parted: clients use PartLink, so it is not possible here.
func (s *S3) WritePart(context.Context, string, int, io.Reader) (Part, error) {
	return Part{}, errors.New("S3: parts go to their presigned addresses")
}

// Parts implements Parted.
func (s *S3) Parts(ctx context.Context, upload string) (out []Part, err error) {
	object, id, err := s.staged(upload)
	if err != nil {
		return nil, err
	}
	for after := 0; ; {
		r, err := minio.Core{Client: s.client}.ListObjectParts(ctx, s.bucket, object, id, after, 1000)
		if err != nil {
			return nil, noUpload(err)
		}
		for _, p := range r.ObjectParts {
			out = append(out, Part{p.PartNumber, strings.Trim(p.ETag, `"`), p.Size})
		}
		if !r.IsTruncated || r.NextPartNumberMarker <= after {
			return out, nil
		}
		after = r.NextPartNumberMarker
	}
}

func noUpload(err error) error {
	if minio.ToErrorResponse(err).Code == "NoSuchUpload" {
		return ErrNotFound
	}
	return s3err(err)
}

// FinishParts implements Parted.
func (s *S3) FinishParts(ctx context.Context, upload string, parts []Part) (string, int64, error) {
	object, id, err := s.staged(upload)
	if err != nil {
		return "", 0, err
	}
	there, err := s.Parts(ctx, upload)
	switch {
	case errors.Is(err, ErrNotFound): // it was completed by a call that broke off afterwards
		if _, err := s.client.StatObject(ctx, s.bucket, object, minio.StatObjectOptions{}); err != nil {
			return "", 0, s3err(err)
		}
	case err != nil:
		return "", 0, err
	default:
		if err := CheckParts(parts, there); err != nil {
			return "", 0, err
		}
		list := make([]minio.CompletePart, len(parts))
		for i, p := range there[:len(parts)] {
			list[i] = minio.CompletePart{PartNumber: p.Number, ETag: p.ETag}
		}
		if _, err := (minio.Core{Client: s.client}).CompleteMultipartUpload(ctx, s.bucket, object, id, list, minio.PutObjectOptions{}); err != nil {
			return "", 0, s3err(err)
		}
	}
	r, size, err := s.open(ctx, strings.TrimPrefix(object, s.prefix))
	if err != nil {
		return "", 0, err
	}
	sum := sha256.New()
	_, err = io.Copy(sum, r)
	if err = errors.Join(err, r.Close()); err != nil {
		return "", 0, s3err(err)
	}
	hexa := hex.EncodeToString(sum.Sum(nil))
	digest := "sha256:" + hexa
	if s.claim != nil {
		if err := s.claim(ctx, digest); err != nil {
			return "", 0, err
		}
	}
	if size > 0 {
		dst, src := minio.CopyDestOptions{Bucket: s.bucket, Object: s.prefix + contentPath(hexa)}, minio.CopySrcOptions{Bucket: s.bucket, Object: object}
		if size < 5<<30 {
			_, err = s.client.CopyObject(ctx, dst, src)
		} else { // beyond what one copy takes
			_, err = s.client.ComposeObject(ctx, dst, src)
		}
		if err != nil {
			return "", 0, s3err(err)
		}
	}
	return digest, size, s3err(s.client.RemoveObject(ctx, s.bucket, object, minio.RemoveObjectOptions{}))
}

// DropParts implements Parted.
func (s *S3) DropParts(ctx context.Context, upload string) error {
	object, id, err := s.staged(upload)
	if err != nil {
		return nil
	}
	if err := noUpload(minio.Core{Client: s.client}.AbortMultipartUpload(ctx, s.bucket, object, id)); err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	return s3err(s.client.RemoveObject(ctx, s.bucket, object, minio.RemoveObjectOptions{}))
}

// OnPut implements Claiming.
func (s *S3) OnPut(claim func(context.Context, string) error) { s.claim = claim }

// Link implements Linking.
func (s *S3) Link(ctx context.Context, digest, name, contentType string, valid time.Duration) (string, error) {
	hexa, err := ParseDigest(digest)
	if err != nil {
		return "", err
	}
	if digest == empty {
		return "", nil
	}
	u, err := s.client.PresignedGetObject(ctx, s.bucket, s.prefix+contentPath(hexa), valid, url.Values{
		"response-content-type":        {contentType},
		"response-content-disposition": {mime.FormatMediaType("attachment", map[string]string{"filename": name})}})
	if err != nil {
		return "", s3err(err)
	}
	return u.String(), nil
}

// Contents implements Listing.
func (s *S3) Contents(ctx context.Context, after string, limit int) (out []Content, err error) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	o := minio.ListObjectsOptions{Prefix: s.prefix + "content/", Recursive: true}
	if after != "" {
		hexa, err := ParseDigest(after)
		if err != nil {
			return nil, err
		}
		o.StartAfter = s.prefix + contentPath(hexa)
	}
	for x := range s.client.ListObjects(ctx, s.bucket, o) {
		if x.Err != nil {
			return nil, s3err(x.Err)
		}
		digest := "sha256:" + x.Key[strings.LastIndexByte(x.Key, '/')+1:]
		if _, err := ParseDigest(digest); err != nil || digest <= after {
			continue
		}
		if out = append(out, Content{digest, x.Size, x.LastModified}); len(out) == limit {
			break
		}
	}
	return out, nil
}

// Tidy implements Tidying.
func (s *S3) Tidy(ctx context.Context, before time.Time) error {
	for u := range s.client.ListIncompleteUploads(ctx, s.bucket, s.prefix+"uploads/", true) {
		if u.Err != nil {
			return s3err(u.Err)
		}
		if u.Initiated.Before(before) {
			if err := s.client.RemoveIncompleteUpload(ctx, s.bucket, u.Key); err != nil {
				return s3err(err)
			}
		}
	}
	for o := range s.client.ListObjects(ctx, s.bucket, minio.ListObjectsOptions{Prefix: s.prefix + "uploads/", Recursive: true}) {
		if o.Err != nil {
			return s3err(o.Err)
		}
		if o.LastModified.Before(before) {
			if err := s.client.RemoveObject(ctx, s.bucket, o.Key, minio.RemoveObjectOptions{}); err != nil {
				return s3err(err)
			}
		}
	}
	return nil
}
