package prediction

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"hash"
	"math"
	"slices"
	"strconv"
	"strings"

	"keelson/internal/engine"
	"keelson/internal/tensor"
)

// HashPrefix before a column's name in a release's list of redacted columns keeps a keyed hash of each value beside the
// record, so that records about one person can be joined; without it nothing of the value is kept.
const HashPrefix = "hash:"

// Redacted says what of a record's tensors was taken out before it was written.
type Redacted struct {
	Columns []string `json:"columns" doc:"columns whose values were left out"`
	// Hashes are the first 128 bits of HMAC-SHA-256 of each value under the workspace's key, in hex, row by row.
	Hashes map[string][]string `json:"hashes,omitempty" doc:"column → keyed hash of each row's value"`
}

// Redaction takes columns out of records. It is safe for concurrent use; a nil one takes nothing out.
type Redaction struct {
	names  map[string]bool           // redacted columns → keep a hash
	places map[string]map[int]string // columns within a tensor of the signature
	hidden map[string]bool           // tensors whose columns have no names, so that all of them go
	widths map[string]int            // values per row of the tensors of the signature, -1 for any
	given  map[string]bool           // inputs of the signature, and the columns of a single one, each of which may be a tensor
	only   string                    // the only input's name; callers may call a single tensor otherwise
	echoes bool                      // something of an answer is redacted
	key    []byte
}

// NewRedaction finds the named columns in a signature. Where a matrix of the signature does not name each of its columns
// and a name is found nowhere else, the column could be any of them: the whole matrix is left out. key is the workspace's
// key of hashes. Without names it gives nil.
func NewRedaction(names []string, sig engine.Signature, key []byte) *Redaction {
	if len(names) == 0 {
		return nil
	}
	r := &Redaction{names: map[string]bool{}, places: map[string]map[int]string{}, hidden: map[string]bool{}, widths: map[string]int{}, given: map[string]bool{}, key: key}
	for _, n := range names {
		name, hashed := strings.CutPrefix(n, HashPrefix)
		r.names[name] = r.names[name] || hashed
	}
	found := map[string]bool{}
	for i, spec := range slices.Concat(sig.Inputs, sig.Outputs) {
		output := i >= len(sig.Inputs)
		w := width(spec)
		if w < 0 && len(spec.Columns) > 0 {
			w = len(spec.Columns)
		}
		if had, ok := r.widths[spec.Name]; ok && had != w { // an input and an output of one name
			w = -1
		}
		r.widths[spec.Name] = w
		found[spec.Name] = true
		if !output {
			r.given[spec.Name] = true
		}
		if _, ok := r.names[spec.Name]; ok && output {
			r.echoes = true
		}
		for k, c := range spec.Columns {
			if _, ok := r.names[c]; !ok {
				continue
			}
			r.echoes = r.echoes || output
			if r.places[spec.Name] == nil {
				r.places[spec.Name] = map[int]string{}
			}
			r.places[spec.Name][k] = c
			found[c] = true
			if w != len(spec.Columns) { // a column is more than one value of a row, or nobody knows which
				r.hidden[spec.Name] = true
			}
		}
	}
	lost := false
	for n := range r.names {
		lost = lost || !found[n]
	}
	for _, spec := range sig.Inputs {
		if w := r.widths[spec.Name]; lost && w != 1 && len(spec.Columns) != w {
			r.hidden[spec.Name] = true
		}
	}
	if len(sig.Inputs) == 1 {
		r.only = sig.Inputs[0].Name
		for _, c := range sig.Inputs[0].Columns {
			if _, ok := r.widths[c]; !ok {
				r.given[c], r.widths[c] = true, 1
			}
		}
	}
	return r
}

// width is the number of values in a row of a tensor, -1 for any.
func width(spec engine.Spec) int {
	n := 1
	for _, d := range spec.Shape[min(len(spec.Shape), 1):] {
		if d < 0 {
			return -1
		}
		n *= d
	}
	return n
}

// Apply takes the columns out of r's tensors and notes them in r.Redacted. A redacted number is missing, a redacted text
// empty; a redacted column of whole numbers takes its tensor's place as FP64; a tensor that is a redacted column is left
// out. So is one that may hold a redacted column where nobody can tell: an input that the signature does not know, or a
// tensor with more or fewer values per row than the signature says. The caller's tensors are not changed.
func (d *Redaction) Apply(r *Record) {
	if d == nil {
		return
	}
	var told Redacted
	r.Inputs = d.take(r.Inputs, &told, true)
	r.Outputs = d.take(r.Outputs, &told, false)
	if len(told.Columns) == 0 {
		return
	}
	slices.Sort(told.Columns)
	told.Columns = slices.Compact(told.Columns)
	r.Redacted, _ = json.Marshal(told) // texts only: cannot fail
}

