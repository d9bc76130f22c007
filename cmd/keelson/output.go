package main

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"text/template"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/itchyny/gojq"
)

// column is one column of a table: its title and where its value stands in the JSON, as "latest.version".
type column struct{ title, path string }

// columns makes columns of "title=path" or "path" (the title is then its last part).
func columns(specs ...string) (cs []column) {
	for _, s := range specs {
		title, p, ok := strings.Cut(s, "=")
		if !ok {
			p = title
			title = title[strings.LastIndex(title, ".")+1:]
		}
		cs = append(cs, column{strings.ToUpper(strings.ReplaceAll(title, "_", " ")), p})
	}
	return cs
}

// document is JSON whose objects keep the order of their fields.
func document(raw json.RawMessage) (any, error) {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, fmt.Errorf("read answer: %w", err)
	}
	return v, nil
}

// toDocument turns any value into plain JSON values.
func toDocument(v any) (any, error) {
	if raw, ok := v.(json.RawMessage); ok {
		return document(raw)
	}
	b, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	return document(b)
}

// at finds the value at a path; nil if there is none. The last key may hold dots ("metrics.val.acc").
func at(v any, path string) any {
	m, ok := v.(map[string]any)
	if !ok {
		return nil
	}
	if x, ok := m[path]; ok {
		return x
	}
	key, rest, ok := strings.Cut(path, ".")
	if !ok {
		return nil
	}
	return at(m[key], rest)
}

// cell is a value as text on one line.
func cell(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		return strings.NewReplacer("\n", " ", "\t", " ").Replace(v)
	case json.Number:
		return v.String()
	case bool:
		return fmt.Sprint(v)
	case []any:
		parts := make([]string, 0, len(v))
		for _, x := range v {
			if m, ok := x.(map[string]any); ok {
				parts = append(parts, short(m))
			} else {
				parts = append(parts, cell(x))
			}
		}
		return strings.Join(parts, ",")
	case map[string]any:
		return short(v)
	}
	return fmt.Sprint(v)
}

// short is an object in few words.
func short(m map[string]any) string {
	var parts []string
	for _, k := range sortedKeys(m) {
		if x := m[k]; x != nil {
			switch x := x.(type) {
			case map[string]any:
			case []any: // a few plain values, as of a tensor
				if len(x) > 0 && len(x) <= 8 && !slices.ContainsFunc(x, nested) {
					parts = append(parts, k+"=["+cell(x)+"]")
				}
			default:
				parts = append(parts, k+"="+cell(x))
			}
		}
	}
	return strings.Join(parts, " ")
}

func nested(v any) bool {
	switch v.(type) {
	case map[string]any, []any:
		return true
	}
	return false
}

func sortedKeys(m map[string]any) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// relative turns a time into words on a terminal.
func (c *cli) relative(s string) string {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil || !c.tty {
		return s
	}
	d := time.Since(t)
	switch {
	case d < 0:
		return t.Local().Format("2006-01-02 15:04")
	case d < time.Minute:
		return fmt.Sprintf("%ds ago", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm ago", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh ago", int(d.Hours()))
	}
	return fmt.Sprintf("%dd ago", int(d.Hours()/24))
}

// machine reports whether the answer goes to a program: stdout then holds nothing but it.
func (c *cli) machine() bool {
	return c.json != "" || c.output == "json" || c.jq != "" || c.template != ""
}

// checkOutput refuses output flags that cannot be, before anything is sent.
func (c *cli) checkOutput() error {
	if c.output != "" && !slices.Contains([]string{"table", "wide", "json", "yaml", "csv", "name"}, c.output) {
		return usage("%q is not an output format; use table, wide, json, yaml, csv or name.", c.output)
	}
	if c.json != "" && c.json != "*" && !fieldList.MatchString(c.json) {
		return usage("%q is not a list of fields; write --json=name,owner.", c.json)
	}
	if c.limit < 0 {
		return usage("--limit is 0 (all) or more.")
	}
	return nil
}

// list prints the items of a list. name is the field that -o name prints.
func (c *cli) list(items []json.RawMessage, cols []column, name string) error {
	docs := make([]any, 0, len(items))
	for _, raw := range items {
		d, err := document(raw)
		if err != nil {
			return err
		}
		docs = append(docs, d)
	}
	if done, err := c.program(docs); done || err != nil {
		return err
	}
	switch c.output {
	case "name":
		for _, d := range docs {
			fmt.Fprintln(c.out, cell(at(d, name)))
		}
		return nil
	case "csv":
		w := csv.NewWriter(c.out)
		_ = w.Write(titles(cols, strings.ToLower)) // the writer keeps its error for Error
		for _, d := range docs {
			_ = w.Write(c.row(d, cols))
		}
		w.Flush()
		return w.Error()
	}
	if !c.tty {
		for _, d := range docs {
			fmt.Fprintln(c.out, strings.Join(c.row(d, cols), "\t"))
		}
		return nil
	}
	w := tabwriter.NewWriter(c.out, 2, 8, 2, ' ', 0)
	fmt.Fprintln(w, strings.Join(titles(cols, strings.ToUpper), "\t"))
	for _, d := range docs {
		row := c.row(d, cols)
		for i := range row {
			row[i] = cut(c.relative(row[i]), 60)
		}
		fmt.Fprintln(w, strings.Join(row, "\t"))
	}
	return w.Flush()
}

func cut(s string, n int) string {
	if r := []rune(s); len(r) > n {
		return string(r[:n-1]) + "…"
	}
	return s
}

func titles(cols []column, form func(string) string) (out []string) {
	for _, c := range cols {
		out = append(out, form(c.title))
	}
	return out
}

func (c *cli) row(d any, cols []column) (out []string) {
	for _, col := range cols {
		out = append(out, cell(at(d, col.path)))
	}
	return out
}

