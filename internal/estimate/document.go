package estimate

import (
	"encoding/json"
	"errors"
	"math"

	"keelson/internal/boost"
)

type cbpeDocument struct {
	Calibrated bool                   `json:"calibrated"`
	X          []float64              `json:"x,omitempty"` // knots of the calibration
	Y          []float64              `json:"y,omitempty"`
	Errors     map[string]*[2]float64 `json:"errors"` // spread and share; null where undefined
}

// MarshalJSON writes what was learnt so that UnmarshalJSON gives the same estimates.
func (c *CBPE) MarshalJSON() ([]byte, error) {
	d := cbpeDocument{Calibrated: c.calibrated, X: c.knots.x, Y: c.knots.y, Errors: map[string]*[2]float64{}}
	for name, s := range c.errors {
		d.Errors[name] = nil
		if !math.IsNaN(s.sd) {
			d.Errors[name] = &[2]float64{s.sd, s.share}
		}
	}
	return json.Marshal(d)
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (c *CBPE) UnmarshalJSON(text []byte) error {
	var d cbpeDocument
	if err := json.Unmarshal(text, &d); err != nil {
		return err
	}
	if len(d.X) != len(d.Y) || d.Calibrated && len(d.X) == 0 {
		return errors.New("the knots of a calibration do not fit together")
	}
	out := CBPE{calibrated: d.Calibrated, knots: Isotonic{d.X, d.Y}, errors: map[string]spread{}}
	for name, s := range d.Errors {
		out.errors[name] = spread{math.NaN(), 0}
		if s != nil {
			out.errors[name] = spread{s[0], s[1]}
		}
	}
	*c = out
	return nil
}

type dleDocument struct {
	Absolute    *boost.Model `json:"absolute"`
	Squared     *boost.Model `json:"squared"`
	AbsoluteSD  float64      `json:"absolute_sd"`
	SquaredSD   float64      `json:"squared_sd"`
	SquaredMean float64      `json:"squared_mean"`
	Columns     int          `json:"columns"`
}

// MarshalJSON writes what was learnt so that UnmarshalJSON gives the same estimates.
func (d *DLE) MarshalJSON() ([]byte, error) {
	return json.Marshal(dleDocument{d.absolute, d.squared, d.absoluteSD, d.squaredSD, d.squaredMean, d.kinds})
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (d *DLE) UnmarshalJSON(text []byte) error {
	var in dleDocument
	if err := json.Unmarshal(text, &in); err != nil {
		return err
	}
	if in.Absolute == nil || in.Squared == nil {
		return errors.New("an estimator of losses needs both of its models")
	}
	*d = DLE{in.Absolute, in.Squared, in.AbsoluteSD, in.SquaredSD, in.SquaredMean, in.Columns}
	return nil
}
