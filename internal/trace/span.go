package trace

import (
	"encoding/hex"
	"encoding/json"
	"math"
	"slices"
	"strings"

	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
)

// Attributes of spans that mean something here: MLflow's first, then OpenTelemetry's conventions for generative models,
// then those of OpenInference and Traceloop, whose instrumentations send plain OTLP.
var (
	keysType     = []string{"mlflow.spanType", "openinference.span.kind", "traceloop.span.kind"}
	keysInputs   = []string{"mlflow.spanInputs", "input.value", "gen_ai.input.messages", "traceloop.entity.input", "gen_ai.tool.call.arguments"}
	keysOutputs  = []string{"mlflow.spanOutputs", "output.value", "gen_ai.output.messages", "traceloop.entity.output", "gen_ai.tool.call.result"}
	keysModel    = []string{"mlflow.llm.model", "gen_ai.response.model", "gen_ai.request.model", "llm.model_name"}
	keysProvider = []string{"mlflow.llm.provider", "gen_ai.provider.name", "gen_ai.system"}
	keysSession  = []string{"session.id", "gen_ai.conversation.id"}
	keysUser     = []string{"user.id"}
	keysIn       = []string{"gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens", "llm.token_count.prompt"}
	keysOut      = []string{"gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens", "llm.token_count.completion"}
	keysTotal    = []string{"gen_ai.usage.total_tokens", "llm.usage.total_tokens", "llm.token_count.total"}
)

const (
	keyRequestID = "mlflow.traceRequestId"
	keyTokens    = "mlflow.chat.tokenUsage"
	keyCost      = "mlflow.llm.cost"
	keyOperation = "gen_ai.operation.name"
	tagPrefix    = "mlflow.traceTag."
	// UnknownType is the type of a span that says none.
	UnknownType = "UNKNOWN"
)

// operations are the types of spans of OpenTelemetry's operations of generative models.
var operations = map[string]string{"chat": "CHAT_MODEL", "generate_content": "LLM", "text_completion": "LLM", "embeddings": "EMBEDDING",
	"execute_tool": "TOOL", "invoke_agent": "AGENT", "create_agent": "AGENT"}

// Attribute finds the value of the first of keys that a span has; nil if it has none.
func Attribute(s *Span, keys ...string) *commonpb.AnyValue {
	for _, k := range keys {
		for _, kv := range s.Attributes {
			if kv.Key == k && kv.GetValue().GetValue() != nil {
				return kv.Value
			}
		}
	}
	return nil
}

// Plain is a value as a text: a string as it is, without the quotes of one that is JSON; anything else as JSON.
func Plain(v *commonpb.AnyValue) string {
	s, ok := v.GetValue().(*commonpb.AnyValue_StringValue)
	switch {
	case v.GetValue() == nil:
		return ""
	case !ok:
		return string(AppendValue(nil, v))
	case len(s.StringValue) > 1 && s.StringValue[0] == '"':
		var t string
		if json.Unmarshal([]byte(s.StringValue), &t) == nil {
			return t
		}
	}
	return s.StringValue
}

// Type is what a span is: LLM, TOOL, RETRIEVER, …; UnknownType if it does not say.
func Type(s *Span) string {
	if v := Attribute(s, keysType...); v != nil {
		if t := strings.ToUpper(Plain(v)); t != "" {
			return t
		}
	}
	if v := Attribute(s, keyOperation); v != nil {
		if t, ok := operations[Plain(v)]; ok {
			return t
		}
	}
	return UnknownType
}

// Translated gives the attributes of a span with those of MLflow that other instrumentations say in their own words: type,
// inputs, outputs, model, tokens. What is stored stays as it came.
func Translated(s *Span) []*commonpb.KeyValue {
	out := s.Attributes[:len(s.Attributes):len(s.Attributes)]
	add := func(key string, v *commonpb.AnyValue) {
		if v != nil && Attribute(s, key) == nil {
			out = append(out, &commonpb.KeyValue{Key: key, Value: v})
		}
	}
	text := func(s string) *commonpb.AnyValue {
		return &commonpb.AnyValue{Value: &commonpb.AnyValue_StringValue{StringValue: s}}
	}
	if t := Type(s); t != UnknownType {
		add(keysType[0], text(t))
	}
	add(keysInputs[0], Attribute(s, keysInputs...))
	add(keysOutputs[0], Attribute(s, keysOutputs...))
	add("mlflow.llm.model", Attribute(s, keysModel...))
	if t := tokensOf(s); t != nil {
		add(keyTokens, fromJSON([]byte(t.document())))
	}
	return out
}