// show prints one thing: chosen lines for people, all of it for programs. name is the field that -o name prints.
func (c *cli) show(v any, cols []column, name string) error {
	d, err := toDocument(v)
	if err != nil {
		return err
	}
	if done, err := c.program(d); done || err != nil {
		return err
	}
	switch c.output {
	case "name":
		fmt.Fprintln(c.out, cell(at(d, name)))
		return nil
	case "csv":
		w := csv.NewWriter(c.out)
		_ = w.Write(titles(cols, strings.ToLower))
		_ = w.Write(c.row(d, cols))
		w.Flush()
		return w.Error()
	}
	if len(cols) == 0 || c.output == "wide" {
		if m, ok := d.(map[string]any); ok {
			cols = nil
			for _, k := range sortedKeys(m) {
				cols = append(cols, column{strings.ToUpper(k), k})
			}
		}
	}
	w := tabwriter.NewWriter(c.out, 2, 8, 2, ' ', 0)
	var tables []column
	for _, col := range cols {
		if rows, ok := at(d, col.path).([]any); ok && len(rows) > 3 && rowsOfObjects(rows) {
			tables = append(tables, col) // too long for one line
			continue
		}
		if text := c.relative(cell(at(d, col.path))); text != "" {
			fmt.Fprintf(w, "%s\t%s\n", strings.ToLower(col.title), text)
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for _, col := range tables {
		rows, _ := at(d, col.path).([]any)
		if err := c.table(strings.ToLower(col.title), rows); err != nil {
			return err
		}
	}
	return nil
}

func rowsOfObjects(rows []any) bool {
	return !slices.ContainsFunc(rows, func(r any) bool { _, ok := r.(map[string]any); return !ok })
}

// table prints a list inside of one thing: the name or identifier first, then the plain fields in alphabetical order.
func (c *cli) table(title string, rows []any) error {
	seen := map[string]any{}
	for _, r := range rows {
		for k, v := range r.(map[string]any) {
			switch v.(type) {
			case nil, map[string]any, []any:
			default:
				seen[k] = true
			}
		}
	}
	keys := sortedKeys(seen)
	slices.SortStableFunc(keys, func(a, b string) int { return rank(a) - rank(b) })
	fmt.Fprintf(c.out, "\n%s\n", title)
	w := tabwriter.NewWriter(c.out, 2, 8, 2, ' ', 0)
	fmt.Fprintln(w, "  "+strings.ToUpper(strings.ReplaceAll(strings.Join(keys, "\t"), "_", " ")))
	for _, r := range rows {
		var line []string
		for _, k := range keys {
			line = append(line, c.relative(cell(at(r, k))))
		}
		fmt.Fprintln(w, "  "+strings.Join(line, "\t"))
	}
	return w.Flush()
}

func rank(key string) int {
	if i := slices.Index([]string{"name", "id", "column", "version"}, key); i >= 0 {
		return i
	}
	return 9
}

// program prints a document for programs, if one was asked for.
func (c *cli) program(d any) (done bool, err error) {
	switch {
	case c.jq != "":
		return true, c.query(d)
	case c.template != "":
		t, err := template.New("").Parse(c.template)
		if err != nil {
			return true, usage("--template cannot be read: %v", err)
		}
		if err := t.Execute(c.out, d); err != nil {
			return true, usage("--template failed: %v", err)
		}
		return true, nil
	case c.json != "" && c.json != "*":
		return true, c.printJSON(c.out, choose(d, strings.Split(c.json, ",")))
	case c.json != "" || c.output == "json":
		return true, c.printJSON(c.out, d)
	case c.output == "yaml":
		b, err := yaml.Marshal(forJQ(d))
		if err != nil {
			return true, err
		}
		_, err = c.out.Write(b)
		return true, err
	}
	return false, nil
}

// choose keeps some fields of an object or of each object of a list.
func choose(d any, fields []string) any {
	switch d := d.(type) {
	case []any:
		out := make([]any, 0, len(d))
		for _, x := range d {
			out = append(out, choose(x, fields))
		}
		return out
	case map[string]any:
		out := map[string]any{}
		for _, f := range fields {
			out[f] = at(d, f)
		}
		return out
	}
	return d
}

func (c *cli) printJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	if f := c.tty; f || w == c.errs {
		e.SetIndent("", "  ")
	}
	return e.Encode(v)
}

func (c *cli) query(d any) error {
	q, err := gojq.Parse(c.jq)
	if err != nil {
		return usage("--jq cannot be read: %v", err)
	}
	iter := q.Run(forJQ(d))
	for {
		v, ok := iter.Next()
		if !ok {
			return nil
		}
		if err, ok := v.(error); ok {
			return usage("--jq failed: %v", err)
		}
		if s, ok := v.(string); ok {
			fmt.Fprintln(c.out, s)
			continue
		}
		b, err := gojq.Marshal(v)
		if err != nil {
			return err
		}
		fmt.Fprintln(c.out, string(b))
	}
}

// forJQ turns numbers into the kinds that gojq and YAML know.
func forJQ(v any) any {
	switch v := v.(type) {
	case json.Number:
		if n, err := v.Int64(); err == nil {
			return int(n)
		}
		f, _ := v.Float64() // JSON's own number syntax
		return f
	case []any:
		for i := range v {
			v[i] = forJQ(v[i])
		}
	case map[string]any:
		for k := range v {
			v[k] = forJQ(v[k])
		}
	}
	return v
}

// showing says that a list was cut.
func (c *cli) showing(n int) {
	if c.limit > 0 && n >= c.limit && !c.machine() && c.tty {
		c.say("showing %d; add --limit 0 for all", n)
	}
}
