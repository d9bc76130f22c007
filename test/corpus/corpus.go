// Package corpus makes requests that a serving process must refuse: one list for any endpoint, made from what the endpoint
// says it takes. The list is the same in every run. Tests send it to every engine, the soak to a running server.
package corpus

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
)

// Input is one tensor that an endpoint takes, as its metadata tells. −1 in Shape is any length.
type Input struct {
	Name     string `json:"name"`
	Datatype string `json:"datatype"`
	Shape    []int  `json:"shape"`
}

// Case is one request over HTTP.
type Case struct {
	Name   string
	Path   string // "infer" or "invocations", behind /v2/models/NAME/
	Header map[string]string
	Body   []byte
	// Perhaps says that some model may understand it: it may be answered, but must not fail on our side.
	Perhaps bool
}

// rows of a whole request.
const rows = 2

// dims is the shape of a whole request's tensor.
func (in Input) dims() []int {
	out := make([]int, len(in.Shape))
	for i, d := range in.Shape {
		switch {
		case i == 0:
			out[i] = rows
		case d < 0:
			out[i] = 2
		default:
			out[i] = d
		}
	}
	if len(out) == 0 {
		out = []int{rows}
	}
	return out
}

func (in Input) count() int {
	n := 1
	for _, d := range in.dims() {
		n *= d
	}
	return n
}

// values are whole data of the input's type as JSON, so many of them.
func (in Input) values(n int) string {
	one := "1"
	switch in.Datatype {
	case "BYTES":
		one = `"a"`
	case "BOOL":
		one = "true"
	}
	return strings.TrimSuffix(strings.Repeat(one+",", n), ",")
}

// Wire is the number of bytes of one element, 0 for BYTES.
func (in Input) Wire() int {
	switch in.Datatype {
	case "BOOL", "INT8", "UINT8":
		return 1
	case "INT16", "UINT16", "FP16", "BF16":
		return 2
	case "INT32", "UINT32", "FP32":
		return 4
	case "BYTES":
		return 0
	}
	return 8
}

// raw is whole data of the input's type in binary form.
func (in Input) raw() []byte {
	if w := in.Wire(); w > 0 {
		return make([]byte, w*in.count())
	}
	return bytes.Repeat([]byte{1, 0, 0, 0, 'a'}, in.count())
}

func list(dims []int) string {
	s := make([]string, len(dims))
	for i, d := range dims {
		s[i] = strconv.Itoa(d)
	}
	return "[" + strings.Join(s, ",") + "]"
}

// tensor writes one input; what is left out of replaced stands as in a whole request.
func (in Input) tensor(replaced map[string]string) string {
	members := map[string]string{"name": quote(in.Name), "shape": list(in.dims()), "datatype": quote(in.Datatype), "data": "[" + in.values(in.count()) + "]"}
	for k, v := range replaced {
		members[k] = v
	}
	var b strings.Builder
	b.WriteByte('{')
	for _, k := range []string{"name", "shape", "datatype", "parameters", "data"} {
		if members[k] == "" {
			continue
		}
		if b.Len() > 1 {
			b.WriteByte(',')
		}
		b.WriteString(quote(k) + ":" + members[k])
	}
	return b.String() + "}"
}

func quote(s string) string { return strconv.Quote(s) }

// Whole is a request that the endpoint answers.
func Whole(inputs []Input) []byte { return request(inputs, -1, nil) }

// request replaces members of input number which.
func request(inputs []Input, which int, replaced map[string]string) []byte {
	parts := make([]string, len(inputs))
	for i, in := range inputs {
		if i == which {
			parts[i] = in.tensor(replaced)
		} else {
			parts[i] = in.tensor(nil)
		}
	}
	return []byte(`{"inputs":[` + strings.Join(parts, ",") + `]}`)
}

const headerLength = "Inference-Header-Content-Length"

// HTTP gives the cases for an endpoint with these inputs.
func HTTP(inputs []Input) []Case {
	c := &cases{inputs: inputs, whole: Whole(inputs), seed: rand.New(rand.NewPCG(7, 11))}
	c.documents()
	c.shapes()
	c.types()
	c.values()
	c.binary()
	c.nesting()
	c.codings()
	c.scoring()
	c.damaged()
	slices.SortStableFunc(c.list, func(a, b Case) int { return strings.Compare(a.Path+" "+a.Name, b.Path+" "+b.Name) })
	return c.list
}