// Status of a span: OK, ERROR or UNSET.
func Status(s *Span) string {
	switch s.GetStatus().GetCode() {
	case tracepb.Status_STATUS_CODE_OK:
		return "OK"
	case tracepb.Status_STATUS_CODE_ERROR:
		return "ERROR"
	}
	return "UNSET"
}

// AppendValue writes a value as JSON. Bytes become base64, what is not finite a string, and a float keeps a point.
func AppendValue(b []byte, v *commonpb.AnyValue) []byte {
	switch x := v.GetValue().(type) {
	case *commonpb.AnyValue_StringValue:
		return AppendString(b, x.StringValue)
	case *commonpb.AnyValue_BoolValue:
		if x.BoolValue {
			return append(b, "true"...)
		}
		return append(b, "false"...)
	case *commonpb.AnyValue_IntValue:
		return appendInt(b, x.IntValue)
	case *commonpb.AnyValue_DoubleValue:
		return AppendFloat(b, x.DoubleValue)
	case *commonpb.AnyValue_BytesValue:
		return appendBase64(b, x.BytesValue)
	case *commonpb.AnyValue_ArrayValue:
		b = append(b, '[')
		for i, e := range x.ArrayValue.GetValues() {
			if i > 0 {
				b = append(b, ',')
			}
			b = AppendValue(b, e)
		}
		return append(b, ']')
	case *commonpb.AnyValue_KvlistValue:
		b = append(b, '{')
		for i, kv := range x.KvlistValue.GetValues() {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(AppendString(b, kv.GetKey()), ':')
			b = AppendValue(b, kv.GetValue())
		}
		return append(b, '}')
	}
	return append(b, "null"...)
}

// document is a value that holds data: a string that is JSON is that JSON, any other value stands for itself.
func document(v *commonpb.AnyValue) json.RawMessage {
	if s, ok := v.GetValue().(*commonpb.AnyValue_StringValue); ok {
		if t := strings.TrimSpace(s.StringValue); t != "" && json.Valid([]byte(t)) && depth([]byte(t)) <= 2*maxDepth {
			return json.RawMessage(t)
		}
	}
	return AppendValue(nil, v)
}

// readTokens reads {"input_tokens": …, "output_tokens": …, "total_tokens": …}; nil if it is no such document.
func readTokens(text string) *Tokens {
	var t struct {
		Input  *float64 `json:"input_tokens"`
		Output *float64 `json:"output_tokens"`
		Total  *float64 `json:"total_tokens"`
		Read   *float64 `json:"cache_read_input_tokens"`
		Made   *float64 `json:"cache_creation_input_tokens"`
	}
	if text == "" || json.Unmarshal([]byte(text), &t) != nil || t.Input == nil && t.Output == nil && t.Total == nil {
		return nil
	}
	out := &Tokens{Input: count(t.Input), Output: count(t.Output), Total: count(t.Total), CacheRead: count(t.Read), CacheCreation: count(t.Made)}
	if t.Total == nil {
		out.Total = out.Input + out.Output
	}
	return out
}

// count is a number of tokens, between 0 and 10¹⁵.
func count(v *float64) int64 {
	if v == nil || !(*v > 0) {
		return 0
	}
	return int64(min(*v, 1e15))
}

// document writes tokens as MLflow does.
func (t *Tokens) document() string {
	m := map[string]int64{"input_tokens": t.Input, "output_tokens": t.Output, "total_tokens": t.Total}
	if t.CacheRead > 0 {
		m["cache_read_input_tokens"] = t.CacheRead
	}
	if t.CacheCreation > 0 {
		m["cache_creation_input_tokens"] = t.CacheCreation
	}
	b, _ := json.Marshal(m)
	return string(b)
}

