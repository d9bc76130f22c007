package blob

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"strings"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"keelson/internal/problem"
)

// S3 is a store in a bucket of any service that speaks the S3 API: content/ab/abcd… and named/….
type S3 struct {
	client         *minio.Client
	bucket, prefix string
	claim          func(context.Context, string) error
}

// OpenS3 opens a bucket, making it if it is missing. Two forms are understood:
//
//	s3://[key:secret@]host[:port]/bucket[/prefix][?tls=off][&region=…]
//	s3://[key:secret@]bucket[/prefix]?endpoint=http://host:port[&region=…]
//
// In the second form the endpoint may also come from AWS_ENDPOINT_URL; without key and secret they come from
// AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, without a region it is AWS_REGION or us-east-1.
func OpenS3(ctx context.Context, location string) (*S3, error) {
	u, err := url.Parse(location)
	if err != nil || u.Host == "" {
		return nil, errors.New("blobs: write s3://key:secret@host:port/bucket, or s3://bucket?endpoint=http://host:port")
	}
	path := strings.Trim(u.Path, "/")
	host, tls := u.Host, u.Query().Get("tls") != "off"
	endpoint := u.Query().Get("endpoint")
	if endpoint == "" && (path == "" || u.Port() == "" && !strings.Contains(u.Host, ".")) {
		endpoint = cmp.Or(os.Getenv("AWS_ENDPOINT_URL_S3"), os.Getenv("AWS_ENDPOINT_URL"), "https://s3.amazonaws.com")
	}
	if endpoint != "" {
		e, err := url.Parse(endpoint)
		if err != nil || e.Host == "" {
			return nil, fmt.Errorf("blobs: the endpoint %q is no address like http://host:port", endpoint)
		}
		host, tls, path = e.Host, e.Scheme == "https", strings.Trim(u.Host+"/"+path, "/")
	}
	bucket, prefix, _ := strings.Cut(path, "/")
	if prefix != "" {
		prefix += "/"
	}
	creds := credentials.NewEnvAWS()
	if u.User != nil {
		secret, _ := u.User.Password()
		creds = credentials.NewStaticV4(u.User.Username(), secret, "")
	}
	region := cmp.Or(u.Query().Get("region"), os.Getenv("AWS_REGION"), "us-east-1")
	c, err := minio.New(host, &minio.Options{Creds: creds, Secure: tls, Region: region, BucketLookup: minio.BucketLookupPath})
	if err != nil {
		return nil, fmt.Errorf("open S3 at %s: %w", host, err)
	}
	ok, err := c.BucketExists(ctx, bucket)
	if err != nil {
		return nil, fmt.Errorf("reach bucket %s at %s: %w", bucket, host, err)
	}
	if !ok {
		if err := c.MakeBucket(ctx, bucket, minio.MakeBucketOptions{Region: region}); err != nil {
			return nil, fmt.Errorf("make bucket %s at %s: %w", bucket, host, err)
		}
	}
	return &S3{client: c, bucket: bucket, prefix: prefix}, nil
}

// Put spools to a temporary file, because the name of the object is only known at the end.
func (s *S3) Put(ctx context.Context, r io.Reader) (string, int64, error) {
	f, err := os.CreateTemp("", "keelson-put-*")
	if err != nil {
		return "", 0, full(err)
	}
	defer os.Remove(f.Name())
	defer f.Close()
	sum := sha256.New()
	size, err := copyHashed(f, r, sum)
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		return "", 0, full(err)
	}
	hexa := hex.EncodeToString(sum.Sum(nil))
	if s.claim != nil {
		if err := s.claim(ctx, "sha256:"+hexa); err != nil {
			return "", 0, err
		}
	}
	if size == 0 {
		return empty, 0, nil // nothing to store, and some services refuse an upload without length
	}
	if _, err := s.client.PutObject(ctx, s.bucket, s.prefix+contentPath(hexa), f, size, minio.PutObjectOptions{}); err != nil {
		return "", 0, s3err(err)
	}
	return "sha256:" + hexa, size, nil
}

