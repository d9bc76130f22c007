package lightgbm

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"keelson/internal/problem"
	"keelson/internal/tensor"
)

// file is the document as it stands on disk: a header of key=value lines, a section per tree, and behind "end of trees"
// the importances, the training parameters and the category names of pandas, of which little matters here.
type file struct {
	header             map[string][]byte
	average            bool // average_output: the margins are divided by the number of iterations
	columns            []string
	trees              *forest
	categoricalFeature string // training parameter categorical_feature, such as "0,3"
	pandas             []byte // JSON behind pandas_categorical:
}

// The most columns and classes that a file may have.
const (
	maxColumns = 1 << 20
	maxClasses = 1 << 16
)

// headerKeys are the header's lines that are looked at.
var headerKeys = []string{"version", "num_class", "num_tree_per_iteration", "max_feature_idx", "objective", "feature_names", "tree_sizes"}

func broken(format string, a ...any) error {
	return problem.New(problem.Invalid, "The LightGBM model file is broken: %s.", fmt.Sprintf(format, a...))
}

func unsupported(format string, a ...any) error {
	return problem.New(problem.Unsupported, "The LightGBM model cannot be run here: %s.", fmt.Sprintf(format, a...))
}

// short shortens what others wrote for a message.
func short(s string) string { return strings.ToValidUTF8(problem.Clip(s, 60), "?") }

// lines hands out a file line by line, without copying.
type lines struct {
	rest   []byte
	number int
}

func (l *lines) next() (line []byte, ok bool) {
	if len(l.rest) == 0 {
		return nil, false
	}
	l.number++
	if i := bytes.IndexByte(l.rest, '\n'); i >= 0 {
		line, l.rest = l.rest[:i], l.rest[i+1:]
	} else {
		line, l.rest = l.rest, nil
	}
	return bytes.TrimSuffix(line, []byte("\r")), true
}

const truncated = "it ends before its line \"%s\", so a part is missing"

// read reads the whole file. ctx is asked between trees.
func read(ctx context.Context, data []byte) (*file, error) {
	l := &lines{rest: data}
	if first, _ := l.next(); string(first) != "tree" {
		return nil, broken("its first line is not \"tree\"")
	}
	f := &file{header: map[string][]byte{}}
	line, err := f.readHeader(l)
	if err != nil {
		return nil, err
	}
	if f.trees, err = f.start(); err != nil {
		return nil, err
	}
	for string(line) != "end of trees" {
		number := len(f.trees.roots)
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("read tree %d: %w", number, err)
		}
		if string(line) != "Tree="+strconv.Itoa(number) {
			return nil, broken("line %d is %q where tree %d should begin", l.number, short(string(line[:min(len(line), 64)])), number)
		}
		if line, err = f.readTree(l, number); err != nil {
			return nil, err
		}
	}
	n := len(f.trees.roots)
	if n == 0 || n%f.trees.groups != 0 {
		return nil, broken("it holds %d trees for %d classes", n, f.trees.groups)
	}
	if sizes, ok := f.header["tree_sizes"]; ok && countWords(sizes) != n {
		return nil, broken("it announces %d trees and holds %d", countWords(sizes), n)
	}
	f.trees.nodes, f.trees.roots, f.trees.sets = slices.Clip(f.trees.nodes), slices.Clip(f.trees.roots), slices.Clip(f.trees.sets)
	return f, f.readTail(l)
}

func countWords(s []byte) (n int) {
	for range bytes.FieldsSeq(s) {
		n++
	}
	return n
}

// readHeader reads up to the first tree and gives that line.
func (f *file) readHeader(l *lines) ([]byte, error) {
	for {
		line, ok := l.next()
		if !ok {
			return nil, broken(truncated, "end of trees")
		}
		key, value, hasValue := bytes.Cut(line, []byte("="))
		switch {
		case string(key) == "Tree" || string(line) == "end of trees":
			return line, nil
		case len(line) == 0:
		case string(line) == "average_output":
			f.average = true
		case !hasValue || len(key) > 64:
			return nil, broken("line %d is neither a key with a value nor a tree", l.number)
		case slices.Contains(headerKeys, string(key)):
			if _, twice := f.header[string(key)]; twice {
				return nil, broken("%q stands twice", key)
			}
			f.header[string(key)] = value
		}
	}
}

// number gives a whole number of the header between from and to.
func (f *file) number(key string, from, to int) (int, error) {
	value, ok := f.header[key]
	if !ok {
		return 0, broken("%q is missing", key)
	}
	text := string(clip(value))
	n, err := strconv.Atoi(text)
	if err != nil || n < from {
		return 0, broken("%s is %q", key, short(text))
	}
	if n > to {
		return 0, problem.New(problem.TooLarge, "The LightGBM model's %s is %d; the limit is %d.", key, n, to)
	}
	return n, nil
}