func readCost(text string) *Cost {
	var c struct {
		Input  *float64 `json:"input_cost"`
		Output *float64 `json:"output_cost"`
		Total  *float64 `json:"total_cost"`
	}
	if text == "" || json.Unmarshal([]byte(text), &c) != nil || c.Input == nil && c.Output == nil && c.Total == nil {
		return nil
	}
	money := func(v *float64) float64 {
		if v == nil || !(*v > 0) {
			return 0
		}
		return min(*v, 1e12)
	}
	out := &Cost{money(c.Input), money(c.Output), money(c.Total)}
	if c.Total == nil {
		out.Total = out.Input + out.Output
	}
	return out
}

func (c *Cost) document() string {
	b, _ := json.Marshal(map[string]float64{"input_cost": c.Input, "output_cost": c.Output, "total_cost": c.Total})
	return string(b)
}

// tokensOf is what a span says of tokens; nil if nothing.
func tokensOf(s *Span) *Tokens {
	if v := Attribute(s, keyTokens); v != nil {
		return readTokens(string(document(v)))
	}
	number := func(keys []string) *float64 {
		v := Attribute(s, keys...)
		if v == nil {
			return nil
		}
		var f float64
		if json.Unmarshal([]byte(Plain(v)), &f) != nil {
			return nil
		}
		return &f
	}
	in, out, total := number(keysIn), number(keysOut), number(keysTotal)
	if in == nil && out == nil && total == nil {
		return nil
	}
	t := &Tokens{Input: count(in), Output: count(out), Total: count(total)}
	if total == nil {
		t.Total = t.Input + t.Output
	}
	return t
}

func costOf(s *Span) *Cost {
	if v := Attribute(s, keyCost); v != nil {
		return readCost(string(document(v)))
	}
	return nil
}

// sum adds tokens and costs of spans up. A span below one that already counts them is left out: agents tell the sum of
// their calls. Spans whose parents form a circle are not counted.
func sum(spans []*Span) (tokens *Tokens, cost *Cost) {
	there := make(map[string]bool, len(spans))
	for _, s := range spans {
		there[string(s.SpanId)] = true
	}
	type visit struct {
		span            *Span
		tokens, charged bool // counted by a span above
	}
	var stack []visit
	children := map[string][]*Span{}
	for _, s := range spans {
		if p := string(s.ParentSpanId); p != "" && there[p] {
			children[p] = append(children[p], s)
		} else {
			stack = append(stack, visit{span: s})
		}
	}
	for len(stack) > 0 {
		v := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		t, c := tokensOf(v.span), costOf(v.span)
		if t != nil && !v.tokens {
			if tokens == nil {
				tokens = &Tokens{}
			}
			tokens.Input, tokens.Output, tokens.Total = tokens.Input+t.Input, tokens.Output+t.Output, tokens.Total+t.Total
			tokens.CacheRead, tokens.CacheCreation = tokens.CacheRead+t.CacheRead, tokens.CacheCreation+t.CacheCreation
		}
		if c != nil && !v.charged {
			if cost == nil {
				cost = &Cost{}
			}
			cost.Input, cost.Output, cost.Total = cost.Input+c.Input, cost.Output+c.Output, cost.Total+c.Total
		}
		for _, below := range children[string(v.span.SpanId)] {
			stack = append(stack, visit{below, v.tokens || t != nil, v.charged || c != nil})
		}
		delete(children, string(v.span.SpanId)) // a span id that comes twice has its children once
	}
	return tokens, cost
}

// facts are what the spans of one request say of their trace. Times are in milliseconds; ended is negative while no span
// has ended, state empty while the root is not there.
type facts struct {
	started, ended    int64
	state, name       string
	request, response string
	session, user     string
	tags              map[string]string
	spends            bool // some span tells tokens or costs
	index             []mark
}

// mark is what searches see of a span.
type mark struct{ name, kind, status string }

func markOf(s *Span) mark {
	return mark{head(s.Name, maxIndexed), head(Type(s), maxIndexedType), Status(s)}
}

