package dataset

import (
	"encoding/binary"
	"errors"
)

// compact reads Thrift's compact protocol from bytes that are in memory already, so that every length can
// be held against what is left. It is used to examine Parquet metadata before anything is made of it.
type compact struct {
	b     []byte
	items int // elements of lists still allowed
}

var errThrift = errors.New("the metadata is cut short or corrupt")

// Types of the compact protocol.
const (
	ctTrue, ctFalse, ctByte, ctI16, ctI32, ctI64 = 1, 2, 3, 4, 5, 6
	ctDouble, ctBinary, ctList, ctSet, ctMap     = 7, 8, 9, 10, 11
	ctStruct                                     = 12
)

func (c *compact) byte() (byte, error) {
	if len(c.b) == 0 {
		return 0, errThrift
	}
	b := c.b[0]
	c.b = c.b[1:]
	return b, nil
}

func (c *compact) uvarint() (uint64, error) {
	v, n := binary.Uvarint(c.b)
	if n <= 0 {
		return 0, errThrift
	}
	c.b = c.b[n:]
	return v, nil
}

func (c *compact) varint() (int64, error) {
	u, err := c.uvarint()
	return int64(u>>1) ^ -int64(u&1), err
}

// structure calls field for each field of a struct; field reads the value or returns false to have it
// skipped.
func (c *compact) structure(depth int, field func(id int16, typ byte) (read bool, err error)) error {
	id := int16(0)
	for {
		b, err := c.byte()
		if err != nil {
			return err
		}
		if b == 0 {
			return nil
		}
		if delta := b >> 4; delta != 0 {
			id += int16(delta)
		} else {
			v, err := c.varint()
			if err != nil {
				return err
			}
			id = int16(v)
		}
		read, err := field(id, b&0xf)
		if err == nil && !read {
			err = c.skip(b&0xf, depth+1, true)
		}
		if err != nil {
			return err
		}
	}
}

// skip passes over one value and checks on the way that every length fits into what is left.
func (c *compact) skip(typ byte, depth int, inStruct bool) error {
	if depth > 16 {
		return errThrift
	}
	switch typ {
	case ctTrue, ctFalse:
		if inStruct {
			return nil // the value is in the type
		}
		_, err := c.byte()
		return err
	case ctByte:
		_, err := c.byte()
		return err
	case ctI16, ctI32, ctI64:
		_, err := c.uvarint()
		return err
	case ctDouble:
		return c.drop(8)
	case ctBinary:
		n, err := c.uvarint()
		if err != nil {
			return err
		}
		return c.drop(n)
	case ctList, ctSet:
		b, err := c.byte()
		if err != nil {
			return err
		}
		n := uint64(b >> 4)
		if n == 15 {
			if n, err = c.uvarint(); err != nil {
				return err
			}
		}
		return c.each(n, depth, b&0xf)
	case ctMap:
		n, err := c.uvarint()
		if err != nil || n == 0 {
			return err
		}
		b, err := c.byte()
		if err != nil {
			return err
		}
		return c.each(n, depth, b>>4, b&0xf)
	case ctStruct:
		return c.structure(depth, func(int16, byte) (bool, error) { return false, nil })
	}
	return errThrift
}

// each skips n elements made of the given types. An element takes at least one byte.
func (c *compact) each(n uint64, depth int, types ...byte) error {
	if n > uint64(len(c.b)) || n > uint64(c.items) {
		return errThrift
	}
	c.items -= int(n)
	for ; n > 0; n-- {
		for _, t := range types {
			if err := c.skip(t, depth+1, false); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *compact) drop(n uint64) error {
	if n > uint64(len(c.b)) {
		return errThrift
	}
	c.b = c.b[n:]
	return nil
}
