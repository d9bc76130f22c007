// Package deployment carries approved changes out: which versions answer at an endpoint and with which share.
//
// It executes approved change requests only (approval decides), moves a canary on step by step, goes back, suspends and
// retires, and writes every outcome as a signed release document with a growing serial, which is all that serving reads.
//
//	(nothing) ── deploy all ──▶ live ── deploy canary ──▶ rolling ── last step ──▶ live
//	                             │  ▲                        │
//	                             │  └───── rollback ─────────┘
//	                   suspend ▼  │ resume
//	                          suspended ── its version retires ──▶ retired ── deploy all ──▶ live
//
// A deployment's own state is sealed with the key that signs releases. What does not fit its seal or its newest release
// is not obeyed: an alarm is raised, and the next act starts from whichever of the two still holds.
// Each act is one transaction, so a process killed at any moment leaves it done or not done.
package deployment

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"keelson/internal/approval"
	"keelson/internal/engine"
	"keelson/internal/problem"
	"keelson/internal/release"
)

// States of a deployment.
const (
	Live      = "live"
	Rolling   = "rolling" // a canary is under way
	Suspended = "suspended"
	Retired   = "retired"
)

// Validity is how long a release holds; it is signed anew when less than Renew is left.
const (
	Validity = 7 * 24 * time.Hour
	Renew    = 6 * 24 * time.Hour
)

// keepTrail is how many approved versions are kept to go back to.
const keepTrail = 10

// Approved is a version that was approved and live here, with what approved it.
type Approved struct {
	Slot       release.Slot   `json:"slot"`
	Request    string         `json:"request"`
	Policy     release.Policy `json:"policy"`
	PlanDigest string         `json:"plan_digest"`
}

// Rollout is a canary or shadow under way.
type Rollout struct {
	Approved
	Plan   approval.Plan `json:"plan"`
	Step   int           `json:"step"`    // index into Plan.Steps
	StepAt time.Time     `json:"step_at"` // since when this step holds
	Held   string        `json:"held"`    // why it does not go on by itself; empty when it may
}

// Deployment is what should run at one endpoint.
type Deployment struct {
	ID          string         `json:"id"`
	Workspace   string         `json:"workspace"`
	Endpoint    string         `json:"endpoint"`
	Environment string         `json:"environment"`
	Model       string         `json:"model"`
	State       string         `json:"state"`
	Serial      int64          `json:"serial"` // of the newest release
	Current     *Approved      `json:"current"`
	Rollout     *Rollout       `json:"rollout"`
	Trail       []Approved     `json:"trail"` // approved before, newest last; where a rollback goes
	Durability  string         `json:"durability"`
	Limits      release.Limits `json:"limits"`
	Redact      []string       `json:"redact"`
	LastRequest string         `json:"last_request"` // the newest executed one
	ExpiresAt   time.Time      `json:"expires_at"`   // of the newest release
	UpdatedAt   time.Time      `json:"updated_at"`
	Change      *Change        `json:"change,omitempty"` // the last one; nil in records from before it was kept
}

// Change says who changed what runs and when. Signing a release anew is none.
type Change struct {
	At  time.Time `json:"at"`
	By  string    `json:"by" doc:"who asked for it; the platform's own acts have its part's name"`
	Act string    `json:"act" doc:"executed, advanced, rolled-back, suspended, resumed, version-retired"`
}

// Subject is the deployment as audit and events name it.
func (d Deployment) Subject() string { return "deployment/" + d.Endpoint }

// slot is the version of r as it stands in a release.
func slot(r approval.Request) release.Slot {
	return release.Slot{Version: r.Version, ArtifactDigest: r.ArtifactDigest, Files: r.Files, Format: r.Format, Signature: r.Signature, Kind: release.SlotLive, Share: 100}
}

// deploy starts the approved plan of r.
func (d *Deployment) deploy(r approval.Request, now time.Time) error {
	if d.Rollout != nil && d.Rollout.Plan.Mode == approval.Canary {
		return problem.New(problem.Conflict, "Version %s/%d is on its way in at %s; advance it to the end or roll it back first.", d.Model, d.Rollout.Slot.Version, d.Endpoint)
	}
	next := Approved{Slot: slot(r), Request: r.ID, Policy: r.Policy, PlanDigest: r.PlanDigest}
	if r.Plan.Mode != approval.All {
		if d.State != Live {
			return problem.New(problem.Conflict, "Nothing is live at %s that a %s could run beside; deploy all calls at once.", d.Endpoint, r.Plan.Mode)
		}
		if d.Current.Slot.Version == r.Version {
			return problem.New(problem.Conflict, "Version %s is live at %s already.", r.VersionName(), d.Endpoint)
		}
	}
	if d.Current != nil { // once more: another version may have come in since the request was opened
		if err := r.Plan.Columns(d.Model, d.Current.Slot.Version, r.Version, d.Current.Slot.Signature, r.Signature); err != nil {
			return problem.New(problem.Conflict, "%s", problem.Detail(err)).At("plan.accept_columns")
		}
	}
	if r.Plan.Durability != "" {
		d.Durability = r.Plan.Durability
	}
	if d.Durability == "" {
		d.Durability = release.Group
	}
	if r.Plan.Limits != nil {
		d.Limits = *r.Plan.Limits
	}
	d.redactAs(r.Plan.Redact)
	d.LastRequest = r.ID
	if r.Plan.Mode == approval.All {
		d.promote(next)
		d.State = Live
		return nil
	}
	d.Rollout = &Rollout{Approved: next, Plan: r.Plan, StepAt: now}
	if r.Plan.Mode == approval.Canary {
		d.State = Rolling
	}
	return nil
}

