package main

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"keelson/client"
	"keelson/internal/dataset"
)

// maxRequest is the largest request or table that predict reads, in bytes.
const maxRequest = 256 << 20

func (c *cli) predictCmd() *cobra.Command {
	var data, format, version string
	var rows []string
	var batch int
	cmd := verb("predict ENDPOINT [FILE]", "Call a deployed model with a request, a table (CSV, JSON, Parquet) or single rows", "keelson predict referral --row age=61,score=0.4\nkeelson predict screening patients.csv -o csv\n"+
		`keelson predict referral --data '{"inputs":[{"name":"age","shape":[1],"datatype":"INT64","data":[61]}]}'`+"\nkeelson predict screening.dev --data @request.json",
		c.args(1, 2, "ENDPOINT and at most one FILE"), func(cmd *cobra.Command, args []string) error {
			given := 0
			for _, is := range []bool{data != "", len(rows) > 0, len(args) == 2} {
				if is {
					given++
				}
			}
			if given != 1 {
				return usage("Give one of: a FILE with rows, --row name=value,name=value (once per row), or a whole request with --data '{\"inputs\": …}', --data @FILE or --data -.")
			}
			if batch < 1 {
				return usage("--batch is the number of rows per call, 1 or more.")
			}
			target := "/v2/models/" + escape(args[0])
			if version != "" {
				target += "/versions/" + escape(version)
			}
			if data != "" {
				return c.predictRequest(cmd.Context(), target, data)
			}
			var t table
			var err error
			if len(rows) > 0 {
				t, err = tableOfRows(rows)
			} else {
				t, err = c.tableOfFile(cmd.Context(), args[1], format)
			}
			if err != nil {
				return err
			}
			return c.predictTable(cmd.Context(), args[0], version, target, t, len(rows) > 0, batch)
		})
	f := cmd.Flags()
	f.StringVar(&data, "data", "", "Open Inference Protocol request as JSON, @file or - for standard input")
	f.StringArrayVar(&rows, "row", nil, "one row as name=value,name=value; again for the next row")
	f.StringVar(&format, "format", "", "of FILE: csv, json or parquet (default: by its name)")
	f.StringVar(&version, "version", "", "ask this version, whatever share it has")
	f.IntVar(&batch, "batch", 100, "rows per call")
	cmd.ValidArgsFunction = c.complete("deploy", "endpoint")
	return cmd
}

// predictRequest sends a request as it was given.
func (c *cli) predictRequest(ctx context.Context, target, data string) error {
	body := json.RawMessage(data)
	if data == "-" || data[0] == '@' {
		name := data
		if data[0] == '@' {
			name = data[1:]
		}
		r, err := c.openData(name)
		if err != nil {
			return err
		}
		defer r.Close()
		if body, err = io.ReadAll(io.LimitReader(r, maxRequest)); err != nil {
			return err
		}
	}
	if !json.Valid(body) {
		return usage("The request is not JSON.")
	}
	cl, err := c.dial()
	if err != nil {
		return err
	}
	var out json.RawMessage
	if err := cl.Post(ctx, target+"/infer", body, &out); err != nil {
		return err
	}
	return c.show(out, nil, "id")
}

// table is rows of named cells. A cell is a string (from CSV, Parquet or --row), a JSON value, or nil when missing.
type table struct {
	columns []string
	rows    [][]any
}

func tableOfRows(rows []string) (t table, err error) {
	for _, row := range rows {
		cells := make([]any, len(t.columns))
		for _, pair := range splitPairs(row) {
			name, value, ok := strings.Cut(pair, "=")
			if name = strings.TrimSpace(name); !ok || name == "" {
				return t, usage("--row %q: %q is not like name=value.", row, pair)
			}
			at := slices.Index(t.columns, name)
			if at < 0 {
				at = len(t.columns)
				t.columns = append(t.columns, name)
				cells = append(cells, nil)
			}
			cells[at] = value
		}
		t.rows = append(t.rows, cells)
	}
	for i := range t.rows {
		for len(t.rows[i]) < len(t.columns) {
			t.rows[i] = append(t.rows[i], nil)
		}
	}
	return t, nil
}

// splitPairs splits at commas that are followed by name=; other commas belong to the value.
func splitPairs(row string) (out []string) {
	for _, part := range strings.Split(row, ",") {
		if len(out) > 0 && !strings.Contains(part, "=") {
			out[len(out)-1] += "," + part
			continue
		}
		out = append(out, part)
	}
	return out
}

func (c *cli) tableOfFile(ctx context.Context, name, format string) (t table, err error) {
	if format == "" {
		format = strings.TrimPrefix(strings.ToLower(filepath.Ext(name)), ".")
	}
	switch format {
	case "parquet":
		return tableOfParquet(ctx, name)
	case "csv", "json", "jsonl", "ndjson":
	default:
		return t, usage("%s: it is not plain from the name what the file holds; add --format csv, json or parquet.", name)
	}
	r, err := c.openData(name)
	if err != nil {
		return t, err
	}
	defer r.Close()
	b, err := io.ReadAll(io.LimitReader(r, maxRequest+1))
	if err != nil {
		return t, err
	}
	if len(b) > maxRequest {
		return t, usage("%s has more than %d MiB; split it, or register it as data and evaluate the version.", name, maxRequest>>20)
	}
	if format == "csv" {
		return tableOfCSV(name, b)
	}
	return tableOfJSON(name, b)
}

