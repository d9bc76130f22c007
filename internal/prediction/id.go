package prediction

import (
	"encoding/base32"
	"math/rand/v2"
	"time"
)

var alphabet = base32.NewEncoding("0123456789abcdefghjkmnpqrstvwxyz").WithPadding(base32.NoPadding)

// idLen is the length of an identifier in text.
const idLen = 26

// clock hands out identifiers that grow strictly: UUIDv7 with 12 bits below the millisecond (RFC 9562 §6.2, method 3),
// one step further where two calls fall together or the system's clock goes back. Not safe for concurrent use.
type clock struct {
	now  func() time.Time
	last uint64 // milliseconds << 12 | fraction
}

// next writes an identifier to dst, which has idLen bytes, and gives its time.
func (c *clock) next(dst []byte) time.Time {
	t := c.now().UTC()
	us := t.UnixMicro()
	tick := uint64(us/1000)<<12 | uint64(us%1000)<<2
	if tick <= c.last {
		tick = c.last + 1
	}
	c.last = tick
	writeID(dst, tick, rand.Uint64())
	return t.Truncate(time.Microsecond)
}

func writeID(dst []byte, tick, random uint64) {
	var u [16]byte
	ms := tick >> 12
	for i := range 6 {
		u[i] = byte(ms >> (40 - 8*i))
	}
	u[6] = 0x70 | byte(tick>>8)&0x0F
	u[7] = byte(tick)
	for i := range 8 {
		u[8+i] = byte(random >> (8 * i))
	}
	u[8] = u[8]&0x3F | 0x80
	alphabet.Encode(dst, u[:])
}

// floorID is the smallest identifier that can have been given at t.
func floorID(t time.Time) string {
	var b [idLen]byte
	us := max(t.UnixMicro(), 0)
	writeID(b[:], uint64(us/1000)<<12|uint64(us%1000)<<2, 0)
	return string(b[:])
}

// idTime gives the time in an identifier and false for a text that is none.
func idTime(id string) (time.Time, bool) {
	u, err := alphabet.DecodeString(id)
	if err != nil || len(u) != 16 || u[6]>>4 != 7 {
		return time.Time{}, false
	}
	var ms int64
	for _, b := range u[:6] {
		ms = ms<<8 | int64(b)
	}
	return time.UnixMilli(ms).UTC(), true
}

// tickOf gives the clock's reading in an identifier, 0 for none.
func tickOf(id string) uint64 {
	u, err := alphabet.DecodeString(id)
	if err != nil || len(u) != 16 {
		return 0
	}
	var ms uint64
	for _, b := range u[:6] {
		ms = ms<<8 | uint64(b)
	}
	return ms<<12 | uint64(u[6]&0x0F)<<8 | uint64(u[7])
}
