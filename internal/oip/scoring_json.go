package oip

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
)

// labels are names of columns. A data frame without names has whole numbers for them.
type labels []string

// UnmarshalJSON takes a list of texts and numbers, or null.
func (l *labels) UnmarshalJSON(b []byte) error {
	var list []any
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	if err := d.Decode(&list); err != nil {
		return invalid("The columns are not a list of names.").At("dataframe_split.columns")
	}
	if list == nil {
		return nil
	}
	*l = make(labels, len(list))
	for i, v := range list {
		switch v := v.(type) {
		case string:
			(*l)[i] = v
		case json.Number:
			(*l)[i] = v.String()
		default:
			return invalid("Column %d has no name; names are texts or numbers.", i).At("dataframe_split.columns")
		}
	}
	return nil
}

// infinite stands for the word Infinity between decoding and the tensor.
const infinite = "1e9999"

// withoutWords replaces the words NaN, Infinity and -Infinity, which Python's json writes for numbers and JSON has not: MLflow's
// own client sends a frame with missing values so. NaN becomes null. Texts stay as they are.
func withoutWords(b []byte) []byte {
	if !bytes.Contains(b, []byte("NaN")) && !bytes.Contains(b, []byte("Infinity")) {
		return b
	}
	out := make([]byte, 0, len(b)+len(b)/8)
	text := false
	for i := 0; i < len(b); i++ {
		switch {
		case text && b[i] == '\\' && i+1 < len(b):
			out = append(out, b[i])
			i++
		case b[i] == '"':
			text = !text
		case text:
		case bytes.HasPrefix(b[i:], []byte("NaN")):
			out = append(out, "null"...)
			i += len("NaN") - 1
			continue
		case bytes.HasPrefix(b[i:], []byte("Infinity")):
			out = append(out, infinite...)
			i += len("Infinity") - 1
			continue
		}
		out = append(out, b[i])
	}
	return out
}

// firstKeys gives the members of the first row, or of the object of columns, in the order in which they stand. The form is
// found as the decoder finds it: in capitals or not, never null, and the last where there are several.
func firstKeys(b []byte) (keys []string) {
	d := json.NewDecoder(bytes.NewReader(b))
	_, err := d.Token()
	for err == nil && d.More() {
		var form json.Token
		if form, err = d.Token(); err != nil {
			break
		}
		var value json.RawMessage
		err = d.Decode(&value)
		name, _ := form.(string)
		if rows := []string{"dataframe_records", "instances", "inputs"}; err == nil && string(value) != "null" &&
			slices.ContainsFunc(rows, func(s string) bool { return strings.EqualFold(s, name) }) {
			keys = members(value)
		}
	}
	return keys
}

// members gives the names in an object, or in the first one of a list, in the order in which they stand.
func members(b []byte) (names []string) {
	d := json.NewDecoder(bytes.NewReader(b))
	open, _ := d.Token()
	if open == json.Delim('[') {
		open, _ = d.Token()
	}
	var skipped json.RawMessage
	for open == json.Delim('{') && d.More() {
		key, err := d.Token()
		name, ok := key.(string)
		if err != nil || !ok || d.Decode(&skipped) != nil {
			break
		}
		names = append(names, name)
	}
	return names
}

// arranged is f with the columns that first names first, in that order.
func (f *frame) arranged(first []string) *frame {
	places := make([]int, 0, len(f.Columns))
	taken := make([]bool, len(f.Columns))
	for _, name := range first {
		if i, ok := slices.BinarySearch(f.Columns, name); ok && !taken[i] {
			places, taken[i] = append(places, i), true
		}
	}
	for i := range f.Columns {
		if !taken[i] {
			places = append(places, i)
		}
	}
	out := &frame{Columns: make(labels, len(places)), Data: make([][]any, len(f.Data)), objects: f.objects}
	for k, i := range places {
		out.Columns[k] = f.Columns[i]
	}
	for r, row := range f.Data {
		out.Data[r] = make([]any, len(places))
		for k, i := range places {
			out.Data[r][k] = row[i]
		}
	}
	return out
}
