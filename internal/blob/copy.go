package blob

import (
	"errors"
	"hash"
	"io"
	"os"
	"sync"
)

// Copying works on chunks of chunkSize; at most chunks of them are on their way between reader, hash and file, so that
// one upload holds 1 MiB however large it is.
const (
	chunkSize  = 256 << 10
	chunks     = 4
	flushEvery = 16 << 20 // bytes after which the kernel is told to begin writing to the disk
)

var buffers = sync.Pool{New: func() any { b := make([]byte, chunkSize); return &b }}

// copyHashed copies r to f and sum (which may be nil). What exceeds one chunk is hashed on a second thread while the
// next chunk is read and written, and sent to the disk on the way, so that the sync at the end has little left to do.
func copyHashed(f *os.File, r io.Reader, sum hash.Hash) (size int64, err error) {
	buf := buffers.Get().(*[]byte)
	n, err := io.ReadFull(r, *buf)
	if err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF) {
		defer buffers.Put(buf)
		if sum != nil {
			sum.Write((*buf)[:n])
		}
		_, err = f.Write((*buf)[:n])
		return int64(n), err
	}
	if err != nil {
		buffers.Put(buf)
		return 0, err
	}
	type piece struct {
		b *[]byte
		n int
	}
	todo, free := make(chan piece, chunks), make(chan *[]byte, chunks)
	done := make(chan struct{})
	go func() { // ends when todo is closed
		defer close(done)
		for p := range todo {
			if sum != nil {
				sum.Write((*p.b)[:p.n])
			}
			free <- p.b
		}
	}()
	for range chunks - 1 {
		free <- buffers.Get().(*[]byte)
	}
	flushed := int64(0)
	for {
		todo <- piece{buf, n} // hashed while it is written
		if _, err = f.Write((*buf)[:n]); err != nil {
			break
		}
		if size += int64(n); size-flushed >= flushEvery {
			writeOut(f, flushed, size-flushed)
			flushed = size
		}
		if n < chunkSize {
			break
		}
		buf = <-free
		if n, err = io.ReadFull(r, *buf); n == 0 || err != nil && err != io.EOF && !errors.Is(err, io.ErrUnexpectedEOF) {
			free <- buf
			if err == io.EOF {
				err = nil
			}
			break
		}
	}
	close(todo)
	<-done
	close(free)
	for b := range free {
		buffers.Put(b)
	}
	if err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF) {
		err = nil
	}
	return size, err
}