// observe reads the facts of a batch.
func observe(b Batch) facts {
	f := facts{started: math.MaxInt64, ended: -1, tags: map[string]string{}}
	for _, kv := range b.Resource { // what produced the spans becomes tags, but for what describes the SDK itself
		if k := kv.GetKey(); !strings.HasPrefix(k, "telemetry.sdk.") && !strings.HasPrefix(k, "mlflow.") && kv.GetValue().GetValue() != nil {
			f.tag(k, Plain(kv.Value))
		}
	}
	seen := map[mark]bool{}
	for _, s := range b.Spans {
		f.started = min(f.started, int64(s.StartTimeUnixNano/1e6))
		if s.EndTimeUnixNano > 0 {
			f.ended = max(f.ended, int64(s.EndTimeUnixNano/1e6))
		}
		if m := markOf(s); !seen[m] {
			seen[m] = true
			f.index = append(f.index, m)
		}
		if f.session == "" {
			f.session = cut(Plain(Attribute(s, keysSession...)), MaxKey)
		}
		if f.user == "" {
			f.user = cut(Plain(Attribute(s, keysUser...)), MaxKey)
		}
		f.spends = f.spends || tokensOf(s) != nil || costOf(s) != nil
		if len(s.ParentSpanId) == 0 {
			f.root(s)
		}
	}
	return f
}

func (f *facts) root(s *Span) {
	f.state = OK
	if Status(s) == "ERROR" {
		f.state = Failed
	}
	f.name = cut(s.Name, MaxKey)
	if v := Attribute(s, keysInputs...); v != nil {
		f.request = preview(lastMessage(document(v), "user"))
	}
	if v := Attribute(s, keysOutputs...); v != nil {
		f.response = preview(lastMessage(document(v), "assistant"))
	}
	for _, kv := range s.Attributes {
		if k, ok := strings.CutPrefix(kv.Key, tagPrefix); ok && kv.GetValue().GetValue() != nil {
			f.tag(k, Plain(kv.Value))
		}
	}
	if v := f.tags[TagName]; v != "" {
		f.name = v
		delete(f.tags, TagName)
	}
}

// tag keeps a tag that spans carry; one with a bad key is left out, since the spans are worth more.
func (f *facts) tag(key, value string) {
	one := map[string]string{key: value}
	if len(f.tags) < MaxEntries && checkTags(one) == nil && len(one) == 1 {
		f.tags[key] = one[key]
	}
}

// lastMessage is the text of the last message of a role in a chat's request or answer; any other document is given back
// as it is.
func lastMessage(doc json.RawMessage, role string) string {
	type message struct {
		Role    string          `json:"role"`
		Content json.RawMessage `json:"content"`
	}
	var chat struct {
		Messages []message `json:"messages"`
		Choices  []struct {
			Message message `json:"message"`
		} `json:"choices"`
		Input   json.RawMessage `json:"input"`
		Output  json.RawMessage `json:"output"`
		Request json.RawMessage `json:"request"`
	}
	whole := string(doc)
	if len(doc) == 0 || doc[0] != '{' || json.Unmarshal(doc, &chat) != nil {
		return whole
	}
	list := chat.Messages
	if len(list) == 0 && len(chat.Choices) > 0 {
		list = []message{chat.Choices[0].Message}
	}
	for _, raw := range []json.RawMessage{chat.Input, chat.Output} {
		if len(list) == 0 && len(raw) > 0 && raw[0] == '[' {
			_ = json.Unmarshal(raw, &list) // a list of something else has no messages
		}
	}
	if len(list) == 0 {
		if len(chat.Request) > 0 && chat.Request[0] == '{' {
			return lastMessage(chat.Request, role)
		}
		return whole
	}
	m := list[len(list)-1]
	for _, x := range slices.Backward(list) {
		if x.Role == role {
			m = x
			break
		}
	}
	var text string
	if json.Unmarshal(m.Content, &text) == nil && text != "" {
		return text
	}
	var parts []struct {
		Text string `json:"text"`
	}
	if json.Unmarshal(m.Content, &parts) == nil {
		for _, p := range parts {
			if p.Text != "" {
				return p.Text
			}
		}
	}
	return whole
}

// HexID writes an id of a span.
func HexID(id []byte) string { return hex.EncodeToString(id) }
