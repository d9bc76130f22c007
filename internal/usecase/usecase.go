// Package usecase keeps what models are for: purpose, business owner, a goal with its figure and date, and who is
// responsible. A use case is above models: one may have several, a model serves at most one. What is missing is listed,
// so that a page can show it in red; nothing is forbidden because of it.
package usecase

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"time"

	"keelson/internal/problem"
)

// Responsibilities are names of people: one accountable, any number of the others.
type Responsibilities struct {
	Accountable string   `json:"accountable" doc:"the one person who answers for it" required:"false"`
	Responsible []string `json:"responsible" doc:"who does the work" required:"false"`
	Consulted   []string `json:"consulted" doc:"who is asked before a change" required:"false"`
	Informed    []string `json:"informed" doc:"who is told after a change" required:"false"`
}

// Goal is what the use case is measured by: KPI reaches Target Unit by Due.
type Goal struct {
	KPI    string  `json:"kpi" required:"false" example:"malignant tumours found"`
	Target float64 `json:"target" required:"false"`
	Unit   string  `json:"unit" required:"false" example:"%"`
	Due    string  `json:"due" required:"false" doc:"a day as YYYY-MM-DD" example:"2027-06-30"`
}

// UseCase is one purpose.
type UseCase struct {
	Name             string           `json:"name"`
	Title            string           `json:"title"`
	Purpose          string           `json:"purpose"`
	Area             string           `json:"area" doc:"part of the organisation"`
	Owner            string           `json:"owner" doc:"the business owner"`
	Goal             Goal             `json:"goal"`
	Responsibilities Responsibilities `json:"responsibilities"`
	Models           []string         `json:"models"`
	Missing          []string         `json:"missing" doc:"what should be filled in: purpose, owner, accountable, goal"`
	CreatedAt        time.Time        `json:"created_at"`
	UpdatedAt        time.Time        `json:"updated_at"`
}

// Subject is the use case as audit and events name it.
func (u UseCase) Subject() string { return "usecase/" + u.Name }

const maxText = 10_000

var (
	nameForm = regexp.MustCompile(`^[a-z0-9][a-z0-9_.-]{0,99}$`)
	modelMax = 1000
)

// check refuses what cannot be a use case and puts lists into one form.
func (u *UseCase) check() error {
	if !nameForm.MatchString(u.Name) {
		return problem.New(problem.Invalid, "%q is no name of a use case; use lower-case letters, digits, and . _ - inside.", u.Name).At("name")
	}
	for field, text := range map[string]string{"title": u.Title, "purpose": u.Purpose, "area": u.Area, "owner": u.Owner, "goal.kpi": u.Goal.KPI, "goal.unit": u.Goal.Unit,
		"responsibilities.accountable": u.Responsibilities.Accountable} {
		if len(text) > maxText {
			return problem.New(problem.Invalid, "The %s has %d bytes; the limit is %d.", field, len(text), maxText).At(field)
		}
	}
	if math.IsNaN(u.Goal.Target) || math.IsInf(u.Goal.Target, 0) {
		return problem.New(problem.Invalid, "The target of a goal is a finite number.").At("goal.target")
	}
	if u.Goal.Due != "" {
		if _, err := time.Parse(time.DateOnly, u.Goal.Due); err != nil {
			return problem.New(problem.Invalid, "%q is no day; write it as 2027-06-30.", u.Goal.Due).At("goal.due")
		}
	}
	for field, list := range map[string]*[]string{"models": &u.Models, "responsibilities.responsible": &u.Responsibilities.Responsible,
		"responsibilities.consulted": &u.Responsibilities.Consulted, "responsibilities.informed": &u.Responsibilities.Informed} {
		if len(*list) > modelMax {
			return problem.New(problem.Invalid, "The list %s has %d entries; the limit is %d.", field, len(*list), modelMax).At(field)
		}
		clean := []string{}
		for i, name := range *list {
			if name == "" || len(name) > 250 {
				return problem.New(problem.Invalid, "Entry %d of %s is no name.", i+1, field).At(fmt.Sprintf("%s[%d]", field, i))
			}
			if !slices.Contains(clean, name) {
				clean = append(clean, name)
			}
		}
		*list = clean
	}
	return nil
}

// missing lists what a reader will ask for.
func (u UseCase) missing() []string {
	out := []string{}
	for _, m := range []struct {
		name  string
		empty bool
	}{
		{"purpose", u.Purpose == ""}, {"owner", u.Owner == ""}, {"accountable", u.Responsibilities.Accountable == ""},
		{"responsible", len(u.Responsibilities.Responsible) == 0}, {"goal", u.Goal.KPI == "" || u.Goal.Due == ""}, {"models", len(u.Models) == 0},
	} {
		if m.empty {
			out = append(out, m.name)
		}
	}
	return out
}

// Change holds the fields to set; nil leaves a field as it is.
type Change struct {
	Title            *string           `json:"title,omitempty"`
	Purpose          *string           `json:"purpose,omitempty"`
	Area             *string           `json:"area,omitempty"`
	Owner            *string           `json:"owner,omitempty"`
	Goal             *Goal             `json:"goal,omitempty"`
	Responsibilities *Responsibilities `json:"responsibilities,omitempty"`
	Models           *[]string         `json:"models,omitempty"`
}

func (c Change) apply(u *UseCase) {
	set(&u.Title, c.Title)
	set(&u.Purpose, c.Purpose)
	set(&u.Area, c.Area)
	set(&u.Owner, c.Owner)
	set(&u.Goal, c.Goal)
	set(&u.Responsibilities, c.Responsibilities)
	set(&u.Models, c.Models)
}

func set[T any](field *T, v *T) {
	if v != nil {
		*field = *v
	}
}
