package oip

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"

	"keelson/internal/engine"
	"keelson/internal/rest"
	"keelson/internal/serving"
	"keelson/internal/tensor"
)

// schema is a JSON object of the description.
type schema = map[string]any

// openapi describes one endpoint to those who call it: its two calls with the model's own names, types and shapes, and
// an example that the endpoint answers.
func (h *Handler) openapi(w http.ResponseWriter, r *http.Request) {
	if d, ok := h.describe(w, r); ok {
		rest.JSON(w, http.StatusOK, description(d, r.PathValue("version")))
	}
}

// description is an OpenAPI 3.1 document.
func description(d serving.Described, version string) schema {
	path := "/v2/models/" + d.Endpoint
	if version != "" {
		path += "/versions/" + version
	}
	body := func(name string, example any) schema {
		return schema{"required": true, "content": schema{"application/json": schema{"schema": schema{"$ref": "#/components/schemas/" + name},
			"examples": schema{"one row": schema{"value": example}}}}}
	}
	answers := func(name string) schema {
		list := schema{"200": schema{"description": "The answer.", "headers": schema{"Keelson-Prediction-Id": schema{
			"description": "Identifies the decision: its record, its reasons and its outcome are found by it.", "schema": schema{"type": "string"}}},
			"content": schema{"application/json": schema{"schema": schema{"$ref": "#/components/schemas/" + name}}}}}
		for status, what := range map[int]string{400: "The request does not fit the model; the error names the tensor or field.", 401: "Sign in or send a token.",
			403: "You may not predict.", 404: "There is no such endpoint or version.", 409: "The version cannot be explained, or not yet.", 413: "The request is larger than the endpoint takes.", 415: "The body is of a kind or compression that is not known here.",
			429: "Too many calls; wait as Retry-After says.", 500: "The model failed.", 503: "The endpoint does not answer now."} {
			list[strconv.Itoa(status)] = schema{"description": what, "content": schema{"application/json": schema{"schema": schema{"$ref": "#/components/schemas/Error"}}}}
		}
		return list
	}
	told := func(id, summary string, required ...string) schema {
		list := answers("Error")
		list["200"] = schema{"description": "The answer.", "content": schema{"application/json": schema{"schema": schema{"type": "object", "required": required}}}}
		for _, only := range []string{"400", "409", "413", "415", "429"} {
			delete(list, only)
		}
		return schema{"get": schema{"operationId": id, "summary": summary, "responses": list}}
	}
	return schema{
		"openapi": "3.1.0",
		"info": schema{"title": d.Endpoint, "version": first(version, d.Versions),
			"description": fmt.Sprintf("The model %s (%s), called by the Open Inference Protocol v2 or by rows of named columns.", d.Model, d.Platform)},
		"security": []any{schema{"token": []any{}}},
		"paths": schema{
			path:             told("metadata", "What the model takes and gives", "name", "versions", "platform", "inputs", "outputs"),
			path + "/ready":  told("ready", "Whether the model answers", "name", "ready"),
			path + "/config": told("config", "The model as clients of Triton ask for it", "name", "input", "output"),
			path + "/stats":  told("stats", "What the model did since the start", "model_stats"),
			path + "/infer": schema{"post": schema{"operationId": "infer", "summary": "Predict from tensors",
				"requestBody": body("InferRequest", inferExample(d.Signature)), "responses": answers("InferResponse")}},
			path + "/invocations": schema{"post": schema{"operationId": "invocations", "summary": "Predict from rows, as MLflow's scoring server takes them",
				"requestBody": body("Rows", rowsExample(d.Signature)), "responses": answers("Predictions")}},
		},
		"components": schema{
			"securitySchemes": schema{"token": schema{"type": "http", "scheme": "bearer"}},
			"schemas": schema{
				"Error": schema{"type": "object", "required": []string{"error"}, "properties": schema{"error": schema{"type": "string"}}},
				"InferRequest": schema{"type": "object", "required": []string{"inputs"}, "properties": schema{
					"id":         schema{"type": []string{"string", "null"}, "description": "The caller's own identifier, given back."},
					"inputs":     schema{"type": "array", "items": schema{"oneOf": tensorSchemas(d.Signature.Inputs)}},
					"outputs":    schema{"type": []string{"array", "null"}, "items": schema{"type": "object", "required": []string{"name"}, "properties": schema{"name": schema{"enum": names(d.Signature.Outputs)}}}},
					"parameters": schema{"type": []string{"object", "null"}, "properties": parameters(true)}}},
				"InferResponse": schema{"type": "object", "required": []string{"model_name", "model_version", "outputs"}, "properties": schema{
					"model_name": schema{"const": d.Endpoint}, "model_version": schema{"type": "string"}, "id": schema{"type": "string"},
					"parameters": schema{"type": "object", "properties": schema{"prediction_id": schema{"type": "string"},
						"explanation": schema{"type": "object", "description": "When asked for: method, unit and per row the base, the features with value, contribution and words, and the rest."}}},
					"outputs": schema{"type": "array", "items": schema{"oneOf": tensorSchemas(d.Signature.Outputs)}}}},
				"Rows":        rowsSchema(d.Signature),
				"Predictions": schema{"type": "object", "required": []string{"predictions"}, "properties": schema{"predictions": schema{"type": "array", "items": rowAnswer(d.Signature.Outputs)}}},
			},
		},
	}
}