func (d *Redaction) take(in []tensor.Tensor, told *Redacted, inputs bool) []tensor.Tensor {
	out := make([]tensor.Tensor, 0, len(in))
	for i := range in {
		t := in[i]
		name := t.Name
		if _, ok := d.names[name]; ok {
			d.keep(told, name, &t, 0, max(t.Width(), 1))
			continue
		}
		if inputs && len(in) == 1 && d.only != "" && !d.given[name] {
			name = d.only
		}
		if d.hidden[name] || !d.fits(name, &t, inputs) {
			told.Columns = append(told.Columns, t.Name)
			continue
		}
		if places := d.places[name]; len(places) > 0 {
			w := max(t.Width(), 1)
			for k, column := range places {
				if k < w {
					d.keep(told, column, &t, k, k+1)
				}
			}
			t = blank(t, places)
		}
		out = append(out, t)
	}
	return out
}

// fits says whether a tensor is one that the signature knows, and of its form, so that its places are known. Only answers
// in which nothing is redacted may have any form.
func (d *Redaction) fits(name string, t *tensor.Tensor, input bool) bool {
	if !input && !d.echoes {
		return true
	}
	want, known := d.widths[name]
	if !known || input && !d.given[name] {
		return false
	}
	if want < 0 {
		return len(d.places[name]) == 0
	}
	return t.Len() == 0 || t.Width() == want && t.Len() == want*t.Rows()
}

// keep notes that the places from a to b of each row are left out, and their hash if it is wanted.
func (d *Redaction) keep(told *Redacted, column string, t *tensor.Tensor, a, b int) {
	told.Columns = append(told.Columns, column)
	if !d.names[column] {
		return
	}
	rows, w := t.Rows(), max(t.Width(), 1)
	list := make([]string, 0, rows)
	mac := hmac.New(sha256.New, d.key)
	for row := range rows {
		list = append(list, token(mac, t, row*w+a, row*w+b))
	}
	if told.Hashes == nil {
		told.Hashes = map[string][]string{}
	}
	told.Hashes[column] = list
}

// token is the hash of the values of a row; "" where a single value is missing. Equal numbers have equal tokens whatever
// their type.
func token(mac hash.Hash, t *tensor.Tensor, a, b int) string {
	mac.Reset()
	for i := a; i < b; i++ {
		text := element(t, i)
		if b == a+1 && (text == "" || text == "NaN") {
			return ""
		}
		if i > a {
			mac.Write([]byte{0})
		}
		mac.Write([]byte(text))
	}
	return hex.EncodeToString(mac.Sum(nil)[:16])
}

// element is one value as text: equal numbers have equal texts whatever their type, but for what a type rounds.
func element(t *tensor.Tensor, i int) string {
	switch {
	case t.Type == tensor.Bytes:
		return t.S[i]
	case t.I64 != nil:
		return strconv.FormatInt(t.I64[i], 10)
	case t.U64 != nil:
		return strconv.FormatUint(t.U64[i], 10)
	}
	v, bits := t.Float64(i), 64
	if t.F32 != nil {
		bits = 32
	}
	if v == math.Trunc(v) && math.Abs(v) < 1<<53 {
		return strconv.FormatInt(int64(v), 10)
	}
	return strconv.FormatFloat(v, 'g', -1, bits)
}

func redacted(places map[int]string, k int) bool { _, ok := places[k]; return ok }

// blank gives t without the values at some places of each row.
func blank(t tensor.Tensor, places map[int]string) tensor.Tensor {
	n, w := t.Len(), max(t.Width(), 1)
	if t.Type == tensor.Bytes {
		s := slices.Clone(t.S)
		for i := range n {
			if redacted(places, i%w) {
				s[i] = ""
			}
		}
		t.S = s
		return t
	}
	v := make([]float64, n)
	for i := range n {
		if v[i] = t.Float64(i); redacted(places, i%w) {
			v[i] = math.NaN()
		}
	}
	return tensor.FP64s(t.Name, t.Shape, v)
}

// Left gives what was taken out of r; nothing when all is there.
func (r *Record) Left() Redacted {
	var out Redacted
	_ = json.Unmarshal(r.Redacted, &out)
	return out
}

// Columns gives the features of tensors of r without those that were left out, so that nobody takes them for missing.
func (r *Record) Columns(sig engine.Signature, in []tensor.Tensor) []engine.Column {
	return r.ColumnsBy(&engine.Columns{Of: sig}, in)
}

// ColumnsBy is Columns for many records of one signature: what it gives holds until by is used again.
func (r *Record) ColumnsBy(by *engine.Columns, in []tensor.Tensor) []engine.Column {
	list := by.Take(in)
	if len(r.Redacted) == 0 {
		return list
	}
	left := r.Left().Columns
	return slices.DeleteFunc(slices.Clone(list), func(c engine.Column) bool { return slices.Contains(left, c.Name) })
}

// HashKey is the key of hashes of one workspace, made of the installation's.
func HashKey(installation []byte, workspace string) []byte {
	mac := hmac.New(sha256.New, installation)
	mac.Write([]byte("keelson/prediction-hash/v1\x00" + workspace))
	return mac.Sum(nil)
}