type cases struct {
	inputs []Input
	whole  []byte
	seed   *rand.Rand
	list   []Case
}

func (c *cases) add(name, body string) {
	c.list = append(c.list, Case{Name: name, Path: "infer", Body: []byte(body)})
}

func (c *cases) perhaps(name, body string) {
	c.list = append(c.list, Case{Name: name, Path: "infer", Body: []byte(body), Perhaps: true})
}

// each makes a case per input by replacing members.
func (c *cases) each(name string, replaced map[string]string) {
	for i, in := range c.inputs {
		c.add(name+" of "+in.Name, string(request(c.inputs, i, replaced)))
	}
}

func (c *cases) documents() {
	for name, body := range map[string]string{"nothing": "", "white space": " \n\t", "null": "null", "a number": "7", "a list": "[]", "an empty object": "{}", "no inputs": `{"inputs":[]}`,
		"inputs null": `{"inputs":null}`, "inputs a text": `{"inputs":"x"}`, "inputs an object": `{"inputs":{}}`, "an input null": `{"inputs":[null]}`, "an input a number": `{"inputs":[1]}`,
		"an input empty": `{"inputs":[{}]}`, "a zero byte": "\x00", "a byte order mark": "\ufeff{}", "two documents": string(c.whole) + string(c.whole), "a tail": string(c.whole) + "x",
		"inputs twice": `{"inputs":[],` + string(c.whole[1:]), "outputs a number": `{"outputs":7,` + string(c.whole[1:]), "an output unknown": `{"outputs":[{"name":"no such output"}],` + string(c.whole[1:]),
		"an output without a name": `{"outputs":[{}],` + string(c.whole[1:]), "an id that is a list": `{"id":[],` + string(c.whole[1:]), "parameters a list": `{"parameters":[],` + string(c.whole[1:]),
		"text that is no UTF-8": `{"id":"` + "\xff\xfe" + `",` + string(c.whole[1:]), "half a surrogate pair": `{"id":"\ud800",` + string(c.whole[1:])} {
		if name == "half a surrogate pair" {
			c.perhaps(name, body)
			continue
		}
		c.add(name, body)
	}
	in := c.inputs[0]
	c.add("an input twice", `{"inputs":[`+in.tensor(nil)+","+in.tensor(nil)+`]}`)
	c.add("one input too many", string(c.whole[:len(c.whole)-2])+`,{"name":"no such input","shape":[2],"datatype":"FP32","data":[1,2]}]}`)
	if len(c.inputs) > 1 {
		c.perhaps("an input left out", string(request(c.inputs[1:], -1, nil)))
		c.add("an input of another name", string(request(c.inputs, 0, map[string]string{"name": `"no such input"`})))
	}
	many := make([]string, 5000)
	for i := range many {
		many[i] = `{"name":"x` + strconv.Itoa(i) + `","shape":[1],"datatype":"FP32","data":[1]}`
	}
	c.add("five thousand inputs", `{"inputs":[`+strings.Join(many, ",")+`]}`)
}