// redact adds columns to those that the prediction log leaves out, but for those that are there, plain or hashed.
func (d *Deployment) redact(columns []string) {
	list := slices.Clone(d.Redact)
	for _, c := range columns {
		if !slices.ContainsFunc(list, func(have string) bool { return strings.TrimPrefix(have, "hash:") == c }) {
			list = append(list, c)
		}
	}
	d.Redact = list
}

// redactAs makes what a plan says about columns hold. While a version that was there before answers or may come back,
// columns are only ever added: the plan's form (left out or hashed) wins for the columns it names, the others stay. Where
// nothing was there the plan replaces what held for versions that are gone; a plan that says nothing changes nothing.
func (d *Deployment) redactAs(plan []string) {
	if len(plan) == 0 {
		return
	}
	list := slices.Clone(plan)
	if d.Current != nil || d.Rollout != nil || len(d.Trail) > 0 {
		for _, have := range d.Redact {
			column := strings.TrimPrefix(have, "hash:")
			if !slices.ContainsFunc(plan, func(c string) bool { return strings.TrimPrefix(c, "hash:") == column }) {
				list = append(list, have)
			}
		}
	}
	d.Redact = list
}

// promote makes next the one live version and remembers the one before.
func (d *Deployment) promote(next Approved) {
	if d.Current != nil && d.Current.Slot.Version != next.Slot.Version {
		d.Trail = append(d.Trail, *d.Current)
		if len(d.Trail) > keepTrail {
			d.Trail = d.Trail[len(d.Trail)-keepTrail:]
		}
	}
	// Coming back to a version takes it out of the trail: going back from it must lead elsewhere.
	d.Trail = slices.DeleteFunc(d.Trail, func(a Approved) bool { return a.Slot.Version == next.Slot.Version })
	d.Current, d.Rollout = &next, nil
}

// advance takes the next step of a canary; behind the last one the version takes all calls.
func (d *Deployment) advance(now time.Time) error {
	switch {
	case d.State == Suspended:
		return problem.New(problem.Conflict, "%s is suspended; resume it first.", d.Endpoint)
	case d.Rollout == nil:
		return problem.New(problem.Conflict, "Nothing is on its way in at %s, so there is nothing to advance.", d.Endpoint)
	case d.Rollout.Plan.Mode == approval.Shadow:
		return problem.New(problem.Conflict, "Version %s/%d runs as a shadow at %s, which is all that was approved; open a request to deploy it.", d.Model, d.Rollout.Slot.Version, d.Endpoint)
	}
	if d.Rollout.Step+1 < len(d.Rollout.Plan.Steps) {
		d.Rollout.Step++
		d.Rollout.StepAt, d.Rollout.Held = now, ""
		return nil
	}
	d.promote(d.Rollout.Approved)
	d.State = Live
	return nil
}

// due says whether the current step may go on by itself: it has a hold, nobody holds it, its time has passed and, where
// rows are asked for, rows have been answered.
func (d Deployment) due(now time.Time, rows int64) bool {
	s, ok := d.step()
	if !ok || d.State != Rolling || d.Rollout.Held != "" || s.HoldRows == 0 && s.HoldSeconds == 0 {
		return false
	}
	return !now.Before(d.Rollout.StepAt.Add(time.Duration(s.HoldSeconds)*time.Second)) && rows >= s.HoldRows
}

// step is the canary's current one.
func (d Deployment) step() (approval.Step, bool) {
	if d.Rollout == nil || d.Rollout.Step >= len(d.Rollout.Plan.Steps) {
		return approval.Step{}, false
	}
	return d.Rollout.Plan.Steps[d.Rollout.Step], true
}

