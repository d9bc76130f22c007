package monitor

import (
	"context"
	"net/http"
	"time"

	"keelson/internal/access"
	"keelson/internal/caller"
	"keelson/internal/dataset"
	"keelson/internal/db"
	"keelson/internal/problem"
	"keelson/internal/rest"
	"keelson/internal/wasm"
)

// Routes mounts the monitors.
func (s *Service) Routes(a *rest.API) {
	const base = "/api/v1/monitors"
	rest.Get(a, base, "monitor.read", "List monitors with their verdicts", s.getList)
	const modules = "/api/v1/monitor-modules"
	a.Handle(http.MethodPut, modules+"/{name}", "monitor.module", rest.REST, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		m, err := s.PutModule(r.Context(), r.PathValue("name"), http.MaxBytesReader(w, r.Body, wasm.MaxModule+1))
		if err != nil {
			a.Fail(w, r, err)
			return
		}
		rest.JSON(w, http.StatusOK, m)
	}))
	rest.Get(a, modules, "monitor.read", "List the modules that custom metrics may be computed by", s.getModules)
	rest.Get(a, modules+"/{name}", "monitor.read", "List the versions of a module, newest first", s.getModule)
	rest.Delete(a, modules+"/{name}/{number}", "monitor.module", "Delete a version of a module that no monitor uses", s.deleteModule, rest.Status(http.StatusNoContent))
	rest.Get(a, base+"/{endpoint}", "monitor.read", "Show a monitor with its verdict and newest windows", s.getOne)
	rest.Put(a, base+"/{endpoint}", "monitor.write", "Make a monitor or change it", s.putOne)
	rest.Get(a, base+"/{endpoint}/windows", "monitor.read", "List the windows of a monitor, newest first", s.getWindows)
	rest.Get(a, base+"/{endpoint}/windows/{id}", "monitor.read", "Show a window with its histograms", s.getWindow)
	rest.Post(a, base+"/{endpoint}/windows/{id}/separation", "monitor.write", "Let a classifier tell the rows of a window from the reference", s.postSeparation)
	rest.Get(a, base+"/{endpoint}/challenge", "monitor.read", "Hold the versions that answer live calls against each other by their outcomes", s.getChallenge)
	rest.Get(a, base+"/{endpoint}/live", "monitor.read", "Count what has arrived since the last window", s.getLive)
	rest.Post(a, base+"/{endpoint}/accept", "monitor.write", "Make a window the reference of what follows", s.postAccept)
	rest.Get(a, base+"/{endpoint}/indicators", "monitor.read", "List values of business metrics, newest first", s.getReadings)
	rest.Post(a, base+"/{endpoint}/indicators", "monitor.write", "Hand in values of business metrics", s.postReadings)
	rest.Get(a, base+"/{endpoint}/backfills", "monitor.read", "List back-fills, newest first", s.getBackfills)
	rest.Get(a, base+"/{endpoint}/backfills/{id}", "monitor.read", "Tell how far a back-fill has come", s.getBackfill)
	rest.Post(a, base+"/{endpoint}/backfills", "monitor.write", "Look again at stored windows with the present settings", s.postBackfill, rest.Status(http.StatusAccepted))
}

// Overview is a monitor with its verdict, as the list shows it.
type Overview struct {
	Monitor
	Verdict Verdict `json:"verdict"`
}

type listInput struct {
	rest.Paging
	Model string `query:"model" doc:"only the endpoints of this model"`
}

func (s *Service) getList(ctx context.Context, in *listInput) (rest.Page[Overview], error) {
	var all []Overview
	err := s.DB.Read(ctx, func(tx db.Scope) error {
		some, err := list(tx, in.Model, in.Cursor, in.Limit+1)
		for _, m := range some {
			if err != nil {
				return err
			}
			o := Overview{Monitor: m}
			o.Verdict, err = verdict(tx, m.Endpoint, s.now())
			all = append(all, o)
		}
		return err
	})
	return rest.Paged(all, in.Limit, func(o Overview) string { return o.Endpoint }), err
}

type endpointInput struct {
	Endpoint string `path:"endpoint" doc:"endpoint, as in /v2/models/{endpoint}/infer"`
}

