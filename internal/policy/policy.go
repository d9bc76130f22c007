// Package policy says what a change must fulfil and how many votes it needs. Policies are data: versioned documents of
// CEL rules, one policy per environment. Nothing here decides who may vote or what a vote is worth; approval does.
//
// A rule has three expressions in CEL over the Context: When (does the rule apply; empty is always), Require (must be
// true) and the parts of its message in braces. Every rule is evaluated, so an answer lists all that is missing and
// not only the first thing. A rule that cannot be evaluated (cost limit, missing key) counts as not fulfilled and says so.
//
// A stored policy and environment carry a seal made with a key outside the database; one whose seal does not fit its
// text is refused, so a rule cannot be loosened with SQL.
package policy

import (
	"fmt"
	"path"
	"regexp"
	"strings"
	"time"

	"keelson/internal/problem"
)

// Bounds of a policy's text; beyond them it is refused.
const (
	maxRules      = 64
	maxExpression = 4096 // bytes of one expression or message
	maxCount      = 9    // votes
)

// Rule is one clause.
type Rule struct {
	ID      string `json:"id" doc:"name of the rule, unique in its policy" example:"evaluated"`
	When    string `json:"when,omitempty" doc:"CEL; the rule applies where it is true; empty is always"`
	Require string `json:"require" doc:"CEL; must be true"`
	Message string `json:"message" doc:"what is wrong when it is not, in words; {CEL} is replaced by its value"`
	Pass    string `json:"pass,omitempty" doc:"what is right when it is, in words; {CEL} is replaced by its value"`
	Advice  bool   `json:"advice,omitempty" doc:"shown to the approvers but does not block"`
}

// Policy is one version of a policy. Version 1 of the shipped ones is made by "keelson".
type Policy struct {
	Name      string    `json:"name"`
	Version   int       `json:"version"`
	Title     string    `json:"title"`
	Rules     []Rule    `json:"rules"`
	Approvals string    `json:"approvals" doc:"CEL giving {'count': int, 'roles': list of string}"`
	Aliases   *Aliases  `json:"aliases,omitempty" doc:"aliases of models that move by changes under this policy only"`
	Note      string    `json:"note,omitempty" doc:"why this version was made"`
	CreatedBy string    `json:"created_by"`
	CreatedAt time.Time `json:"created_at"`
}

// Aliases are those that stand for what runs in the policy's environment: they follow approved changes and nobody moves
// them by a call. They are protected for models of tier 1 (the highest risk) to Tier; a model nobody assessed is free.
type Aliases struct {
	Names []string `json:"names" maxItems:"50" doc:"names, in which * stands for any text" example:"champion"`
	Tier  int      `json:"tier" minimum:"0" maximum:"4" doc:"the lowest risk they are protected for; 0 protects none"`
}

// Protects reports whether an alias of a model of that tier is protected.
func (a *Aliases) Protects(alias string, tier int) bool {
	if a == nil || tier < 1 || tier > a.Tier {
		return false
	}
	for _, name := range a.Names {
		if ok, err := path.Match(strings.ToLower(name), strings.ToLower(alias)); err == nil && ok {
			return true
		}
	}
	return false
}

// check refuses names that are no pattern.
func (a *Aliases) check() error {
	if a == nil {
		return nil
	}
	for i, name := range a.Names {
		if _, err := path.Match(name, "x"); err != nil || name == "" || len(name) > 255 {
			return problem.New(problem.Invalid, "%q is no name of aliases; write a name, with * for any text.", name).At(fmt.Sprintf("aliases.names[%d]", i))
		}
	}
	return nil
}

// Environment is a place models run in, with the policy that guards it.
type Environment struct {
	Name        string `json:"name"`
	Title       string `json:"title"`
	Policy      string `json:"policy"`
	AutoApprove bool   `json:"auto_approve" doc:"a request that the policy allows without votes is approved as policy:NAME"`
	URLSuffix   string `json:"url_suffix" doc:"the endpoint of model m is m in prod and m.SUFFIX elsewhere"`
	Position    int    `json:"position"`
}

// Need is how many grants settle a request. Roles, when given, must be represented by different people: with count 2
// and two roles, one grant of each. With fewer roles than count the rest may come from any of the roles.
type Need struct {
	Count int      `json:"count"`
	Roles []string `json:"roles"`
}

// Reason is what one rule says.
type Reason struct {
	Rule    string `json:"rule"`
	OK      bool   `json:"ok"`
	Message string `json:"message"`
	Advice  bool   `json:"advice,omitempty"`
}

// Verdict is what a policy says about a change. Reasons has one entry per rule that applies, in the policy's order.
type Verdict struct {
	Allowed bool     `json:"allowed"`
	Reasons []Reason `json:"reasons"`
	Need    Need     `json:"-"`
}

// Blocking gives the messages of the rules that forbid the change.
func (v Verdict) Blocking() []Reason {
	var out []Reason
	for _, r := range v.Reasons {
		if !r.OK && !r.Advice {
			out = append(out, r)
		}
	}
	return out
}

// Context is what rules may ask. The names in rules are those of the JSON: request.kind, version.evaluation.state …
type Context struct {
	Request     Request `json:"request"`
	Version     Version `json:"version"`
	Model       Model   `json:"model"`
	Environment Env     `json:"environment"`
	Votes       []Vote  `json:"votes"`
	Caller      Caller  `json:"caller"`
}