// start checks the header and makes the forest that the trees go to.
func (f *file) start() (*forest, error) {
	last, err := f.number("max_feature_idx", 0, maxColumns-1)
	if err != nil {
		return nil, err
	}
	groups, err := f.number("num_tree_per_iteration", 1, maxClasses)
	if err != nil {
		return nil, err
	}
	classes, err := f.number("num_class", 1, maxClasses)
	if err != nil {
		return nil, err
	}
	if classes != groups {
		return nil, broken("it has %d classes, but %d trees per iteration", classes, groups)
	}
	if version := string(clip(f.header["version"])); version != "" && version != "v2" && version != "v3" && version != "v4" {
		return nil, unsupported("its version is %q; v2, v3 and v4 are known", short(version))
	}
	if n := countWords(f.header["feature_names"]); n != last+1 {
		return nil, broken("it names %d features, max_feature_idx says %d", n, last+1)
	}
	f.columns = strings.Fields(string(f.header["feature_names"]))
	names := make(map[string]bool, len(f.columns))
	for _, c := range f.columns {
		if names[c] {
			return nil, broken("two features are named %q", short(c))
		}
		names[c] = true
	}
	return &forest{features: last + 1, groups: groups}, nil
}

// treeKeys are the lines of a tree that are looked at.
var treeKeys = [...]string{"num_leaves", "num_cat", "split_feature", "threshold", "decision_type", "left_child", "right_child", "leaf_value", "cat_boundaries", "cat_threshold", "is_linear", "leaf_const", "num_features", "leaf_features", "leaf_coeff", "leaf_count", "internal_count"}

// section is the lines of one tree by the order of treeKeys; nil where a line is missing.
type section [len(treeKeys)][]byte

func (s *section) text(key string) []byte { return s[slices.Index(treeKeys[:], key)] }

// readTree reads the lines of one tree, adds it to the forest and gives the line behind it.
func (f *file) readTree(l *lines, number int) ([]byte, error) {
	var s section
	for {
		line, ok := l.next()
		if !ok {
			return nil, broken(truncated, "end of trees")
		}
		if len(line) == 0 {
			continue
		}
		key, value, hasValue := bytes.Cut(line, []byte("="))
		if string(key) == "Tree" || string(line) == "end of trees" {
			t, err := s.parse(number)
			if err != nil {
				return nil, err
			}
			return line, f.trees.append(t)
		}
		if !hasValue || len(key) > 64 {
			return nil, broken("line %d is no key with a value", l.number)
		}
		if i := slices.Index(treeKeys[:], string(key)); i >= 0 {
			if s[i] != nil {
				return nil, broken("%q stands twice in tree %d", key, number)
			}
			s[i] = value[:len(value):len(value)]
			if len(value) == 0 {
				s[i] = []byte{}
			}
		}
	}
}

func (s *section) parse(number int) (*rawTree, error) {
	leaves, err := strconv.Atoi(string(clip(s.text("num_leaves"))))
	if err != nil || leaves < 1 || leaves > math.MaxInt32/2 {
		return nil, broken("tree %d has %q leaves", number, clip(s.text("num_leaves")))
	}
	r := reader{number: number}
	t := &rawTree{leaves: floats(&r, s, "leaf_value", leaves)}
	if linear := string(clip(s.text("is_linear"))); linear != "" && linear != "0" {
		s.linear(&r, t, leaves)
	}
	if len(s.text("leaf_count")) > 0 && (leaves == 1 || len(s.text("internal_count")) > 0) { // else the trees predict, and are not explained
		t.leafCount = ints[int32](&r, s, "leaf_count", leaves, 32)
		if leaves > 1 {
			t.innerCount = ints[int32](&r, s, "internal_count", leaves-1, 32)
		}
	}
	if leaves > 1 {
		inner := leaves - 1
		t.feature = ints[int32](&r, s, "split_feature", inner, 32)
		t.threshold = floats(&r, s, "threshold", inner)
		t.decision = ints[int8](&r, s, "decision_type", inner, 8)
		t.left = ints[int32](&r, s, "left_child", inner, 32)
		t.right = ints[int32](&r, s, "right_child", inner, 32)
		if sets := string(clip(s.text("num_cat"))); sets != "" && sets != "0" {
			n, err := strconv.Atoi(sets)
			if err != nil || n < 0 || n >= inner+1 {
				return nil, broken("tree %d has %q category sets", number, sets)
			}
			t.boundaries = ints[int32](&r, s, "cat_boundaries", n+1, 32)
			if r.err == nil {
				if t.boundaries[0] != 0 || !slices.IsSorted(t.boundaries) {
					return nil, broken("the cat_boundaries of tree %d do not rise from 0", number)
				}
				t.bits = ints[uint32](&r, s, "cat_threshold", int(t.boundaries[n]), 33)
			}
		}
	}
	return t, r.err
}