func first(version string, all []string) string {
	if version == "" && len(all) > 0 {
		return all[0]
	}
	return version
}

func names(specs []engine.Spec) []string {
	out := []string{}
	for _, s := range specs {
		out = append(out, s.Name)
	}
	return out
}

// parameters are what a call may say beside its inputs; reasons are told only where the answer has room for them.
func parameters(reasons bool) schema {
	p := schema{"timeout": schema{"type": "integer", "minimum": 1, "maximum": int64(maxTimeout), "description": "Microseconds after which no answer is wanted."}}
	if reasons {
		p["explain"] = schema{"type": []string{"boolean", "integer"}, "minimum": 1, "maximum": maxReasons, "description": "Asks for reasons: true for all features, or how many per row."}
	}
	for _, t := range told {
		p[t.name] = schema{"type": []string{"string", "null"}}
	}
	return p
}

// jsonType is the JSON Schema of one value of a datatype.
func jsonType(datatype string) schema {
	switch typ, _ := tensor.ParseType(datatype); typ {
	case tensor.Bool:
		return schema{"type": "boolean"}
	case tensor.Bytes:
		return schema{"type": "string"}
	case tensor.FP16, tensor.BF16, tensor.FP32, tensor.FP64:
		return schema{"type": []string{"number", "null"}, "description": "null is a missing value"}
	case tensor.Uint8, tensor.Uint16, tensor.Uint32, tensor.Uint64:
		return schema{"type": "integer", "minimum": 0}
	}
	return schema{"type": "integer"}
}

func tensorSchemas(specs []engine.Spec) []any {
	out := []any{}
	for _, s := range specs {
		shape := schema{"type": "array", "items": schema{"type": "integer", "minimum": 0}, "description": fmt.Sprintf("%v, where -1 is any length", dims(s))}
		o := schema{"type": "object", "title": s.Name, "required": []string{"name", "shape", "datatype", "data"}, "properties": schema{
			"name": schema{"const": s.Name}, "shape": shape, "datatype": schema{"type": "string", "default": s.Datatype},
			"data": schema{"type": "array", "items": jsonType(s.Datatype), "description": "Row by row, flat or nested."}}}
		if s.Doc != "" {
			o["description"] = s.Doc
		}
		if len(s.Columns) > 0 {
			o["x-columns"] = s.Columns
		}
		out = append(out, o)
	}
	return out
}

// columnsOf lists what one row is made of, in order.
func columnsOf(sig engine.Signature) []engine.Spec {
	if len(sig.Inputs) == 1 && len(sig.Inputs[0].Columns) > 0 {
		one := sig.Inputs[0]
		var out []engine.Spec
		for _, c := range one.Columns {
			out = append(out, engine.Spec{Name: c, Datatype: one.Datatype})
		}
		return out
	}
	return sig.Inputs
}

