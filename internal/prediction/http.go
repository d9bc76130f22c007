package prediction

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"keelson/internal/problem"
	"keelson/internal/rest"
	"keelson/internal/tensor"
)

// Routes mounts predictions, outcomes and the callers of a model.
func (s *Service) Routes(a *rest.API) {
	rest.Get(a, "/api/v1/predictions", "prediction.read", "The newest predictions, newest first", s.getList)
	rest.Get(a, "/api/v1/predictions/{id}", "prediction.read", "One prediction with its outcomes", s.getOne)
	rest.Get(a, "/api/v1/predictions/{id}/explanation", "prediction.read", "Why one prediction came out as it did, by the version that made it", s.getExplanation)
	rest.Post(a, "/api/v1/predictions", "prediction.write", "Hand in predictions that were made elsewhere", s.postHandIn, rest.Body(64<<20))
	a.Handle("GET", "/api/v1/predictions/export", "prediction.export", rest.REST, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.getExport(a, w, r) }))
	rest.Post(a, "/api/v1/predictions/purge", "bin.purge", "Remove old predictions for good", s.postPurge)
	rest.Post(a, "/api/v1/predictions/erase", "bin.purge", "Remove every prediction about a person for good", s.postErase)
	rest.Get(a, "/api/v1/prediction-retention", "bin.read", "How long predictions are kept", s.getRetentions)
	rest.Put(a, "/api/v1/prediction-retention", "policy.write", "Say how long predictions are kept", s.putRetention)
	rest.Delete(a, "/api/v1/prediction-retention", "policy.write", "Take back how long predictions are kept", s.deleteRetention, rest.Status(http.StatusOK))
	rest.Post(a, "/api/v1/outcomes", "prediction.write", "Tell what turned out to be true", s.postOutcomes, rest.Body(16<<20))
	rest.Get(a, "/api/v1/models/{name}/callers", "prediction.read", "Who called a model", s.getCallers)
}

// View is a prediction as the API shows it.
type View struct {
	ID          string           `json:"id"`
	At          time.Time        `json:"at"`
	Endpoint    string           `json:"endpoint"`
	Model       string           `json:"model"`
	Version     int              `json:"version"`
	Environment string           `json:"environment"`
	Slot        string           `json:"slot" enum:"live,canary,shadow,external"`
	Caller      string           `json:"caller"`
	Application string           `json:"application"`
	Purpose     string           `json:"purpose"`
	Subject     string           `json:"subject"`
	Request     string           `json:"request" doc:"the caller's own identifier"`
	Rows        int              `json:"rows"`
	Inputs      []TensorView     `json:"inputs"`
	Outputs     []TensorView     `json:"outputs"`
	LatencyUS   int64            `json:"latency_us"`
	ComputeUS   int64            `json:"compute_us"`
	Error       string           `json:"error"`
	Trace       string           `json:"trace"`
	Segment     string           `json:"segment"`
	Override    string           `json:"override"`
	TraceInfo   []FiredView      `json:"trace_info" doc:"rules that fired, row by row"`
	Outcomes    []OutcomeOfAView `json:"outcomes"`
	Redacted    *Redacted        `json:"redacted,omitempty" doc:"what was left out of the record; not there when nothing was"`
}

// TensorView is a protocol tensor with flat data; null is a missing value.
type TensorView struct {
	Name     string          `json:"name"`
	Shape    []int           `json:"shape"`
	Datatype string          `json:"datatype"`
	Data     json.RawMessage `json:"data"`
}

// FiredView tells how one row was decided.
type FiredView struct {
	Row   int `json:"row"`
	Fired []struct {
		Rule    string `json:"rule"`
		Message string `json:"message,omitempty"`
	} `json:"fired"`
}

// OutcomeOfAView is an outcome beside its prediction.
type OutcomeOfAView struct {
	Row   int             `json:"row"`
	Value json.RawMessage `json:"value"`
	At    time.Time       `json:"at"`
}

func tensorViews(list []tensor.Tensor) []TensorView {
	out := make([]TensorView, len(list))
	for i := range list {
		t := &list[i]
		out[i] = TensorView{Name: t.Name, Shape: t.Shape, Datatype: t.Type.String(), Data: t.AppendData(nil)}
		if t.Shape == nil {
			out[i].Shape = []int{}
		}
	}
	return out
}

