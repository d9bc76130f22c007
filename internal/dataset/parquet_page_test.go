package dataset

import (
	"bytes"
	"encoding/binary"
	"io"
	"runtime"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/parquet-go/parquet-go/format"
)

// dictionaryPage is a dictionary page of zeros that claims so many values.
func dictionaryPage(t *testing.T, values, bytesOfData int) []byte {
	t.Helper()
	enc, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	data := enc.EncodeAll(make([]byte, bytesOfData), nil)
	zigzag := func(b []byte, n int) []byte { return binary.AppendUvarint(b, uint64(n)<<1) }
	b := zigzag([]byte{0x15}, int(format.DictionaryPage)) // field 1: type
	b = zigzag(append(b, 0x15), bytesOfData)              // 2: uncompressed size
	b = zigzag(append(b, 0x15), len(data))                // 3: compressed size
	b = zigzag(append(b, 0x4C, 0x15), values)             // 7: dictionary header, 1: values
	b = zigzag(append(b, 0x15), int(format.Plain))        // 2: encoding
	return append(append(b, 0, 0), data...)
}

func TestADictionaryThatClaimsManyValuesIsRefusedBeforeItTakesMemory(t *testing.T) {
	for name, c := range map[string]struct {
		physical     format.Type
		values, data int
		rows         int64
	}{
		"truth values of one bit each":      {format.Boolean, 1 << 29, 64 << 20, 1 << 30},
		"more values than the chunk has":    {format.Int32, 1 << 20, 4 << 20, 1000},
		"millions, as the chunk claims too": {format.Int32, 16 << 20, 64 << 20, 1 << 30},
	} {
		t.Run(name, func(t *testing.T) {
			page := dictionaryPage(t, c.values, c.data)
			ch := &chunk{col: &parquetColumn{physical: c.physical}, codec: format.Zstd, limits: Limits{}.filled(), buffers: newBuffers()}
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			err := ch.read(t.Context(), io.NewSectionReader(bytes.NewReader(page), 0, int64(len(page))), c.rows, func(*cell) error { return nil })
			runtime.ReadMemStats(&after)
			if err == nil || !strings.Contains(err.Error(), "dictionary claims") {
				t.Errorf("got %v", err)
			}
			if took := after.TotalAlloc - before.TotalAlloc; took > 1<<20 {
				t.Errorf("%d bytes were allocated for a page of %d", took, len(page))
			}
		})
	}
}
