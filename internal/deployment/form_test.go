package deployment

import (
	"encoding/json"
	"math"
	"testing"

	"keelson/internal/engine"
	"keelson/internal/tensor"
)

func TestFormsOfSignatures(t *testing.T) {
	low, high := 18.0, 90.0
	ranges := map[string]Range{"age": {Min: &low, Max: &high, From: "people/2"}, "city": {Choices: []string{"Lyon", "Oslo"}}}
	spec := func(name, datatype string, shape ...int) engine.Spec {
		return engine.Spec{Name: name, Datatype: datatype, Shape: shape}
	}
	named := spec("features", "FP32", -1, 2)
	named.Columns = []string{"age", "income"}
	maybe := spec("limit", "FP64", -1)
	maybe.Optional = true
	cases := []struct {
		name     string
		material Material
		fields   string // name example, as JSON
		example  string // data of the first tensor
		golden   bool
	}{
		{"a matrix with names and golden rows", Material{Signature: engine.Signature{Inputs: []engine.Spec{named}}, Ranges: ranges, Inputs: []tensor.Tensor{tensor.FP32s("features", []int{2, 2}, []float32{41, 100, 20, 3})}},
			`[["age",41],["income",100]]`, "[41,100]", true},
		{"a matrix with names and no golden rows", Material{Signature: engine.Signature{Inputs: []engine.Spec{named}}}, `[["age",0.5],["income",0.5]]`, "[0.5,0.5]", false},
		{"a matrix whose golden columns come one by one", Material{Signature: engine.Signature{Inputs: []engine.Spec{named}},
			Inputs: []tensor.Tensor{tensor.FP64s("age", []int{2}, []float64{41, 1}), tensor.FP64s("income", []int{2}, []float64{7, 1})}}, `[["age",41],["income",7]]`, "[41]", true},
		{"a matrix without names", Material{Signature: engine.Signature{Inputs: []engine.Spec{spec("x", "FP16", -1, 2)}}}, `[["x[0]",0.5],["x[1]",0.5]]`, "[0.5,0.5]", false},
		{"an input per value, one missing", Material{Signature: engine.Signature{Inputs: []engine.Spec{spec("age", "FP64", -1), spec("city", "BYTES", -1, 1), spec("known", "BOOL", -1), maybe}}, Ranges: ranges,
			Inputs: []tensor.Tensor{tensor.FP64s("age", []int{1}, []float64{math.NaN()}), tensor.Strings("city", []int{1, 1}, []string{"Oslo"}), tensor.Bools("known", []int{1}, []bool{false})}},
			`[["age",null],["city","Oslo"],["known",false],["limit",null]]`, "[null]", true},
		{"an image is no form", Material{Signature: engine.Signature{Inputs: []engine.Spec{spec("image", "UINT8", -1, 2, 2)}}}, `[]`, "[1,1,1,1]", false},
		{"a thousand columns are no form", Material{Signature: engine.Signature{Inputs: []engine.Spec{spec("x", "FP32", -1, 1000)}}}, `[]`, "", false},
		{"any number of columns is no form", Material{Signature: engine.Signature{Inputs: []engine.Spec{spec("x", "FP32", -1, -1)}}}, `[]`, "[0.5]", false},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			f := formOf(c.material)
			got := [][2]any{}
			for _, x := range f.Fields {
				got = append(got, [2]any{x.Name, x.Example})
			}
			b, err := json.Marshal(got)
			if err != nil || string(b) != c.fields {
				t.Errorf("fields %s (%v), want %s", b, err, c.fields)
			}
			if c.example != "" && string(f.Example[0].Data) != c.example || f.Golden != c.golden {
				t.Errorf("example %s, golden %v; want %s, %v", f.Example[0].Data, f.Golden, c.example, c.golden)
			}
			for _, x := range f.Fields {
				if x.Datatype == "FP16" || x.Name == "age" && len(c.material.Ranges) > 0 && x.Max != &high {
					t.Errorf("field %+v", x)
				}
			}
			if _, err := json.Marshal(f); err != nil {
				t.Errorf("the form is no JSON: %v", err)
			}
		})
	}
}