func rowsSchema(sig engine.Signature) schema {
	row := schema{"type": "object", "properties": schema{}}
	required := []string{}
	for _, c := range columnsOf(sig) {
		t := jsonType(c.Datatype)
		switch one := t["type"].(type) {
		case string:
			switch one { // a truth value counts as 0 or 1 and back, as in a frame
			case "integer":
				t["type"] = []string{one, "boolean"}
			case "boolean":
				t["type"] = []string{one, "number"}
			}
		case []string:
			t["type"] = append([]string{"boolean"}, one...)
		}
		for range c.Shape[min(1, len(c.Shape)):] {
			if !alone(c) {
				t = schema{"type": "array", "items": t}
			}
		}
		if c.Doc != "" {
			t["description"] = c.Doc
		}
		row["properties"].(schema)[c.Name] = t
		if !c.Optional {
			required = append(required, c.Name)
		}
	}
	row["required"] = required
	return schema{"type": "object", "description": "Exactly one of the forms.", "properties": schema{
		"dataframe_records": schema{"type": []string{"array", "null"}, "items": row},
		"dataframe_split": schema{"type": []string{"object", "null"}, "required": []string{"data"}, "properties": schema{
			"columns": schema{"type": []string{"array", "null"}, "items": schema{"type": "string"}}, "data": schema{"type": "array", "items": schema{"type": "array"}}}},
		"instances": schema{"type": []string{"array", "null"}},
		"inputs":    schema{},
		"params":    schema{"type": []string{"object", "null"}, "properties": parameters(false)}}}
}

// alone tells whether a row has one value of a tensor.
func alone(s engine.Spec) bool {
	for _, d := range s.Shape[min(1, len(s.Shape)):] {
		if d != 1 {
			return false
		}
	}
	return true
}

// rowAnswer is the schema of what one row gets from invocations.
func rowAnswer(outputs []engine.Spec) schema {
	one := func(s engine.Spec) schema {
		if !alone(s) {
			return schema{"type": "array", "items": jsonType(s.Datatype)}
		}
		return jsonType(s.Datatype)
	}
	if len(outputs) == 1 {
		return one(outputs[0])
	}
	p := schema{}
	for _, s := range outputs {
		p[s.Name] = one(s)
	}
	return schema{"type": "object", "properties": p}
}

// example is one value of a datatype that every model of that signature can take.
func example(datatype string) any {
	switch typ, _ := tensor.ParseType(datatype); typ {
	case tensor.Bool:
		return true
	case tensor.Bytes:
		return "text"
	case tensor.FP16, tensor.BF16, tensor.FP32, tensor.FP64:
		return 0.5
	}
	return 1
}

func inferExample(sig engine.Signature) schema {
	inputs := []any{}
	for _, s := range sig.Inputs {
		if s.Optional {
			continue
		}
		shape, n := []int{}, 1
		for _, d := range s.Shape {
			if d < 0 {
				d = 1
			}
			shape, n = append(shape, d), n*d
		}
		data := []any{}
		for range min(n, 10_000) {
			data = append(data, example(s.Datatype))
		}
		datatype := s.Datatype
		if typ, _ := tensor.ParseType(datatype); typ == tensor.FP16 || typ == tensor.BF16 {
			datatype = tensor.FP32.String() // JSON has neither
		}
		inputs = append(inputs, schema{"name": s.Name, "shape": shape, "datatype": datatype, "data": data})
	}
	return schema{"inputs": inputs}
}

// rowsExample has one row, by name where the columns have names.
func rowsExample(sig engine.Signature) schema {
	if in := sig.Inputs[0]; len(sig.Inputs) == 1 && len(in.Columns) == 0 && len(in.Shape) == 2 && in.Shape[1] != 1 {
		row := []any{}
		for range max(in.Shape[1], 1) {
			row = append(row, example(in.Datatype))
		}
		return schema{"instances": []any{row}}
	}
	row := schema{}
	for _, c := range columnsOf(sig) {
		if !c.Optional {
			row[c.Name] = example(c.Datatype)
			for i := len(c.Shape) - 1; i > 0 && !alone(c); i-- {
				row[c.Name] = slices.Repeat([]any{row[c.Name]}, min(max(c.Shape[i], 1), 10_000))
			}
		}
	}
	return schema{"dataframe_records": []any{row}}
}
