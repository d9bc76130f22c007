package prediction

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"strings"
	"time"
	"unicode/utf8"

	"keelson/internal/tensor"
)

// A frame is length (4 bytes, little-endian, of the payload), CRC-32C of the payload (4 bytes), payload. The payload is
// a version byte, the identifier (26 bytes), the time (8 bytes, microseconds), then texts and numbers behind varints.
const (
	frameHead    = 8
	frameVersion = 2 // 1 had no field Redacted
	idAt         = frameHead + 1
	timeAt       = idAt + idLen
	bodyAt       = timeAt + 8
	maxFrame     = 1 << 30
)

var (
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
	errFrame   = errors.New("not a frame of the prediction log")
	errNewer   = errors.New("a newer version of Keelson wrote it")
)

// appendFrame appends r with an empty identifier, time and head, which stamp fills in.
func appendFrame(dst []byte, r *Record) []byte {
	start := len(dst)
	dst = append(dst, make([]byte, bodyAt)...)
	dst[start+frameHead] = frameVersion
	for _, s := range [...]string{r.Workspace, r.Endpoint, cut(r.Model, MaxName), cut(r.Environment, MaxName), r.Slot, cut(r.Caller, MaxName),
		cut(r.Application, MaxName), r.Purpose, r.Subject, r.Request, r.Error, r.Trace, r.Segment, r.Override} {
		s = cut(s, MaxField)
		dst = binary.AppendUvarint(dst, uint64(len(s)))
		dst = append(dst, s...)
	}
	dst = binary.AppendUvarint(dst, uint64(len(r.Fired)))
	dst = append(dst, r.Fired...)
	dst = binary.AppendUvarint(dst, uint64(len(r.Redacted)))
	dst = append(dst, r.Redacted...)
	for _, n := range [...]int64{int64(r.Version), int64(r.Rows), r.Latency.Microseconds(), r.Compute.Microseconds()} {
		dst = binary.AppendUvarint(dst, uint64(max(n, 0)))
	}
	dst = tensor.AppendFrame(dst, r.Inputs)
	return tensor.AppendFrame(dst, r.Outputs)
}

// cut makes a text fit limit bytes and UTF-8 without zero bytes, which PostgreSQL keeps in no text: one in a caller's name
// would keep the whole segment from being filed. A character that the limit divides goes whole. Nothing is copied when it
// fits already.
func cut(s string, limit int) string {
	if len(s) > limit {
		s = s[:limit]
	}
	if !utf8.ValidString(s) {
		s = strings.ToValidUTF8(s, "")
	}
	if strings.IndexByte(s, 0) >= 0 {
		s = strings.ReplaceAll(s, "\x00", "")
	}
	return s
}

// stamp gives a frame its identifier and time and closes it with length and checksum.
func stamp(frame []byte, c *clock, at time.Time) (id string, t time.Time) {
	t = c.next(frame[idAt : idAt+idLen])
	if !at.IsZero() {
		t = at.UTC().Truncate(time.Microsecond)
	}
	binary.LittleEndian.PutUint64(frame[timeAt:], uint64(t.UnixMicro()))
	binary.LittleEndian.PutUint32(frame, uint32(len(frame)-frameHead))
	binary.LittleEndian.PutUint32(frame[4:], crc32.Checksum(frame[frameHead:], castagnoli))
	return string(frame[idAt : idAt+idLen]), t
}

// nextFrame gives the payload of the first whole frame of b and what follows; errFrame at a torn or damaged one, errNewer
// at a whole one of a version after frameVersion.
func nextFrame(b []byte) (payload, rest []byte, err error) {
	if len(b) < frameHead {
		return nil, nil, errFrame
	}
	n := int(binary.LittleEndian.Uint32(b))
	if n < bodyAt-frameHead || n > maxFrame || n > len(b)-frameHead {
		return nil, nil, errFrame
	}
	payload = b[frameHead : frameHead+n]
	if crc32.Checksum(payload, castagnoli) != binary.LittleEndian.Uint32(b[4:]) || payload[0] < 1 {
		return nil, nil, errFrame
	}
	if payload[0] > frameVersion {
		return nil, nil, errNewer
	}
	return payload, b[frameHead+n:], nil
}

// peek reads what decides whether a payload is wanted, sharing its bytes.
func peek(payload []byte) (id, workspace, endpoint []byte) {
	b := payload[bodyAt-frameHead:]
	workspace, b, _ = field(b)
	endpoint, _, _ = field(b)
	return payload[1 : 1+idLen], workspace, endpoint
}