func (c *cases) shapes() {
	for name, shape := range map[string]string{"a negative dimension": "[-1,2]", "a dimension of zero": "[0]", "zero columns": "[2,0]", "an overflow": "[4611686018427387904,4]", "an overflow to a small product": "[4294967296,4294967297]",
		"two gibibytes": "[536870912]", "a dimension beyond 64 bits": "[18446744073709551616]", "a fraction": "[1.5]", "a text": `["2"]`, "a list in it": "[[2]]", "nothing": "null", "no list": "2",
		"fifty dimensions": "[" + strings.Repeat("1,", 49) + "1]", "an exponent": "[1e1]", "a dimension of its greatest": "[9223372036854775807]"} {
		c.each("the shape with "+name, map[string]string{"shape": shape})
	}
	for i, in := range c.inputs {
		dims := in.dims()
		more := append(append([]int{}, dims...), 3)
		c.add("one dimension too many of "+in.Name, string(request(c.inputs, i, map[string]string{"shape": list(more), "data": "[" + in.values(3*in.count()) + "]"})))
		if len(dims) > 1 && in.Shape[1] > 0 {
			wide := append([]int{}, dims...)
			wide[1]++
			c.add("one column too many of "+in.Name, string(request(c.inputs, i, map[string]string{"shape": list(wide), "data": "[" + in.values(rows*wide[1]) + "]"})))
		}
		if len(c.inputs) > 1 {
			tall := append([]int{}, dims...)
			tall[0]++
			c.add("another number of rows of "+in.Name, string(request(c.inputs, i, map[string]string{"shape": list(tall), "data": "[" + in.values(in.count()/rows*tall[0]) + "]"})))
		}
	}
	c.each("no shape", map[string]string{"shape": ""})
	c.each("no name", map[string]string{"name": ""})
	c.each("an empty name", map[string]string{"name": `""`, "shape": "[3,3,3]"})
}

func (c *cases) types() {
	for _, t := range []string{`"FLOAT"`, `"fp32"`, `""`, "null", "32", `"STRING"`, `"FP8"`, `["FP32"]`} {
		c.each("the datatype "+t, map[string]string{"datatype": t})
	}
	c.each("no datatype", map[string]string{"datatype": ""})
	for i, in := range c.inputs {
		other, value := `"BYTES"`, `"a"`
		if in.Datatype == "BYTES" {
			other, value = `"FP32"`, "1"
		}
		data := strings.TrimSuffix(strings.Repeat(value+",", in.count()), ",")
		c.add("another datatype of "+in.Name, string(request(c.inputs, i, map[string]string{"datatype": other, "data": "[" + data + "]"})))
	}
}

func (c *cases) values() {
	for i, in := range c.inputs {
		n := in.count()
		for name, data := range map[string]string{"one value too few": "[" + in.values(n-1) + "]", "one value too many": "[" + in.values(n+1) + "]", "no values": "[]", "data null": "null", "data a text": `"abc"`, "data an object": "{}",
			"ragged data": "[[" + in.values(1) + "],[" + in.values(max(n-1, 2)) + "]]", "an object among the values": "[{}]"} {
			c.add(name+" of "+in.Name, string(request(c.inputs, i, map[string]string{"data": data})))
		}
		wrong := []string{`"x"`, "true", "{}", "1e400"}
		switch in.Datatype {
		case "BYTES":
			wrong = []string{"1", "true", "{}"}
		case "BOOL":
			wrong = []string{`"x"`, "7", "{}", "1.5"}
		case "INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64":
			wrong = append(wrong, "1.5", "NaN", "18446744073709551616", "-9223372036854775809", "Infinity")
		}
		rest := ""
		if n > 1 {
			rest = in.values(n-1) + ","
		}
		for _, w := range wrong {
			c.add("the value "+w+" in "+in.Name, string(request(c.inputs, i, map[string]string{"data": "[" + rest + w + "]"})))
		}
		for _, w := range []string{"NaN", "Infinity", "-Infinity", "null", `"NaN"`, "-0", "1e-400"} { // some models take them as missing
			c.perhaps("the value "+w+" in "+in.Name, string(request(c.inputs, i, map[string]string{"data": "[" + rest + w + "]"})))
		}
		c.add("data twice in "+in.Name, strings.Replace(string(request(c.inputs, i, nil)), `"data":[`, `"data":[`+in.values(n)+`],"data":[`, 1))
		c.add("no data of "+in.Name, string(request(c.inputs, i, map[string]string{"data": ""})))
	}
}