func (s *Service) getModules(ctx context.Context, _ *struct{}) (rest.Page[Module], error) {
	all, err := s.ModuleList(ctx, "")
	return rest.Page[Module]{Items: all}, err
}

type moduleInput struct {
	Name string `path:"name" doc:"module"`
}

func (s *Service) getModule(ctx context.Context, in *moduleInput) (rest.Page[Module], error) {
	all, err := s.ModuleList(ctx, in.Name)
	if err == nil && len(all) == 0 {
		err = problem.New(problem.NotFound, "There is no module %q.", clip(in.Name))
	}
	return rest.Page[Module]{Items: all}, err
}

type moduleVersionInput struct {
	Name   string `path:"name" doc:"module"`
	Number int    `path:"number" minimum:"1" doc:"version"`
}

func (s *Service) deleteModule(ctx context.Context, in *moduleVersionInput) (struct{}, error) {
	return struct{}{}, s.DeleteModule(ctx, in.Name, in.Number)
}

// View is a monitor with what it found.
type View struct {
	Monitor    Monitor    `json:"monitor"`
	Verdict    Verdict    `json:"verdict"`
	Windows    []Result   `json:"windows" doc:"the newest first, up to 50"`
	Indicators []Standing `json:"indicators" doc:"business metrics with their newest values"`
}

func (s *Service) getOne(ctx context.Context, in *endpointInput) (v View, err error) {
	err = s.DB.Read(ctx, func(tx db.Scope) error {
		if v.Monitor, _, err = get(tx, in.Endpoint); err != nil {
			return err
		}
		v.Windows, err = windows(tx, in.Endpoint, anyVersion, "", shown)
		if err != nil {
			return err
		}
		v.Verdict = judge(v.Windows, s.now())
		v.Indicators, err = v.Monitor.standings(tx)
		v.Verdict.add(v.Indicators, s.now())
		return err
	})
	if v.Windows == nil {
		v.Windows = []Result{}
	}
	return v, err
}

type putInput struct {
	Endpoint string `path:"endpoint" doc:"endpoint, as in /v2/models/{endpoint}/infer"`
	Body     struct {
		Endpoint  string    `json:"endpoint,omitempty" doc:"the name in the path, or nothing"`
		Model     *string   `json:"model,omitempty" maxLength:"200"`
		Reference *struct { // huma cannot tell null from an absent field: an empty name unpins
			Dataset string `json:"dataset,omitempty" doc:"empty: each version's own training data"`
			Version int    `json:"version,omitempty" minimum:"0" doc:"0 is the latest"`
		} `json:"reference,omitempty"`
		Window *struct {
			Rows    int    `json:"rows,omitempty" minimum:"0"`
			MinRows int    `json:"min_rows,omitempty" minimum:"0"`
			Every   string `json:"every,omitempty" doc:"cut by time, such as 1h"`
			Labels  int    `json:"labels,omitempty" minimum:"0" doc:"cut by outcomes"`
		} `json:"window,omitempty"`
		Limits *struct {
			PSIWarn  float64  `json:"psi_warn,omitempty"`
			PSI      float64  `json:"psi,omitempty"`
			KSWarn   float64  `json:"ks_warn,omitempty"`
			KS       float64  `json:"ks,omitempty"`
			Missing  float64  `json:"missing,omitempty"`
			New      float64  `json:"new,omitempty"`
			Accuracy *float64 `json:"accuracy,omitempty"`
			RMSE     *float64 `json:"rmse,omitempty"`
			NDCG     *float64 `json:"ndcg,omitempty"`
			By       string   `json:"by,omitempty" enum:"constant,reference,tier"`
		} `json:"limits,omitempty" doc:"what is left out stays as it is; an accuracy, rmse or ndcg of 0 takes that limit away"`
		Features   *[]string     `json:"features,omitempty" doc:"empty: all"`
		Against    *Against      `json:"against,omitempty" doc:"what windows are compared with"`
		Segments   *[]Segment    `json:"segments,omitempty"`
		Ranking    *Ranking      `json:"ranking,omitempty" doc:"the model ranks, and its result is NDCG; off: it no longer does"`
		Embeddings *[]Embedding  `json:"embeddings,omitempty" doc:"vectors among the inputs, each compared as a whole"`
		Metrics    *[]Metric     `json:"metrics,omitempty"`
		Rules      *[]Rule       `json:"rules,omitempty"`
		Indicators *[]Indicator  `json:"indicators,omitempty"`
		Fairness   *[]GroupLimit `json:"fairness,omitempty" doc:"groups of people that a classifier should treat alike"`
		OnBreach   *OnBreach     `json:"on_breach,omitempty" doc:"an empty object: nothing"`
	}
}

