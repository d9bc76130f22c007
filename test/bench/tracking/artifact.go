package main

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

// artifacts sends a file of 2 GiB up and down, in turns with cp and fsync of the same file on the same disk.
func (b *bench) artifacts() error {
	s, err := b.keelson("sqlite")
	if err != nil {
		return err
	}
	experiment, err := s.experiment(b.ctx, "artifacts")
	if err != nil {
		return err
	}
	size := int64(b.scaled(2<<30, 256<<20))
	source, target := filepath.Join(b.dir, "source"), filepath.Join(b.dir, "target")
	var up, down, cp time.Duration
	var grown [2]float64
	const turns = 2
	for turn := range turns {
		sum, err := makeFile(source, size, uint64(turn+1)) // new bytes each turn: equal ones are stored once
		if err != nil {
			return err
		}
		took, err := copyFile(source, target)
		if err != nil {
			return err
		}
		cp += took
		if err := os.Remove(target); err != nil {
			return err
		}
		run, err := s.run(b.ctx, experiment)
		if err != nil {
			return err
		}
		path := "/api/2.0/mlflow-artifacts/artifacts/" + experiment + "/" + run + "/artifacts/model.bin"
		began := time.Now()
		g, err := s.growth(func() error { return b.upload(s, path, source, size) })
		if err != nil {
			return err
		}
		up, grown[0] = up+time.Since(began), max(grown[0], g)
		began = time.Now()
		g, err = s.growth(func() error { return b.download(s, path, target) })
		if err != nil {
			return err
		}
		down, grown[1] = down+time.Since(began), max(grown[1], g)
		got, err := digest(target)
		if err != nil {
			return err
		}
		if got != sum {
			return fmt.Errorf("what came down has digest %s, what went up %s", got, sum)
		}
		if err := os.Remove(target); err != nil {
			return err
		}
	}
	speed := func(d time.Duration) float64 { return float64(size*turns) / (1 << 20) / d.Seconds() }
	for i, c := range []struct {
		what string
		took time.Duration
	}{{"up", up}, {"down (to a file, with fsync)", down}} {
		share := float64(cp) / float64(c.took)
		b.add(row{what: fmt.Sprintf("%.2g GiB %s, against cp with fsync", float64(size)/(1<<30), c.what), ours: fmt.Sprintf("%.0f MiB/s against %.0f MiB/s", speed(c.took), speed(cp)),
			ratio: fmt.Sprintf("%.0f %%", 100*share), limit: "≥ 60 %", ok: share >= 0.6})
		b.add(row{what: "memory grew by", ours: fmt.Sprintf("%.1f MiB", grown[i]), limit: "≤ 32 MiB", ok: grown[i] <= 32})
	}
	return nil
}

// makeFile writes size bytes that do not repeat and gives their digest.
func makeFile(path string, size int64, seed uint64) (string, error) {
	f, err := os.Create(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	w := bufio.NewWriterSize(io.MultiWriter(f, h), 1<<20)
	var key [32]byte
	key[0] = byte(seed)
	if _, err := io.CopyN(w, rand.NewChaCha8(key), size); err != nil {
		return "", err
	}
	if err := w.Flush(); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), f.Sync()
}

// copyFile is cp and fsync, without the shortcuts that file systems have for it.
func copyFile(from, to string) (time.Duration, error) {
	began := time.Now()
	in, err := os.Open(from)
	if err != nil {
		return 0, err
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		return 0, err
	}
	defer out.Close()
	if _, err := io.CopyBuffer(struct{ io.Writer }{out}, struct{ io.Reader }{in}, make([]byte, 1<<20)); err != nil {
		return 0, err
	}
	err = out.Sync()
	return time.Since(began), err
}

func digest(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	_, err = io.Copy(h, f)
	return hex.EncodeToString(h.Sum(nil)), err
}

func (b *bench) upload(s *server, path, file string, size int64) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	req, err := s.request(b.ctx, "PUT", path, f)
	if err != nil {
		return err
	}
	req.ContentLength = size
	res, err := s.http.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(res.Body, 2000))
		return fmt.Errorf("upload: %d %s", res.StatusCode, text)
	}
	return nil
}

func (b *bench) download(s *server, path, file string) error {
	req, err := s.request(b.ctx, "GET", path, nil)
	if err != nil {
		return err
	}
	res, err := s.http.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(res.Body, 2000))
		return fmt.Errorf("download: %d %s", res.StatusCode, text)
	}
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := io.CopyBuffer(struct{ io.Writer }{f}, res.Body, make([]byte, 1<<20)); err != nil {
		return err
	}
	return f.Sync()
}