func (c *cases) binary() {
	for i, in := range c.inputs {
		raw := in.raw()
		for name, b := range map[string]struct {
			size string
			tail []byte
		}{"a size of two gibibytes": {"2147483648", raw}, "a negative size": {"-1", raw}, "a size of nothing": {"0", nil}, "a size beyond the body": {strconv.Itoa(len(raw) + 1), raw}, "a size below the data": {strconv.Itoa(len(raw) - 1), raw},
			"a size beyond 64 bits": {"18446744073709551616", raw}, "a size that is a text": {`"24"`, raw}, "half the bytes": {strconv.Itoa(len(raw)), raw[:len(raw)/2]}, "bytes that nobody owns": {strconv.Itoa(len(raw)), append(append([]byte{}, raw...), 1)}} {
			head := request(c.inputs, i, map[string]string{"parameters": `{"binary_data_size":` + b.size + `}`, "data": ""})
			c.list = append(c.list, Case{Name: name + " of " + in.Name, Path: "infer", Body: append(append([]byte{}, head...), b.tail...), Header: map[string]string{headerLength: strconv.Itoa(len(head))}})
		}
		if in.Wire() == 0 {
			for name, text := range map[string][]byte{"a text of four gibibytes": {0xFF, 0xFF, 0xFF, 0xFF, 'a'}, "a text beyond its tensor": {9, 0, 0, 0, 'a'}, "half a length": {1, 0}, "one text too many": append(append([]byte{}, raw...), raw[:5]...)} {
				head := request(c.inputs, i, map[string]string{"parameters": fmt.Sprintf(`{"binary_data_size":%d}`, len(text)), "data": ""})
				c.list = append(c.list, Case{Name: name + " of " + in.Name, Path: "infer", Body: append(append([]byte{}, head...), text...), Header: map[string]string{headerLength: strconv.Itoa(len(head))}})
			}
		}
	}
	for _, length := range []string{"-1", "x", "1e3", "99999999999", "18446744073709551616", "0", "5", "1.0"} {
		c.list = append(c.list, Case{Name: "a header length of " + length, Path: "infer", Body: c.whole, Header: map[string]string{headerLength: length}})
	}
	c.list = append(c.list, Case{Name: "shared memory", Path: "infer", Body: request(c.inputs, 0, map[string]string{"parameters": `{"shared_memory_region":"r","shared_memory_byte_size":64}`, "data": ""})})
}

const deep = 10_000

func (c *cases) nesting() {
	lists, objects := strings.Repeat("[", deep)+strings.Repeat("]", deep), strings.Repeat(`{"a":`, deep)+"1"+strings.Repeat("}", deep)
	c.each("data ten thousand lists deep", map[string]string{"data": lists})
	c.each("a shape ten thousand lists deep", map[string]string{"shape": lists})
	c.each("parameters ten thousand objects deep", map[string]string{"parameters": objects})
	c.add("ten thousand lists", lists)
	c.add("ten thousand objects", objects)
	c.add("ten thousand objects that never end", strings.Repeat(`{"inputs":`, deep))
	c.add("a member that nobody knows, ten thousand lists deep", `{"x":`+lists+","+string(c.whole[1:]))
}

func squeeze(kind string, b []byte) []byte {
	var out bytes.Buffer
	if kind == "gzip" {
		z := gzip.NewWriter(&out)
		_, _ = z.Write(b)
		_ = z.Close()
	} else {
		z := zlib.NewWriter(&out)
		_, _ = z.Write(b)
		_ = z.Close()
	}
	return out.Bytes()
}

// Bomb is what a compressed case inflates to, in bytes.
const Bomb = 64 << 20

func (c *cases) codings() {
	spaces := bytes.Repeat([]byte(" "), Bomb)
	for name, b := range map[string]struct {
		coding string
		body   []byte
	}{"an unknown coding": {"br", c.whole}, "two codings": {"gzip, deflate", c.whole}, "no gzip": {"gzip", c.whole}, "no deflate": {"deflate", c.whole}, "half a gzip": {"gzip", squeeze("gzip", c.whole)[:12]},
		"gzip without its sum": {"gzip", squeeze("gzip", c.whole)[:len(squeeze("gzip", c.whole))-8]}, "gzip twice": {"gzip", squeeze("gzip", squeeze("gzip", c.whole))}, "a gzip bomb": {"gzip", squeeze("gzip", spaces)},
		"a deflate bomb": {"deflate", squeeze("deflate", spaces)}, "an empty gzip": {"gzip", squeeze("gzip", nil)}} {
		c.list = append(c.list, Case{Name: name, Path: "infer", Body: b.body, Header: map[string]string{"Content-Encoding": b.coding}},
			Case{Name: name + " to be scored", Path: "invocations", Body: b.body, Header: map[string]string{"Content-Encoding": b.coding, "Content-Type": "application/json"}})
	}
}