func (s *Service) putOne(ctx context.Context, in *putInput) (Monitor, error) {
	b := &in.Body
	if b.Endpoint != "" && b.Endpoint != in.Endpoint {
		return Monitor{}, problem.New(problem.Invalid, "The body names %q and the path %q; a monitor belongs to one endpoint.", b.Endpoint, in.Endpoint).At("endpoint")
	}
	c := Change{Model: b.Model, Features: b.Features, Against: b.Against, Segments: b.Segments, Embeddings: b.Embeddings, Ranking: b.Ranking, Metrics: b.Metrics, Rules: b.Rules, Indicators: b.Indicators, Fairness: b.Fairness}
	if r := b.Reference; r != nil {
		c.Reference = &dataset.Ref{Dataset: r.Dataset, Version: r.Version}
	}
	if w := b.Window; w != nil {
		c.Window = &Window{Rows: w.Rows, MinRows: w.MinRows, Every: w.Every, Labels: w.Labels}
	}
	if l := b.Limits; l != nil {
		c.Limits = &Limits{PSIWarn: l.PSIWarn, PSI: l.PSI, KSWarn: l.KSWarn, KS: l.KS, Missing: l.Missing, New: l.New, Accuracy: l.Accuracy, RMSE: l.RMSE, NDCG: l.NDCG, By: l.By}
	}
	if b.OnBreach != nil {
		to := b.OnBreach
		if to.Retrain == nil {
			to = nil
		} else if err := s.mayRetrain(ctx, in.Endpoint, to.Retrain.Pipeline); err != nil {
			return Monitor{}, err
		}
		c.OnBreach = &to
	}
	return s.Put(ctx, in.Endpoint, c)
}

type windowsInput struct {
	Endpoint string `path:"endpoint" doc:"endpoint"`
	rest.Paging
	Version int `query:"version" minimum:"0" doc:"only windows of this version"`
}

func (s *Service) getWindows(ctx context.Context, in *windowsInput) (rest.Page[Result], error) {
	var all []Result
	err := s.DB.Read(ctx, func(tx db.Scope) error {
		if _, _, err := get(tx, in.Endpoint); err != nil {
			return err
		}
		version := in.Version
		if version == 0 {
			version = anyVersion
		}
		var err error
		all, err = windows(tx, in.Endpoint, version, in.Cursor, in.Limit+1)
		return err
	})
	return rest.Paged(all, in.Limit, func(r Result) string { return r.ID }), err
}

type windowInput struct {
	Endpoint string `path:"endpoint" doc:"endpoint"`
	ID       string `path:"id" doc:"window"`
}

func (s *Service) getWindow(ctx context.Context, in *windowInput) (Result, error) {
	return s.Window(ctx, in.Endpoint, in.ID)
}

func (s *Service) postSeparation(ctx context.Context, in *windowInput) (Separation, error) {
	return s.Separate(ctx, in.Endpoint, in.ID)
}

func (s *Service) getLive(ctx context.Context, in *endpointInput) (Live, error) {
	return s.Live(ctx, in.Endpoint)
}

type acceptInput struct {
	Endpoint string `path:"endpoint" doc:"endpoint"`
	Body     struct {
		Window string     `json:"window,omitempty" doc:"id of the window; the newest if empty"`
		Reason string     `json:"reason" minLength:"1" maxLength:"1000" doc:"why the changed data is all right"`
		Until  *time.Time `json:"until,omitempty" doc:"when the training data is the measure again, two years from now at most; left out: until somebody changes it"`
	}
}

func (s *Service) postAccept(ctx context.Context, in *acceptInput) (Monitor, error) {
	return s.Accept(ctx, in.Endpoint, in.Body.Window, in.Body.Reason, in.Body.Until)
}

type readingsInput struct {
	Endpoint string `path:"endpoint" doc:"endpoint"`
	rest.Paging
	Name string `query:"name" doc:"only this indicator"`
}

