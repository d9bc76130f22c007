// Package prompt keeps prompts: texts with places to fill in, in numbered versions that do not change.
//
// A prompt is no model: it has no files, no engine and no approval, and it is not counted in the inventory. It shares the
// space of names with models, because MLflow's client takes both from one registry. What goes live by a prompt is decided
// by who may move its aliases.
//
// The template of a version never changes; its description and its other tags may. Numbers start at 1 and never return.
package prompt

import (
	"crypto/sha256"
	"encoding/hex"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"

	"keelson/internal/inventory"
	"keelson/internal/problem"
)

// MaxTemplate bounds a template, in characters.
const MaxTemplate = 100_000

// Events.
const (
	EventCreated        = "prompt.created"             // data: {prompt, description, tags}
	EventChanged        = "prompt.changed"             // data: {prompt}
	EventDeleted        = "prompt.deleted"             // data: {prompt}
	EventTagSet         = "prompt.tag-set"             // data: {prompt, key, value}
	EventTagDeleted     = "prompt.tag-deleted"         // data: {prompt, key}
	EventVersionCreated = "prompt.version.created"     // data: {prompt, version, template, description, tags}
	EventVersionDeleted = "prompt.version.deleted"     // data: {prompt, version}
	EventVersionTagSet  = "prompt.version.tag-set"     // data: {prompt, version, key, value}
	EventVersionTagGone = "prompt.version.tag-deleted" // data: {prompt, version, key}
	EventAliasSet       = "prompt.alias.set"           // data: {prompt, alias, version, before}
	EventAliasDeleted   = "prompt.alias.deleted"       // data: {prompt, alias, before}
)

// Prompt is a named prompt.
type Prompt struct {
	Name        string            `json:"name"`
	Description string            `json:"description"`
	Tags        map[string]string `json:"tags"`
	Latest      int               `json:"latest_version" doc:"0 without one"`
	Aliases     map[string]int    `json:"aliases"`
	CreatedBy   string            `json:"created_by"`
	CreatedAt   time.Time         `json:"created_at"`
	UpdatedAt   time.Time         `json:"updated_at"`

	last int
}

// Version is one version of a prompt.
type Version struct {
	Prompt      string            `json:"prompt"`
	Number      int               `json:"version"`
	Template    string            `json:"template" doc:"text, or the JSON of a list of messages; places to fill in stand in {{ }}"`
	Digest      string            `json:"digest" doc:"SHA-256 of the template"`
	Description string            `json:"description"`
	Tags        map[string]string `json:"tags"`
	Aliases     []string          `json:"aliases"`
	CreatedBy   string            `json:"created_by"`
	CreatedAt   time.Time         `json:"created_at"`
	UpdatedAt   time.Time         `json:"updated_at"`
}

var nameRule = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,200}$`)

// CheckName refuses the name of a prompt that is empty, longer than 200 characters or made of other characters than
// letters, digits, dots, hyphens and underscores.
func CheckName(name string) error {
	if !nameRule.MatchString(name) || strings.Trim(name, ".") == "" {
		return problem.New(problem.Invalid, "Invalid prompt name '%s'. A name has 1 to 200 characters; it can only contain letters, digits, hyphens, underscores and dots.", problem.Clip(name, 100)).At("name")
	}
	return nil
}

func (p *Prompt) check() error {
	if err := CheckName(p.Name); err != nil {
		return err
	}
	if err := checkText(p.Description); err != nil {
		return err
	}
	return inventory.CheckTags(p.Tags)
}

func (v *Version) check() error {
	if utf8.RuneCountInString(v.Template) > MaxTemplate {
		return problem.New(problem.Invalid, "A template has at most %d characters.", MaxTemplate).At("template")
	}
	if err := checkText(v.Description); err != nil {
		return err
	}
	return inventory.CheckTags(v.Tags)
}

func checkText(s string) error {
	if len(s) > 100_000 {
		return problem.New(problem.Invalid, "The description is longer than 100,000 bytes.").At("description")
	}
	return nil
}

func digest(template string) string {
	sum := sha256.Sum256([]byte(template))
	return "sha256:" + hex.EncodeToString(sum[:])
}