func tableOfCSV(name string, b []byte) (t table, err error) {
	in := csv.NewReader(bytes.NewReader(bytes.TrimPrefix(b, []byte("\xef\xbb\xbf"))))
	if t.columns, err = in.Read(); err != nil {
		return t, usage("%s is no CSV with a heading: %v", name, err)
	}
	for {
		rec, err := in.Read()
		if errors.Is(err, io.EOF) {
			return t, nil
		}
		if err != nil {
			return t, usage("%s cannot be read: %v", name, err)
		}
		cells := make([]any, len(rec))
		for i, v := range rec {
			if v != "" {
				cells[i] = v
			}
		}
		t.rows = append(t.rows, cells)
	}
}

// tableOfJSON reads an array of objects, objects one after another, or MLflow's {"columns", "data"}.
func tableOfJSON(name string, b []byte) (t table, err error) {
	var split struct {
		Columns []string `json:"columns"`
		Data    [][]any  `json:"data"`
	}
	if number(b, &split) == nil && split.Columns != nil {
		for i, row := range split.Data {
			if len(row) != len(split.Columns) {
				return t, usage("%s: row %d has %d values for %d columns.", name, i+1, len(row), len(split.Columns))
			}
		}
		return table{split.Columns, split.Data}, nil
	}
	var list []map[string]any
	if err := number(b, &list); err != nil {
		d := json.NewDecoder(bytes.NewReader(b))
		d.UseNumber()
		for list = nil; ; {
			var one map[string]any
			if err := d.Decode(&one); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				return t, usage("%s holds no rows: give an array of objects, an object per line, or {\"columns\", \"data\"}; %v", name, err)
			}
			list = append(list, one)
		}
	}
	for _, row := range list {
		for _, k := range sortedKeys(row) {
			if !slices.Contains(t.columns, k) {
				t.columns = append(t.columns, k)
			}
		}
	}
	for _, row := range list {
		cells := make([]any, len(t.columns))
		for i, k := range t.columns {
			cells[i] = row[k]
		}
		t.rows = append(t.rows, cells)
	}
	return t, nil
}

// number reads JSON whose numbers keep all their digits.
func number(b []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	return d.Decode(v)
}

