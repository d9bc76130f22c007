package main

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
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
		if len(parts) > 1 && strings.HasSuffix(parts[0], ".") && strings.Contains(parts[0], " ") { // sentences
			return strings.Join(parts, " ")
		}
		return strings.Join(parts, ",")
	case map[string]any:
		return short(v)
	}
	return fmt.Sprint(v)
}

// short is an object in few words.
func short(m map[string]any) string {
	if version, kind, share := m["version"], m["kind"], m["share"]; isSlot(m) {
		if kind == "shadow" {
			return fmt.Sprintf("v%v shadow", version)
		}
		if kind == "live" {
			return fmt.Sprintf("v%v %v %%", version, share)
		}
		return fmt.Sprintf("v%v %v %% %v", version, share, kind)
	}
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

// isSlot tells a version with its share of the calls.
func isSlot(m map[string]any) bool {
	return len(m) == 3 && m["version"] != nil && m["kind"] != nil && m["share"] != nil
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
	lines := [][]string{titles(cols, strings.ToUpper)}
	for _, d := range docs {
		row := make([]string, 0, len(cols))
		for _, col := range cols {
			row = append(row, c.relative(brief(at(d, col.path))))
		}
		lines = append(lines, row)
	}
	hidden := 0
	if c.output != "wide" {
		lines, hidden = fit(lines, c.width)
	}
	w := tabwriter.NewWriter(c.out, 2, 8, 2, ' ', 0)
	for _, line := range lines {
		fmt.Fprintln(w, strings.TrimRight(strings.Join(line, "\t"), "\t"))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if hidden > 0 {
		c.say("%s did not fit: add -o wide", strings.ToLower(strings.Join(titles(cols, strings.ToUpper)[len(cols)-hidden:], ", ")))
	}
	return nil
}

// brief is a value as text for a person: of a broken number the digits that are read, not all that are known.
func brief(v any) string {
	n, ok := v.(json.Number)
	if !ok || !strings.ContainsAny(n.String(), ".eE") {
		return cell(v)
	}
	f, err := n.Float64()
	if err != nil || len(n.String()) <= 7 {
		return n.String()
	}
	if a := math.Abs(f); a >= 1000 && a < 1e15 {
		return strconv.FormatFloat(f, 'f', 0, 64)
	}
	return strconv.FormatFloat(f, 'g', 4, 64)
}

const (
	widest   = 60 // runes of a cell in a table that is fitted
	narrowed = 12 // a column is not narrowed below this, but left out
	named    = 36 // the first one not below this, which identifiers have at most
)

// fit makes a table as wide as a terminal, two blanks between its columns: the widest columns are cut first, then
// columns are left out from the end. hidden says how many. A width of 0 cuts only what nobody reads in a table. The columns
// in whole are not cut.
func fit(lines [][]string, width int, whole ...int) (out [][]string, hidden int) {
	if len(lines) == 0 {
		return lines, 0
	}
	wide := make([]int, len(lines[0]))
	for i := range wide {
		for _, line := range lines {
			wide[i] = max(wide[i], min(widest, len([]rune(line[i]))))
		}
	}
	least := func(i int) int {
		switch {
		case slices.Contains(whole, i):
			return wide[i]
		case i == 0:
			return named
		}
		return narrowed
	}
	total := func(of func(int) int) (n int) {
		for i := range wide {
			n += of(i) + 2
		}
		return n - 2
	}
	is := func(i int) int { return wide[i] }
	for width > 0 && len(wide) > 1 && total(func(i int) int { return min(wide[i], least(i)) }) > width {
		wide, hidden = wide[:len(wide)-1], hidden+1
	}
	for width > 0 && total(is) > width {
		most, next := -1, 0 // the widest column that may give way, and how wide the one after it is
		for i := range wide {
			if wide[i] > least(i) && (most < 0 || wide[i] > wide[most]) {
				most = i
			}
		}
		if most < 0 {
			break
		}
		for i := range wide {
			if wide[i] < wide[most] {
				next = max(next, wide[i])
			}
		}
		wide[most] = max(least(most), min(wide[most]-1, next), wide[most]-(total(is)-width))
	}
	for _, line := range lines {
		short := make([]string, len(wide))
		for i := range wide {
			short[i] = cut(line[i], max(wide[i], 1))
		}
		out = append(out, short)
	}
	return out, hidden
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
	var lines bytes.Buffer
	w := tabwriter.NewWriter(&lines, 2, 8, 2, ' ', 0)
	var tables []column
	for _, col := range cols {
		if rows, ok := at(d, col.path).([]any); ok && rowsOfObjects(rows) && (len(rows) > 3 || c.tty && len([]rune(cell(rows))) > widest) {
			tables = append(tables, col) // too long for one line
			continue
		}
		text := cell(at(d, col.path))
		if c.tty {
			text = c.relative(brief(at(d, col.path)))
		}
		if text != "" {
			fmt.Fprintf(w, "%s\t%s\n", strings.ToLower(col.title), text)
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	c.print(lines.String())
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

// table prints a list inside of one thing: the name or identifier first, then the plain fields and the splits in
// alphabetical order.
func (c *cli) table(title string, rows []any) error {
	seen := map[string]any{}
	for _, r := range rows {
		for k, v := range r.(map[string]any) {
			switch v := v.(type) {
			case nil, map[string]any:
			case []any:
				if len(v) > 0 && !slices.ContainsFunc(v, func(x any) bool { m, ok := x.(map[string]any); return !ok || !isSlot(m) }) {
					seen[k] = true
				}
			default:
				seen[k] = true
			}
		}
	}
	keys := sortedKeys(seen)
	slices.SortStableFunc(keys, func(a, b string) int { return rank(a) - rank(b) })
	var whole []int
	for i, k := range keys {
		if k == "slots" { // half a split is none
			whole = append(whole, i)
		}
	}
	heading := strings.ToUpper(strings.ReplaceAll(strings.Join(keys, "\t"), "_", " "))
	lines := [][]string{strings.Split(heading, "\t")}
	for _, r := range rows {
		var line []string
		for _, k := range keys {
			if text := cell(at(r, k)); c.tty {
				line = append(line, c.relative(brief(at(r, k))))
			} else {
				line = append(line, text)
			}
		}
		lines = append(lines, line)
	}
	hidden := 0
	if c.width > 0 && c.output != "wide" {
		lines, hidden = fit(lines, c.width-2, whole...)
	}
	fmt.Fprintf(c.out, "\n%s\n", title)
	w := tabwriter.NewWriter(c.out, 2, 8, 2, ' ', 0)
	for _, line := range lines {
		fmt.Fprintln(w, "  "+strings.TrimRight(strings.Join(line, "\t"), "\t"))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if hidden > 0 {
		c.say("%s did not fit: add -o wide", strings.ToLower(strings.ReplaceAll(strings.Join(keys[len(keys)-hidden:], ", "), "_", " ")))
	}
	return nil
}

func rank(key string) int {
	if i := slices.Index([]string{"name", "id", "column", "serial", "version", "slots"}, key); i >= 0 {
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

// print writes text for people, as wide as the terminal.
func (c *cli) print(text string) { fmt.Fprint(c.out, wrap(text, c.width)) }

// showing says that a list was cut.
func (c *cli) showing(n int) {
	if c.limit > 0 && n >= c.limit && !c.machine() && c.tty {
		c.say("showing %d; add --limit 0 for all", n)
	}
}