// fired are the rules that a model of rules says it went by; empty for others.
func (r *Record) fired() []FiredView {
	out := []FiredView{}
	_ = json.Unmarshal(r.Fired, &out) // nothing is there, or what the model wrote
	return out
}

func view(r Record, outcomes []Outcome) View {
	v := View{ID: r.ID, At: r.At, Endpoint: r.Endpoint, Model: r.Model, Version: r.Version, Environment: r.Environment, Slot: r.Slot,
		Caller: r.Caller, Application: r.Application, Purpose: r.Purpose, Subject: r.Subject, Request: r.Request, Rows: r.Rows,
		Inputs: tensorViews(r.Inputs), Outputs: tensorViews(r.Outputs), LatencyUS: r.Latency.Microseconds(), ComputeUS: r.Compute.Microseconds(),
		Error: r.Error, Trace: r.Trace, Segment: r.Segment, Override: r.Override, TraceInfo: r.fired(), Outcomes: []OutcomeOfAView{}}
	if len(r.Redacted) > 0 {
		left := r.Left()
		v.Redacted = &left
	}
	for _, o := range outcomes {
		v.Outcomes = append(v.Outcomes, OutcomeOfAView{o.Row, o.Value, o.At})
	}
	return v
}

type listInput struct {
	rest.Paging
	Endpoint string    `query:"endpoint"`
	Model    string    `query:"model"`
	Version  int       `query:"version" minimum:"0"`
	Caller   string    `query:"caller"`
	Slot     string    `query:"slot" doc:"live, canary, shadow or external"`
	Since    time.Time `query:"since" doc:"inclusive"`
	Until    time.Time `query:"until" doc:"exclusive"`
	Filter   string    `query:"filter" maxLength:"4000" doc:"clauses joined by AND, such as caller = 'bank' AND input.age > 60 AND output.score < 0.2; values of inputs and outputs must hold for the same row. A page then may hold fewer items than the limit and still have a next one."`
}

func (s *Service) getList(ctx context.Context, in *listInput) (rest.Page[View], error) {
	if in.Cursor != "" {
		if _, ok := idTime(in.Cursor); !ok {
			return rest.Page[View]{}, problem.New(problem.Invalid, "The cursor is not one that a page of predictions gave.").At("cursor")
		}
	}
	q := Query{Endpoint: in.Endpoint, Model: in.Model, Version: in.Version, Caller: in.Caller, Slot: in.Slot, Since: in.Since, Until: in.Until, After: in.Cursor}
	list, next, err := s.Search(ctx, q, in.Filter, in.Limit)
	if err != nil {
		return rest.Page[View]{}, err
	}
	ids := make([]string, len(list))
	for i, r := range list {
		ids[i] = r.ID
	}
	known, err := s.Outcomes(ctx, ids)
	if err != nil {
		return rest.Page[View]{}, err
	}
	views := make([]View, len(list))
	for i, r := range list {
		views[i] = view(r, known[r.ID])
	}
	return rest.Page[View]{Items: views, Next: next}, nil
}

type oneInput struct {
	ID string `path:"id"`
}

func (s *Service) getOne(ctx context.Context, in *oneInput) (View, error) {
	r, err := s.Get(ctx, in.ID)
	if err != nil {
		return View{}, err
	}
	known, err := s.Outcomes(ctx, []string{r.ID})
	return view(r, known[r.ID]), err
}

type handInInput struct {
	Body struct {
		Endpoint string   `json:"endpoint" minLength:"1"`
		Items    []HandIn `json:"items" minItems:"1" maxItems:"10000"`
	}
}