func (c *cases) scoring() {
	deepData := `{"dataframe_split":{"columns":["a"],"data":` + strings.Repeat("[", deep) + strings.Repeat("]", deep) + `}}`
	for name, body := range map[string]string{"nothing": "", "a list": "[]", "no known form": `{"frame":[]}`, "two forms": `{"instances":[[1]],"inputs":[[1]]}`, "a split without data": `{"dataframe_split":{"columns":["a"]}}`,
		"a split with ragged rows": `{"dataframe_split":{"columns":["a","b"],"data":[[1,2],[3]]}}`, "a split with a column twice": `{"dataframe_split":{"columns":["a","a"],"data":[[1,2]]}}`, "records that are numbers": `{"dataframe_records":[1,2]}`,
		"instances null": `{"instances":null}`, "instances that are texts in no list": `{"instances":"abc"}`, "ragged instances": `{"instances":[[1,2],[3]]}`, "inputs of different lengths": `{"inputs":{"a":[1],"b":[1,2]}}`,
		"instances ten thousand lists deep": `{"instances":` + strings.Repeat("[", deep) + strings.Repeat("]", deep) + `}`, "data ten thousand lists deep": deepData,
		"an object in a cell": `{"dataframe_split":{"columns":["a"],"data":[[{}]]}}`, "text that is no UTF-8": `{"instances":[["` + "\xff" + `"]]}`, "no columns that the model knows": `{"dataframe_records":[{"no such column":1}]}`,
		"half a document": `{"dataframe_split":{"columns":["a"`} {
		c.list = append(c.list, Case{Name: "scoring " + name, Path: "invocations", Body: []byte(body), Header: map[string]string{"Content-Type": "application/json"}})
	}
	for name, body := range map[string]string{"nothing": "", "no rows": "a,b\n", "a column twice": "a,a\n1,2\n", "a line too long": "a\n1,2\n", "an open quote": "a\n\"1\n", "a quote within": "a\n1\"2\n", "text that is no UTF-8": "a\n\xff\n",
		"no column that the model knows": "no such column\n1\n", "a hundred thousand columns": strings.Repeat("a,", 100_000) + "b\n1\n", "only line ends": strings.Repeat("\n", 10_000), "JSON": string(c.whole)} {
		c.list = append(c.list, Case{Name: "scoring a CSV with " + name, Path: "invocations", Body: []byte(body), Header: map[string]string{"Content-Type": "text/csv"}})
	}
	for _, kind := range []string{"application/xml", "text/csv; charset=utf-16", "/", "multipart/form-data; boundary=x"} {
		c.list = append(c.list, Case{Name: "scoring " + kind, Path: "invocations", Body: []byte(`{"instances":[[1]]}`), Header: map[string]string{"Content-Type": kind}})
	}
}

// damaged are whole requests cut off or with bytes changed.
func (c *cases) damaged() {
	step := max(len(c.whole)/40, 1)
	for at := 1; at < len(c.whole); at += step {
		c.add(fmt.Sprintf("the first %d bytes", at), string(c.whole[:at]))
	}
	for k := range 120 {
		b := append([]byte{}, c.whole...)
		for range 1 + c.seed.IntN(3) {
			at := c.seed.IntN(len(b))
			switch c.seed.IntN(3) {
			case 0:
				b[at] = byte(c.seed.UintN(256))
			case 1:
				b = append(b[:at], b[at+1:]...)
			default:
				b = append(b[:at], append([]byte{`[]{}",:-0`[c.seed.IntN(9)]}, b[at:]...)...)
			}
		}
		c.perhaps(fmt.Sprintf("changed bytes %d", k), string(b))
	}
}

// RawLength is a length of four bytes for raw contents, which lies.
func RawLength(n uint32, tail ...byte) []byte {
	return append(binary.LittleEndian.AppendUint32(nil, n), tail...)
}
