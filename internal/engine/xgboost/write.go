package xgboost

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"io"
	"math"
	"strconv"

	"keelson/internal/problem"
)

func format(v float64) string { return strconv.FormatFloat(v, 'G', -1, 64) }

// ubjWriter writes UBJSON as XGBoost does: lengths as 8-byte integers, numbers of one kind as typed arrays.
type ubjWriter struct{ b []byte }

func (w *ubjWriter) length(n int) {
	w.b = append(w.b, 'L')
	w.b = binary.BigEndian.AppendUint64(w.b, uint64(n))
}

func (w *ubjWriter) key(name string) *ubjWriter {
	w.length(len(name))
	w.b = append(w.b, name...)
	return w
}

func (w *ubjWriter) object(fields func()) {
	w.b = append(w.b, '{')
	fields()
	w.b = append(w.b, '}')
}

func (w *ubjWriter) text(s string) {
	w.b = append(w.b, 'S')
	w.length(len(s))
	w.b = append(w.b, s...)
}

func (w *ubjWriter) number(v int32) {
	w.b = append(w.b, 'l')
	w.b = binary.BigEndian.AppendUint32(w.b, uint32(v))
}

func (w *ubjWriter) array(n int, item func(i int)) {
	w.b = append(w.b, '[', '#')
	w.length(n)
	for i := range n {
		item(i)
	}
}

func (w *ubjWriter) texts(list []string) { w.array(len(list), func(i int) { w.text(list[i]) }) }

func (w *ubjWriter) numbers(list []int32) { w.array(len(list), func(i int) { w.number(list[i]) }) }

func (w *ubjWriter) typed(marker byte, n int) {
	w.b = append(w.b, '[', '$', marker, '#')
	w.length(n)
}

func (w *ubjWriter) ints(v []int32) {
	w.typed('l', len(v))
	for _, x := range v {
		w.b = binary.BigEndian.AppendUint32(w.b, uint32(x))
	}
}

func (w *ubjWriter) longs(v []int64) {
	w.typed('L', len(v))
	for _, x := range v {
		w.b = binary.BigEndian.AppendUint64(w.b, uint64(x))
	}
}

func (w *ubjWriter) floats(v []float32) {
	w.typed('d', len(v))
	for _, x := range v {
		w.b = binary.BigEndian.AppendUint32(w.b, math.Float32bits(x))
	}
}

func (w *ubjWriter) bytes(v []uint8) {
	w.typed('U', len(v))
	w.b = append(w.b, v...)
}

// arrayKinds are the kinds of the arrays of numbers in a model, by their keys; others are written number by number. XGBoost
// insists on the kind. The values of categories that are texts are bytes, see transcode.
var arrayKinds = map[string]byte{
	"base_weights": 'd', "loss_changes": 'd', "split_conditions": 'd', "sum_hessian": 'd', "leaf_weights": 'd', "weights": 'd',
	"default_left": 'U', "split_type": 'U', "categories_segments": 'L', "categories_sizes": 'L', "values": 'L', "texts": 'i',
	"categories": 'l', "categories_nodes": 'l', "left_children": 'l', "right_children": 'l', "parents": 'l', "split_indices": 'l', "feature_segments": 'l', "sorted_idx": 'l', "offsets": 'l',
}

// ToUBJ writes a model of the JSON form in the UBJSON form, with the same values: numbers of trees are float32 in both. It
// fails with problem.Invalid on a file that is no JSON.
func ToUBJ(data []byte) ([]byte, error) {
	w := &ubjWriter{}
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	if err := w.transcode(d, "", 0); err != nil {
		return nil, err
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, problem.New(problem.Invalid, "Something follows the model.")
	}
	return w.b, nil
}

func (w *ubjWriter) transcode(d *json.Decoder, key string, depth int) error {
	t, err := d.Token()
	if err != nil || depth > 64 {
		return problem.New(problem.Invalid, "The file is not a whole JSON document.").Because(err)
	}
	switch v := t.(type) {
	case string:
		w.text(v)
	case bool:
		w.b = append(w.b, map[bool]byte{true: 'T', false: 'F'}[v])
	case nil:
		w.b = append(w.b, 'Z')
	case json.Number:
		if n, err := v.Int64(); err == nil {
			w.b = append(w.b, 'L')
			w.b = binary.BigEndian.AppendUint64(w.b, uint64(n))
			return nil
		}
		f, err := strconv.ParseFloat(v.String(), 32)
		if err != nil {
			return problem.New(problem.Invalid, "The number %s is none of a model.", v)
		}
		w.b = append(w.b, 'd')
		w.b = binary.BigEndian.AppendUint32(w.b, math.Float32bits(float32(f)))
	case json.Delim:
		if v == '[' {
			return w.list(d, key, depth)
		}
		w.b = append(w.b, '{')
		texts := false
		for d.More() {
			name, err := d.Token()
			if err != nil {
				return problem.New(problem.Invalid, "The file is not a whole JSON document.").Because(err)
			}
			s, _ := name.(string)
			w.key(s)
			if texts = texts || s == "offsets"; texts && s == "values" {
				s = "texts"
			}
			if err := w.transcode(d, s, depth+1); err != nil {
				return err
			}
		}
		if _, err := d.Token(); err != nil {
			return problem.New(problem.Invalid, "The file is not a whole JSON document.").Because(err)
		}
		w.b = append(w.b, '}')
	}
	return nil
}

// list writes an array; its length is only known behind it, so the items are written apart.
func (w *ubjWriter) list(d *json.Decoder, key string, depth int) error {
	items := &ubjWriter{}
	count := 0
	marker := arrayKinds[key]
	for ; d.More(); count++ {
		if marker == 0 {
			if err := items.transcode(d, "", depth+1); err != nil {
				return err
			}
			continue
		}
		t, err := d.Token()
		if b, ok := t.(bool); ok {
			t = json.Number(map[bool]string{true: "1", false: "0"}[b])
		}
		n, ok := t.(json.Number)
		if err != nil || !ok {
			return problem.New(problem.Invalid, "The list %q holds something else than numbers.", short(key)).Because(err)
		}
		if marker == 'd' {
			f, err := strconv.ParseFloat(n.String(), 32)
			if err != nil {
				return problem.New(problem.Invalid, "The list %q holds %s.", short(key), short(n.String()))
			}
			items.b = binary.BigEndian.AppendUint32(items.b, math.Float32bits(float32(f)))
			continue
		}
		i, err := n.Int64()
		if err != nil || marker == 'l' && int64(int32(i)) != i || marker == 'U' && int64(uint8(i)) != i || marker == 'i' && int64(int8(i)) != i {
			return problem.New(problem.Invalid, "The list %q holds %s.", short(key), short(n.String()))
		}
		switch marker {
		case 'U', 'i':
			items.b = append(items.b, uint8(i))
		case 'l':
			items.b = binary.BigEndian.AppendUint32(items.b, uint32(i))
		case 'L':
			items.b = binary.BigEndian.AppendUint64(items.b, uint64(i))
		}
	}
	if _, err := d.Token(); err != nil {
		return problem.New(problem.Invalid, "The file is not a whole JSON document.").Because(err)
	}
	if marker != 0 {
		w.typed(marker, count)
	} else {
		w.b = append(w.b, '[', '#')
		w.length(count)
	}
	w.b = append(w.b, items.b...)
	return nil
}