// rollback undoes the last change: a canary or shadow under way ends; else the approved version before becomes live.
// A suspended endpoint answers again with that version.
func (d *Deployment) rollback() (words string, err error) {
	if d.Rollout != nil {
		words = fmt.Sprintf("Version %s/%d left %s again; version %d answers all calls.", d.Model, d.Rollout.Slot.Version, d.Endpoint, d.Current.Slot.Version)
		d.Rollout = nil
		if d.State == Rolling {
			d.State = Live
		}
		return words, nil
	}
	if d.State == Retired || d.Current == nil {
		return "", problem.New(problem.Conflict, "%s is retired; deploy a version to it.", d.Endpoint)
	}
	if len(d.Trail) == 0 {
		return "", problem.New(problem.Conflict, "There is no approved version before %s/%d at %s to go back to; suspend the endpoint to stop it.", d.Model, d.Current.Slot.Version, d.Endpoint)
	}
	from := d.Current.Slot
	back := d.Trail[len(d.Trail)-1]
	d.Trail = d.Trail[:len(d.Trail)-1]
	d.Current, d.State = &back, Live
	words = fmt.Sprintf("%s went back from version %d to version %d.", d.Endpoint, from.Version, back.Slot.Version)
	if otherColumns(from, back.Slot) {
		words += " It reads a matrix by other columns; callers that send one without the names of its columns must go back too."
	}
	return words, nil
}

// newest is the version that a rollback takes out, 0 when nothing answers.
func (d Deployment) newest() int {
	switch {
	case d.Rollout != nil:
		return d.Rollout.Slot.Version
	case d.Current != nil:
		return d.Current.Slot.Version
	}
	return 0
}

// suspend makes the endpoint refuse all calls.
func (d *Deployment) suspend() error {
	if d.State != Live && d.State != Rolling {
		return problem.New(problem.Conflict, "%s is %s and cannot be suspended.", d.Endpoint, d.State)
	}
	d.State = Suspended
	return nil
}

// resume makes it answer again as before.
func (d *Deployment) resume(now time.Time) error {
	if d.State != Suspended {
		return problem.New(problem.Conflict, "%s is %s, not suspended.", d.Endpoint, d.State)
	}
	d.State = Live
	if d.Rollout != nil && d.Rollout.Plan.Mode == approval.Canary {
		d.State, d.Rollout.StepAt = Rolling, now
	}
	return nil
}

// retire takes a version out for good. Where it answers calls it is refused with the way out, except where the
// environment approves by itself; a suspended endpoint that has nothing else retires with it.
func (d *Deployment) retire(version int, auto bool) (changed bool, err error) {
	if d.Rollout != nil && d.Rollout.Slot.Version == version {
		if !auto {
			return false, problem.New(problem.Conflict, "Version %s/%d is on its way in at %s; roll it back first: keelson deploy rollback %s.", d.Model, version, d.Endpoint, d.Endpoint)
		}
		if _, err := d.rollback(); err != nil {
			return false, err
		}
		changed = true
	}
	n := len(d.Trail)
	d.Trail = slices.DeleteFunc(d.Trail, func(a Approved) bool { return a.Slot.Version == version })
	changed = changed || len(d.Trail) != n
	if d.Current == nil || d.Current.Slot.Version != version {
		return changed, nil
	}
	if d.State != Suspended && !auto {
		return false, problem.New(problem.Conflict, "Version %s/%d is live at %s. Deploy another version there first, or stop the endpoint with keelson deploy suspend %s and execute the retirement again.",
			d.Model, version, d.Endpoint, d.Endpoint)
	}
	if d.Rollout != nil {
		return false, problem.New(problem.Conflict, "Version %s/%d is live at %s beside another one; advance or roll back the rollout first.", d.Model, version, d.Endpoint)
	}
	d.State, d.Current, d.Trail = Retired, nil, nil
	return true, nil
}

// holds says whether the version answers, may come in or may come back here.
func (d Deployment) holds(version int) bool {
	return d.Current != nil && d.Current.Slot.Version == version || d.Rollout != nil && d.Rollout.Slot.Version == version ||
		slices.ContainsFunc(d.Trail, func(a Approved) bool { return a.Slot.Version == version })
}

// slots are the versions with their shares as of now.
func (d Deployment) slots() []release.Slot {
	if d.Current == nil {
		return []release.Slot{}
	}
	live := d.Current.Slot
	live.Kind, live.Share = release.SlotLive, 100
	out := []release.Slot{live}
	if d.Rollout == nil {
		return out
	}
	next := d.Rollout.Slot
	if st, ok := d.step(); ok {
		next.Kind, next.Share = release.SlotCanary, st.Share
		out[0].Share = 100 - st.Share
	} else {
		next.Kind, next.Share = release.SlotShadow, d.Rollout.Plan.Share
	}
	return append(out, next)
}

