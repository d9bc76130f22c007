package story

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"keelson/client"
)

// account: the time line, the proof, a forged entry, and the retirement of the first version.
func (s *Story) account(ctx context.Context) error {
	if err := s.retire(ctx); err != nil {
		return err
	}
	var entries []client.Entry
	if err := s.do(ctx, &entries, "ada", "model", "timeline", "screening", "--limit", "0", "--json"); err != nil {
		return err
	}
	acts := map[string]string{}
	for _, e := range entries {
		acts[e.Action] = e.Actor
	}
	for _, must := range []string{"pipeline.run.started", "approval.opened", "approval.voted"} {
		if err := want(acts[must] != "", "the time line of screening has %s: %v", must, acts); err != nil {
			return err
		}
	}
	s.fact("the time line of screening has %d entries of %d kinds: who, what, when", len(entries), len(acts))
	var v client.Verification
	if err := s.do(ctx, &v, "ada", "audit", "verify", "--json"); err != nil {
		return err
	}
	if err := want(v.OK && v.Checked > 50, "the whole log is checked: %+v", v); err != nil {
		return err
	}
	s.fact("%d audit entries fit the signed tree", v.Checked)
	bundle := filepath.Join(s.Folder, "audit.zip")
	if err := s.do(ctx, nil, "ada", "audit", "export", "--to", bundle, "-q"); err != nil {
		return err
	}
	var point struct {
		Key string `json:"key"`
	}
	if err := s.as("ada").Get(ctx, "/api/v1/audit/checkpoint", &point); err != nil {
		return err
	}
	if err := s.do(ctx, &v, "ada", "audit", "verify", "--offline", bundle, "--key", point.Key, "--json"); err != nil {
		return err
	}
	if err := want(v.OK && v.Checked > 50, "the bundle is checked without the server: %+v", v); err != nil {
		return err
	}
	s.fact("the exported bundle proves the same without the server")
	return s.calm(func() error { return s.forgeEntry(ctx, entries) })
}

// forgeEntry changes one byte of one entry in the database.
func (s *Story) forgeEntry(ctx context.Context, entries []client.Entry) error {
	slices.Reverse(entries) // the oldest vote has its number; the newest may still wait for one
	i := slices.IndexFunc(entries, func(e client.Entry) bool { return e.Action == "approval.voted" && e.Index >= 0 })
	if err := want(i >= 0, "somebody has voted"); err != nil {
		return err
	}
	e := entries[i]
	s.print("    somebody changes one byte of entry %d, a vote, in the database\n", e.Index)
	restore, err := s.editEntry(ctx, e.ID)
	if err != nil {
		return err
	}
	a, err := s.run(ctx, "ada", "audit", "verify", "--json")
	if err == nil {
		var v client.Verification
		if a.code != client.ExitCheck || json.Unmarshal([]byte(a.out), &v) != nil || v.OK || !slices.ContainsFunc(v.Broken, func(b struct {
			Index int64  `json:"index"`
			ID    string `json:"id"`
			Why   string `json:"why"`
		}) bool {
			return b.ID == e.ID
		}) {
			err = a.err(fmt.Sprintf("exit code 5 and the entry %s", e.ID))
		}
	}
	if rerr := restore(); err == nil {
		err = rerr
	}
	if err != nil {
		return err
	}
	s.fact("audit verify fails and names entry %d", e.Index)
	return s.do(ctx, nil, "ada", "audit", "verify")
}

// retire: the better version goes live again and the first one retires; its callers are listed and it no longer loads.
func (s *Story) retire(ctx context.Context) error {
	if err := s.approved(ctx, s.made.better, "rolled back only to show how", "--no-plan"); err != nil {
		return err
	}
	if _, err := s.serves(ctx, "screening", map[int]int{s.made.better: 100}); err != nil {
		return err
	}
	a, err := s.run(ctx, "dana", "model", "retire", fmt.Sprintf("screening/%d", s.made.first), "--reason", fmt.Sprintf("replaced by version %d", s.made.better), "--json")
	if err != nil {
		return err
	}
	open, err := s.opened(ctx, a, "retire", fmt.Sprintf("screening/%d", s.made.first), "prod")
	if err != nil {
		return err
	}
	for who, why := range map[string]string{"rita": "the callers were told", "bo": "agreed"} {
		if _, err := s.vote(ctx, who, open.Number, why); err != nil {
			return err
		}
	}
	if _, err := s.executed(ctx, open.ID); err != nil {
		return err
	}
	v, err := s.as("dana").Version(ctx, "screening", s.made.first)
	if err != nil {
		return err
	}
	var callers []client.Caller
	if err := s.do(ctx, &callers, "ada", "model", "callers", "screening", "--json"); err != nil {
		return err
	}
	if err := all(
		want(v.State == "retired", "version %d is retired, not %s", s.made.first, v.State),
		want(len(callers) > 0 && callers[0].Caller == desk, "its callers of the last days are listed: %+v", callers),
		want(len(v.Files) > 0, "its files stay"),
	); err != nil {
		return err
	}
	if err := s.refused(ctx, 5, []string{"retired"}, "dana", "deploy", "create", "screening/"+strconv.Itoa(s.made.first), "--to", "dev", "--reason", "once more"); err != nil {
		return err
	}
	var ready error = s.as(desk).Get(ctx, fmt.Sprintf("/v2/models/screening/versions/%d/ready", s.made.first), nil)
	if err := want(ready != nil, "version %d no longer answers", s.made.first); err != nil {
		return err
	}
	ps, err := client.All[client.Prediction](ctx, s.as("ada"), "/api/v1/predictions?model=screening&version="+strconv.Itoa(s.made.first), nil, 10)
	if err != nil {
		return err
	}
	if err := want(len(ps) == 10, "its predictions stay in the log"); err != nil {
		return err
	}
	s.fact("version %d is retired: last called by %s; it no longer loads, its log and files stay", s.made.first, strings.Join(names(callers), ", "))
	return nil
}

func names(cs []client.Caller) (out []string) {
	for _, c := range cs {
		if !slices.Contains(out, c.Caller) {
			out = append(out, c.Caller)
		}
	}
	return out
}