// HandIn is one prediction made elsewhere.
type HandIn struct {
	ID          string          `json:"id,omitempty" maxLength:"200" doc:"your own identifier; sending it again stores nothing again"`
	At          time.Time       `json:"at,omitzero" required:"false" doc:"when it was made; now if left out"`
	Model       string          `json:"model,omitempty" maxLength:"200" doc:"the endpoint's name if left out"`
	Version     int             `json:"version,omitempty" minimum:"0"`
	Environment string          `json:"environment,omitempty" maxLength:"200"`
	Caller      string          `json:"caller,omitempty" maxLength:"200" doc:"who asked for the decision; you if left out"`
	Application string          `json:"application,omitempty" maxLength:"200"`
	Purpose     string          `json:"purpose,omitempty"`
	Subject     string          `json:"subject,omitempty" doc:"pseudonym"`
	Segment     string          `json:"segment,omitempty"`
	Override    json.RawMessage `json:"override,omitempty" required:"false" doc:"what a person decided instead"`
	Error       string          `json:"error,omitempty"`
	Trace       string          `json:"trace,omitempty"`
	LatencyUS   int64           `json:"latency_us,omitempty" minimum:"0"`
	Inputs      json.RawMessage `json:"inputs" doc:"tensors: [{name, shape, datatype, data}]"`
	Outputs     json.RawMessage `json:"outputs,omitempty" required:"false" doc:"tensors"`
}

// HandedIn are the identifiers under which predictions are on record, in the order of the items.
type HandedIn struct {
	IDs []string `json:"ids"`
}

func (s *Service) postHandIn(ctx context.Context, in *handInInput) (HandedIn, error) {
	list := make([]Record, len(in.Body.Items))
	for i, it := range in.Body.Items {
		at := fmt.Sprintf("items[%d]", i)
		inputs, err := readTensors(it.Inputs, at+".inputs")
		if err != nil {
			return HandedIn{}, err
		}
		outputs, err := readTensors(it.Outputs, at+".outputs")
		if err != nil {
			return HandedIn{}, err
		}
		list[i] = Record{Request: it.ID, At: it.At, Model: it.Model, Version: it.Version, Environment: it.Environment, Caller: it.Caller,
			Application: it.Application, Purpose: it.Purpose, Subject: it.Subject, Segment: it.Segment, Override: string(it.Override),
			Error: it.Error, Trace: it.Trace, Latency: time.Duration(it.LatencyUS) * time.Microsecond, Inputs: inputs, Outputs: outputs}
	}
	ids, err := s.HandIn(ctx, in.Body.Endpoint, list)
	return HandedIn{ids}, err
}

func readTensors(raw json.RawMessage, at string) ([]tensor.Tensor, error) {
	if len(raw) == 0 || string(raw) == "null" {
		return nil, nil
	}
	list, err := tensor.ReadList(tensor.NewScanner(raw), tensor.DefaultLimits)
	for i := range list {
		if err == nil {
			err = list[i].Check()
		}
	}
	var p *problem.Error
	if errors.As(err, &p) {
		return nil, problem.New(p.Kind, "%s", p.Detail).At(at).Because(err)
	}
	return list, err
}

type outcomesInput struct {
	Body struct {
		Items []struct {
			Prediction string          `json:"prediction_id" minLength:"1"`
			Row        int             `json:"row" minimum:"0" doc:"counts from 0"`
			Value      json.RawMessage `json:"value" doc:"number, text or truth value"`
			At         time.Time       `json:"at,omitzero" required:"false" doc:"when it became true; now if left out"`
		} `json:"items" minItems:"1" maxItems:"10000"`
	}
}

// Recorded counts a batch of outcomes.
type Recorded struct {
	Accepted   int `json:"accepted"`
	Duplicates int `json:"duplicates" doc:"on record already with the same value"`
}

func (s *Service) postOutcomes(ctx context.Context, in *outcomesInput) (Recorded, error) {
	list := make([]Outcome, len(in.Body.Items))
	for i, it := range in.Body.Items {
		list[i] = Outcome{Prediction: it.Prediction, Row: it.Row, Value: it.Value, At: it.At}
	}
	accepted, duplicates, err := s.Record(ctx, list)
	return Recorded{accepted, duplicates}, err
}

type callersInput struct {
	Name  string    `path:"name"`
	Since time.Time `query:"since" doc:"30 days ago if left out; days are counted whole"`
}

func (s *Service) getCallers(ctx context.Context, in *callersInput) ([]Use, error) {
	if in.Since.IsZero() {
		in.Since = s.Now().Add(-30 * 24 * time.Hour)
	}
	return s.Callers(ctx, in.Name, in.Since)
}