// previous is where a rollback without a rollout leads; nil when nowhere.
func (d Deployment) previous() *release.Slot {
	if len(d.Trail) == 0 {
		return nil
	}
	s := d.Trail[len(d.Trail)-1].Slot
	s.Kind, s.Share = release.SlotLive, 100
	return &s
}

// otherColumns tells that two versions read the same matrix by other columns.
func otherColumns(a, b release.Slot) bool {
	var x, y engine.Signature
	return json.Unmarshal(a.Signature, &x) == nil && json.Unmarshal(b.Signature, &y) == nil && len(x.Rearranged(y)) > 0
}

// document is the release of d as of now.
func (d Deployment) document(now time.Time) release.Document {
	doc := release.Document{
		Serial: d.Serial, Endpoint: d.Endpoint, Environment: d.Environment, Workspace: d.Workspace, Model: d.Model, State: release.Live,
		Slots: d.slots(), Previous: d.previous(), Durability: d.Durability, Limits: d.Limits, Redact: d.Redact,
		Request: d.LastRequest, IssuedAt: now, ExpiresAt: now.Add(Validity),
	}
	if doc.Durability == "" {
		doc.Durability = release.Group
	}
	if doc.Previous != nil && d.Current != nil && otherColumns(d.Current.Slot, *doc.Previous) {
		doc.Previous = nil // what stands in for a damaged version without anybody deciding must answer the same calls
	}
	switch d.State {
	case Suspended:
		doc.State = release.Suspended
	case Retired:
		doc.State, doc.Slots, doc.Previous = release.Retired, nil, nil
	}
	why := d.Current
	if d.Rollout != nil {
		why = &d.Rollout.Approved
	}
	if why != nil {
		doc.Request, doc.Policy, doc.PlanDigest = why.Request, why.Policy, why.PlanDigest
	}
	return doc
}

// words says where the endpoint stands.
func (d Deployment) words() string {
	switch {
	case d.State == Retired:
		return d.Endpoint + " is retired."
	case d.State == Suspended:
		return fmt.Sprintf("%s is suspended; version %d was live.", d.Endpoint, d.Current.Slot.Version)
	}
	s := d.slots()
	if len(s) == 1 {
		return fmt.Sprintf("Version %d answers all calls of %s.", s[0].Version, d.Endpoint)
	}
	if s[1].Kind == release.SlotShadow {
		return fmt.Sprintf("Version %d answers all calls of %s; version %d gets copies of %d %%.", s[0].Version, d.Endpoint, s[1].Version, s[1].Share)
	}
	return fmt.Sprintf("Version %d answers %d %% of the calls of %s, version %d answers %d %%.", s[1].Version, s[1].Share, d.Endpoint, s[0].Version, s[0].Share)
}

// restored is a deployment as far as its newest signed release tells, for when its own record was damaged. A canary in
// it waits for a person, at the step whose share it has.
func restored(id string, doc release.Document, plan *approval.Plan) Deployment {
	d := Deployment{
		ID: id, Workspace: doc.Workspace, Endpoint: doc.Endpoint, Environment: doc.Environment, Model: doc.Model, State: Live, Serial: doc.Serial,
		Durability: doc.Durability, Limits: doc.Limits, Redact: doc.Redact, LastRequest: doc.Request, ExpiresAt: doc.ExpiresAt, UpdatedAt: doc.IssuedAt,
	}
	why := Approved{Request: doc.Request, Policy: doc.Policy, PlanDigest: doc.PlanDigest}
	for _, s := range doc.Slots {
		a := why
		a.Slot = s
		if s.Kind == release.SlotLive {
			a.Slot.Share = 100
			d.Current = &a
			continue
		}
		a.Slot.Kind, a.Slot.Share = release.SlotLive, 100
		r := &Rollout{Approved: a, Plan: approval.Plan{Mode: approval.Canary, Steps: []approval.Step{{Share: s.Share}}}, StepAt: doc.IssuedAt, Held: "Its record was damaged and restored from the signed release."}
		if s.Kind == release.SlotShadow {
			r.Plan = approval.Plan{Mode: approval.Shadow, Share: s.Share}
		} else if plan != nil {
			if i := slices.IndexFunc(plan.Steps, func(st approval.Step) bool { return st.Share == s.Share }); i >= 0 {
				r.Plan, r.Step = *plan, i
			}
		}
		if d.State, d.Rollout = Rolling, r; s.Kind == release.SlotShadow {
			d.State = Live
		}
	}
	if doc.Previous != nil {
		a := why
		a.Slot = *doc.Previous
		d.Trail = []Approved{a}
	}
	switch doc.State {
	case release.Suspended:
		d.State = Suspended
	case release.Retired:
		d.State = Retired
	}
	return d
}