func tableOfParquet(ctx context.Context, name string) (t table, err error) {
	f, err := os.Open(name)
	if err != nil {
		return t, usage("The file cannot be read: %v", err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return t, err
	}
	got, err := dataset.ReadParquet(ctx, f, st.Size(), dataset.Limits{Table: maxRequest})
	if err != nil {
		return t, usage("%s cannot be read: %v", name, err)
	}
	for i := range got.Columns {
		col := &got.Columns[i]
		words, missing := col.Text()
		t.columns = append(t.columns, col.Name)
		for len(t.rows) < len(words) {
			t.rows = append(t.rows, make([]any, len(got.Columns)))
		}
		for r, w := range words {
			if r >= len(missing) || !missing[r] {
				t.rows[r][i] = w
			}
		}
	}
	return t, nil
}

// callForm is how an endpoint is called, as the server tells.
type callForm struct {
	Model   string
	Version int
	Fields  []struct {
		Name, Input, Datatype string
		Place                 int
		Optional              bool
	}
	Inputs []struct {
		Name  string
		Shape []int
	}
	Golden  bool
	Example []sentTensor
	Rows    []sentTensor
	Answers []sentTensor
	Limit   float64
}

type sentTensor struct {
	Name     string `json:"name"`
	Shape    []int  `json:"shape"`
	Datatype string `json:"datatype"`
	Data     []any  `json:"data"`
}

func form(ctx context.Context, cl *client.Client, endpoint, version string) (f callForm, err error) {
	p := "/api/v1/deployments/" + escape(endpoint) + "/form"
	if version != "" {
		p += "?version=" + escape(version)
	}
	return f, cl.Get(ctx, p, &f)
}

// predictTable sends the rows of a table, some at a time, and prints the answers, one line per row.
func (c *cli) predictTable(ctx context.Context, endpoint, version, target string, t table, typed bool, batch int) error {
	cl, err := c.dial()
	if err != nil {
		return err
	}
	f, err := form(ctx, cl, endpoint, version)
	if err != nil {
		return err
	}
	if len(f.Fields) == 0 {
		return usage("%s takes tensors, not rows of single values; give the request with --data. Its form: %s%s", endpoint, cl.Server(), target)
	}
	var unused []string
	for _, name := range t.columns {
		if !slices.ContainsFunc(f.Fields, func(x struct {
			Name, Input, Datatype string
			Place                 int
			Optional              bool
		}) bool {
			return x.Name == name
		}) {
			unused = append(unused, name)
		}
	}
	if len(unused) > 0 && typed {
		return usage("%s has no input %q; it takes %s.", endpoint, unused[0], strings.Join(f.names(), ", "))
	}
	if len(unused) > 0 {
		c.say("not used: %s", strings.Join(unused, ", "))
	}
	var items []json.RawMessage
	var outputs []string
	for from := 0; from < len(t.rows); from += batch {
		part := t.rows[from:min(from+batch, len(t.rows))]
		inputs, err := f.tensors(t.columns, part, from)
		if err != nil {
			return err
		}
		var answer struct {
			Version    string       `json:"model_version"`
			Outputs    []sentTensor `json:"outputs"`
			Parameters struct {
				Prediction string `json:"prediction_id"`
			} `json:"parameters"`
		}
		var raw json.RawMessage
		if err := cl.Post(ctx, target+"/infer", map[string]any{"inputs": inputs}, &raw); err != nil {
			return err
		}
		if err := number(raw, &answer); err != nil {
			return fmt.Errorf("read answer: %w", err)
		}
		for i := range part {
			row := map[string]any{"row": from + i, "version": answer.Version, "prediction_id": answer.Parameters.Prediction}
			for _, o := range answer.Outputs {
				name := o.Name
				if _, taken := row[name]; taken {
					name = "output." + name
				}
				if !slices.Contains(outputs, name) {
					outputs = append(outputs, name)
				}
				width := len(o.Data) / len(part)
				if width == 1 {
					row[name] = o.Data[i]
				} else if width > 1 {
					row[name] = o.Data[i*width : (i+1)*width]
				}
			}
			b, err := json.Marshal(row)
			if err != nil {
				return err
			}
			items = append(items, b)
		}
	}
	return c.list(items, columns(append(append([]string{"row"}, outputs...), "version", "prediction_id")...), "prediction_id")
}

func (f *callForm) names() (out []string) {
	for _, x := range f.Fields {
		out = append(out, x.Name)
	}
	return out
}

// tensors makes the inputs of some rows; first is the place of the first row in the table. Optional inputs that no row
// has are left out.
func (f *callForm) tensors(columns []string, rows [][]any, first int) (out []sentTensor, err error) {
	for _, in := range f.Inputs {
		t := sentTensor{Name: in.Name, Data: []any{}}
		var places []int
		optional, present := false, false
		var types, names []string
		for _, x := range f.Fields {
			if x.Input != in.Name {
				continue
			}
			at := slices.Index(columns, x.Name)
			if at < 0 && !x.Optional {
				return nil, usage("The rows have no column %q; the model takes %s.", x.Name, strings.Join(f.names(), ", "))
			}
			optional, present = x.Optional, present || at >= 0
			places, types, names = append(places, at), append(types, x.Datatype), append(names, x.Name)
		}
		if len(places) == 0 || optional && !present {
			continue
		}
		t.Datatype = types[0]
		t.Shape = []int{len(rows)}
		if len(in.Shape) > 1 || len(places) > 1 {
			t.Shape = append(t.Shape, len(places))
		}
		for r, row := range rows {
			for k, at := range places {
				var v any
				if at >= 0 {
					v = row[at]
				}
				if v, err = valueOf(v, types[k]); err != nil {
					return nil, usage("Row %d, %s: %v", first+r+1, names[k], err)
				}
				t.Data = append(t.Data, v)
			}
		}
		out = append(out, t)
	}
	return out, nil
}

// valueOf turns a cell into what a datatype takes; nil stays nil, the missing value, where the type has one.
func valueOf(v any, datatype string) (any, error) {
	text, isText := v.(string)
	switch {
	case datatype == "BYTES":
		if v == nil {
			return "", nil
		}
		if isText {
			return text, nil
		}
		return cell(v), nil
	case datatype == "BOOL":
		switch strings.ToLower(strings.TrimSpace(cell(v))) {
		case "true", "1", "yes":
			return true, nil
		case "false", "0", "no":
			return false, nil
		}
		return nil, fmt.Errorf("%q is neither true nor false", cell(v))
	case strings.HasPrefix(datatype, "INT"), strings.HasPrefix(datatype, "UINT"):
		s := strings.TrimSpace(cell(v))
		if s == "" {
			return nil, errors.New("a whole number cannot be missing")
		}
		if _, err := strconv.ParseInt(s, 10, 64); err != nil {
			if _, err := strconv.ParseUint(s, 10, 64); err != nil {
				return nil, fmt.Errorf("%q is not a whole number", s)
			}
		}
		return json.Number(s), nil
	}
	if b, ok := v.(bool); ok {
		if b {
			return 1, nil
		}
		return 0, nil
	}
	s := strings.TrimSpace(cell(v))
	if s == "" || strings.EqualFold(s, "nan") {
		return nil, nil
	}
	n, err := strconv.ParseFloat(s, 64)
	if err != nil {
		return nil, fmt.Errorf("%q is not a number", s)
	}
	if b, err := json.Marshal(n); err == nil {
		return json.RawMessage(b), nil
	}
	return nil, fmt.Errorf("%q cannot be sent as JSON", s)
}
