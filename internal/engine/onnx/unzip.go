package onnx

import (
	"strconv"

	"google.golang.org/protobuf/encoding/protowire"
)

// Unzip gives a model whose outputs are tensors where ZipMap made lists of maps of them: the scores as they went into
// ZipMap, FP32 [n, classes], as the Go engine answers too. columns names the classes by output. Everything else of the file
// stays as it is, byte for byte; a model without ZipMap is given back itself.
func Unzip(data []byte) (out []byte, columns map[string][]string, err error) {
	columns = map[string][]string{}
	main := false
	err = parts(data, func(number protowire.Number, _, body []byte) error {
		switch {
		case body == nil:
		case number == 8:
			domain := ""
			err := fields(body, func(number protowire.Number, _ uint64, data []byte) error {
				if number == 1 {
					domain = string(data)
				}
				return nil
			})
			main = main || domain == "" || domain == "ai.onnx"
			return err
		case number == 7:
			return parts(body, func(number protowire.Number, _, body []byte) error {
				if number != 1 || body == nil {
					return nil
				}
				n, err := zipMapNode(body)
				if err != nil || n == nil {
					return err
				}
				words, numbers := n.texts("classlabels_strings"), n.ints("classlabels_int64s")
				for _, v := range numbers {
					words = append(words, strconv.FormatInt(v, 10))
				}
				columns[n.out[0]] = words
				return n.err
			})
		}
		return nil
	})
	if err != nil || len(columns) == 0 || !main {
		return data, nil, err
	}
	var m wireMessage
	err = parts(data, func(number protowire.Number, whole, body []byte) error {
		if number != 7 || body == nil {
			m = append(m, whole...)
			return nil
		}
		var g wireMessage
		err := parts(body, func(number protowire.Number, whole, body []byte) error {
			switch {
			case number == 1 && body != nil:
				n, err := zipMapNode(body)
				if err != nil {
					return err
				}
				if n != nil {
					w := &writer{}
					w.named("", "Identity", n.in, n.out[0])
					g.bytes(1, w.nodes[0])
					return nil
				}
			case number == 12 && body != nil:
				v, err := readValueInfo(body)
				if err != nil {
					return err
				}
				if words, ok := columns[v.name]; ok {
					g.bytes(12, portOf(v.name, elemFloat, []int{-1, len(words)}))
					return nil
				}
			}
			g = append(g, whole...)
			return nil
		})
		m.bytes(7, g)
		return err
	})
	return m, columns, err
}

// zipMapNode reads a node when it is a ZipMap of one input and output.
func zipMapNode(b []byte) (*node, error) {
	p, err := readNode(b, map[string]string{})
	if err != nil || p.op != "ZipMap" || p.domain != "ai.onnx.ml" || len(p.in) != 1 || len(p.out) != 1 {
		return nil, err
	}
	return &node{nodeProto: &p}, nil
}