// empty is the digest of no bytes.
const empty = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

type nothing struct{ *strings.Reader }

func (nothing) Close() error { return nil }

func (s *S3) Open(ctx context.Context, digest string) (io.ReadSeekCloser, int64, error) {
	hexa, err := ParseDigest(digest)
	if err != nil {
		return nil, 0, err
	}
	if digest == empty {
		return nothing{strings.NewReader("")}, 0, nil
	}
	return s.open(ctx, contentPath(hexa))
}

func (s *S3) open(ctx context.Context, name string) (io.ReadSeekCloser, int64, error) {
	o, err := s.client.GetObject(ctx, s.bucket, s.prefix+name, minio.GetObjectOptions{})
	if err != nil {
		return nil, 0, s3err(err)
	}
	info, err := o.Stat()
	if err != nil {
		o.Close()
		return nil, 0, s3err(err)
	}
	return o, info.Size, nil
}

// Stamp implements Stamping by what the service itself notes of an object.
func (s *S3) Stamp(ctx context.Context, digest string) (string, error) {
	hexa, err := ParseDigest(digest)
	if err != nil || digest == empty {
		return "", err
	}
	o, err := s.client.StatObject(ctx, s.bucket, s.prefix+contentPath(hexa), minio.StatObjectOptions{})
	if err != nil {
		return "", s3err(err)
	}
	return fmt.Sprint(o.ETag, " ", o.Size, " ", o.LastModified.UnixNano(), " ", o.VersionID), nil
}

func (s *S3) Verify(ctx context.Context, digest string) error { return verify(ctx, s, digest) }

func (s *S3) Delete(ctx context.Context, digest string) error {
	hexa, err := ParseDigest(digest)
	if err != nil {
		return err
	}
	return s3err(s.client.RemoveObject(ctx, s.bucket, s.prefix+contentPath(hexa), minio.RemoveObjectOptions{}))
}

func (s *S3) PutNamed(ctx context.Context, name string, r io.Reader) error {
	if err := CheckName(name); err != nil {
		return err
	}
	size := int64(-1)
	if l, ok := r.(interface{ Len() int }); ok {
		size = int64(l.Len())
	}
	_, err := s.client.PutObject(ctx, s.bucket, s.prefix+"named/"+name, r, size, minio.PutObjectOptions{PartSize: 16 << 20})
	return s3err(err)
}

func (s *S3) OpenNamed(ctx context.Context, name string) (io.ReadSeekCloser, int64, error) {
	if err := CheckName(name); err != nil {
		return nil, 0, err
	}
	return s.open(ctx, "named/"+name)
}

func (s *S3) ListNamed(ctx context.Context, prefix string) ([]Named, error) {
	var out []Named
	for o := range s.client.ListObjects(ctx, s.bucket, minio.ListObjectsOptions{Prefix: s.prefix + "named/" + prefix, Recursive: true}) {
		if o.Err != nil {
			return nil, s3err(o.Err)
		}
		out = append(out, Named{strings.TrimPrefix(o.Key, s.prefix+"named/"), o.Size, o.LastModified})
	}
	return out, nil
}

func (s *S3) DeleteNamed(ctx context.Context, name string) error {
	if err := CheckName(name); err != nil {
		return err
	}
	return s3err(s.client.RemoveObject(ctx, s.bucket, s.prefix+"named/"+name, minio.RemoveObjectOptions{}))
}

func s3err(err error) error {
	if err == nil {
		return nil
	}
	switch r := minio.ToErrorResponse(err); {
	case r.Code == "NoSuchKey" || r.StatusCode == 404:
		return ErrNotFound
	case r.Code == "QuotaExceeded" || r.StatusCode == 507:
		return problem.New(problem.Stored, "The bucket takes no more writes; nothing was stored.").Because(err)
	}
	return fmt.Errorf("S3: %w", err)
}
