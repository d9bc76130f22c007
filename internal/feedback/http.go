package feedback

import (
	"context"
	"encoding/json"
	"net/http"

	"keelson/internal/db"
	"keelson/internal/rest"
)

// Routes mounts feedback, its queue, and outcomes by file and stream.
func (s *Service) Routes(a *rest.API) {
	const base = "/api/v1/feedback"
	rest.Post(a, "/api/v1/predictions/{id}/feedback", "feedback.write", "Mark a decision as wrong, contest it or override it", s.postReport, rest.Status(201))
	rest.Get(a, base, "prediction.read", "List feedback, newest first", s.getList)
	rest.Get(a, base+"/counts", "prediction.read", "How much feedback waits and was settled", s.getCounts)
	rest.Post(a, base+"/next", "feedback.label", "Claim what waits longest", s.postNext)
	rest.Get(a, base+"/{id}", "prediction.read", "Show an item of feedback", s.getOne)
	rest.Post(a, base+"/{id}/claim", "feedback.label", "Claim an item for half an hour", s.postClaim)
	rest.Post(a, base+"/{id}/release", "feedback.label", "Put a claimed item back", s.postRelease)
	rest.Post(a, base+"/{id}/label", "feedback.label", "Say what turned out to be true; it becomes an outcome", s.postLabel)
	rest.Post(a, base+"/{id}/skip", "feedback.label", "Settle an item without a label", s.postSkip)
	a.Handle("POST", "/api/v1/outcomes/file", "prediction.write", rest.REST, s.postFile(a))
	a.Handle("POST", "/api/v1/outcomes/stream", "prediction.write", rest.REST, http.HandlerFunc(s.stream))
}

type reportInput struct {
	ID   string `path:"id" doc:"prediction"`
	Body struct {
		Kind   string          `json:"kind" enum:"wrong,contest,override"`
		Row    int             `json:"row,omitempty" minimum:"0" doc:"counts from 0"`
		Value  json.RawMessage `json:"value,omitempty" doc:"number, text or truth value: what it should be; of an override what was decided instead"`
		Reason string          `json:"reason,omitempty" maxLength:"4000" doc:"needed to contest and to override"`
	}
}

func (s *Service) postReport(ctx context.Context, in *reportInput) (Item, error) {
	b := in.Body
	return s.Report(ctx, Item{Prediction: in.ID, Row: b.Row, Kind: b.Kind, Value: b.Value, Reason: b.Reason})
}

type listInput struct {
	rest.Paging
	State      string `query:"state" enum:"queued,claimed,labelled,skipped,waiting," doc:"waiting is queued and claimed"`
	Model      string `query:"model"`
	Kind       string `query:"kind" enum:"wrong,contest,override,"`
	Prediction string `query:"prediction"`
}

func (s *Service) getList(ctx context.Context, in *listInput) (rest.Page[Item], error) {
	var all []Item
	err := s.DB.Read(ctx, func(tx db.Scope) (err error) {
		all, err = list(tx, filter{in.State, in.Model, in.Kind, in.Prediction}, in.Cursor, in.Limit+1, s.now())
		return err
	})
	return rest.Paged(all, in.Limit, func(i Item) string { return i.ID }), err
}

// Counts are how many items of each state there are.
type Counts struct {
	Queued   int `json:"queued"`
	Claimed  int `json:"claimed"`
	Labelled int `json:"labelled"`
	Skipped  int `json:"skipped"`
}

type modelInput struct {
	Model string `query:"model" doc:"only of this model"`
}

func (s *Service) getCounts(ctx context.Context, in *modelInput) (c Counts, err error) {
	err = s.DB.Read(ctx, func(tx db.Scope) error {
		n, err := counts(tx, in.Model)
		c = Counts{n[Queued], n[Claimed], n[Labelled], n[Skipped]}
		return err
	})
	return c, err
}

func (s *Service) postNext(ctx context.Context, in *modelInput) (Item, error) {
	return s.Next(ctx, in.Model)
}

type idInput struct {
	ID string `path:"id" doc:"item"`
}

func (s *Service) getOne(ctx context.Context, in *idInput) (Item, error) { return s.Get(ctx, in.ID) }
func (s *Service) postClaim(ctx context.Context, in *idInput) (Item, error) {
	return s.Claim(ctx, in.ID)
}
func (s *Service) postRelease(ctx context.Context, in *idInput) (Item, error) {
	return s.Release(ctx, in.ID)
}

type labelInput struct {
	ID   string `path:"id" doc:"item"`
	Body struct {
		Value json.RawMessage `json:"value" doc:"number, text or truth value"`
		Note  string          `json:"note,omitempty" maxLength:"4000"`
	}
}

func (s *Service) postLabel(ctx context.Context, in *labelInput) (Item, error) {
	return s.Label(ctx, in.ID, in.Body.Value, in.Body.Note)
}

type skipInput struct {
	ID   string `path:"id" doc:"item"`
	Body struct {
		Note string `json:"note" minLength:"1" maxLength:"4000" doc:"why nothing can be said"`
	}
}

func (s *Service) postSkip(ctx context.Context, in *skipInput) (Item, error) {
	return s.Skip(ctx, in.ID, in.Body.Note)
}