func field(b []byte) (value, rest []byte, err error) {
	n, w := binary.Uvarint(b)
	if w <= 0 || n > uint64(len(b)-w) {
		return nil, nil, errFrame
	}
	return b[w : w+int(n)], b[w+int(n):], nil
}

// decode reads a payload. Without tensors Inputs and Outputs stay empty.
func decode(payload []byte, tensors bool) (r Record, err error) {
	err = decodeOver(payload, tensors, &r)
	return r, err
}

// Places of the texts in a frame.
const (
	textWorkspace = iota
	textEndpoint
	textModel
	textEnvironment
	textSlot
	textCaller
	textApplication
	textPurpose
	textSubject
	textRequest
	textError
	textTrace
	textSegment
	textOverride
	textFired
	textRedacted
	textCount
)

// line is a payload taken apart: everything but the tensors shares its bytes.
type line struct {
	id                              []byte
	at                              int64 // microseconds
	texts                           [textCount][]byte
	version, rows, latency, compute int64  // times in microseconds
	rest                            []byte // the frames of the tensors
	inputs, outputs                 []tensor.Tensor
}

// split takes a payload apart.
func (l *line) split(payload []byte) error {
	l.id = payload[1 : 1+idLen]
	l.at = int64(binary.LittleEndian.Uint64(payload[1+idLen:]))
	b := payload[bodyAt-frameHead:]
	l.texts[textRedacted] = nil
	count := textCount
	if payload[0] == 1 {
		count = textRedacted
	}
	for i := range l.texts[:count] {
		// field, by hand: nearly all texts are shorter than 128 bytes
		n, w := uint64(0), 1
		if len(b) > 0 && b[0] < 0x80 {
			n = uint64(b[0])
		} else if n, w = binary.Uvarint(b); w <= 0 {
			return errFrame
		}
		if n > uint64(len(b)-w) {
			return errFrame
		}
		l.texts[i], b = b[w:w+int(n)], b[w+int(n):]
	}
	for _, n := range [...]*int64{&l.version, &l.rows, &l.latency, &l.compute} {
		v, w := binary.Uvarint(b)
		if w <= 0 {
			return errFrame
		}
		*n, b = int64(v), b[w:]
	}
	l.rest = b
	return nil
}

// tensors reads the tensors of a line over older ones.
func (l *line) tensors(in, out []tensor.Tensor) (inputs, outputs []tensor.Tensor, err error) {
	inputs, rest, err := tensor.ReadFrameOver(in, l.rest)
	if err != nil {
		return nil, nil, err
	}
	outputs, _, err = tensor.ReadFrameOver(out, rest)
	return inputs, outputs, err
}

// decodeOver is decode into an older record: texts that are the same stay, and its tensors' memory is used again.
func decodeOver(payload []byte, tensors bool, r *Record) (err error) {
	var l line
	if err := l.split(payload); err != nil {
		return err
	}
	if r.ID != string(l.id) {
		r.ID = string(l.id)
	}
	r.At = time.UnixMicro(l.at).UTC()
	for i, p := range [textFired]*string{&r.Workspace, &r.Endpoint, &r.Model, &r.Environment, &r.Slot, &r.Caller, &r.Application, &r.Purpose, &r.Subject, &r.Request, &r.Error, &r.Trace, &r.Segment, &r.Override} {
		if *p != string(l.texts[i]) {
			*p = string(l.texts[i])
		}
	}
	if r.Fired, r.Redacted = nil, nil; len(l.texts[textFired]) > 0 {
		r.Fired = append([]byte(nil), l.texts[textFired]...)
	}
	if len(l.texts[textRedacted]) > 0 {
		r.Redacted = append([]byte(nil), l.texts[textRedacted]...)
	}
	r.Version, r.Rows = int(l.version), int(l.rows)
	r.Latency, r.Compute = time.Duration(l.latency)*time.Microsecond, time.Duration(l.compute)*time.Microsecond
	if !tensors {
		r.Inputs, r.Outputs = nil, nil
		return nil
	}
	r.Inputs, r.Outputs, err = l.tensors(r.Inputs, r.Outputs)
	return err
}

// payloadOf is the payload of a record that has its identifier and time.
func payloadOf(r *Record) []byte {
	frame := appendFrame(nil, r)
	copy(frame[idAt:idAt+idLen], r.ID)
	binary.LittleEndian.PutUint64(frame[timeAt:], uint64(r.At.UnixMicro()))
	return frame[frameHead:]
}
