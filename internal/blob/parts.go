package blob

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"keelson/internal/db"
	"keelson/internal/problem"
)

// Parts of a folder store are files parts/<upload>/<number>.<etag>.<size>. They are written without a sync of their own:
// after a power failure a part may be torn, which its ETag (CRC-32C) shows when the parts are put together.

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func partsPath(upload string) (string, error) {
	if len(upload) < 8 || strings.Trim(upload, "abcdefghijklmnopqrstuvwxyz0123456789") != "" {
		return "", ErrNotFound
	}
	return "parts/" + upload, nil
}

// BeginParts implements Parted.
func (d *Dir) BeginParts(context.Context) (string, error) {
	id := db.NewID()
	return id, full(d.root.Mkdir("parts/"+id, 0o700))
}

// PartLink implements Parted: parts come through WritePart.
func (d *Dir) PartLink(_ context.Context, _ string, n int, _ time.Duration) (string, error) {
	if n < 1 || n > MaxParts {
		return "", badPart(n)
	}
	return "", nil
}

// WritePart implements Parted.
func (d *Dir) WritePart(_ context.Context, upload string, n int, r io.Reader) (Part, error) {
	dir, err := partsPath(upload)
	if err != nil {
		return Part{}, err
	}
	if n < 1 || n > MaxParts {
		return Part{}, badPart(n)
	}
	if _, err := d.root.Stat(dir); err != nil {
		return Part{}, notThere(err)
	}
	tmp := "tmp/" + db.NewID()
	f, err := d.root.OpenFile(tmp, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return Part{}, full(err)
	}
	defer d.root.Remove(tmp)
	sum := crc32.New(castagnoli)
	size, err := copyHashed(f, r, sum)
	if err = errors.Join(err, f.Close()); err != nil {
		return Part{}, full(err)
	}
	p := Part{Number: n, ETag: fmt.Sprintf("%08x-%d", sum.Sum32(), size), Size: size}
	name := partFile(dir, p)
	old, err := d.parts(dir)
	if err != nil {
		return Part{}, err
	}
	if err := d.root.Rename(tmp, name); err != nil {
		return Part{}, full(notThere(err))
	}
	for _, o := range old {
		if o.Number == n && o.ETag != p.ETag {
			if err := gone(d.root.Remove(partFile(dir, o))); err != nil {
				return Part{}, err
			}
		}
	}
	return p, nil
}

func partFile(dir string, p Part) string { return fmt.Sprintf("%s/%d.%s", dir, p.Number, p.ETag) }

func notThere(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return ErrNotFound
	}
	return err
}

// Parts implements Parted.
func (d *Dir) Parts(_ context.Context, upload string) ([]Part, error) {
	dir, err := partsPath(upload)
	if err != nil {
		return nil, err
	}
	return d.parts(dir)
}

func (d *Dir) parts(dir string) (out []Part, err error) {
	list, err := fs.ReadDir(d.root.FS(), dir)
	if err != nil {
		return nil, notThere(err)
	}
	for _, e := range list {
		number, etag, _ := strings.Cut(e.Name(), ".")
		_, length, _ := strings.Cut(etag, "-")
		n, err1 := strconv.Atoi(number)
		size, err2 := strconv.ParseInt(length, 10, 64)
		if errors.Join(err1, err2) == nil {
			out = append(out, Part{n, etag, size})
		}
	}
	slices.SortFunc(out, func(a, b Part) int { return a.Number - b.Number })
	return out, nil
}

// FinishParts implements Parted.
func (d *Dir) FinishParts(ctx context.Context, upload string, parts []Part) (string, int64, error) {
	dir, err := partsPath(upload)
	if err != nil {
		return "", 0, err
	}
	there, err := d.parts(dir)
	if err != nil {
		return "", 0, err
	}
	if err := CheckParts(parts, there); err != nil {
		return "", 0, err
	}
	digest, size, err := d.Put(ctx, &joined{d: d, dir: dir, parts: there})
	if err != nil {
		return "", 0, err
	}
	return digest, size, d.root.RemoveAll(dir)
}

// DropParts implements Parted.
func (d *Dir) DropParts(_ context.Context, upload string) error {
	dir, err := partsPath(upload)
	if err != nil {
		return nil
	}
	return gone(d.root.RemoveAll(dir))
}

// joined reads parts one after the other and holds each against its ETag.
type joined struct {
	d     *Dir
	dir   string
	parts []Part
	f     *os.File
	sum   uint32
	n     int64
}

// Read implements io.Reader.
func (j *joined) Read(p []byte) (int, error) {
	for {
		if j.f == nil {
			if len(j.parts) == 0 {
				return 0, io.EOF
			}
			f, err := j.d.root.Open(partFile(j.dir, j.parts[0]))
			if err != nil {
				return 0, notThere(err)
			}
			j.f, j.sum, j.n = f, 0, 0
		}
		n, err := j.f.Read(p)
		j.sum = crc32.Update(j.sum, castagnoli, p[:n])
		j.n += int64(n)
		if n > 0 {
			return n, nil
		}
		if err != io.EOF {
			return 0, errors.Join(err, j.f.Close())
		}
		if err := j.f.Close(); err != nil {
			return 0, err
		}
		if part := j.parts[0]; fmt.Sprintf("%08x-%d", j.sum, j.n) != part.ETag {
			return 0, problem.New(problem.Invalid, "Part %d was damaged after it was uploaded; send it again, then complete the upload.", part.Number).At("parts")
		}
		j.f, j.parts = nil, j.parts[1:]
	}
}
