package serving

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"keelson/internal/blob"
	"keelson/internal/blob/blobtest"
	"keelson/internal/release"
)

// counted is a bucket that says which files were read.
type counted struct {
	*blob.S3
	read []string
}

func (c *counted) Verify(ctx context.Context, digest string) error {
	c.read = append(c.read, digest)
	return c.S3.Verify(ctx, digest)
}

func TestFilesInABucketAreReadInTurnAndAtOnceWhenTouched(t *testing.T) {
	ctx := context.Background()
	location := blobtest.S3(t)
	store, err := blob.OpenS3(ctx, location)
	if err != nil {
		t.Fatal(err)
	}
	bucket := &counted{S3: store}
	files := map[string]release.File{}
	var order []string
	for i := range 6 {
		digest, size, err := store.Put(ctx, strings.NewReader(fmt.Sprintf("file %d %s", i, strings.Repeat("x", 93))))
		if err != nil || size != 100 {
			t.Fatal(size, err)
		}
		files[digest] = release.File{Path: fmt.Sprint("f", i), Digest: digest, Size: size}
		order = append(order, digest)
	}
	slices.Sort(order)
	var c checks
	look := func() []string {
		t.Helper()
		bucket.read = nil
		c.look(ctx, bucket, files, 200, func(f release.File, err error) { t.Errorf("%s: %v", f.Path, err) })
		return bucket.read
	}
	for round := range 3 { // each look reads 200 bytes, and three looks read all
		for k := range 3 {
			if got := look(); !slices.Equal(got, order[2*k:2*k+2]) {
				t.Fatalf("round %d, look %d read %d files: %v, want %v", round, k, len(got), got, order[2*k:2*k+2])
			}
		}
	}
	if len(c.faults) != 0 {
		t.Fatalf("faults without a change: %v", c.faults)
	}
	// The last in turn is touched: it is read at once, and once.
	victim := order[5]
	u, _ := url.Parse(location)
	client, err := minio.New(u.Host, &minio.Options{Creds: credentials.NewStaticV4("key", "secret", ""), BucketLookup: minio.BucketLookupPath})
	if err != nil {
		t.Fatal(err)
	}
	hexa := strings.TrimPrefix(victim, "sha256:")
	if _, err := client.PutObject(ctx, "keelson", "content/"+hexa[:2]+"/"+hexa, strings.NewReader("something else"), 14, minio.PutObjectOptions{}); err != nil {
		t.Fatal(err)
	}
	if got := look(); len(got) == 0 || got[0] != victim || c.faults[victim].err == nil {
		t.Fatalf("the look after the change read %v and found %v", got, c.faults)
	}
	for range 4 {
		if got := look(); slices.Contains(got, victim) || c.faults[victim].err == nil {
			t.Fatalf("read again: %v; faults %v", got, c.faults)
		}
	}
	if err := store.Delete(ctx, order[0]); err != nil {
		t.Fatal(err)
	}
	if look(); c.faults[order[0]].err == nil {
		t.Fatalf("what is gone was not found at once: %v", c.faults)
	}
	// A file that is larger than what one look may read is read, and the looks after it wait.
	big := strings.Repeat("y", 1000)
	digest, _, err := store.Put(ctx, strings.NewReader(big))
	if err != nil {
		t.Fatal(err)
	}
	files = map[string]release.File{digest: {Path: "big", Digest: digest, Size: 1000}}
	reads := 0
	for range 20 {
		reads += len(look())
	}
	if reads < 3 || reads > 5 {
		t.Errorf("20 looks of 200 bytes read a file of 1000 bytes %d times, want about 4", reads)
	}
}
