package onnx

import (
	"math"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"
)

// maxNesting is how deep graphs may lie in the attributes of nodes.
const maxNesting = 16

// elementBits is the width of a TensorProto.DataType's elements; strings have none.
var elementBits = map[int64]int{1: 32, 2: 8, 3: 8, 4: 16, 5: 16, 6: 32, 7: 64, 8: 0, 9: 8, 10: 16, 11: 64, 12: 32, 13: 64, 14: 64, 15: 128, 16: 16, 17: 8, 18: 8, 19: 8, 20: 8, 21: 4, 22: 4, 23: 4}

// Inspect reads a whole model without computing it, for a runtime that is not written in Go: the structure of the file,
// the sizes of its tensors, its functions and the graphs within graphs. It fails with problem.Invalid on a damaged file and
// with problem.Unsupported on tensors in files of their own, sparse tensors, and operators of domains that are neither
// in domains nor defined by the model's own functions; the sentence names them and needs a beginning.
func Inspect(data []byte, domains []string) error {
	i := &inspector{domains: domains, own: map[string]bool{}}
	graphs := 0
	err := fields(data, func(number protowire.Number, _ uint64, data []byte) error {
		switch {
		case number == 7 && data != nil:
			graphs++
		case number == 25 && data != nil:
			var name, domain string
			err := fields(data, func(number protowire.Number, _ uint64, data []byte) error {
				switch number {
				case 1:
					name = string(data)
				case 10:
					domain = string(data)
				}
				return nil
			})
			i.own[domain+"\x00"+name] = true
			return err
		}
		return nil
	})
	if err != nil {
		return err
	}
	if graphs != 1 {
		return broken("it holds %d graphs instead of one", graphs)
	}
	return fields(data, func(number protowire.Number, _ uint64, data []byte) error {
		switch {
		case data == nil:
		case number == 7:
			return i.graph(data, 0)
		case number == 25:
			return fields(data, func(number protowire.Number, _ uint64, data []byte) error {
				if number == 7 && data != nil {
					return i.node(data, 0)
				}
				return nil
			})
		}
		return nil
	})
}

type inspector struct {
	domains []string
	own     map[string]bool // functions of the model: domain, NUL, name
}

func (i *inspector) graph(b []byte, depth int) error {
	if depth > maxNesting {
		return broken("its graphs lie more than %d deep in one another", maxNesting)
	}
	return fields(b, func(number protowire.Number, _ uint64, data []byte) error {
		if data == nil {
			return nil
		}
		switch number {
		case 1:
			return i.node(data, depth)
		case 5:
			return i.tensor(data)
		case 11, 12, 13:
			_, err := readValueInfo(data)
			return err
		case 15:
			return unsupported("it has sparse initializers")
		}
		return nil
	})
}

func (i *inspector) node(b []byte, depth int) error {
	n, err := readNode(b, map[string]string{})
	if err != nil {
		return err
	}
	if n.domain != "" && !slices.Contains(i.domains, n.domain) && !i.own[n.domain+"\x00"+n.op] {
		return unsupported("it uses the operator %q of the domain %q, which is custom code outside of the file", clip(n.op), clip(n.domain))
	}
	for _, a := range n.attrs {
		err := fields(a.raw, func(number protowire.Number, _ uint64, data []byte) error {
			if data == nil {
				return nil
			}
			switch number {
			case 5, 10:
				return i.tensor(data)
			case 6, 11:
				return i.graph(data, depth+1)
			case 22, 23:
				return unsupported("the attribute %q of %s is a sparse tensor", clip(a.name), clip(n.op))
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// tensor checks that a TensorProto holds exactly the values that its shape asks for.
func (i *inspector) tensor(b []byte) error {
	var code int64
	var name string
	var dims []int64
	raw, packed, texts, numbers, hasRaw := 0, 0, 0, 0, false
	err := fields(b, func(number protowire.Number, num uint64, data []byte) error {
		switch number {
		case 1:
			if data == nil {
				dims = append(dims, int64(num))
			} else {
				v, err := varints(data, maxRank+1)
				if dims = append(dims, v...); err != nil {
					return err
				}
			}
			if len(dims) > maxRank {
				return broken("a tensor has more than %d dimensions", maxRank)
			}
		case 2:
			code = int64(num)
		case 3:
			return unsupported("a tensor is cut into segments")
		case 4, 5, 7, 10, 11:
			if data == nil {
				numbers++
				return nil
			}
			switch number {
			case 4:
				packed += len(data) / 4
			case 10:
				packed += len(data) / 8
			default:
				for _, c := range data {
					if c < 0x80 {
						packed++
					}
				}
			}
		case 6:
			texts++
		case 8:
			name = string(data)
		case 9:
			raw, hasRaw = len(data), true
		case 13:
			return unsupported("the tensor %q lies in a file of its own; save the model with its data inside", clip(name))
		case 14:
			if num != 0 {
				return unsupported("the tensor %q lies in a file of its own; save the model with its data inside", clip(name))
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	bits, ok := elementBits[code]
	if !ok {
		return broken("the tensor %q has the element type %d, which does not exist", clip(name), code)
	}
	count := int64(1)
	for _, d := range dims {
		if d < 0 || d > math.MaxInt32 || d > 0 && count > math.MaxInt32/d {
			return broken("the tensor %q has the shape %v", clip(name), dims)
		}
		count *= d
	}
	have := int64(packed + numbers)
	switch {
	case bits == 0:
		have = int64(texts)
	case hasRaw && have == 0:
		if want := (count*int64(bits) + 7) / 8; int64(raw) != want {
			return broken("the tensor %q has the shape %v, which takes %d bytes, but holds %d", clip(name), dims, want, raw)
		}
		return nil
	case hasRaw:
		return broken("the tensor %q holds its values twice", clip(name))
	case code == 14 || code == 15:
		count *= 2
	case bits == 4:
		count = (count + 1) / 2
	}
	if have != count {
		return broken("the tensor %q has the shape %v, but holds %d values", clip(name), dims, have)
	}
	return nil
}
