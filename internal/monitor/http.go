package monitor

import (
	"context"

	"keelson/internal/dataset"
	"keelson/internal/db"
	"keelson/internal/problem"
	"keelson/internal/rest"
)

// Routes mounts the monitors.
func (s *Service) Routes(a *rest.API) {
	const base = "/api/v1/monitors"
	rest.Get(a, base, "monitor.read", "List monitors with their verdicts", s.getList)
	rest.Get(a, base+"/{endpoint}", "monitor.read", "Show a monitor with its verdict and newest windows", s.getOne)
	rest.Put(a, base+"/{endpoint}", "monitor.write", "Make a monitor or change it", s.putOne)
	rest.Get(a, base+"/{endpoint}/windows", "monitor.read", "List the windows of a monitor, newest first", s.getWindows)
	rest.Get(a, base+"/{endpoint}/windows/{id}", "monitor.read", "Show a window with its histograms", s.getWindow)
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

// View is a monitor with what it found.
type View struct {
	Monitor Monitor  `json:"monitor"`
	Verdict Verdict  `json:"verdict"`
	Windows []Result `json:"windows" doc:"the newest first, up to 50"`
}

func (s *Service) getOne(ctx context.Context, in *endpointInput) (v View, err error) {
	err = s.DB.Read(ctx, func(tx db.Scope) error {
		if v.Monitor, _, err = get(tx, in.Endpoint); err != nil {
			return err
		}
		v.Windows, err = windows(tx, in.Endpoint, anyVersion, "", shown)
		v.Verdict = judge(v.Windows, s.now())
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
			By       string   `json:"by,omitempty" enum:"constant,reference,tier"`
		} `json:"limits,omitempty" doc:"what is left out stays as it is; an accuracy or rmse of 0 takes that limit away"`
		Features   *[]string    `json:"features,omitempty" doc:"empty: all"`
		Against    *Against     `json:"against,omitempty" doc:"what windows are compared with"`
		Segments   *[]Segment   `json:"segments,omitempty"`
		Metrics    *[]Metric    `json:"metrics,omitempty"`
		Rules      *[]Rule      `json:"rules,omitempty"`
		Indicators *[]Indicator `json:"indicators,omitempty"`
		OnBreach   *OnBreach    `json:"on_breach,omitempty" doc:"an empty object: nothing"`
	}
}

func (s *Service) putOne(ctx context.Context, in *putInput) (Monitor, error) {
	b := &in.Body
	if b.Endpoint != "" && b.Endpoint != in.Endpoint {
		return Monitor{}, problem.New(problem.Invalid, "The body names %q and the path %q; a monitor belongs to one endpoint.", b.Endpoint, in.Endpoint).At("endpoint")
	}
	c := Change{Model: b.Model, Features: b.Features, Against: b.Against, Segments: b.Segments, Metrics: b.Metrics, Rules: b.Rules, Indicators: b.Indicators}
	if r := b.Reference; r != nil {
		c.Reference = &dataset.Ref{Dataset: r.Dataset, Version: r.Version}
	}
	if w := b.Window; w != nil {
		c.Window = &Window{Rows: w.Rows, MinRows: w.MinRows, Every: w.Every, Labels: w.Labels}
	}
	if l := b.Limits; l != nil {
		c.Limits = &Limits{PSIWarn: l.PSIWarn, PSI: l.PSI, KSWarn: l.KSWarn, KS: l.KS, Missing: l.Missing, New: l.New, Accuracy: l.Accuracy, RMSE: l.RMSE, By: l.By}
	}
	if b.OnBreach != nil {
		to := b.OnBreach
		if to.Retrain == nil {
			to = nil
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