// Request is the change that is asked for.
type Request struct {
	Kind         string   `json:"kind"` // deploy, retire, suspend, rollback
	Author       string   `json:"author"`
	Reason       string   `json:"reason"`
	Mode         string   `json:"mode"`          // of the rollout plan: all, canary, shadow
	Unlogged     float64  `json:"unlogged"`      // percent of the calls that the plan leaves out of the log
	FirstShare   int64    `json:"first_share"`   // percent of the calls in the first step
	WhenApproved bool     `json:"when_approved"` // executes by itself once approved
	Authors      []string `json:"authors"`       // everybody without a vote
}

// Version is the model version the change is about.
type Version struct {
	Name       string     `json:"name"` // "screening/2"
	Number     int64      `json:"number"`
	State      string     `json:"state"` // pending, ready, failed, retired
	Reason     string     `json:"reason"`
	Digest     string     `json:"digest"`
	Format     string     `json:"format"`
	Size       int64      `json:"size"` // bytes
	Authors    []string   `json:"authors"`
	Evaluation Evaluation `json:"evaluation"`

	Evaluations []Evaluation `json:"evaluations"` // the latest of each suite, the newest first

	Golden Golden `json:"golden"`
	Dirty  bool   `json:"dirty"` // made from a checkout with changes that were not committed
}

// Evaluation is the version's latest one, of all or of a suite. Whoever may evaluate hands in the suite, so a rule that
// rests on its name alone trusts them; definition and dataset_digest say what was tested on what.
type Evaluation struct {
	State string `json:"state"` // passed, failed, running, none
	ID    string `json:"id"`

	Suite         string `json:"suite"`
	Definition    string `json:"definition"` // digest of the suite's tests and settings: "sha256:…"
	Dataset       string `json:"dataset"`
	DatasetDigest string `json:"dataset_digest"`

	Tests  int64    `json:"tests"`  // how many there are
	Failed []string `json:"failed"` // in words: "accuracy: 0.81 is below 0.9"
}

// Golden is what the engine answered to the version's golden rows.
type Golden struct {
	Rows     int64   `json:"rows"`
	MaxError float64 `json:"max_error"`
	Limit    float64 `json:"limit"`
}

// Model is the model of the version.
type Model struct {
	Name         string   `json:"name"`
	Kind         string   `json:"kind"`
	Tier         int64    `json:"tier"`
	Owner        string   `json:"owner"`
	UseCase      string   `json:"use_case"`
	Accountable  string   `json:"accountable"`
	Responsible  []string `json:"responsible"`
	IntendedUse  string   `json:"intended_use"`
	ForbiddenUse string   `json:"forbidden_use"`
}

// Env is the environment of the change.
type Env struct {
	Name        string `json:"name"`
	AutoApprove bool   `json:"auto_approve"`
}

// Vote is one vote cast so far.
type Vote struct {
	By    string   `json:"by"`
	Roles []string `json:"roles"`
	Grant bool     `json:"grant"`
}

// Caller is who asks for the evaluation.
type Caller struct {
	Name  string   `json:"name"`
	Kind  string   `json:"kind"`
	Roles []string `json:"roles"`
}

var nameForm = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,63}$`)

// check applies the bounds of a policy's text that need no compiler.
func (p Policy) check() error {
	if !nameForm.MatchString(p.Name) {
		return problem.New(problem.Invalid, "%q is no name of a policy; use lower-case letters, digits, - and _.", p.Name).At("name")
	}
	if len(p.Rules) > maxRules {
		return problem.New(problem.Invalid, "A policy has at most %d rules, this one has %d.", maxRules, len(p.Rules)).At("rules")
	}
	seen := map[string]bool{}
	for i, r := range p.Rules {
		at := fmt.Sprintf("rules[%d]", i)
		switch {
		case !nameForm.MatchString(r.ID):
			return problem.New(problem.Invalid, "%q is no id of a rule; use lower-case letters, digits, - and _.", r.ID).At(at + ".id")
		case seen[r.ID]:
			return problem.New(problem.Invalid, "Two rules are called %s; give each a name of its own.", r.ID).At(at + ".id")
		case strings.TrimSpace(r.Require) == "":
			return problem.New(problem.Invalid, "Rule %s requires nothing; give a CEL expression.", r.ID).At(at + ".require")
		case strings.TrimSpace(r.Message) == "":
			return problem.New(problem.Invalid, "Rule %s has no message; say in words what is wrong when it fails.", r.ID).At(at + ".message")
		}
		seen[r.ID] = true
		for field, text := range map[string]string{"when": r.When, "require": r.Require, "message": r.Message, "pass": r.Pass} {
			if len(text) > maxExpression {
				return problem.New(problem.Invalid, "The %s of rule %s has %d bytes; the limit is %d.", field, r.ID, len(text), maxExpression).At(at + "." + field)
			}
		}
	}
	if len(p.Approvals) > maxExpression {
		return problem.New(problem.Invalid, "The approvals expression has %d bytes; the limit is %d.", len(p.Approvals), maxExpression).At("approvals")
	}
	return nil
}

// Text is the policy as a person reads it.
func (p Policy) Text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s, version %d: %s\n", p.Name, p.Version, p.Title)
	for _, r := range p.Rules {
		word := "must"
		if r.Advice {
			word = "should"
		}
		fmt.Fprintf(&b, "- %s: ", r.ID)
		if r.When != "" {
			fmt.Fprintf(&b, "where %s, ", r.When)
		}
		fmt.Fprintf(&b, "%s hold %s; else: %s\n", word, r.Require, r.Message)
	}
	fmt.Fprintf(&b, "- approvals: %s\n", p.Approvals)
	if p.Aliases != nil && len(p.Aliases.Names) > 0 && p.Aliases.Tier > 0 {
		fmt.Fprintf(&b, "- aliases: %s of models of tier 1 to %d follow approved changes\n", strings.Join(p.Aliases.Names, ", "), p.Aliases.Tier)
	}
	return b.String()
}