func (s *Service) getReadings(ctx context.Context, in *readingsInput) (rest.Page[Reading], error) {
	var all []Reading
	err := s.DB.Read(ctx, func(tx db.Scope) error {
		if _, _, err := get(tx, in.Endpoint); err != nil {
			return err
		}
		var err error
		all, err = readings(tx, in.Endpoint, in.Name, in.Cursor, in.Limit+1)
		return err
	})
	return rest.Paged(all, in.Limit, placeOf), err
}

type tellInput struct {
	Endpoint string `path:"endpoint" doc:"endpoint"`
	Body     struct {
		Items []struct {
			Name  string     `json:"name" minLength:"1" maxLength:"100"`
			Value float64    `json:"value"`
			At    *time.Time `json:"at,omitempty" doc:"now if it is left out"`
		} `json:"items" minItems:"1" maxItems:"1000"`
	}
}

// Told counts readings that were handed in.
type Told struct {
	Accepted   int `json:"accepted"`
	Duplicates int `json:"duplicates" doc:"known with the same value"`
}

func (s *Service) postReadings(ctx context.Context, in *tellInput) (out Told, err error) {
	list := make([]Reading, len(in.Body.Items))
	for i, item := range in.Body.Items {
		list[i] = Reading{Name: item.Name, Value: item.Value}
		if item.At != nil {
			list[i].At = *item.At
		}
	}
	out.Accepted, out.Duplicates, err = s.Tell(ctx, in.Endpoint, list)
	return out, err
}

type backfillInput struct {
	Endpoint string `path:"endpoint" doc:"endpoint"`
	Body     struct {
		Since *time.Time `json:"since,omitempty" doc:"from the first window if it is left out"`
		Until *time.Time `json:"until,omitempty" doc:"to the newest if it is left out"`
	}
}

func (s *Service) postBackfill(ctx context.Context, in *backfillInput) (Backfill, error) {
	var since, until time.Time
	if in.Body.Since != nil {
		since = *in.Body.Since
	}
	if in.Body.Until != nil {
		until = *in.Body.Until
	}
	return s.Backfill(ctx, in.Endpoint, since, until)
}

type backfillsInput struct {
	Endpoint string `path:"endpoint" doc:"endpoint"`
	rest.Paging
}

func (s *Service) getBackfills(ctx context.Context, in *backfillsInput) (rest.Page[Backfill], error) {
	var all []Backfill
	err := s.DB.Read(ctx, func(tx db.Scope) error {
		q, args := "SELECT "+backfillColumns+" FROM monitor_backfill WHERE workspace = $1 AND endpoint = $2", []any{tx.Workspace, in.Endpoint, in.Limit + 1}
		if in.Cursor != "" {
			q, args = q+" AND id < $4", append(args, in.Cursor)
		}
		return tx.Each(q+" ORDER BY id DESC LIMIT $3", args, func(scan func(...any) error) error {
			b, err := scanBackfill(scan)
			all = append(all, b)
			return err
		})
	})
	return rest.Paged(all, in.Limit, func(b Backfill) string { return b.ID }), err
}

func (s *Service) getBackfill(ctx context.Context, in *windowInput) (Backfill, error) {
	b, err := s.GetBackfill(ctx, in.ID)
	if err == nil && b.Endpoint != in.Endpoint {
		return b, problem.New(problem.NotFound, "The monitor of %q has no back-fill %q.", in.Endpoint, clip(in.ID)).At("id")
	}
	return b, err
}

// mayRetrain fails with problem.Forbidden when who asks may not start pipelines and would have a monitor start one that
// it does not start already.
func (s *Service) mayRetrain(ctx context.Context, endpoint, pipeline string) error {
	who := caller.From(ctx)
	if access.Can(who, "pipeline.run") {
		return nil
	}
	m, err := s.Get(ctx, endpoint)
	if err == nil && m.OnBreach != nil && m.OnBreach.Retrain != nil && m.OnBreach.Retrain.Pipeline == pipeline {
		return nil
	}
	if err != nil && !problem.Is(err, problem.NotFound) {
		return err
	}
	return problem.New(problem.Forbidden, "%s may not have a monitor start pipelines; ask somebody who may run them.", who.Name).At("on_breach.retrain.pipeline")
}