// linear reads the formulas that the leaves of a linear tree hold.
func (s *section) linear(r *reader, t *rawTree, leaves int) {
	constants := floats(r, s, "leaf_const", leaves)
	counts := ints[int32](r, s, "num_features", leaves, 32)
	total := 0
	for _, n := range counts {
		if n < 0 || total > math.MaxInt32-int(n) {
			r.err = broken("num_features of tree %d holds %d", r.number, n)
		}
		total += int(max(n, 0))
	}
	features := ints[int32](r, s, "leaf_features", total, 32)
	slopes := floats(r, s, "leaf_coeff", total)
	if r.err != nil {
		return
	}
	t.formulas = make([]formula, leaves)
	at := 0
	for i, n := range counts {
		t.formulas[i] = formula{constants[i], features[at : at+int(n)], slopes[at : at+int(n)]}
		at += int(n)
	}
}

func clip(b []byte) []byte { return b[:min(len(b), 20)] }

// reader keeps the first error of reading a tree's arrays.
type reader struct {
	number int
	err    error
}

// words calls item for each of the want words of a line, after counting them: what start allocates for them is bounded
// by the text that is there.
func (r *reader) words(s *section, key string, want int, start func(n int), item func(word string) error) {
	if r.err != nil {
		return
	}
	if n := countWords(s.text(key)); n != want {
		r.err = broken("%s of tree %d has %d values instead of %d", key, r.number, n, want)
		return
	}
	start(want)
	for word := range strings.FieldsSeq(string(s.text(key))) {
		if err := item(word); err != nil {
			r.err = broken("%s of tree %d holds %q, which is no number that fits", key, r.number, short(word))
			return
		}
	}
}

func floats(r *reader, s *section, key string, want int) (out []float64) {
	r.words(s, key, want, func(c int) { out = make([]float64, 0, c) }, func(word string) error {
		v, err := strconv.ParseFloat(word, 64)
		out = append(out, v)
		return err
	})
	return out
}

func ints[T int8 | int32 | uint32](r *reader, s *section, key string, want, bits int) (out []T) {
	r.words(s, key, want, func(c int) { out = make([]T, 0, c) }, func(word string) error {
		v, err := strconv.ParseInt(word, 10, bits)
		if err == nil && int64(T(v)) != v {
			err = strconv.ErrRange
		}
		out = append(out, T(v))
		return err
	})
	return out
}

// readTail looks for the training parameter categorical_feature and the category names behind the trees.
func (f *file) readTail(l *lines) error {
	inside := false
	for {
		line, ok := l.next()
		switch {
		case !ok && inside:
			return broken(truncated, "end of parameters")
		case !ok:
			return nil
		case string(line) == "parameters:":
			inside = true
		case string(line) == "end of parameters":
			inside = false
		case inside:
			if v, ok := bytes.CutPrefix(line, []byte("[categorical_feature: ")); ok {
				f.categoricalFeature = string(bytes.TrimSuffix(v, []byte("]")))
			}
		default:
			if v, ok := bytes.CutPrefix(line, []byte("pandas_categorical:")); ok {
				f.pandas = v
			}
		}
	}
}

// categories reads the category names that pandas gave to features: for each such column the code of every name. nil
// means that there are none. Which columns they belong to is taken from the training parameter categorical_feature.
func (f *file) categories() (map[int]map[string]float64, error) {
	if len(f.pandas) == 0 || string(f.pandas) == "null" || string(f.pandas) == "[]" {
		return nil, nil
	}
	var lists []map[string]float64
	s := tensor.NewScanner(f.pandas)
	err := s.Array(func(int) error {
		if len(lists) == len(f.columns) {
			return broken("pandas_categorical has more lists than there are features")
		}
		names := map[string]float64{}
		err := s.Array(func(i int) error {
			if s.Peek() == '"' {
				name, err := s.String()
				if _, twice := names[name]; twice && err == nil {
					return broken("pandas_categorical holds %q twice", short(name))
				}
				names[name] = float64(i)
				return err
			}
			if !strings.ContainsRune("[{tfn", rune(s.Peek())) {
				if v, err := s.Float(); err != nil || v == float64(i) {
					return err
				}
			}
			return unsupported("pandas_categorical holds categories that are neither texts nor 0, 1, 2, …; train on their codes")
		})
		lists = append(lists, names)
		return err
	})
	if err == nil {
		err = s.End()
	}
	if problem.KindOf(err) == problem.Unsupported {
		return nil, err
	}
	if err != nil {
		return nil, broken("pandas_categorical is no list of lists").(*problem.Error).Because(err)
	}
	known := map[int]map[string]float64{}
	for word := range strings.SplitSeq(f.categoricalFeature, ",") {
		if len(known) > len(lists) {
			break
		}
		if c, err := strconv.Atoi(word); err == nil && c >= 0 && c < len(f.columns) && known[c] == nil && len(known) < len(lists) {
			known[c] = lists[len(known)]
		}
	}
	if len(known) != len(lists) || strings.Count(f.categoricalFeature, ",")+1 != len(lists) {
		return nil, unsupported("pandas_categorical names the categories of %d features, but the training parameters do not tell which", len(lists))
	}
	return known, nil
}
