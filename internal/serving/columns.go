package serving

import (
	"slices"

	"keelson/internal/release"
)

// A plan may let a version in that reads a matrix by other columns than the live one, when the people who approve it
// accept that (approval.Plan.AcceptColumns). While both are there, a call that sends the matrix without the names of its
// columns means those of the live version, which every caller has known until now: it is answered by that version and not
// copied to a shadow. Calls that name their columns, or the version, take part as always.

// compare notes at every canary and shadow of e which inputs the live version reads by other columns.
func (e *endpoint) compare() {
	live := e.live()
	if live == nil {
		return
	}
	for _, list := range [][]*slot{e.routed, e.shadows} {
		for _, sl := range list {
			for _, r := range live.signature.Rearranged(sl.signature) {
				sl.rearranged = append(sl.rearranged, r.Input)
			}
		}
	}
}

// live is the slot that answers what no canary takes; nil where nothing answers.
func (e *endpoint) live() *slot {
	if i := slices.IndexFunc(e.routed, func(s *slot) bool { return s.Kind == release.SlotLive }); i >= 0 {
		return e.routed[i]
	}
	return nil
}

// misread tells that sl would read a matrix of c by other columns than the caller means.
func (c *Call) misread(sl *slot) bool {
	for _, input := range sl.rearranged {
		if c.Layout != nil {
			if c.Unnamed != nil && c.Unnamed(input) {
				return true
			}
			continue
		}
		for i := range c.Inputs {
			if c.Inputs[i].Name == input {
				return true
			}
		}
	}
	return false
}
